/* Types whose 4-bit codes point into a table of 16 values that lie closer together near zero.
 *
 *     iq4_nl   blocks of 32:     y = d V[n]
 *              plane 0: nibbles[16], plane 1: f16 d
 *     iq4_xs   8 groups of 32:   y = (d (s[g] - 32)) V[n]     6-bit s
 *              plane 0: nibbles[128], plane 1: f16 d, u16 high pairs of s, low nibbles of s[4]
 *     mxfp4    blocks of 32:     y = 2^(e - 128) M[n]
 *              plane 0: nibbles[16], plane 1: e
 *
 * Encoding tries a ladder of scales as quant_search.h does, with codes looked up instead of
 * rounded; mxfp4, whose scale is a power of two, tries the two that may be best. */
#include <stddef.h>

#include "format/quant_codecs.h"
#include "format/quant_search.h"

#define BLOCK 32

/* ---- iq4_nl and iq4_xs ---- */

static const float iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};

/* The code of the nearest value to v, at floor(2 v) + 256: the borders lie at halves. */
static const uint8_t iq4_nearest[512] = {
    [0 ... 24] = 0,     [25 ... 68] = 1,    [69 ... 107] = 2,   [108 ... 141] = 3,
    [142 ... 171] = 4,  [172 ... 198] = 5,  [199 ... 223] = 6,  [224 ... 246] = 7,
    [247 ... 269] = 8,  [270 ... 293] = 9,  [294 ... 318] = 10, [319 ... 346] = 11,
    [347 ... 377] = 12, [378 ... 413] = 13, [414 ... 457] = 14, [458 ... 511] = 15,
};

static inline void codes_iq4(const float *x, float inverse, uint8_t *codes)
{
    int32_t places[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        places[i] = (int32_t)(quant_clamp(x[i] * inverse, -127, 127) * 2 + 256);
    }
    for (int i = 0; i < BLOCK; i++) {
        codes[i] = iq4_nearest[places[i]];
    }
}

/* Codes at a scale, and the weighted sums of y^2 and x y, y = V[code]. */
static void sum_iq4(const float *x, const float *w, float inverse, float *square, float *product)
{
    uint8_t codes[BLOCK];
    float values[BLOCK];
    codes_iq4(x, inverse, codes);
    for (int i = 0; i < BLOCK; i++) {
        values[i] = iq4_values[codes[i]];
    }
    quant_lanes squares = {0}, products = {0};
    for (int i = 0; i < BLOCK; i += QUANT_LANES) {
        quant_lanes y = quant_load_lanes(values + i);
        quant_lanes weighted = quant_load_lanes(w + i) * y;
        squares += weighted * y;
        products += weighted * quant_load_lanes(x + i);
    }
    *square = quant_sum_lanes(squares);
    *product = quant_sum_lanes(products);
}

/* The best scale found for a group of 32. */
static float search_iq4(const float *x, const float *w)
{
    /* What the largest value may become: at either end of the table or a little beyond. */
    static const float ends[] = {-134, -130, -127, -124, -121, -118, -115,
                                 -112, -108, 104,  108,  112,  115,  119};
    float extreme = quant_extreme(x, BLOCK);
    if (fabsf(extreme) < 1e-30f) {
        return 0;
    }
    float best = 0, most = 0;
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        float square, product;
        sum_iq4(x, w, ends[i] / extreme, &square, &product);
        float gain = square > 0 ? product / square * product : 0;
        if (gain > most) {
            most = gain;
            best = product / square;
        }
    }
    return best;
}

static void decode_iq4_nl(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols,
                          float *values)
{
    for (uint64_t b = 0; b < cols / BLOCK; b++) {
        float d = f32_from_f16(quant_load_u16(planes[1] + 2 * b));
        const uint8_t *nibbles = planes[0] + BLOCK / 2 * b;
        float *y = values + BLOCK * b;
        for (int i = 0; i < BLOCK / 2; i++) {
            y[i] = d * iq4_values[nibbles[i] & 15];
            y[i + BLOCK / 2] = d * iq4_values[nibbles[i] >> 4];
        }
    }
}

static void encode_iq4_nl(const float *values, const float *importance, uint64_t cols,
                          uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        const float *weights = quant_importance_at(importance, BLOCK * b);
        float x[BLOCK], w[BLOCK];
        uint8_t codes[BLOCK];
        quant_clean(values + BLOCK * b, BLOCK, -127 * QUANT_F16_MAX, 127 * QUANT_F16_MAX, x);
        quant_weigh(x, weights, quant_importance_factor(weights, BLOCK), BLOCK, w);
        float d = quant_clamp(search_iq4(x, w), -QUANT_F16_MAX, QUANT_F16_MAX);
        uint16_t bits = f16_from_f32(d);
        codes_iq4(x, quant_inverse(f32_from_f16(bits)), codes);
        quant_pack_halves(codes, planes[0] + BLOCK / 2 * b);
        quant_store_u16(planes[1] + 2 * b, bits);
    }
    quant_pad_plane(planes[0], blocks, BLOCK / 2);
    quant_pad_plane(planes[1], blocks, 2);
}

