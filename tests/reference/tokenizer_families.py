#!/usr/bin/env python3
"""Tokenizers to compare with (tokenizer_strings.py, tokenizer_speed.py), and a way to ours.

Writes one folder with a tokenizer.json for each pre-tokenizer pattern of the families whose
checkpoints are not at hand: byte-level BPE trained on a text with that very pattern, SentencePiece
BPE (with a prefix of its own, with none, through Metaspace) and unigram (T5's form, byte fallback).
Run by hand; needs the packages tokenizers and sentencepiece:

    python3 tests/reference/tokenizer_families.py OUT_FOLDER TEXT_FILE ...
"""
import base64
import io
import json
import pathlib
import re
import struct
import subprocess
import sys

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tokenizer_vectors import DEEPSEEK, LLAMA3, O200K

MARK = "\u2581"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TEKKEN = O200K.replace(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "").replace(r"\p{N}{1,3}", r"\p{N}")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
          r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
KIMI = (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BAILING = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
           r"|\s*[\r\n]|\s+(?!\S)|\s+")
CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
DEEPSEEK_CODER = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"]
SOURCE = (pathlib.Path(__file__).parents[2] / "engine/text/tokenizer_patterns.c").read_text()
LETTERS = "".join(re.findall(r'^ *"(.*)"', SOURCE.split("deepseek_letters[] =")[1].split(";")[0], re.M))
DEEPSEEK_LLM = [r"[\r\n]", LETTERS.replace("\\\\", "\\"), "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
                r"\s+$", CJK, r"\p{N}+"]
PATTERNS = {
    "llama3": [LLAMA3], "qwen2": [QWEN2], "qwen35": [QWEN35], "o200k": [O200K], "tekken": [TEKKEN], "kimi": [KIMI],
    "bailing": [BAILING], "deepseek3": DEEPSEEK, "deepseek_llm": DEEPSEEK_LLM, "deepseek_coder": DEEPSEEK_CODER,
    "starcoder": [r"\p{N}", GPT2], "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"], "gpt2": [GPT2],
}
NFC = ("qwen2", "qwen35", "gpt2")


def byte_level(name, text, size):
    steps = [pre_tokenizers.Split(Regex(p), "isolated") for p in PATTERNS[name]]
    tokenizer = Tokenizer(models.BPE(ignore_merges=name in ("llama3", "o200k", "tekken")))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        steps + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    if name in NFC:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.train_from_iterator(text, trainer)
    return json.loads(tokenizer.to_str())


def added(pieces, kinds=(2, 3)):
    return [{"id": i, "content": p.piece, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True} for i, p in enumerate(pieces) if p.type in kinds]


def train_pieces(text, **options):
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as model_pb2
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(text), model_writer=model, minloglevel=2,
                                             hard_vocab_limit=False, **options)
    proto = model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    return proto


def sentencepiece_bpe(proto, form):
    """As Hugging Face's converters write Llama-2 ("prefix"), Gemma ("plain") and Mistral ("metaspace")."""
    pieces = proto.pieces
    vocab = {p.piece: i for i, p in enumerate(pieces)}
    merges = []
    for i, p in enumerate(pieces):
        merges += [(i, p.piece[:k], p.piece[k:]) for k in range(1, len(p.piece))
                   if p.type == 1 and p.piece[:k] in vocab and p.piece[k:] in vocab]
    merges.sort(key=lambda m: (-pieces[m[0]].score, vocab[m[1]], vocab[m[2]]))
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
    decode = [{"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"},
              {"type": "Fuse"}]
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added(pieces),
            "normalizer": {"prefix": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": MARK}, replace]},
                           "plain": replace, "metaspace": None}[form],
            "pre_tokenizer": {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "first",
                              "split": False} if form == "metaspace" else None,
            "post_processor": None,
            "decoder": {"type": "Sequence", "decoders": decode + (strip if form != "plain" else [])},
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                      "vocab": vocab, "merges": [[a, b] for _, a, b in merges]}}


def unigram(proto, fallback):
    space = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True}
    charsmap = base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()
    decode = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added(proto.pieces),
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Precompiled", "precompiled_charsmap": charsmap},
                {"type": "Strip", "strip_left": False, "strip_right": True},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": MARK}]},
            "pre_tokenizer": space, "post_processor": None, "decoder": decode if fallback else space,
            "model": {"type": "Unigram", "unk_id": proto.trainer_spec.unk_id, "byte_fallback": fallback,
                      "vocab": [[p.piece, p.score] for p in proto.pieces]}}


def main():
    out = pathlib.Path(sys.argv[1])
    text = "\n".join(pathlib.Path(p).read_text(errors="replace") for p in sys.argv[2:]).split("\n")
    made = {name: byte_level(name, text, 24000) for name in PATTERNS}
    lines = [line[:4000] for line in text if line.strip()]
    pieces = train_pieces(lines, model_type="bpe", vocab_size=16000, byte_fallback=True, character_coverage=0.995,
                          normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
                          allow_whitespace_only_pieces=True)
    made |= {f"sentencepiece_{form}": sentencepiece_bpe(pieces, form) for form in ("prefix", "plain", "metaspace")}
    made["unigram_t5"] = unigram(train_pieces(lines, model_type="unigram", vocab_size=16000, pad_id=0, eos_id=1,
                                              unk_id=2, bos_id=-1), False)
    made["unigram_bytes"] = unigram(train_pieces(lines, model_type="unigram", vocab_size=16000, byte_fallback=True,
                                                 normalization_rule_name="nfkc"), True)
    for name, tokenizer in made.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        (out / name / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
        print(name, len(tokenizer["model"]["vocab"]), "tokens")


class Moxie:
    """Our tokenizer of a folder, through tokenizer_driver (tests/text/meson.build)."""
    ADD_SPECIAL, PARSE_SPECIAL = 1, 2

    def __init__(self, driver, folder):
        self.process = subprocess.Popen([driver, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, kind, number, data):
        self.process.stdin.write(struct.pack("<cII", kind, number, len(data)) + data)
        self.process.stdin.flush()

    def take(self, layout):
        raw = self.process.stdout.read(struct.calcsize(layout))
        if len(raw) < struct.calcsize(layout):
            sys.exit("our tokenizer has ended")
        return struct.unpack(layout, raw)

    def text(self):
        return self.process.stdout.read(self.take("<I")[0]).decode()

    def encode(self, data, flags):
        self.ask(b"e", flags, data)
        ids = list(self.take(f"<{self.take('<I')[0]}I"))
        return ids, self.text()

    def decode(self, ids):
        self.ask(b"d", 0, struct.pack(f"<{len(ids)}I", *ids))
        return self.text()

    def seconds(self, data, times):
        """CPU seconds of one encoding, and its number of ids."""
        self.ask(b"t", times, data)
        seconds, count = self.take("<dI")
        return seconds / times, count


if __name__ == "__main__":
    main()
