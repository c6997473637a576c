#include "engine/vk/vk_product.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "engine/vk/vk_matrix.h"
#include "engine/vk/vk_plan.h"

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Whether they multiply int8 with weights of block types. */
static bool software_teams_pack(const struct vk_caps *caps)
{
    return vk_plan_eight_lanes(caps) && caps->tuning.matvec_arithmetic >= 4;
}

/* Steps of 256 columns in a block, at most `most`: so that blocks are as few as can be, and alike.
 */
static uint32_t software_steps(uint32_t cols, uint32_t most)
{
    uint32_t steps = vk_plan_divide_up(cols, 256);
    return vk_plan_divide_up(steps, vk_plan_divide_up(steps, most));
}

static bool plan_software_teams(struct vk_plan *plan, const struct vk_caps *caps, enum dtype dtype,
                                const struct vk_product *product, uint32_t columns, bool grouped)
{
    uint32_t rows_per_group = caps->tuning.matvec_group; /* 16 of eight invocations */
    char kernel[64];
    if (!vk_plan_eight_lanes(caps) || product->cols % 8 != 0) {
        return false;
    }
    snprintf(kernel, sizeof(kernel), "%s_software", product->teams);
    bool packed = software_teams_pack(caps) && dtype_info(dtype)->block_elements > 1;
    vk_plan_begin(plan, vk_plan_variant(kernel, dtype), rows_per_group / 2);
    vk_plan_constant(plan, packed);
    vk_plan_constant(plan, product->normed && !packed); /* a packed vector has been normed */
    vk_plan_constant(plan, columns > 1 || grouped);
    vk_plan_constant(plan, packed ? software_steps(product->cols, 8) : 1);
    plan->pack = packed ? VK_PACK_INT8 : VK_PACK_NONE;
    vk_plan_fold(plan, caps, 0, vk_plan_divide_up(product->rows, rows_per_group));
    return true;
}

/* Columns that an invocation unpacks at once, 4 PIECE_FOURS of the type, and how many of these it
 * loads at once for one vector (shaders/lib/matvec_one.glsl). */
static uint32_t piece_columns(enum dtype dtype, uint32_t columns)
{
    return dtype == DTYPE_F32                          ? 4
           : dtype == DTYPE_F16 || dtype == DTYPE_BF16 ? 8
           : dtype == DTYPE_Q8_0 && columns > 1        ? 16
                                                       : 32;
}
static uint32_t pieces_at_once(enum dtype dtype)
{
    return dtype_info(dtype)->block_elements > 1 ? 2 : 4;
}

/* What a tile of the vector has at most, and the shared memory for one and for the sums of teams.
 */
#define ONE_MOST_COLUMNS 2048
static uint32_t one_shared_bytes(enum dtype dtype, uint32_t lanes, uint32_t group)
{
    uint32_t columns = (lanes < 32 ? 32 : lanes) * pieces_at_once(dtype) * piece_columns(dtype, 1);
    return columns * 4 / 8 * 9 + group * 12 + 4;
}

/* So many lanes that each has about two pieces of a row; more where there would be few work-groups,
 * as long as each has a piece. */
static uint32_t team_lanes(const struct vk_caps *caps, enum dtype dtype,
                           const struct vk_product *product, uint32_t columns)
{
    uint32_t lanes = 1, group = caps->tuning.matvec_group, piece = piece_columns(dtype, columns);
    uint32_t most = smaller(caps->tuning.matvec_lanes, group);
    uint32_t cols = product->cols * (product->matrices > 1 ? product->matrices : 1);
    while (lanes < most && lanes * 2 * 2 * piece <= cols) {
        lanes *= 2;
    }
    most = smaller(group, ONE_MOST_COLUMNS / (piece * pieces_at_once(dtype)));
    while (columns == 1 && lanes * 2 <= most && lanes * 2 * piece <= cols &&
           vk_plan_divide_up(product->rows, group / lanes * 2) < caps->tuning.matvec_groups) {
        lanes *= 2;
    }
    return lanes;
}

/* Teams of lanes (shaders/lib/matvec.glsl). columns: vectors at a time; grouped: pairs of experts.
 */
