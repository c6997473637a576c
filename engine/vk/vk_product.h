/* Products of weights with vectors: whether teams of invocations sum rows up or tiles are
 * multiplied, and by the shader of which tier.
 */
#pragma once

#include "engine/vk/vk_ops.h"

struct vk_product {
    const char *teams, *tiles; /* kernels, for one vector or few and for many */
    uint32_t rows, cols;
    uint32_t matrices;     /* that share a row of the result, where these are more than 1 */
    bool normed;           /* the vectors */
    uint32_t shared_bytes; /* of shared memory that the kernel of teams takes beside the product */
};

/* With one vector: by teams. */
void vk_product_plan_one(const struct vk_product *product, enum dtype dtype,
                         const struct vk_caps *caps, struct vk_plan *plan);
/* With at most so many. */
void vk_product_plan(const struct vk_product *product, enum dtype dtype, uint32_t vectors,
                     const struct vk_caps *caps, struct vk_plan *plan);

struct vk_product_experts {
    uint32_t n_experts, top_k;
    bool grouped; /* in tiles that expert_group has cut */
};

/* Of experts, for op->max_tokens tokens. */
void vk_product_plan_experts(const struct vk_product *product, const struct op *op,
                             const struct vk_product_experts *experts, const struct vk_caps *caps,
                             struct vk_plan *plan);

/* The value of vk_tuning.matmul_arithmetic that a person calls "f32", "f16", "int8" or "matrix",
 * and the tier it needs (VK_N_TIERS: none). False: there is no such name. */
bool vk_product_arithmetic(const char *name, uint32_t *arithmetic, enum vk_tier *tier);

/* Whether products with one vector or few read them as int8, where weights are of a block type. */
bool vk_product_packs_one(const struct vk_caps *caps);
/* Whether products of some type with many vectors read them in this format. */
bool vk_product_packs(const struct vk_caps *caps, enum vk_pack_format format);
