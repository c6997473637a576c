/* Products of many rows with many vectors, on every rung of the ladder and for every type: against
 * sums in double, against the dot products of the same rung, and with activations that are not
 * finite.
 */
#include <criterion/criterion.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cpu/cpu_internal.h"
#include "engine/cpu/cpu_rows.h"
#include "checks/check_ops.h"
#include "tests/ops/cpu_levels.h"

#define MAX_VECTORS 65
#define GUARD 16 /* floats after every output row that must stay as they are */

/* A matrix whose memory ends where its last row does, and vectors in memory of their own. */
struct sample {
    const struct cpu_level *level;
    const struct cpu_dot *dot;
    struct cpu_matrix matrix;
    uint8_t *bytes;
    float *values;
    uint32_t n;
    float *x[MAX_VECTORS];
    uint8_t *prepared[MAX_VECTORS];
};

static void *allocate(uint64_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    cr_assert_not_null(memory);
    return memory;
}

/* Random numbers that int8 holds: in each block of 32 one element is +-127 times its scale. */
static void fill_int8(struct check_random *random, float *x, uint64_t cols)
{
    for (uint64_t block = 0; block < cols; block += 32) {
        uint64_t end = block + 32 < cols ? block + 32 : cols;
        float scale = ldexpf(1, (int)check_random_below(random, 12) - 6);
        for (uint64_t i = block; i < end; i++) {
            x[i] = scale * ((float)check_random_below(random, 255) - 127);
        }
        x[block + check_random_below(random, (uint32_t)(end - block))] = 127 * scale;
    }
}

static void sample_prepare(struct sample *s, uint32_t i)
{
    if (s->dot->prepare) {
        s->dot->prepare(s->x[i], s->matrix.cols, s->prepared[i]);
    } else {
        memcpy(s->prepared[i], s->x[i], s->matrix.cols * sizeof(float));
    }
}

static struct sample sample_create(const struct cpu_level *level, const struct dtype_info *type,
                                   uint64_t rows, uint64_t cols, uint32_t n,
                                   struct check_random *random)
{
    struct sample s = {.level = level, .dot = cpu_dot_of(level, type->dtype), .n = n};
    s.bytes = malloc(dtype_matrix_bytes(type, rows, cols));
    s.values = malloc(rows * cols * sizeof(float));
    cr_assert(s.bytes && s.values);
    check_random_matrix(random, CHECK_UNIFORM, type, rows, cols, s.bytes, s.values);
    s.matrix = cpu_matrix_of(type->dtype, s.bytes, rows, cols);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t bytes = s.dot->prepare ? s.dot->prepared_bytes(cols) : cols * sizeof(float);
        s.x[i] = malloc(cols * sizeof(float));
        cr_assert_not_null(s.x[i]);
        s.prepared[i] = allocate(bytes);
        memset(s.prepared[i], 0xFF, bytes);
        fill_int8(random, s.x[i], cols);
        sample_prepare(&s, i);
    }
    return s;
}

static void sample_free(struct sample *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        free(s->x[i]);
        free(s->prepared[i]);
    }
    free(s->values);
    free(s->bytes);
}

/* The products of rows [first, end) with vectors [0, n), each row of `y` and what follows it full
 * of NaN before. The caller frees y[0]. */
static void sample_run(const struct sample *s, uint64_t first, uint64_t end, uint32_t n, float **y)
{
    const uint8_t *x[MAX_VECTORS];
    uint64_t stride = end - first + GUARD;
    uint64_t scratch_bytes = cpu_rows_scratch(s->level, s->matrix.type->dtype, s->matrix.cols);
    uint8_t *scratch = allocate(scratch_bytes + 64);
    memset(scratch, 0xFF, scratch_bytes + 64);
    float *all = malloc(n * stride * sizeof(float));
    cr_assert_not_null(all);
    memset(all, 0xFF, n * stride * sizeof(float));
    for (uint32_t i = 0; i < n; i++) {
        x[i] = s->prepared[i];
        y[i] = all + i * stride;
    }
    cpu_rows_multiply(s->level, &s->matrix, first, end, x, y, n, scratch);
    for (uint32_t i = 0; i < n; i++) {
        for (uint64_t k = end - first; k < stride; k++) {
            uint32_t bits;
            memcpy(&bits, y[i] + k, sizeof(bits));
            cr_assert(bits == UINT32_MAX, "%s %s: written behind output %u", s->level->name,
                      s->matrix.type->name, i);
        }
    }
    for (uint64_t k = scratch_bytes; k < scratch_bytes + 64; k++) {
        cr_assert(scratch[k] == 0xFF, "%s %s: written behind the scratch", s->level->name,
                  s->matrix.type->name);
    }
    free(scratch);
}

/* The product in double, and the sum of magnitudes. */
static double naive_product(const struct sample *s, uint64_t row, uint32_t i, double *magnitude)
{
    const float *w = s->values + row * s->matrix.cols;
    double sum = 0;
    *magnitude = 0;
    for (uint64_t k = 0; k < s->matrix.cols; k++) {
        double product = (double)w[k] * s->x[i][k];
        sum += product;
        *magnitude += fabs(product);
    }
    return sum;
}

