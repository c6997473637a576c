/* Finds scales and codes for a super-block that keep the weighted squared error small.
 *
 * 1. Each group on its own: a ladder of steps around the one that just spans the group; for each,
 *    codes by rounding, then the scale (and offset) that fit these codes best by least squares.
 * 2. The factor d (and dmin) shared by the groups follows from the largest scale, and is rounded to
 *    what an f16 can hold. Group scales become integers.
 * 3. Every group tries the neighbours of its integers with codes made anew from the values that
 * will really be stored; then d (and dmin) are fitted to all groups at once, and this is repeated
 *    while it helps.
 *
 * The weight of an element is |x| plus the rms of its group: large weights matter more, none is
 * forgotten. Loops over a group work on four lanes at a time (the compilers' vector extension,
 * which every target has), so the result is the same on every machine. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "format/f16.h"
#include "format/quant_codecs.h"
#include "format/quant_k_search.h"

#define LANES 4
#define F16_MAX 65504.0f
#define LADDER 20 /* steps tried in 1. */
#define REFITS 2  /* rounds of 3. */

typedef float lanes __attribute__((vector_size(16)));
typedef int32_t lane_masks __attribute__((vector_size(16)));

static inline float clamp(float value, float low, float high)
{
    value = value < low ? low : value;
    return value > high ? high : value;
}

/* Nearest integer, ties to even, for |value| < 2^22. */
static inline float round_even(float value)
{
    return (value + 0x1.8p23f) - 0x1.8p23f;
}

static inline lanes load_lanes(const float *values)
{
    lanes result;
    memcpy(&result, values, sizeof(result));
    return result;
}

/* round_even(clamp(value, low, high)) of every lane. */
static inline lanes round_codes(lanes value, float low, float high)
{
    lanes least = {low, low, low, low}, most = {high, high, high, high};
    lane_masks below = value < least;
    lane_masks above = value > most;
    value = (lanes)((below & (lane_masks)least) | (~below & (lane_masks)value));
    value = (lanes)((above & (lane_masks)most) | (~above & (lane_masks)value));
    return (value + 0x1.8p23f) - 0x1.8p23f;
}

static inline float sum_lanes(lanes value)
{
    return (value[0] + value[2]) + (value[1] + value[3]);
}

static void weigh(const float *x, int n, float *weights)
{
    float squares = 0;
    for (int i = 0; i < n; i++) {
        squares += x[i] * x[i];
    }
    float rms = sqrtf(squares / (float)n);
    for (int i = 0; i < n; i++) {
        weights[i] = rms + fabsf(x[i]);
    }
}

/* A shared factor as f16 bits. Where f16 has fixed steps (below 2^-14) it is rounded up, so that
 * the integers still reach the largest scale and a factor that is not 0 does not become it. */
static uint16_t factor_bits(float factor)
{
    float size = clamp(fabsf(factor), 0, F16_MAX);
    if (size < 0x1p-14f) {
        size = ceilf(size * 0x1p24f) * 0x1p-24f;
    }
    return f16_from_f32(factor < 0 ? -size : size);
}

static float integer_scale(float scale, float factor, float low, float high)
{
    return factor != 0 ? round_even(clamp(scale / factor, low, high)) : 0;
}

/* ---- q4_k: y = scale n - low, both not negative ---- */

#define GROUP4 32

struct affine {
    float scale, low;
};

struct affine_sums {
    double n, nn, y, yn; /* weighted sums of code, code^2, value, value x code */
};

/* Codes of values y >= 0 with step 1 / inverse, and what least squares needs to know of them. */
static struct affine_sums sum_affine(const float *y, const float *w, float inverse)
{
    lanes n1 = {0}, n2 = {0}, yn = {0};
    for (int i = 0; i < GROUP4; i += LANES) {
        lanes value = load_lanes(y + i);
        lanes n = round_codes(value * inverse, 0, 15);
        lanes wn = load_lanes(w + i) * n;
        n1 += wn;
        n2 += wn * n;
        yn += wn * value;
    }
    return (struct affine_sums){.n = sum_lanes(n1), .nn = sum_lanes(n2), .yn = sum_lanes(yn)};
}

/* Best scale and offset for given codes of y = x - base, where x's own offset must stay <= 0.
 * Returns the error without the constant sum of w y^2. */
