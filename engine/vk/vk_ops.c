/* Which shader runs each op, with which specialisation constants, on how many work-groups.
 *
 * One function an op, found by its name from OPS. What an invocation does is told at the head of
 * each shader; here are only the sizes. They are chosen for GPUs with 32 or 64 invocations a
 * subgroup and hold on every device: at most 128 invocations where 256 are not allowed.
 */
#include "engine/vk/vk_ops.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "engine/vk/vk_attention.h"
#include "shaders/vk_shader_table.h"

#define X(name) {#name, spirv_##name, sizeof(spirv_##name)},
const struct vk_shader vk_shaders[] = {VK_SHADERS(X)};
#undef X
const uint32_t vk_n_shaders = sizeof(vk_shaders) / sizeof(vk_shaders[0]);

/* A row of DTYPES that shaders/meson.build does not list does not compile. */
enum {
#define X(NAME) HAS_SHADERS_##NAME,
    VK_WEIGHT_TYPES(X)
#undef X
};
#define X(NAME, ...) _Static_assert(HAS_SHADERS_##NAME >= 0, "");
DTYPES(X)
#undef X

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t divide_up(uint32_t a, uint32_t b)
{
    return a / b + (a % b != 0);
}

/* The table's own "<kernel>_<type>". */
static const char *variant(const char *kernel, enum dtype dtype)
{
    size_t n = strlen(kernel);
    for (uint32_t i = 0; i < vk_n_shaders; i++) {
        const char *name = vk_shaders[i].name;
        if (strncmp(name, kernel, n) == 0 && name[n] == '_' &&
            strcmp(name + n + 1, dtype_name(dtype)) == 0) {
            return name;
        }
    }
    assert(!"no shader for this type");
    return NULL;
}

static void plan_shader(struct vk_plan *plan, const char *shader, uint32_t group_size)
{
    *plan = (struct vk_plan){.shader = shader, .groups = {1, 1, 1}};
    plan->constants[plan->n_constants++] = group_size;
}

static void plan_constant(struct vk_plan *plan, uint32_t value)
{
    assert(plan->n_constants < VK_MAX_CONSTANTS);
    plan->constants[plan->n_constants++] = value;
}

/* The largest power of two within the device's limits and `wanted`, a power of two. */
static uint32_t group_size(const struct vk_caps *caps, uint32_t wanted)
{
    uint32_t limit = smaller(caps->max_invocations, caps->max_group_size_x);
    while (wanted > limit) {
        wanted /= 2;
    }
    return wanted;
}

/* Work-groups x, y, z. */
static void plan_groups(struct vk_plan *plan, const struct vk_caps *caps, uint32_t x, uint32_t y,
                        uint32_t z)
{
    assert(x <= caps->max_groups[0] && y <= caps->max_groups[1] && z <= caps->max_groups[2]);
    plan->groups[0] = x;
    plan->groups[1] = y;
    plan->groups[2] = z;
}

/* A long row of work-groups, folded into two dimensions that start at `dimension`. */
static void plan_fold(struct vk_plan *plan, const struct vk_caps *caps, uint32_t dimension,
                      uint32_t count)
{
    uint32_t folds = divide_up(count, caps->max_groups[dimension]);
    assert(folds <= caps->max_groups[dimension + 1]);
    plan->groups[dimension] = divide_up(count, folds);
    plan->groups[dimension + 1] = folds;
}

/* One invocation an item, tokens along y. */
static void plan_items(struct vk_plan *plan, const struct vk_caps *caps, const char *shader,
                       uint32_t wanted, uint32_t items, uint32_t tokens)
{
    uint32_t size = group_size(caps, wanted);
    plan_shader(plan, shader, size);
    plan_groups(plan, caps, divide_up(items, size), tokens, 1);
}

static void plan_embed(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    plan_items(plan, caps, variant("embed", op->dtype), 64, divide_up(op->args.embed.dim, 8),
               op->max_tokens);
}

