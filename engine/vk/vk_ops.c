/* Which shader runs each op, with which specialisation constants, on how many work-groups.
 *
 * One function an op, found by its name from OPS; products of weights with vectors, which have many
 * shaders, are left to vk_product.c. What an invocation does is told at the head of each shader;
 * here are only the sizes. They are chosen for GPUs with 32 or 64 invocations a subgroup and hold
 * on every device: at most 128 invocations where 256 are not allowed. CPUs that play GPUs have
 * kernels of their own (vk_plan_eight_lanes), of eight.
 */
#include "engine/vk/vk_ops.h"

#include <assert.h>

#include "engine/vk/vk_attention.h"
#include "engine/vk/vk_plan.h"
#include "engine/vk/vk_product.h"

/* Invocations of a work-group that wait for each other and go through `items` together, in all
 * their loops: on a CPU that plays a GPU, one subgroup. Lavapipe leaves loops after 65535 rounds of
 * an invocation, whichever they were. */
#define MOST_ROUNDS 32768
static uint32_t team_size(const struct vk_caps *caps, uint64_t items)
{
    uint32_t most = vk_plan_group_size(caps, 256);
    uint32_t size = vk_plan_eight_lanes(caps) ? 8 : most;
    while (size < most && items / size > MOST_ROUNDS) {
        size *= 2;
    }
    return size;
}

static void plan_embed(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    vk_plan_items(plan, caps, vk_plan_variant("embed", op->dtype), 64,
                  vk_plan_divide_up(op->args.embed.dim, 8), op->max_tokens);
}

static void plan_rms_norm(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    const struct rms_norm_args *args = &op->args.rms_norm;
    if (vk_plan_eight_lanes(caps) && args->dim % 4 == 0) {
        vk_plan_begin(plan, "rms_norm_software", 8);
    } else {
        vk_plan_begin(plan, "rms_norm", vk_plan_group_size(caps, args->dim <= 256 ? 64 : 256));
    }
    vk_plan_groups(plan, caps, args->rows_per_token, args->last_only ? 1 : op->max_tokens);
}

static void plan_matmul(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    const struct matmul_args *args = &op->args.matmul;
    vk_product_plan(&(struct vk_product){.teams = "matvec",
                                         .tiles = "matmul",
                                         .rows = args->rows,
                                         .cols = args->cols,
                                         .normed = args->norm != 0},
                    op->dtype, args->one_row ? 1 : op->max_tokens, caps, plan);
}

/* As matmul, with the heads along z. */
static void plan_head_matmul(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    const struct head_matmul_args *args = &op->args.head_matmul;
    assert(args->heads <= caps->max_groups[2]);
    vk_product_plan(
        &(struct vk_product){
            .teams = "head_matvec", .tiles = "head_matmul", .rows = args->rows, .cols = args->cols},
        op->dtype, op->max_tokens, caps, plan);
    plan->groups[2] = args->heads;
}

static void plan_expert_gate_up(const struct op *op, const struct vk_caps *caps,
                                struct vk_plan *plan)
{
    const struct expert_gate_up_args *args = &op->args.expert_gate_up;
    assert(args->activation == ACTIVATION_SILU || args->activation == ACTIVATION_SWIGLU_CLAMPED);
    assert(!args->gate_bias == !args->up_bias);
    vk_product_plan_experts(&(struct vk_product){.teams = "expert_gate_up_vec",
                                                 .tiles = "expert_gate_up_mat",
                                                 .rows = args->ffn * 2,
                                                 .cols = args->hidden,
                                                 .normed = args->norm != 0},
                            op,
                            &(struct vk_product_experts){.n_experts = args->n_experts,
                                                         .top_k = args->top_k,
                                                         .grouped = args->tiles != 0},
                            caps, plan);
}

static void plan_expert_down(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    const struct expert_down_args *args = &op->args.expert_down;
    vk_product_plan_experts(&(struct vk_product){.teams = "expert_down_vec",
                                                 .tiles = "expert_down_mat",
                                                 .rows = args->hidden,
                                                 .cols = args->ffn},
                            op,
                            &(struct vk_product_experts){.n_experts = args->n_experts,
                                                         .top_k = args->top_k,
                                                         .grouped = args->tiles != 0},
                            caps, plan);
}

/* For one token. The lanes of a team share the rows of all slots. */
static void plan_expert_down_sum(const struct op *op, const struct vk_caps *caps,
                                 struct vk_plan *plan)
{
    const struct expert_down_sum_args *args = &op->args.expert_down_sum;
    assert(op->max_tokens == 1);
    assert(args->top_k <= ROUTER_MAX_TOP_K && args->n_experts <= ROUTER_MAX_EXPERTS);
    vk_product_plan_one(&(struct vk_product){.teams = "expert_down_sum",
                                             .rows = args->hidden,
                                             .cols = args->ffn,
                                             .matrices = args->top_k},
                        op->dtype, caps, plan);
}

