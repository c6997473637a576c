#include "engine/text/tokenizer_json_pipeline.h"

#include <stdlib.h>
#include <string.h>

#include "engine/text/base64.h"
#include "engine/text/tokenizer_charsmap.h"
#include "engine/text/tokenizer_patterns.h"

#define MAX_DEPTH 8

struct pipeline {
    struct tokenizer_parts *parts;
    struct error *err;
    bool byte_level; /* the pre-tokenizer has mapped bytes: nothing may follow */
    /* What decoders were there. */
    bool bytes_decoded, marks_decoded, fallback_decoded, fused, stripped;
};

typedef bool (*member_fn)(struct pipeline *p, const json_t *member, const char *type);

static bool is_type(const char *type, const char *name)
{
    return strcmp(type, name) == 0;
}

static bool refuse(struct pipeline *p, const char *part, const char *type)
{
    return error_set(p->err,
                     "the %s \"%.60s\" is not supported; those of byte-level and SentencePiece "
                     "tokenizers are",
                     part, type);
}

/* Calls fn for a member, or for each member of a Sequence, in order. */
static bool walk(struct pipeline *p, const json_t *member, const char *part, const char *list,
                 int depth, member_fn fn)
{
    const char *type = json_string_value(json_object_get(member, "type"));
    if (!type) {
        return error_set(p->err, "the %s has no type", part);
    }
    if (!is_type(type, "Sequence")) {
        return fn(p, member, type);
    }
    const json_t *members = json_object_get(member, list);
    if (!json_is_array(members) || depth == MAX_DEPTH) {
        return error_set(p->err, "the %s is a Sequence without a list of %s, or nested too deeply",
                         part, list);
    }
    for (size_t i = 0; i < json_array_size(members); i++) {
        if (!walk(p, json_array_get(members, i), part, list, depth + 1, fn)) {
            return false;
        }
    }
    return true;
}

/* A Boolean member; `missing` if it is not there. */
static bool get_bool(struct pipeline *p, const json_t *object, const char *key, bool missing,
                     bool *value)
{
    const json_t *member = json_object_get(object, key);
    *value = member ? json_is_true(member) : missing;
    return !member || json_is_boolean(member) ||
           error_set(p->err, "\"%s\" is neither true nor false", key);
}

static bool add_step(struct pipeline *p, struct tokenizer_part_steps *steps,
                     struct tokenizer_part_step step)
{
    if (steps->count == TOKENIZER_SECTION_MAX_STEPS) {
        return error_set(p->err, "the pipeline has more than %u steps of one kind",
                         TOKENIZER_SECTION_MAX_STEPS);
    }
    steps->at[steps->count++] = step;
    return true;
}

static bool is_text(const json_t *text, const char *wanted)
{
    return json_is_string(text) && is_type(json_string_value(text), wanted);
}

/* A map of characters in Base64; files without one have null or an empty text. */
static bool read_charsmap(struct pipeline *p, const json_t *text)
{
    size_t bytes;
    if (!text || json_is_null(text) || (json_is_string(text) && json_string_length(text) == 0)) {
        return true;
    }
    if (p->parts->charsmap) {
        return error_set(p->err, "two Precompiled normalizers are not supported");
    }
    if (!json_is_string(text)) {
        return error_set(p->err, "the \"precompiled_charsmap\" of a normalizer is not a text");
    }
    p->parts->charsmap = malloc(json_string_length(text) / 4 * 3 + 3);
    if (!p->parts->charsmap) {
        return error_set(p->err, "out of memory for a map of characters");
    }
    if (!base64_decode(json_string_value(text), json_string_length(text), p->parts->charsmap,
                       &bytes) ||
        !tokenizer_charsmap_check(p->parts->charsmap, bytes)) {
        return error_set(p->err, "the \"precompiled_charsmap\" of a normalizer is not a map of "
                                 "characters in Base64");
    }
    return add_step(p, &p->parts->normalizer,
                    (struct tokenizer_part_step){.kind = TOKENIZER_SECTION_CHARSMAP,
                                                 .flags = TOKENIZER_SECTION_CHARSMAP_CLUSTERS,
                                                 .text = p->parts->charsmap,
                                                 .bytes = bytes});
}

