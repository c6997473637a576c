/* The search for scales that all quantising encoders share. Private to format/quant*.c.
 *
 * A group of a few elements is encoded as whole numbers times a scale, with an offset in the affine
 * types. A ladder of steps around the one that just spans the group is tried; for each, the codes
 * follow by rounding, and least squares gives the scale (and offset) that fit these codes best. The
 * best of all is what the group wants; what it gets is what the format can store.
 *
 * Loops over a group work on four lanes at a time (the compilers' vector extension, which every
 * target has), so the result is the same on every machine. The functions are inlined where they
 * are used, so that sizes of groups and ranges of codes are constants there. */
#pragma once

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "format/f16.h"

#define QUANT_F16_MAX 65504.0f
#define QUANT_LANES 4
#define QUANT_INLINE static inline __attribute__((always_inline))

typedef float quant_lanes __attribute__((vector_size(16)));
typedef int32_t quant_masks __attribute__((vector_size(16)));

QUANT_INLINE float quant_clamp(float value, float low, float high)
{
    value = value < low ? low : value;
    return value > high ? high : value;
}

/* Nearest integer, ties to even, for |value| < 2^22. */
QUANT_INLINE float quant_round(float value)
{
    return (value + 0x1.8p23f) - 0x1.8p23f;
}

QUANT_INLINE quant_lanes quant_load_lanes(const float *values)
{
    quant_lanes result;
    memcpy(&result, values, sizeof(result));
    return result;
}

QUANT_INLINE quant_lanes quant_clamp_lanes(quant_lanes value, float low, float high)
{
    quant_lanes least = {low, low, low, low}, most = {high, high, high, high};
    quant_masks below = value < least;
    quant_masks above = value > most;
    value = (quant_lanes)((below & (quant_masks)least) | (~below & (quant_masks)value));
    return (quant_lanes)((above & (quant_masks)most) | (~above & (quant_masks)value));
}

/* quant_round(clamp(value, low, high)) of every lane. */
QUANT_INLINE quant_lanes quant_round_lanes(quant_lanes value, float low, float high)
{
    return (quant_clamp_lanes(value, low, high) + 0x1.8p23f) - 0x1.8p23f;
}

QUANT_INLINE float quant_sum_lanes(quant_lanes value)
{
    return (value[0] + value[2]) + (value[1] + value[3]);
}

/* 1 / scale, or 0 where that is no finite number (a scale of zero, or so small that nothing could
 * be stored with it). */
static inline float quant_inverse(float scale)
{
    float inverse = scale != 0 ? 1 / scale : 0;
    return isfinite(inverse) ? inverse : 0;
}

/* n is a multiple of QUANT_LANES. */
static inline void quant_range(const float *x, int n, float *lowest, float *highest)
{
    quant_lanes least = quant_load_lanes(x), most = least;
    for (int i = QUANT_LANES; i < n; i += QUANT_LANES) {
        quant_lanes value = quant_load_lanes(x + i);
        quant_masks below = value<least, above = value> most;
        least = (quant_lanes)((below & (quant_masks)value) | (~below & (quant_masks)least));
        most = (quant_lanes)((above & (quant_masks)value) | (~above & (quant_masks)most));
    }
    *lowest = least[0];
    *highest = most[0];
    for (int l = 1; l < QUANT_LANES; l++) {
        *lowest = least[l] < *lowest ? least[l] : *lowest;
        *highest = most[l] > *highest ? most[l] : *highest;
    }
}

/* A shared factor as f16 bits. Where f16 has fixed steps (below 2^-14) it is rounded up, so that
 * the integers still reach the largest scale and a factor that is not 0 does not become it. */
static inline uint16_t quant_factor_bits(float factor)
{
    float size = quant_clamp(fabsf(factor), 0, QUANT_F16_MAX);
    if (size < 0x1p-14f) {
        size = ceilf(size * 0x1p24f) * 0x1p-24f;
    }
    return f16_from_f32(factor < 0 ? -size : size);
}

/* Factor that makes the mean of a block's importance weights 1; 0 if they are to be ignored:
 * absent, all zero, or not all finite and non-negative. */
