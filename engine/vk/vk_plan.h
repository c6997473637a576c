/* What plans of ops (vk_ops.c, vk_product.c) are put together from: names of shaders,
 * specialisation constants, numbers of work-groups within the device's limits.
 */
#pragma once

#include "engine/vk/vk_ops.h"

/* The shader "<kernel>_<type><suffix>" of the table, or of the archive; NULL: there is none. */
const char *vk_plan_find(const char *kernel, enum dtype dtype, const char *suffix);
const char *vk_plan_find_archived(const char *kernel, enum dtype dtype, const char *suffix);
/* The shader "<kernel>_<type>", which there must be. */
const char *vk_plan_variant(const char *kernel, enum dtype dtype);

/* A plan of one work-group, whose first constant is the number of its invocations. */
void vk_plan_begin(struct vk_plan *plan, const char *shader, uint32_t group_size);
/* The next constant. */
void vk_plan_constant(struct vk_plan *plan, uint32_t value);

/* Whether kernels for CPUs that play GPUs (shaders/<kernel>_software.comp) suit the device. */
bool vk_plan_eight_lanes(const struct vk_caps *caps);
/* The largest power of two within the device's limits and `wanted`, a power of two. */
uint32_t vk_plan_group_size(const struct vk_caps *caps, uint32_t wanted);
/* x times y work-groups. */
void vk_plan_groups(struct vk_plan *plan, const struct vk_caps *caps, uint32_t x, uint32_t y);
/* A long row of work-groups, folded into two dimensions that start at `dimension`. */
void vk_plan_fold(struct vk_plan *plan, const struct vk_caps *caps, uint32_t dimension,
                  uint32_t count);
/* A whole plan: one invocation an item, tokens along y. */
void vk_plan_items(struct vk_plan *plan, const struct vk_caps *caps, const char *shader,
                   uint32_t wanted, uint32_t items, uint32_t tokens);

static inline uint32_t vk_plan_divide_up(uint32_t a, uint32_t b)
{
    return a / b + (a % b != 0);
}
