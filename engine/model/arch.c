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

const struct arch *arch_find_config(const char *config_name)
{
    for (size_t i = 0; i < N_ARCHS; i++) {
        if (strcmp(archs[i]->config_name, config_name) == 0) {
            return archs[i];
        }
    }
    return NULL;
}

void arch_config_names(char *names, uint32_t names_bytes)
{
    names[0] = 0;
    for (size_t i = 0, used = 0; i < N_ARCHS && used < names_bytes; i++) {
        used += (size_t)snprintf(names + used, names_bytes - used, "%s%s", i ? ", " : "",
                                 archs[i]->config_name);
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
    case DIM_Q:
        return (uint64_t)hparams->heads * hparams->head_dim;
    case DIM_KV:
        return (uint64_t)hparams->kv_heads * hparams->head_dim;
    case DIM_EXPERTS:
        return hparams->experts;
    }
    return 0;
}

bool arch_tensor_name(char *name, uint32_t name_bytes, const char *pattern, uint32_t layer,
                      uint32_t expert)
{
    uint32_t used = 0;
    for (const char *p = pattern; *p; p++) {
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
