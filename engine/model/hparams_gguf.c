/* Hyper-parameters from the keys of a GGUF file. Keys stand behind the architecture's name and a
 * dot; the list HPARAMS has most of them, the rest (words, two layouts of latent attention, keys
 * with one value a layer) is read here.
 */
#include "engine/model/hparams_gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* llama.cpp's converter writes yarn_log_multiplier = 0.1 * mscale_all_dim, 0.1 being the factor of
 * YaRN's own formula. */
#define YARN_LOG_FACTOR 0.1

static const char *file_path(const struct gguf *gguf)
{
    return gguf->files[0].path;
}

/* The pair of the first of the alternatives that is there, and its key (cut to fit). */
static const struct gguf_pair *find_key(const struct gguf *gguf, const struct arch *arch,
                                        const char *keys, char found[128])
{
    for (const char *key = keys; *key;) {
        size_t bytes = strcspn(key, "|");
        snprintf(found, 128, "%s.%.*s", arch->gguf_name, (int)bytes, key);
        const struct gguf_pair *pair = gguf_find_pair(gguf, found);
        if (pair) {
            return pair;
        }
        key += bytes + (key[bytes] == '|');
    }
    return NULL;
}

/* ---- one value ---- */

/* A key may hold one value for all layers, or one a layer; those must be equal then. */
static bool is_uniform(const struct gguf_pair *pair)
{
    uint64_t size = pair->count ? pair->value_bytes / pair->count : 0;
    for (uint64_t i = 1; pair->type != GGUF_STRING && i < pair->count; i++) {
        if (memcmp(pair->value, pair->value + i * size, size) != 0) {
            return false;
        }
    }
    return pair->count > 0 && pair->type != GGUF_STRING;
}

static bool check_uniform(const struct gguf_pair *pair, const char *key, const char *path,
                          struct error *err)
{
    return is_uniform(pair) ||
           error_set(err, "%s: %s differs from layer to layer, which this version cannot follow",
                     path, key);
}

static bool read_u32(uint32_t *field, const struct gguf_pair *pair, const char *key,
                     const char *path, struct error *err)
{
    uint64_t value;
    if (pair->is_array && !check_uniform(pair, key, path, err)) {
        return false;
    }
    if (!gguf_value_u64(pair, 0, &value) || value > UINT32_MAX) {
        return error_set(err, "%s: %s is not a whole number from 0 to %" PRIu32, path, key,
                         UINT32_MAX);
    }
    *field = (uint32_t)value;
    return true;
}

static bool read_f64(double *field, const struct gguf_pair *pair, const char *key, const char *path,
                     struct error *err)
{
    if (pair->is_array && !check_uniform(pair, key, path, err)) {
        return false;
    }
    return gguf_value_f64(pair, 0, field) || error_set(err, "%s: %s is not a number", path, key);
}

static bool read_flag(bool *field, const struct gguf_pair *pair, const char *key, const char *path,
                      struct error *err)
{
    return (!pair->is_array && gguf_value_bool(pair, 0, field)) ||
           error_set(err, "%s: %s is neither true nor false", path, key);
}

/* Numbers of f32 that mean decimals: 1e-6 shall be 1e-6 as in config.json, not 9.99999997e-07. */
static double nearest_decimal(double value)
{
    char text[32];
    double nearest = value;
    snprintf(text, sizeof(text), "%.7g", value);
    return sscanf(text, "%lf", &nearest) == 1 && (float)nearest == (float)value ? nearest : value;
}

static bool read_list(struct hparams *hparams, const struct arch *arch, const struct gguf *gguf,
                      struct error *err)
{
    char key[128];
    const struct gguf_pair *pair;
    const char *path = file_path(gguf);
#define NORMALISE_u32(field)
#define NORMALISE_flag(field)
#define NORMALISE_f64(field) hparams->field = nearest_decimal(hparams->field);
#define X(kind, field, keys, gguf_keys, fallback) \
    pair = find_key(gguf, arch, gguf_keys, key); \
    if (pair) { \
        if (!read_##kind(&hparams->field, pair, key, path, err)) { \
            return false; \
        } \
        NORMALISE_##kind(field) \
    }
    HPARAMS(X)
#undef X
#undef NORMALISE_u32
#undef NORMALISE_flag
#undef NORMALISE_f64
    return true;
}

/* Needed by every family; the vocabulary is told by a tensor, too. */
static bool check_required(const struct arch *arch, const struct gguf *gguf, struct error *err)
{
    static const char *const required[] = {"block_count", "embedding_length",
                                           "attention.head_count", "context_length",
                                           "attention.layer_norm_rms_epsilon"};
    char key[128];
    for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++) {
        if (!find_key(gguf, arch, required[i], key)) {
            return error_set(err, "%s has no key %s", file_path(gguf), key);
        }
    }
    return true;
}