static inline float quant_importance_factor(const float *importance, int n)
{
    if (!importance) {
        return 0;
    }
    float least = 0, sum = 0;
    for (int i = 0; i < n; i++) {
        least = importance[i] < least ? importance[i] : least;
        sum += importance[i];
    }
    float factor = (float)n / sum;
    return least == 0 && sum > 0 && isfinite(sum) && isfinite(factor) ? factor : 0;
}

/* Weights of the squared errors of a group. Without importance: |x| plus the rms of the group;
 * large values matter more, none is forgotten. With it: the importance, and a trace of 1, so that
 * columns that were never active still get sensible values. */
static inline void quant_weigh(const float *x, const float *importance, float importance_factor,
                               int n, float *weights)
{
    if (importance_factor > 0) {
        for (int i = 0; i < n; i++) {
            weights[i] = importance[i] * importance_factor + 1e-5f;
        }
        return;
    }
    float squares = 0;
    for (int i = 0; i < n; i++) {
        squares += x[i] * x[i];
    }
    float rms = sqrtf(squares / (float)n);
    for (int i = 0; i < n; i++) {
        weights[i] = rms + fabsf(x[i]);
    }
}

/* The steps tried: the group's largest value (or range) is divided by first, first + step, ... */
struct quant_ladder {
    float first, step;
    int steps; /* a multiple of QUANT_LANES */
};

/* ---- y = scale n + offset, n in 0..most ---- */

struct quant_affine_fit {
    float scale, offset;
};

/* Weighted sums over a group of code, code^2, value, value x code. */
struct quant_affine_sums {
    double n, nn, y, yn;
};

QUANT_INLINE void quant_sum_affine(const float *y, const float *w, int n, float most, float inverse,
                                   struct quant_affine_sums *sums)
{
    quant_lanes n1 = {0}, n2 = {0}, yn = {0};
    const quant_lanes most_lanes = {most, most, most, most}, minus_one = {-1, -1, -1, -1};
    for (int i = 0; i < n; i += QUANT_LANES) {
        quant_lanes value = quant_load_lanes(y + i);
        quant_lanes code = (value * inverse + 0x1.8p23f) - 0x1.8p23f;
        quant_masks above = code > most_lanes;
        code += (quant_lanes)(above & (quant_masks)minus_one);
        quant_lanes weighted = quant_load_lanes(w + i) * code;
        n1 += weighted;
        n2 += weighted * code;
        yn += weighted * value;
    }
    sums->n = quant_sum_lanes(n1);
    sums->nn = quant_sum_lanes(n2);
    sums->yn = quant_sum_lanes(yn);
}

/* Best scale and offset for given codes of y = x - base. If `negative`, x's own offset must stay
 * <= 0. Returns the error without the constant sum of w y^2. */
static inline double quant_fit_affine(const struct quant_affine_sums *s, double sum_w, double base,
                                      bool negative, double *scale, double *offset)
{
    double determinant = sum_w * s->nn - s->n * s->n;
    *scale = -1;
    if (determinant > 1e-6 * sum_w * s->nn) {
        *scale = (sum_w * s->yn - s->n * s->y) / determinant;
        *offset = (s->nn * s->y - s->n * s->yn) / determinant;
    }
    if (*scale < 0 || (negative && *offset + base > 0)) {
        *offset = negative ? -base : 0;
        *scale = s->nn > 0 ? (s->yn - *offset * s->n) / s->nn : 0;
        *scale = *scale > 0 ? *scale : 0;
    }
    return *scale * *scale * s->nn + *offset * *offset * sum_w +
           2 * (*scale * *offset * s->n - *scale * s->yn - *offset * s->y);
}

/* n <= 32. If `negative`, the offset is never above 0. */
QUANT_INLINE struct quant_affine_fit quant_search_affine(const float *x, const float *w, int n,
                                                         float most, bool negative,
                                                         struct quant_ladder ladder)
{
    float lowest, highest;
    quant_range(x, n, &lowest, &highest);
    lowest = negative && lowest > 0 ? 0 : lowest;
    float range = highest - lowest;
    struct quant_affine_fit best = {.scale = 0, .offset = lowest};
    if (range < 1e-30f) {
        return best;
    }
    float y[32];
    double sum_w = 0, sum_y = 0;
    for (int i = 0; i < n; i++) {
        y[i] = x[i] - lowest;
        sum_w += w[i];
        sum_y += (double)w[i] * y[i];
    }
    double least = INFINITY;
    for (int step = 0; step < ladder.steps; step++) {
        struct quant_affine_sums sums = {.y = sum_y};
        quant_sum_affine(y, w, n, most, (ladder.first + ladder.step * (float)step) / range, &sums);
        double scale, offset;
        double error = quant_fit_affine(&sums, sum_w, lowest, negative, &scale, &offset);
        if (error < least) {
            least = error;
            best = (struct quant_affine_fit){(float)scale, (float)(offset + lowest)};
        }
    }
    return best;
}

