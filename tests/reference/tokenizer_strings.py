#!/usr/bin/env python3
"""Compares our ids and texts with those of Hugging Face's tokenizers over generated strings.

Run by hand; needs the package tokenizers. Folders with a tokenizer.json are those of checkpoints, or
what tokenizer_families.py writes:

    ninja -C build tests/text/tokenizer_driver
    python3 tests/reference/tokenizer_strings.py [--count N] [--seed N] build/tests/text/tokenizer_driver FOLDER ...

Only tokenizer.json counts. Each string is encoded with special tokens parsed, and every fourth one
with begin and end tokens, too, and with the text of special tokens as text; the ids are decoded by
both, and so are some random ids. Every hundredth string is all of the last hundred.
In a unigram vocabulary special tokens are pieces, which the package makes of text nevertheless; ours
are never made of text, so that text with them is left out there. Strings are made of characters
that Unicode 14 knows (the package, PCRE2 and utf8proc each have a version of their own), private and
unassigned-for-ever ones, or of bytes that are not UTF-8, which the package gets as Python replaces
them. Marks newer than the package's tables for NFC, which it leaves in the wrong order, are left out.
The table counts what differs; `kept` are the strings that come back unchanged.
"""
import argparse
import json
import pathlib
import random
import sys
import tempfile
import unicodedata

from tokenizers import Tokenizer, normalizers

from tokenizer_families import Moxie

SCRIPTS = [(0x20, 0x7E), (0xA0, 0x17F), (0x180, 0x24F), (0x250, 0x2FF), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x58F),
           (0x591, 0x5F4), (0x600, 0x6FF), (0x700, 0x74F), (0x780, 0x7BF), (0x7C0, 0x7FA), (0x900, 0x97F),
           (0x980, 0x9FE), (0xA01, 0xA76), (0xA81, 0xAFF), (0xB01, 0xB77), (0xB82, 0xBFA), (0xC00, 0xC7F),
           (0xD00, 0xD7F), (0xD81, 0xDF4), (0xE01, 0xE5B), (0xE81, 0xEDF), (0xF00, 0xFDA), (0x1000, 0x109F),
           (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FD), (0x1401, 0x167F), (0x1680, 0x169C),
           (0x16A0, 0x16F8), (0x1780, 0x17F9), (0x1800, 0x18AA), (0x1C80, 0x1CBF), (0x1D00, 0x1DFF), (0x1E00, 0x1FFF),
           (0x2000, 0x206F), (0x2070, 0x20CF), (0x2100, 0x218B), (0x2190, 0x23FF), (0x2460, 0x27BF), (0x2900, 0x2BFF),
           (0x2C00, 0x2DFF), (0x2E00, 0x2E7F), (0x2F00, 0x2FFB), (0x3000, 0x303F), (0x3041, 0x30FF), (0x3105, 0x31BF),
           (0x3200, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA4C6), (0xA500, 0xA6FF), (0xA720, 0xA7FF),
           (0xA840, 0xA8FF), (0xAA00, 0xAAFF), (0xAB30, 0xABFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFDFF),
           (0xFE00, 0xFE6F), (0xFE70, 0xFEFC), (0xFF00, 0xFFEF), (0x10000, 0x100FA), (0x10300, 0x103D5),
           (0x10400, 0x1049F), (0x10900, 0x1093F), (0x11000, 0x110CD), (0x12000, 0x12399), (0x13000, 0x1342E),
           (0x16F00, 0x16F9F), (0x1B000, 0x1B122), (0x1D100, 0x1D1E8), (0x1D400, 0x1D7FF), (0x1E900, 0x1E95F),
           (0x1EE00, 0x1EEF1), (0x1F000, 0x1F0F5), (0x1F100, 0x1F1E5), (0x1F300, 0x1F64F), (0x1F680, 0x1F6FC),
           (0x1F900, 0x1F9FF), (0x20000, 0x2A6DD), (0x2F800, 0x2FA1D)]
SPACES = [" ", "\n", "\t", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u00a0", "\u1680", "\u2003", "\u200a", "\u2028",
          "\u2029", "\u202f", "\u205f", "\u3000", "\u200b", "\ufeff", "\u2581", "\u180e"]