/* ---- keys that this version cannot follow ---- */

static bool check_neutral(const struct arch *arch, const struct gguf *gguf, struct error *err)
{
    static const struct {
        const char *key;
        double neutral;
    } rows[] = {
        {"attention.clamp_kqv", 0},
        {"attn_logit_softcapping", 0},
        {"final_logit_softcapping", 0},
        {"attention.max_alibi_bias", 0},
        {"attention.scale", 0},
        {"attention.temperature_scale", 0},
        {"embedding_scale", 1},
        {"residual_scale", 1},
        {"logit_scale", 1},
        {"expert_group_scale", 0},
        {"experts_per_group", 0},
        {"moe_every_n_layers", 0},
        {"interleave_moe_layer_step", 1},
    };
    char key[128];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct gguf_pair *pair = find_key(gguf, arch, rows[i].key, key);
        double value = rows[i].neutral;
        if (pair && !read_f64(&value, pair, key, file_path(gguf), err)) {
            return false;
        }
        if (value != rows[i].neutral && value != 0) {
            return error_set(err, "%s: %s is %g, which this version cannot follow", file_path(gguf),
                             key, value);
        }
    }
    bool causal = true;
    const struct gguf_pair *pair = find_key(gguf, arch, "attention.causal", key);
    if (pair && (!read_flag(&causal, pair, key, file_path(gguf), err) || !causal)) {
        return causal ? false
                      : error_set(err, "%s: %s is false; this version runs causal models only",
                                  file_path(gguf), key);
    }
    return true;
}

/* ---- special ones ---- */

static bool read_word(const struct gguf_pair *pair, char word[32])
{
    const char *text;
    uint64_t bytes;
    if (!gguf_value_string(pair, &text, &bytes) || bytes > 31) {
        return false;
    }
    memcpy(word, text, bytes);
    word[bytes] = 0;
    return true;
}

static bool read_yarn(struct hparams *hparams, const struct arch *arch, const struct gguf *gguf,
                      struct error *err)
{
    char key[128];
    const char *path = file_path(gguf);
    hparams->rope_scaling = ROPE_SCALING_YARN;
    hparams->rope_truncate = !arch->defaults.gguf_rope_not_truncated;
    const struct gguf_pair *pair = find_key(gguf, arch, "rope.scaling.yarn_log_multiplier", key);
    double multiplier = 0, attention = 1;
    if (pair && !read_f64(&multiplier, pair, key, path, err)) {
        return false;
    }
    /* llama.cpp, too, takes mscale to be equal: the releases are so. */
    hparams->rope_mscale_all_dim = nearest_decimal(nearest_decimal(multiplier) / YARN_LOG_FACTOR);
    hparams->rope_mscale = hparams->rope_mscale_all_dim;
    pair = find_key(gguf, arch, "rope.scaling.attn_factor", key);
    if (pair && !read_f64(&attention, pair, key, path, err)) {
        return false;
    }
    if (attention != 1) {
        double factor = hparams->rope_factor;
        hparams->rope_attention_factor =
            attention * (factor > 1 ? 1 + YARN_LOG_FACTOR * log(factor) : 1);
    }
    return true;
}

static bool read_rope_scaling(struct hparams *hparams, const struct arch *arch,
                              const struct gguf *gguf, struct error *err)
{
    char key[128], other[128], word[32] = "";
    const char *path = file_path(gguf);
    const struct gguf_pair *pair = find_key(gguf, arch, "rope.scale_linear", key);
    if (pair && !find_key(gguf, arch, "rope.scaling.factor", other) &&
        !read_f64(&hparams->rope_factor, pair, key, path, err)) {
        return false; /* the key of 2023 */
    }
    hparams->rope_factor = hparams->rope_factor == 0 ? 1 : hparams->rope_factor; /* as llama.cpp */
    pair = find_key(gguf, arch, "rope.scaling.type", key);
    snprintf(word, sizeof(word), "linear"); /* where the file says nothing */
    if (pair && !read_word(pair, word)) {
        return error_set(err, "%s: %s is not a word", path, key);
    }
    if (strcmp(word, "none") == 0) {
        hparams->rope_scaling = ROPE_SCALING_NONE;
    } else if (strcmp(word, "linear") == 0) {
        hparams->rope_scaling = hparams->rope_factor == 1 ? ROPE_SCALING_NONE : ROPE_SCALING_LINEAR;
    } else if (strcmp(word, "yarn") == 0) {
        return read_yarn(hparams, arch, gguf, err);
    } else {
        return error_set(err, "%s: %s is \"%s\", which this version cannot follow", path, key,
                         word);
    }
    return true;
}

