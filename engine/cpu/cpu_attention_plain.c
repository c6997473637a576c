/* The loops of attention in plain C, the reference of the faster ones. */
#include <math.h>

#include "engine/cpu/cpu_attention.h"
#include "format/f16.h"

static void unpack_f16(const uint16_t *halves, uint64_t n, float *values)
{
    for (uint64_t i = 0; i < n; i++) {
        values[i] = f32_from_f16(halves[i]);
    }
}

static void unpack_q8_0(const int8_t *codes, const uint16_t *scales, uint64_t n, float *values)
{
    for (uint64_t i = 0; i < n; i++) {
        values[i] = f32_from_f16(scales[i / 32]) * codes[i];
    }
}

static void score(const float *queries, uint32_t n_queries, const float *keys, uint64_t n_rows,
                  uint64_t dim, float *scores)
{
    for (uint64_t q = 0; q < n_queries; q++) {
        for (uint64_t r = 0; r < n_rows; r++) {
            double sum = 0;
            for (uint64_t i = 0; i < dim; i++) {
                sum += (double)queries[q * dim + i] * keys[r * dim + i];
            }
            scores[q * CPU_ATTENTION_ROWS + r] = (float)sum;
        }
    }
}

static float weigh(float *scores, float maximum)
{
    float sum = 0;
    for (uint32_t i = 0; i < CPU_ATTENTION_ROWS; i++) {
        scores[i] = expf(scores[i] - maximum);
        sum += scores[i];
    }
    return sum;
}

static void add(const float *weights, const float *shrinks, uint32_t n_queries, const float *values,
                uint64_t n_rows, uint64_t dim, float *sums)
{
    for (uint64_t q = 0; q < n_queries; q++) {
        for (uint64_t i = 0; i < dim; i++) {
            float sum = sums[q * dim + i] * shrinks[q];
            for (uint64_t r = 0; r < n_rows; r++) {
                sum += weights[q * CPU_ATTENTION_ROWS + r] * values[r * dim + i];
            }
            sums[q * dim + i] = sum;
        }
    }
}

const struct cpu_attention_math cpu_attention_math_plain = {
    .unpack_f16 = unpack_f16,
    .unpack_q8_0 = unpack_q8_0,
    .score = score,
    .weigh = weigh,
    .add = add,
};