#define SUPER 256
#define GROUPS (SUPER / BLOCK)

static void decode_iq4_xs(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols,
                          float *values)
{
    for (uint64_t b = 0; b < cols / SUPER; b++) {
        const uint8_t *head = planes[1] + 8 * b;
        float d = f32_from_f16(quant_load_u16(head));
        int high = quant_load_u16(head + 2);
        for (int g = 0; g < GROUPS; g++) {
            int code = (head[4 + g / 2] >> 4 * (g % 2) & 15) | (high >> 2 * g & 3) << 4;
            float scale = d * (float)(code - 32);
            const uint8_t *nibbles = planes[0] + 128 * b + 16 * g;
            float *y = values + SUPER * b + BLOCK * g;
            for (int i = 0; i < BLOCK / 2; i++) {
                y[i] = scale * iq4_values[nibbles[i] & 15];
                y[i + BLOCK / 2] = scale * iq4_values[nibbles[i] >> 4];
            }
        }
    }
}

struct iq4_xs_search {
    float x[SUPER], w[SUPER];
    float wanted[GROUPS];
    uint16_t d;
    float scales[GROUPS]; /* integers -32..31 */
    uint8_t codes[SUPER];
    double error;
};

static float error_iq4(const float *x, const float *w, float scale)
{
    uint8_t codes[BLOCK];
    codes_iq4(x, quant_inverse(scale), codes);
    float error = 0;
    for (int i = 0; i < BLOCK; i++) {
        float rest = x[i] - scale * iq4_values[codes[i]];
        error += w[i] * rest * rest;
    }
    return error;
}

/* Integers for the factor d: the best of those at most `reach` from what a group wants. */
static void settle_iq4_xs(struct iq4_xs_search *s, uint16_t d_bits, int reach)
{
    float d = f32_from_f16(d_bits);
    s->d = d_bits;
    s->error = 0;
    for (int g = 0; g < GROUPS; g++) {
        const float *x = s->x + BLOCK * g, *w = s->w + BLOCK * g;
        float wanted = d != 0 ? quant_round(quant_clamp(s->wanted[g] / d, -32, 31)) : 0;
        float least = INFINITY;
        for (int a = -reach; a <= reach; a++) {
            float scale = quant_clamp(wanted + (float)a, -32, 31);
            float error = error_iq4(x, w, d * scale);
            if (error < least) {
                least = error;
                s->scales[g] = scale;
            }
        }
        codes_iq4(x, quant_inverse(d * s->scales[g]), s->codes + BLOCK * g);
        s->error += least;
    }
}

/* d that fits all codes best. */
static uint16_t refit_iq4_xs(const struct iq4_xs_search *s)
{
    double product = 0, square = 0;
    for (int i = 0; i < SUPER; i++) {
        double y = (double)s->scales[i / BLOCK] * iq4_values[s->codes[i]];
        product += s->w[i] * y * s->x[i];
        square += s->w[i] * y * y;
    }
    return square > 0 ? quant_factor_bits((float)(product / square)) : s->d;
}

static void search_iq4_xs(const float *values, const float *importance, struct iq4_xs_search *s)
{
    float factor = quant_importance_factor(importance, SUPER);
    float largest = 0; /* with its sign: it gets the integer -32 */
    quant_clean(values, SUPER, -32 * 127 * QUANT_F16_MAX, 32 * 127 * QUANT_F16_MAX, s->x);
    for (int g = 0; g < GROUPS; g++) {
        int at = BLOCK * g;
        quant_weigh(s->x + at, factor > 0 ? importance + at : NULL, factor, BLOCK, s->w + at);
        s->wanted[g] = search_iq4(s->x + at, s->w + at);
        largest = fabsf(s->wanted[g]) > fabsf(largest) ? s->wanted[g] : largest;
    }
    settle_iq4_xs(s, quant_factor_bits(largest / -32), 0);
    struct iq4_xs_search next = *s;
    settle_iq4_xs(&next, refit_iq4_xs(s), 1);
    if (next.error < s->error) {
        *s = next;
    }
}

static void encode_iq4_xs(const float *values, const float *importance, uint64_t cols,
                          uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / SUPER;
    for (uint64_t b = 0; b < blocks; b++) {
        struct iq4_xs_search search = {0};
        search_iq4_xs(values + SUPER * b, quant_importance_at(importance, SUPER * b), &search);
        uint8_t *head = planes[1] + 8 * b;
        int high = 0;
        memset(head, 0, 8);
        for (int g = 0; g < GROUPS; g++) {
            int code = (int)search.scales[g] + 32;
            high |= code >> 4 << 2 * g;
            head[4 + g / 2] |= (uint8_t)((code & 15) << 4 * (g % 2));
            quant_pack_halves(search.codes + BLOCK * g, planes[0] + 128 * b + 16 * g);
        }
        quant_store_u16(head, search.d);
        quant_store_u16(head + 2, (uint16_t)high);
    }
    quant_pad_plane(planes[0], blocks, 128);
    quant_pad_plane(planes[1], blocks, 8);
}

