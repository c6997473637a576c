/* How the Vulkan back end runs each op: the table of shaders and the plan of a dispatch.
 *
 * vk_ops.c is the only file that knows shader names. The table itself is generated from shaders/
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
};

extern const struct vk_shader vk_shaders[];
extern const uint32_t vk_n_shaders;

#define VK_MAX_CONSTANTS 8

/* One dispatch. The push constants are the op's arguments. */
struct vk_plan {
    const char *shader;
    uint32_t groups[3];
    uint32_t n_constants;
    uint32_t constants[VK_MAX_CONSTANTS]; /* specialisation constants, ids 0, 1, ... */
};

/* Which shader runs this op, and on how many work-groups: enough for op->max_tokens tokens, never
 * more than caps->max_groups. */
void vk_plan_op(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan);

/* Calls fn once for every pipeline that a common model's ops ask for, with one token, with
 * few and with a chunk: every shader of the table at least once. Returns how many there are. */
uint32_t vk_plan_each(const struct vk_caps *caps,
                      void (*fn)(void *context, const struct vk_plan *plan), void *context);
