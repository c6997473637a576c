/* The keys of a GGUF file from hyper-parameters: the reverse of hparams_gguf.c. */
#include "engine/model/gguf_export.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define YARN_LOG_FACTOR 0.1
#define TWO_PI 6.283185307179586

/* llama.cpp's numbers for "mostly of this type" (general.file_type). */
static uint32_t file_type(enum dtype type)
{
    static const struct {
        enum dtype type;
        uint32_t number;
    } numbers[] = {{DTYPE_F32, 0},     {DTYPE_F16, 1},     {DTYPE_Q4_0, 2},  {DTYPE_Q4_1, 3},
                   {DTYPE_Q8_0, 7},    {DTYPE_Q5_0, 8},    {DTYPE_Q5_1, 9},  {DTYPE_Q2_K, 10},
                   {DTYPE_Q3_K, 12},   {DTYPE_Q4_K, 15},   {DTYPE_Q5_K, 17}, {DTYPE_Q6_K, 18},
                   {DTYPE_IQ4_NL, 25}, {DTYPE_IQ4_XS, 30}, {DTYPE_BF16, 32}, {DTYPE_MXFP4, 38}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (numbers[i].type == type) {
            return numbers[i].number;
        }
    }
    return 0;
}

/* ---- what cannot be told ---- */

static bool same_windows(const struct source *source)
{
    struct hparams usual = source->hparams;
    hparams_set_windows(&usual, source->arch);
    return memcmp(usual.windowed, source->hparams.windowed, sizeof(usual.windowed)) == 0;
}

static bool check_rope(const struct source *source, struct error *err)
{
    const struct hparams *h = &source->hparams;
    if (h->rope_scaling != ROPE_SCALING_YARN) {
        return true;
    }
    if (h->rope_mscale != h->rope_mscale_all_dim && h->rope_mscale != 0) {
        return error_set(err,
                         "%s: YaRN's mscale %g and mscale_all_dim %g differ, which GGUF cannot "
                         "express",
                         source->path, h->rope_mscale, h->rope_mscale_all_dim);
    }
    if (h->rope_truncate == source->arch->defaults.gguf_rope_not_truncated) {
        return error_set(err, "%s: YaRN with truncate %s is not what GGUF means by it for %s",
                         source->path, h->rope_truncate ? "true" : "false",
                         source->arch->gguf_name);
    }
    return true;
}

bool gguf_export_check(const struct source *source, struct error *err)
{
    const struct hparams *h = &source->hparams;
    const struct arch *arch = source->arch;
    bool told = arch->attention == ATTENTION_LATENT; /* the one family with keys for the router */
    if (!arch->gguf_name) {
        return error_set(err, "%s: GGUF has no name for the family %s", source->path, arch->name);
    }
    for (uint32_t layer = h->first_dense; layer < h->layers; layer++) {
        if (h->experts > 0 && !hparams_layer_has_router(h, layer)) {
            return error_set(err,
                             "%s: layer %" PRIu32
                             " has no experts although layers before it do, which GGUF cannot "
                             "express",
                             source->path, layer);
        }
    }
    if (h->experts > 0 && !told) {
        bool usual = h->router_normalise == arch->defaults.gguf_router_normalise &&
                     h->router_score == arch->defaults.router_score && h->router_scale == 1 &&
                     h->router_groups == 1;
        if (!usual) {
            return error_set(err,
                             "%s: its router differs from what GGUF means by %s (normalisation, "
                             "score, scale or groups)",
                             source->path, arch->gguf_name);
        }
    }
    if (h->window > 0 && !same_windows(source)) {
        return error_set(err, "%s: the layers with a sliding window are not those GGUF means by %s",
                         source->path, arch->gguf_name);
    }
    return check_rope(source, err);
}

/* ---- keys ---- */

struct keys {
    struct gguf_writer *writer;
    const char *arch;
};

static const char *with_arch(const struct keys *keys, const char *key, char text[128])
{
    snprintf(text, 128, "%s.%s", keys->arch, key);
    return text;
}

static void put_u32(const struct keys *keys, const char *key, uint32_t value)
{
    char text[128];
    gguf_writer_u32(keys->writer, with_arch(keys, key, text), value);
}

static void put_f32(const struct keys *keys, const char *key, double value)
{
    char text[128];
    gguf_writer_f32(keys->writer, with_arch(keys, key, text), (float)value);
}

static void put_bool(const struct keys *keys, const char *key, bool value)
{
    char text[128];
    gguf_writer_bool(keys->writer, with_arch(keys, key, text), value);
}

static void put_word(const struct keys *keys, const char *key, const char *value)
{
    char text[128];
    gguf_writer_string(keys->writer, with_arch(keys, key, text), value, strlen(value));
}

static void put_sizes(const struct keys *keys, const struct hparams *h)
{
    put_u32(keys, "block_count", h->layers);
    put_u32(keys, "context_length", h->context);
    put_u32(keys, "embedding_length", h->hidden);
    put_u32(keys, "vocab_size", h->vocabulary);
    put_u32(keys, "feed_forward_length", h->ffn ? h->ffn : h->expert_ffn);
    put_u32(keys, "attention.head_count", h->heads);
    put_f32(keys, "attention.layer_norm_rms_epsilon", h->norm_epsilon);
    put_f32(keys, "rope.freq_base", h->rope_theta);
    put_u32(keys, "rope.dimension_count", h->rope_dim);
}