WORDS = ("the of and a to in is you that it he was for on are as with his they I at be this have from or one had by word "
         "but not what all were we when your can said there use an each which she do how their if will up other about "
         "I'll don't we've They're it's O'Neill 'tis 's 'S 'LL 'ſ HTTPServer camelCase snake_case naïve café Ελλάδα "
         "straße İstanbul ΣΊΣΥΦΟΣ привет 你好，世界！ こんにちは 한국어 สวัสดี नमस्ते שלום مرحبا").split()
CODE = ["for (int i = 0; i < n; i++) {\n", "    return x ** 2  # ok\r\n", "\t\tif (!p) goto fail;\n", "<div class=\"a\">",
        "</div>\n", "SELECT * FROM t WHERE a <> 'b''c';", '{"key": [1, 2.5, null], "s": "\\u00e9"}', "0x1F3d", "1e-10",
        "a[i]->b.c(d)", "http://a.b/c?d=1&e=2#f", "C:\\dir\\x.txt", "// ===== //\n", "/* */", "$HOME", "@dec\n", "#!/bin/sh\n",
        "λ x → y", "import os\n\n\n", "=>", "!==", "&&", "||", "...", "--", "``", "```c\n", "~~", "\\n", "%5.2f"]
EMOJI = ["👨\u200d👩\u200d👧\u200d👦", "🇩🇪", "🇫", "👍🏽", "👍", "❤\ufe0f", "❤", "1\ufe0f\u20e3", "🏴\U000e0067\U000e0062\U000e007f", "🙂", "🦀",
         "🧑🏿\u200d🚀", "🏳\ufe0f\u200d🌈", "\u200d", "\ufe0f", "🏽", "☃", "©", "™", "🀄"]
MARKS = [chr(c) for c in [*range(0x300, 0x370), *range(0x483, 0x48A), *range(0x591, 0x5BE), *range(0x64B, 0x660), 0x93C, 0x94D,
                          0xE31, 0xE38, 0xF71, 0xF72, 0xF74, 0x1161, 0x11A8, 0x11C2, 0x20D0, 0x20DD, 0x3099, 0x309A,
                          0x1DC0, 0xFE20, 0x1D165, 0x1D16E]]
FOR_EVER = ["\ue000", "\uf8ff", "\U000f0000", "\ufdd0", "\ufffe", "\uffff", "\U0010ffff", "\ufffd"]
RAW = [b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x99", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\x80", b"\xbf\xbf",
       b"\xf8\x88\x80\x80\x80", b"\xe2\x28\xa1", b"\xf0\x28\x8c\xbc", b"\xe0\x80\xaf", b"\xc3\xa9"]


def known(code):
    return unicodedata.category(chr(code)) not in ("Cn", "Cs") and chr(code) not in TOO_NEW


def package_normalizes(c):
    """As Unicode says, alone and between marks that come before and after it."""
    return all(form.normalize_str(text) == unicodedata.normalize(name, text)
               for name, form in (("NFC", normalizers.NFC()), ("NFD", normalizers.NFD()))
               for text in (c, "a" + c, "a\u0301" + c, "a" + c + "\u0301", "a" + c + "\u0323", "a" + c + "\u0334"))


TOO_NEW = {chr(c) for c in range(0x110000) if unicodedata.combining(chr(c)) or unicodedata.decomposition(chr(c))}
TOO_NEW = {c for c in TOO_NEW if not package_normalizes(c)}


