#include "engine/model/arch_list.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct arch *const archs[] = {
#define X(variable) &variable,
    ARCHS(X)
#undef X
};
#define N_ARCHS (sizeof(archs) / sizeof(archs[0]))

const struct arch *arch_find(const char *name, uint64_t bytes)
{
    for (size_t i = 0; i < N_ARCHS; i++) {
        if (strlen(archs[i]->name) == bytes && memcmp(archs[i]->name, name, bytes) == 0) {
            return archs[i];
        }
    }
    return NULL;
}

/* Whether `name` is one of the alternatives of the list. */
static bool is_alternative(const char *list, const char *name)
{
    size_t bytes = strlen(name);
    for (const char *one = list; *one;) {
        size_t length = strcspn(one, "|");
        if (length == bytes && memcmp(one, name, bytes) == 0) {
            return true;
        }
        one += length + (one[length] == '|');
    }
    return false;
}

const struct arch *arch_find_config(const char *config_name)
{
    for (size_t i = 0; i < N_ARCHS; i++) {
        if (is_alternative(archs[i]->config_name, config_name)) {
            return archs[i];
        }
    }
    return NULL;
}

const struct arch *arch_find_gguf(const char *name, uint64_t bytes, bool has_experts)
{
    const struct arch *nearest = NULL;
    for (size_t i = 0; i < N_ARCHS; i++) {
        const char *own = archs[i]->gguf_name;
        if (!own || strlen(own) != bytes || memcmp(own, name, bytes) != 0) {
            continue;
        }
        if ((archs[i]->hf_ffn[FFN_ROUTED][0].layout != FFN_NONE) == has_experts) {
            return archs[i];
        }
        nearest = nearest ? nearest : archs[i];
    }
    return nearest;
}

void arch_config_names(char *names, uint32_t names_bytes)
{
    names[0] = 0;
    for (size_t i = 0, used = 0; i < N_ARCHS && used < names_bytes; i++) {
        used += (size_t)snprintf(names + used, names_bytes - used, "%s%s", i ? ", " : "",
                                 archs[i]->config_name);
    }
}

void arch_gguf_names(char *names, uint32_t names_bytes)
{
    names[0] = 0;
    for (size_t i = 0, used = 0; i < N_ARCHS && used < names_bytes; i++) {
        bool told = false;
        for (size_t before = 0; before < i; before++) {
            told = told || strcmp(archs[before]->gguf_name, archs[i]->gguf_name) == 0;
        }
        if (!told) {
            used += (size_t)snprintf(names + used, names_bytes - used, "%s%s", i ? ", " : "",
                                     archs[i]->gguf_name);
        }
    }
}

uint64_t arch_dim_value(enum arch_dim dim, const struct hparams *hparams)
{
    switch (dim) {
    case DIM_ONE:
        return 1;
    case DIM_HIDDEN:
        return hparams->hidden;
    case DIM_VOCABULARY:
        return hparams->vocabulary;
    case DIM_HEAD:
        return hparams->head_dim;
    case DIM_HEADS:
        return hparams->heads;
    case DIM_Q:
        return (uint64_t)hparams->heads * hparams->head_dim;
    case DIM_KV:
        return (uint64_t)hparams->kv_heads * hparams->head_dim;
    case DIM_EXPERTS:
        return hparams->experts;
    case DIM_EXPERT_FFN:
        return hparams->expert_ffn;
    case DIM_SHARED_HIDDEN:
        return hparams->shared_ffn ? hparams->hidden : 0;
    case DIM_ROTATED_PAIRS:
        return hparams->rope_dim / 2;
    case DIM_Q_RANK:
        return hparams->q_rank;
    case DIM_Q_INPUT:
        return hparams->q_rank ? hparams->q_rank : hparams->hidden;
    case DIM_KV_RANK:
        return hparams->kv_rank;
    case DIM_HEADS_NOPE:
        return (uint64_t)hparams->heads * hparams->nope_dim;
    case DIM_HEADS_ROPE:
        return (uint64_t)hparams->heads * hparams->rope_dim;
    case DIM_ROPE:
        return hparams->rope_dim;
    case DIM_NOPE:
        return hparams->nope_dim;
    case DIM_HEADS_KV_RANK:
        return (uint64_t)hparams->heads * hparams->kv_rank;
    case DIM_HEADS_VALUE:
        return (uint64_t)hparams->heads * hparams->value_dim;
    }
    return 0;
}

bool arch_tensor_name(char *name, uint32_t name_bytes, const char *pattern, uint32_t alternative,
                      uint32_t layer, uint32_t expert)
{
    for (; alternative > 0; alternative--) {
        const char *bar = strchr(pattern, '|');
        if (!bar) {
            return false;
        }
        pattern = bar + 1;
    }
    uint32_t used = 0;
    name[0] = 0;
    for (const char *p = pattern; *p && *p != '|'; p++) {
        int n = *p == '%'   ? snprintf(name + used, name_bytes - used, "%" PRIu32, layer)
                : *p == '#' ? snprintf(name + used, name_bytes - used, "%" PRIu32, expert)
                            : snprintf(name + used, name_bytes - used, "%c", *p);
        if (n < 0 || (uint32_t)n >= name_bytes - used) {
            return false;
        }
        used += (uint32_t)n;
    }
    return true;
}
