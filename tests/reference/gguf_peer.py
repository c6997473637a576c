#!/usr/bin/env python3
"""Our GGUF files in llama.cpp, and llama.cpp's in moxie. Run by hand, with a Python that has
llama-cpp-python (the CPU build) and numpy:

    gguf_peer.py families MOXIE            every family of tests/golden, exported, beside its reference
    gguf_peer.py model MOXIE MODEL [TYPE]  a model exported and run by both; quantised by llama.cpp to
                                           the types named, run by both again

MOXIE is the built program. Prints a table; exits with 1 if a bound is missed.
"""
import ctypes
import json
import os
import subprocess
import sys
import tempfile

import llama_cpp
import numpy

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
GOLDEN = os.path.join(ROOT, "tests", "golden")

# llama.cpp's numbers of the mixes it can quantise to (include/llama.h).
MIXES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q2_k": 10, "q3_k_s": 11,
         "q3_k_m": 12, "q4_k_s": 14, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18, "iq4_nl": 25,
         "iq4_xs": 30, "bf16": 32, "mxfp4_moe": 38}

# What the demo model knows.
QUESTION = "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n"
QUESTIONS = ["Hello!", "What is the capital of France?", "What is 12 + 30?",
             "What is the opposite of hot?", "What day comes after Friday?", "Tell me a story."]


class Peer:
    """llama.cpp with one model."""

    def __init__(self, path, n_ctx=512):
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            raise RuntimeError("llama.cpp cannot load " + path)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_threads = params.n_threads_batch = 2
        params.type_k = params.type_v = 0  # f32
        params.flash_attn_type = 0
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError("llama.cpp cannot make a context for " + path)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.n_past = 0

    def close(self):
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)

    def evaluate(self, ids):
        """Logits of every position, float64 [n, vocabulary]."""
        batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i] = token
            batch.pos[i] = self.n_past + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = 1
        status = llama_cpp.llama_decode(self.context, batch)
        llama_cpp.llama_batch_free(batch)
        if status != 0:
            raise RuntimeError("llama_decode: %d" % status)
        self.n_past += len(ids)
        rows = []
        for i in range(len(ids)):
            row = llama_cpp.llama_get_logits_ith(self.context, i)
            rows.append(numpy.ctypeslib.as_array(row, (self.vocabulary,)).astype(numpy.float64))
        return numpy.stack(rows)

    def greedy(self, ids, n):
        out = []
        step = list(ids)
        for _ in range(n):
            out.append(int(self.evaluate(step)[-1].argmax()))
            step = [out[-1]]
        return out


def ours(moxie, path, ids):
    text = subprocess.run([moxie, "logits", path, "--ids", ",".join(map(str, ids)), "--all",
                           "--json", "--device", "cpu", "--kv-type", "f32"],
                          check=True, capture_output=True, text=True).stdout
    return numpy.array(json.loads(text)["logits"], dtype=numpy.float64)


def nmse(a, b):
    return float(((a - b) ** 2).sum() / (b ** 2).sum())


