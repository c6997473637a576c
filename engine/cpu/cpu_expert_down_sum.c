/* y[t] = residual[t] + sum over slots, in order, of weight * (down h[pair] + bias): every row of y
 * is made whole by one thread, so that the sum is the same every time. */
#include "engine/cpu/cpu_item.h"

/* Rows of an item: of every slot's expert a stretch long enough that reading it is fast (64 rows of
 * 768 columns are read a sixth faster than 32), as long as many threads still share them evenly. */
#define ITEM_ROWS_MIN 32
#define ITEM_ROWS_MAX 64
#define ITEMS 32

struct down_sum_share {
    const struct expert_down_sum_args *args;
    struct cpu_vectors h;
    enum dtype dtype;
    uint64_t n;
};

static_assert(sizeof(struct down_sum_share) <= CPU_SHARE_CONTEXT_BYTES,
              "a share's context is small");

/* The down matrix of the pair's expert; planes[0] is NULL if it is not here. */
static struct cpu_matrix matrix_of(const struct down_sum_share *share, uint64_t pair)
{
    const struct expert_down_sum_args *args = share->args;
    uint32_t expert = ((const uint32_t *)cpu_pointer(args->ids))[pair];
    assert(expert < args->n_experts);
    uint64_t slab = ((const uint64_t *)cpu_pointer(args->slabs))[expert];
    return slab ? cpu_matrix_of(share->dtype, cpu_pointer(slab + args->down_offset), args->hidden,
                                args->ffn)
                : (struct cpu_matrix){0};
}

static uint64_t item_rows(const struct expert_down_sum_args *args)
{
    uint64_t rows = args->hidden / ITEMS / 4 * 4;
    return rows < ITEM_ROWS_MIN ? ITEM_ROWS_MIN : rows > ITEM_ROWS_MAX ? ITEM_ROWS_MAX : rows;
}

static uint64_t down_sum_cost(const void *context, uint64_t group)
{
    return 1; /* every item costs the same */
}

/* What the pair's expert adds to rows [first, end) of its y. */
static void add_pair(const struct cpu_level *level, const struct down_sum_share *share,
                     uint64_t pair, const struct cpu_matrix *matrix, uint64_t first, uint64_t end,
                     float *sums, const struct cpu_item_memory *memory)
{
    const struct expert_down_sum_args *args = share->args;
    const uint8_t *h = share->h.first + pair * share->h.stride;
    cpu_item_multiply(level, matrix, first, end, &h, 1, memory);
    uint32_t expert = ((const uint32_t *)cpu_pointer(args->ids))[pair];
    float weight = ((const float *)cpu_pointer(args->weights))[pair];
    const float *bias = cpu_pointer(args->bias);
    for (uint64_t row = first; row < end; row++) {
        float part = memory->products[row - first];
        part += bias ? bias[(uint64_t)expert * args->hidden + row] : 0;
        sums[row - first] += weight * part;
    }
}

static void down_sum_item(const struct cpu_level *level, const void *context, uint64_t group,
                          uint64_t block, const struct cpu_item_memory *memory)
{
    const struct down_sum_share *share = context;
    const struct expert_down_sum_args *args = share->args;
    const float *residual = cpu_pointer(args->residual);
    float *y = cpu_pointer(args->y);
    uint64_t first = block * item_rows(args), end = first + item_rows(args);
    end = end < args->hidden ? end : args->hidden;
    uint64_t n_pairs = share->n * args->top_k;
    struct cpu_matrix next = matrix_of(share, 0);
    for (uint64_t t = 0; t < share->n; t++) {
        float sums[ITEM_ROWS_MAX] = {0};
        for (uint64_t slot = 0; slot < args->top_k; slot++) {
            uint64_t pair = t * args->top_k + slot;
            struct cpu_matrix matrix = next;
            next = pair + 1 < n_pairs ? matrix_of(share, pair + 1) : (struct cpu_matrix){0};
            if (next.planes[0]) {
                cpu_item_prefetch(&next, first);
            }
            if (matrix.planes[0]) {
                add_pair(level, share, pair, &matrix, first, end, sums, memory);
            }
        }
        for (uint64_t row = first; row < end; row++) {
            uint64_t i = t * args->hidden + row;
            y[i] = residual[i] + sums[row - first];
        }
    }
}

static struct cpu_input input_of(const struct expert_down_sum_args *args, uint64_t n)
{
    return (struct cpu_input){.x = cpu_pointer(args->h), .n = n * args->top_k, .cols = args->ffn};
}

void cpu_expert_down_sum(const struct cpu_run *run, const struct op *op)
{
    const struct expert_down_sum_args *args = &op->args.expert_down_sum;
    struct down_sum_share share = {
        .args = args,
        .dtype = op->dtype,
        .n = cpu_step(op, args->step)->n_tokens,
    };
    struct cpu_input input = input_of(args, share.n);
    share.h =
        cpu_phase_prepare(run->phase, cpu_dot_of(run->level, op->dtype), &input, run->scratch);
    struct cpu_share items = {
        .n_groups = 1,
        .n_blocks = (args->hidden + item_rows(args) - 1) / item_rows(args),
        .cost = down_sum_cost,
        .run = down_sum_item,
    };
    cpu_phase_add(run->phase, &items, &share, sizeof(share));
}

uint64_t cpu_expert_down_sum_scratch(const struct cpu_level *level, const struct op *op)
{
    struct cpu_input input = input_of(&op->args.expert_down_sum, op->max_tokens);
    return cpu_prepared_bytes(cpu_dot_of(level, op->dtype), &input);
}