static bool read_router(struct hparams *hparams, const struct arch *arch, const struct gguf *gguf,
                        struct error *err)
{
    char key[128];
    uint32_t gating = 0;
    const struct gguf_pair *pair = find_key(gguf, arch, "expert_weights_norm", key);
    if (!pair) {
        hparams->router_normalise = arch->defaults.gguf_router_normalise;
    }
    pair = find_key(gguf, arch, "expert_gating_func", key);
    if (pair && !read_u32(&gating, pair, key, file_path(gguf), err)) {
        return false;
    }
    switch (gating) {
    case 0:
        /* As llama.cpp: of the deepseek2 files, those of GLM-4.7-Flash. */
        if (arch->attention == ATTENTION_LATENT &&
            (hparams->layers == 47 || hparams->layers == 48)) {
            hparams->router_score = ROUTER_SIGMOID;
        }
        break;
    case 1:
        hparams->router_score = ROUTER_SOFTMAX;
        break;
    case 2:
        hparams->router_score = ROUTER_SIGMOID;
        break;
    case 3: /* softmax over the selected, which is softmax over all, renormalised */
        hparams->router_score = ROUTER_SOFTMAX;
        hparams->router_normalise = true;
        break;
    default:
        return error_set(err, "%s: %s is %" PRIu32 ", which this version cannot follow",
                         file_path(gguf), key, gating);
    }
    if (hparams->router_scale == 0) {
        hparams->router_scale = 1; /* as llama.cpp */
    }
    hparams->router_groups += hparams->router_groups == 0;
    hparams->router_top_groups += hparams->router_top_groups == 0;
    if (hparams->router_groups == 1) {
        hparams->router_top_groups = 1;
    }
    return true;
}

/* Two layouts: key_length is that of the cache and key_length_mla the head's, or key_length is the
 * head's. */
static bool read_latent(struct hparams *hparams, const struct arch *arch, const struct gguf *gguf,
                        struct error *err)
{
    char key[128];
    uint32_t key_length = 0;
    const struct gguf_pair *pair =
        find_key(gguf, arch, "attention.key_length_mla|attention.key_length", key);
    if (!pair) {
        return error_set(err, "%s has no key %s", file_path(gguf), key);
    }
    if (!read_u32(&key_length, pair, key, file_path(gguf), err)) {
        return false;
    }
    if (key_length <= hparams->rope_dim) {
        return error_set(err,
                         "%s: %s is %" PRIu32 ", not more than the %" PRIu32 " dims that rotate",
                         file_path(gguf), key, key_length, hparams->rope_dim);
    }
    hparams->nope_dim = key_length - hparams->rope_dim;
    return true;
}

/* A pattern is a list of one flag a layer, or the period p: every p-th layer sees everything. */
static bool read_windows(struct hparams *hparams, const struct arch *arch, const struct gguf *gguf,
                         struct error *err)
{
    char key[128];
    const struct gguf_pair *pair = find_key(gguf, arch, "attention.sliding_window_pattern", key);
    hparams_set_windows(hparams, arch);
    if (!pair || hparams->window == 0) {
        return true;
    }
    uint32_t period = 0;
    if (!pair->is_array && !read_u32(&period, pair, key, file_path(gguf), err)) {
        return false;
    }
    for (uint32_t layer = 0; layer < hparams->layers && layer < HPARAM_MAX_LAYERS; layer++) {
        bool flag = period == 0 || layer % period < period - 1;
        uint64_t whole;
        if (pair->is_array && gguf_value_u64(pair, layer, &whole)) {
            flag = whole != 0;
        } else if (pair->is_array && !gguf_value_bool(pair, layer, &flag)) {
            return error_set(err, "%s: %s is not a list of one flag a layer", file_path(gguf), key);
        }
        hparams->windowed[layer] = flag;
    }
    return true;
}

/* ---- what tensors tell ---- */

static const struct gguf_tensor *find_in_layer(const struct gguf *gguf, const char *pattern,
                                               uint32_t layer)
{
    char name[GGUF_MAX_NAME + 1];
    const struct gguf_tensor *tensor = NULL;
    for (uint32_t i = 0;
         !tensor && pattern && arch_tensor_name(name, sizeof(name), pattern, i, layer, 0); i++) {
        tensor = gguf_find_tensor(gguf, name);
    }
    return tensor;
}