def export(moxie, model, path):
    run = subprocess.run([moxie, "export", model, path], capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(run.stderr.strip())


def family_folder(name, folder):
    reference = json.load(open(os.path.join(GOLDEN, name + ".json")))
    json.dump(reference["config"], open(os.path.join(folder, "config.json"), "w"))
    if reference.get("index"):
        json.dump(reference["index"], open(os.path.join(folder, "model.safetensors.index.json"), "w"))
        for file in set(reference["index"]["weight_map"].values()):
            os.symlink(os.path.join(GOLDEN, file), os.path.join(folder, file))
    else:
        os.symlink(os.path.join(GOLDEN, name + ".safetensors"),
                   os.path.join(folder, "model.safetensors"))
    os.symlink(os.path.join(GOLDEN, "golden_tokenizer.json"), os.path.join(folder, "tokenizer.json"))
    return reference


def families(moxie, names):
    print("| family | NMSE to transformers: llama.cpp on our GGUF | ... cast to f32 by llama.cpp"
          " | moxie on our GGUF | moxie on the safetensors |")
    print("|---|---|---|---|---|")
    for name in names or sorted(f[:-5] for f in os.listdir(GOLDEN) if f.endswith(".json")):
        if name in ("moxie_tiny", "golden_tokenizer"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            reference = family_folder(name, folder)
            ids, logits = reference["ids"], numpy.array(reference["logits"])
            path = os.path.join(folder, "model.gguf")
            row = []
            try:
                export(moxie, folder, path)
            except RuntimeError as error:
                print("| %s | %s | | |" % (name, str(error).replace(folder, "")))
                continue
            for run in (lambda: peer_logits(path, ids), lambda: cast_logits(path, ids), lambda: ours(moxie, path, ids),
                        lambda: ours(moxie, folder, ids)):
                try:
                    row.append("%.1e" % nmse(run(), logits))
                except (RuntimeError, subprocess.CalledProcessError) as error:
                    text = getattr(error, "stderr", None) or str(error)
                    row.append(text.strip().replace(folder, "")[:160])
            print("| %s | %s |" % (name, " | ".join(row)), flush=True)


def peer_logits(path, ids):
    peer = Peer(path)
    try:
        return peer.evaluate(ids)
    finally:
        peer.close()


def cast_logits(path, ids):
    """llama.cpp rounds activations to the type of bf16 and f16 weights; f32 shows what is left."""
    quantise(path, path + ".f32", "f32")
    return peer_logits(path + ".f32", ids)


def peer_greedy(path, ids, n):
    peer = Peer(path)
    try:
        return peer.greedy(ids, n)
    finally:
        peer.close()


def tokenize(moxie, model, text):
    out = subprocess.run([moxie, "tokenize", model, text, "--special", "--json"],
                         check=True, capture_output=True, text=True).stdout
    return json.loads(out)["ids"]


def compare(moxie, path, ids, n):
    """(NMSE of the prompt's logits by position, how many of llama.cpp's n greedy tokens are ours)"""
    expected = peer_logits(path, ids)
    tokens = peer_greedy(path, ids, n)
    logits = ours(moxie, path, ids + tokens[:-1])
    errors = [nmse(logits[i], expected[i]) for i in range(len(ids))]
    chosen = logits[len(ids) - 1:].argmax(axis=1)
    return errors, sum(int(a) == b for a, b in zip(chosen, tokens))


def quantise(source, path, mix):
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread = 2
    params.ftype = MIXES[mix]
    params.allow_requantize = True
    if llama_cpp.llama_model_quantize(source.encode(), path.encode(), ctypes.byref(params)) != 0:
        raise RuntimeError("llama.cpp cannot quantise to " + mix)


def model(moxie, path, mixes):
    tokens = 20
    prompts = [tokenize(moxie, path, QUESTION % text) for text in QUESTIONS]
    bad = False
    print("| file | NMSE of the prompts' logits, ours to llama.cpp's: median | worst position | equal"
          " greedy tokens of %d |" % (tokens * len(prompts)))
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        exported = os.path.join(folder, "exported.gguf")
        export(moxie, path, exported)
        for mix in [None] + mixes:
            file = exported
            if mix:
                file = os.path.join(folder, mix + ".gguf")
                try:
                    quantise(exported, file, mix)
                except RuntimeError as error:
                    print("| %s | %s | |" % (mix, error))
                    continue
            results = [compare(moxie, file, ids, tokens) for ids in prompts]
            errors = sorted(e for r in results for e in r[0])
            median, equal = errors[len(errors) // 2], sum(r[1] for r in results)
            print("| %s | %.1e | %.1e | %d |" % (mix or "exported", median, errors[-1], equal),
                  flush=True)
            bad = bad or median > 1e-2
    sys.exit(bad)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("families", "model"):
        sys.exit(__doc__)
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    if not os.environ.get("VERBOSE"):
        llama_cpp.llama_log_set(quiet, None)
    if sys.argv[1] == "families":
        families(sys.argv[2], sys.argv[3:])
    else:
        model(sys.argv[2], sys.argv[3], sys.argv[4:])
