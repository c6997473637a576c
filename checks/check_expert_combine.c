/* expert_combine: weighted sum of the slots, and the residual. */
#include "checks/check_ops.h"

static void check_one(struct check_device *device, uint32_t hidden, uint32_t top_k, uint32_t n)
{
    struct check_case c;
    if (!check_begin(&c, device, OP_expert_combine, DTYPE_F32, n, "hidden %u, top %u", hidden,
                     top_k)) {
        return;
    }
    float *expected = check_alloc(&c, (uint64_t)n * hidden);
    check_step(&c, 4, NULL);
    const float *parts = check_input_token_floats(&c, 1, (uint64_t)top_k * hidden);
    const float *weights = check_input_token_floats(&c, 2, top_k);
    const float *residual = check_input_token_floats(&c, 3, hidden);
    check_output_floats(&c, 4, c.max_tokens, hidden);
    struct expert_combine_args *args = &check_op(&c)->args.expert_combine;
    args->hidden = hidden;
    args->top_k = top_k;
    if (check_run(&c)) {
        for (uint64_t i = 0; i < (uint64_t)n * hidden; i++) {
            double sum = (double)residual[i];
            for (uint64_t slot = 0; slot < top_k; slot++) {
                uint64_t pair = i / hidden * top_k + slot;
                sum += (double)weights[pair] * parts[pair * hidden + i % hidden];
            }
            expected[i] = (float)sum;
        }
        check_compare(&c, 4, expected, (uint64_t)n * hidden, 1e-12);
    }
    check_end(&c);
}

void check_expert_combine(struct check_device *device)
{
    static const uint32_t tops[] = {1, 2, 8, 32};
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t k = 0; k < 11; k++) {
            check_one(device, check_lengths[k], tops[k % 4], check_token_counts[i]);
        }
        check_one(device, 2048, 8, check_token_counts[i]);
    }
}
