/* Where packed vectors are made and kept: products of a tensor share a pack, a written tensor is
 * packed anew, and no pack takes the place of one that its own step or the one before still reads.
 * No device is needed. */
#include <criterion/criterion.h>
#include <string.h>

#include "engine/vk/vk_pack.h"

#define N_OPS 6
#define TOKENS 16
#define COLS 96

static struct tensor tensors[N_OPS];
static struct op ops[N_OPS];
static struct vk_plan plans[N_OPS];
static const struct op_list list = {.max_tokens = TOKENS, .n_ops = N_OPS, .ops = ops};

/* Op i makes tensor y of tensor x. */
static void product(uint32_t i, uint32_t x, uint32_t y, enum vk_pack_format format)
{
    for (uint32_t t = 0; t < N_OPS; t++) {
        tensors[t].bytes = TOKENS * COLS * sizeof(float);
    }
    ops[i] = (struct op){.kind = OP_matmul, .max_tokens = TOKENS, .n_tensors = 7};
    ops[i].args.matmul.cols = COLS;
    ops[i].tensors[2] = &tensors[x];
    ops[i].tensors[6] = &tensors[y];
    ops[i].args.addresses[0] = 0x100;
    ops[i].args.addresses[2] = 0x100000 * (x + 1);
    ops[i].args.addresses[6] = 0x100000 * (y + 1);
    plans[i] = (struct vk_plan){.pack = format};
}

Test(vk_pack, products_share_what_is_not_written)
{
    const bool begins[N_OPS] = {false, false, true, true, true, true};
    struct vk_packs packs;
    struct error err;
    uint8_t args[OP_MAX_ARGS_BYTES];
    uint64_t address;
    product(0, 0, 1, VK_PACK_FLOAT16);
    product(1, 0, 2, VK_PACK_FLOAT16); /* shares with op 0, in its step */
    product(2, 1, 3, VK_PACK_NONE);    /* reads floats */
    product(3, 0, 4, VK_PACK_FLOAT16); /* shares with op 0 in a later step */
    product(4, 3, 0, VK_PACK_FLOAT16); /* of another tensor; writes what was packed */
    product(5, 0, 5, VK_PACK_FLOAT16); /* is packed anew */
    cr_assert(vk_packs_init(&packs, &list, plans, begins, &err), "%s", err.text);
    cr_assert_eq(packs.n, 3);
    const uint32_t expected[N_OPS] = {0, 0, VK_NO_PACK, 0, 1, 2};
    for (uint32_t i = 0; i < N_OPS; i++) {
        cr_expect_eq(packs.of_op[i], expected[i], "op %u", i);
    }
    cr_expect_eq(packs.packs[0].op, 0);
    cr_expect_eq(packs.packs[1].op, 4);
    cr_expect_eq(packs.packs[2].op, 5);
    /* The first place is free for the third: its tensor was written, and step 3 read it last. */
    cr_expect_eq(packs.n_places, 2);
    cr_expect_eq(packs.packs[2].place, packs.packs[0].place);
    cr_expect_neq(packs.packs[1].place, packs.packs[0].place);
    cr_expect_geq(packs.bytes, 2 * (uint64_t)TOKENS * PACK_FLOAT16_UNITS(COLS) * 16);
    vk_packs_bind(&packs, 0x1000000);
    vk_packs_args(&packs, &ops[4], 4, args);
    memcpy(&address, args + 2 * sizeof(address), sizeof(address));
    cr_expect_eq(address, packs.packs[1].args.y);
    vk_packs_args(&packs, &ops[2], 2, args);
    cr_expect_eq(memcmp(args, ops[2].args.bytes, sizeof(args)), 0, "floats are read as they lie");
    vk_packs_free(&packs);
}

Test(vk_pack, formats_are_not_shared)
{
    const bool begins[N_OPS] = {false};
    struct vk_packs packs;
    struct error err;
    for (uint32_t i = 0; i < N_OPS; i++) {
        product(i, 0, 1, i % 2 ? VK_PACK_INT8 : VK_PACK_FLOAT16);
    }
    ops[5].args.matmul.cols = COLS - 32;
    cr_assert(vk_packs_init(&packs, &list, plans, begins, &err), "%s", err.text);
    cr_expect_eq(packs.n, 3);
    cr_expect_eq(packs.n_places, 3, "all are read in one step");
    for (uint32_t i = 0; i < packs.n; i++) {
        cr_expect_eq(packs.packs[i].op, 0, "they are made before the step");
    }
    vk_packs_free(&packs);
}

Test(vk_pack, norms_are_not_shared)
{
    const bool begins[N_OPS] = {false};
    struct vk_packs packs;
    struct error err;
    for (uint32_t i = 0; i < N_OPS; i++) {
        product(i, 0, 1, VK_PACK_INT8);
        ops[i].args.matmul.norm = i % 2 ? 0x900000 : 0;
        ops[i].args.matmul.epsilon = i == 5 ? 1e-5f : 1e-6f;
    }
    ops[4].args.matmul.one_row = 1; /* reads the first vector of a pack of all */
    cr_assert(vk_packs_init(&packs, &list, plans, begins, &err), "%s", err.text);
    const uint32_t expected[N_OPS] = {0, 1, 0, 1, 0, 2};
    cr_expect_eq(packs.n, 3);
    for (uint32_t i = 0; i < N_OPS; i++) {
        cr_expect_eq(packs.of_op[i], expected[i], "op %u", i);
    }
    cr_expect_eq(packs.packs[0].args.norm, 0);
    cr_expect_eq(packs.packs[1].args.norm, 0x900000);
    cr_expect_float_eq(packs.packs[2].args.epsilon, 1e-5f, 0);
    vk_packs_free(&packs);
    ops[0].args.matmul.one_row = 1; /* one vector is not enough for the others */
    cr_assert(vk_packs_init(&packs, &list, plans, begins, &err), "%s", err.text);
    cr_expect_eq(packs.n, 4);
    cr_expect_eq(packs.packs[0].groups[1], 1);
    cr_expect_eq(packs.packs[packs.of_op[2]].groups[1], TOKENS);
    vk_packs_free(&packs);
}
