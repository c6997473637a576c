/* Hyper-parameters from the config.json of a Hugging Face checkpoint.
 *
 * A key that changes what is computed and that this version does not know how to follow is refused
 * by name: a wrong answer is worse than none.
 */
#include "engine/model/hparams.h"

#include <inttypes.h>
#include <string.h>

#include "engine/model/arch.h"

/* The value at a dotted path of `bytes` characters; NULL if it is not there or null. */
static const json_t *find_path(const json_t *config, const char *path, size_t bytes)
{
    const json_t *value = config;
    while (bytes > 0 && value) {
        size_t part = strcspn(path, ".|");
        value = json_object_getn(value, path, part);
        size_t skip = part < bytes ? part + 1 : part;
        path += skip;
        bytes -= skip;
    }
    return json_is_null(value) ? NULL : value;
}

/* The first of "a|b.c|d" that is there. *found receives its name, cut to fit. */
static const json_t *find_key(const json_t *config, const char *keys, char found[64])
{
    for (const char *key = keys; *key;) {
        size_t bytes = strcspn(key, "|");
        const json_t *value = find_path(config, key, bytes);
        size_t kept = bytes < 63 ? bytes : 63;
        memcpy(found, key, kept);
        found[kept] = 0;
        if (value) {
            return value;
        }
        key += bytes + (key[bytes] == '|');
    }
    return NULL;
}

static bool read_u32(uint32_t *field, const json_t *value, const char *key, const char *source,
                     struct error *err)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > UINT32_MAX) {
        return error_set(err, "%s: %s is not a whole number from 0 to %" PRIu32, source, key,
                         UINT32_MAX);
    }
    *field = (uint32_t)json_integer_value(value);
    return true;
}

static bool read_f64(double *field, const json_t *value, const char *key, const char *source,
                     struct error *err)
{
    *field = json_number_value(value);
    return json_is_number(value) || error_set(err, "%s: %s is not a number", source, key);
}

static bool read_flag(bool *field, const json_t *value, const char *key, const char *source,
                      struct error *err)
{
    *field = json_is_true(value);
    return json_is_boolean(value) ||
           error_set(err, "%s: %s is neither true nor false", source, key);
}

static bool read_values(struct hparams *hparams, const json_t *config, const char *source,
                        struct error *err)
{
    char key[64];
    const json_t *value;
#define X(kind, field, keys, gguf_keys, fallback) \
    value = find_key(config, keys, key); \
    if (value) { \
        if (!read_##kind(&hparams->field, value, key, source, err)) { \
            return false; \
        } \
    } else if ((fallback) == HPARAM_REQUIRED) { \
        return error_set(err, "%s has no %s", source, keys); \
    }
    HPARAMS(X)
#undef X
    return true;
}

/* Of all families; one of arch->expectations with the same key counts instead. */
static const struct arch_expectation expectations[] = {
    {"attention_bias", EXPECT_FALSE},
    {"mlp_bias", EXPECT_FALSE},
    {"use_sliding_window", EXPECT_FALSE},
    {"is_encoder_decoder", EXPECT_FALSE},
    {"hidden_act", EXPECT_SILU},
    {"partial_rotary_factor", EXPECT_ONE},
    {"rope_parameters.partial_rotary_factor", EXPECT_ONE},
    {"clip_qkv", EXPECT_ABSENT},
    {"attn_logit_softcapping", EXPECT_ABSENT},
    {"final_logit_softcapping", EXPECT_ABSENT},
    {"quantization_config", EXPECT_QUANTIZATION},
    {NULL, 0},
};

static bool is_word(const json_t *value, const char *word)
{
    return json_is_string(value) && strcmp(json_string_value(value), word) == 0;
}

static bool meets(const json_t *value, enum arch_expectation_kind kind)
{
    const json_t *method;
    switch (kind) {
    case EXPECT_FALSE:
        return json_is_false(value);
    case EXPECT_TRUE:
        return json_is_true(value);
    case EXPECT_ONE:
        return json_is_number(value) && json_number_value(value) == 1;
    case EXPECT_SILU:
        return is_word(value, "silu") || is_word(value, "swish");
    case EXPECT_ABSENT:
        return false;
    case EXPECT_QUANTIZATION:
        method = json_object_get(value, "quant_method");
        return is_word(method, "fp8") || is_word(method, "mxfp4");
    }
    return false;
}

static bool refuse(const char *key, const json_t *value, const char *source, struct error *err)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    error_set(err, "%s: %s is %.80s, which this version cannot follow", source, key,
              text ? text : "a value");
    free(text);
    return false;
}

static bool check_list(const struct arch_expectation *list, const struct arch_expectation *stronger,
                       const json_t *config, const char *source, struct error *err)
{
    for (; list && list->key; list++) {
        bool replaced = false;
        for (const struct arch_expectation *own = stronger; own && own->key; own++) {
            replaced = replaced || strcmp(own->key, list->key) == 0;
        }
        const json_t *value = find_path(config, list->key, strlen(list->key));
        if (value && !replaced && !meets(value, list->kind)) {
            return refuse(list->key, value, source, err);
        }
    }
    return true;
}

static bool check_expectations(const struct arch *arch, const json_t *config, const char *source,
                               struct error *err)
{
    return check_list(arch->expectations, NULL, config, source, err) &&
           check_list(expectations, arch->expectations, config, source, err);
}