static void plan_teams(struct vk_plan *plan, const struct vk_caps *caps, enum dtype dtype,
                       const struct vk_product *product, uint32_t columns, bool grouped)
{
    if (plan_software_teams(plan, caps, dtype, product, columns, grouped)) {
        return;
    }
    uint32_t group = caps->tuning.matvec_group;
    uint32_t lanes = team_lanes(caps, dtype, product, columns);
    if (columns == 1 &&
        one_shared_bytes(dtype, lanes, group) + product->shared_bytes > caps->shared_bytes) {
        columns = 2; /* of which there is one: several vectors are not kept in shared memory */
        lanes = team_lanes(caps, dtype, product, columns);
    }
    vk_plan_begin(plan, vk_plan_variant(product->teams, dtype), group);
    vk_plan_constant(plan, lanes);
    vk_plan_constant(plan, columns);
    vk_plan_constant(plan, product->normed);
    vk_plan_constant(plan, grouped);
    uint32_t rows_per_group = group / lanes * 2;
    vk_plan_fold(plan, caps, 0, vk_plan_divide_up(product->rows, rows_per_group));
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

bool vk_product_arithmetic(const char *name, uint32_t *arithmetic, enum vk_tier *tier)
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

bool vk_product_packs_one(const struct vk_caps *caps)
{
    return software_teams_pack(caps);
}

bool vk_product_packs(const struct vk_caps *caps, enum vk_pack_format format)
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
        return vk_plan_find(kernel, dtype, row->suffix);
    }
    /* Whole subgroups multiply. */
    return group % caps->matrix_subgroup == 0 ? vk_plan_find_archived(kernel, dtype, row->suffix)
                                              : NULL;
}

struct tile_choice {
    const char *shader;
    enum vk_pack_format pack;
    uint32_t matrix_subgroup; /* 0: no cooperative matrices */
    bool emulated;            /* these */
    bool teams;               /* of eight lanes that have all rows of a tile, 128 */
};

static struct tile_choice choose_eight_lanes(const struct vk_caps *caps, const char *kernel,
                                             enum dtype dtype)
{
    const char *int8 = vk_plan_find(kernel, dtype, "_software_int8");
    if (int8 && caps->tuning.matmul_arithmetic == 4) {
        return (struct tile_choice){.shader = int8, .pack = VK_PACK_INT8, .teams = true};
    }
    return (struct tile_choice){.shader = vk_plan_find(kernel, dtype, "_software")};
}

/* The shader that the device is fastest with, of those that there are for the type. */
static struct tile_choice choose_tile(const struct vk_caps *caps, const char *kernel,
                                      enum dtype dtype, uint32_t group, uint32_t cols)
{
    struct tile_choice choice = {.pack = VK_PACK_NONE};
    if (caps->emulated_matrices && caps->tuning.matmul_arithmetic >= 8) {
        choice = (struct tile_choice){.shader = vk_plan_find(kernel, dtype, "_emulated"),
                                      .pack = VK_PACK_FLOAT16,
                                      .matrix_subgroup = VK_EMULATED_SUBGROUP,
                                      .emulated = true};
    }
    if (!choice.shader && has_eight_lanes(caps) && cols % 32 == 0) {
        choice = choose_eight_lanes(caps, kernel, dtype);
    }
    for (uint32_t i = 0; !choice.shader && i < sizeof(tile_tiers) / sizeof(tile_tiers[0]); i++) {
        const struct tile_tier *row = &tile_tiers[i];
        if (is_allowed(row, caps)) {
            bool matrices = row->tier == VK_TIER_cooperative_matrix;
            choice = (struct tile_choice){.shader = tier_variant(row, caps, kernel, dtype, group),
                                          .pack = row->pack,
                                          .matrix_subgroup = matrices ? caps->matrix_subgroup : 0};
        }
    }
    if (!choice.shader) {
        choice = (struct tile_choice){.shader = vk_plan_variant(kernel, dtype)};
    }
    return choice;
}

/* Up to so many vectors teams of eight lanes and rows take one after the other: a tile of eight
 * lanes costs as much with few vectors as with eight. */
#define SOFTWARE_TEAM_VECTORS 2
#define SOFTWARE_EXPERT_TOKENS 32 /* at most where those are of experts */

/* Whether tiles multiply so few vectors, which only those of eight lanes do. They cannot norm:
 * their vectors must be packed, and then in what teams have, too. */
static bool tiles_take_few(const struct vk_caps *caps, enum dtype dtype,
                           const struct vk_product *product, uint32_t columns)
{
    if (columns <= SOFTWARE_TEAM_VECTORS || !has_eight_lanes(caps) || product->cols % 32 != 0) {
        return false;
    }
    bool packed = choose_eight_lanes(caps, product->tiles, dtype).pack == VK_PACK_INT8;
    return packed ? software_teams_pack(caps) : !product->normed;
}

