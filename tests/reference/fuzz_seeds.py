#!/usr/bin/env python3
"""Makes the seeds of the fuzz targets in tests/fuzz: models of a few kilobytes. Run by hand.

    fuzz_seeds.py MOXIE_PROGRAM

Needs no packages, but libxxhash. The same program makes the same files.
"""
import ctypes
import json
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
SEEDS = ROOT / "tests" / "fuzz"
H, V, F = 8, 97, 8  # hidden, vocabulary of golden_tokenizer.json, width of an expert

BASE = {
    "hidden_size": H, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 4, "intermediate_size": F, "vocab_size": V, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": True,
}


def attention(p):
    return {p + "self_attn.q_proj.weight": [8, H], p + "self_attn.k_proj.weight": [4, H],
            p + "self_attn.v_proj.weight": [4, H], p + "self_attn.o_proj.weight": [H, 8]}


def ffn(p, width=F, hidden=H):
    return {p + "gate_proj.weight": [width, hidden], p + "up_proj.weight": [width, hidden],
            p + "down_proj.weight": [hidden, width]}


def common(layers=1, hidden=H):
    tensors = {"model.embed_tokens.weight": [V, hidden], "model.norm.weight": [hidden]}
    for i in range(layers):
        tensors[f"model.layers.{i}.input_layernorm.weight"] = [hidden]
        tensors[f"model.layers.{i}.post_attention_layernorm.weight"] = [hidden]
    return tensors


def qwen3moe():
    p = "model.layers.0."
    t = common() | attention(p)
    t |= {p + "self_attn.q_norm.weight": [4], p + "self_attn.k_norm.weight": [4], p + "mlp.gate.weight": [2, H]}
    for e in range(2):
        t |= ffn(f"{p}mlp.experts.{e}.")
    return "Qwen3MoeForCausalLM", {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": F,
                                   "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []}, t


def qwen2moe():
    p = "model.layers.0."
    t = common() | attention(p) | ffn(p + "mlp.shared_expert.")
    t |= {p + "self_attn.q_proj.bias": [8], p + "self_attn.k_proj.bias": [4], p + "self_attn.v_proj.bias": [4],
          p + "mlp.gate.weight": [2, H], p + "mlp.shared_expert_gate.weight": [1, H]}
    for e in range(2):
        t |= ffn(f"{p}mlp.experts.{e}.")
    return "Qwen2MoeForCausalLM", {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": F,
                                   "shared_expert_intermediate_size": F, "norm_topk_prob": False}, t


def llama():
    p = "model.layers.0."
    return "LlamaForCausalLM", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                                 "high_freq_factor": 4.0,
                                                 "original_max_position_embeddings": 16}}, \
        common() | attention(p) | ffn(p + "mlp.")


