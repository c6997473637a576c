#!/usr/bin/env python3
"""Time and peak memory of conversion, beside the ways of the gguf package and of llama.cpp.

    convert_speed.py CHECKPOINT MOXIE WORK_FOLDER [ROUNDS]

CHECKPOINT is a folder of the Qwen3-MoE family with bf16 weights (config.json, tokenizer.json,
sharded safetensors), MOXIE the program. For q8_0 the peer is gguf.quants with GGUFWriter, one tensor
in memory at a time; for q4_k_m a bf16 GGUF made in the same way, then llama_model_quantize of
libllama (llama-cpp-python), with as many threads as this machine has cores. Every way runs in a
process of its own, one after the other in every round, into WORK_FOLDER; the results are on the same
disk as the checkpoint in the best case. Prints a table: seconds (the best of the rounds), seconds of
processor time, and the largest resident set. Run by hand; needs numpy, torch, safetensors, gguf and
llama_cpp.
"""

import json
import os
import subprocess
import sys
import time


def names(config):
    """(GGUF name, names of the tensors that it is stacked from) in file order."""
    yield "token_embd.weight", ["model.embed_tokens.weight"]
    for layer in range(config["num_hidden_layers"]):
        prefix, target = f"model.layers.{layer}.", f"blk.{layer}."
        for gguf_name, name in (
            ("attn_norm", "input_layernorm"), ("attn_q", "self_attn.q_proj"),
            ("attn_k", "self_attn.k_proj"), ("attn_v", "self_attn.v_proj"),
            ("attn_output", "self_attn.o_proj"), ("attn_q_norm", "self_attn.q_norm"),
            ("attn_k_norm", "self_attn.k_norm"), ("ffn_norm", "post_attention_layernorm"),
            ("ffn_gate_inp", "mlp.gate"),
        ):
            yield target + gguf_name + ".weight", [prefix + name + ".weight"]
        for part in ("gate", "up", "down"):
            yield f"{target}ffn_{part}_exps.weight", [
                f"{prefix}mlp.experts.{e}.{part}_proj.weight" for e in range(config["num_experts"])]
    yield "output_norm.weight", ["model.norm.weight"]
    yield "output.weight", ["lm_head.weight"]


def write_gguf(folder, out, kind):
    """The checkpoint as a GGUF file of type q8_0 or bf16, tensor by tensor."""
    import gguf
    import numpy
    import torch
    from safetensors import safe_open

    config = json.load(open(os.path.join(folder, "config.json")))
    where = json.load(open(os.path.join(folder, "model.safetensors.index.json")))["weight_map"]
    files = {f: safe_open(os.path.join(folder, f), "pt") for f in set(where.values())}
    wanted = {"q8_0": gguf.GGMLQuantizationType.Q8_0, "bf16": gguf.GGMLQuantizationType.BF16}[kind]

    def type_of(name, shape):
        small = len(shape) == 1 or name.endswith("ffn_gate_inp.weight")
        return gguf.GGMLQuantizationType.F32 if small else wanted

    def shape_of(parts):
        shape = files[where[parts[0]]].get_slice(parts[0]).get_shape()
        return ([len(parts)] if len(parts) > 1 else []) + list(shape)

    def load(parts, kind_of_tensor):
        tensors = [files[where[p]].get_tensor(p) for p in parts]
        if kind_of_tensor == gguf.GGMLQuantizationType.BF16:
            done = [t.view(torch.uint8).numpy() for t in tensors]
        elif kind_of_tensor == gguf.GGMLQuantizationType.F32:
            done = [t.float().numpy() for t in tensors]
        else:
            done = [gguf.quants.quantize(t.float().numpy(), kind_of_tensor) for t in tensors]
        return numpy.stack(done) if len(done) > 1 else done[0]

    writer = gguf.GGUFWriter(out, "qwen3moe")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_expert_count(config["num_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    for name, parts in names(config):
        shape = shape_of(parts)
        kind_of_tensor = type_of(name, shape)
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind_of_tensor]
        n_bytes = 1
        for n in shape:
            n_bytes *= n
        n_bytes = n_bytes // block * block_bytes
        stored = shape
        if kind_of_tensor in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.BF16):
            stored = shape[:-1] + [shape[-1] // block * block_bytes]
        writer.add_tensor_info(name, stored, numpy.dtype(
            numpy.float32 if kind_of_tensor == gguf.GGMLQuantizationType.F32 else numpy.uint8),
            n_bytes, raw_dtype=kind_of_tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, parts in names(config):
        writer.write_tensor_data(load(parts, type_of(name, shape_of(parts))))
    writer.close()


def quantize_gguf(source, out):
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread = os.cpu_count()
    params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
    if llama_cpp.llama_model_quantize(source.encode(), out.encode(), params) != 0:
        sys.exit("llama_model_quantize failed")


def measure(command):
    """Wall seconds, processor seconds, largest resident set in MiB of a process that must succeed."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if status != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    if sys.argv[1] == "write":
        return write_gguf(*sys.argv[2:5])
    if sys.argv[1] == "quantize":
        return quantize_gguf(*sys.argv[2:4])
    folder, moxie, work = sys.argv[1:4]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 2
    me = [sys.executable, os.path.abspath(__file__)]
    out = {k: os.path.join(work, k) for k in ("a.moxie", "a.gguf", "bf16.gguf", "q4.gguf")}
    ways = [
        ("q8_0", "moxie convert", [moxie, "convert", folder, out["a.moxie"], "--type", "q8_0"]),
        ("q8_0", "gguf-py", me + ["write", folder, out["a.gguf"], "q8_0"]),
        ("bf16", "moxie convert", [moxie, "convert", folder, out["a.moxie"], "--type", "bf16"]),
        ("bf16", "gguf-py", me + ["write", folder, out["bf16.gguf"], "bf16"]),
        ("q4_k_m", "moxie convert", [moxie, "convert", folder, out["a.moxie"], "--type", "q4_k_m"]),
        ("q4_k_m", "llama_model_quantize, after gguf-py's bf16",
         me + ["quantize", out["bf16.gguf"], out["q4.gguf"]]),
    ]
    results = {}
    for _ in range(rounds):
        for kind, way, command in ways:
            results.setdefault((kind, way), []).append(measure(command))
            print(kind, way, results[kind, way][-1], file=sys.stderr, flush=True)
            if out["a.moxie"] in command:
                os.unlink(out["a.moxie"])
    size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder)
               if f.endswith(".safetensors"))
    print(f"{size / 2**30:.2f} GiB of bf16 safetensors, {os.cpu_count()} cores\n")
    print("| type | way | seconds | processor seconds | peak memory MiB |")
    print("|---|---|---|---|---|")
    for (kind, way), runs in results.items():
        best = min(runs)
        print(f"| {kind} | {way} | {best[0]:.1f} | {min(r[1] for r in runs):.1f} | "
              f"{max(r[2] for r in runs):.0f} |")
    for path in out.values():
        if os.path.exists(path):
            os.unlink(path)


if __name__ == "__main__":
    main()
