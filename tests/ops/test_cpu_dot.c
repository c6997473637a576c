/* The dot products of every rung of the ladder against plain C, closer than the checks of the ops
 * can look: activations that int8 holds exactly leave no rounding to hide a wrong bit behind.
 */
#include <criterion/criterion.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cpu/cpu_dot.h"
#include "format/f16.h"
#include "format/quant.h"
#include "checks/check_ops.h"
#include "tests/ops/cpu_levels.h"

/* One row of weights, every plane in memory of its own that ends where the row's padding does, so
 * that the address sanitizer sees what reads on; and a row of activations. */
struct sample {
    const struct dtype_info *type;
    uint64_t cols;
    uint8_t *planes[DTYPE_MAX_PLANES];
    float *x;
    void *prepared;
};

static void *allocate(uint64_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    cr_assert_not_null(memory);
    return memory;
}

static struct sample sample_create(const struct dtype_info *type, uint64_t blocks)
{
    struct sample s = {.type = type, .cols = blocks * type->block_elements};
    for (uint32_t p = 0; p < type->n_planes; p++) {
        s.planes[p] = malloc(dtype_row_stride(type, p, s.cols));
        cr_assert_not_null(s.planes[p]);
    }
    s.x = allocate(s.cols * sizeof(float));
    return s;
}

static void sample_free(struct sample *s)
{
    for (uint32_t p = 0; p < s->type->n_planes; p++) {
        free(s->planes[p]);
    }
    free(s->x);
    free(s->prepared);
}

/* Any codes, sensible scales. */
static void sample_fill_weights(struct sample *s, struct check_random *random)
{
    uint8_t *matrix = malloc(dtype_matrix_bytes(s->type, 1, s->cols));
    float *values = malloc(s->cols * sizeof(float));
    cr_assert(matrix && values);
    check_random_matrix(random, CHECK_UNIFORM, s->type, 1, s->cols, matrix, values);
    for (uint32_t p = 0; p < s->type->n_planes; p++) {
        memcpy(s->planes[p], matrix + dtype_plane_offset(s->type, p, 1, s->cols),
               dtype_row_stride(s->type, p, s->cols));
    }
    free(matrix);
    free(values);
}

/* Every f16 scale +-2^-4 or +-2^-5, so that all products and sums of one block are exact. */
static void sample_simplify_scales(struct sample *s, struct check_random *random)
{
    struct check_scales scales = check_scales_of(s->type->dtype);
    uint32_t bytes = s->type->plane_bytes[scales.plane];
    for (uint64_t b = 0; b < s->cols / s->type->block_elements; b++) {
        for (uint32_t i = 0; i < scales.n_halves; i++) {
            float scale = check_random_below(random, 2) ? 0x1p-4f : 0x1p-5f;
            uint16_t bits = f16_from_f32(check_random_below(random, 2) ? scale : -scale);
            memcpy(s->planes[scales.plane] + b * bytes + 2 * i, &bits, sizeof(bits));
        }
    }
}

/* In each block of 32 one element is +-127 and the others at most 3, times a power of two: int8
 * holds them exactly, and sums of 256 products with 8 bits and a scale of 6 to 8 stay exact. */
static void sample_fill_exact(struct sample *s, struct check_random *random)
{
    for (uint64_t block = 0; block < s->cols; block += 32) {
        uint64_t largest = block + check_random_below(random, 32);
        for (uint64_t i = block; i < block + 32; i++) {
            s->x[i] = (float)check_random_below(random, 7) - 3;
        }
        s->x[largest] = check_random_below(random, 2) ? 127 : -127;
    }
}

/* The same with larger numbers and a scale for each block, no longer exact in sum. */
static void sample_fill_int8(struct sample *s, struct check_random *random)
{
    for (uint64_t block = 0; block < s->cols; block += 32) {
        float scale = ldexpf(1, (int)check_random_below(random, 12) - 6);
        uint64_t largest = block + check_random_below(random, 32);
        for (uint64_t i = block; i < block + 32; i++) {
            s->x[i] = scale * ((float)check_random_below(random, 255) - 127);
        }
        s->x[largest] = check_random_below(random, 2) ? 127 * scale : -127 * scale;
    }
}

static float sample_dot(struct sample *s, const struct cpu_level *level)
{
    const uint8_t *planes[DTYPE_MAX_PLANES] = {s->planes[0], s->planes[1], s->planes[2],
                                               s->planes[3]};
    const struct cpu_dot *dot = cpu_dot_of(level, s->type->dtype);
    return dot->dot(planes, dot->prepare ? s->prepared : s->x, s->cols);
}

/* Prepares the activations; every rung prepares alike. */
static void sample_prepare(struct sample *s, const struct cpu_level *level)
{
    const struct cpu_dot *dot = cpu_dot_of(level, s->type->dtype);
    free(s->prepared);
    s->prepared = NULL;
    if (dot->prepare) {
        uint64_t bytes = dot->prepared_bytes(s->cols);
        s->prepared = allocate(bytes);
        memset(s->prepared, 0xFF, bytes);
        dot->prepare(s->x, s->cols, s->prepared);
    }
}

/* Sum of |weight| |activation|. */
static double sample_magnitude(const struct sample *s)
{
    const uint8_t *planes[DTYPE_MAX_PLANES] = {s->planes[0], s->planes[1], s->planes[2],
                                               s->planes[3]};
    float *values = malloc(s->cols * sizeof(float));
    cr_assert_not_null(values);
    quant_of(s->type->dtype)->decode_row(planes, s->cols, values);
    double sum = 0;
    for (uint64_t i = 0; i < s->cols; i++) {
        sum += fabs((double)values[i] * s->x[i]);
    }
    free(values);
    return sum;
}