static bool read_strip(struct pipeline *p, const json_t *member)
{
    bool left, right;
    if (!get_bool(p, member, "strip_left", false, &left) ||
        !get_bool(p, member, "strip_right", false, &right)) {
        return false;
    }
    return add_step(
        p, &p->parts->normalizer,
        (struct tokenizer_part_step){.kind = TOKENIZER_SECTION_STRIP,
                                     .flags = (left ? TOKENIZER_SECTION_STRIP_LEFT : 0u) |
                                              (right ? TOKENIZER_SECTION_STRIP_RIGHT : 0u)});
}

static bool read_normalizer(struct pipeline *p, const json_t *member, const char *type)
{
    const json_t *prepend = json_object_get(member, "prepend");
    const json_t *pattern = json_object_get(json_object_get(member, "pattern"), "String");
    const json_t *content = json_object_get(member, "content");
    const json_t *regex = json_object_get(json_object_get(member, "pattern"), "Regex");
    struct tokenizer_part_step step = {0};
    if (is_type(type, "Precompiled")) {
        return read_charsmap(p, json_object_get(member, "precompiled_charsmap"));
    }
    if (is_type(type, "Strip")) {
        return read_strip(p, member);
    }
    if (is_type(type, "NFC")) {
        step.kind = TOKENIZER_SECTION_NFC;
    } else if (is_type(type, "Prepend") && json_is_string(prepend)) {
        step.kind = TOKENIZER_SECTION_PREPEND;
        step.text = json_string_value(prepend);
        step.bytes = json_string_length(prepend);
    } else if (is_type(type, "Replace") && json_string_length(pattern) > 0 &&
               json_is_string(content)) {
        step.kind = TOKENIZER_SECTION_REPLACE;
        step.text = json_string_value(pattern);
        step.bytes = json_string_length(pattern);
        step.replacement = json_string_value(content);
        step.replacement_bytes = json_string_length(content);
    } else if (is_type(type, "Replace") && is_text(regex, " {2,}") && json_is_string(content)) {
        step.kind = TOKENIZER_SECTION_RUNS;
        step.text = " ";
        step.bytes = 1;
        step.replacement = json_string_value(content);
        step.replacement_bytes = json_string_length(content);
    } else if (is_type(type, "Replace")) {
        return error_set(p->err, "a Replace normalizer without a String pattern and content is not "
                                 "supported");
    } else {
        return refuse(p, "normalizer", type);
    }
    uint32_t n = p->parts->normalizer.count;
    bool twice = step.kind == TOKENIZER_SECTION_NFC && n > 0 &&
                 p->parts->normalizer.at[n - 1].kind == TOKENIZER_SECTION_NFC;
    return twice || add_step(p, &p->parts->normalizer, step); /* composing twice changes nothing */
}

static bool add_split(struct pipeline *p, const char *pattern, size_t bytes, uint32_t flags)
{
    return add_step(p, &p->parts->pre_tokenizer,
                    (struct tokenizer_part_step){
                        .kind = TOKENIZER_SECTION_SPLIT,
                        .flags = flags,
                        .text = pattern,
                        .bytes = bytes,
                    });
}

/* Whether the normalizer leaves no space for a pre-tokenizer to find. */
static bool spaces_are_gone(const struct pipeline *p)
{
    uint32_t n = p->parts->normalizer.count;
    const struct tokenizer_part_step *last = n > 0 ? &p->parts->normalizer.at[n - 1] : NULL;
    return last && last->kind == TOKENIZER_SECTION_REPLACE && last->bytes == 1 &&
           *last->text == ' ' && !memchr(last->replacement, ' ', last->replacement_bytes);
}

