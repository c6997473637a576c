/* How attention is cut up for a device (shaders/lib/attention.glsl says what the numbers mean). */
#include "engine/vk/vk_attention.h"

#include <assert.h>
#include <stdbool.h>

#include "shaders/op_args.h"

/* Of shared memory, even where there is more: two work-groups share a compute unit. */
#define MOST_SHARED_BYTES 32768
/* Fours of values that an invocation keeps in registers. */
#define VALUE_REGISTERS 8

/* The first that fits is taken, that is the one with most queries. The last fits always, up to
 * ATTENTION_LATENT_MAX_RANK and _ROPE and within the 16 KiB that every device has. */
static const struct {
    uint32_t queries, rows, piece_fours, row_scores;
} cuts[] = {
    {32, 64, 4, 4}, {32, 32, 8, 2}, {16, 64, 8, 2}, {16, 32, 8, 1}, {8, 64, 8, 1},
    {8, 32, 8, 1},  {4, 128, 4, 1}, {4, 64, 4, 1},  {4, 32, 4, 1},  {2, 128, 4, 1},
    {2, 64, 4, 1},  {1, 128, 4, 1}, {1, 128, 2, 1},
};
#define N_CUTS (sizeof(cuts) / sizeof(cuts[0]))

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t divide_up(uint32_t a, uint32_t b)
{
    return a / b + (a % b != 0);
}

static uint32_t shared_bytes(const struct vk_attention_shape *shape,
                             const struct vk_attention_cut *cut)
{
    uint32_t key_fours = divide_up(shape->key_dims[0], 4) + divide_up(shape->key_dims[1], 4);
    uint32_t weight_stride = cut->queries + (cut->queries >= 4 ? 4 : 1);
    return 16 * (cut->queries * key_fours + cut->rows * (cut->piece_fours + 1)) +
           4 * cut->rows * weight_stride + 4 * VK_ATTENTION_INVOCATIONS + 8 * cut->queries + 16;
}

/* No query may be idle for want of queries, every value must have an invocation, and shared memory
 * must do. */
static bool fits(const struct vk_attention_shape *shape, const struct vk_caps *caps,
                 const struct vk_attention_cut *cut)
{
    uint32_t fours = divide_up(shape->value_dim, 4);
    uint32_t query_shares = fours < VK_ATTENTION_INVOCATIONS ? VK_ATTENTION_INVOCATIONS / fours : 1;
    return cut->queries < 2 * shape->queries && cut->queries <= cut->value_queries * query_shares &&
           shared_bytes(shape, cut) <= smaller(caps->shared_bytes, MOST_SHARED_BYTES);
}

/* Tiles, and splits of the rows where there are too few of these to fill the device. */
static void share_out(const struct vk_attention_shape *shape, const struct vk_caps *caps,
                      uint32_t most_splits, struct vk_attention_cut *cut)
{
    cut->tiles = divide_up(shape->queries, cut->queries);
    cut->splits = 1;
    uint32_t tiles = cut->tiles * shape->kv_heads;
    while (tiles * cut->splits * 2 <= caps->tuning.attention_groups &&
           cut->splits * 2 <= most_splits &&
           tiles * cut->splits * 2 * cut->queries <= ATTENTION_MAX_PARTS) {
        cut->splits *= 2;
    }
    assert(cut->splits == 1 || tiles <= ATTENTION_MAX_TILES);
}

struct vk_attention_cut vk_attention_cut_of(const struct vk_attention_shape *shape,
                                            const struct vk_caps *caps)
{
    uint32_t parts = divide_up(divide_up(shape->value_dim, 4), VK_ATTENTION_INVOCATIONS);
    struct vk_attention_cut cut = {0};
    for (uint32_t i = 0; i < N_CUTS; i++) {
        cut = (struct vk_attention_cut){
            .queries = cuts[i].queries,
            .rows = cuts[i].rows,
            .piece_fours = cuts[i].piece_fours,
            .row_scores = cuts[i].row_scores,
            .value_queries = smaller(cuts[i].queries, VALUE_REGISTERS / parts),
        };
        if (fits(shape, caps, &cut)) {
            break;
        }
    }
    assert(fits(shape, caps, &cut));
    share_out(shape, caps, cut.rows, &cut);
    return cut;
}

/* Lavapipe leaves loops after 65535 rounds of an invocation, whichever they were. One walks over
 * rows, in the other it adds up splits. */
#define MOST_ROUNDS 32768
#define SOFTWARE_SPLITS 64
/* Most fours of queries and results that a lane keeps, and most that one round of the loop over
 * rows multiplies, all of it unrolled: for more the driver compiles for seconds. */
#define SOFTWARE_REGISTERS 160
#define SOFTWARE_FOURS 320
#define SOFTWARE_ROWS 4 /* of a round, if these allow it */

struct vk_attention_cut vk_attention_cut_software(const struct vk_attention_shape *shape,
                                                  const struct vk_caps *caps)
{
    struct vk_attention_cut cut = {.queries = 1, .rows = SOFTWARE_ROWS};
    uint32_t fours = divide_up(shape->value_dim, 4 * VK_ATTENTION_LANES);
    for (uint32_t i = 0; i < 2; i++) {
        fours += divide_up(shape->key_dims[i], 4 * VK_ATTENTION_LANES);
    }
    while (cut.queries < VK_ATTENTION_LANES && cut.queries < shape->queries &&
           cut.queries * 2 * fours <= SOFTWARE_REGISTERS) {
        cut.queries *= 2;
    }
    while (cut.rows > 1 && cut.queries * cut.rows * fours > SOFTWARE_FOURS) {
        cut.rows /= 2;
    }
    while (shape->capacity / cut.rows > MOST_ROUNDS) {
        cut.rows *= 2;
    }
    share_out(shape, caps, SOFTWARE_SPLITS, &cut);
    return cut;
}
