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
}


def layer_has_router(config, layer):
    return (config.get("num_experts", 0) > 0
            and layer not in config["mlp_only_layers"]
            and (layer + 1) % config["decoder_sparse_step"] == 0)


def shapes(config):
    """Name -> shape of every tensor, as the published checkpoints of the family have them."""
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads", heads)
    head_dim = config.get("head_dim", hidden // heads)
    out = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    if not config["tie_word_embeddings"]:
        out["lm_head.weight"] = (vocabulary, hidden)
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        out[p + "input_layernorm.weight"] = (hidden,)
        out[p + "post_attention_layernorm.weight"] = (hidden,)
        out[p + "self_attn.q_proj.weight"] = (heads * head_dim, hidden)
        out[p + "self_attn.k_proj.weight"] = (kv_heads * head_dim, hidden)
        out[p + "self_attn.v_proj.weight"] = (kv_heads * head_dim, hidden)
        out[p + "self_attn.o_proj.weight"] = (hidden, heads * head_dim)
        if config["model_type"].startswith("qwen3"):
            out[p + "self_attn.q_norm.weight"] = (head_dim,)
            out[p + "self_attn.k_norm.weight"] = (head_dim,)
        networks = [(p + "mlp.", config["intermediate_size"])]
        if layer_has_router(config, layer):
            out[p + "mlp.gate.weight"] = (config["num_experts"], hidden)
            networks = [(f"{p}mlp.experts.{expert}.", config["moe_intermediate_size"])
                        for expert in range(config["num_experts"])]
        for name, width in networks:
            out[name + "gate_proj.weight"] = (width, hidden)
            out[name + "up_proj.weight"] = (width, hidden)
            out[name + "down_proj.weight"] = (hidden, width)
    return out


def random_weights(config, random):
    """Large enough that attention and routers decide something and the logits are not flat."""
    weights = {}
    for name, shape in shapes(config).items():
        if len(shape) == 1:
            values = random.uniform(0.5, 1.7, shape)
        elif name == "model.embed_tokens.weight":
            values = random.normal(0, 0.5, shape)
        else:
            gain = 2.5 if "lm_head" in name or "mlp.gate." in name else 1.6
            values = random.normal(0, gain / math.sqrt(shape[1]), shape)
        weights[name] = torch.tensor(values).to(TORCH_TYPES[config["torch_dtype"]])
    return weights


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
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float64, attn_implementation="eager",
            experts_implementation="eager")
        self.model.eval()
        self.routes = {}
        for number, layer in enumerate(self.model.model.layers):
            gate = getattr(layer.mlp, "gate", None)
            if gate is not None:
                gate.register_forward_hook(self.listener(number))

    def listener(self, number):
        def listen(module, inputs, output):
            self.routes[number] = (output[2], output[1])
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
        write_json(folder / "config.json", config)
        index = save_weights(folder, random_weights(config, random), shards)
        model = Model(folder)
        logits = model.logits(ids)
        for file in folder.glob("*.safetensors"):
            shutil.copyfile(file, GOLDEN / file.name.replace("model", name, 1))
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