static bool read_split(struct pipeline *p, const json_t *member)
{
    const json_t *pattern = json_object_get(json_object_get(member, "pattern"), "Regex");
    const char *literal =
        json_string_value(json_object_get(json_object_get(member, "pattern"), "String"));
    const char *behavior = json_string_value(json_object_get(member, "behavior"));
    bool invert;
    if (literal && is_type(literal, " ") && spaces_are_gone(p)) {
        return true;
    }
    if (!json_is_string(pattern)) {
        return error_set(p->err, "a Split pre-tokenizer without a Regex pattern is not supported");
    }
    if (!behavior) {
        return error_set(p->err, "a Split pre-tokenizer has no behavior");
    }
    if (!get_bool(p, member, "invert", false, &invert)) {
        return false;
    }
    uint32_t flags;
    if (is_type(behavior, "Isolated")) {
        flags = TOKENIZER_SECTION_KEEP_MATCHES | TOKENIZER_SECTION_KEEP_GAPS;
    } else if (is_type(behavior, "Removed")) {
        flags = invert ? TOKENIZER_SECTION_KEEP_MATCHES : TOKENIZER_SECTION_KEEP_GAPS;
    } else {
        return refuse(p, "Split behavior", behavior);
    }
    return add_split(p, json_string_value(pattern), json_string_length(pattern), flags);
}

static bool read_byte_level(struct pipeline *p, const json_t *member)
{
    const char *gpt2 = tokenizer_patterns_find("gpt-2", 5)->split[0]; /* what use_regex means */
    bool prefix_space, use_regex;
    if (!get_bool(p, member, "add_prefix_space", true, &prefix_space) ||
        !get_bool(p, member, "use_regex", true, &use_regex)) {
        return false;
    }
    p->byte_level = true;
    return (!prefix_space ||
            add_step(p, &p->parts->pre_tokenizer,
                     (struct tokenizer_part_step){.kind = TOKENIZER_SECTION_PREFIX_SPACE})) &&
           (!use_regex || add_split(p, gpt2, strlen(gpt2),
                                    TOKENIZER_SECTION_KEEP_MATCHES | TOKENIZER_SECTION_KEEP_GAPS));
}

/* The flags of a Metaspace; older files say add_prefix_space. */
static bool read_metaspace_flags(struct pipeline *p, const json_t *member, uint32_t *flags)
{
    const json_t *mark = json_object_get(member, "replacement");
    const char *scheme = json_string_value(json_object_get(member, "prepend_scheme"));
    bool prefix_space, split;
    if (!get_bool(p, member, "add_prefix_space", true, &prefix_space) ||
        !get_bool(p, member, "split", true, &split)) {
        return false;
    }
    if (!json_is_string(mark) || !is_type(json_string_value(mark), TOKENIZER_SPACE_MARK)) {
        return error_set(p->err, "a Metaspace with another replacement than U+2581 is not "
                                 "supported");
    }
    scheme = scheme ? scheme : prefix_space ? "always" : "never";
    *flags = split ? TOKENIZER_SECTION_METASPACE_SPLIT : 0u;
    if (is_type(scheme, "always")) {
        *flags |= TOKENIZER_SECTION_METASPACE_ALWAYS;
    } else if (is_type(scheme, "first")) {
        *flags |= TOKENIZER_SECTION_METASPACE_FIRST;
    } else if (!is_type(scheme, "never")) {
        return error_set(p->err, "the prepend_scheme \"%.60s\" is not supported", scheme);
    }
    return true;
}

static bool read_metaspace(struct pipeline *p, const json_t *member)
{
    struct tokenizer_part_step step = {.kind = TOKENIZER_SECTION_METASPACE,
                                       .text = TOKENIZER_SPACE_MARK,
                                       .bytes = sizeof(TOKENIZER_SPACE_MARK) - 1};
    return read_metaspace_flags(p, member, &step.flags) &&
           add_step(p, &p->parts->pre_tokenizer, step);
}

static bool read_pre_tokenizer(struct pipeline *p, const json_t *member, const char *type)
{
    if (p->byte_level) {
        return error_set(p->err, "the pre-tokenizer \"%.60s\" after ByteLevel is not supported",
                         type);
    }
    if (is_type(type, "Split")) {
        return read_split(p, member);
    }
    if (is_type(type, "ByteLevel")) {
        return read_byte_level(p, member);
    }
    if (is_type(type, "Metaspace")) {
        return read_metaspace(p, member);
    }
    if (is_type(type, "WhitespaceSplit")) {
        return add_split(p, "\\s+", 3, TOKENIZER_SECTION_KEEP_GAPS);
    }
    if (is_type(type, "Digits")) {
        bool individual;
        return get_bool(p, member, "individual_digits", false, &individual) &&
               add_split(p, individual ? "\\p{N}" : "\\p{N}+", individual ? 5 : 6,
                         TOKENIZER_SECTION_KEEP_MATCHES | TOKENIZER_SECTION_KEEP_GAPS);
    }
    return refuse(p, "pre-tokenizer", type);
}

