/* Level 0: decoded weights times float activations, added up in double. The reference that every
 * other dot product is tested against; also climbs the ladder.
 */
#include "engine/cpu/cpu_dot.h"

#include <assert.h>
#include <stddef.h>

#include "engine/cpu/cpu_attention.h"
#include "engine/cpu/cpu_ladder.h"
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

const struct cpu_level cpu_level_plain = {
    .name = "plain",
    .dots =
        {
#define X(NAME, ...) [CPU_DTYPE_##NAME] = {.dot = dot_##NAME},
            DTYPES(X)
#undef X
        },
    .attention = &cpu_attention_math_plain,
};

void cpu_level_add(struct cpu_level *level, const struct cpu_level *rung)
{
    level->name = rung->name;
    level->features = rung->features;
    for (uint32_t i = 0; i < CPU_DTYPES; i++) {
        if (rung->dots[i].dot) {
            level->dots[i] = rung->dots[i];
        }
        if (rung->tiles[i].multiply) {
            level->tiles[i] = rung->tiles[i];
        }
    }
    if (rung->attention) {
        level->attention = rung->attention;
    }
}

struct cpu_level cpu_level_choose(uint32_t features)
{
    struct cpu_level level = cpu_level_plain;
    for (const struct cpu_level *const *rung = cpu_ladder; *rung; rung++) {
        if (((*rung)->features & features) == (*rung)->features) {
            cpu_level_add(&level, *rung);
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
