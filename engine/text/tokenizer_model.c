#include "engine/text/tokenizer_model.h"

#include <math.h>
#include <stdlib.h>

#include "engine/text/protobuf.h"
#include "engine/text/tokenizer_charsmap.h"
#include "engine/text/tokenizer_gguf_merges.h"
#include "engine/text/unicode.h"

/* Fields of ModelProto. */
enum { PIECES = 1, TRAINER = 2, NORMALIZER = 3 };

enum piece_field { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };

enum piece_type {
    TYPE_NORMAL = 1,
    TYPE_UNKNOWN = 2,
    TYPE_CONTROL = 3,
    TYPE_USER_DEFINED = 4,
    TYPE_UNUSED = 5,
    TYPE_BYTE = 6,
};

enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };

enum trainer_field {
    TRAINER_MODEL_TYPE = 3,
    TRAINER_SPACE_SUFFIX = 24,
    TRAINER_BYTE_FALLBACK = 35,
    TRAINER_BOS_ID = 41,
    TRAINER_EOS_ID = 42,
};

enum normalizer_field {
    NORMALIZER_CHARSMAP = 2,
    NORMALIZER_DUMMY_PREFIX = 3,
    NORMALIZER_EXTRA_SPACES = 4,
    NORMALIZER_ESCAPE_SPACES = 5,
};

struct reader {
    struct tokenizer_parts *parts;
    struct tokenizer_model_normalizer normalizer;
    uint64_t model_type;
    int64_t bos, eos;
    bool byte_fallback, space_suffix, escape_spaces;
    struct error *err;
};

static bool damaged(const struct reader *r)
{
    return error_set(r->err, "tokenizer.model is damaged, or no file of SentencePiece; get it "
                             "again");
}

static bool read_trainer(struct reader *r, struct protobuf message)
{
    struct protobuf_field field;
    while (protobuf_next(&message, &field)) {
        if (field.kind != PROTOBUF_VARINT) {
            continue;
        }
        switch (field.number) {
        case TRAINER_MODEL_TYPE:
            r->model_type = field.value;
            break;
        case TRAINER_SPACE_SUFFIX:
            r->space_suffix = field.value != 0;
            break;
        case TRAINER_BYTE_FALLBACK:
            r->byte_fallback = field.value != 0;
            break;
        case TRAINER_BOS_ID:
            r->bos = (int64_t)field.value;
            break;
        case TRAINER_EOS_ID:
            r->eos = (int64_t)field.value;
            break;
        }
    }
    return !message.damaged || damaged(r);
}

static bool read_normalizer(struct reader *r, struct protobuf message)
{
    struct protobuf_field field;
    while (protobuf_next(&message, &field)) {
        if (field.number == NORMALIZER_CHARSMAP && field.kind == PROTOBUF_BYTES) {
            r->normalizer.charsmap = field.data;
            r->normalizer.charsmap_bytes = field.bytes;
        } else if (field.kind == PROTOBUF_VARINT && field.number == NORMALIZER_DUMMY_PREFIX) {
            r->normalizer.add_dummy_prefix = field.value != 0;
        } else if (field.kind == PROTOBUF_VARINT && field.number == NORMALIZER_EXTRA_SPACES) {
            r->normalizer.remove_extra_whitespaces = field.value != 0;
        } else if (field.kind == PROTOBUF_VARINT && field.number == NORMALIZER_ESCAPE_SPACES) {
            r->escape_spaces = field.value != 0;
        }
    }
    return !message.damaged || damaged(r);
}

/* What a type makes of a piece; 0 if it is unknown. The texts of bytes are never looked for. */
static uint32_t piece_flags(const struct reader *r, uint64_t type)
{
    bool unigram = r->parts->model == TOKENIZER_SECTION_UNIGRAM;
    switch (type) {
    case TYPE_NORMAL:
        return TOKENIZER_SECTION_TOKEN_MODEL;
    case TYPE_UNKNOWN:
    case TYPE_CONTROL:
        return TOKENIZER_SECTION_TOKEN_ADDED | TOKENIZER_SECTION_TOKEN_SPECIAL;
    case TYPE_USER_DEFINED:
        return TOKENIZER_SECTION_TOKEN_ADDED;
    case TYPE_UNUSED:
        return TOKENIZER_SECTION_TOKEN_MODEL | TOKENIZER_SECTION_TOKEN_UNUSED;
    case TYPE_BYTE:
        return TOKENIZER_SECTION_TOKEN_MODEL | (unigram ? TOKENIZER_SECTION_TOKEN_UNUSED : 0u);
    }
    return 0;
}

