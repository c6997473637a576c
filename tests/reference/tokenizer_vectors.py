#!/usr/bin/env python3
"""Writes tests/text/tokenizer_vectors.json and the small tokenizers beside it.

Run by hand; needs the Python package `tokenizers` (the Rust library whose ids are the truth here):

    pip install tokenizers
    python3 tests/reference/tokenizer_vectors.py [folder with the demo model's tokenizer.json]

The ids of the demo model's tokenizer are written under the name "moxie-tiny"; without the folder
they are left out, and the test that needs them fails: give it when vectors are made anew.
"""
import json
import os
import sys
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "text")

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
            r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
            r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]

CORPUS = """the cat sat on the mat and the hat of the man that ran. I'll say it's 'tis don't we've
they're Hello world hello World 12345 67 890 3.14 naïve café résumé über straße 你好 世界 漢字
かな カナ 한국어 한글 привет мир Ελλάδα 🙂 👍🏽 def f(x):\n\treturn x**2  # ok\r\n http://a.b/c?d=1
the the the and and ing ing tion tion   \n\n  x  \t y e\u0301 o\u0308 ... --- === != <= ((( )))
""" * 3


def strings():
    """Nasty texts. Only characters that Unicode 13 knows, or that no version will ever assign."""
    s = ["", " ", "  ", "\n", "\r\n", "\t", "a", "Hello world", " Hello  world\n\n  x",
         "I'LL don't we're 12345 67", "naïve café – 你好，世界！ 🙂👍🏽",
         "def f(x):\n\treturn x**2  # ok\r\n", "한국어 カタカナ ΑΒΓ", "e\u0301!", "a  b   c    ",
         "http://a.b/c?d=1&e=2", "\n \n\n\t\n x", "XMLHttpRequest's 3.14 ½ Ⅳ ٣", "  \u3000\u00a0x",
         "'s 'S ſ don’t", "aaaaaaaaaaaaaaaaaaaa", "x'ſabc", "x'ſ 'ſ", "'ſt 'LL 'lL 'Ve", "\u212a K 'k",
         "''s'''t", "'D'd'M'm'RE're", "can't've", "I’m", "'", "' s"]
    # every general category, alone, between letters, and doubled
    samples = {
        "Lu": "AÀΩЖ", "Ll": "aßωж", "Lt": "ǅᾈ", "Lm": "ʰーـ", "Lo": "ªא漢ก", "Mn": "\u0301\u0e31\u20d0",
        "Mc": "\u0903\u093e", "Me": "\u20dd\u0488", "Nd": "7٣७𝟘", "Nl": "Ⅷ〇", "No": "²½①", "Pc": "_‿",
        "Pd": "-—〜", "Ps": "([「", "Pe": ")]」", "Pi": "«“", "Pf": "»”", "Po": "!¿、", "Sm": "+∑", "Sc": "$€",
        "Sk": "^`¨", "So": "©☃🦀", "Zs": " \u00a0\u1680\u2003\u202f\u205f\u3000", "Zl": "\u2028",
        "Zp": "\u2029", "Cc": "\x01\x1b\x7f\x85", "Cf": "\u00ad\u180e\u200b\u200d\ufeff", "Co": "\ue000",
        "Cn": "\ufdd0\U0010ffff"}
    for chars in samples.values():
        s.append(chars)
        s.append("a" + "b".join(chars) + "c")
        s.append(" ".join(chars) + " \n" + chars[0] * 2 + "1" + chars[-1] + " x")
    # white space runs
    for a in (" ", "\n", "\r", "\t", "\u00a0", "\u3000", "\x0b", "\x0c", "\x85", "\u2028"):
        s.append("x" + a * 3 + "y" + a)
    s += ["   x", "x   ", "x \n y", "x\n \ny", "x\r\n\r\ny", "\r\r\n\n", "x \r\n  \r\n", " \t \n\t ",
          "a \u00a0 b", "\u200b \u200b", "x\u1680\u180ey", "\u00a0\n", "\n\u00a0", "a\n", "\na", " \na",
          "!\n\n x", "?!\r\n\r\n", " ...\n", "a.\nb", "//\n/", "a/\n"]
    # combining marks, order and composition, Hangul, exclusions
    s += ["e\u0301\u0323", "e\u0323\u0301", "a\u0328\u0301", "\u0344", "\u1100\u1161\u11a8", "\uac00\u11a8",
          "\u1100\u1161", "\u1161\u1100", "\u212b\u2126\u212a", "\u0958", "\u0928\u093c", "\u2adc", "\u0f73",
          "\ufb1d", "q\u0307\u0323", "\u1e0b\u0323", "\u0301abc", "x\u0301\u0301", "\u0627\u0653", "ﬁ ﬀ ﬆ", "ﷺ",
          "\u0340\u0341\u0343\u0374\u037e\u0387", "Å Å Å", "\u1b06\u1b05\u1b35", "\U00011131\U00011127",
          "\U0001d15e", "z̷̢a̶l̸g̵o̴", "a\u0300\u0301\u0302\u0303\u0304\u0305", "\u0323\u0301\u0323"]
    # emoji
    s += ["👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "👍🏽👍", "❤️", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🙂𓀀", "🦀" * 5, "a🙂b 🙂 c", "\ufe0f\u20e3"]
    # digits and numbers
    s += ["1", "12", "123", "1234", "1234567890", "1,234.5", "１２３", "a1b22c333d4444", "٠١٢٣٤", " 1 22 ",
          "1e10", "0x1F", "x²y³", "½⅓", "Ⅳ4④", "3٣३"]
    # scripts without spaces, mixed case
    s += ["漢字かなカナ混じり文。", "你好世界", "เขียนไทย", "नमस्ते", "שלום עולם", "مرحبا بالعالم", "ქართული",
          "ᏣᎳᎩ", "camelCaseHTTPServer", "ABCdef", "ǅabc", "İıſS", "STRASSE straße", "ﬃ", "x々〇ー・y",
          "亜㐀龥龦𠀀", "ﾊﾝｶｸ", "ㄅㄆ", "ꙮ"]
    # control bytes, private use, noncharacters
    s += ["\x00", "a\x00b", "\x01\x02\x03", "\x1f\x7f\x80\x9f", "\ufffd", "\ufffe\uffff", "\ue000\uf8ff",
          "\U000f0000", "\u061c\u2066\u2069", "\u2060x\u2060"]
    # text of added tokens, whole, broken, joined
    s += ["<|x|>", "<|x|>  ab", "a<|x|> b", " <|l|> a", "a  <|l|>  b", "\n<|b|>\n", "a <|b|> <|b|> b", "<|x|",
          "<|x|>>", "<<|x|>", "<|X|>", "<|im_start|>user\nhi<|im_end|>\n", "<|endoftext|>", "<|im_start",
          "<|begin|>", "a<|begin|>b", "word", "aword", "word!", "words", "a word b", "_word", "wordé",
          "word\u0301", "(word)", "word word", "wordword", "éword", "word\u200d", "<t>", "<t><t>", "<tt>", "<ttt>",
          "<t", "x<t>y", "<|l|><|x|>", "<|l|> <|x|> <|l|>", "  <|x|>  <|l|>  ", "n\u00e9e", "ne\u0301e",
          "a ne\u0301e b", "n\u00e9 e", "e\u0301<|x|>\u0301", "<|x|>\u0301", "tab\t<|x|>\t", "\u3000<|x|>\u3000a"]
    # code and longer prose
    s += ["for (int i = 0; i < n; i++) {\n        a[i] += b[i] * 2;\n    }\n",
          '{"key": [1, 2.5, null], "s": "\\u00e9"}', "SELECT * FROM t WHERE a <> 'b''c';",
          "The quick brown fox — “jumps” over… the lazy dog's 3rd tail.\n\n\tIndented\n",
          "a" * 200, "ab" * 100, "the " * 40, "\n" * 50, " " * 70 + "x", "the cat" + " " * 130 + "sat", "9" * 100,
          "!" * 100, "x\n" * 30, "é" * 80, "e\u0301" * 80, "字" * 90, "aA" * 70, "'s" * 50]
    return s


