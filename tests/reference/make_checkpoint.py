#!/usr/bin/env python3
"""Writes a Hugging Face checkpoint with random BF16 weights, of any size: to measure the converter,
not to talk. Needs numpy. Run by hand:

    make_checkpoint.py OUT_DIR --family qwen3moe --layers 8 --hidden 1024 --experts 32 --shards 4

The tokenizer is that of TOKENIZER_DIR (a checkpoint with tokenizer.json), or bytes and three special
tokens. Weights are written a tensor at a time.
"""
import argparse
import json
import os
import shutil
import struct

import numpy

FAMILIES = {"qwen3moe": "Qwen3MoeForCausalLM", "qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}


def tensors(a):
    """(name, shape) in the order of the file."""
    q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
    yield "model.embed_tokens.weight", (a.vocabulary, a.hidden)
    for layer in range(a.layers):
        p = f"model.layers.{layer}."
        yield p + "input_layernorm.weight", (a.hidden,)
        yield p + "self_attn.q_proj.weight", (q, a.hidden)
        yield p + "self_attn.k_proj.weight", (kv, a.hidden)
        yield p + "self_attn.v_proj.weight", (kv, a.hidden)
        yield p + "self_attn.o_proj.weight", (a.hidden, q)
        if a.family != "llama":
            yield p + "self_attn.q_norm.weight", (a.head_dim,)
            yield p + "self_attn.k_norm.weight", (a.head_dim,)
        yield p + "post_attention_layernorm.weight", (a.hidden,)
        prefixes = [p + "mlp."]
        if a.family == "qwen3moe":
            yield p + "mlp.gate.weight", (a.experts, a.hidden)
            prefixes = [f"{p}mlp.experts.{e}." for e in range(a.experts)]
        for prefix in prefixes:
            yield prefix + "gate_proj.weight", (a.ffn, a.hidden)
            yield prefix + "up_proj.weight", (a.ffn, a.hidden)
            yield prefix + "down_proj.weight", (a.hidden, a.ffn)
    yield "model.norm.weight", (a.hidden,)
    if not a.tied:
        yield "lm_head.weight", (a.vocabulary, a.hidden)


def random_bf16(generator, shape):
    count = int(numpy.prod(shape))
    values = generator.standard_normal(count, dtype=numpy.float32)
    values = 1 + 0.1 * values if len(shape) == 1 else values * numpy.float32(shape[1] ** -0.5)
    return (values.astype(numpy.float32).view(numpy.uint32) >> 16).astype("<u2").tobytes()


def write_shard(path, generator, part):
    header, offset = {}, 0
    for name, shape in part:
        size = 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in part:
            file.write(random_bf16(generator, shape))
    return offset


def write_weights(a):
    everything = list(tensors(a))
    generator = numpy.random.default_rng(a.seed)
    if a.shards == 1:
        write_shard(os.path.join(a.out, "model.safetensors"), generator, everything)
        return
    total, weight_map = 0, {}
    size = -(-len(everything) // a.shards)
    for shard in range(a.shards):
        name = f"model-{shard + 1:05}-of-{a.shards:05}.safetensors"
        part = everything[shard * size:(shard + 1) * size]
        total += write_shard(os.path.join(a.out, name), generator, part)
        weight_map.update({tensor: name for tensor, _ in part})
    with open(os.path.join(a.out, "model.safetensors.index.json"), "w") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file)


def write_config(a):
    config = {
        "architectures": [FAMILIES[a.family]], "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        "num_hidden_layers": a.layers, "hidden_size": a.hidden, "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv_heads, "head_dim": a.head_dim, "intermediate_size": a.ffn,
        "vocab_size": a.vocabulary, "max_position_embeddings": 4096, "tie_word_embeddings": a.tied,
        "torch_dtype": "bfloat16",
    }
    if a.family == "qwen3moe":
        config.update({"num_experts": a.experts, "num_experts_per_tok": a.top_k, "norm_topk_prob": True,
                       "moe_intermediate_size": a.ffn, "decoder_sparse_step": 1, "mlp_only_layers": []})
    with open(os.path.join(a.out, "config.json"), "w") as file:
        json.dump(config, file, indent=1)


def byte_names():
    """GPT-2's printable spelling of the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return [chr(b) if b in plain else chr(256 + others.index(b)) for b in range(256)]


def write_tokenizer(a):
    if a.tokenizer:
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            if os.path.exists(os.path.join(a.tokenizer, name)):
                shutil.copy(os.path.join(a.tokenizer, name), a.out)
        return
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    special = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": level,
        "post_processor": None, "decoder": level,
        "added_tokens": [{"id": 256 + i, "content": text, **flags} for i, text in enumerate(special)],
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {name: i for i, name in enumerate(byte_names())}, "merges": []},
    }
    with open(os.path.join(a.out, "tokenizer.json"), "w") as file:
        json.dump(tokenizer, file)
    with open(os.path.join(a.out, "tokenizer_config.json"), "w") as file:
        json.dump({"eos_token": "<|im_end|>"}, file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--family", choices=FAMILIES, default="qwen3moe")
    parser.add_argument("--tokenizer", metavar="TOKENIZER_DIR")
    parser.add_argument("--tied", action="store_true")
    for name, value in {"layers": 8, "hidden": 1024, "heads": 16, "kv-heads": 4, "head-dim": 64, "ffn": 768,
                        "experts": 32, "top-k": 4, "vocabulary": 32000, "shards": 1, "seed": 1}.items():
        parser.add_argument("--" + name, type=int, default=value)
    a = parser.parse_args()
    os.makedirs(a.out, exist_ok=True)
    write_config(a)
    write_tokenizer(a)
    write_weights(a)


if __name__ == "__main__":
    main()
