#!/usr/bin/env python3
"""MB/s of our tokenizer beside Hugging Face's `tokenizers`, by CPU time, one thread, in one alternating run.

Run by hand; needs the package tokenizers; the folders are those of tokenizer_strings.py, the texts
UTF-8 files of which the first million bytes are taken, in parts of 64 KiB that end with a line:

    python3 tests/reference/tokenizer_speed.py build/tests/text/tokenizer_driver TEXT_FILE[,TEXT_FILE ...] FOLDER ...

Each part is encoded by ours, then by theirs; the whole is repeated, and the median over the rounds
of all parts' time counts. Theirs once with its cache of words, once with an encoding as it makes it
for training (encode_batch_fast of one text), whichever is faster.
"""
import os
import pathlib
import statistics
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer  # noqa: E402

from tokenizer_families import Moxie  # noqa: E402

ROUNDS, PART, BYTES = 5, 1 << 16, 1_000_000


def parts_of(path):
    text = pathlib.Path(path).read_bytes()[:BYTES].decode(errors="ignore").replace("\r\n", "\n")
    parts, part = [], ""
    for line in text.splitlines(keepends=True):
        part += line
        if len(part.encode()) > PART:
            parts.append(part)
            part = ""
    return parts + [part] if part else parts


def theirs(tokenizer, fast, part):
    begin = time.process_time()
    if fast:
        encoding = tokenizer.encode_batch_fast([part], add_special_tokens=False)[0]
    else:
        encoding = tokenizer.encode(part, add_special_tokens=False)
    seconds = time.process_time() - begin
    return seconds, len(encoding.ids)


def main():
    driver, texts, *folders = sys.argv[1:]
    print("| tokenizer | text | MB | ours MB/s | tokenizers MB/s | times |\n|---|---|---|---|---|---|")
    for folder in map(pathlib.Path, folders):
        tokenizer, moxie = Tokenizer.from_file(str(folder / "tokenizer.json")), Moxie(driver, folder)
        name = folder.parent.name if folder.name == "models" else folder.name
        for path in texts.split(","):
            parts = parts_of(path)
            times = {"ours": [], "encode": [], "fast": []}
            for _ in range(ROUNDS):
                sums = dict.fromkeys(times, 0.0)
                for part in parts:
                    seconds, count = moxie.seconds(part.encode(), 1)
                    sums["ours"] += seconds
                    for key, fast in (("encode", False), ("fast", True)):
                        seconds, n = theirs(tokenizer, fast, part)
                        sums[key] += seconds
                        assert n == count, (name, path, n, count)
                for key, value in sums.items():
                    times[key].append(value)
            size = sum(len(p.encode()) for p in parts) / 1e6
            ours = size / statistics.median(times["ours"])
            best = size / min(statistics.median(times["encode"]), statistics.median(times["fast"]))
            print(f"| {name} | {pathlib.Path(path).stem} | {size:.1f} | {ours:.1f} | {best:.1f} | {ours / best:.1f} |",
                  flush=True)


if __name__ == "__main__":
    main()
