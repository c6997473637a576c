/* Which shader runs each op, with which specialisation constants, on how many work-groups.
 *
 * One function an op, found by its name from OPS. What an invocation does is told at the head of
 * each shader; here are only the sizes. They are chosen for GPUs with 32 or 64 invocations a
 * subgroup and hold on every device: at most 128 invocations where 256 are not allowed.
 */
#include "engine/vk/vk_ops.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "engine/vk/vk_attention.h"
#include "engine/vk/vk_matrix.h"
#include "shaders/vk_shader_table.h"

#define TIER_NONE 0u
#define X(tier, name) TIER_##tier = 1u << VK_TIER_##tier,
enum { VK_TIERS(X) };
#undef X
#define X(name, tier) {#name, spirv_##name, sizeof(spirv_##name), TIER_##tier},
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

/* The name in one of two tables that is "<kernel>_<type><suffix>", or NULL. */
static const char *find_in(const struct vk_shader *shaders, uint32_t n_shaders, const char *kernel,
                           enum dtype dtype, const char *suffix)
{
    size_t n = strlen(kernel), n_type = strlen(dtype_name(dtype));
    for (uint32_t i = 0; i < n_shaders; i++) {
        const char *name = shaders[i].name;
        if (strncmp(name, kernel, n) == 0 && name[n] == '_' &&
            strncmp(name + n + 1, dtype_name(dtype), n_type) == 0 &&
            strcmp(name + n + 1 + n_type, suffix) == 0) {
            return name;
        }
    }
    return NULL;
}

static const char *find_variant(const char *kernel, enum dtype dtype, const char *suffix)
{
    return find_in(vk_shaders, vk_n_shaders, kernel, dtype, suffix);
}

static const char *find_archived(const char *kernel, enum dtype dtype, const char *suffix)
{
    uint32_t n;
    const struct vk_shader *shaders = vk_archive_shaders(&n);
    return find_in(shaders, n, kernel, dtype, suffix);
}