static bool read_piece(struct reader *r, struct protobuf message, uint32_t id)
{
    const char *text = "";
    size_t bytes = 0;
    uint64_t type = TYPE_NORMAL;
    double score = 0;
    struct protobuf_field field;
    while (protobuf_next(&message, &field)) {
        if (field.number == PIECE_TEXT && field.kind == PROTOBUF_BYTES) {
            text = field.data;
            bytes = field.bytes;
        } else if (field.number == PIECE_SCORE && field.kind == PROTOBUF_FIXED32) {
            score = (double)protobuf_float(&field);
        } else if (field.number == PIECE_TYPE && field.kind == PROTOBUF_VARINT) {
            type = field.value;
        }
    }
    uint32_t flags = piece_flags(r, type);
    if (message.damaged) {
        return damaged(r);
    }
    if (bytes == 0 || bytes > TOKENIZER_SECTION_MAX_TOKEN_BYTES || !unicode_is_valid(text, bytes)) {
        return error_set(r->err, "piece %u of tokenizer.model is empty, too long or not UTF-8", id);
    }
    if (flags == 0 || !isfinite(score)) {
        return error_set(r->err,
                         "piece %u of tokenizer.model has a type or a score that means "
                         "nothing",
                         id);
    }
    if (type == TYPE_BYTE && tokenizer_byte_token(text, bytes) < 0) {
        return error_set(r->err, "piece %u of tokenizer.model is a byte and not named like <0x0A>",
                         id);
    }
    if (type == TYPE_UNKNOWN) {
        r->parts->unk = id;
    }
    r->parts->tokens[id] = (struct tokenizer_part_token){text, bytes, flags};
    r->parts->scores[id] = score;
    if (flags & TOKENIZER_SECTION_TOKEN_ADDED) {
        bool special = flags & TOKENIZER_SECTION_TOKEN_SPECIAL;
        r->parts->added[r->parts->n_added++] = (struct tokenizer_part_added){
            .id = id, .flags = special ? TOKENIZER_SECTION_MATCH_SPECIAL : 0u};
    }
    return true;
}

static bool read_pieces(struct reader *r, struct protobuf message)
{
    struct protobuf_field field;
    for (uint32_t id = 0; protobuf_next(&message, &field);) {
        if (field.number == PIECES && field.kind == PROTOBUF_BYTES &&
            !read_piece(r, (struct protobuf){field.data, field.bytes, false}, id++)) {
            return false;
        }
    }
    return true;
}

/* Everything but the pieces, of which it takes the number; memory for them. */
static bool read_outline(struct reader *r, struct protobuf message)
{
    struct protobuf_field field;
    uint64_t n = 0;
    bool ok = true;
    while (ok && protobuf_next(&message, &field)) {
        const struct protobuf inner = {field.data, field.bytes, false};
        if (field.kind == PROTOBUF_BYTES) {
            n += field.number == PIECES;
            ok = field.number == TRAINER      ? read_trainer(r, inner)
                 : field.number == NORMALIZER ? read_normalizer(r, inner)
                                              : true;
        }
    }
    if (!ok || message.damaged) {
        return ok ? damaged(r) : false;
    }
    if (n == 0 || n > TOKENIZER_SECTION_MAX_TOKENS) {
        return error_set(r->err, "tokenizer.model has %llu pieces; 1 to %u are supported",
                         (unsigned long long)n, TOKENIZER_SECTION_MAX_TOKENS);
    }
    struct tokenizer_parts *parts = r->parts;
    parts->n_tokens = (uint32_t)n;
    parts->tokens = calloc(n, sizeof(*parts->tokens));
    parts->added = calloc(n, sizeof(*parts->added));
    parts->scores = calloc(n, sizeof(*parts->scores));
    return (parts->tokens && parts->added && parts->scores) ||
           error_set(r->err, "out of memory for %u tokens", parts->n_tokens);
}

static bool add_step(struct tokenizer_part_steps *steps, struct tokenizer_part_step step,
                     struct error *err)
{
    if (steps->count == TOKENIZER_SECTION_MAX_STEPS) {
        return error_set(err, "the tokenizer has too many steps");
    }
    steps->at[steps->count++] = step;
    return true;
}

