#include "engine/model/type_choice.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum place { /* of a rule */
             PLACE_NONE,
             PLACE_V,
             PLACE_DOWN, /* of experts and dense layers */
             PLACE_OUTPUT,
             PLACE_ROUTED, /* gate, up and down of routed experts */
};
enum when {
    ALWAYS,
    IN_MORE,    /* the first and last eighth of the layers, and every third between */
    IN_FIRST_2, /* layers */
    IN_FIRST_4,
    IN_EIGHTH, /* the first n / 8 layers */
    IN_SIXTEENTH,
    IF_GROUPED, /* four or more query heads share a key head */
    WITHOUT_IMPORTANCE_IN_EIGHTH,
};

struct rule {
    enum place place;
    enum when when;
    enum dtype type;
};

struct type_mix {
    const char *name;
    enum dtype type, head;
    /* Mixes, not single types: with exactly 8 experts keys and values are q8_0 (there is little of
     * them), and the attention's output is q5_k in those of at most 4 bits. */
    bool is_mix, is_low;
    struct rule rules[5]; /* the first that applies counts */
};

#define SINGLE(NAME, text, HEAD) \
    { \
        .name = text, .type = DTYPE_##NAME, .head = DTYPE_##HEAD \
    }

static const struct type_mix mixes[] = {
    SINGLE(F32, "f32", F32),
    SINGLE(F16, "f16", F16),
    SINGLE(BF16, "bf16", BF16),
    SINGLE(Q8_0, "q8_0", Q8_0),
    SINGLE(Q6_K, "q6_k", Q6_K),
    SINGLE(Q5_K, "q5_k", Q6_K),
    SINGLE(Q4_K, "q4_k", Q6_K),
    SINGLE(Q3_K, "q3_k", Q6_K),
    SINGLE(Q5_1, "q5_1", Q6_K),
    SINGLE(Q5_0, "q5_0", Q6_K),
    SINGLE(Q4_1, "q4_1", Q6_K),
    SINGLE(Q4_0, "q4_0", Q6_K),
    SINGLE(MXFP4, "mxfp4", Q8_0),
    {"q5_k_m",
     DTYPE_Q5_K,
     DTYPE_Q6_K,
     true,
     false,
     {{PLACE_V, IN_MORE, DTYPE_Q6_K}, {PLACE_DOWN, IN_MORE, DTYPE_Q6_K}}},
    {"q4_k_m",
     DTYPE_Q4_K,
     DTYPE_Q6_K,
     true,
     true,
     {{PLACE_V, IN_MORE, DTYPE_Q6_K}, {PLACE_DOWN, IN_MORE, DTYPE_Q6_K}}},
    {"q4_k_s",
     DTYPE_Q4_K,
     DTYPE_Q6_K,
     true,
     true,
     {{PLACE_V, IN_FIRST_4, DTYPE_Q5_K}, {PLACE_DOWN, IN_EIGHTH, DTYPE_Q5_K}}},
    {"q3_k_m",
     DTYPE_Q3_K,
     DTYPE_Q6_K,
     true,
     true,
     {{PLACE_V, IN_FIRST_2, DTYPE_Q5_K},
      {PLACE_V, ALWAYS, DTYPE_Q4_K},
      {PLACE_DOWN, IN_SIXTEENTH, DTYPE_Q5_K},
      {PLACE_DOWN, ALWAYS, DTYPE_Q4_K},
      {PLACE_OUTPUT, ALWAYS, DTYPE_Q4_K}}},
    {"q2_k",
     DTYPE_Q2_K,
     DTYPE_Q6_K,
     true,
     true,
     {{PLACE_V, IF_GROUPED, DTYPE_Q4_K},
      {PLACE_V, ALWAYS, DTYPE_Q3_K},
      {PLACE_DOWN, ALWAYS, DTYPE_Q3_K},
      {PLACE_OUTPUT, ALWAYS, DTYPE_Q3_K}}},
    {"iq4_xs",
     DTYPE_IQ4_XS,
     DTYPE_Q6_K,
     true,
     true,
     {{PLACE_V, IF_GROUPED, DTYPE_Q5_K}, {PLACE_DOWN, WITHOUT_IMPORTANCE_IN_EIGHTH, DTYPE_Q5_K}}},
    {"iq4_nl",
     DTYPE_IQ4_NL,
     DTYPE_Q6_K,
     true,
     true,
     {{PLACE_V, IF_GROUPED, DTYPE_Q5_K}, {PLACE_DOWN, WITHOUT_IMPORTANCE_IN_EIGHTH, DTYPE_Q5_K}}},
    {"mxfp4_moe", DTYPE_Q8_0, DTYPE_Q8_0, false, false, {{PLACE_ROUTED, ALWAYS, DTYPE_MXFP4}}},
};
#define N_MIXES (sizeof(mixes) / sizeof(mixes[0]))