static const char *variant(const char *kernel, enum dtype dtype)
{
    const char *name = find_variant(kernel, dtype, "");
    assert(name && "no shader for this type");
    return name;
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

/* A product with few vectors. */
struct teams {
    const char *kernel;
    uint32_t rows, cols;
    uint32_t matrices; /* that share a row of the result, where these are more than 1 */
    uint32_t columns;  /* vectors at a time */
    bool normed;
    bool grouped; /* pairs of experts */
};

/* Teams of eight lanes and rows (shaders/lib/matvec_software.glsl), where they suit the device and
 * the product. */
static bool has_software_teams(const struct vk_caps *caps)
{
    return caps->tuning.matvec_rows >= 8 && caps->eight_lanes && caps->subgroup_arithmetic &&
           caps->int64;
}

/* Whether they multiply int8 with weights of block types. */
static bool software_teams_pack(const struct vk_caps *caps)
{
    return has_software_teams(caps) && caps->tuning.matvec_arithmetic >= 4;
}

static bool plan_software_teams(struct vk_plan *plan, const struct vk_caps *caps, enum dtype dtype,
                                const struct teams *teams)
{
    uint32_t group = caps->tuning.matvec_group;
    char kernel[64];
    if (!has_software_teams(caps) || teams->cols % 8 != 0) {
        return false;
    }
    snprintf(kernel, sizeof(kernel), "%s_software", teams->kernel);
    bool packed = software_teams_pack(caps) && dtype_info(dtype)->block_elements > 1;
    plan_shader(plan, variant(kernel, dtype), group);
    plan_constant(plan, packed);
    plan_constant(plan, teams->normed && !packed); /* a packed vector has been normed */
    plan_constant(plan, teams->columns > 1 || teams->grouped);
    plan->pack = packed ? VK_PACK_INT8 : VK_PACK_NONE;
    plan_fold(plan, caps, 0, divide_up(teams->rows, group));
    return true;
}

/* Teams of lanes (shaders/lib/matvec.glsl): so many that each has about two pieces of a row. */
static void plan_teams(struct vk_plan *plan, const struct vk_caps *caps, enum dtype dtype,
                       const struct teams *teams)
{
    if (plan_software_teams(plan, caps, dtype, teams)) {
        return;
    }
    uint32_t piece = dtype == DTYPE_F32                          ? 4
                     : dtype == DTYPE_F16 || dtype == DTYPE_BF16 ? 8
                     : dtype == DTYPE_Q8_0                       ? 16
                                                                 : 32; /* 4 PIECE_FOURS */
    uint32_t lanes = 1, group = caps->tuning.matvec_group;
    uint32_t most = smaller(caps->tuning.matvec_lanes, group);
    uint32_t cols = teams->cols * (teams->matrices > 1 ? teams->matrices : 1);
    while (lanes < most && lanes * 2 * 2 * piece <= cols) {
        lanes *= 2;
    }
    plan_shader(plan, variant(teams->kernel, dtype), group);
    plan_constant(plan, lanes);
    plan_constant(plan, teams->columns);
    plan_constant(plan, teams->normed);
    plan_constant(plan, teams->grouped);
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

/* The shaders of products with many vectors, by what the tuning allows at least, the fastest first;
 * the floor has no row. */
static const struct tile_tier {
    const char *name;    /* for people */
    uint32_t arithmetic; /* vk_tuning.matmul_arithmetic */
    enum vk_tier tier;
    const char *suffix;
    enum vk_pack_format pack;
} tile_tiers[] = {
    {"matrix", 8, VK_TIER_cooperative_matrix, "_cooperative_matrix", VK_PACK_FLOAT16},
    {"int8", 4, VK_TIER_integer_dot, "_integer_dot", VK_PACK_INT8},
    {"f16", 2, VK_TIER_float16, "_float16", VK_PACK_FLOAT16},
};

static bool is_allowed(const struct tile_tier *row, const struct vk_caps *caps)
{
    return caps->tuning.matmul_arithmetic >= row->arithmetic && vk_caps_has(caps, row->tier);
}

bool vk_plans_arithmetic(const char *name, uint32_t *arithmetic, enum vk_tier *tier)
{
    *arithmetic = 1;
    *tier = VK_N_TIERS;
    for (uint32_t i = 0; i < sizeof(tile_tiers) / sizeof(tile_tiers[0]); i++) {
        if (strcmp(name, tile_tiers[i].name) == 0) {
            *arithmetic = tile_tiers[i].arithmetic;
            *tier = tile_tiers[i].tier;
            return true;
        }
    }
    return strcmp(name, "f32") == 0;
}

/* Whether tiles are multiplied in the registers of eight lanes (shaders/lib/tile_eight_lanes.glsl),
 * in floats or int8. */
static bool has_eight_lanes(const struct vk_caps *caps)
{
    const uint32_t arithmetic = caps->tuning.matmul_arithmetic;
    return caps->tuning.matmul_lane_vectors >= 8 && (arithmetic == 1 || arithmetic == 4) &&
           caps->eight_lanes && caps->subgroup_arithmetic && caps->int64;
}

bool vk_plans_pack_one(const struct vk_caps *caps)
{
    return software_teams_pack(caps);
}

bool vk_plans_pack(const struct vk_caps *caps, enum vk_pack_format format)
{
    bool found = false;
    for (uint32_t i = 0; i < sizeof(tile_tiers) / sizeof(tile_tiers[0]); i++) {
        found |= tile_tiers[i].pack == format && is_allowed(&tile_tiers[i], caps);
    }
    found |= format == VK_PACK_INT8 && caps->tuning.matmul_arithmetic == 4 && has_eight_lanes(caps);
    return found;
}

/* Of a tier, the shader for the type; NULL: there is none, or not for tiles as small. */
static const char *tier_variant(const struct tile_tier *row, const struct vk_caps *caps,
                                const char *kernel, enum dtype dtype, uint32_t group)
{
    if (row->tier != VK_TIER_cooperative_matrix) {
        return find_variant(kernel, dtype, row->suffix);
    }
    /* Whole subgroups multiply. */
    return group % caps->matrix_subgroup == 0 ? find_archived(kernel, dtype, row->suffix) : NULL;
}

struct tile_choice {
    const char *shader;
    enum vk_pack_format pack;
    uint32_t matrix_subgroup; /* 0: no cooperative matrices */
    bool emulated;            /* these */
};

static struct tile_choice choose_eight_lanes(const struct vk_caps *caps, const char *kernel,
                                             enum dtype dtype)
{
    const char *int8 = find_variant(kernel, dtype, "_software_int8");
    if (int8 && caps->tuning.matmul_arithmetic == 4) {
        return (struct tile_choice){.shader = int8, .pack = VK_PACK_INT8};
    }
    return (struct tile_choice){.shader = find_variant(kernel, dtype, "_software")};
}

/* The shader that the device is fastest with, of those that there are for the type. */
static struct tile_choice choose_tile(const struct vk_caps *caps, const char *kernel,
                                      enum dtype dtype, uint32_t group, uint32_t cols)
{
    struct tile_choice choice = {.pack = VK_PACK_NONE};
    if (caps->emulated_matrices && caps->tuning.matmul_arithmetic >= 8) {
        choice = (struct tile_choice){find_variant(kernel, dtype, "_emulated"), VK_PACK_FLOAT16,
                                      VK_EMULATED_SUBGROUP, true};
    }
    if (!choice.shader && has_eight_lanes(caps) && cols % 32 == 0) {
        choice = choose_eight_lanes(caps, kernel, dtype);
    }
    for (uint32_t i = 0; !choice.shader && i < sizeof(tile_tiers) / sizeof(tile_tiers[0]); i++) {
        const struct tile_tier *row = &tile_tiers[i];
        if (is_allowed(row, caps)) {
            choice = (struct tile_choice){
                tier_variant(row, caps, kernel, dtype, group), row->pack,
                row->tier == VK_TIER_cooperative_matrix ? caps->matrix_subgroup : 0, false};
        }
    }
    if (!choice.shader) {
        choice = (struct tile_choice){.shader = variant(kernel, dtype)};
    }
    return choice;
}

/* Up to so many vectors teams of eight lanes and rows take one after the other: a tile of eight
 * lanes costs as much with few vectors as with eight. */
#define SOFTWARE_TEAM_VECTORS 4
#define SOFTWARE_EXPERT_TOKENS 32 /* at most where those are of experts */

/* Whether tiles multiply so few vectors, which only those of eight lanes do. They cannot norm:
 * their vectors must be packed, and then in what teams have, too. */
static bool tiles_take_few(const struct vk_caps *caps, const char *kernel, enum dtype dtype,
                           const struct teams *teams)
{
    if (teams->columns <= SOFTWARE_TEAM_VECTORS || !has_eight_lanes(caps) ||
        teams->cols % 32 != 0) {
        return false;
    }
    bool packed = choose_eight_lanes(caps, kernel, dtype).pack == VK_PACK_INT8;
    return packed ? software_teams_pack(caps) : !teams->normed;
}

static void plan_matrices(struct vk_plan *plan, const struct vk_matrix_shape *shape,
                          uint32_t tile_tokens, uint32_t subgroup)
{
    struct vk_matrix_share share =
        vk_matrix_share_tile(shape, tile_tokens, tile_tokens * 2 / subgroup);
    plan_constant(plan, shape->m);
    plan_constant(plan, shape->n);
    plan_constant(plan, shape->k);
    plan_constant(plan, share.down);
    plan_constant(plan, share.across);
}

/* Tiles of the product of a matrix [rows, cols] with many vectors (shaders/lib/tile.glsl). */
static void plan_tiles(struct vk_plan *plan, const struct vk_caps *caps, const char *kernel,
                       enum dtype dtype, uint32_t tile_tokens, const uint32_t matrix[2],
                       uint32_t tiles)
{
    struct tile_choice choice = choose_tile(caps, kernel, dtype, tile_tokens * 2, matrix[1]);
    plan_shader(plan, choice.shader, tile_tokens * 2);
    plan->pack = choice.pack;
    plan_constant(plan, tile_tokens);
    if (choice.matrix_subgroup) {
        plan_matrices(plan, &caps->matrix, tile_tokens, choice.matrix_subgroup);
        plan->subgroup = choice.emulated ? 0 : choice.matrix_subgroup;
    }
    plan_groups(plan, caps, divide_up(matrix[0], 64), tiles, 1);
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
    struct teams teams = {.kernel = "matvec",
                          .rows = args->rows,
                          .cols = args->cols,
                          .columns = columns_for(vectors),
                          .normed = args->norm != 0};
    assert(vectors <= OP_FEW_TOKENS || !args->norm);
    if (vectors <= OP_FEW_TOKENS && !tiles_take_few(caps, "matmul", op->dtype, &teams)) {
        plan_teams(plan, caps, op->dtype, &teams);
        return;
    }
    uint32_t tile = tile_tokens(caps, vectors);
    plan_tiles(plan, caps, "matmul", op->dtype, tile, (uint32_t[2]){args->rows, args->cols},
               divide_up(vectors, tile));
}

/* As matmul, with the heads along z. */
static void plan_head_matmul(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    const struct head_matmul_args *args = &op->args.head_matmul;
    assert(args->heads <= caps->max_groups[2]);
    struct teams teams = {.kernel = "head_matvec",
                          .rows = args->rows,
                          .cols = args->cols,
                          .columns = columns_for(op->max_tokens)};
    if (op->max_tokens <= OP_FEW_TOKENS &&
        !tiles_take_few(caps, "head_matmul", op->dtype, &teams)) {
        plan_teams(plan, caps, op->dtype, &teams);
    } else {
        uint32_t tile = tile_tokens(caps, op->max_tokens);
        plan_tiles(plan, caps, "head_matmul", op->dtype, tile,
                   (uint32_t[2]){args->rows, args->cols}, divide_up(op->max_tokens, tile));
    }
    plan->groups[2] = args->heads;
}

/* Whether the pairs of experts are few for tiles. */
static bool experts_have_few(const struct vk_caps *caps, uint32_t max_tokens, uint32_t n_experts,
                             uint32_t top_k)
{
    return max_tokens <= caps->tuning.expert_few ||
           (has_software_teams(caps) && has_eight_lanes(caps) &&
            caps->tuning.matvec_arithmetic <= caps->tuning.matmul_arithmetic &&
            max_tokens <= SOFTWARE_EXPERT_TOKENS &&
            max_tokens * top_k <= n_experts * SOFTWARE_TEAM_VECTORS);
}

/* For one token, a chosen expert along z; for few, the tiles that expert_group has cut, each pair's
 * vector by itself; for many, tiles as wide as those are. */
static void plan_experts(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan,
                         const char *const kernels[2], struct teams teams, bool grouped,
                         const uint32_t experts[2])
{
    uint32_t n_experts = experts[0], top_k = experts[1];
    uint32_t tiles = op_expert_tiles(op->max_tokens, top_k, n_experts);
    assert(top_k <= ROUTER_MAX_TOP_K && n_experts <= ROUTER_MAX_EXPERTS);
    assert(grouped || op->max_tokens == 1);
    if (experts_have_few(caps, op->max_tokens, n_experts, top_k)) {
        teams.kernel = kernels[0];
        teams.columns = smaller(columns_for(op->max_tokens), 4);
        teams.grouped = grouped;
        plan_teams(plan, caps, op->dtype, &teams);
        plan->groups[2] = grouped ? tiles : top_k;
        return;
    }
    assert(!teams.normed);
    uint32_t tile = op_expert_tile_pairs(op->max_tokens, top_k, n_experts);
    while (tile > 16 && tile / 2 >= op->max_tokens) { /* an expert has no more pairs */
        tile /= 2;
    }
    plan_tiles(plan, caps, kernels[1], op->dtype, tile, (uint32_t[2]){teams.rows, teams.cols},
               tiles);
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
        args->tiles != 0, (uint32_t[2]){args->n_experts, args->top_k});
}

static void plan_expert_down(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    const struct expert_down_args *args = &op->args.expert_down;
    plan_experts(op, caps, plan, (const char *const[2]){"expert_down_vec", "expert_down_mat"},
                 (struct teams){.rows = args->hidden, .cols = args->ffn}, args->tiles != 0,
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
               &(struct teams){.kernel = "expert_down_sum",
                               .rows = args->hidden,
                               .cols = args->ffn,
                               .matrices = args->top_k,
                               .columns = 1});
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

/* The two caches, and the pairs of q. */
static void plan_attention_latent_prepare(const struct op *op, const struct vk_caps *caps,
                                          struct vk_plan *plan)
{
    const struct attention_latent_prepare_args *args = &op->args.attention_latent_prepare;
    uint32_t unit = op->dtype == DTYPE_Q8_0 ? 32 : 2, size = group_size(caps, 128);
    (void)unit; /* an NDEBUG build has no assert */
    assert(args->rank % unit == 0 && args->rope_dim % unit == 0);
    assert(args->rank <= ATTENTION_LATENT_MAX_RANK && args->rope_dim <= ATTENTION_LATENT_MAX_ROPE);
    plan_shader(plan, variant("attention_latent_prepare", op->dtype), size);
    plan_constant(plan, args->rank);
    plan_constant(plan, args->rope_dim);
    plan_groups(plan, caps, 2 + divide_up(args->heads * (args->rope_dim / 2), size), op->max_tokens,
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
    op_assert_router(&op->args.router.rule);
    plan_shader(plan, "router", group_size(caps, 256));
    plan_groups(plan, caps, 1, op->max_tokens, 1);
}

/* For one token. */
static void plan_matmul_router(const struct op *op, const struct vk_caps *caps,
                               struct vk_plan *plan)
{
    const struct matmul_router_args *args = &op->args.matmul_router;
    assert(op->max_tokens == 1);
    op_assert_router(&args->rule);
    plan_teams(plan, caps, op->dtype,
               &(struct teams){.kernel = "matmul_router",
                               .rows = args->rule.n_experts,
                               .cols = args->cols,
                               .columns = 1,
                               .normed = args->norm != 0});
}

static void plan_expert_group(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    plan_shader(plan, "expert_group", group_size(caps, 256));
    plan_groups(plan, caps, op->args.expert_group.n_experts + 1, 1, 1);
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

static void plan_sample(const struct op *op, const struct vk_caps *caps, struct vk_plan *plan)
{
    assert(op->args.sample.vocabulary < 1u << 24);
    plan_shader(plan, "sample", group_size(caps, 256));
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

void vk_plan_pack(enum vk_pack_format format, const struct vk_caps *caps, struct vk_plan *plan)
{
    static const char *const shaders[VK_PACK_FORMATS] = {
        [VK_PACK_FLOAT16] = "pack_float16", [VK_PACK_INT8] = "pack_int8"};
    plan_shader(plan, shaders[format], group_size(caps, 64));
}
