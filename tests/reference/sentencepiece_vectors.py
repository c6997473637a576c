#!/usr/bin/env python3
"""Writes tests/text/sentencepiece.json and the small vocabularies beside it.

Run by hand; needs the packages whose ids are the truth here:

    pip install sentencepiece gguf tokenizers llama-cpp-python
    python3 tests/reference/sentencepiece_vectors.py

One SentencePiece BPE vocabulary is trained on a few sentences and written in three forms:
sentencepiece.gguf (as llama.cpp's converter would write it), sentencepiece_unused.gguf (some pieces
that others are merged from are of the type "unused") and tokenizer_sentencepiece.json (as Hugging
Face's converter does for Llama-2 and Mixtral).
"""
import io
import json
import os

import gguf
import sentencepiece
from llama_cpp import Llama
from sentencepiece import sentencepiece_model_pb2 as model_pb2
from tokenizers import Tokenizer

from tokenizer_vectors import CORPUS, OUT, strings

MARK = "\u2581"


def train():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS.split("\n") + ["    x   y\t\tz  word"] * 3), model_writer=model,
        model_type="bpe", vocab_size=480, byte_fallback=True, character_coverage=0.98,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, control_symbols=["<|x|>"], minloglevel=2)
    proto = model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    return proto


def write_gguf(path, pieces, user=()):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([p.piece for p in pieces] + list(user))
    writer.add_token_scores([p.score for p in pieces] + [-1000.0] * len(user))
    writer.add_token_types([p.type for p in pieces] + [4] * len(user))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def huggingface(pieces):
    """The merges that Hugging Face's converter makes of the scores."""
    vocab = {p.piece: i for i, p in enumerate(pieces)}
    merges = []
    for text, id in vocab.items():
        ways = [(text[:k], text[k:]) for k in range(1, len(text))]
        ways = [w for w in ways if w[0] in vocab and w[1] in vocab]
        merges += [(pieces[id].score, *w) for w in sorted(ways, key=lambda w: (vocab[w[0]], vocab[w[1]]))]
    merges.sort(key=lambda m: m[0], reverse=True)
    special = [{"id": vocab[c], "content": c, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for c in ("<unk>", "<s>", "</s>", "<|x|>")]
    space = {"String": MARK}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": MARK},
            {"type": "Replace", "pattern": {"String": " "}, "content": MARK}]},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": space, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
                  "ignore_merges": False, "vocab": vocab, "merges": [[l, r] for _, l, r in merges]}}


def main():
    proto = train()
    user = ["<tt>", "<t>", "\n\n", "éword"]
    assert not {p.piece for p in proto.pieces} & set(user)
    plain = os.path.join(OUT, "sentencepiece.gguf")
    write_gguf(plain, proto.pieces, user)
    texts = [t for t in dict.fromkeys(strings()) if "\x00" not in t]  # llama.cpp's binding ends there
    llama = Llama(plain, vocab_only=True, verbose=False)
    result = {"about": "made by tests/reference/sentencepiece_vectors.py", "strings": texts}
    result["llama_cpp"] = [llama.tokenize(t.encode(), add_bos=False, special=True) for t in texts]

    text = json.dumps(huggingface(proto.pieces), ensure_ascii=True, separators=(",", ":"))
    with open(os.path.join(OUT, "tokenizer_sentencepiece.json"), "w") as f:
        f.write(text + "\n")
    hf = Tokenizer.from_str(text)
    result["huggingface"] = [hf.encode(t).ids for t in texts]
    result["decoded"] = [hf.decode(ids, skip_special_tokens=False) for ids in result["huggingface"]]

    processor = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    result["sentencepiece"] = [processor.encode(t) for t in texts]
    count = 0
    for piece in proto.pieces:  # every second one that is longer than a character
        if piece.type == 1 and len(piece.piece) in (2, 3):
            count += 1
            piece.type = 5 if count % 2 else 1
    write_gguf(os.path.join(OUT, "sentencepiece_unused.gguf"), proto.pieces)
    processor = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    result["unused"] = [processor.encode(t) for t in texts]
    assert sum(a != b for a, b in zip(result["unused"], result["sentencepiece"])) > 20
    with open(os.path.join(OUT, "sentencepiece.json"), "w") as f:
        json.dump(result, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")
    print(len(texts), "strings,", len(proto.pieces), "pieces,", count // 2, "unused")


if __name__ == "__main__":
    main()
