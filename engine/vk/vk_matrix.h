/* Cooperative matrices: which of those that a device lists are used, and how the subgroups of a
 * work-group share a tile out (shaders/lib/tile_cooperative_matrix.glsl). No device is needed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/vk/vk_caps.h"

struct vk_cooperative_matrix_properties;

/* Shared memory that the largest tile takes. */
#define VK_MATRIX_SHARED_BYTES (9216 + 212 * 64)

/* The shape with the most products at once, of f16 times f16 summed in f32 by a subgroup, that
 * divides tiles. False: the list of n has none. */
bool vk_matrix_choose(const struct vk_cooperative_matrix_properties *list, uint32_t n,
                      struct vk_matrix_shape *shape);

/* So many subgroups of a work-group have other rows of the tile, and other vectors; the rest, if
 * there are more, have none. */
struct vk_matrix_share {
    uint32_t down, across;
};

/* Of tiles of 64 rows x tile_tokens vectors, for work-groups of n_subgroups (powers of two): as
 * many as can take part, and then the fewest loads. */
struct vk_matrix_share vk_matrix_share_tile(const struct vk_matrix_shape *shape,
                                            uint32_t tile_tokens, uint32_t n_subgroups);
