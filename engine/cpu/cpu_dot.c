/* Level 0: decoded weights times float activations, added up in double. The reference that every
 * other dot product is tested against; also climbs the ladder.
 */
#include "engine/cpu/cpu_dot.h"

#include <assert.h>
#include <stddef.h>

#include "engine/cpu/cpu_dot_x86.h"
#include "format/f16.h"
#include "format/quant.h"

/* Decoded at a time: a whole number of blocks of every type. */
#define CHUNK 256

static float dot_decoded(const struct dtype_info *type, const uint8_t *const planes[],
                         const float *x, uint64_t cols)
{
    void (*decode)(const uint8_t *const[], uint64_t, float *) = quant_of(type->dtype)->decode_row;
    float values[CHUNK];
    double sum = 0;
    for (uint64_t done = 0; done < cols; done += CHUNK) {
        const uint8_t *chunk[DTYPE_MAX_PLANES] = {0};
        uint64_t n = cols - done < CHUNK ? cols - done : CHUNK;
        for (uint32_t p = 0; p < type->n_planes; p++) {
            chunk[p] = planes[p] + done / type->block_elements * type->plane_bytes[p];
        }
        decode(chunk, n, values);
        for (uint64_t i = 0; i < n; i++) {
            sum += (double)values[i] * x[done + i];
        }
    }
    return (float)sum;
}

#define X(NAME, ...) \
    static float dot_##NAME(const uint8_t *const planes[], const void *x, uint64_t cols) \
    { \
        return dot_decoded(dtype_at(CPU_DTYPE_##NAME), planes, x, cols); \
    }
DTYPES(X)
#undef X

static float dot_f32_cache(const void *row, const float *x, uint64_t n)
{
    const float *values = row;
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        sum += (double)values[i] * x[i];
    }
    return (float)sum;
}

static void add_scaled_f32_cache(const void *row, float scale, uint64_t n, float *y)
{
    const float *values = row;
    for (uint64_t i = 0; i < n; i++) {
        y[i] += scale * values[i];
    }
}

static float dot_f16_cache(const void *row, const float *x, uint64_t n)
{
    const uint16_t *halves = row;
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        sum += (double)f32_from_f16(halves[i]) * x[i];
    }
    return (float)sum;
}

static void add_scaled_f16_cache(const void *row, float scale, uint64_t n, float *y)
{
    const uint16_t *halves = row;
    for (uint64_t i = 0; i < n; i++) {
        y[i] += scale * f32_from_f16(halves[i]);
    }
}

const struct cpu_level cpu_level_plain = {
    .name = "plain",
    .dots =
        {
#define X(NAME, ...) [CPU_DTYPE_##NAME] = {.dot = dot_##NAME},
            DTYPES(X)
#undef X
        },
    .f32_cache = {dot_f32_cache, add_scaled_f32_cache},
    .f16_cache = {dot_f16_cache, add_scaled_f16_cache},
};

struct cpu_level cpu_level_choose(uint32_t features)
{
    struct cpu_level level = cpu_level_plain;
    for (const struct cpu_level *const *rung = cpu_ladder; *rung; rung++) {
        if (((*rung)->features & features) != (*rung)->features) {
            continue;
        }
        level.name = (*rung)->name;
        level.features = (*rung)->features;
        for (uint32_t i = 0; i < CPU_DTYPES; i++) {
            if ((*rung)->dots[i].dot) {
                level.dots[i] = (*rung)->dots[i];
            }
        }
        if ((*rung)->f32_cache.dot) {
            level.f32_cache = (*rung)->f32_cache;
        }
        if ((*rung)->f16_cache.dot) {
            level.f16_cache = (*rung)->f16_cache;
        }
    }
    return level;
}

const struct cpu_dot *cpu_dot_of(const struct cpu_level *level, enum dtype dtype)
{
    const struct dtype_info *type = dtype_info(dtype);
    assert(type);
    return &level->dots[type - dtype_at(0)];
}

const struct cpu_cache_math *cpu_cache_math_of(const struct cpu_level *level, enum dtype dtype)
{
    assert(dtype == DTYPE_F32 || dtype == DTYPE_F16);
    return dtype == DTYPE_F32 ? &level->f32_cache : &level->f16_cache;
}
