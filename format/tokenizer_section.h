/* The tokenizer section of a .moxie file: everything that turns text into token ids and back.
 *
 * TOKENIZER.md is the specification. The section is used in place: tables of fixed-size records,
 * found by offset and searched by bisection, so that opening a model builds nothing. Offsets count
 * from the start of the section, which lies at a multiple of 8 bytes. Little-endian.
 *
 * What varies between families of tokenizers are values (kinds of model, alphabet and steps), not
 * the layout: byte-level and SentencePiece BPE differ in the alphabet and in the steps around it.
 */
#pragma once

#include <stdint.h>

#define TOKENIZER_SECTION_MAGIC 0x4B4F544Du /* "MTOK" */
#define TOKENIZER_SECTION_VERSION 1u
#define TOKENIZER_SECTION_NO_ID UINT32_MAX

/* Caps: a reader refuses more, a writer never produces more. */
#define TOKENIZER_SECTION_MAX_TOKENS (1u << 22)
#define TOKENIZER_SECTION_MAX_MERGES (1u << 24)
#define TOKENIZER_SECTION_MAX_TOKEN_BYTES 65535u
#define TOKENIZER_SECTION_MAX_UNIGRAM_BYTES 512u /* a token of a unigram model */
#define TOKENIZER_SECTION_MAX_MATCHES 65536u
#define TOKENIZER_SECTION_MAX_MATCH_BYTES 1024u
#define TOKENIZER_SECTION_MAX_STEPS 16u
#define TOKENIZER_SECTION_MAX_PATTERN_BYTES 32768u
#define TOKENIZER_SECTION_MAX_EXTRA 16u /* ids that the post-processor adds on one side */

enum tokenizer_section_model {
    TOKENIZER_SECTION_BPE = 1,     /* merges by rank */
    TOKENIZER_SECTION_UNIGRAM = 2, /* the best sum of scores; of characters only */
};

enum tokenizer_section_alphabet {
    TOKENIZER_SECTION_BYTES = 1,      /* a symbol is one byte, spelt through GPT-2's byte map */
    TOKENIZER_SECTION_CHARACTERS = 2, /* a symbol is one Unicode character */
};

/* Flags of the section. */
enum tokenizer_section_flag {
    TOKENIZER_SECTION_IGNORE_MERGES = 1 << 0, /* a piece that is itself a token is that token */
    TOKENIZER_SECTION_FUSE_UNK = 1 << 1,      /* a run of unknown symbols is one unknown token */
    TOKENIZER_SECTION_BYTE_FALLBACK = 1 << 2, /* unknown characters become <0xNN> tokens */
    TOKENIZER_SECTION_SINGLE_SUMS = 1 << 3,   /* unigram: sums are rounded to float32 */
};

/* Flags of a token. An id with neither MODEL nor ADDED has no token. */
enum tokenizer_section_token_flag {
    TOKENIZER_SECTION_TOKEN_MODEL = 1 << 0, /* in the model's vocabulary */
    TOKENIZER_SECTION_TOKEN_ADDED = 1 << 1, /* found in the text before the model sees it */
    TOKENIZER_SECTION_TOKEN_SPECIAL = 1 << 2,
    TOKENIZER_SECTION_TOKEN_STOP = 1 << 3, /* generation ends after it */
    /* BPE: a step of merging only: where one is left at the end, it falls apart again. Unigram:
     * never chosen for its text. */
    TOKENIZER_SECTION_TOKEN_UNUSED = 1 << 4,
};

/* Flags of a match (an added token as it is searched for in the text). */
enum tokenizer_section_match_flag {
    TOKENIZER_SECTION_MATCH_LSTRIP = 1 << 0,      /* swallows white space before it */
    TOKENIZER_SECTION_MATCH_RSTRIP = 1 << 1,      /* ... and after it */
    TOKENIZER_SECTION_MATCH_SINGLE_WORD = 1 << 2, /* not next to a letter, digit or underscore */
    TOKENIZER_SECTION_MATCH_SPECIAL = 1 << 3,
};

enum tokenizer_section_normalizer {
    TOKENIZER_SECTION_NFC = 1,
    TOKENIZER_SECTION_PREPEND = 2,  /* `text` before every text that is not empty */
    TOKENIZER_SECTION_REPLACE = 3,  /* each `text` becomes `replacement` */
    TOKENIZER_SECTION_CHARSMAP = 4, /* by a precompiled map of SentencePiece, which is `text` */
    TOKENIZER_SECTION_STRIP = 5,    /* takes `text` away at the ends; without one, white space */
    TOKENIZER_SECTION_RUNS = 6,     /* two and more `text` in a row become one `replacement` */
};

enum tokenizer_section_charsmap_flag {
    TOKENIZER_SECTION_CHARSMAP_CLUSTERS = 1 << 0, /* a grapheme cluster at a time */
};