const struct type_mix *type_mix_find(const char *name)
{
    for (size_t i = 0; i < N_MIXES; i++) {
        if (strcmp(mixes[i].name, name) == 0) {
            return &mixes[i];
        }
    }
    return NULL;
}

const char *type_mix_name(const struct type_mix *mix)
{
    return mix->name;
}

enum dtype type_mix_type(const struct type_mix *mix)
{
    return mix->type;
}

void type_mix_names(char *names, uint32_t names_bytes)
{
    names[0] = 0;
    for (size_t i = 0, used = 0; i < N_MIXES && used < names_bytes; i++) {
        used += (size_t)snprintf(names + used, names_bytes - used, "%s%s", i ? ", " : "",
                                 mixes[i].name);
    }
}

const char *type_choice_reason_text(enum type_choice_reason reason)
{
    static const char *const texts[TYPE_N_REASONS] = {
        [TYPE_AS_ASKED] = "asked for",
        [TYPE_BY_RULE] = "rule of the mix",
        [TYPE_BY_PATTERN] = "--tensor",
        [TYPE_BY_EXPERT] = "chosen for the expert",
        [TYPE_KEPT] = "as in the source",
        [TYPE_SENSITIVE] = "small and sensitive",
        [TYPE_FOR_COLUMNS] = "rows are not a whole number of blocks",
        [TYPE_FOR_RANGE] = "values too large for f16",
        [TYPE_FOR_SCALES] = "FP8 with scales, to 8 bits of mantissa",
        [TYPE_FOR_SHARING] = "gate and up of the source differ in type",
    };
    return texts[reason];
}

bool type_choice_is_fallback(enum type_choice_reason reason)
{
    return reason >= TYPE_FOR_COLUMNS;
}

/* ---- rules ---- */

static bool applies(enum when when, const struct type_query *query)
{
    const struct hparams *hparams = query->hparams;
    uint32_t layer = query->layer, n = hparams->layers;
    switch (when) {
    case ALWAYS:
        return true;
    case IN_MORE:
        return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
    case IN_FIRST_2:
        return layer < 2;
    case IN_FIRST_4:
        return layer < 4;
    case IN_EIGHTH:
        return layer < n / 8;
    case IN_SIXTEENTH:
        return layer < n / 16;
    case IF_GROUPED:
        return hparams->kv_heads > 0 && hparams->heads / hparams->kv_heads >= 4;
    case WITHOUT_IMPORTANCE_IN_EIGHTH:
        return !query->has_importance && layer < n / 8;
    }
    return false;
}

static bool is_at(enum place place, const struct type_query *query)
{
    bool expert = query->role == ROLE_EXPERT || query->role == ROLE_SHARED_EXPERT;
    switch (place) {
    case PLACE_NONE:
        return false;
    case PLACE_V:
        return query->role == ROLE_ATTENTION_V;
    case PLACE_DOWN:
        return expert && query->down;
    case PLACE_OUTPUT:
        return query->role == ROLE_ATTENTION_OUTPUT;
    case PLACE_ROUTED:
        return query->role == ROLE_EXPERT && query->routed;
    }
    return false;
}

