"""Makes the reference data of tests/golden with Hugging Face's transformers, which shares no code
with this project:

- tests/golden/<family>.safetensors and .json: tiny random checkpoints of every supported family at
  awkward sizes, and with each its config.json (and index of shards), ids, logits of every position
  and the routers' choices, computed in float64 from the stored weights; the tests put the folder
  of the checkpoint together again, with tests/golden/golden_tokenizer.json in it;
- tests/golden/moxie_tiny.json, if the folder of the demo model's checkpoint is given: the 20
  largest logits of some prompts and the greedy answers.

Run by hand; the results are committed:

    python3 -m venv venv && venv/bin/pip install torch==2.13.0 transformers==5.23.0 safetensors numpy
    venv/bin/python tests/reference/golden_families.py [MOXIE_TINY_FOLDER]
"""
import json
import math
import pathlib
import re
import shutil
import sys
import tempfile

import numpy
import safetensors.torch
import torch
import transformers

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
LENGTH = 67  # tokens: two chunks of 32 and a rest
TORCH_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}

COMMON = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "use_cache": True,
}

# Each family: what config.json says. "shards" is ours and is taken out.
FAMILIES = {
    # Layer 1 is dense; an odd number of experts; widths that are no multiple of 4.
    "qwen3moe_mixed": {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe",
        "torch_dtype": "bfloat16", "hidden_size": 44, "num_hidden_layers": 3,
        "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 18, "intermediate_size": 70,
        "num_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 22,
        "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [1],
        "vocab_size": 131, "max_position_embeddings": 160, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "rope_scaling": None, "tie_word_embeddings": False,
        "sliding_window": None, "use_sliding_window": False,
    },
    # Layer 0 is dense by the step; weights of the experts are not normalised; two shards.
    "qwen3moe_step": {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe",
        "torch_dtype": "float32", "hidden_size": 36, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10, "intermediate_size": 50,
        "num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 33,
        "norm_topk_prob": False, "decoder_sparse_step": 2, "mlp_only_layers": [],
        "vocab_size": 101, "max_position_embeddings": 160, "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
        "tie_word_embeddings": False, "sliding_window": None, "use_sliding_window": False,
        "shards": 2,
    },
    # Dense, tied, three queries a key.
    "qwen3_tied": {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
        "torch_dtype": "bfloat16", "hidden_size": 52, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 14, "intermediate_size": 90,
        "vocab_size": 203, "max_position_embeddings": 160, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0, "rope_scaling": None, "tie_word_embeddings": True,
        "sliding_window": None, "use_sliding_window": False, "max_window_layers": 2,
    },
    # All queries share one key; scaled as Llama 3.1, with one frequency on the ramp; no head_dim.
    "llama_scaled": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "torch_dtype": "float32", "hidden_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 5, "num_key_value_heads": 1, "intermediate_size": 54,
        "vocab_size": 107, "max_position_embeddings": 160, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "rope_scaling": {
            "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 96, "rope_type": "llama3"},
        "tie_word_embeddings": False, "mlp_bias": False, "pretraining_tp": 1,
    },
    # As many keys as queries (and the config does not say how many); linear scaling; F16 weights.
    "llama_linear": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "torch_dtype": "float16", "hidden_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 70,
        "vocab_size": 113, "max_position_embeddings": 160, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "rope_scaling": {"factor": 4.0, "type": "linear"},
        "tie_word_embeddings": True, "mlp_bias": False, "pretraining_tp": 1,
    },
    # Experts named w1, w2, w3; the softmax is over the chosen ones, which is the same as normalising.
    "mixtral": {
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral",
        "torch_dtype": "bfloat16", "hidden_size": 44, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10, "intermediate_size": 26,
        "num_local_experts": 5, "num_experts_per_tok": 2, "vocab_size": 109,
        "max_position_embeddings": 160, "rms_norm_eps": 1e-5, "rope_theta": 1000000.0,
        "sliding_window": None, "tie_word_embeddings": False,
    },
    # Biases of q, k and v; a shared expert behind a gate of its own; weights are not normalised;
    # layer 0 is dense.
    "qwen2moe": {
        "architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe",
        "torch_dtype": "bfloat16", "hidden_size": 40, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 50,
        "num_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 22,
        "shared_expert_intermediate_size": 38, "norm_topk_prob": False, "decoder_sparse_step": 1,
        "mlp_only_layers": [0], "qkv_bias": True, "vocab_size": 127,
        "max_position_embeddings": 160, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
        "sliding_window": None, "use_sliding_window": False, "max_window_layers": 3,
        "tie_word_embeddings": False,
    },
    # Dense, tied, biases of q, k and v.
    "qwen2": {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
        "torch_dtype": "float32", "hidden_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 54,
        "vocab_size": 97, "max_position_embeddings": 160, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0, "sliding_window": None, "use_sliding_window": False,
        "max_window_layers": 2, "tie_word_embeddings": True,
    },
    # The norm of q and k goes over all heads at once.
    "olmoe": {
        "architectures": ["OlmoeForCausalLM"], "model_type": "olmoe",
        "torch_dtype": "bfloat16", "hidden_size": 36, "num_hidden_layers": 2,
        "num_attention_heads": 3, "num_key_value_heads": 3, "intermediate_size": 26,
        "num_experts": 9, "num_experts_per_tok": 4, "norm_topk_prob": False, "clip_qkv": None,
        "vocab_size": 103, "max_position_embeddings": 160, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": False, "eos_token_id": 1, "pad_token_id": 1,
    },
    # Sinks, a window in every other layer, biases everywhere, clamped SwiGLU, YaRN without whole
    # bounds; the experts in bfloat16 [experts, in, out].
    "gptoss": {
        "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss",
        "torch_dtype": "bfloat16", "hidden_size": 44, "num_hidden_layers": 3,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 14, "intermediate_size": 26,
        "num_local_experts": 5, "num_experts_per_tok": 3, "sliding_window": 9,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "swiglu_limit": 7.0, "attention_bias": True, "vocab_size": 113,
        "max_position_embeddings": 160, "rms_norm_eps": 1e-5, "rope_theta": 150000.0,
        "rope_scaling": {"rope_type": "yarn", "factor": 8.0, "beta_fast": 32.0, "beta_slow": 1.0,
                         "truncate": False, "original_max_position_embeddings": 24},
        "tie_word_embeddings": False,
    },
    # The same as published: the experts in MXFP4, blocks and scales.
    "gptoss_mxfp4": {
        "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss",
        "torch_dtype": "bfloat16", "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 32,
        "num_local_experts": 6, "num_experts_per_tok": 2, "sliding_window": 17,
        "layer_types": ["sliding_attention", "full_attention"],
        "swiglu_limit": 7.0, "attention_bias": True, "vocab_size": 101,
        "max_position_embeddings": 160, "rms_norm_eps": 1e-5, "rope_theta": 150000.0,
        "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
                         "truncate": False, "original_max_position_embeddings": 4096},
        "tie_word_embeddings": False,
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": [
            "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens",
            "lm_head"]},
    },
    # Latent attention with plain queries (as V2-Lite); two shared experts; a dense first layer.
    "deepseek_v2_lite": {
        "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2",
        "torch_dtype": "bfloat16", "hidden_size": 36, "num_hidden_layers": 3,
        "num_attention_heads": 3, "num_key_value_heads": 3, "intermediate_size": 50,
        "n_routed_experts": 7, "n_shared_experts": 2, "num_experts_per_tok": 3,
        "moe_intermediate_size": 18, "first_k_dense_replace": 1, "moe_layer_freq": 1,
        "q_lora_rank": None, "kv_lora_rank": 20, "qk_nope_head_dim": 12, "qk_rope_head_dim": 6,
        "v_head_dim": 10, "topk_method": "greedy", "n_group": 1, "topk_group": 1,
        "scoring_func": "softmax", "norm_topk_prob": False, "routed_scaling_factor": 1.0,
        "vocab_size": 107, "max_position_embeddings": 160, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "rope_scaling": {
            "type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "mscale": 0.707,
            "mscale_all_dim": 0.707, "original_max_position_embeddings": 64},
        "tie_word_embeddings": False,
    },
    # Low-rank queries, softmax scores, groups by their maximum, a scale.
    "deepseek_v2": {
        "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2",
        "torch_dtype": "float32", "hidden_size": 36, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 42,
        "n_routed_experts": 12, "n_shared_experts": 1, "num_experts_per_tok": 3,
        "moe_intermediate_size": 14, "first_k_dense_replace": 1, "moe_layer_freq": 1,
        "q_lora_rank": 18, "kv_lora_rank": 16, "qk_nope_head_dim": 10, "qk_rope_head_dim": 8,
        "v_head_dim": 14, "topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2,
        "scoring_func": "softmax", "norm_topk_prob": False, "routed_scaling_factor": 16.0,
        "vocab_size": 97, "max_position_embeddings": 160, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "rope_scaling": None, "tie_word_embeddings": False,
    },
    # Sigmoid scores, a correction for the choice only, groups by the sum of their best two.
    "deepseek_v3": {
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
        "torch_dtype": "bfloat16", "hidden_size": 44, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 50,
        "n_routed_experts": 12, "n_shared_experts": 1, "num_experts_per_tok": 4,
        "moe_intermediate_size": 18, "first_k_dense_replace": 1, "moe_layer_freq": 1,
        "q_lora_rank": 26, "kv_lora_rank": 22, "qk_nope_head_dim": 12, "qk_rope_head_dim": 6,
        "v_head_dim": 10, "topk_method": "noaux_tc", "n_group": 4, "topk_group": 2,
        "scoring_func": "sigmoid", "norm_topk_prob": True, "routed_scaling_factor": 2.5,
        "num_nextn_predict_layers": 1, "ep_size": 1, "vocab_size": 109,
        "max_position_embeddings": 160, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "rope_scaling": {
            "type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0,
            "mscale_all_dim": 1.0, "original_max_position_embeddings": 48},
        "tie_word_embeddings": False,
    },
    # The same with FP8 weights, whose tiles do not divide the matrices.
    "deepseek_v3_fp8": {
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
        "torch_dtype": "bfloat16", "hidden_size": 36, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 42,
        "n_routed_experts": 6, "n_shared_experts": 1, "num_experts_per_tok": 2,
        "moe_intermediate_size": 22, "first_k_dense_replace": 1, "moe_layer_freq": 1,
        "q_lora_rank": 18, "kv_lora_rank": 20, "qk_nope_head_dim": 14, "qk_rope_head_dim": 8,
        "v_head_dim": 12, "topk_method": "noaux_tc", "n_group": 1, "topk_group": 1,
        "scoring_func": "sigmoid", "norm_topk_prob": True, "routed_scaling_factor": 2.0,
        "vocab_size": 101, "max_position_embeddings": 160, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "rope_scaling": None, "tie_word_embeddings": False,
        "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                                "weight_block_size": [16, 16]},
    },
}


