/* What evaluations of few tokens read of the weights, from the plans of the dispatches: every
 * weight once for all tokens, so that no batch is much dearer than one that is a token smaller. No
 * device is needed. */
#include <criterion/criterion.h>
#include <string.h>

#include "engine/vk/vk_ops.h"

static struct vk_caps caps = {
    .max_groups = {65535, 65535, 65535},
    .max_invocations = 128,
    .max_group_size_x = 128,
    .shared_bytes = 16384,
    .subgroup_size = 32,
};

static void choose_sizes(void)
{
    caps.tuning = vk_tuning_of_class(caps.vendor_id, false);
}

TestSuite(vk_batch, .init = choose_sizes);

static bool is(const struct vk_plan *plan, const char *kernel)
{
    return strncmp(plan->shader, kernel, strlen(kernel)) == 0;
}

/* How often a plan's work-groups read each row of the matrix: tiles of tokens lie along y; teams
 * read their rows once for all columns. */
static uint32_t passes_over_matrix(uint32_t tokens)
{
    struct op op = {.kind = OP_matmul, .dtype = DTYPE_Q4_K, .max_tokens = tokens};
    struct vk_plan plan = {0};
    op.args.matmul.rows = 4096;
    op.args.matmul.cols = 2048;
    vk_plan_op(&op, &caps, &plan);
    if (is(&plan, "matvec_")) {
        cr_expect_geq(plan.constants[2], tokens, "%u tokens, %u columns", tokens,
                      plan.constants[2]);
        return 1;
    }
    return plan.groups[1];
}

#define EXPERTS 128
#define TOP_K 8
#define FFN 768

/* Rows of experts that work-groups read from memory when token t chose experts ids[t]: teams read
 * an expert's rows once whatever number of tokens chose it, tiles once for each tile of pairs. */
static uint32_t expert_rows(uint32_t tokens, uint32_t max_tokens, const uint32_t *ids)
{
    struct op op = {.kind = OP_expert_gate_up, .dtype = DTYPE_Q4_K, .max_tokens = max_tokens};
    struct vk_plan plan = {0};
    uint32_t pairs[EXPERTS] = {0}, distinct = 0, tiles = 0;
    op.args.expert_gate_up = (struct expert_gate_up_args){
        .tiles = max_tokens > 1, .hidden = 2048, .ffn = FFN, .n_experts = EXPERTS, .top_k = TOP_K};
    op.tile_pairs = op_expert_tile_pairs(max_tokens, TOP_K, EXPERTS, 0);
    vk_plan_op(&op, &caps, &plan);
    bool teams = is(&plan, "expert_gate_up_vec_");
    for (uint32_t i = 0; i < tokens * TOP_K; i++) {
        pairs[ids[i]]++;
    }
    for (uint32_t e = 0; e < EXPERTS; e++) {
        distinct += pairs[e] > 0;
        tiles += teams ? pairs[e] > 0 : (pairs[e] + plan.constants[1] - 1) / plan.constants[1];
    }
    /* Enough work-groups for all of them. */
    cr_expect_geq(teams ? plan.groups[2] : plan.groups[1], tiles);
    cr_expect_eq(teams, max_tokens <= 32);
    cr_expect(!teams || tiles == distinct);
    return tiles * 2 * FFN;
}

Test(vk_batch, a_matrix_is_read_once)
{
    for (uint32_t tokens = 1; tokens <= 64; tokens++) {
        cr_expect_eq(passes_over_matrix(tokens), 1, "%u tokens", tokens);
    }
    cr_expect_eq(passes_over_matrix(128), 2);
}

/* A work-group takes a whole tile of an expert's pairs, whoever chose how many these are. */
Test(vk_batch, tiles_of_experts_are_as_wide_as_they_are_cut)
{
    for (uint32_t pairs = 16; pairs <= 64; pairs *= 2) {
        struct op op = {.kind = OP_expert_down, .max_tokens = 512, .tile_pairs = pairs};
        struct vk_plan plan = {0};
        op.dtype = DTYPE_Q4_K;
        op.args.expert_down = (struct expert_down_args){
            .tiles = 1, .hidden = 2048, .ffn = FFN, .n_experts = EXPERTS, .top_k = TOP_K};
        vk_plan_op(&op, &caps, &plan);
        cr_expect(is(&plan, "expert_down_mat_"));
        cr_expect_eq(plan.constants[1], pairs);
        cr_expect_eq(plan.groups[1], 512 * TOP_K / pairs + EXPERTS);
    }
    cr_expect_eq(op_expert_tile_pairs(1024, TOP_K, EXPERTS, 0), 32);
    cr_expect_eq(op_expert_tile_pairs(1024, TOP_K, EXPERTS, 32), 64);
    cr_expect_eq(op_expert_tile_pairs(2048, TOP_K, EXPERTS, 0), 64);
    cr_expect_eq(op_expert_tile_pairs(2048, TOP_K, EXPERTS, 128), 32);
    cr_expect_eq(op_expert_tile_pairs(256, TOP_K, EXPERTS, 16), 16);
}

Test(vk_batch, an_expert_is_read_once)
{
    static uint32_t ids[128 * TOP_K];
    uint32_t before = 0;
    for (uint32_t i = 0; i < 128 * TOP_K; i++) { /* neighbouring tokens share half of theirs */
        ids[i] = (i / TOP_K * (TOP_K / 2) + i % TOP_K) * 37 % EXPERTS;
    }
    for (uint32_t tokens = 1; tokens <= 33; tokens++) {
        uint32_t max_tokens = tokens == 1 ? 1 : tokens <= 8 ? 8 : tokens <= 32 ? 32 : 128;
        uint32_t rows = expert_rows(tokens, max_tokens, ids);
        uint32_t distinct = (tokens + 1) * (TOP_K / 2);
        distinct = distinct < EXPERTS ? distinct : EXPERTS;
        cr_expect_eq(rows, distinct * 2 * FFN, "%u tokens read %u rows", tokens, rows);
        cr_expect_geq(rows, before);
        before = rows;
    }
}

/* What one token reads: the rows of a small matrix are shared by more lanes, so that the device has
 * work, and the vector goes through shared memory where there is enough of it. */
Test(vk_batch, one_token_fills_the_device)
{
    struct op op = {.kind = OP_matmul_router, .dtype = DTYPE_F32, .max_tokens = 1};
    struct vk_plan plan = {0};
    op.args.matmul_router = (struct matmul_router_args){
        .cols = 2048, .rule = {.n_experts = EXPERTS, .top_k = TOP_K, .n_groups = 1}};
    caps.shared_bytes = 32768;
    vk_plan_op(&op, &caps, &plan);
    cr_expect_eq(plan.constants[1], 128);
    cr_expect_eq(plan.constants[2], 1);
    cr_expect_eq(plan.groups[0], EXPERTS / 2);
    caps.shared_bytes = 16384;
    vk_plan_op(&op, &caps, &plan);
    cr_expect_eq(plan.constants[1], 32);
    cr_expect_eq(plan.constants[2], 2);
    op = (struct op){.kind = OP_matmul, .dtype = DTYPE_Q4_K, .max_tokens = 1};
    op.args.matmul = (struct matmul_args){.rows = 4096, .cols = 2048};
    vk_plan_op(&op, &caps, &plan);
    cr_expect_eq(plan.constants[1], 32);
    cr_expect_eq(plan.constants[2], 1);
    cr_expect_eq(plan.groups[0], 512);
}