/* The rule for models of exactly 8 experts. */
static bool choose_for_8(const struct type_mix *mix, const struct type_query *query,
                         enum dtype *type)
{
    if (!mix->is_mix || query->hparams->experts != 8) {
        return false;
    }
    if (query->role == ROLE_ATTENTION_V || query->role == ROLE_ATTENTION_K) {
        *type = DTYPE_Q8_0;
        return true;
    }
    *type = DTYPE_Q5_K;
    return mix->is_low && query->role == ROLE_ATTENTION_OUTPUT;
}

enum dtype type_mix_choose(const struct type_mix *mix, const struct type_query *query,
                           enum type_choice_reason *reason)
{
    enum dtype type = mix->type;
    *reason = TYPE_AS_ASKED;
    if (query->is_head) {
        type = mix->head;
        *reason = type == mix->type ? TYPE_AS_ASKED : TYPE_BY_RULE;
    } else if (choose_for_8(mix, query, &type)) {
        *reason = TYPE_BY_RULE;
    } else {
        type = mix->type;
        for (size_t i = 0; i < sizeof(mix->rules) / sizeof(mix->rules[0]); i++) {
            if (is_at(mix->rules[i].place, query) && applies(mix->rules[i].when, query)) {
                type = mix->rules[i].type;
                *reason = TYPE_BY_RULE;
                break;
            }
        }
    }
    return type_choice_fit(type, query, reason);
}

static bool whole_blocks(enum dtype type, uint64_t cols)
{
    return cols % dtype_info(type)->block_elements == 0;
}

enum dtype type_choice_fit(enum dtype wanted, const struct type_query *query,
                           enum type_choice_reason *reason)
{
    if (wanted == DTYPE_F16 && query->exceeds_f16) {
        *reason = TYPE_FOR_RANGE;
        return query->any_bf16 && !query->any_f32 ? DTYPE_BF16 : DTYPE_F32;
    }
    if (whole_blocks(wanted, query->cols)) {
        return wanted;
    }
    *reason = TYPE_FOR_COLUMNS;
    static const struct {
        enum dtype wanted, given;
    } table[] = {
        {DTYPE_Q2_K, DTYPE_IQ4_NL}, {DTYPE_Q3_K, DTYPE_IQ4_NL}, {DTYPE_IQ4_XS, DTYPE_IQ4_NL},
        {DTYPE_Q4_K, DTYPE_Q5_0},   {DTYPE_Q5_K, DTYPE_Q5_1},   {DTYPE_Q6_K, DTYPE_Q8_0},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].wanted == wanted && whole_blocks(table[i].given, query->cols)) {
            return table[i].given;
        }
    }
    return query->any_f32 || query->any_bf16 ? DTYPE_BF16 : DTYPE_F16;
}

/* ---- for people ---- */

uint32_t type_mix_count(void)
{
    return (uint32_t)N_MIXES;
}

const struct type_mix *type_mix_at(uint32_t index)
{
    return &mixes[index];
}

double type_mix_bits(const struct type_mix *mix)
{
    static const struct hparams large = {
        .layers = 48, .heads = 32, .kv_heads = 4, .experts = 128, .experts_per_token = 8};
    double bits = 0;
    for (uint32_t layer = 0; layer < large.layers; layer++) {
        for (uint32_t matrix = 0; matrix < 3; matrix++) { /* gate, up, down */
            struct type_query query = {.hparams = &large,
                                       .role = ROLE_EXPERT,
                                       .routed = true,
                                       .down = matrix == 2,
                                       .layer = layer,
                                       .any_bf16 = true,
                                       .cols = 2048};
            enum type_choice_reason reason;
            const struct dtype_info *type = dtype_info(type_mix_choose(mix, &query, &reason));
            bits += 8.0 * type->ggml_block_bytes / type->block_elements;
        }
    }
    return bits / (3 * large.layers);
}