bool tokenizer_model_steps(const struct tokenizer_model_normalizer *normalizer,
                           struct tokenizer_parts *parts, struct error *err)
{
    const char *mark = TOKENIZER_SPACE_MARK;
    size_t n_mark = sizeof(TOKENIZER_SPACE_MARK) - 1;
    bool prefix = normalizer->add_dummy_prefix, extra = normalizer->remove_extra_whitespaces;
    const struct {
        bool wanted;
        struct tokenizer_part_step step;
    } rows[] = {
        {normalizer->charsmap_bytes > 0,
         {TOKENIZER_SECTION_CHARSMAP, 0, normalizer->charsmap, normalizer->charsmap_bytes, NULL,
          0}},
        {extra, {TOKENIZER_SECTION_STRIP, TOKENIZER_SECTION_STRIP_LEFT, " ", 1, NULL, 0}},
        {extra, {TOKENIZER_SECTION_RUNS, 0, " ", 1, " ", 1}},
        {prefix, {TOKENIZER_SECTION_PREPEND, 0, mark, n_mark, NULL, 0}},
        {true, {TOKENIZER_SECTION_REPLACE, 0, " ", 1, mark, n_mark}},
        {extra, {TOKENIZER_SECTION_STRIP, TOKENIZER_SECTION_STRIP_RIGHT, mark, n_mark, NULL, 0}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        if (rows[i].wanted && !add_step(&parts->normalizer, rows[i].step, err)) {
            return false;
        }
    }
    parts->alphabet = TOKENIZER_SECTION_CHARACTERS;
    const struct tokenizer_part_step raw = {.kind = TOKENIZER_SECTION_RAW};
    const struct tokenizer_part_step strip = {
        .kind = TOKENIZER_SECTION_STRIP_START, .text = " ", .bytes = 1};
    return add_step(&parts->decoder, raw, err) &&
           (!prefix || add_step(&parts->decoder, strip, err));
}

/* What this engine cannot do exactly. */
static bool check_model(const struct reader *r)
{
    if (r->model_type != MODEL_UNIGRAM && r->model_type != MODEL_BPE) {
        return error_set(r->err,
                         "tokenizer.model is a model of type %llu; unigram (1) and BPE (2) "
                         "are supported",
                         (unsigned long long)r->model_type);
    }
    if (r->space_suffix || !r->escape_spaces) {
        return error_set(r->err, "tokenizer.model treats spaces in a way that is not supported "
                                 "(treat_whitespace_as_suffix, or not escape_whitespaces)");
    }
    if (r->normalizer.charsmap_bytes > 0 &&
        !tokenizer_charsmap_check(r->normalizer.charsmap, r->normalizer.charsmap_bytes)) {
        return error_set(r->err, "the precompiled_charsmap of tokenizer.model is damaged");
    }
    return true;
}

/* The control token with this id, or none. */
static uint32_t find_control(const struct tokenizer_parts *parts, int64_t id)
{
    return id >= 0 && id < parts->n_tokens &&
                   (parts->tokens[id].flags & TOKENIZER_SECTION_TOKEN_SPECIAL) && id != parts->unk
               ? (uint32_t)id
               : TOKENIZER_SECTION_NO_ID;
}

static void add_ends(struct reader *r)
{
    struct tokenizer_parts *parts = r->parts;
    bool unigram = parts->model == TOKENIZER_SECTION_UNIGRAM;
    parts->bos = find_control(parts, r->bos);
    parts->eos = find_control(parts, r->eos);
    if (unigram && parts->eos != TOKENIZER_SECTION_NO_ID) {
        parts->suffix.at[parts->suffix.count++] = parts->eos;
    }
    if (!unigram && parts->bos != TOKENIZER_SECTION_NO_ID) {
        parts->prefix.at[parts->prefix.count++] = parts->bos;
    }
}

bool tokenizer_model_read(const char *data, size_t bytes, struct tokenizer_parts *parts,
                          struct error *err)
{
    struct reader r = {.parts = parts,
                       .normalizer = {.add_dummy_prefix = true, .remove_extra_whitespaces = true},
                       .model_type = MODEL_UNIGRAM,
                       .bos = 1,
                       .eos = 2,
                       .escape_spaces = true,
                       .err = err};
    const struct protobuf message = {data, bytes, false};
    *parts = (struct tokenizer_parts){.bos = TOKENIZER_SECTION_NO_ID,
                                      .eos = TOKENIZER_SECTION_NO_ID,
                                      .unk = TOKENIZER_SECTION_NO_ID};
    if (!read_outline(&r, message) || !check_model(&r)) {
        return false;
    }
    bool unigram = r.model_type == MODEL_UNIGRAM;
    parts->model = unigram ? TOKENIZER_SECTION_UNIGRAM : TOKENIZER_SECTION_BPE;
    parts->flags = (unigram ? TOKENIZER_SECTION_SINGLE_SUMS : TOKENIZER_SECTION_FUSE_UNK) |
                   (r.byte_fallback ? TOKENIZER_SECTION_BYTE_FALLBACK : 0u);
    if (!read_pieces(&r, message)) {
        return false;
    }
    if (parts->unk == TOKENIZER_SECTION_NO_ID) {
        return error_set(err, "tokenizer.model has no piece for what is unknown");
    }
    add_ends(&r);
    return tokenizer_model_steps(&r.normalizer, parts, err) &&
           (unigram || tokenizer_gguf_merges_score(parts, err));
}