/* Whether heads are of whole fours, or in caches of q8_0 of whole pairs of blocks. */
static bool has_whole_fours(const struct op *op, uint32_t head_dim)
{
    return head_dim % (op->dtype == DTYPE_Q8_0 ? 64 : 4) == 0;
}

/* k and v of one head a work-group, or of two where words of a cache of q8_0, which have the scales
 * of 64 elements, would belong to two heads. */
static void plan_attention_prepare(const struct op *op, const struct vk_caps *caps,
                                   struct vk_plan *plan)
{
    const struct attention_prepare_args *args = &op->args.attention_prepare;
    assert(args->n_rotated % 2 == 0 && args->n_rotated <= args->head_dim);
    assert(args->head_dim % (op->dtype == DTYPE_Q8_0 ? 32 : 2) == 0 && args->head_dim <= 1024);
    if (vk_plan_eight_lanes(caps) && args->n_rotated % 8 == 0 && args->head_dim <= 256 &&
        has_whole_fours(op, args->head_dim)) {
        vk_plan_begin(plan, vk_plan_variant("attention_prepare_software", op->dtype), 8);
        vk_plan_constant(plan, args->head_dim);
        vk_plan_constant(plan, args->n_rotated);
        vk_plan_groups(plan, caps, 1, op->max_tokens);
        return;
    }
    uint32_t store_heads = op->dtype == DTYPE_Q8_0 && args->head_dim % 64 != 0 ? 2 : 1;
    vk_plan_begin(plan, vk_plan_variant("attention_prepare", op->dtype), 64);
    vk_plan_constant(plan, args->head_dim);
    vk_plan_constant(plan, store_heads);
    vk_plan_groups(plan, caps, args->heads + vk_plan_divide_up(args->kv_heads, store_heads),
                   op->max_tokens);
}

/* The two caches, and the pairs of q. */
static void plan_attention_latent_prepare(const struct op *op, const struct vk_caps *caps,
                                          struct vk_plan *plan)
{
    const struct attention_latent_prepare_args *args = &op->args.attention_latent_prepare;
    uint32_t unit = op->dtype == DTYPE_Q8_0 ? 32 : 2, size = vk_plan_group_size(caps, 128);
    (void)unit; /* an NDEBUG build has no assert */
    assert(args->rank % unit == 0 && args->rope_dim % unit == 0);
    assert(args->rank <= ATTENTION_LATENT_MAX_RANK && args->rope_dim <= ATTENTION_LATENT_MAX_ROPE);
    vk_plan_begin(plan, vk_plan_variant("attention_latent_prepare", op->dtype), size);
    vk_plan_constant(plan, args->rank);
    vk_plan_constant(plan, args->rope_dim);
    vk_plan_groups(plan, caps, 2 + vk_plan_divide_up(args->heads * (args->rope_dim / 2), size),
                   op->max_tokens);
}

static void plan_attention_tiles(const struct op *op, const struct vk_caps *caps,
                                 const char *kernel, const struct vk_attention_shape *shape,
                                 struct vk_plan *plan)
{
    struct vk_attention_cut cut = vk_attention_cut_of(shape, caps);
    vk_plan_begin(plan, vk_plan_variant(kernel, op->dtype), VK_ATTENTION_INVOCATIONS);
    vk_plan_constant(plan, shape->key_dims[0]);
    vk_plan_constant(plan, cut.queries);
    vk_plan_constant(plan, cut.rows);
    vk_plan_constant(plan, cut.piece_fours);
    vk_plan_constant(plan, cut.row_scores);
    vk_plan_constant(plan, cut.value_queries);
    if (shape->key_dims[1] > 0) {
        vk_plan_constant(plan, shape->key_dims[1]);
    }
    plan->groups[0] = shape->kv_heads * cut.splits;
    assert(plan->groups[0] <= caps->max_groups[0]);
    vk_plan_fold(plan, caps, 1, cut.tiles);
}

/* The same on CPUs that play GPUs; false: the device or the heads do not suit the kernel. */
static bool plan_attention_software(const struct op *op, const struct vk_caps *caps,
                                    const char *kernel, const struct vk_attention_shape *shape,
                                    struct vk_plan *plan)
{
    const char *shader = vk_plan_find(kernel, op->dtype, "");
    bool whole = has_whole_fours(op, shape->key_dims[0]) && has_whole_fours(op, shape->key_dims[1]);
    if (!vk_plan_eight_lanes(caps) || !shader || !whole) {
        return false;
    }
    struct vk_attention_cut cut = vk_attention_cut_software(shape, caps);
    vk_plan_begin(plan, shader, VK_ATTENTION_LANES);
    vk_plan_constant(plan, shape->key_dims[0]);
    vk_plan_constant(plan, cut.queries);
    vk_plan_constant(plan, cut.rows);
    vk_plan_constant(plan, cut.splits);
    if (shape->key_dims[1] > 0) {
        vk_plan_constant(plan, shape->key_dims[1]);
    }
    plan->groups[0] = shape->kv_heads * cut.splits;
    assert(plan->groups[0] <= caps->max_groups[0]);
    vk_plan_fold(plan, caps, 1, cut.tiles);
    return true;
}

