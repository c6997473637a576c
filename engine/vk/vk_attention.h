/* How attention is cut up for a device: the constants of shaders/lib/attention.glsl. */
#pragma once

#include "engine/vk/vk_caps.h"

/* Invocations of a work-group, on every device; of attention_software.comp. */
#define VK_ATTENTION_INVOCATIONS 128
#define VK_ATTENTION_LANES 8

struct vk_attention_shape {
    uint32_t kv_heads;
    uint32_t queries;     /* for each kv head: heads of all tokens */
    uint32_t capacity;    /* rows of the caches */
    uint32_t key_dims[2]; /* in two stretches, for latents */
    uint32_t value_dim;
};

struct vk_attention_cut {
    uint32_t queries, rows, piece_fours, row_scores, value_queries;
    uint32_t tiles;  /* for each kv head */
    uint32_t splits; /* of the rows of a tile */
};

struct vk_attention_cut vk_attention_cut_of(const struct vk_attention_shape *shape,
                                            const struct vk_caps *caps);
/* The same for attention_software.comp; the constants that it does not have are 0. */
struct vk_attention_cut vk_attention_cut_software(const struct vk_attention_shape *shape,
                                                  const struct vk_caps *caps);