enum tokenizer_section_strip_flag {
    TOKENIZER_SECTION_STRIP_LEFT = 1 << 0,
    TOKENIZER_SECTION_STRIP_RIGHT = 1 << 1,
};

enum tokenizer_section_pre_tokenizer {
    TOKENIZER_SECTION_SPLIT = 1,        /* text: pattern; flags: what becomes a piece */
    TOKENIZER_SECTION_PREFIX_SPACE = 2, /* one space before a piece that does not start with one */
    TOKENIZER_SECTION_METASPACE = 3,    /* spaces become `text`; flags: where more of it stands */
};

enum tokenizer_section_split_flag {
    TOKENIZER_SECTION_KEEP_MATCHES = 1 << 0,
    TOKENIZER_SECTION_KEEP_GAPS = 1 << 1, /* the text between matches */
};

enum tokenizer_section_metaspace_flag {
    TOKENIZER_SECTION_METASPACE_ALWAYS = 1 << 0, /* before a piece that does not start with it */
    TOKENIZER_SECTION_METASPACE_FIRST = 1 << 1,  /* ... and that begins the whole text */
    TOKENIZER_SECTION_METASPACE_SPLIT = 1 << 2,  /* a piece begins at each of them */
};

enum tokenizer_section_decoder {
    TOKENIZER_SECTION_RAW = 1,         /* a token adds its `raw` bytes */
    TOKENIZER_SECTION_STRIP_START = 2, /* a whole text that begins with `text` loses it there */
};

/* A table of `count` records. An empty table has offset 0. */
struct tokenizer_section_table {
    uint64_t offset; /* a multiple of 8 */
    uint64_t count;
};

/* Bytes in the pool. */
struct tokenizer_section_text {
    uint32_t offset;
    uint32_t bytes;
};

struct tokenizer_section_token {
    uint32_t text_offset; /* in the pool: as the vocabulary spells it */
    uint32_t raw_offset;  /* in the pool: the bytes it stands for */
    uint16_t text_bytes;
    uint16_t raw_bytes;
    uint32_t flags; /* enum tokenizer_section_token_flag */
};

struct tokenizer_section_merge {
    uint32_t right; /* id; the left one is the row of merge_starts */
    uint32_t rank;  /* lowest first */
    uint32_t result;
};

struct tokenizer_section_match {
    struct tokenizer_section_text text;
    uint32_t id;
    uint32_t flags; /* enum tokenizer_section_match_flag */
};

struct tokenizer_section_step {
    uint32_t kind; /* of the list it stands in */
    uint32_t flags;
    struct tokenizer_section_text text;
    struct tokenizer_section_text replacement;
};

struct tokenizer_section {
    uint32_t magic;
    uint32_t version;
    uint32_t model;    /* enum tokenizer_section_model */
    uint32_t alphabet; /* enum tokenizer_section_alphabet */
    uint32_t flags;    /* enum tokenizer_section_flag; unknown flags are refused */
    uint32_t bos;      /* ids, or TOKENIZER_SECTION_NO_ID */
    uint32_t eos;
    uint32_t unk;
    struct tokenizer_section_table pool;   /* bytes */
    struct tokenizer_section_table tokens; /* tokenizer_section_token by id: highest id + 1 rows */
    /* uint32_t: ids of the model's vocabulary, ascending by text (bytes compared as unsigned) */
    struct tokenizer_section_table sorted;
    /* uint32_t[256]: id of the token that is this one byte, or NO_ID. Empty for CHARACTERS without
     * BYTE_FALLBACK. */
    struct tokenizer_section_table byte_tokens;
    /* uint32_t, one more than tokens: merges [merge_starts[id], merge_starts[id + 1]) have id on
     * their left. Empty if there are no merges. */
    struct tokenizer_section_table merge_starts;
    struct tokenizer_section_table merges; /* tokenizer_section_merge, `right` ascending per left */
    /* tokenizer_section_match, ascending by text: searched in the text as it came, and in the
     * normalised text. */
    struct tokenizer_section_table raw_matches;
    struct tokenizer_section_table normalized_matches;
    struct tokenizer_section_table normalizer;    /* tokenizer_section_step */
    struct tokenizer_section_table pre_tokenizer; /* tokenizer_section_step */
    struct tokenizer_section_table decoder;       /* tokenizer_section_step */
    struct tokenizer_section_table prefix; /* uint32_t: ids the post-processor puts before a text */
    struct tokenizer_section_table suffix; /* uint32_t: ... and after it */
    /* double by id: of a SentencePiece vocabulary that came with scores; encoding goes by ranks */
    struct tokenizer_section_table scores;
};

_Static_assert(sizeof(struct tokenizer_section) == 32 + 14 * 16, "no padding");
_Static_assert(sizeof(struct tokenizer_section_token) == 16, "no padding");
_Static_assert(sizeof(struct tokenizer_section_step) == 24, "no padding");