def shapes(config):
    """Name -> shape of every tensor, as transformers saves (and the family's authors published)
    them."""
    plain = {key: value for key, value in config.items() if key != "quantization_config"}
    with tempfile.TemporaryDirectory() as folder:
        write_json(pathlib.Path(folder) / "config.json", plain)
        model = transformers.AutoModelForCausalLM.from_config(
            transformers.AutoConfig.from_pretrained(folder))
        model.save_pretrained(folder)
        with safetensors.safe_open(pathlib.Path(folder) / "model.safetensors", "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in sorted(file.keys())}


def random_weights(config, random):
    """Large enough that attention and routers decide something and the logits are not flat. In
    float64, the values that the stored type holds."""
    weights = {}
    for name, shape in shapes(config).items():
        if name.endswith("norm.weight"):
            values = random.uniform(0.5, 1.7, shape)
        elif "e_score_correction_bias" in name:
            values = random.normal(0, 0.1, shape)
        elif len(shape) == 1 or name.endswith("_bias"):
            values = random.normal(0, 0.5, shape)
        elif name == "model.embed_tokens.weight":
            values = random.normal(0, 0.5, shape)
        else:
            decides = re.search(r"lm_head|\.gate\.|router|shared_expert_gate", name)
            inputs = shape[1]  # also of stacked [experts, in, out]
            values = random.normal(0, (2.5 if decides else 1.6) / math.sqrt(inputs), shape)
        stored = torch.float32 if "e_score" in name else TORCH_TYPES[config["torch_dtype"]]
        weights[name] = torch.tensor(values).to(stored)
    return weights


FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6],
                   dtype=torch.float64)


