#include "engine/model/hparams.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "shaders/op_args.h"

bool hparams_layer_has_router(const struct hparams *hparams, uint32_t layer)
{
    if (hparams->experts == 0 || (layer + 1) % hparams->sparse_step != 0) {
        return false;
    }
    for (uint32_t i = 0; i < hparams->n_dense_layers; i++) {
        if (hparams->dense_layers[i] == layer) {
            return false;
        }
    }
    return true;
}

/* ---- checks ---- */

struct whole_bounds {
    const char *key;
    uint32_t value, low, high;
};

static bool check_whole(const struct whole_bounds *b, const char *source, struct error *err)
{
    if (b->value >= b->low && b->value <= b->high) {
        return true;
    }
    return error_set(err, "%s: %s is %" PRIu32 " where %" PRIu32 " to %" PRIu32 " is possible",
                     source, b->key, b->value, b->low, b->high);
}

static bool check_real(const char *key, double value, double low, double high, const char *source,
                       struct error *err)
{
    if (isfinite(value) && value >= low && value <= high) {
        return true;
    }
    return error_set(err, "%s: %s is %g where %g to %g is possible", source, key, value, low, high);
}

static bool check_sizes(const struct hparams *h, const char *source, struct error *err)
{
    const struct whole_bounds bounds[] = {
        {"num_hidden_layers", h->layers, 1, HPARAM_MAX_LAYERS},
        {"hidden_size", h->hidden, 4, HPARAM_MAX_HIDDEN},
        {"num_attention_heads", h->heads, 1, HPARAM_MAX_HEADS},
        {"num_key_value_heads", h->kv_heads, 1, h->heads},
        {"head_dim", h->head_dim, 2, HPARAM_MAX_HEAD_DIM},
        {"intermediate_size", h->ffn, 0, HPARAM_MAX_HIDDEN},
        {"num_experts", h->experts, 0, ROUTER_MAX_EXPERTS},
        {"decoder_sparse_step", h->sparse_step, 1, HPARAM_MAX_LAYERS},
        {"vocab_size", h->vocabulary, 1, HPARAM_MAX_VOCABULARY},
        {"max_position_embeddings", h->context, 1, HPARAM_MAX_CONTEXT},
    };
    for (uint32_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
        if (!check_whole(&bounds[i], source, err)) {
            return false;
        }
    }
    if (h->hidden % 4 != 0) {
        return error_set(err, "%s: hidden_size is %" PRIu32 ", which is not a multiple of 4",
                         source, h->hidden);
    }
    if (h->head_dim % 2 != 0) {
        return error_set(err, "%s: head_dim is %" PRIu32 ", which is odd", source, h->head_dim);
    }
    if (h->heads % h->kv_heads != 0) {
        return error_set(err,
                         "%s: num_attention_heads is %" PRIu32
                         ", which is not a multiple of num_key_value_heads %" PRIu32,
                         source, h->heads, h->kv_heads);
    }
    return true;
}

static bool check_ffn(const struct hparams *h, const char *source, struct error *err)
{
    bool any_router = false, any_dense = false;
    for (uint32_t layer = 0; layer < h->layers; layer++) {
        bool router = hparams_layer_has_router(h, layer);
        any_router = any_router || router;
        any_dense = any_dense || !router;
    }
    if (any_router) {
        uint32_t max_top_k = h->experts < ROUTER_MAX_TOP_K ? h->experts : ROUTER_MAX_TOP_K;
        const struct whole_bounds top_k = {"num_experts_per_tok", h->experts_per_token, 1,
                                           max_top_k};
        const struct whole_bounds width = {"moe_intermediate_size", h->expert_ffn, 1,
                                           HPARAM_MAX_HIDDEN};
        if (!check_whole(&top_k, source, err) || !check_whole(&width, source, err)) {
            return false;
        }
    }
    if (any_dense && h->ffn == 0) {
        return error_set(err, "%s: intermediate_size is missing or 0", source);
    }
    return true;
}

