/* The loops of attention over vectors of LANES floats, in the vector extension of gcc and clang;
 * the file of an instruction set names LANES, defines load_f16 and load_q8 (LANES halves or codes
 * as floats), and includes this once.
 *
 * Scores: LANES products at a time, of 1, 2 or 4 queries with as many rows as that leaves, each in
 * a vector of its own; then the sums of all LANES vectors come out as one (sum_lanes). Values: sums
 * of up to 4 queries times 4 vectors stay in registers while the rows pass.
 */
#include "engine/cpu/cpu_attention.h"
#include "engine/cpu/cpu_vectors.h"
#include "format/f16.h"

static vector load_f16(const uint16_t *halves);
static vector load_q8(const int8_t *codes);

static void unpack_f16(const uint16_t *halves, uint64_t n, float *values)
{
    uint64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        store(values + i, load_f16(halves + i));
    }
    for (; i < n; i++) {
        values[i] = f32_from_f16(halves[i]);
    }
}

static void unpack_q8_0(const int8_t *codes, const uint16_t *scales, uint64_t n, float *values)
{
    for (uint64_t i = 0; i < n; i += LANES) {
        store(values + i, load_q8(codes + i) * f32_from_f16(scales[i / 32]));
    }
}

/* Element i of the result is the sum of the elements of x[i]: pairs of vectors are folded into one
 * that has half of each, with the halves of halves next to each other, until one is left. */
#if LANES == 4
#define SHUFFLE __builtin_shufflevector
ALWAYS_INLINE vector fold2(vector a, vector b)
{
    return SHUFFLE(a, b, 0, 1, 4, 5) + SHUFFLE(a, b, 2, 3, 6, 7);
}
ALWAYS_INLINE vector fold1(vector a, vector b)
{
    return SHUFFLE(a, b, 0, 4, 2, 6) + SHUFFLE(a, b, 1, 5, 3, 7);
}
ALWAYS_INLINE vector sum_lanes(const vector x[LANES])
{
    return fold1(fold2(x[0], x[2]), fold2(x[1], x[3]));
}
#elif LANES == 8
#define SHUFFLE __builtin_shufflevector
ALWAYS_INLINE vector fold4(vector a, vector b)
{
    return SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}