static void plan_attention(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    const struct attention_args *args = &op->args.attention;
    assert(args->head_dim <= 256 && args->heads % args->kv_heads == 0);
    assert(op->dtype != DTYPE_Q8_0 || args->head_dim % 32 == 0);
    struct vk_attention_shape shape = {
        .kv_heads = args->kv_heads,
        .queries = op->max_tokens * (args->heads / args->kv_heads),
        .capacity = args->capacity,
        .key_dims = {args->head_dim},
        .value_dim = args->head_dim,
    };
    if (!plan_attention_software(op, caps, "attention_software", &shape, plan)) {
        plan_attention_tiles(op, caps, "attention", &shape, plan);
    }
}

static void plan_attention_latent(const struct op *op, const struct vk_caps *caps,
                                  struct vk_plan *plan)
{
    const struct attention_latent_args *args = &op->args.attention_latent;
    assert(args->rank <= ATTENTION_LATENT_MAX_RANK && args->rope_dim <= ATTENTION_LATENT_MAX_ROPE);
    assert(op->dtype != DTYPE_Q8_0 || (args->rank % 32 == 0 && args->rope_dim % 32 == 0));
    struct vk_attention_shape shape = {
        .kv_heads = 1,
        .queries = op->max_tokens * args->heads,
        .capacity = args->capacity,
        .key_dims = {args->rank, args->rope_dim},
        .value_dim = args->rank,
    };
    if (!plan_attention_software(op, caps, "attention_latent_software", &shape, plan)) {
        plan_attention_tiles(op, caps, "attention_latent", &shape, plan);
    }
}

static void plan_router(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    op_assert_router(&op->args.router.rule);
    uint64_t n_experts = op->args.router.rule.n_experts; /* each is compared with all */
    vk_plan_begin(plan, "router", team_size(caps, 2 * n_experts * n_experts));
    vk_plan_groups(plan, caps, 1, op->max_tokens);
}

/* For one token. */
static void plan_matmul_router(const struct op *op, const struct vk_caps *caps,
                               struct vk_plan *plan)
{
    const struct matmul_router_args *args = &op->args.matmul_router;
    assert(op->max_tokens == 1);
    op_assert_router(&args->rule);
    vk_product_plan_one(&(struct vk_product){.teams = "matmul_router",
                                             .rows = args->rule.n_experts,
                                             .cols = args->cols,
                                             .normed = args->norm != 0,
                                             .shared_bytes = 12 * ROUTER_MAX_EXPERTS +
                                                             4 * ROUTER_MAX_TOP_K + 4 +
                                                             4 * caps->tuning.matvec_group},
                        op->dtype, caps, plan);
}

static void plan_expert_group(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    const struct expert_group_args *args = &op->args.expert_group;
    uint64_t pairs = (uint64_t)op->max_tokens * args->top_k;
    vk_plan_begin(plan, "expert_group", team_size(caps, 3 * (pairs + args->n_experts)));
    vk_plan_groups(plan, caps, args->n_experts + 1, 1);
}

static void plan_expert_combine(const struct op *op, const struct vk_caps *caps,
                                struct vk_plan *plan)
{
    uint32_t hidden = op->args.expert_combine.hidden;
    if (vk_plan_eight_lanes(caps) && hidden % 4 == 0) {
        vk_plan_begin(plan, "expert_combine_software", 8);
        vk_plan_groups(plan, caps, vk_plan_divide_up(hidden, 256), op->max_tokens);
        return;
    }
    vk_plan_items(plan, caps, "expert_combine", 256, hidden, op->max_tokens);
}

static void plan_argmax(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    vk_plan_begin(plan, "argmax", team_size(caps, op->args.argmax.dim));
}

static void plan_sample(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    assert(op->args.sample.vocabulary < 1u << 24);
    vk_plan_begin(plan, "sample", vk_plan_group_size(caps, 256));
}

static void plan_observe(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    vk_plan_items(plan, caps, "observe", 64, op->args.observe.dim, op->args.observe.n_groups);
}

void vk_plan_op(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    static void (*const planners[OP_COUNT])(const struct op *, const struct vk_caps *,
                                            struct vk_plan *) = {
#define X(name, ...) plan_##name,
        OPS(X)
#undef X
    };
    planners[op->kind](op, caps, plan);
}

void vk_plan_pack(enum vk_pack_format format, const struct vk_caps *caps, struct vk_plan *plan)
{
    static const char *const shaders[VK_PACK_FORMATS] = {
        [VK_PACK_FLOAT16] = "pack_float16", [VK_PACK_INT8] = "pack_int8"};
    vk_plan_begin(plan, shaders[format], vk_plan_group_size(caps, 64));
}