static void plan_rms_norm(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    const struct rms_norm_args *args = &op->args.rms_norm;
    plan_shader(plan, "rms_norm", group_size(caps, args->dim <= 256 ? 64 : 256));
    plan_groups(plan, caps, args->rows_per_token, args->last_only ? 1 : op->max_tokens, 1);
}

static void plan_add(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    plan_items(plan, caps, "add", 256, op->args.add.dim, op->max_tokens);
}

static void plan_rope(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    const struct rope_args *args = &op->args.rope;
    assert(args->n_rotated % 2 == 0 && args->n_rotated <= args->head_dim);
    uint32_t items = args->heads * (args->head_dim - args->n_rotated / 2);
    plan_items(plan, caps, "rope", 64, items, op->max_tokens);
}

static void plan_kv_store(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    const struct kv_store_args *args = &op->args.kv_store;
    uint32_t unit = op->dtype == DTYPE_Q8_0 ? 32 : 2;
    (void)unit; /* an NDEBUG build has no assert */
    assert(args->k_dim % unit == 0 && args->v_dim % unit == 0);
    uint32_t dim = args->k_dim > args->v_dim ? args->k_dim : args->v_dim;
    plan_items(plan, caps, variant("kv_store", op->dtype), 64, divide_up(dim, 2), op->max_tokens);
}

/* A product with few vectors: of which kernel, how many at a time, and whether they are normed. */
struct teams {
    const char *kernel;
    uint32_t rows, cols;
    uint32_t columns;
    bool normed;
};

/* Teams of lanes (shaders/lib/matvec.glsl): so many that each has about two pieces of a row. */
static void plan_teams(struct vk_plan *plan, const struct vk_caps *caps, enum dtype dtype,
                       const struct teams *teams)
{
    uint32_t piece = dtype == DTYPE_F32                          ? 4
                     : dtype == DTYPE_F16 || dtype == DTYPE_BF16 ? 8
                     : dtype == DTYPE_Q8_0                       ? 16
                                                                 : 32; /* 4 PIECE_FOURS */
    uint32_t lanes = 1, group = caps->tuning.matvec_group;
    uint32_t most = smaller(caps->tuning.matvec_lanes, group);
    while (lanes < most && lanes * 2 * 2 * piece <= teams->cols) {
        lanes *= 2;
    }
    plan_shader(plan, variant(teams->kernel, dtype), group);
    plan_constant(plan, lanes);
    plan_constant(plan, teams->columns);
    plan_constant(plan, teams->normed);
    uint32_t rows_per_group = group / lanes * 2;
    plan_fold(plan, caps, 0, divide_up(teams->rows, rows_per_group));
}

/* Vectors at a time where there are at most OP_FEW_TOKENS. */
static uint32_t columns_for(uint32_t tokens)
{
    uint32_t columns = 1;
    while (columns < tokens) {
        columns *= 2;
    }
    return columns;
}

/* Tiles of the product with many vectors (shaders/lib/tile.glsl). */
static void plan_tiles(struct vk_plan *plan, const struct vk_caps *caps, const char *kernel,
                       enum dtype dtype, uint32_t tile_tokens, uint32_t rows, uint32_t tiles)
{
    plan_shader(plan, variant(kernel, dtype), tile_tokens * 2);
    plan_constant(plan, tile_tokens);
    plan_groups(plan, caps, divide_up(rows, 64), tiles, 1);
}

/* The smallest tile that holds them all, or the largest there is. */
static uint32_t tile_tokens(const struct vk_caps *caps, uint32_t max_tokens)
{
    uint32_t tokens = 16;
    while (tokens < max_tokens && tokens < caps->tuning.matmul_tokens) {
        tokens *= 2;
    }
    return tokens;
}

static void plan_matmul(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    const struct matmul_args *args = &op->args.matmul;
    uint32_t vectors = args->one_row ? 1 : op->max_tokens;
    if (vectors <= OP_FEW_TOKENS) {
        plan_teams(plan, caps, op->dtype,
                   &(struct teams){"matvec", args->rows, args->cols, columns_for(vectors),
                                   args->norm != 0});
        return;
    }
    assert(!args->norm);
    uint32_t tile = tile_tokens(caps, vectors);
    plan_tiles(plan, caps, "matmul", op->dtype, tile, args->rows, divide_up(vectors, tile));
}