class Strings:
    def __init__(self, seed, added, vocabulary):
        self.random = random.Random(seed)
        self.scripts = [[chr(c) for c in range(a, b + 1) if known(c)] for a, b in SCRIPTS]
        self.added, self.vocabulary = added, vocabulary
        self.kinds = [self.script, self.script, self.mixed, self.prose, self.prose, self.code, self.emoji, self.marks,
                      self.spaces, self.controls, self.runs, self.digits, self.any, self.tokens, self.tokens, self.special]

    def pick(self, items, low, high):
        return self.random.choices(items, k=self.random.randint(low, high))

    def script(self):
        letters = self.random.choice(self.scripts)
        return " ".join("".join(self.pick(letters, 1, 8)) for _ in range(self.random.randint(1, 6)))

    def mixed(self):
        return "".join(self.random.choice(self.random.choice(self.scripts)) for _ in range(self.random.randint(1, 20)))

    def prose(self):
        out = ""
        for word in self.pick(WORDS, 1, 15):
            word = self.random.choice((word, word, word.upper(), word.capitalize()))
            out += word + self.random.choice((" ", " ", " ", ", ", ". ", "! ", "?\n", "\n\n", "  ", "'", "’", " — ", "-", "_"))
        return out if self.random.random() < 0.5 else out.rstrip()

    def code(self):
        return "".join(self.pick(CODE, 1, 8))

    def emoji(self):
        return "".join(self.pick(EMOJI + [" ", "a"], 1, 10))

    def marks(self):
        return "".join(self.random.choice(self.random.choice(self.scripts)) + "".join(self.pick(MARKS, 0, 4))
                       for _ in range(self.random.randint(1, 6)))

    def spaces(self):
        out = ""
        for _ in range(self.random.randint(1, 6)):
            out += self.random.choice(SPACES) * self.random.choice((1, 1, 2, 3, 5)) + self.random.choice(("", "a", "x1", ".", "字"))
        return out

    def controls(self):
        return "".join(self.pick([chr(c) for c in range(0x20)] + ["\x7f", "\x80", "\x9f", "\u061c", "\u2066", "a"] + FOR_EVER, 1, 12))

    def runs(self):
        unit = self.random.choice((" ", "\n", "a", "=", "-", "é", "字", "🦀", "ab", "\u0301", "9", "▁", " \n", "\t", "aA", "."))
        return self.random.choice(("", "x", " ")) + unit * self.random.randint(2, 120) + self.random.choice(("", "x", " "))

    def digits(self):
        kinds = ("0123456789", "٠١٢٣", "०१२", "０１２", "①②", "ⅠⅡⅣ", "½⅓", "²³", "𝟘𝟙", "〇一二", "0123456789,.", "0123456789 -+e")
        return "".join("".join(self.pick(self.random.choice(kinds), 1, 9)) + self.random.choice(("", " ", "a", "%", "$"))
                       for _ in range(self.random.randint(1, 5)))

    def any(self):
        out = ""
        while len(out) < self.random.randint(1, 16):
            code = self.random.choice((self.random.randrange(0x110000), self.random.randrange(0x3000)))
            out += chr(code) if known(code) else ""
        return out

    def tokens(self):
        return "".join(self.pick(self.vocabulary, 1, 12))

    def special(self):
        out = ""
        for token in self.pick(self.added or ["<s>"], 1, 4):
            cut = self.random.randrange(len(token) + 1) if self.random.random() < 0.2 else len(token)
            out += self.random.choice(("", " ", "a", "\n", "é", "\u0301", "  ")) + token[:cut]
        return out + self.random.choice(("", " ", "a", "  b"))

    def next(self):
        """As bytes, most of them UTF-8."""
        text = self.random.choice(self.kinds)()
        while self.random.random() < 0.35:
            text += self.random.choice(("", " ", "\n")) + self.random.choice(self.kinds)()
        raw = text.encode()
        if self.random.random() < 0.06:
            at = self.random.randrange(len(raw) + 1)
            raw = raw[:at] + b"".join(self.pick(RAW, 1, 3)) + raw[at + self.random.randint(0, 2):]
        return raw


def show(what, raw, theirs, ours):
    print(f"  {what} of {raw!r}\n    tokenizers {theirs!r}\n    moxie      {ours!r}")