/* "layer_types": windows of attention, layer by layer. */
static bool read_windows(struct hparams *hparams, const struct arch *arch, const json_t *config,
                         const char *source, struct error *err)
{
    const json_t *kinds = json_object_get(config, "layer_types");
    if (!kinds || json_is_null(kinds)) {
        hparams_set_windows(hparams, arch);
        return true;
    }
    if (!json_is_array(kinds) || json_array_size(kinds) != hparams->layers) {
        return error_set(err,
                         "%s: layer_types is not a list of num_hidden_layers %" PRIu32 " words",
                         source, hparams->layers);
    }
    for (uint32_t i = 0; i < hparams->layers && i < HPARAM_MAX_LAYERS; i++) {
        const json_t *kind = json_array_get(kinds, i);
        hparams->windowed[i] = is_word(kind, "sliding_attention");
        if (!hparams->windowed[i] && !is_word(kind, "full_attention")) {
            return refuse("layer_types", kind, source, err);
        }
    }
    return true;
}

/* "scoring_func" and "topk_method" of the DeepSeek line. */
static bool read_router(struct hparams *hparams, const json_t *config, const char *source,
                        struct error *err)
{
    const json_t *score = find_path(config, "scoring_func", strlen("scoring_func"));
    if (is_word(score, "softmax")) {
        hparams->router_score = ROUTER_SOFTMAX;
    } else if (is_word(score, "sigmoid")) {
        hparams->router_score = ROUTER_SIGMOID;
    } else if (score) {
        return refuse("scoring_func", score, source, err);
    }
    const json_t *method = find_path(config, "topk_method", strlen("topk_method"));
    uint32_t needed = ROUTER_SOFTMAX;
    if (is_word(method, "greedy")) {
        hparams->router_groups = hparams->router_top_groups = 1;
        needed = hparams->router_score;
    } else if (is_word(method, "noaux_tc")) {
        needed = ROUTER_SIGMOID;
    } else if (!method) {
        needed = hparams->router_score;
    } else if (!is_word(method, "group_limited_greedy")) {
        return refuse("topk_method", method, source, err);
    }
    if (needed != hparams->router_score) {
        return error_set(err, "%s: topk_method %s does not go with scoring_func %s", source,
                         json_string_value(method),
                         hparams->router_score == ROUTER_SOFTMAX ? "softmax" : "sigmoid");
    }
    return true;
}

#define ROPE_KEY(key) "rope_scaling." key "|rope_parameters." key

static bool read_rope_scaling(struct hparams *hparams, const json_t *config, const char *source,
                              struct error *err)
{
    char key[64];
    const json_t *kind = find_key(config,
                                  "rope_scaling.rope_type|rope_scaling.type|"
                                  "rope_parameters.rope_type|rope_parameters.type",
                                  key);
    const json_t *scaling = find_path(config, "rope_scaling", strlen("rope_scaling"));
    const char *word = json_string_value(kind);
    if (!kind && !scaling) {
        return true;
    }
    if (!word) {
        return refuse("rope_scaling", kind ? kind : scaling, source, err);
    }
    if (strcmp(word, "default") == 0 || strcmp(word, "none") == 0) {
        hparams->rope_scaling = ROPE_SCALING_NONE;
        return true;
    }
    static const struct {
        const char *word;
        enum rope_scaling scaling;
        const char *needed[5];
    } kinds[] = {
        {"linear", ROPE_SCALING_LINEAR, {ROPE_KEY("factor")}},
        {"llama3",
         ROPE_SCALING_LLAMA3,
         {ROPE_KEY("factor"), ROPE_KEY("low_freq_factor"), ROPE_KEY("high_freq_factor"),
          ROPE_KEY("original_max_position_embeddings")}},
        {"yarn",
         ROPE_SCALING_YARN,
         {ROPE_KEY("factor"), ROPE_KEY("original_max_position_embeddings")}},
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(word, kinds[i].word) != 0) {
            continue;
        }
        hparams->rope_scaling = kinds[i].scaling;
        for (const char *const *needed = kinds[i].needed; *needed; needed++) {
            if (!find_key(config, *needed, key)) {
                return error_set(err, "%s: rope_scaling \"%s\" lacks %.*s", source, word,
                                 (int)strcspn(*needed, "|"), *needed);
            }
        }
        return true;
    }
    return refuse(key, kind, source, err);
}

/* "mlp_only_layers": layers without a router. */
static bool read_dense_layers(struct hparams *hparams, const json_t *config, const char *source,
                              struct error *err)
{
    const json_t *list = json_object_get(config, "mlp_only_layers");
    bool dense[HPARAM_MAX_LAYERS] = {false};
    if (list && !json_is_null(list) && !json_is_array(list)) {
        return error_set(err, "%s: mlp_only_layers is not a list", source);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        json_int_t layer = json_integer_value(value);
        if (!json_is_integer(value) || layer < 0 || layer >= hparams->layers ||
            layer >= HPARAM_MAX_LAYERS) {
            return error_set(
                err, "%s: mlp_only_layers has a layer that num_hidden_layers %" PRIu32 " does not",
                source, hparams->layers);
        }
        dense[layer] = true;
    }
    for (uint32_t layer = 0; layer < HPARAM_MAX_LAYERS; layer++) {
        if (dense[layer]) {
            hparams->dense_layers[hparams->n_dense_layers++] = layer;
        }
    }
    return true;
}

bool hparams_from_config(struct hparams *hparams, const struct arch *arch, const json_t *config,
                         const char *source, struct error *err)
{
    hparams_set_defaults(hparams, arch);
    return read_values(hparams, config, source, err) &&
           check_expectations(arch, config, source, err) &&
           read_windows(hparams, arch, config, source, err) &&
           read_router(hparams, config, source, err) &&
           read_rope_scaling(hparams, config, source, err) &&
           read_dense_layers(hparams, config, source, err) &&
           hparams_check(hparams, arch, source, err);
}
