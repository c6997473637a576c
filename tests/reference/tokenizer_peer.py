#!/usr/bin/env python3
"""Compares the token ids of `moxie tokenize` with llama.cpp's, file by file.

Run by hand; needs the packages llama-cpp-python and tokenizers:

    python3 tests/reference/tokenizer_peer.py build/tools/moxie FILE.gguf ...

The files may have a vocabulary only, and may come from `moxie export`. Known differences: text such
as "[PAD151933]", the name of a row without a token, is text here and a token there; a few texts with
white space before U+3000 in the deepseek-llm vocabulary are cut there as the checkpoint's pattern,
run by Hugging Face's tokenizers, does not cut them; and there NFC is never applied.
"""
import subprocess
import sys
import unicodedata

from llama_cpp import Llama

from tokenizer_vectors import strings


def moxie(program, path, text, *flags):
    run = subprocess.run([program, "tokenize", path, text, *flags], capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    return [int(i) for i in run.stdout.strip().split(",") if i]


def main():
    program, *paths = sys.argv[1:]
    texts = [t for t in dict.fromkeys(strings())
             if "\x00" not in t and not t.startswith("-") and unicodedata.is_normalized("NFC", t)]
    failed = False
    for path in paths:
        llama = Llama(path, vocab_only=True, verbose=False)
        different = 0
        for text in texts:
            for flags, special in (((), False), (("--special", "--add-special"), True)):
                ours = moxie(program, path, text, *flags)
                theirs = llama.tokenize(text.encode(), add_bos=special, special=special)
                if ours != theirs:
                    different += 1
                    print(f"{path}: {text!r}\n  moxie     {ours}\n  llama.cpp {theirs}")
        print(f"{path}: {len(texts)} texts, {different} differences")
        failed |= different > 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