static double fit_affine(const struct affine_sums *s, double sum_w, double base, double *scale,
                         double *offset)
{
    double determinant = sum_w * s->nn - s->n * s->n;
    if (determinant > 1e-6 * sum_w * s->nn) {
        *scale = (sum_w * s->yn - s->n * s->y) / determinant;
        *offset = (s->nn * s->y - s->n * s->yn) / determinant;
    } else {
        *scale = -1;
    }
    if (*scale < 0 || *offset + base > 0) {
        *offset = -base;
        *scale = s->nn > 0 ? (s->yn - *offset * s->n) / s->nn : 0;
        *scale = *scale > 0 ? *scale : 0;
    }
    return *scale * *scale * s->nn + *offset * *offset * sum_w +
           2 * (*scale * *offset * s->n - *scale * s->yn - *offset * s->y);
}

static struct affine search_affine(const float *x, const float *w)
{
    float lowest = 0, highest = x[0];
    for (int i = 0; i < GROUP4; i++) {
        lowest = x[i] < lowest ? x[i] : lowest;
        highest = x[i] > highest ? x[i] : highest;
    }
    float range = highest - lowest;
    struct affine best = {.scale = 0, .low = -lowest};
    if (range < 1e-30f) {
        return best;
    }
    float y[GROUP4];
    double sum_w = 0, sum_y = 0;
    for (int i = 0; i < GROUP4; i++) {
        y[i] = x[i] - lowest;
        sum_w += w[i];
        sum_y += (double)w[i] * y[i];
    }
    double least = INFINITY;
    for (int step = 0; step <= LADDER; step++) {
        struct affine_sums sums = sum_affine(y, w, (14 + 0.1f * (float)step) / range);
        sums.y = sum_y;
        double scale, offset;
        double error = fit_affine(&sums, sum_w, lowest, &scale, &offset);
        if (error < least) {
            least = error;
            best = (struct affine){.scale = (float)scale, .low = (float)-(offset + lowest)};
        }
    }
    return best;
}

/* Weighted squared error of a group with the scale and low that decoding will see. */
static float error_affine(const float *x, const float *w, float scale, float low)
{
    float inverse = scale != 0 ? 1 / scale : 0;
    lanes errors = {0};
    for (int i = 0; i < GROUP4; i += LANES) {
        lanes y = load_lanes(x + i) + low;
        lanes rest = y - scale * round_codes(y * inverse, 0, 15);
        errors += load_lanes(w + i) * rest * rest;
    }
    return sum_lanes(errors);
}

struct q4_k_search {
    float x[QUANT_K_BLOCK], w[QUANT_K_BLOCK];
    struct affine wanted[8];
    uint16_t d, dmin;
    float scales[8], lows[8]; /* integers 0..63 */
    double error;
};

/* Integers for the factors d and dmin: the best of those at most `reach` from what a group wants.
 */
static void settle_q4_k(struct q4_k_search *s, uint16_t d_bits, uint16_t dmin_bits, int reach)
{
    float d = f32_from_f16(d_bits), dmin = f32_from_f16(dmin_bits);
    s->d = d_bits;
    s->dmin = dmin_bits;
    s->error = 0;
    for (int g = 0; g < 8; g++) {
        const float *x = s->x + GROUP4 * g, *w = s->w + GROUP4 * g;
        float scale = integer_scale(s->wanted[g].scale, d, 0, 63);
        float low = integer_scale(s->wanted[g].low, dmin, 0, 63);
        float least = INFINITY;
        for (int a = -reach; a <= reach; a++) {
            for (int b = -reach; b <= reach; b++) {
                float try_scale = clamp(scale + (float)a, 0, 63);
                float try_low = clamp(low + (float)b, 0, 63);
                float error = error_affine(x, w, d * try_scale, dmin * try_low);
                if (error < least) {
                    least = error;
                    s->scales[g] = try_scale;
                    s->lows[g] = try_low;
                }
            }
        }
        s->error += least;
    }
}

