/* Defaults, checks and the metadata of a .moxie file. */
#include "engine/model/hparams.h"

#include <inttypes.h>
#include <math.h>

#include "engine/model/arch.h"
#include "shaders/op_args.h"

bool hparams_layer_has_router(const struct hparams *hparams, uint32_t layer)
{
    if (hparams->experts == 0 || layer < hparams->first_dense ||
        (layer + 1) % hparams->sparse_step != 0) {
        return false;
    }
    for (uint32_t i = 0; i < hparams->n_dense_layers; i++) {
        if (hparams->dense_layers[i] == layer) {
            return false;
        }
    }
    return true;
}

/* ---- defaults ---- */

void hparams_set_defaults(struct hparams *hparams, const struct arch *arch)
{
    *hparams = (struct hparams){0};
#define X(kind, field, keys, gguf_keys, fallback) \
    if ((fallback) != HPARAM_REQUIRED && (fallback) != HPARAM_ARCH) { \
        hparams->field = (HPARAM_TYPE_##kind)(fallback); \
    }
    HPARAMS(X)
#undef X
    hparams->router_normalise = arch->defaults.router_normalise;
    hparams->router_score = arch->defaults.router_score;
    if (arch->defaults.rope_theta > 0) {
        hparams->rope_theta = arch->defaults.rope_theta;
    }
}

void hparams_set_windows(struct hparams *hparams, const struct arch *arch)
{
    enum arch_windows windows = arch->defaults.windows;
    for (uint32_t layer = 0; layer < HPARAM_MAX_LAYERS; layer++) {
        hparams->windowed[layer] =
            hparams->window > 0 && layer < hparams->layers &&
            (windows == WINDOWS_ALL || (windows == WINDOWS_EVEN && layer % 2 == 0));
    }
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
    if (h->heads % h->kv_heads != 0) {
        return error_set(err,
                         "%s: num_attention_heads is %" PRIu32
                         ", which is not a multiple of num_key_value_heads %" PRIu32,
                         source, h->heads, h->kv_heads);
    }
    return true;
}

static bool check_grouped(struct hparams *h, const char *source, struct error *err)
{
    const struct whole_bounds bounds = {"head_dim", h->head_dim, 2, HPARAM_MAX_HEAD_DIM};
    if (!check_whole(&bounds, source, err)) {
        return false;
    }
    if (h->head_dim % 2 != 0) {
        return error_set(err, "%s: head_dim is %" PRIu32 ", which is odd", source, h->head_dim);
    }
    if ((h->rope_dim != 0 && h->rope_dim != h->head_dim) ||
        (h->value_dim != 0 && h->value_dim != h->head_dim)) {
        return error_set(err,
                         "%s: head_dim is %" PRIu32 ", but %" PRIu32 " dims rotate and values have "
                         "%" PRIu32 ", which this version cannot follow",
                         source, h->head_dim, h->rope_dim ? h->rope_dim : h->head_dim,
                         h->value_dim ? h->value_dim : h->head_dim);
    }
    h->rope_dim = h->value_dim = h->head_dim;
    return true;
}

static bool check_latent(struct hparams *h, const char *source, struct error *err)
{
    const struct whole_bounds bounds[] = {
        {"q_lora_rank", h->q_rank, 0, HPARAM_MAX_HIDDEN},
        {"kv_lora_rank", h->kv_rank, 2, ATTENTION_LATENT_MAX_RANK},
        {"qk_nope_head_dim", h->nope_dim, 1, HPARAM_MAX_RANK},
        {"qk_rope_head_dim", h->rope_dim, 2, ATTENTION_LATENT_MAX_ROPE},
        {"v_head_dim", h->value_dim, 1, HPARAM_MAX_RANK},
    };
    for (uint32_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
        if (!check_whole(&bounds[i], source, err)) {
            return false;
        }
    }
    if (h->kv_rank % 2 != 0 || h->rope_dim % 2 != 0) {
        return error_set(err,
                         "%s: kv_lora_rank is %" PRIu32 " and qk_rope_head_dim %" PRIu32
                         " where even numbers are needed",
                         source, h->kv_rank, h->rope_dim);
    }
    if (h->window > 0) {
        return error_set(err,
                         "%s: sliding_window is %" PRIu32
                         ", which latent attention cannot follow in this version",
                         source, h->window);
    }
    h->head_dim = h->nope_dim + h->rope_dim;
    h->kv_heads = h->heads;
    return true;
}

static bool check_windows(struct hparams *h, const char *source, struct error *err)
{
    bool any = false;
    for (uint32_t layer = 0; layer < h->layers; layer++) {
        any = any || h->windowed[layer];
    }
    if (any && h->window == 0) {
        return error_set(err, "%s: sliding_window is missing or 0, but layers attend through it",
                         source);
    }
    h->window = any ? h->window : 0;
    return true;
}

static bool check_router(const struct hparams *h, const char *source, struct error *err)
{
    uint32_t max_top_k = h->experts < ROUTER_MAX_TOP_K ? h->experts : ROUTER_MAX_TOP_K;
    const struct whole_bounds bounds[] = {
        {"num_experts_per_tok", h->experts_per_token, 1, max_top_k},
        {"moe_intermediate_size", h->expert_ffn, 1, HPARAM_MAX_HIDDEN},
        {"shared_expert_intermediate_size", h->shared_ffn, 0, HPARAM_MAX_HIDDEN},
        {"scoring_func", h->router_score, ROUTER_SOFTMAX, ROUTER_SIGMOID},
        {"n_group", h->router_groups, 1, h->experts},
        {"topk_group", h->router_top_groups, 1, h->router_groups},
    };
    for (uint32_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
        if (!check_whole(&bounds[i], source, err)) {
            return false;
        }
    }
    if (h->experts % h->router_groups != 0) {
        return error_set(err,
                         "%s: the number of experts is %" PRIu32
                         ", which is not a multiple of n_group %" PRIu32,
                         source, h->experts, h->router_groups);
    }
    uint32_t reachable = h->experts / h->router_groups * h->router_top_groups;
    if (reachable < h->experts_per_token) {
        return error_set(err,
                         "%s: num_experts_per_tok is %" PRIu32 ", but topk_group %" PRIu32
                         " of n_group %" PRIu32 " leaves %" PRIu32 " experts",
                         source, h->experts_per_token, h->router_top_groups, h->router_groups,
                         reachable);
    }
    return check_real("routed_scaling_factor", h->router_scale, -1e6, 1e6, source, err);
}

static bool check_ffn(struct hparams *h, const struct arch *arch, const char *source,
                      struct error *err)
{
    if (arch->defaults.ffn_is_expert_ffn && h->expert_ffn == 0) {
        h->expert_ffn = h->ffn;
    }
    if (h->shared_ffn == 0 && h->shared_experts > 0) {
        uint64_t width = (uint64_t)h->shared_experts * h->expert_ffn;
        if (width > HPARAM_MAX_HIDDEN) {
            return error_set(err,
                             "%s: n_shared_experts is %" PRIu32
                             ", which is too many of moe_intermediate_size %" PRIu32,
                             source, h->shared_experts, h->expert_ffn);
        }
        h->shared_ffn = (uint32_t)width;
    }
    if (h->shared_ffn > 0 && arch->hf_ffn[FFN_SHARED][0].layout == FFN_NONE) {
        return error_set(err, "%s: there is a shared expert of width %" PRIu32 ", which %s has not",
                         source, h->shared_ffn, arch->config_name);
    }
    if (h->experts > 0 && arch->hf_ffn[FFN_ROUTED][0].layout == FFN_NONE) {
        return error_set(err, "%s: num_experts is %" PRIu32 ", which does not fit %s", source,
                         h->experts, arch->config_name);
    }
    bool any_router = false, any_dense = false;
    for (uint32_t layer = 0; layer < h->layers; layer++) {
        bool router = hparams_layer_has_router(h, layer);
        any_router = any_router || router;
        any_dense = any_dense || !router;
    }
    if (any_router && !check_router(h, source, err)) {
        return false;
    }
    if (any_dense && h->ffn == 0) {
        return error_set(err, "%s: intermediate_size is missing or 0", source);
    }
    return check_real("swiglu_limit", h->activation_limit, 0, 1e30, source, err) &&
           check_real("swiglu_alpha", h->activation_alpha, -1e6, 1e6, source, err);
}

static bool check_llama3(const struct hparams *h, const char *source, struct error *err)
{
    if (!check_real("rope_scaling.low_freq_factor", h->rope_low_frequency_factor, 1e-6, 1e6, source,
                    err) ||
        !check_real("rope_scaling.high_freq_factor", h->rope_high_frequency_factor, 1e-6, 1e6,
                    source, err)) {
        return false;
    }
    if (h->rope_high_frequency_factor <= h->rope_low_frequency_factor) {
        return error_set(err,
                         "%s: rope_scaling.high_freq_factor is %g, not above low_freq_factor %g",
                         source, h->rope_high_frequency_factor, h->rope_low_frequency_factor);
    }
    return true;
}

static bool check_yarn(const struct hparams *h, const char *source, struct error *err)
{
    if (h->rope_theta <= 1) {
        return error_set(err, "%s: rope_theta is %g, with which YaRN has no meaning", source,
                         h->rope_theta);
    }
    return check_real("rope_scaling.beta_fast", h->rope_beta_fast, 1e-6, 1e6, source, err) &&
           check_real("rope_scaling.beta_slow", h->rope_beta_slow, 1e-6, 1e6, source, err) &&
           check_real("rope_scaling.mscale", h->rope_mscale, 0, 1e3, source, err) &&
           check_real("rope_scaling.mscale_all_dim", h->rope_mscale_all_dim, 0, 1e3, source, err) &&
           check_real("rope_scaling.attention_factor", h->rope_attention_factor, 0, 1e3, source,
                      err);
}

static bool check_rope(const struct hparams *h, const char *source, struct error *err)
{
    if (!check_real("rope_theta", h->rope_theta, 1, 1e30, source, err)) {
        return false;
    }
    if (h->rope_scaling == ROPE_SCALING_NONE) {
        return true;
    }
    if (h->rope_scaling > ROPE_SCALING_YARN) {
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
    if (!check_whole(&original, source, err)) {
        return false;
    }
    return h->rope_scaling == ROPE_SCALING_LLAMA3 ? check_llama3(h, source, err)
                                                  : check_yarn(h, source, err);
}

static bool set_head_dim(struct hparams *h, const char *source, struct error *err)
{
    if (h->head_dim == 0 && h->heads > 0) {
        if (h->hidden % h->heads != 0) {
            return error_set(err,
                             "%s: hidden_size %" PRIu32
                             " is not a multiple of num_attention_heads %" PRIu32
                             " and there is no head_dim",
                             source, h->hidden, h->heads);
        }
        h->head_dim = h->hidden / h->heads;
    }
    return true;
}

bool hparams_check(struct hparams *hparams, const struct arch *arch, const char *source,
                   struct error *err)
{
    bool latent = arch->attention == ATTENTION_LATENT;
    if (hparams->kv_heads == 0 || latent) {
        hparams->kv_heads = hparams->heads;
    }
    return (latent || set_head_dim(hparams, source, err)) && check_sizes(hparams, source, err) &&
           check_windows(hparams, source, err) &&
           (latent ? check_latent(hparams, source, err) : check_grouped(hparams, source, err)) &&
           check_ffn(hparams, arch, source, err) &&
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

static bool get_windows(struct hparams *hparams, const struct model_file *file, struct error *err)
{
    const uint64_t *layers;
    uint64_t count;
    if (!model_file_get_u64_array(file, "model.windowed_layers", &layers, &count)) {
        return true;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (layers[i] >= HPARAM_MAX_LAYERS || layers[i] >= hparams->layers) {
            return error_set(
                err, "%s: model.windowed_layers has layer %" PRIu64 ", but there are %" PRIu32,
                file->map.path, layers[i], hparams->layers);
        }
        hparams->windowed[layers[i]] = true;
    }
    return true;
}

bool hparams_from_file(struct hparams *hparams, const struct arch *arch,
                       const struct model_file *file, struct error *err)
{
    hparams_set_defaults(hparams, arch);
#define X(kind, field, keys, gguf_keys, fallback) \
    if (!get_##kind(file, "model." #field, &hparams->field, err)) { \
        return false; \
    } \
    if (is_missing(fallback, (double)hparams->field)) { \
        return error_set(err, "%s has no model." #field, file->map.path); \
    }
    HPARAMS(X)
#undef X
    return get_windows(hparams, file, err) && hparams_check(hparams, arch, file->map.path, err);
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
    uint64_t layers[HPARAM_MAX_LAYERS];
    uint64_t n = 0;
    for (uint32_t layer = 0; layer < hparams->layers; layer++) {
        if (hparams->windowed[layer]) {
            layers[n++] = layer;
        }
    }
    return n == 0 || model_writer_u64_array(writer, "model.windowed_layers", layers, n, err);
}