static void check_range(const struct sample *s, uint64_t first, uint64_t end, uint32_t n,
                        const double *expected, const double *magnitudes)
{
    float *y[MAX_VECTORS];
    sample_run(s, first, end, n, y);
    for (uint32_t i = 0; i < n; i++) {
        for (uint64_t row = first; row < end; row++) {
            double got = (double)y[i][row - first];
            double want = expected[row * s->n + i];
            double allowed = 2e-6 * magnitudes[row * s->n + i];
            const uint8_t *planes[DTYPE_MAX_PLANES];
            cpu_matrix_row(&s->matrix, row, planes);
            double dot = (double)s->dot->dot(planes, s->prepared[i], s->matrix.cols);
            cr_assert(fabs(got - want) <= allowed && fabs(got - dot) <= allowed,
                      "%s %s, %u cols, rows %u to %u, row %u, vector %u of %u: %.9g, "
                      "should be %.9g, dot product %.9g",
                      s->level->name, s->matrix.type->name, (unsigned)s->matrix.cols,
                      (unsigned)first, (unsigned)end, (unsigned)row, i, n, got, want, dot);
        }
    }
    free(y[0]);
}

static void check_shape(const struct cpu_level *level, const struct dtype_info *type, uint64_t rows,
                        uint64_t cols)
{
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 31, 32, 33, 47, 64, 65};
    struct check_random random = {rows * 10000 + cols + type->dtype};
    struct sample s = sample_create(level, type, rows, cols, MAX_VECTORS, &random);
    double *expected = malloc(rows * s.n * sizeof(double));
    double *magnitudes = malloc(rows * s.n * sizeof(double));
    cr_assert(expected && magnitudes);
    for (uint64_t k = 0; k < rows * s.n; k++) {
        expected[k] = naive_product(&s, k / s.n, (uint32_t)(k % s.n), magnitudes + k);
    }
    for (uint32_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        uint64_t first = check_random_below(&random, (uint32_t)rows);
        uint64_t end = first + check_random_below(&random, (uint32_t)(rows - first + 1));
        check_range(&s, first, end, counts[c], expected, magnitudes);
        check_range(&s, c % 2, rows, counts[c], expected, magnitudes);
    }
    free(magnitudes);
    free(expected);
    sample_free(&s);
}

/* Calls `check` with plain C and every rung that this processor has, and every type. */
static void for_all(void (*check)(const struct cpu_level *level, const struct dtype_info *type))
{
    for (uint32_t d = 0; d < dtype_count(); d++) {
        check(&cpu_level_plain, dtype_at(d));
    }
    struct cpu_level levels[CPU_LEVELS_MAX];
    uint32_t n_levels = cpu_levels_here(levels);
    for (uint32_t i = 0; i < n_levels; i++) {
        for (uint32_t d = 0; d < dtype_count(); d++) {
            check(levels + i, dtype_at(d));
        }
    }
}

/* Rows around the heights of tiles; columns that end within every loop. */
static void check_shapes(const struct cpu_level *level, const struct dtype_info *type)
{
    bool plain = level->features == 0;
    if (type->block_elements == 256) {
        check_shape(level, type, plain ? 5 : 37, 256);
        check_shape(level, type, plain ? 3 : 19, 768);
        return;
    }
    check_shape(level, type, plain ? 5 : 35, 32);
    check_shape(level, type, plain ? 3 : 17, 288);
    if (!plain) {
        check_shape(level, type, 18, 576 + 32);
        check_shape(level, type, 49, 96);
    }
    if (type->block_elements == 1) {
        check_shape(level, type, plain ? 3 : 33, 67);
        check_shape(level, type, plain ? 3 : 21, 7);
    }
}

Test(cpu_rows, shapes)
{
    for_all(check_shapes);
}

/* Longer than any panel of columns that is unpacked at a time. */
static void check_long_rows(const struct cpu_level *level, const struct dtype_info *type)
{
    if (level->features) {
        check_shape(level, type, 5, type->block_elements == 1 ? 4099 : 4096 + 256);
    }
}

Test(cpu_rows, long_rows)
{
    for_all(check_long_rows);
}

/* An activation that is not finite makes the products of its vector so, and no other's. */
static void check_not_finite(const struct cpu_level *level, const struct dtype_info *type)
{
    static const float values[] = {NAN, INFINITY, -INFINITY};
    static const uint32_t counts[] = {1, 3, 8, 33};
    struct check_random random = {700 + type->dtype};
    uint64_t cols = type->block_elements == 256 ? 512 : 96;
    struct sample s = sample_create(level, type, 9, cols, 33, &random);
    for (uint32_t c = 0; c < 12; c++) {
        uint32_t n = counts[c % 4], bad = check_random_below(&random, n);
        float *y[MAX_VECTORS], *element = s.x[bad] + check_random_below(&random, (uint32_t)cols);
        float before = *element;
        *element = values[c % 3];
        sample_prepare(&s, bad);
        sample_run(&s, 0, 9, n, y);
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t row = 0; row < 9; row++) {
                cr_assert(!isfinite(y[i][row]) == (i == bad), "%s %s, vector %u of %u: %g",
                          level->name, type->name, i, n, (double)y[i][row]);
            }
        }
        free(y[0]);
        *element = before;
        sample_prepare(&s, bad);
    }
    sample_free(&s);
}

Test(cpu_rows, not_finite)
{
    for_all(check_not_finite);
}
