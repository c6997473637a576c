#include "engine/text/tokenizer_json_pipeline.h"

#include <string.h>

#define MAX_DEPTH 8

/* The pattern of GPT-2, which ByteLevel stands for when use_regex is set. */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]"
    "+|\\s+(?!\\S)|\\s+";

struct pipeline {
    struct tokenizer_parts *parts;
    struct error *err;
    bool byte_level; /* the pre-tokenizer has mapped bytes: nothing may follow */
};

typedef bool (*member_fn)(struct pipeline *p, const json_t *member, const char *type);

static bool is_type(const char *type, const char *name)
{
    return strcmp(type, name) == 0;
}

static bool refuse(struct pipeline *p, const char *part, const char *type)
{
    return error_set(p->err, "the %s \"%.60s\" is not supported; byte-level BPE tokenizers are",
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

static bool read_normalizer(struct pipeline *p, const json_t *member, const char *type)
{
    if (!is_type(type, "NFC")) {
        return refuse(p, "normalizer", type);
    }
    /* Composing twice changes nothing. */
    return p->parts->normalizer.count > 0 ||
           add_step(p, &p->parts->normalizer,
                    (struct tokenizer_part_step){.kind = TOKENIZER_SECTION_NFC});
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

static bool read_split(struct pipeline *p, const json_t *member)
{
    const json_t *pattern = json_object_get(json_object_get(member, "pattern"), "Regex");
    const char *behavior = json_string_value(json_object_get(member, "behavior"));
    bool invert;
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
    bool prefix_space, use_regex;
    if (!get_bool(p, member, "add_prefix_space", true, &prefix_space) ||
        !get_bool(p, member, "use_regex", true, &use_regex)) {
        return false;
    }
    p->byte_level = true;
    return (!prefix_space ||
            add_step(p, &p->parts->pre_tokenizer,
                     (struct tokenizer_part_step){.kind = TOKENIZER_SECTION_PREFIX_SPACE})) &&
           (!use_regex || add_split(p, gpt2_pattern, sizeof(gpt2_pattern) - 1,
                                    TOKENIZER_SECTION_KEEP_MATCHES | TOKENIZER_SECTION_KEEP_GAPS));
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
    if (is_type(type, "Digits")) {
        bool individual;
        return get_bool(p, member, "individual_digits", false, &individual) &&
               add_split(p, individual ? "\\p{N}" : "\\p{N}+", individual ? 5 : 6,
                         TOKENIZER_SECTION_KEEP_MATCHES | TOKENIZER_SECTION_KEEP_GAPS);
    }
    return refuse(p, "pre-tokenizer", type);
}

static bool read_decoder(struct pipeline *p, const json_t *member, const char *type)
{
    if (!is_type(type, "ByteLevel")) {
        return refuse(p, "decoder", type);
    }
    return p->parts->decoder.count > 0
               ? error_set(p->err, "two ByteLevel decoders in a row are not supported")
               : add_step(p, &p->parts->decoder,
                          (struct tokenizer_part_step){.kind = TOKENIZER_SECTION_BYTE_MAP});
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
    if (!p.byte_level) {
        return error_set(err, "the pre-tokenizer has no ByteLevel; only byte-level BPE tokenizers "
                              "are supported");
    }
    if (is_set(post_processor) &&
        !walk(&p, post_processor, "post-processor", "processors", 0, read_post_processor)) {
        return false;
    }
    if (is_set(decoder) && !walk(&p, decoder, "decoder", "decoders", 0, read_decoder)) {
        return false;
    }
    return parts->decoder.count > 0 ||
           error_set(err, "the decoder is not ByteLevel; only byte-level BPE tokenizers are "
                          "supported");
}
