/* observe: with and without groups, one vector a token or a pair, sums that go on from earlier
 * runs; groups that no token took stay as they were. */
#include <stdlib.h>

#include "checks/check_ops.h"

struct shape {
    uint32_t dim, n_groups, top_k;
    bool grouped, x_per_pair;
};

/* The old sums: some at zero, as at the start, some not. Returns what will be added to. */
static float *make_state(struct check_case *c, uint32_t index, uint64_t rows, uint64_t cols)
{
    float *state = check_alloc(c, rows * cols);
    for (uint64_t i = 0; i < rows * cols; i++) {
        state[i] = (float)check_random_below(&c->random, 4);
    }
    check_output(c, index, DTYPE_F32, rows, cols, state, rows * cols * sizeof(float));
    return state;
}

/* Distinct groups a token; the last group is never among them if there is another one to choose. */
static uint32_t *make_ids(struct check_case *c, const struct shape *shape)
{
    uint32_t *ids = (uint32_t *)(void *)check_alloc(c, (uint64_t)c->n_tokens * shape->top_k);
    uint32_t n_chosen = shape->n_groups - (shape->n_groups > shape->top_k);
    for (uint32_t t = 0; t < c->n_tokens; t++) {
        uint32_t first = check_random_below(&c->random, n_chosen);
        for (uint32_t slot = 0; slot < shape->top_k; slot++) {
            ids[t * shape->top_k + slot] = (first + slot) % n_chosen;
        }
    }
    check_input_tokens(c, 2, DTYPE_U32, shape->top_k, ids);
    return ids;
}

/* Adds in double, then rounds. */
static void naive(struct check_case *c, const struct shape *shape, const float *x,
                  const uint32_t *ids, float *sums, float *counts)
{
    uint64_t n_pairs = (uint64_t)c->n_tokens * shape->top_k;
    double *exact = calloc((uint64_t)shape->n_groups * shape->dim, sizeof(double));
    if (!exact) {
        abort();
    }
    for (uint64_t pair = 0; pair < n_pairs; pair++) {
        uint64_t row = shape->x_per_pair ? pair : pair / shape->top_k;
        uint64_t group = ids ? ids[pair] : 0;
        counts[group] += 1;
        for (uint64_t i = 0; i < shape->dim; i++) {
            double value = (double)x[row * shape->dim + i];
            exact[group * shape->dim + i] += value * value;
        }
    }
    for (uint64_t i = 0; i < (uint64_t)shape->n_groups * shape->dim; i++) {
        sums[i] = (float)((double)sums[i] + exact[i]);
    }
    free(exact);
}

static void check_one(struct check_device *device, const struct shape *shape, uint32_t n)
{
    struct check_case c;
    if (!check_begin(&c, device, OP_observe, DTYPE_F32, n, "dim %u, top %u of %u groups%s%s",
                     shape->dim, shape->top_k, shape->n_groups, shape->grouped ? "" : ", no ids",
                     shape->x_per_pair ? ", x per pair" : "")) {
        return;
    }
    uint64_t n_sums = (uint64_t)shape->n_groups * shape->dim;
    check_step(&c, 3, NULL);
    const float *x = check_input_token_floats(
        &c, 1, (uint64_t)shape->dim * (shape->x_per_pair ? shape->top_k : 1));
    const uint32_t *ids = shape->grouped ? make_ids(&c, shape) : NULL;
    float *sums = make_state(&c, 3, shape->n_groups, shape->dim);
    float *counts = make_state(&c, 4, 1, shape->n_groups);
    struct observe_args *args = &check_op(&c)->args.observe;
    args->dim = shape->dim;
    args->n_groups = shape->n_groups;
    args->top_k = shape->top_k;
    args->x_per_pair = shape->x_per_pair;
    if (check_run(&c)) {
        naive(&c, shape, x, ids, sums, counts);
        check_compare(&c, 3, sums, n_sums, 1e-12);
        check_compare(&c, 4, counts, shape->n_groups, 0);
        if (shape->n_groups > 1) {
            uint64_t last = n_sums - shape->dim;
            bool chosen = shape->grouped && shape->n_groups <= shape->top_k;
            check_unchanged(&c, 3, last * sizeof(float), chosen ? 0 : shape->dim * sizeof(float));
        }
    }
    check_end(&c);
}

void check_observe(struct check_device *device)
{
    static const struct shape shapes[] = {
        {1, 1, 1, false, false},  {33, 1, 1, false, false},  {256, 3, 1, false, true},
        {7, 4, 2, true, false},   {7, 4, 2, true, true},     {129, 16, 3, true, false},
        {129, 16, 3, true, true}, {64, 128, 8, true, false}, {255, 8, 8, true, true},
        {2048, 5, 1, true, true},
    };
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
            check_one(device, &shapes[k], check_token_counts[i]);
        }
    }
}
