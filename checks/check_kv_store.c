/* kv_store: the tokens' rows arrive, rounded to nearest; all other rows stay as they were. */
#include "checks/check_ops.h"

static void check_one(struct check_device *device, enum dtype dtype, const uint32_t dims[2],
                      uint32_t position, uint32_t n)
{
    struct check_case c;
    uint32_t capacity = position + n + 4;
    if (!check_begin(&c, device, OP_kv_store, dtype, n, "dims %u and %u, position %u", dims[0],
                     dims[1], position)) {
        return;
    }
    check_step(&c, position, NULL);
    const float *k = check_input_token_floats(&c, 1, dims[0]);
    const float *v = check_input_token_floats(&c, 2, dims[1]);
    check_output_cache(&c, 3, capacity, dims[0]);
    check_output_cache(&c, 4, capacity, dims[1]);
    struct kv_store_args *args = &check_op(&c)->args.kv_store;
    args->k_dim = dims[0];
    args->v_dim = dims[1];
    args->capacity = capacity;
    if (check_run(&c)) {
        check_compare_cache(&c, 3, k, position, capacity, dims[0], false);
        check_compare_cache(&c, 4, v, position, capacity, dims[1], false);
    }
    check_end(&c);
}

void check_kv_store(struct check_device *device)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_Q8_0};
    static const uint32_t dims[][2] = {{2, 2},     {30, 30},   {32, 32},     {34, 2},  {128, 128},
                                       {130, 256}, {256, 130}, {1024, 1024}, {512, 64}};
    static const uint32_t block_dims[][2] = {{32, 32},     {64, 64},   {96, 32},
                                             {128, 128},   {160, 256}, {32, 96},
                                             {1024, 1024}, {512, 64},  {288, 288}};
    static const uint32_t positions[] = {0, 1, 33, 300};
    for (uint32_t d = 0; d < 3; d++) {
        for (uint32_t i = 0; i < 4; i++) {
            for (uint32_t k = 0; k < sizeof(dims) / sizeof(dims[0]); k++) {
                for (uint32_t p = 0; p < 4; p++) {
                    check_one(device, dtypes[d], dtypes[d] == DTYPE_Q8_0 ? block_dims[k] : dims[k],
                              positions[p], check_token_counts[i]);
                }
            }
        }
    }
}