/* Replace U+2581 by a space, ByteFallback, Fuse, Strip one space at the start: in this order. */
static bool read_character_decoder(struct pipeline *p, const json_t *member, const char *type,
                                   bool *known)
{
    *known = true;
    if (is_type(type, "Replace") && !p->fallback_decoded && !p->fused && !p->marks_decoded) {
        p->marks_decoded = is_text(json_object_get(json_object_get(member, "pattern"), "String"),
                                   TOKENIZER_SPACE_MARK) &&
                           is_text(json_object_get(member, "content"), " ");
        return p->marks_decoded || error_set(p->err, "a Replace decoder other than of U+2581 by a "
                                                     "space is not supported");
    }
    if (is_type(type, "ByteFallback") && !p->fused && !p->fallback_decoded) {
        p->fallback_decoded = true;
        return true;
    }
    if (is_type(type, "Fuse")) {
        p->fused = true;
        return true;
    }
    if (is_type(type, "Strip") && p->fused && !p->stripped) {
        p->stripped = is_text(json_object_get(member, "content"), " ") &&
                      json_integer_value(json_object_get(member, "start")) == 1 &&
                      json_integer_value(json_object_get(member, "stop")) == 0;
        return p->stripped || error_set(p->err, "a Strip decoder other than of one space at the "
                                                "start is not supported");
    }
    *known = false;
    return true;
}

static bool read_decoder(struct pipeline *p, const json_t *member, const char *type)
{
    bool known;
    if (is_type(type, "ByteLevel")) {
        if (p->bytes_decoded) {
            return error_set(p->err, "two ByteLevel decoders in a row are not supported");
        }
        p->bytes_decoded = true;
        return true;
    }
    if (is_type(type, "Metaspace") && !p->byte_level && !p->marks_decoded) {
        uint32_t flags;
        p->marks_decoded = true;
        bool ok = read_metaspace_flags(p, member, &flags);
        p->stripped = ok && (flags & ~(uint32_t)TOKENIZER_SECTION_METASPACE_SPLIT);
        return ok;
    }
    return read_character_decoder(p, member, type, &known) && (known || refuse(p, "decoder", type));
}

/* What the pipeline as a whole makes of the model: symbols are bytes or characters. */
static bool choose_alphabet(struct pipeline *p)
{
    bool fallback = p->parts->flags & TOKENIZER_SECTION_BYTE_FALLBACK;
    if (!p->byte_level && !p->marks_decoded) {
        return error_set(p->err, "the pre-tokenizer has no ByteLevel, and the decoder does not "
                                 "turn U+2581 to spaces; only byte-level and SentencePiece BPE "
                                 "tokenizers are supported");
    }
    if (p->byte_level != p->bytes_decoded || p->byte_level == p->marks_decoded) {
        return error_set(p->err, "the decoder does not fit the pre-tokenizer: one of them is "
                                 "ByteLevel");
    }
    if (fallback != p->fallback_decoded) {
        return error_set(p->err, "\"byte_fallback\" of the model does not fit the decoder");
    }
    p->parts->alphabet = p->byte_level ? TOKENIZER_SECTION_BYTES : TOKENIZER_SECTION_CHARACTERS;
    struct tokenizer_part_step strip = {
        .kind = TOKENIZER_SECTION_STRIP_START, .text = " ", .bytes = 1};
    return add_step(p, &p->parts->decoder,
                    (struct tokenizer_part_step){.kind = TOKENIZER_SECTION_RAW}) &&
           (!p->stripped || add_step(p, &p->parts->decoder, strip));
}