/* Weighted squared error of a group with the scale and offset that decoding will see. */
QUANT_INLINE float quant_error_affine(const float *x, const float *w, int n, float most,
                                      float scale, float offset)
{
    float inverse = scale != 0 ? 1 / scale : 0;
    quant_lanes errors = {0};
    for (int i = 0; i < n; i += QUANT_LANES) {
        quant_lanes y = quant_load_lanes(x + i) - offset;
        quant_lanes rest = y - scale * quant_round_lanes(y * inverse, 0, most);
        errors += quant_load_lanes(w + i) * rest * rest;
    }
    return quant_sum_lanes(errors);
}

/* ---- y = scale q, q in low..high; the scale may be negative ---- */

/* The first value of the largest magnitude, with its sign. */
static inline float quant_extreme(const float *x, int n)
{
    float least, most;
    quant_range(x, n, &least, &most);
    for (int i = 0; most == -least && i < n; i++) {
        if (fabsf(x[i]) == most) {
            return most > 0 ? x[i] : 0;
        }
    }
    return most > -least ? most : least;
}

/* Weighted sums over a group of q x and q^2, q = round(x inverse): the scale that fits these codes
 * best is product / square, and it lowers the error by product^2 / square. */
QUANT_INLINE void quant_sum_symmetric(const float *x, const float *w, int n, float low, float high,
                                      float inverse, float *product, float *square)
{
    quant_lanes products = {0}, squares = {0};
    for (int i = 0; i < n; i += QUANT_LANES) {
        quant_lanes value = quant_load_lanes(x + i);
        quant_lanes q = quant_round_lanes(value * inverse, low, high);
        quant_lanes weighted = quant_load_lanes(w + i) * q;
        products += weighted * value;
        squares += weighted * q;
    }
    *product = quant_sum_lanes(products);
    *square = quant_sum_lanes(squares);
}

/* The same for the steps of a ladder, one a lane: it needs no sums across lanes. */
QUANT_INLINE float quant_search_symmetric(const float *x, const float *w, int n, float low,
                                          float high, struct quant_ladder ladder)
{
    float extreme = quant_extreme(x, n);
    if (fabsf(extreme) < 1e-30f) {
        return 0;
    }
    float best = 0, most = 0;
    for (int step = 0; step < ladder.steps; step += QUANT_LANES) {
        quant_lanes inverses, products = {0}, squares = {0};
        for (int l = 0; l < QUANT_LANES; l++) {
            inverses[l] = -(ladder.first + ladder.step * (float)(step + l)) / extreme;
        }
        for (int i = 0; i < n; i++) {
            quant_lanes q = quant_round_lanes(x[i] * inverses, low, high);
            quant_lanes weighted = w[i] * q;
            products += weighted * x[i];
            squares += weighted * q;
        }
        for (int l = 0; l < QUANT_LANES; l++) {
            float gain = squares[l] > 0 ? products[l] / squares[l] * products[l] : 0;
            if (gain > most) {
                most = gain;
                best = products[l] / squares[l];
            }
        }
    }
    return best;
}

QUANT_INLINE float quant_error_symmetric(const float *x, const float *w, int n, float low,
                                         float high, float scale)
{
    float inverse = scale != 0 ? 1 / scale : 0;
    quant_lanes errors = {0};
    for (int i = 0; i < n; i += QUANT_LANES) {
        quant_lanes value = quant_load_lanes(x + i);
        quant_lanes rest = value - scale * quant_round_lanes(value * inverse, low, high);
        errors += quant_load_lanes(w + i) * rest * rest;
    }
    return quant_sum_lanes(errors);
}