def train(pre, size, alphabet=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=1, show_progress=False,
                                  initial_alphabet=alphabet or pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([CORPUS], trainer)
    return json.loads(tokenizer.to_str())["model"]


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def plain_bytes():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def finish(tokenizer):
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def from_model(model, **changes):
    model = dict(model, **changes)
    tokenizer = Tokenizer(models.BPE())
    data = json.loads(tokenizer.to_str())
    data["model"] = model
    return Tokenizer.from_str(json.dumps(data))


def make_llama3():
    model = train(pre_tokenizers.Sequence([split(LLAMA3), plain_bytes()]), 400)
    # Tokens that merges alone do not reach: only ignore_merges gives them.
    for text in ("Ġabba", "hello!", "ĠHelloworld", "123", "Ġé"):
        text = text.replace("é", "Ã©")
        model["vocab"][text] = len(model["vocab"])
    tokenizer = from_model(model, ignore_merges=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split(LLAMA3), plain_bytes()])
    tokenizer.add_special_tokens(["<|begin|>", "<|x|>"])
    begin = tokenizer.token_to_id("<|begin|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", begin)])])
    return finish(tokenizer)


def make_gpt2():
    tokenizer = from_model(train(pre_tokenizers.ByteLevel(add_prefix_space=False), 380))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return finish(tokenizer)