/* The ids of one special token of a TemplateProcessing, into `ids`. */
static bool add_template_ids(struct pipeline *p, const json_t *tokens, const char *name,
                             struct tokenizer_part_ids *ids)
{
    const json_t *list = json_object_get(json_object_get(tokens, name), "ids");
    if (!json_is_array(list)) {
        return error_set(p->err, "the post-processor adds \"%.60s\" and does not say its id", name);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= p->parts->n_tokens ||
            !p->parts->tokens[json_integer_value(id)].text) {
            return error_set(p->err,
                             "the post-processor adds \"%.60s\" with an id that no token "
                             "has",
                             name);
        }
        if (ids->count == TOKENIZER_SECTION_MAX_EXTRA) {
            return error_set(p->err, "the post-processor adds more than %u tokens",
                             TOKENIZER_SECTION_MAX_EXTRA);
        }
        ids->at[ids->count++] = (uint32_t)json_integer_value(id);
    }
    return true;
}

static bool append_ids(struct pipeline *p, struct tokenizer_part_ids *ids,
                       const struct tokenizer_part_ids *more)
{
    for (uint32_t i = 0; i < more->count; i++) {
        if (ids->count == TOKENIZER_SECTION_MAX_EXTRA) {
            return error_set(p->err, "the post-processor adds more than %u tokens",
                             TOKENIZER_SECTION_MAX_EXTRA);
        }
        ids->at[ids->count++] = more->at[i];
    }
    return true;
}

/* "single" is a list of {"SpecialToken": {"id": NAME}} around one {"Sequence": {"id": "A"}}. A
 * later processor of a Sequence puts its tokens outside those of an earlier one. */
static bool read_template(struct pipeline *p, const json_t *member)
{
    const json_t *single = json_object_get(member, "single");
    const json_t *tokens = json_object_get(member, "special_tokens");
    struct tokenizer_part_ids before = {0}, after = {0};
    int texts = 0;
    if (!json_is_array(single)) {
        return error_set(p->err, "the TemplateProcessing post-processor has no list \"single\"");
    }
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *piece = json_array_get(single, i);
        const json_t *special = json_object_get(piece, "SpecialToken");
        const json_t *sequence = json_object_get(piece, "Sequence");
        const char *id = json_string_value(json_object_get(special ? special : sequence, "id"));
        if (!id || (sequence && (!is_type(id, "A") || texts++ > 0))) {
            return error_set(p->err, "the TemplateProcessing post-processor has a piece other than "
                                     "special tokens around one sequence A");
        }
        if (special && !add_template_ids(p, tokens, id, texts ? &after : &before)) {
            return false;
        }
    }
    if (texts != 1) {
        return error_set(p->err, "the TemplateProcessing post-processor has no sequence A");
    }
    struct tokenizer_part_ids inner = p->parts->prefix;
    p->parts->prefix = before;
    return append_ids(p, &p->parts->prefix, &inner) && append_ids(p, &p->parts->suffix, &after);
}

static bool read_post_processor(struct pipeline *p, const json_t *member, const char *type)
{
    if (is_type(type, "ByteLevel")) { /* moves offsets, which an engine does not have */
        return true;
    }
    return is_type(type, "TemplateProcessing") ? read_template(p, member)
                                               : refuse(p, "post-processor", type);
}

static bool is_set(const json_t *member)
{
    return member && !json_is_null(member);
}

bool tokenizer_json_pipeline_read(const json_t *root, struct tokenizer_parts *parts,
                                  struct error *err)
{
    struct pipeline p = {.parts = parts, .err = err};
    const json_t *normalizer = json_object_get(root, "normalizer");
    const json_t *pre_tokenizer = json_object_get(root, "pre_tokenizer");
    const json_t *post_processor = json_object_get(root, "post_processor");
    const json_t *decoder = json_object_get(root, "decoder");
    if (is_set(normalizer) &&
        !walk(&p, normalizer, "normalizer", "normalizers", 0, read_normalizer)) {
        return false;
    }
    if (is_set(pre_tokenizer) &&
        !walk(&p, pre_tokenizer, "pre-tokenizer", "pretokenizers", 0, read_pre_tokenizer)) {
        return false;
    }
    if (is_set(post_processor) &&
        !walk(&p, post_processor, "post-processor", "processors", 0, read_post_processor)) {
        return false;
    }
    if (is_set(decoder) && !walk(&p, decoder, "decoder", "decoders", 0, read_decoder)) {
        return false;
    }
    return choose_alphabet(&p);
}