/* As matmul, with the heads along z. */
static void plan_head_matmul(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    const struct head_matmul_args *args = &op->args.head_matmul;
    assert(args->heads <= caps->max_groups[2]);
    if (op->max_tokens <= OP_FEW_TOKENS) {
        plan_teams(plan, caps, op->dtype,
                   &(struct teams){"head_matvec", args->rows, args->cols,
                                   columns_for(op->max_tokens), false});
    } else {
        uint32_t tile = tile_tokens(caps, op->max_tokens);
        plan_tiles(plan, caps, "head_matmul", op->dtype, tile, args->rows,
                   divide_up(op->max_tokens, tile));
    }
    plan->groups[2] = args->heads;
}

/* For one token, a chosen expert along z; for few, the chosen experts, with their pairs; for many,
 * tiles of pairs sorted by expert: at most as many as full tiles, and one begun by each expert. */
static void plan_experts(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan,
                         const char *const kernels[2], struct teams teams, bool grouped,
                         const uint32_t experts[2])
{
    uint32_t n_experts = experts[0], top_k = experts[1], pairs = op->max_tokens * top_k;
    assert(top_k <= ROUTER_MAX_TOP_K && n_experts <= ROUTER_MAX_EXPERTS);
    assert(grouped || op->max_tokens == 1);
    if (op->max_tokens <= caps->tuning.expert_few) {
        teams.kernel = kernels[0];
        teams.columns = smaller(columns_for(op->max_tokens), 4);
        plan_teams(plan, caps, op->dtype, &teams);
        plan_constant(plan, grouped);
        plan->groups[2] = grouped ? smaller(n_experts, pairs) : top_k;
        return;
    }
    assert(!teams.normed);
    uint32_t tile = pairs / n_experts <= 16 ? 16 : 32;
    plan_tiles(plan, caps, kernels[1], op->dtype, tile, teams.rows,
               divide_up(pairs, tile) + smaller(n_experts, pairs));
}

static void plan_expert_gate_up(const struct op *op, const struct vk_caps *caps,
                                struct vk_plan *plan)
{
    const struct expert_gate_up_args *args = &op->args.expert_gate_up;
    assert(args->activation == ACTIVATION_SILU || args->activation == ACTIVATION_SWIGLU_CLAMPED);
    assert(!args->gate_bias == !args->up_bias);
    plan_experts(
        op, caps, plan, (const char *const[2]){"expert_gate_up_vec", "expert_gate_up_mat"},
        (struct teams){.rows = args->ffn * 2, .cols = args->hidden, .normed = args->norm != 0},
        args->offsets != 0, (uint32_t[2]){args->n_experts, args->top_k});
}

static void plan_expert_down(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    const struct expert_down_args *args = &op->args.expert_down;
    plan_experts(op, caps, plan, (const char *const[2]){"expert_down_vec", "expert_down_mat"},
                 (struct teams){.rows = args->hidden, .cols = args->ffn}, args->offsets != 0,
                 (uint32_t[2]){args->n_experts, args->top_k});
}

/* For one token. The lanes of a team share the rows of all slots. */
static void plan_expert_down_sum(const struct op *op, const struct vk_caps *caps,
                                 struct vk_plan *plan)
{
    const struct expert_down_sum_args *args = &op->args.expert_down_sum;
    assert(op->max_tokens == 1);
    assert(args->top_k <= ROUTER_MAX_TOP_K && args->n_experts <= ROUTER_MAX_EXPERTS);
    plan_teams(plan, caps, op->dtype,
               &(struct teams){"expert_down_sum", args->hidden, args->ffn * args->top_k, 1, false});
}

/* k and v of one head a work-group, or of two where words of a cache of q8_0, which have the scales
 * of 64 elements, would belong to two heads. */
