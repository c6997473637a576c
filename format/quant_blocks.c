#include "format/quant_blocks.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "format/quant_codecs.h"

/* Bytes that lie together in a plane's block and in ggml's block. `bytes` 0 ends a list. */
struct run {
    uint8_t plane, in_plane, in_block, bytes;
};

#define MAX_RUNS 5

/* The scalar types are one run each, of whatever size. */
static const struct {
    enum dtype dtype;
    struct run runs[MAX_RUNS];
} layouts[] = {
    {DTYPE_Q4_0, {{0, 0, 2, 16}, {1, 0, 0, 2}}},
    {DTYPE_Q4_1, {{0, 0, 4, 16}, {1, 0, 0, 4}}},
    {DTYPE_Q5_0, {{0, 0, 6, 16}, {1, 0, 2, 4}, {2, 0, 0, 2}}},
    {DTYPE_Q5_1, {{0, 0, 8, 16}, {1, 0, 4, 4}, {2, 0, 0, 4}}},
    {DTYPE_Q8_0, {{0, 0, 2, 32}, {1, 0, 0, 2}}},
    {DTYPE_Q2_K, {{0, 0, 16, 64}, {1, 0, 0, 16}, {2, 0, 80, 4}}},
    {DTYPE_Q3_K, {{0, 0, 32, 64}, {1, 0, 0, 32}, {2, 0, 96, 12}, {3, 0, 108, 2}}},
    {DTYPE_Q4_K, {{0, 0, 16, 128}, {1, 0, 0, 16}}},
    {DTYPE_Q5_K, {{0, 0, 48, 128}, {1, 0, 16, 32}, {2, 0, 0, 16}}},
    {DTYPE_Q6_K, {{0, 0, 0, 128}, {1, 0, 128, 64}, {2, 0, 192, 16}, {3, 0, 208, 2}}},
    {DTYPE_IQ4_NL, {{0, 0, 2, 16}, {1, 0, 0, 2}}},
    {DTYPE_IQ4_XS, {{0, 0, 8, 128}, {1, 0, 0, 8}}},
    {DTYPE_MXFP4, {{0, 0, 1, 16}, {1, 0, 0, 1}}},
};

static const struct run *runs_of(const struct dtype_info *type)
{
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        if (layouts[i].dtype == type->dtype) {
            return layouts[i].runs;
        }
    }
    assert(!"quant_blocks: a type without a layout");
    return NULL;
}

void quant_blocks_to_planes(const struct dtype_info *type, const uint8_t *blocks, uint64_t cols,
                            uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t n = cols / type->block_elements;
    if (type->block_elements == 1) {
        memcpy(planes[0], blocks, n * type->ggml_block_bytes);
    } else {
        for (const struct run *run = runs_of(type); run->bytes; run++) {
            const uint8_t *from = blocks + run->in_block;
            uint8_t *to = planes[run->plane] + run->in_plane;
            for (uint64_t b = 0; b < n; b++) {
                memcpy(to, from, run->bytes);
                from += type->ggml_block_bytes;
                to += type->plane_bytes[run->plane];
            }
        }
    }
    for (uint32_t p = 0; p < type->n_planes; p++) {
        quant_pad_plane(planes[p], n, type->plane_bytes[p]);
    }
}

void quant_planes_to_blocks(const struct dtype_info *type,
                            const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols,
                            uint8_t *blocks)
{
    uint64_t n = cols / type->block_elements;
    if (type->block_elements == 1) {
        memcpy(blocks, planes[0], n * type->ggml_block_bytes);
        return;
    }
    for (const struct run *run = runs_of(type); run->bytes; run++) {
        const uint8_t *from = planes[run->plane] + run->in_plane;
        uint8_t *to = blocks + run->in_block;
        for (uint64_t b = 0; b < n; b++) {
            memcpy(to, from, run->bytes);
            from += type->plane_bytes[run->plane];
            to += type->ggml_block_bytes;
        }
    }
}