def to_mxfp4(name, values):
    """[experts, in, out] as gpt-oss stores it: blocks [experts, out, in / 32, 16], scales
    [experts, out, in / 32]; and the values that these stand for."""
    experts, inputs, outputs = values.shape
    grouped = values.double().transpose(1, 2).reshape(experts, outputs, inputs // 32, 32)
    exponent = torch.floor(torch.log2(grouped.abs().amax(-1))) - 2
    scaled = grouped / torch.exp2(exponent)[..., None]
    codes = (scaled[..., None] - FP4).abs().argmin(-1)
    exact = (FP4[codes] * torch.exp2(exponent)[..., None]).reshape(experts, outputs, inputs)
    stored = {name + "_blocks": (codes[..., 0::2] | codes[..., 1::2] << 4).to(torch.uint8),
              name + "_scales": (exponent + 127).to(torch.uint8)}
    return stored, exact.transpose(1, 2)


def to_fp8(name, values, tile):
    """[out, in] in FP8 with a scale for every tile; and the values that these stand for."""
    rows, cols = values.shape
    scales = torch.empty((-(-rows // tile[0]), -(-cols // tile[1])), dtype=torch.float32)
    stored = torch.empty((rows, cols), dtype=torch.float8_e4m3fn)
    exact = torch.empty((rows, cols), dtype=torch.float64)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            part = (slice(i * tile[0], (i + 1) * tile[0]), slice(j * tile[1], (j + 1) * tile[1]))
            scales[i, j] = values[part].abs().max().float() / 448
            stored[part] = (values[part].float() / scales[i, j]).to(torch.float8_e4m3fn)
            exact[part] = stored[part].double() * scales[i, j].double()
    return {name: stored, name + "_scale_inv": scales}, exact


def quantise(config, weights):
    """What the checkpoint stores, and the values that these stand for."""
    method = config.get("quantization_config", {}).get("quant_method")
    stored, exact = {}, {}
    for name, values in weights.items():
        if method == "mxfp4" and name.endswith(("gate_up_proj", "down_proj")):
            part, exact[name] = to_mxfp4(name, values)
        elif method == "fp8" and name.endswith("_proj.weight"):
            part, exact[name] = to_fp8(name, values,
                                       config["quantization_config"]["weight_block_size"])
        else:
            part, exact[name] = {name: values}, values
        stored.update({key: value.contiguous() for key, value in part.items()})
    return stored, {name: values.double().contiguous() for name, values in exact.items()}


def save_weights(folder, weights, shards):
    """Returns the index of the shards, or None."""
    if shards == 1:
        safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
        return None
    names = sorted(weights)
    index = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: weights[name] for name in names[shard::shards]}
        safetensors.torch.save_file(part, folder / file, {"format": "pt"})
        index.update({name: file for name in part})
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(index.items()))}
    write_json(folder / "model.safetensors.index.json", index)
    return index


def tokenizer():
    """Printable ASCII, one token a character."""
    spelling = {32: "\u0120"}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                          "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                    "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                  "byte_fallback": False, "ignore_merges": False,
                  "vocab": {spelling.get(c, chr(c)): c - 32 for c in range(32, 127)},
                  "merges": []},
    }