static void codes_q4_k(const struct q4_k_search *s, uint8_t *codes)
{
    for (int g = 0; g < 8; g++) {
        float scale = f32_from_f16(s->d) * s->scales[g];
        float low = f32_from_f16(s->dmin) * s->lows[g];
        float inverse = scale != 0 ? 1 / scale : 0;
        for (int i = GROUP4 * g; i < GROUP4 * (g + 1); i += LANES) {
            lanes code = round_codes((load_lanes(s->x + i) + low) * inverse, 0, 15);
            for (int l = 0; l < LANES; l++) {
                codes[i + l] = (uint8_t)code[l];
            }
        }
    }
}

/* d and dmin that fit all codes best: x = d (scale n) - dmin low. Left alone where the codes do not
 * determine them. */
static void refit_q4_k(const struct q4_k_search *s, uint16_t *d, uint16_t *dmin)
{
    uint8_t codes[QUANT_K_BLOCK];
    codes_q4_k(s, codes);
    double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
    for (int g = 0; g < 8; g++) {
        double n1 = 0, n2 = 0, xn = 0, w1 = 0, x1 = 0;
        for (int i = GROUP4 * g; i < GROUP4 * (g + 1); i++) {
            double wn = (double)s->w[i] * codes[i];
            w1 += s->w[i];
            x1 += (double)s->w[i] * s->x[i];
            n1 += wn;
            n2 += wn * codes[i];
            xn += wn * s->x[i];
        }
        double scale = s->scales[g], low = -s->lows[g];
        aa += scale * scale * n2;
        ab += scale * low * n1;
        bb += low * low * w1;
        xa += scale * xn;
        xb += low * x1;
    }
    double determinant = aa * bb - ab * ab;
    double new_d = -1, new_dmin = -1;
    if (determinant > 1e-9 * aa * bb) {
        new_d = (xa * bb - xb * ab) / determinant;
        new_dmin = (xb * aa - xa * ab) / determinant;
    } else if (aa > 0) {
        new_d = (xa - ab * f32_from_f16(*dmin)) / aa;
    } else if (bb > 0) {
        new_dmin = xb / bb;
    }
    *d = new_d >= 0 ? factor_bits((float)new_d) : *d;
    *dmin = new_dmin >= 0 ? factor_bits((float)new_dmin) : *dmin;
}

void quant_search_q4_k(const float *values, struct quant_q4_k *block)
{
    struct q4_k_search search = {0};
    float largest_scale = 0, largest_low = 0;
    for (int i = 0; i < QUANT_K_BLOCK; i++) {
        /* The least value is -dmin 63, the greatest d 63 * 15. */
        float x = quant_finite(values[i], 15 * 63 * F16_MAX);
        search.x[i] = x < -63 * F16_MAX ? -63 * F16_MAX : x;
    }
    for (int g = 0; g < 8; g++) {
        weigh(search.x + GROUP4 * g, GROUP4, search.w + GROUP4 * g);
        search.wanted[g] = search_affine(search.x + GROUP4 * g, search.w + GROUP4 * g);
        largest_scale = fmaxf(largest_scale, search.wanted[g].scale);
        largest_low = fmaxf(largest_low, search.wanted[g].low);
    }
    settle_q4_k(&search, factor_bits(largest_scale / 63), factor_bits(largest_low / 63), 0);
    for (int round = 0; round < REFITS; round++) {
        struct q4_k_search next = search;
        uint16_t d = search.d, dmin = search.dmin;
        refit_q4_k(&search, &d, &dmin);
        settle_q4_k(&next, d, dmin, 1);
        if (next.error >= search.error) {
            break;
        }
        search = next;
    }
    block->d = search.d;
    block->dmin = search.dmin;
    for (int g = 0; g < 8; g++) {
        block->scales[g] = (uint8_t)search.scales[g];
        block->lows[g] = (uint8_t)search.lows[g];
    }
    codes_q4_k(&search, block->codes);
}

/* ---- q6_k: y = scale q, q in -32..31; the scale may be negative ---- */

#define GROUP6 16

