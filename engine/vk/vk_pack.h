/* Packed vectors: where products with many vectors read them in another format than f32
 * (vk_plan.pack), a dispatch before the first of them converts the tensor once, and all products
 * that read the same tensor share it.
 *
 * The list of ops knows nothing of this. A pack belongs to the step that first needs it: it is
 * recorded before the ops of that step, with a barrier behind it. It stays good until an op writes
 * the tensor; its place in the program's scratch memory is given to another pack once no product of
 * the step before reads it any more.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/op/op.h"
#include "engine/vk/vk_ops.h"
#include "shaders/op_args.h"

/* Of pack_args: words are addresses in C. */
#include "shaders/pack_args.h"

struct vk_pack {
    uint32_t op; /* recorded before this one, which begins a step */
    enum vk_pack_format format;
    uint32_t groups[3];
    uint32_t place;
    struct pack_args args;
};

struct vk_packs {
    struct vk_pack *packs; /* in the order of their ops */
    uint32_t n;
    uint32_t *of_op;  /* (n_ops) number of the pack that the op reads, or VK_NO_PACK */
    uint64_t *places; /* (n_places) bytes, then offsets */
    uint32_t n_places;
    uint64_t bytes; /* of scratch memory */
};

#define VK_NO_PACK UINT32_MAX

/* What the plans ask for: packs, and their places in scratch memory. begins[i]: op i begins a step.
 * False: no memory. */
bool vk_packs_init(struct vk_packs *packs, const struct op_list *list, const struct vk_plan *plans,
                   const bool *begins, struct error *err);
void vk_packs_free(struct vk_packs *packs);
/* The scratch memory lies at this address. */
void vk_packs_bind(struct vk_packs *packs, uint64_t address);
/* The op's arguments, with the address of packed vectors where it reads such. */
void vk_packs_args(const struct vk_packs *packs, const struct op *op, uint32_t index,
                   uint8_t args[OP_MAX_ARGS_BYTES]);