def write_json(path, value, indent=None):
    path.write_text(json.dumps(value, indent=indent, separators=None if indent else (",", ":"))
                    + "\n")


def rounded(values):
    """7 significant digits."""
    if isinstance(values, list):
        return [rounded(value) for value in values]
    return float(f"{values:.7g}")


class Model:
    """A checkpoint in transformers, in float64, whose routers are listened to."""

    def __init__(self, folder):
        self.model, loading = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float64, attn_implementation="eager",
            experts_implementation="eager", output_loading_info=True)
        assert not loading["missing_keys"] and not loading["unexpected_keys"], loading
        self.model.eval()
        self.routes = {}
        for number, layer in enumerate(self.model.model.layers):
            gate = getattr(layer.mlp, "gate", None) or getattr(layer.mlp, "router", None)
            if gate is not None:
                gate.register_forward_hook(self.listener(number))

    def listener(self, number):
        def listen(module, inputs, output):
            weights, order = output[1].sort(dim=-1, descending=True)
            self.routes[number] = (output[2].gather(-1, order), weights)
        return listen

    def logits(self, ids):
        with torch.no_grad():
            return self.model(torch.tensor([ids]), use_cache=False).logits[0].double()

    def route_lists(self):
        return [{"layer": number, "experts": ids.tolist(), "weights": rounded(weights.tolist())}
                for number, (ids, weights) in sorted(self.routes.items())]


