#!/usr/bin/env python3
"""Writes tests/text/unigram.json and the small vocabularies beside it.

Run by hand; needs the packages whose ids are the truth here:

    pip install sentencepiece protobuf tokenizers gguf
    python3 tests/reference/unigram_vectors.py

Two unigram vocabularies and one BPE vocabulary are trained on a few sentences. unigram_t5.model has
a small map of characters and an unknown token; unigram_t5.gguf and tokenizer_unigram.json
hold the same vocabulary, the latter as Hugging Face's converter writes it for T5. unigram_bytes.model falls back to bytes
and keeps white space; sentencepiece_bpe.model is like Llama-2's.
"""
import base64
import io
import json
import os
import tempfile
import unicodedata

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2
from tokenizers import Tokenizer

from tokenizer_vectors import CORPUS, OUT, strings

MARK = "\u2581"
EXTRA = ["ａｂｃ ﬁ ½ ① ℃ ™ …", "e\u0301 ａ\u0301 が ﾊﾟ", "   spaces  inside   ", "\u3000wide\u00a0", "zz\u2581",
         "</s> <unk>", "<0xC3>", "aaaaaaaaaaaa", "🙂🙂 👨‍👩‍👧", "\r\nline\r\n\r\n", "\u200bzero\u200d", "▁▁", " ", "   "]


def write_rules(path):
    """A small map of characters: keys of one and two characters, white space, and nothing at all."""
    texts = [chr(c) for c in range(0xFF01, 0xFF5F)] + list("ﬁ½①℃™…ﾊ")
    texts += [a + mark for a in "aeiou" for mark in "\u0300\u0301"] + ["か\u3099", "ﾊﾟ"]
    rows = {t: unicodedata.normalize("NFKC", t) for t in texts}
    rows.update({c: " " for c in "\t\n\r\u00a0\u3000"})
    rows["\u200b"] = ""
    with open(path, "w") as f:
        for key, value in rows.items():
            f.write("\t".join(" ".join(f"{ord(c):X}" for c in text) for text in (key, value)) + "\n")


def train(name, **options):
    model = io.BytesIO()
    lines = CORPUS.split("\n") + ["ａｂｃ ﬁ ½ ①", "word word  words"] * 3
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model,
                                             minloglevel=2, **options)
    proto = model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    proto.normalizer_spec.normalization_rule_tsv = ""  # a path
    charsmap = len(proto.normalizer_spec.precompiled_charsmap)
    with open(os.path.join(OUT, name + ".model"), "wb") as f:
        f.write(proto.SerializeToString())
    print(name, len(proto.pieces), "pieces, map of", charsmap, "bytes")
    return proto


def write_gguf(path, proto):
    """As llama.cpp's converter writes a T5 vocabulary."""
    writer = gguf.GGUFWriter(path, "t5")
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([p.piece for p in proto.pieces])
    writer.add_token_scores([p.score for p in proto.pieces])
    writer.add_token_types([p.type for p in proto.pieces])
    writer.add_add_space_prefix(proto.normalizer_spec.add_dummy_prefix)
    writer.add_remove_extra_whitespaces(proto.normalizer_spec.remove_extra_whitespaces)
    writer.add_precompiled_charsmap(proto.normalizer_spec.precompiled_charsmap)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def huggingface(proto):
    space = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True}
    added = [{"id": i, "content": p.piece, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i, p in enumerate(proto.pieces) if p.type in (2, 3)]
    charsmap = base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": charsmap},
            {"type": "Strip", "strip_left": False, "strip_right": True},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": MARK}]},
        "pre_tokenizer": space,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
        "decoder": space,
        "model": {"type": "Unigram", "unk_id": proto.trainer_spec.unk_id, "byte_fallback": False,
                  "vocab": [[p.piece, p.score] for p in proto.pieces]}}


def main():
    texts = [t for t in dict.fromkeys(strings())][:400] + EXTRA
    result = {"about": "made by tests/reference/unigram_vectors.py", "strings": texts}
    rules = os.path.join(tempfile.mkdtemp(), "rules.tsv")
    write_rules(rules)
    t5 = train("unigram_t5", normalization_rule_tsv=rules, model_type="unigram", vocab_size=260, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
               character_coverage=0.99, hard_vocab_limit=False)
    write_gguf(os.path.join(OUT, "unigram_t5.gguf"), t5)
    text = json.dumps(huggingface(t5), ensure_ascii=True, separators=(",", ":"))
    with open(os.path.join(OUT, "tokenizer_unigram.json"), "w") as f:
        f.write(text + "\n")
    reference = Tokenizer.from_str(text)
    result["huggingface"] = [reference.encode(t).ids for t in texts]
    train("unigram_bytes", model_type="unigram", vocab_size=480, byte_fallback=True, character_coverage=0.98,
          normalization_rule_name="identity", remove_extra_whitespaces=False, hard_vocab_limit=False)
    train("sentencepiece_bpe", model_type="bpe", vocab_size=480, byte_fallback=True,
          character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False)
    for name in ("unigram_t5", "unigram_bytes", "sentencepiece_bpe"):
        processor = sentencepiece.SentencePieceProcessor(model_file=os.path.join(OUT, name + ".model"))
        result[name] = [processor.encode(t) for t in texts]
    with open(os.path.join(OUT, "unigram.json"), "w") as f:
        json.dump(result, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")
    print(len(texts), "strings")


if __name__ == "__main__":
    main()