static float search_symmetric(const float *x, const float *w)
{
    float extreme = 0;
    for (int i = 0; i < GROUP6; i++) {
        extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
    }
    if (fabsf(extreme) < 1e-30f) {
        return 0;
    }
    float best = 0, most = 0;
    for (int step = 0; step <= LADDER; step++) {
        float inverse = -(31 + 0.1f * (float)step) / extreme;
        lanes products = {0}, squares = {0};
        for (int i = 0; i < GROUP6; i += LANES) {
            lanes value = load_lanes(x + i);
            lanes q = round_codes(value * inverse, -32, 31);
            lanes wq = load_lanes(w + i) * q;
            products += wq * value;
            squares += wq * q;
        }
        /* The best scale is product / square; it lowers the error by product^2 / square. */
        float product = sum_lanes(products), square = sum_lanes(squares);
        float gain = square > 0 ? product / square * product : 0;
        if (gain > most) {
            most = gain;
            best = product / square;
        }
    }
    return best;
}

static float error_symmetric(const float *x, const float *w, float scale)
{
    float inverse = scale != 0 ? 1 / scale : 0;
    lanes errors = {0};
    for (int i = 0; i < GROUP6; i += LANES) {
        lanes value = load_lanes(x + i);
        lanes rest = value - scale * round_codes(value * inverse, -32, 31);
        errors += load_lanes(w + i) * rest * rest;
    }
    return sum_lanes(errors);
}

struct q6_k_search {
    float x[QUANT_K_BLOCK], w[QUANT_K_BLOCK];
    float wanted[16];
    uint16_t d;
    float scales[16]; /* integers -128..127 */
    double error;
};

static void settle_q6_k(struct q6_k_search *s, uint16_t d_bits, int reach)
{
    float d = f32_from_f16(d_bits);
    s->d = d_bits;
    s->error = 0;
    for (int g = 0; g < 16; g++) {
        float scale = integer_scale(s->wanted[g], d, -128, 127);
        float least = INFINITY;
        for (int a = -reach; a <= reach; a++) {
            float try_scale = clamp(scale + (float)a, -128, 127);
            float error = error_symmetric(s->x + GROUP6 * g, s->w + GROUP6 * g, d * try_scale);
            if (error < least) {
                least = error;
                s->scales[g] = try_scale;
            }
        }
        s->error += least;
    }
}

static void codes_q6_k(const struct q6_k_search *s, uint8_t *codes)
{
    for (int g = 0; g < 16; g++) {
        float scale = f32_from_f16(s->d) * s->scales[g];
        float inverse = scale != 0 ? 1 / scale : 0;
        for (int i = GROUP6 * g; i < GROUP6 * (g + 1); i += LANES) {
            lanes code = round_codes(load_lanes(s->x + i) * inverse, -32, 31) + 32.0f;
            for (int l = 0; l < LANES; l++) {
                codes[i + l] = (uint8_t)code[l];
            }
        }
    }
}

static uint16_t refit_q6_k(const struct q6_k_search *s)
{
    uint8_t codes[QUANT_K_BLOCK];
    codes_q6_k(s, codes);
    double product = 0, square = 0;
    for (int i = 0; i < QUANT_K_BLOCK; i++) {
        double y = (double)s->scales[i / GROUP6] * (codes[i] - 32);
        product += s->w[i] * y * s->x[i];
        square += s->w[i] * y * y;
    }
    return square > 0 ? factor_bits((float)(product / square)) : s->d;
}

void quant_search_q6_k(const float *values, struct quant_q6_k *block)
{
    struct q6_k_search search = {0};
    float largest = 0; /* with its sign: it gets the integer -128 */
    for (int i = 0; i < QUANT_K_BLOCK; i++) {
        search.x[i] = quant_finite(values[i], 128 * 32 * F16_MAX);
    }
    for (int g = 0; g < 16; g++) {
        weigh(search.x + GROUP6 * g, GROUP6, search.w + GROUP6 * g);
        search.wanted[g] = search_symmetric(search.x + GROUP6 * g, search.w + GROUP6 * g);
        largest = fabsf(search.wanted[g]) > fabsf(largest) ? search.wanted[g] : largest;
    }
    settle_q6_k(&search, factor_bits(largest / -128), 0);
    for (int round = 0; round < REFITS; round++) {
        uint16_t d = refit_q6_k(&search);
        struct q6_k_search next = search;
        settle_q6_k(&next, d, 1);
        if (next.error >= search.error) {
            break;
        }
        search = next;
    }
    block->d = search.d;
    for (int g = 0; g < 16; g++) {
        block->scales[g] = (int8_t)search.scales[g];
    }
    codes_q6_k(&search, block->codes);
}
