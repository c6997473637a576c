/* Index of the largest; ties: the lowest index; NaN only if there is nothing else.
 *
 * There are as many logits as tokens in the vocabulary, and one thread looks at them while the
 * others wait: so the largest of a block is found first, lane by lane as vector instructions do,
 * and a block is looked through only if it has a larger one than all before.
 */
#include <math.h>

#include "engine/cpu/cpu_internal.h"

#define LANES 16
#define BLOCK (16 * LANES)

/* The largest of BLOCK values; no NaN, -INFINITY if there is nothing else. */
static float block_largest(const float *x)
{
    float largest[LANES];
    for (uint32_t lane = 0; lane < LANES; lane++) {
        largest[lane] = -INFINITY;
    }
    for (uint32_t i = 0; i < BLOCK; i += LANES) {
        for (uint32_t lane = 0; lane < LANES; lane++) {
            largest[lane] = x[i + lane] > largest[lane] ? x[i + lane] : largest[lane];
        }
    }
    for (uint32_t lane = 1; lane < LANES; lane++) {
        largest[0] = largest[lane] > largest[0] ? largest[lane] : largest[0];
    }
    return largest[0];
}

/* The best of x[0..dim) from [first, end) and `best`. */
static uint32_t better(const float *x, uint32_t first, uint32_t end, uint32_t best)
{
    for (uint32_t i = first; i < end; i++) {
        best = x[i] > x[best] || (isnan(x[best]) && !isnan(x[i])) ? i : best;
    }
    return best;
}

void cpu_argmax(const struct cpu_run *run, const struct op *op)
{
    const struct argmax_args *args = &op->args.argmax;
    const float *x = cpu_pointer(args->x);
    uint32_t best = 0, first = 0;
    for (; args->dim - first >= BLOCK; first += BLOCK) {
        if (isnan(x[best]) || block_largest(x + first) > x[best]) {
            best = better(x, first, first + BLOCK, best);
        }
    }
    *(uint32_t *)cpu_pointer(args->id) = better(x, first, args->dim, best);
}

uint64_t cpu_argmax_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
