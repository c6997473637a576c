/* Hyper-parameters from the config.json of a Hugging Face checkpoint.
 *
 * A key that changes what is computed and that this version does not know how to follow is refused
 * by name: a wrong answer is worse than none.
 */
#include "engine/model/hparams.h"

#include <inttypes.h>
#include <string.h>

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
#define X(kind, field, keys, fallback) \
    value = find_key(config, keys, key); \
    if (value) { \
        if (!read_##kind(&hparams->field, value, key, source, err)) { \
            return false; \
        } \
    } else if ((fallback) == HPARAM_REQUIRED) { \
        return error_set(err, "%s has no %s", source, keys); \
    } else { \
        hparams->field = (HPARAM_TYPE_##kind)(fallback); \
    }
    HPARAMS(X)
#undef X
    return true;
}

/* What must have this value, where it is there, for our formulas to be the model's. */
enum expectation {
    EXPECT_FALSE,
    EXPECT_ONE,
    EXPECT_SILU,
    EXPECT_ABSENT, /* or null */
};
static const struct {
    const char *key;
    enum expectation expectation;
} expectations[] = {
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
    {"quantization_config", EXPECT_ABSENT},
};

static bool meets(const json_t *value, enum expectation expectation)
{
    switch (expectation) {
    case EXPECT_FALSE:
        return json_is_false(value);
    case EXPECT_ONE:
        return json_is_number(value) && json_number_value(value) == 1;
    case EXPECT_SILU:
        return json_is_string(value) && (strcmp(json_string_value(value), "silu") == 0 ||
                                         strcmp(json_string_value(value), "swish") == 0);
    case EXPECT_ABSENT:
        return false;
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

static bool check_expectations(const json_t *config, const char *source, struct error *err)
{
    for (uint32_t i = 0; i < sizeof(expectations) / sizeof(expectations[0]); i++) {
        const char *key = expectations[i].key;
        const json_t *value = find_path(config, key, strlen(key));
        if (value && !meets(value, expectations[i].expectation)) {
            return refuse(key, value, source, err);
        }
    }
    /* Windows of attention, layer by layer. */
    const json_t *kinds = json_object_get(config, "layer_types");
    for (size_t i = 0; i < json_array_size(kinds); i++) {
        const char *kind = json_string_value(json_array_get(kinds, i));
        if (!kind || strcmp(kind, "full_attention") != 0) {
            return refuse("layer_types", json_array_get(kinds, i), source, err);
        }
    }
    return true;
}

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
    static const char *const linear[] = {"rope_scaling.factor|rope_parameters.factor", NULL};
    static const char *const llama3[] = {
        "rope_scaling.factor|rope_parameters.factor",
        "rope_scaling.low_freq_factor|rope_parameters.low_freq_factor",
        "rope_scaling.high_freq_factor|rope_parameters.high_freq_factor",
        "rope_scaling.original_max_position_embeddings|"
        "rope_parameters.original_max_position_embeddings",
        NULL};
    const char *const *needed;
    if (strcmp(word, "linear") == 0) {
        hparams->rope_scaling = ROPE_SCALING_LINEAR;
        needed = linear;
    } else if (strcmp(word, "llama3") == 0) {
        hparams->rope_scaling = ROPE_SCALING_LLAMA3;
        needed = llama3;
    } else {
        return refuse(key, kind, source, err);
    }
    for (; *needed; needed++) {
        if (!find_key(config, *needed, key)) {
            return error_set(err, "%s: rope_scaling \"%s\" lacks %.*s", source, word,
                             (int)strcspn(*needed, "|"), *needed);
        }
    }
    return true;
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

bool hparams_from_config(struct hparams *hparams, const json_t *config, const char *source,
                         struct error *err)
{
    *hparams = (struct hparams){0};
    return read_values(hparams, config, source, err) && check_expectations(config, source, err) &&
           read_rope_scaling(hparams, config, source, err) &&
           read_dense_layers(hparams, config, source, err) && hparams_check(hparams, source, err);
}
