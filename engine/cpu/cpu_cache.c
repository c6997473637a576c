/* Rows of the key and value caches. Caches of f32 and f16 have no padding between rows; those of
 * q8_0 are matrices as format/dtype.h lays them out. */
#include <assert.h>
#include <string.h>

#include "engine/cpu/cpu_attention.h"
#include "format/f16.h"
#include "format/quant.h"

/* Where the bytes of a row begin in each plane of q8_0. */
static void find_planes(const struct cpu_cache *cache, uint64_t row, uint8_t *planes[2])
{
    const struct dtype_info *type = dtype_info(DTYPE_Q8_0);
    for (uint32_t p = 0; p < 2; p++) {
        planes[p] = cache->bytes + dtype_plane_offset(type, p, cache->capacity, cache->row_dim) +
                    row * dtype_row_stride(type, p, cache->row_dim);
    }
}

void cpu_cache_store(const struct cpu_cache *cache, uint64_t row, const float *values)
{
    uint64_t n = cache->row_dim;
    if (cache->dtype == DTYPE_F32) {
        memcpy((float *)(void *)cache->bytes + row * n, values, n * sizeof(float));
    } else if (cache->dtype == DTYPE_F16) {
        uint16_t *halves = (uint16_t *)(void *)cache->bytes + row * n;
        for (uint64_t i = 0; i < n; i++) {
            halves[i] = f16_from_f32(values[i]);
        }
    } else {
        assert(cache->dtype == DTYPE_Q8_0);
        uint8_t *planes[DTYPE_MAX_PLANES] = {0};
        find_planes(cache, row, planes);
        quant_of(DTYPE_Q8_0)->encode_row(values, NULL, n, planes);
    }
}

void cpu_cache_load(const struct cpu_cache *cache, const struct cpu_attention_math *math,
                    uint64_t row, uint64_t first, uint64_t n, float *values)
{
    uint64_t element = row * cache->row_dim + first;
    if (cache->dtype == DTYPE_F32) {
        memcpy(values, (const float *)(const void *)cache->bytes + element, n * sizeof(float));
    } else if (cache->dtype == DTYPE_F16) {
        math->unpack_f16((const uint16_t *)(const void *)cache->bytes + element, n, values);
    } else {
        assert(cache->dtype == DTYPE_Q8_0 && first % 32 == 0 && n % 32 == 0);
        uint8_t *planes[2];
        find_planes(cache, row, planes);
        math->unpack_q8_0((const int8_t *)planes[0] + first,
                          (const uint16_t *)(const void *)planes[1] + first / 32, n, values);
    }
}

#define CACHE_LINE 64

static void prefetch(const uint8_t *bytes, uint64_t n)
{
    for (uint64_t i = 0; i < n; i += CACHE_LINE) {
        __builtin_prefetch(bytes + i);
    }
}

void cpu_cache_prefetch(const struct cpu_cache *cache, uint64_t row, uint64_t first, uint64_t n)
{
    if (cache->dtype == DTYPE_Q8_0) {
        uint8_t *planes[2];
        find_planes(cache, row, planes);
        prefetch(planes[0] + first, n);
        prefetch(planes[1] + first / 32 * 2, n / 32 * 2);
    } else {
        uint64_t element_bytes = cache->dtype == DTYPE_F32 ? 4 : 2;
        prefetch(cache->bytes + (row * cache->row_dim + first) * element_bytes, n * element_bytes);
    }
}
