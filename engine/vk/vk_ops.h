/* How the Vulkan back end runs each op: the table of shaders and the plan of a dispatch.
 *
 * Only vk_ops.c and vk_product.c know names of shaders. The table itself is generated from shaders/
 * by the build.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/op/op.h"
#include "engine/vk/vk_caps.h"

struct vk_shader {
    const char *name;      /* file stem and variant: "matvec_q4_k" */
    const uint32_t *words; /* SPIR-V */
    size_t n_bytes;
    uint32_t tiers; /* bits 1 << enum vk_tier that it needs */
};

extern const struct vk_shader vk_shaders[];
extern const uint32_t vk_n_shaders;

/* Shaders that are kept packed (vk_archive.c), made ready when they are first asked for: they are
 * rows as those of vk_shaders. None if memory is short. */
const struct vk_shader *vk_archive_shaders(uint32_t *n);
/* Of all bytes of the archive. */
uint64_t vk_archive_hash(void);

#define VK_MAX_CONSTANTS 8

/* What an op's shader wants its vectors in (vk_pack.h). */
enum vk_pack_format { VK_PACK_NONE, VK_PACK_FLOAT16, VK_PACK_INT8, VK_PACK_FORMATS };

/* One dispatch. The push constants are the op's arguments. */
struct vk_plan {
    const char *shader;
    uint32_t groups[3];
    uint32_t n_constants;
    uint32_t constants[VK_MAX_CONSTANTS]; /* specialisation constants, ids 0, 1, ... */
    uint32_t subgroup;                    /* a size to ask for; 0: any */
    enum vk_pack_format pack;             /* of the vectors that weights are multiplied with */
};

/* Which shader runs this op, and on how many work-groups: enough for op->max_tokens tokens, never
 * more than caps->max_groups. */
void vk_plan_op(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan);

/* Which shader packs vectors, one a work-group; groups are the caller's to fill in. */
void vk_plan_pack(enum vk_pack_format format, const struct vk_caps *caps, struct vk_plan *plan);

/* Calls fn once for every pipeline that a common model's ops ask for, with one token, with
 * few and with a chunk: every shader of the table at least once. Returns how many there are. */
uint32_t vk_plan_each(const struct vk_caps *caps,
                      void (*fn)(void *context, const struct vk_plan *plan), void *context);