def deepseek():
    t = common(2)
    for i in range(2):
        p = f"model.layers.{i}."
        t |= {p + "self_attn.q_proj.weight": [2 * 6, H], p + "self_attn.kv_a_proj_with_mqa.weight": [4 + 2, H],
              p + "self_attn.kv_a_layernorm.weight": [4], p + "self_attn.kv_b_proj.weight": [2 * 8, 4],
              p + "self_attn.o_proj.weight": [H, 8]}
    t |= ffn("model.layers.0.mlp.") | ffn("model.layers.1.mlp.shared_experts.")
    t |= {"model.layers.1.mlp.gate.weight": [4, H], "model.layers.1.mlp.gate.e_score_correction_bias": [4]}
    for e in range(4):
        t |= ffn(f"model.layers.1.mlp.experts.{e}.")
    numbers = {"num_hidden_layers": 2, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2,
               "moe_intermediate_size": F, "first_k_dense_replace": 1, "q_lora_rank": None, "kv_lora_rank": 4,
               "qk_nope_head_dim": 4, "qk_rope_head_dim": 2, "v_head_dim": 4, "topk_method": "noaux_tc",
               "n_group": 2, "topk_group": 1, "scoring_func": "sigmoid", "norm_topk_prob": True,
               "num_key_value_heads": 2, "routed_scaling_factor": 2.5,
               "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 16,
                                "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0}}
    return "DeepseekV3ForCausalLM", numbers, t


def gptoss():
    p, h = "model.layers.0.", 32
    t = common(1, h)
    t |= {p + "self_attn.q_proj.weight": [8, h], p + "self_attn.k_proj.weight": [4, h],
          p + "self_attn.v_proj.weight": [4, h], p + "self_attn.o_proj.weight": [h, 8],
          p + "self_attn.q_proj.bias": [8], p + "self_attn.k_proj.bias": [4], p + "self_attn.v_proj.bias": [4],
          p + "self_attn.o_proj.bias": [h], p + "self_attn.sinks": [2],
          p + "mlp.router.weight": [2, h], p + "mlp.router.bias": [2],
          p + "mlp.experts.gate_up_proj_blocks": [2, 64, 1, 16], p + "mlp.experts.gate_up_proj_scales": [2, 64, 1],
          p + "mlp.experts.gate_up_proj_bias": [2, 64],
          p + "mlp.experts.down_proj_blocks": [2, 32, 1, 16], p + "mlp.experts.down_proj_scales": [2, 32, 1],
          p + "mlp.experts.down_proj_bias": [2, 32]}
    return "GptOssForCausalLM", {"hidden_size": h, "intermediate_size": 32, "num_local_experts": 2,
                                 "num_experts_per_tok": 1, "attention_bias": True, "sliding_window": 8,
                                 "layer_types": ["sliding_attention"], "swiglu_limit": 7.0,
                                 "quantization_config": {"quant_method": "mxfp4"}}, t


def safetensors(shapes, seed):
    numbers = random.Random(seed)
    header, data = {}, b""
    for name, shape in shapes.items():
        n = 1
        for dim in shape:
            n *= dim
        if name.endswith("_blocks"):
            raw, dtype = numbers.randbytes(n), "U8"
        elif name.endswith("_scales"):
            raw, dtype = bytes(numbers.choices(range(120, 128), k=n)), "U8"
        else:
            raw = b"".join(struct.pack("<f", numbers.uniform(-1, 1))[2:] for _ in range(n))
            dtype = "BF16"
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def run(*command, folder=None):
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make(program, family, scratch):
    name = family.__name__
    architecture, numbers, tensors = family()
    folder = scratch / name
    folder.mkdir()
    config = {"architectures": [architecture]} | BASE | numbers
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(safetensors(tensors, 1))
    tokenizer = json.loads((GOLDEN / "golden_tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    more = ["--compress", "zstd"] if name == "deepseek" else []
    moxie = scratch / f"{name}.moxie"
    run(program, "convert", folder, moxie, "--type", "f32" if name == "qwen3moe" else "bf16", *more)
    if name in ("qwen3moe", "deepseek"):
        shutil.copy(moxie, SEEDS / "moxie" / f"{name}.moxie")
    run(program, "export", moxie, SEEDS / "gguf" / f"{name}.gguf")


def containers():
    one = safetensors({"a": [2, 3], "b.weight": [4]}, 2)
    two = safetensors({"c": [], "d": [0, 7], "e.weight_blocks": [2, 5]}, 3)
    index = json.dumps({"metadata": {"total_size": 48}, "weight_map": {
        "a": "a.safetensors", "b.weight": "a.safetensors", "c": "b.safetensors", "d": "b.safetensors",
        "e.weight_blocks": "b.safetensors"}}).encode()
    (SEEDS / "safetensors" / "one.safetensors").write_bytes(one)
    (SEEDS / "safetensors" / "shards.safetensors").write_bytes(b"\n--8<--\n".join([index, one, two]))
    _, _, tensors = llama()
    (SEEDS / "safetensors" / "llama.safetensors").write_bytes(safetensors(tensors, 1))


PIECES = ["\u2581", "e", "t", "a", "o", "n", "h", "\u2581t", "he", "\u2581the", "on", "\u2581a", "\n"]
TEMPLATE = """{%- set ns = namespace(n=0) -%}
{%- macro turn(m, loud=false) -%}<{{ m.role|upper if loud else m['role'] }}>{{ m.content|trim }}{%- endmacro -%}
{%- for m in messages if m.content is string -%}
{{ turn(m, loud=loop.first) ~ ("," if not loop.last else "") }}{% set ns.n = ns.n + loop.index0 % 3 %}
{%- else %}none{% endfor %}{% if 1 > 2 %}{% elif tools is defined %}tools{% endif %}
{%- for t in tools|default([], true) %}{{ t|tojson(indent=2) }}{{ t.name[1:-1:2]|replace("a", "b", 1) }}{% endfor %}
{{- [1, 2.5, "x", none, true, {"k": (1, 2)}]|map("string")|join("-") }} {{ "%s %d"|format("a", 3) }}
{{- messages|selectattr("role", "equalto", "user")|map(attribute="content")|list|length ** 2 // 1 }}
{%- if add_generation_prompt and not (ns.n >= 0 or "q" in bos_token) %}{{ raise_exception("no") }}{% endif %}
{{- "a b c".split(" ")[::-1] }}{{ messages[0].items()|list }}{{ "{:>5}".format(7) }}{{ range(3)|sum }}
{%- generation %}{{ "x" * 3 + eos_token }}{% endgeneration %}{# a comment #}"""


def sentencepiece():
    """A tokenizer.json like those of Llama 2 and Mixtral."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + PIECES
    merges = [[a, b] for a, b in (("\u2581", "t"), ("h", "e"), ("\u2581t", "he"), ("o", "n"), ("\u2581", "a"))]
    special = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i, t in enumerate(tokens[:3])]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
            "pre_tokenizer": None,
            "post_processor": {"type": "TemplateProcessing",
                               "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                          {"Sequence": {"id": "A", "type_id": 0}}],
                               "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                        {"Sequence": {"id": "A", "type_id": 0}},
                                        {"SpecialToken": {"id": "<s>", "type_id": 1}},
                                        {"Sequence": {"id": "B", "type_id": 1}}],
                               "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
                {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                      "vocab": {t: i for i, t in enumerate(tokens)}, "merges": merges}}


def speech():
    """A byte-level tokenizer with the special tokens of the templates."""
    tokenizer = json.loads((GOLDEN / "golden_tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    texts = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
             "<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>"]
    tokenizer["added_tokens"] = [{"id": len(vocab) + i, "content": t, "single_word": False, "lstrip": False,
                                  "rstrip": False, "normalized": False, "special": True} for i, t in enumerate(texts)]
    return tokenizer


CONVERSATIONS = ["template words", "odd text", "tool call", "nested arguments", "reasoning and tools", "parts everywhere",
                 "documents and tools", "builtin tools and tools", "thinking off"]


def messages():
    """Some conversations of tests/text; and a tokenizer for them."""
    every = json.loads((ROOT / "tests" / "text" / "chat_messages_vectors.json").read_text())["conversations"]
    for name in CONVERSATIONS:
        chat = every[name]
        parts = [json.dumps(chat[k], ensure_ascii=False) for k in ("messages", "tools", "variables")]
        path = SEEDS / "messages" / f"{name.replace(' ', '_')}.messages"
        path.write_text("\n--8<--\n".join(parts))
    (SEEDS / "messages_tokenizer.json").write_text(json.dumps(speech()))


def pieces():
    """Files of SentencePiece of tests/text, one with its companions."""
    for name in ("sentencepiece_bpe", "unigram_t5"):
        shutil.copy(ROOT / "tests" / "text" / f"{name}.model", SEEDS / "tokenizer_model" / f"{name}.tokenizer_model")
    raw = (ROOT / "tests" / "text" / "sentencepiece_bpe.model").read_bytes()
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True, "add_eos_token": False,
              "added_tokens_decoder": {"0": {"content": "<unk>", "special": True}}}
    (SEEDS / "tokenizer_model" / "companions.tokenizer_model").write_bytes(
        b"\n--8<--\n".join([raw, json.dumps(config).encode(), b"{}"]))


def gguf_text(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf_vocabulary():
    """A GGUF file without tensors: SentencePiece with scores and types."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + PIECES
    n = len(tokens)
    types = [2, 3, 3] + 256 * [6] + len(PIECES) * [1]
    key = lambda name, kind: gguf_text(name) + struct.pack("<I", kind)
    array = lambda name, kind: key("tokenizer.ggml." + name, 9) + struct.pack("<IQ", kind, n)
    pairs = [key("general.architecture", 8) + gguf_text("llama"),
             key("tokenizer.ggml.model", 8) + gguf_text("llama"),
             array("tokens", 8) + b"".join(gguf_text(t) for t in tokens),
             array("scores", 6) + struct.pack(f"<{n}f", *(-float(i) for i in range(n))),
             array("token_type", 5) + struct.pack(f"<{n}i", *types),
             key("tokenizer.ggml.bos_token_id", 4) + struct.pack("<I", 1),
             key("tokenizer.ggml.eos_token_id", 4) + struct.pack("<I", 2),
             key("tokenizer.ggml.unknown_token_id", 4) + struct.pack("<I", 0),
             key("tokenizer.ggml.add_bos_token", 7) + b"\1"]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)


def gguf_parts(raw):
    """A GGUF file as two: all pairs and the first tensors, then the others."""
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    n_tensors, n_pairs = struct.unpack_from("<QQ", raw, 8)
    at = 24

    def skip(kind, at):
        if kind == 8:
            return at + 8 + struct.unpack_from("<Q", raw, at)[0]
        if kind != 9:
            return at + sizes[kind]
        kind, count = struct.unpack_from("<IQ", raw, at)
        at += 12
        for _ in range(count):
            at = skip(kind, at)
        return at

    for _ in range(n_pairs):
        at = skip(8, at)
        at = skip(struct.unpack_from("<I", raw, at)[0], at + 4)
    pairs, records = raw[24:at], []
    for _ in range(n_tensors):
        start = at
        at = skip(8, at)
        at += 4 + 8 * struct.unpack_from("<I", raw, at)[0] + 4
        records.append((raw[start:at], struct.unpack_from("<Q", raw, at)[0]))
        at += 8
    data = raw[(at + 31) // 32 * 32:]
    ends = [offset for _, offset in records[1:]] + [len(data)]
    parts = []
    for number, chosen in enumerate((range(0, n_tensors // 2), range(n_tensors // 2, n_tensors))):
        split = b"".join(gguf_text("split." + k) + struct.pack("<IH", 2, v) for k, v in
                         (("no", number), ("count", 2)))
        split += gguf_text("split.tensors.count") + struct.pack("<Ii", 5, n_tensors)
        first = records[chosen[0]][1]
        head = b"GGUF" + struct.pack("<IQQ", 3, len(chosen), 3 + (0 if number else n_pairs))
        head += split + (b"" if number else pairs)
        head += b"".join(records[i][0] + struct.pack("<Q", records[i][1] - first) for i in chosen)
        head += bytes(-len(head) % 32)
        parts.append(head + data[first:ends[chosen[-1]]])
    return b"\n--8<--\n".join(parts)


def caches():
    """As engine/base/cache_file.h has them: sizes of kernels (vk_tuning.h), more than there are, a verdict and
    whether importing pays (vk_kept.h), and any bytes."""
    key = b"fuzz, one device\0"
    xxh3 = ctypes.CDLL("libxxhash.so.0").XXH3_64bits
    xxh3.restype, xxh3.argtypes = ctypes.c_uint64, (ctypes.c_char_p, ctypes.c_size_t)
    for name, data in (("tuning", struct.pack("<16I", 32, 8, 1, 32, 32, 64, *[1] * 10)),
                       ("verdict", struct.pack("<3I", 5, 1, 77)), ("import", b"\1"), ("bytes", bytes(range(1, 90)))):
        checksum = xxh3(key + data, len(key + data))
        head = b"MOXCACHE" + struct.pack("<IIQQ", 1, len(key), len(data), checksum)
        (SEEDS / "cache" / f"{name}.cache").write_bytes(head + key + data)


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    for target in ("moxie", "gguf", "safetensors", "config", "imatrix", "tokenizer", "tokenizer_model",
                   "template", "messages", "quant", "cache"):
        (SEEDS / target).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for family in (qwen3moe, qwen2moe, llama, deepseek, gptoss):
            make(program, family, pathlib.Path(scratch))
        (pathlib.Path(scratch) / "text.txt").write_text("Once upon a time there was a little router. " * 2)
        run(program, "imatrix", SEEDS / "moxie" / "qwen3moe.moxie", "-f", "text.txt", "-o",
            SEEDS / "imatrix" / "qwen3moe.imatrix", "--device", "cpu", folder=scratch)
    containers()
    messages()
    pieces()
    (SEEDS / "gguf" / "split.gguf").write_bytes(gguf_parts((SEEDS / "gguf" / "llama.gguf").read_bytes()))
    (SEEDS / "gguf" / "vocabulary.gguf").write_bytes(gguf_vocabulary())
    (SEEDS / "tokenizer" / "sentencepiece.tokenizer").write_text(json.dumps(sentencepiece()))
    (SEEDS / "tokenizer" / "golden.tokenizer").write_bytes((GOLDEN / "golden_tokenizer.json").read_bytes())
    numbers = random.Random(4)
    (SEEDS / "quant" / "normal.quant").write_bytes(struct.pack("<256f", *(numbers.gauss(0, 1) for _ in range(256))) +
                                                   struct.pack("<256f", *(numbers.random() for _ in range(256))))
    caches()
    (SEEDS / "template" / "many.template").write_text(TEMPLATE)
    for path in sorted(GOLDEN.glob("*.json")):
        config = json.loads(path.read_text()).get("config")
        if config and path.stem != "qwen3moe_step":
            (SEEDS / "config" / f"{path.stem}.config").write_text(json.dumps(config))


main()