ALWAYS_INLINE vector fold2(vector a, vector b)
{
    return SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13) + SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
}
ALWAYS_INLINE vector fold1(vector a, vector b)
{
    return SHUFFLE(a, b, 0, 8, 2, 10, 4, 12, 6, 14) + SHUFFLE(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
}
ALWAYS_INLINE vector sum_lanes(const vector x[LANES])
{
    vector a = fold2(fold4(x[0], x[4]), fold4(x[2], x[6]));
    vector b = fold2(fold4(x[1], x[5]), fold4(x[3], x[7]));
    return fold1(a, b);
}
#elif LANES == 16
#define SHUFFLE __builtin_shufflevector
ALWAYS_INLINE vector fold8(vector a, vector b)
{
    return SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}
ALWAYS_INLINE vector fold4(vector a, vector b)
{
    return SHUFFLE(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
           SHUFFLE(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
}
ALWAYS_INLINE vector fold2(vector a, vector b)
{
    return SHUFFLE(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
           SHUFFLE(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}
ALWAYS_INLINE vector fold1(vector a, vector b)
{
    return SHUFFLE(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
           SHUFFLE(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
}
ALWAYS_INLINE vector sum_lanes_from(const vector x[LANES], int i)
{
    vector a = fold4(fold8(x[i], x[i + 8]), fold8(x[i + 4], x[i + 12]));
    vector b = fold4(fold8(x[i + 2], x[i + 10]), fold8(x[i + 6], x[i + 14]));
    return fold2(a, b);
}
ALWAYS_INLINE vector sum_lanes(const vector x[LANES])
{
    return fold1(sum_lanes_from(x, 0), sum_lanes_from(x, 1));
}
#else
#error "vectors of 4, 8 or 16 floats"
#endif

/* n_queries (1, 2 or 4) times LANES / n_queries rows. */
ALWAYS_INLINE void score_some(const float *queries, uint32_t n_queries, const float *keys,
                              uint64_t dim, float *scores)
{
    const uint32_t n_rows = LANES / n_queries;
    vector sums[LANES] = {0};
    for (uint64_t i = 0; i < dim; i += LANES) {
#pragma GCC unroll 16
        for (uint32_t r = 0; r < n_rows; r++) {
            vector key = load(keys + r * dim + i);
#pragma GCC unroll 4
            for (uint32_t q = 0; q < n_queries; q++) {
                sums[q * n_rows + r] += load(queries + q * dim + i) * key;
            }
        }
    }
    float all[LANES];
    store(all, sum_lanes(sums));
#pragma GCC unroll 4
    for (uint32_t q = 0; q < n_queries; q++) {
        memcpy(scores + q * CPU_ATTENTION_ROWS, all + q * n_rows, n_rows * sizeof(float));
    }
}

static void score(const float *queries, uint32_t n_queries, const float *keys, uint64_t n_rows,
                  uint64_t dim, float *scores)
{
    uint32_t step = n_queries >= 3 ? 4 : n_queries;
    for (uint32_t q = 0; q < n_queries; q += step) {
        const float *some = queries + q * dim;
        float *to = scores + (uint64_t)q * CPU_ATTENTION_ROWS;
        for (uint64_t r = 0; r < n_rows; r += LANES / step) {
            if (step == 4) {
                score_some(some, 4, keys + r * dim, dim, to + r);
            } else if (step == 2) {
                score_some(some, 2, keys + r * dim, dim, to + r);
            } else {
                score_some(some, 1, keys + r * dim, dim, to + r);
            }
        }
    }
}

/* e^x for x <= 0; 0 below -87. */
ALWAYS_INLINE vector weight_of(vector x)
{
    return (vector)((vector_bits)exponential(x) & ~(vector_bits)(x < -87.0f));
}

static float weigh(float *scores, float maximum)
{
    vector sum = {0};
    for (uint32_t i = 0; i < CPU_ATTENTION_ROWS; i += LANES) {
        vector weights = weight_of(load(scores + i) - maximum);
        store(scores + i, weights);
        sum += weights;
    }
    float total = 0;
    for (uint32_t i = 0; i < LANES; i++) {
        total += sum[i];
    }
    return total;
}

/* n_queries (1, 2 or 4) times n_vectors of dimensions. */
ALWAYS_INLINE void add_some(const float *weights, const float *shrinks, uint32_t n_queries,
                            uint32_t n_vectors, const float *values, uint64_t n_rows, uint64_t dim,
                            float *sums)
{
    vector all[16];
#pragma GCC unroll 4
    for (uint32_t q = 0; q < n_queries; q++) {
#pragma GCC unroll 8
        for (uint32_t v = 0; v < n_vectors; v++) {
            all[q * n_vectors + v] = load(sums + q * dim + v * LANES) * shrinks[q];
        }
    }
    for (uint64_t r = 0; r < n_rows; r++) {
        vector row[8];
#pragma GCC unroll 8
        for (uint32_t v = 0; v < n_vectors; v++) {
            row[v] = load(values + r * dim + v * LANES);
        }
#pragma GCC unroll 4
        for (uint32_t q = 0; q < n_queries; q++) {
            vector weight = splat(weights[q * CPU_ATTENTION_ROWS + r]);
#pragma GCC unroll 8
            for (uint32_t v = 0; v < n_vectors; v++) {
                all[q * n_vectors + v] += weight * row[v];
            }
        }
    }
#pragma GCC unroll 4
    for (uint32_t q = 0; q < n_queries; q++) {
#pragma GCC unroll 8
        for (uint32_t v = 0; v < n_vectors; v++) {
            store(sums + q * dim + v * LANES, all[q * n_vectors + v]);
        }
    }
}

/* As many vectors of dimensions at a time as leave a register for a weight and one for a row. */
#define MOST_VECTORS (LANES == 8 ? 2 : 4)

ALWAYS_INLINE void add_queries(const float *weights, const float *shrinks, uint32_t n_queries,
                               const float *values, uint64_t n_rows, uint64_t dim, float *sums)
{
    uint64_t i = 0;
    for (; i + MOST_VECTORS * LANES <= dim; i += MOST_VECTORS * LANES) {
        add_some(weights, shrinks, n_queries, MOST_VECTORS, values + i, n_rows, dim, sums + i);
    }
    for (; i < dim; i += LANES) {
        add_some(weights, shrinks, n_queries, 1, values + i, n_rows, dim, sums + i);
    }
}

static void add(const float *weights, const float *shrinks, uint32_t n_queries, const float *values,
                uint64_t n_rows, uint64_t dim, float *sums)
{
    uint32_t step = n_queries >= 3 ? 4 : n_queries;
    for (uint64_t q = 0; q < n_queries; q += step) {
        const float *some = weights + q * CPU_ATTENTION_ROWS;
        if (step == 4) {
            add_queries(some, shrinks + q, 4, values, n_rows, dim, sums + q * dim);
        } else if (step == 2) {
            add_queries(some, shrinks + q, 2, values, n_rows, dim, sums + q * dim);
        } else {
            add_queries(some, shrinks + q, 1, values, n_rows, dim, sums + q * dim);
        }
    }
}