static bool check_rope(const struct hparams *h, const char *source, struct error *err)
{
    if (!check_real("rope_theta", h->rope_theta, 1, 1e30, source, err)) {
        return false;
    }
    if (h->rope_scaling == ROPE_SCALING_NONE) {
        return true;
    }
    if (h->rope_scaling > ROPE_SCALING_LLAMA3) {
        return error_set(err, "%s: rope_scaling has kind %" PRIu32 ", unknown to this version",
                         source, h->rope_scaling);
    }
    if (!check_real("rope_scaling.factor", h->rope_factor, 1e-6, 1e6, source, err)) {
        return false;
    }
    if (h->rope_scaling == ROPE_SCALING_LINEAR) {
        return true;
    }
    const struct whole_bounds original = {"rope_scaling.original_max_position_embeddings",
                                          h->rope_original_context, 1, HPARAM_MAX_CONTEXT};
    if (!check_real("rope_scaling.low_freq_factor", h->rope_low_frequency_factor, 1e-6, 1e6, source,
                    err) ||
        !check_real("rope_scaling.high_freq_factor", h->rope_high_frequency_factor, 1e-6, 1e6,
                    source, err) ||
        !check_whole(&original, source, err)) {
        return false;
    }
    if (h->rope_high_frequency_factor <= h->rope_low_frequency_factor) {
        return error_set(err,
                         "%s: rope_scaling.high_freq_factor is %g, not above low_freq_factor %g",
                         source, h->rope_high_frequency_factor, h->rope_low_frequency_factor);
    }
    return true;
}

bool hparams_check(struct hparams *hparams, const char *source, struct error *err)
{
    if (hparams->kv_heads == 0) {
        hparams->kv_heads = hparams->heads;
    }
    if (hparams->head_dim == 0 && hparams->heads > 0) {
        if (hparams->hidden % hparams->heads != 0) {
            return error_set(err,
                             "%s: hidden_size %" PRIu32
                             " is not a multiple of num_attention_heads %" PRIu32
                             " and there is no head_dim",
                             source, hparams->hidden, hparams->heads);
        }
        hparams->head_dim = hparams->hidden / hparams->heads;
    }
    return check_sizes(hparams, source, err) && check_ffn(hparams, source, err) &&
           check_real("rms_norm_eps", hparams->norm_epsilon, 0, 1, source, err) &&
           check_rope(hparams, source, err);
}

/* ---- the metadata of a .moxie file ---- */

static bool get_u32(const struct model_file *file, const char *key, uint32_t *value,
                    struct error *err)
{
    uint64_t wide;
    if (!model_file_get_u64(file, key, &wide)) {
        return true; /* keeps the default */
    }
    *value = (uint32_t)wide;
    return wide <= UINT32_MAX ||
           error_set(err, "%s: %s is %" PRIu64 ", which is too large", file->map.path, key, wide);
}

static bool get_f64(const struct model_file *file, const char *key, double *value,
                    struct error *err)
{
    model_file_get_f64(file, key, value);
    return true;
}

static bool get_flag(const struct model_file *file, const char *key, bool *value, struct error *err)
{
    model_file_get_bool(file, key, value);
    return true;
}

/* Whether a number without a default was not there; 0 is never a possible value of those. */
static bool is_missing(double fallback, double value)
{
    return fallback == HPARAM_REQUIRED && value == 0;
}

bool hparams_from_file(struct hparams *hparams, const struct model_file *file, struct error *err)
{
    *hparams = (struct hparams){0};
#define X(kind, field, keys, fallback) \
    if ((fallback) != HPARAM_REQUIRED) { \
        hparams->field = (HPARAM_TYPE_##kind)(fallback); \
    } \
    if (!get_##kind(file, "model." #field, &hparams->field, err)) { \
        return false; \
    } \
    if (is_missing(fallback, (double)hparams->field)) { \
        return error_set(err, "%s has no model." #field, file->map.path); \
    }
    HPARAMS(X)
#undef X
    return hparams_check(hparams, file->map.path, err);
}

static bool put_u32(struct model_writer *writer, const char *key, uint32_t value, struct error *err)
{
    return model_writer_u64(writer, key, value, err);
}

static bool put_f64(struct model_writer *writer, const char *key, double value, struct error *err)
{
    return model_writer_f64(writer, key, value, err);
}

static bool put_flag(struct model_writer *writer, const char *key, bool value, struct error *err)
{
    return model_writer_bool(writer, key, value, err);
}

bool hparams_write(const struct hparams *hparams, struct model_writer *writer, struct error *err)
{
#define X(kind, field, ...) \
    if (!put_##kind(writer, "model." #field, hparams->field, err)) { \
        return false; \
    }
    HPARAMS(X)
#undef X
    return true;
}