def make_family(name, config):
    random = numpy.random.default_rng(sum(name.encode()))
    shards = config.pop("shards", 1)
    config = {**COMMON, **config}
    ids = random.integers(0, config["vocab_size"], LENGTH).tolist()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        stored, exact = quantise(config, random_weights(config, random))
        index = save_weights(folder, stored, shards)
        for file in folder.glob("*.safetensors"):
            shutil.move(file, GOLDEN / file.name.replace("model", name, 1))
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        write_json(folder / "config.json", {key: value for key, value in config.items()
                                            if key != "quantization_config"})
        save_weights(folder, exact, 1)
        model = Model(folder)
        logits = model.logits(ids)
    write_json(GOLDEN / f"{name}.json", {
        "about": f"{config['architectures'][0]} of transformers {transformers.__version__} in "
                 "float64; logits of every position, routers' choices by layer and position",
        "config": config,
        "index": index,
        "ids": ids,
        "logits": rounded(logits.tolist()),
        "routes": model.route_lists(),
    })
    print(f"{name}: logits have deviation {logits.std():.2f}")


TINY_PROMPTS = [
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWhat is 12 + 30?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWhat is the opposite of hot?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n",
]
MAX_ANSWER = 40


def make_tiny(folder):
    tokens = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    stop = tokens.convert_tokens_to_ids("<|im_end|>")
    model = Model(folder)
    prompts = []
    for prompt in TINY_PROMPTS:
        ids = tokens(prompt, add_special_tokens=False).input_ids
        logits = model.logits(ids)[-1]
        best = torch.topk(logits, 20)
        answer = []
        while len(answer) < MAX_ANSWER:
            token = int(model.logits(ids + answer)[-1].argmax())
            answer.append(token)
            if token == stop:
                break
        prompts.append({
            "prompt": prompt, "ids": ids,
            "top_ids": best.indices.tolist(), "top_logits": rounded(best.values.tolist()),
            "greedy_ids": answer,
            "greedy_text": tokens.decode(answer, skip_special_tokens=True),
        })
        print(prompts[-1]["greedy_text"])
    write_json(GOLDEN / "moxie_tiny.json", {
        "about": f"The demo model's checkpoint in transformers {transformers.__version__} in "
                 "float64: the 20 largest logits after each prompt, and the greedy answer",
        "prompts": prompts,
    }, 1)


def main():
    write_json(GOLDEN / "golden_tokenizer.json", tokenizer())
    for name, config in FAMILIES.items():
        make_family(name, dict(config))
    if len(sys.argv) > 1:
        make_tiny(pathlib.Path(sys.argv[1]))


if __name__ == "__main__":
    main()