/* A width that no key tells: the columns of `down` in the first layer that has it. */
static void width_from_tensors(uint32_t *width, const struct hparams *hparams,
                               const struct gguf *gguf, const struct arch_ffn *layouts)
{
    /* Nothing has been checked yet. */
    uint32_t layers = hparams->layers < HPARAM_MAX_LAYERS ? hparams->layers : HPARAM_MAX_LAYERS;
    for (uint32_t layer = 0; *width == 0 && layer < layers; layer++) {
        for (uint32_t i = 0; i < ARCH_FFN_LAYOUTS && layouts[i].layout != FFN_NONE; i++) {
            const struct gguf_tensor *down = find_in_layer(gguf, layouts[i].down, layer);
            if (down && *width == 0 && down->dims[0] <= UINT32_MAX) {
                *width = (uint32_t)down->dims[0];
            }
        }
    }
}

/* Layers of a family of routers that have none, but the tensors of a dense one (no key tells). */
static void find_dense_layers(struct hparams *hparams, const struct arch *arch,
                              const struct gguf *gguf)
{
    const char *router = NULL;
    for (uint32_t i = 0; i < arch->n_weights; i++) {
        router = arch->weights[i].role == ROLE_ROUTER ? arch->weights[i].gguf[0].name : router;
    }
    for (uint32_t layer = hparams->first_dense;
         router && hparams->experts > 0 && layer < hparams->layers && layer < HPARAM_MAX_LAYERS;
         layer++) {
        if (!find_in_layer(gguf, router, layer) &&
            find_in_layer(gguf, arch->gguf_ffn[FFN_DENSE][0].down, layer)) {
            hparams->dense_layers[hparams->n_dense_layers++] = layer;
        }
    }
}

static void read_tensors(struct hparams *hparams, const struct arch *arch, const struct gguf *gguf)
{
    const struct gguf_tensor *embedding = gguf_find_tensor(gguf, "token_embd.weight");
    if (embedding && embedding->dims[1] <= UINT32_MAX) {
        hparams->vocabulary = (uint32_t)embedding->dims[1];
    }
    if (hparams->experts == 0) {
        return;
    }
    find_dense_layers(hparams, arch, gguf);
    if (!arch->defaults.ffn_is_expert_ffn) {
        width_from_tensors(&hparams->expert_ffn, hparams, gguf, arch->gguf_ffn[FFN_ROUTED]);
    }
    if (hparams->shared_experts == 0) {
        width_from_tensors(&hparams->shared_ffn, hparams, gguf, arch->gguf_ffn[FFN_SHARED]);
    }
}

/* ---- all ---- */

const struct arch *hparams_find_gguf_arch(const struct gguf *gguf, struct error *err)
{
    const char *name;
    uint64_t bytes, experts = 0;
    if (!gguf_value_string(gguf_find_pair(gguf, "general.architecture"), &name, &bytes)) {
        error_set(err, "%s does not name an architecture (general.architecture)", file_path(gguf));
        return NULL;
    }
    char key[128];
    snprintf(key, sizeof(key), "%.*s.expert_count", bytes < 64 ? (int)bytes : 64, name);
    gguf_value_u64(gguf_find_pair(gguf, key), 0, &experts);
    const struct arch *arch = arch_find_gguf(name, bytes, experts > 0);
    if (!arch) {
        char known[256];
        arch_gguf_names(known, sizeof(known));
        error_set(err, "%s: architecture %.*s is not one of those this version knows (%s)",
                  file_path(gguf), bytes < 64 ? (int)bytes : 64, name, known);
    }
    return arch;
}

uint32_t hparams_gguf_draft_layers(const struct arch *arch, const struct gguf *gguf)
{
    char key[128];
    uint64_t layers = 0;
    if (arch->surplus_layers) {
        gguf_value_u64(find_key(gguf, arch, "nextn_predict_layers", key), 0, &layers);
    }
    return layers < HPARAM_MAX_LAYERS ? (uint32_t)layers : 0;
}

bool hparams_from_gguf(struct hparams *hparams, const struct arch *arch, const struct gguf *gguf,
                       struct error *err)
{
    hparams_set_defaults(hparams, arch);
    if (!check_required(arch, gguf, err) || !read_list(hparams, arch, gguf, err) ||
        !check_neutral(arch, gguf, err)) {
        return false;
    }
    uint32_t draft = hparams_gguf_draft_layers(arch, gguf);
    hparams->layers -= draft < hparams->layers ? draft : 0;
    read_tensors(hparams, arch, gguf);
    return (arch->attention != ATTENTION_LATENT || read_latent(hparams, arch, gguf, err)) &&
           read_rope_scaling(hparams, arch, gguf, err) && read_router(hparams, arch, gguf, err) &&
           read_windows(hparams, arch, gguf, err) &&
           hparams_check(hparams, arch, file_path(gguf), err);
}