static void plan_matrices(struct vk_plan *plan, const struct vk_matrix_shape *shape,
                          uint32_t tile_tokens, uint32_t subgroup)
{
    struct vk_matrix_share share =
        vk_matrix_share_tile(shape, tile_tokens, tile_tokens * 2 / subgroup);
    vk_plan_constant(plan, shape->m);
    vk_plan_constant(plan, shape->n);
    vk_plan_constant(plan, shape->k);
    vk_plan_constant(plan, share.down);
    vk_plan_constant(plan, share.across);
}

/* Tiles of the product of a matrix [rows, cols] with many vectors (shaders/lib/tile.glsl). */
static void plan_tiles(struct vk_plan *plan, const struct vk_caps *caps, enum dtype dtype,
                       const struct vk_product *product, uint32_t tile_tokens, uint32_t tiles)
{
    struct tile_choice choice =
        choose_tile(caps, product->tiles, dtype, tile_tokens * 2, product->cols);
    vk_plan_begin(plan, choice.shader, choice.teams ? tile_tokens : tile_tokens * 2);
    plan->pack = choice.pack;
    vk_plan_constant(plan, tile_tokens);
    if (choice.teams) {
        vk_plan_constant(plan, software_steps(product->cols, 4));
    }
    if (choice.matrix_subgroup) {
        plan_matrices(plan, &caps->matrix, tile_tokens, choice.matrix_subgroup);
        plan->subgroup = choice.emulated ? 0 : choice.matrix_subgroup;
    }
    uint32_t rows = choice.teams ? 128 : 64;
    vk_plan_groups(plan, caps, vk_plan_divide_up(product->rows, rows), tiles);
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

void vk_product_plan_one(const struct vk_product *product, enum dtype dtype,
                         const struct vk_caps *caps, struct vk_plan *plan)
{
    plan_teams(plan, caps, dtype, product, 1, false);
}

void vk_product_plan(const struct vk_product *product, enum dtype dtype, uint32_t vectors,
                     const struct vk_caps *caps, struct vk_plan *plan)
{
    uint32_t columns = columns_for(vectors);
    assert(vectors <= OP_FEW_TOKENS || !product->normed);
    if (vectors <= OP_FEW_TOKENS && !tiles_take_few(caps, dtype, product, columns)) {
        plan_teams(plan, caps, dtype, product, columns, false);
        return;
    }
    uint32_t tile = tile_tokens(caps, vectors);
    plan_tiles(plan, caps, dtype, product, tile, vk_plan_divide_up(vectors, tile));
}

/* Whether the pairs of experts are few for tiles. */
static bool experts_have_few(const struct vk_caps *caps, uint32_t max_tokens, uint32_t n_experts,
                             uint32_t top_k)
{
    return max_tokens <= caps->tuning.expert_few ||
           (vk_plan_eight_lanes(caps) && has_eight_lanes(caps) &&
            caps->tuning.matvec_arithmetic <= caps->tuning.matmul_arithmetic &&
            max_tokens <= SOFTWARE_EXPERT_TOKENS &&
            max_tokens * top_k <= n_experts * SOFTWARE_TEAM_VECTORS);
}

/* For one token, a chosen expert along z; for few, the tiles that expert_group has cut, each pair's
 * vector by itself; for many, tiles as wide as those are. */
void vk_product_plan_experts(const struct vk_product *product, const struct op *op,
                             const struct vk_product_experts *experts, const struct vk_caps *caps,
                             struct vk_plan *plan)
{
    uint32_t n_experts = experts->n_experts, top_k = experts->top_k;
    uint32_t tile = op->tile_pairs;
    uint32_t tiles = experts->grouped ? op_expert_tiles(op->max_tokens, top_k, n_experts, tile) : 0;
    assert(top_k <= ROUTER_MAX_TOP_K && n_experts <= ROUTER_MAX_EXPERTS);
    assert(experts->grouped || op->max_tokens == 1);
    if (experts_have_few(caps, op->max_tokens, n_experts, top_k)) {
        uint32_t columns = smaller(columns_for(op->max_tokens), 4);
        plan_teams(plan, caps, op->dtype, product, columns, experts->grouped);
        plan->groups[2] = experts->grouped ? tiles : top_k;
        return;
    }
    assert(!product->normed && (tile == 16 || tile == 32 || tile == 64));
    while (tile > 16 && tile / 2 >= op->max_tokens) { /* an expert has no more pairs */
        tile /= 2;
    }
    plan_tiles(plan, caps, op->dtype, product, tile, tiles);
}