static void plan_attention_prepare(const struct op *op, const struct vk_caps *caps,
                                   struct vk_plan *plan)
{
    const struct attention_prepare_args *args = &op->args.attention_prepare;
    assert(args->n_rotated % 2 == 0 && args->n_rotated <= args->head_dim);
    assert(args->head_dim % (op->dtype == DTYPE_Q8_0 ? 32 : 2) == 0 && args->head_dim <= 1024);
    uint32_t store_heads = op->dtype == DTYPE_Q8_0 && args->head_dim % 64 != 0 ? 2 : 1;
    plan_shader(plan, variant("attention_prepare", op->dtype), 64);
    plan_constant(plan, args->head_dim);
    plan_constant(plan, store_heads);
    plan_groups(plan, caps, args->heads + divide_up(args->kv_heads, store_heads), op->max_tokens,
                1);
}

static void plan_attention_tiles(const struct op *op, const struct vk_caps *caps,
                                 const char *kernel, const struct vk_attention_shape *shape,
                                 struct vk_plan *plan)
{
    struct vk_attention_cut cut = vk_attention_cut_of(shape, caps);
    plan_shader(plan, variant(kernel, op->dtype), VK_ATTENTION_INVOCATIONS);
    plan_constant(plan, shape->key_dims[0]);
    plan_constant(plan, cut.queries);
    plan_constant(plan, cut.rows);
    plan_constant(plan, cut.piece_fours);
    plan_constant(plan, cut.row_scores);
    plan_constant(plan, cut.value_queries);
    if (shape->key_dims[1] > 0) {
        plan_constant(plan, shape->key_dims[1]);
    }
    plan->groups[0] = shape->kv_heads * cut.splits;
    assert(plan->groups[0] <= caps->max_groups[0]);
    plan_fold(plan, caps, 1, cut.tiles);
}

static void plan_attention(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    const struct attention_args *args = &op->args.attention;
    assert(args->head_dim <= 256 && args->heads % args->kv_heads == 0);
    assert(op->dtype != DTYPE_Q8_0 || args->head_dim % 32 == 0);
    struct vk_attention_shape shape = {
        .kv_heads = args->kv_heads,
        .queries = op->max_tokens * (args->heads / args->kv_heads),
        .key_dims = {args->head_dim},
        .value_dim = args->head_dim,
    };
    plan_attention_tiles(op, caps, "attention", &shape, plan);
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
        .key_dims = {args->rank, args->rope_dim},
        .value_dim = args->rank,
    };
    plan_attention_tiles(op, caps, "attention_latent", &shape, plan);
}

static void plan_router(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    op_assert_router(&op->args.router);
    plan_shader(plan, "router", group_size(caps, 256));
    plan_groups(plan, caps, 1, op->max_tokens, 1);
}

static void plan_expert_group(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    plan_shader(plan, "expert_group", group_size(caps, 256));
    plan_groups(plan, caps, op->args.expert_group.n_experts, 1, 1);
}

static void plan_expert_combine(const struct op *op, const struct vk_caps *caps,
                                struct vk_plan *plan)
{
    plan_items(plan, caps, "expert_combine", 256, op->args.expert_combine.hidden, op->max_tokens);
}

static void plan_argmax(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    plan_shader(plan, "argmax", group_size(caps, 256));
}