def make_digits():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer = from_model(train(pre, 380))
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = pre
    tokenizer.add_special_tokens(["<t>", "<tt>"])
    tokenizer.add_tokens([AddedToken("<ttt", normalized=False)])
    end = tokenizer.token_to_id("<t>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<t> <tt> $A <t>", special_tokens=[("<t>", end), ("<tt>", end + 1)])
    return finish(tokenizer)


def make_added():
    """Every flag of added tokens; NFC, so that normalized=True differs; groups of digits."""
    tokenizer = from_model(train(pre_tokenizers.Sequence([split(O200K), plain_bytes()]), 380))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=False), split(O200K, "removed", True), plain_bytes()])
    tokenizer.add_special_tokens([
        AddedToken("<|x|>", rstrip=True, normalized=False),
        AddedToken("<|l|>", lstrip=True, normalized=False),
        AddedToken("<|b|>", lstrip=True, rstrip=True, normalized=False)])
    tokenizer.add_tokens([
        AddedToken("word", single_word=True, normalized=False),
        AddedToken("ne\u0301e", normalized=True),
        AddedToken("cafe\u0301", normalized=False),
        AddedToken("<t>", normalized=False, lstrip=True),
        AddedToken("<tt>", normalized=True, rstrip=True),
        AddedToken("\n\n", normalized=False)])
    return finish(tokenizer)


def make_deepseek():
    pre = pre_tokenizers.Sequence([split(p) for p in DEEPSEEK] + [plain_bytes()])
    tokenizer = from_model(train(pre, 400))
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = pre
    return finish(tokenizer)


def make_unknown():
    """Only some bytes have tokens; the others become <unk>, runs fused."""
    model = train(pre_tokenizers.ByteLevel(add_prefix_space=False), 150,
                  list("abcdefghijklmnopqrstuvwxyzĠĊÃ©"))
    keep = [t for t in model["vocab"] if all(c in "abcdefghijklmnopqrstuvwxyzĠĊÃ©" for c in t)]
    vocab = {t: i for i, t in enumerate(["<unk>"] + keep)}
    merges = [m for m in model["merges"] if all(c in vocab for c in m) and "".join(m) in vocab]
    tokenizer = from_model(model, vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return finish(tokenizer)


def ids_of(tokenizer, texts, parse_special):
    tokenizer.encode_special_tokens = not parse_special
    return [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]


def main():
    texts = list(dict.fromkeys(strings()))
    makers = {"llama3": make_llama3, "gpt2": make_gpt2, "digits": make_digits, "added": make_added,
              "deepseek": make_deepseek, "unknown": make_unknown}
    result = {"about": "made by tests/reference/tokenizer_vectors.py", "strings": texts,
              "nfc": [n if n != t else None for t in texts for n in [unicodedata.normalize("NFC", t)]],
              "tokenizers": {}}
    loaded = {}
    for name, make in makers.items():
        data = json.loads(make().to_str())
        if name not in ("llama3", "deepseek"):  # the older spelling of merges, "A B"
            data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
        text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
        with open(os.path.join(OUT, f"tokenizer_{name}.json"), "w") as f:
            f.write(text + "\n")
        loaded[name] = Tokenizer.from_str(text)
    if len(sys.argv) > 1:
        loaded["moxie-tiny"] = Tokenizer.from_file(os.path.join(sys.argv[1], "tokenizer.json"))
    for name, tokenizer in loaded.items():
        special = ids_of(tokenizer, texts, True)
        plain = ids_of(tokenizer, texts, False)
        tokenizer.encode_special_tokens = False
        added = [tokenizer.encode(t).ids for t in texts[:20]]
        result["tokenizers"][name] = {
            "special": special,  # special tokens parsed
            "plain": [p if p != s else None for p, s in zip(plain, special)],  # where it differs
            "with_post_processor": added if added != special[:20] else None}
    with open(os.path.join(OUT, "tokenizer_vectors.json"), "w") as f:
        json.dump(result, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")
    print(len(texts), "strings,", len(loaded), "tokenizers")


if __name__ == "__main__":
    main()