static void put_attention(const struct keys *keys, const struct source *source)
{
    const struct hparams *h = &source->hparams;
    if (source->arch->attention != ATTENTION_LATENT) {
        put_u32(keys, "attention.head_count_kv", h->kv_heads);
        put_u32(keys, "attention.key_length", h->head_dim);
        put_u32(keys, "attention.value_length", h->head_dim);
        if (h->window > 0) {
            put_u32(keys, "attention.sliding_window", h->window);
        }
        return;
    }
    /* The absorbed form: one key head that is latent and rotary part, values the latent. */
    put_u32(keys, "attention.head_count_kv", 1);
    put_u32(keys, "attention.key_length", h->kv_rank + h->rope_dim);
    put_u32(keys, "attention.value_length", h->kv_rank);
    put_u32(keys, "attention.key_length_mla", h->nope_dim + h->rope_dim);
    put_u32(keys, "attention.value_length_mla", h->value_dim);
    put_u32(keys, "attention.kv_lora_rank", h->kv_rank);
    if (h->q_rank > 0) {
        put_u32(keys, "attention.q_lora_rank", h->q_rank);
    }
}

static void put_experts(const struct keys *keys, const struct source *source)
{
    const struct hparams *h = &source->hparams;
    if (h->experts == 0) {
        return;
    }
    put_u32(keys, "expert_count", h->experts);
    put_u32(keys, "expert_used_count", h->experts_per_token);
    put_u32(keys, "expert_feed_forward_length", h->expert_ffn);
    if (source->arch->attention != ATTENTION_LATENT) {
        if (h->shared_ffn > 0) {
            put_u32(keys, "expert_shared_feed_forward_length", h->shared_ffn);
        }
        return;
    }
    uint32_t shared = h->shared_experts ? h->shared_experts : h->shared_ffn / h->expert_ffn;
    put_u32(keys, "leading_dense_block_count", h->first_dense);
    put_u32(keys, "expert_shared_count", shared);
    put_bool(keys, "expert_weights_norm", h->router_normalise);
    put_f32(keys, "expert_weights_scale", h->router_scale);
    put_u32(keys, "expert_gating_func", h->router_score == ROUTER_SIGMOID ? 2 : 1);
    if (h->router_groups > 1) {
        put_u32(keys, "expert_group_count", h->router_groups);
        put_u32(keys, "expert_group_used_count", h->router_top_groups);
    }
}

static void put_rope_scaling(const struct keys *keys, const struct hparams *h)
{
    if (h->rope_scaling == ROPE_SCALING_LINEAR) {
        put_word(keys, "rope.scaling.type", "linear");
        put_f32(keys, "rope.scaling.factor", h->rope_factor);
    }
    if (h->rope_scaling != ROPE_SCALING_YARN) {
        return; /* llama3: the tensor rope_freqs */
    }
    put_word(keys, "rope.scaling.type", "yarn");
    put_f32(keys, "rope.scaling.factor", h->rope_factor);
    put_u32(keys, "rope.scaling.original_context_length", h->rope_original_context);
    put_f32(keys, "rope.scaling.yarn_beta_fast", h->rope_beta_fast);
    put_f32(keys, "rope.scaling.yarn_beta_slow", h->rope_beta_slow);
    if (h->rope_mscale_all_dim > 0) {
        put_f32(keys, "rope.scaling.yarn_log_multiplier", YARN_LOG_FACTOR * h->rope_mscale_all_dim);
    }
    double usual = h->rope_factor > 1 ? 1 + YARN_LOG_FACTOR * log(h->rope_factor) : 1;
    if (h->rope_attention_factor > 0 && fabs(h->rope_attention_factor / usual - 1) > 1e-6) {
        put_f32(keys, "rope.scaling.attn_factor", h->rope_attention_factor / usual);
    }
}

void gguf_export_keys(const struct source *source, enum dtype type, bool quantised,
                      struct gguf_writer *writer)
{
    const struct keys keys = {writer, source->arch->gguf_name};
    gguf_writer_string(writer, "general.architecture", keys.arch, strlen(keys.arch));
    gguf_writer_string(writer, "general.type", "model", 5);
    gguf_writer_string(writer, "general.name", source->name, strlen(source->name));
    gguf_writer_u32(writer, "general.file_type", file_type(type));
    if (quantised) {
        gguf_writer_u32(writer, "general.quantization_version", 2);
    }
    put_sizes(&keys, &source->hparams);
    put_attention(&keys, source);
    put_experts(&keys, source);
    put_rope_scaling(&keys, &source->hparams);
    if (source->chat_template_bytes > 0) {
        gguf_writer_string(writer, "tokenizer.chat_template", source->chat_template,
                           source->chat_template_bytes);
    }
}

void gguf_export_rope_divisors(const struct hparams *hparams, float *divisors)
{
    double factor = hparams->rope_factor, low = hparams->rope_low_frequency_factor,
           high = hparams->rope_high_frequency_factor, context = hparams->rope_original_context;
    for (uint32_t i = 0; i < hparams->rope_dim / 2; i++) {
        double frequency = pow(hparams->rope_theta, -2.0 * i / hparams->rope_dim);
        double length = TWO_PI / frequency;
        double divisor = 1;
        if (length > context / low) {
            divisor = factor;
        } else if (length >= context / high) {
            double smooth = (context / length - low) / (high - low);
            divisor = 1 / ((1 - smooth) / factor + smooth);
        }
        divisors[i] = (float)divisor;
    }
}