static void plan_observe(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    plan_items(plan, caps, "observe", 64, op->args.observe.dim, op->args.observe.n_groups);
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

/* An op with the sizes of a common model (Qwen3-30B-A3B), for compiling without a model. */
static struct op representative_op(enum op_kind kind, enum dtype dtype, uint32_t max_tokens)
{
    struct op op = {.kind = kind, .dtype = dtype, .max_tokens = max_tokens};
    bool many = max_tokens > 1, few = max_tokens <= OP_FEW_TOKENS;
    switch (kind) {
    case OP_embed:
        op.args.embed.rows = 151936, op.args.embed.dim = 2048;
        break;
    case OP_rms_norm:
        op.args.rms_norm.rows_per_token = 1, op.args.rms_norm.dim = 2048;
        break;
    case OP_matmul:
        op.args.matmul.rows = 4096, op.args.matmul.cols = 2048, op.args.matmul.norm = few;
        break;
    case OP_add:
        op.args.add.dim = 2048;
        break;
    case OP_rope:
        op.args.rope = (struct rope_args){.heads = 32, .head_dim = 128, .n_rotated = 128};
        break;
    case OP_kv_store:
        op.args.kv_store.k_dim = op.args.kv_store.v_dim = 512;
        break;
    case OP_attention_prepare:
        op.args.attention_prepare = (struct attention_prepare_args){
            .heads = 32, .kv_heads = 4, .head_dim = 128, .n_rotated = 128};
        break;
    case OP_attention:
        op.args.attention = (struct attention_args){.heads = 32, .kv_heads = 4, .head_dim = 128};
        break;
    case OP_head_matmul: /* this and the next as in DeepSeek-V3 */
        op.args.head_matmul = (struct head_matmul_args){.heads = 128, .rows = 512, .cols = 128};
        break;
    case OP_attention_latent:
        op.args.attention_latent =
            (struct attention_latent_args){.heads = 128, .rank = 512, .rope_dim = 64};
        break;
    case OP_router:
        op.args.router = (struct router_args){.n_experts = 128, .top_k = 8};
        break;
    case OP_expert_group:
        op.args.expert_group.n_experts = 128;
        break;
    case OP_expert_gate_up:
        op.args.expert_gate_up = (struct expert_gate_up_args){
            .norm = few, .offsets = many, .hidden = 2048, .ffn = 768, .n_experts = 128, .top_k = 8};
        break;
    case OP_expert_down:
        op.args.expert_down = (struct expert_down_args){
            .offsets = many, .hidden = 2048, .ffn = 768, .n_experts = 128, .top_k = 8};
        break;
    case OP_expert_down_sum:
        op.max_tokens = 1;
        op.args.expert_down_sum =
            (struct expert_down_sum_args){.hidden = 2048, .ffn = 768, .n_experts = 128, .top_k = 8};
        break;
    case OP_expert_combine:
        op.args.expert_combine.hidden = 2048;
        break;
    case OP_observe:
        op.args.observe = (struct observe_args){.dim = 2048, .n_groups = 128, .top_k = 8};
        break;
    case OP_argmax:
    case OP_COUNT:
        break;
    }
    return op;
}

static bool same_pipeline(const struct vk_plan *a, const struct vk_plan *b)
{
    return strcmp(a->shader, b->shader) == 0 && a->n_constants == b->n_constants &&
           memcmp(a->constants, b->constants, a->n_constants * sizeof(*a->constants)) == 0;
}

uint32_t vk_plan_each(const struct vk_caps *caps,
                      void (*fn)(void *context, const struct vk_plan *plan), void *context)
{
    static const uint32_t counts[] = {1, OP_FEW_TOKENS, 512};
    struct vk_plan plans[512];
    uint32_t n = 0;
    for (uint32_t kind = 0; kind < OP_COUNT; kind++) {
        bool of_cache = kind == OP_kv_store || kind == OP_attention_prepare ||
                        kind == OP_attention || kind == OP_attention_latent;
        for (uint32_t i = 0; i < dtype_count(); i++) {
            enum dtype dtype = dtype_at(i)->dtype;
            if (of_cache && dtype != DTYPE_F32 && dtype != DTYPE_F16 && dtype != DTYPE_Q8_0) {
                continue;
            }
            for (uint32_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
                struct op op = representative_op(kind, dtype, counts[c]);
                assert(n < sizeof(plans) / sizeof(plans[0]));
                plans[n] = (struct vk_plan){0};
                vk_plan_op(&op, caps, &plans[n]);
                uint32_t same = 0;
                while (!same_pipeline(&plans[same], &plans[n])) {
                    same++;
                }
                if (same == n) {
                    fn(context, &plans[n++]);
                }
            }
        }
    }
    return n;
}