/* ---- mxfp4 ---- */

/* FP4 E2M1 doubled; code 8 is -0. */
static const float mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, -0.0f, -1, -2, -3, -4, -6, -8, -12};

/* 2^(e - 128), as ggml reads it: e = 255 is a number, too. */
static inline float mxfp4_scale(uint32_t e)
{
    return f32_from_bits(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}

static void decode_mxfp4(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols,
                         float *values)
{
    for (uint64_t b = 0; b < cols / BLOCK; b++) {
        float scale = mxfp4_scale(planes[1][b]);
        const uint8_t *nibbles = planes[0] + BLOCK / 2 * b;
        float *y = values + BLOCK * b;
        for (int i = 0; i < BLOCK / 2; i++) {
            y[i] = scale * mxfp4_values[nibbles[i] & 15];
            y[i + BLOCK / 2] = scale * mxfp4_values[nibbles[i] >> 4];
        }
    }
}

/* Codes at scale 2^(e - 128), and the weighted error in units of that scale. A code is the number
 * of borders between the values that lie at or below the magnitude. */
static float codes_mxfp4(const float *x, const float *w, int e, int32_t *codes)
{
    /* 2^(128 - e), in two factors: each is a normal number. */
    float half = f32_from_bits((uint32_t)(127 + (128 - e) / 2) << 23);
    float other = f32_from_bits((uint32_t)(127 + (128 - e) - (128 - e) / 2) << 23);
    quant_lanes errors = {0};
    for (int i = 0; i < BLOCK; i += QUANT_LANES) {
        quant_lanes value = quant_load_lanes(x + i);
        quant_masks negative = (quant_masks)value >> 31;
        quant_lanes v = (quant_lanes)((quant_masks)value & 0x7FFFFFFF) * half * other;
        quant_masks above5 = v >= 5.0f, above7 = v >= 7.0f, above10 = v >= 10.0f;
        quant_masks code =
            -((v >= 0.5f) + (v >= 1.5f) + (v >= 2.5f) + (v >= 3.5f) + above5 + above7 + above10);
        /* 0, 1, 2, 3, 4, 6, 8, 12 */
        quant_masks size = code - above5 - above7 - 3 * above10;
        quant_lanes rest = v - __builtin_convertvector(size, quant_lanes);
        errors += quant_load_lanes(w + i) * rest * rest;
        code |= negative & (code > 0) & 8;
        memcpy(codes + i, &code, sizeof(code));
    }
    return quant_sum_lanes(errors);
}

/* The exponent that makes the largest value 4 to 8 (6 is the most that fits), or the one above;
 * with importance, which may lie elsewhere, or the one below. */
static int search_mxfp4(const float *x, const float *importance, uint8_t *codes)
{
    memset(codes, 0, BLOCK);
    float largest = fabsf(quant_extreme(x, BLOCK));
    if (largest == 0) {
        return 0;
    }
    float w[BLOCK];
    float factor = quant_importance_factor(importance, BLOCK);
    for (int i = 0; i < BLOCK; i++) {
        w[i] = factor > 0 ? importance[i] * factor + 1e-5f : 1;
    }
    int exponent = (int)(f32_to_bits(largest) >> 23) - 2; /* + 127 of the largest power of two */
    int best = 0;
    float least = INFINITY;
    for (int e = exponent - (factor > 0); e <= exponent + 1; e++) {
        int32_t tried[BLOCK];
        if (e < 0 || e > 252) {
            continue;
        }
        float unit = f32_from_bits((uint32_t)(127 + 2 * (e - exponent)) << 23);
        float error = codes_mxfp4(x, w, e, tried) * unit;
        if (error < least) {
            least = error;
            best = e;
            for (int i = 0; i < BLOCK; i++) {
                codes[i] = (uint8_t)tried[i];
            }
        }
    }
    return best;
}

static void encode_mxfp4(const float *values, const float *importance, uint64_t cols,
                         uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        float x[BLOCK];
        uint8_t codes[BLOCK];
        quant_clean(values + BLOCK * b, BLOCK, -0x1.8p127f, 0x1.8p127f, x); /* 12 2^(252 - 128) */
        planes[1][b] = (uint8_t)search_mxfp4(x, quant_importance_at(importance, BLOCK * b), codes);
        quant_pack_halves(codes, planes[0] + BLOCK / 2 * b);
    }
    quant_pad_plane(planes[0], blocks, BLOCK / 2);
    quant_pad_plane(planes[1], blocks, 1);
}

const struct quant quant_codec_IQ4_NL = {decode_iq4_nl, encode_iq4_nl};
const struct quant quant_codec_IQ4_XS = {decode_iq4_xs, encode_iq4_xs};
const struct quant quant_codec_MXFP4 = {decode_mxfp4, encode_mxfp4};