/* Calls `check` with every rung that this processor has and every block type. */
static void for_all(void (*check)(const struct cpu_level *level, const struct dtype_info *type))
{
    struct cpu_level levels[CPU_LEVELS_MAX];
    uint32_t n_levels = cpu_levels_here(levels);
    for (uint32_t i = 0; i < n_levels; i++) {
        for (uint32_t d = 0; d < dtype_count(); d++) {
            if (dtype_at(d)->block_elements > 1) {
                check(levels + i, dtype_at(d));
            }
        }
    }
    if (n_levels == 0) {
        cr_skip("this processor has no rung above plain C");
    }
}

/* A byte of one block takes all its values while the others are random: f16 scales apart, results
 * are equal. */
static void check_byte(struct sample *s, const struct cpu_level *level, uint32_t plane,
                       uint32_t byte, struct check_random *random)
{
    sample_fill_weights(s, random);
    sample_simplify_scales(s, random);
    sample_fill_exact(s, random);
    sample_prepare(s, level);
    for (uint32_t value = 0; value < 256; value++) {
        s->planes[plane][byte] = (uint8_t)value;
        float expected = sample_dot(s, &cpu_level_plain);
        float got = sample_dot(s, level);
        if (!isfinite(expected) || sample_magnitude(s) > 1e35) {
            continue; /* e8m0 scales at which int8 codes plus an offset overflow */
        }
        cr_assert(got == expected, "%s %s, byte %u of plane %u is %u: %.9g, should be %.9g",
                  level->name, s->type->name, byte, plane, value, (double)got, (double)expected);
    }
}

static void check_all_bytes(const struct cpu_level *level, const struct dtype_info *type)
{
    struct check_random random = {type->dtype};
    struct check_scales scales = check_scales_of(type->dtype);
    struct sample s = sample_create(type, 1);
    for (uint32_t plane = 0; plane < type->n_planes; plane++) {
        for (uint32_t byte = 0; byte < type->plane_bytes[plane]; byte++) {
            if (plane != scales.plane || byte >= 2 * scales.n_halves) {
                check_byte(&s, level, plane, byte, &random);
            }
        }
    }
    sample_free(&s);
}

Test(cpu_dot, every_byte_takes_all_values)
{
    for_all(check_all_bytes);
}

/* All f16 patterns of a scale: close where finite, not finite where plain C is not. */
static void check_all_scales(const struct cpu_level *level, const struct dtype_info *type)
{
    struct check_random random = {100 + type->dtype};
    struct check_scales scales = check_scales_of(type->dtype);
    struct sample s = sample_create(type, 1);
    for (uint32_t i = 0; i < scales.n_halves; i++) {
        sample_fill_weights(&s, &random);
        sample_fill_int8(&s, &random);
        sample_prepare(&s, level);
        for (uint32_t bits = 0; bits < 0x10000; bits += 1 + check_random_below(&random, 40)) {
            uint16_t half = (uint16_t)bits;
            memcpy(s.planes[scales.plane] + 2 * i, &half, sizeof(half));
            float expected = sample_dot(&s, &cpu_level_plain);
            float got = sample_dot(&s, level);
            double allowed = 2e-6 * sample_magnitude(&s);
            cr_assert(isfinite(expected) ? fabs((double)got - expected) <= allowed : !isfinite(got),
                      "%s %s, scale %u is %04x: %.9g, should be %.9g", level->name, type->name, i,
                      bits, (double)got, (double)expected);
        }
    }
    sample_free(&s);
}

Test(cpu_dot, scales)
{
    for_all(check_all_scales);
}

/* Rows of all lengths up to where every loop has run and has a rest. */
static void check_lengths_of(const struct cpu_level *level, const struct dtype_info *type)
{
    struct check_random random = {200 + type->dtype};
    uint64_t longest = type->block_elements == 32 ? 67 : 9;
    for (uint64_t blocks = 1; blocks <= longest; blocks++) {
        struct sample s = sample_create(type, blocks);
        for (uint32_t repeat = 0; repeat < 8; repeat++) {
            sample_fill_weights(&s, &random);
            sample_fill_int8(&s, &random);
            sample_prepare(&s, level);
            double expected = (double)sample_dot(&s, &cpu_level_plain);
            double got = (double)sample_dot(&s, level);
            cr_assert(fabs(got - expected) <= 2e-6 * sample_magnitude(&s),
                      "%s %s, %u blocks: %.9g, should be %.9g", level->name, type->name,
                      (unsigned)blocks, got, expected);
        }
        sample_free(&s);
    }
}

Test(cpu_dot, lengths)
{
    for_all(check_lengths_of);
}

/* An activation that is not finite makes the result so, wherever it is. */
static void check_not_finite(const struct cpu_level *level, const struct dtype_info *type)
{
    static const float values[] = {NAN, INFINITY, -INFINITY};
    struct check_random random = {300 + type->dtype};
    struct sample s = sample_create(type, 256 / type->block_elements + 1);
    sample_fill_weights(&s, &random);
    for (uint64_t i = 0; i < s.cols; i++) {
        sample_fill_int8(&s, &random);
        s.x[i] = values[i % 3];
        sample_prepare(&s, level);
        float got = sample_dot(&s, level);
        cr_assert(!isfinite(got), "%s %s, element %u is %g: %.9g", level->name, type->name,
                  (unsigned)i, (double)values[i % 3], (double)got);
    }
    sample_free(&s);
}

Test(cpu_dot, not_finite)
{
    for_all(check_not_finite);
}