class Family:
    def __init__(self, driver, folder, seed, shown):
        self.theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.theirs.no_truncation()
        self.theirs.no_padding()
        self.alone = tempfile.TemporaryDirectory()  # without the files beside it
        (pathlib.Path(self.alone.name) / "tokenizer.json").symlink_to((folder / "tokenizer.json").resolve())
        self.ours = Moxie(driver, self.alone.name)
        self.left, self.last = shown, []
        self.size = self.theirs.get_vocab_size(with_added_tokens=True)
        names = [self.theirs.token_to_id(f"<0x{b:02X}>") for b in range(256)]
        self.bytes = None if None in names else names
        data = json.loads((folder / "tokenizer.json").read_text())
        added = data["added_tokens"]
        self.special = [t["content"] for t in added if t["special"]]
        self.unigram = data["model"].get("type") == "Unigram"
        chosen = random.Random(seed).sample(range(self.size), min(4000, self.size))
        pieces = [self.theirs.decode([i], skip_special_tokens=False) for i in chosen]
        self.strings = Strings(seed, [t["content"] for t in added], [p for p in pieces if p and all(known(ord(c)) for c in p)] or ["a"])
        self.counts = dict(strings=0, bytes=0, ids=0, whole=0, plain=0, texts=0, kept=0, random=0)

    def differ(self, key, what, raw, theirs, ours):
        self.counts[key] += 1
        if self.left > 0:
            self.left -= 1
            show(what, raw, theirs, ours)

    def random_ids(self):
        """Of all tokens, or half of them of the bytes of a vocabulary that falls back to them."""
        pick = self.strings.random
        ids = pick.choices(range(self.size), k=pick.randint(1, 8))
        if self.bytes and pick.random() < 0.7:
            ids = [pick.choice(self.bytes) if pick.random() < 0.5 else i for i in ids]
            run = pick.choice(["é", "🦀", "aé", "字a"]).encode()
            ids[pick.randrange(len(ids)):0] = [self.bytes[b] for b in run[:pick.randint(1, len(run))]]
        return ids

    def compare(self, number):
        raw = self.strings.next()
        self.last.append(raw)
        if len(self.last) == 100:  # long enough for what is only done in long texts
            raw, self.last = b" ".join(self.last), []
        text = raw.decode(errors="replace")
        ids, back = self.ours.encode(raw, Moxie.PARSE_SPECIAL)
        theirs = self.theirs.encode(text, add_special_tokens=False).ids
        self.counts["strings"] += 1
        self.counts["bytes"] += len(raw)
        if ids != theirs:
            self.differ("ids", "ids", raw, theirs, ids)
        else:
            decoded = self.theirs.decode(ids, skip_special_tokens=False)
            self.counts["kept"] += decoded == text
            if decoded != back:
                self.differ("texts", "text", raw, decoded, back)
        if number % 4 == 0:
            theirs = self.theirs.encode(text).ids
            ids, _ = self.ours.encode(raw, Moxie.ADD_SPECIAL | Moxie.PARSE_SPECIAL)
            if ids != theirs:
                self.differ("whole", "ids with begin and end", raw, theirs, ids)
            self.theirs.encode_special_tokens = True
            theirs = self.theirs.encode(text, add_special_tokens=False).ids
            self.theirs.encode_special_tokens = False
            ids, _ = self.ours.encode(raw, 0)
            if ids != theirs and not (self.unigram and any(t in text for t in self.special)):
                self.differ("plain", "ids without special tokens", raw, theirs, ids)
            ids = self.random_ids()
            theirs, back = self.theirs.decode(ids, skip_special_tokens=False), self.ours.decode(ids)
            if theirs != back:
                self.differ("random", "text of ids", ids, theirs, back)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=5, help="how many differences to print for each")
    options = parser.parse_args()
    failed = False
    rows = []
    for folder in options.folders:
        family = Family(options.driver, folder, options.seed, options.show)
        for number in range(options.count):
            family.compare(number)
        c = family.counts
        name = folder.parent.name if folder.name == "models" else folder.name
        rows.append(f"| {name} | {c['strings']} | {c['bytes'] / 1e6:.1f} | {c['ids']} | {c['whole']} | {c['plain']} | {c['texts']} | "
                    f"{c['random']} | {c['kept']} |")
        print(rows[-1], flush=True)
        failed |= c["ids"] + c["whole"] + c["plain"] + c["texts"] + c["random"] > 0
    print("\n| family | strings | MB | other ids | with begin and end | special tokens as text | other text "
          "| other text of random ids | kept |\n|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    sys.exit(failed)


if __name__ == "__main__":
    main()
