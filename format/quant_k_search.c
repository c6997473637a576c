/* Finds scales and codes for a super-block that keep the weighted squared error small.
 *
 * 1. Each group on its own: quant_search.h.
 * 2. The factor d (and dmin) shared by the groups follows from the largest scale, and is rounded to
 *    what an f16 can hold. Group scales become integers.
 * 3. Every group tries the neighbours of its integers with codes made anew from the values that
 *    will really be stored; then d (and dmin) are fitted to all groups at once, and this is
 * repeated while it helps. */
#include "format/quant_k_search.h"

#include <stddef.h>

#include "format/f16.h"
#include "format/quant_codecs.h"
#include "format/quant_search.h"

#define REFITS 2 /* rounds of 3. */
#define MAX_GROUPS 16

static float integer_scale(float scale, float factor, float low, float high)
{
    return factor != 0 ? quant_round(quant_clamp(scale / factor, low, high)) : 0;
}

/* Uneven weights ask for finer steps. */
static struct quant_ladder ladder_for(struct quant_ladder ladder, float importance_factor)
{
    if (importance_factor > 0) {
        ladder.step /= 2;
        ladder.steps *= 2;
    }
    return ladder;
}

/* ---- affine: q2_k, q4_k, q5_k ---- */

struct affine_shape {
    int group;        /* elements */
    float most_code;  /* 3, 15 or 31 */
    float most_scale; /* 15 or 63 */
    struct quant_ladder ladder;
};

struct affine_search {
    float x[QUANT_K_BLOCK], w[QUANT_K_BLOCK];
    struct quant_affine_fit wanted[MAX_GROUPS];
};

/* What may be stored, but for the codes, which follow from it. */
struct affine_choice {
    uint16_t d, dmin;
    float scales[MAX_GROUPS], lows[MAX_GROUPS]; /* integers */
    double error;
};

/* Integers for the factors d and dmin: the best of those at most `reach` from what a group wants.
 */
QUANT_INLINE void settle_affine(const struct affine_search *s, struct affine_choice *c,
                                const struct affine_shape shape, uint16_t d_bits,
                                uint16_t dmin_bits, int reach)
{
    float d = f32_from_f16(d_bits), dmin = f32_from_f16(dmin_bits), most = shape.most_scale;
    c->d = d_bits;
    c->dmin = dmin_bits;
    c->error = 0;
    for (int g = 0; g < QUANT_K_BLOCK / shape.group; g++) {
        const float *x = s->x + shape.group * g, *w = s->w + shape.group * g;
        float scale = integer_scale(s->wanted[g].scale, d, 0, most);
        float low = integer_scale(-s->wanted[g].offset, dmin, 0, most);
        float least = INFINITY;
        for (int a = -reach; a <= reach; a++) {
            for (int b = -reach; b <= reach; b++) {
                float try_scale = quant_clamp(scale + (float)a, 0, most);
                float try_low = quant_clamp(low + (float)b, 0, most);
                float error = quant_error_affine(x, w, shape.group, shape.most_code, d * try_scale,
                                                 -(dmin * try_low));
                if (error < least) {
                    least = error;
                    c->scales[g] = try_scale;
                    c->lows[g] = try_low;
                }
            }
        }
        c->error += least;
    }
}

QUANT_INLINE void codes_affine(const struct affine_search *s, const struct affine_choice *c,
                               const struct affine_shape shape, uint8_t *codes)
{
    for (int g = 0; g < QUANT_K_BLOCK / shape.group; g++) {
        float scale = f32_from_f16(c->d) * c->scales[g];
        float low = f32_from_f16(c->dmin) * c->lows[g];
        float inverse = scale != 0 ? 1 / scale : 0;
        for (int i = shape.group * g; i < shape.group * (g + 1); i += QUANT_LANES) {
            quant_lanes code =
                quant_round_lanes((quant_load_lanes(s->x + i) + low) * inverse, 0, shape.most_code);
            for (int l = 0; l < QUANT_LANES; l++) {
                codes[i + l] = (uint8_t)code[l];
            }
        }
    }
}

/* d and dmin that fit all codes best: x = d (scale n) - dmin low. Left alone where the codes do not
 * determine them. */
QUANT_INLINE void refit_affine(const struct affine_search *s, const struct affine_choice *c,
                               const struct affine_shape shape, uint16_t *d, uint16_t *dmin)
{
    uint8_t codes[QUANT_K_BLOCK];
    codes_affine(s, c, shape, codes);
    double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
    for (int g = 0; g < QUANT_K_BLOCK / shape.group; g++) {
        double n1 = 0, n2 = 0, xn = 0, w1 = 0, x1 = 0;
        for (int i = shape.group * g; i < shape.group * (g + 1); i++) {
            double wn = (double)s->w[i] * codes[i];
            w1 += s->w[i];
            x1 += (double)s->w[i] * s->x[i];
            n1 += wn;
            n2 += wn * codes[i];
            xn += wn * s->x[i];
        }
        double scale = c->scales[g], low = -c->lows[g];
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
    *d = new_d >= 0 ? quant_factor_bits((float)new_d) : *d;
    *dmin = new_dmin >= 0 ? quant_factor_bits((float)new_dmin) : *dmin;
}

QUANT_INLINE void search_affine(const float *values, const float *importance,
                                const struct affine_shape shape, struct quant_k_affine *block)
{
    struct affine_search search;
    struct affine_choice best;
    float largest_scale = 0, largest_low = 0;
    float importance_factor = quant_importance_factor(importance, QUANT_K_BLOCK);
    struct quant_ladder ladder = ladder_for(shape.ladder, importance_factor);
    /* The least value is -dmin most_scale, the greatest d most_scale most_code. */
    float limit = shape.most_scale * QUANT_F16_MAX;
    quant_clean(values, QUANT_K_BLOCK, -limit, shape.most_code * limit, search.x);
    for (int g = 0; g < QUANT_K_BLOCK / shape.group; g++) {
        int at = shape.group * g;
        quant_weigh(search.x + at, importance_factor > 0 ? importance + at : NULL,
                    importance_factor, shape.group, search.w + at);
        search.wanted[g] = quant_search_affine(search.x + at, search.w + at, shape.group,
                                               shape.most_code, true, ladder);
        largest_scale = fmaxf(largest_scale, search.wanted[g].scale);
        largest_low = fmaxf(largest_low, -search.wanted[g].offset);
    }
    settle_affine(&search, &best, shape, quant_factor_bits(largest_scale / shape.most_scale),
                  quant_factor_bits(largest_low / shape.most_scale), 0);
    for (int round = 0; round < REFITS; round++) {
        struct affine_choice next;
        uint16_t d = best.d, dmin = best.dmin;
        refit_affine(&search, &best, shape, &d, &dmin);
        settle_affine(&search, &next, shape, d, dmin, 1);
        if (next.error >= best.error) {
            break;
        }
        best = next;
    }
    block->d = best.d;
    block->dmin = best.dmin;
    for (int g = 0; g < QUANT_K_BLOCK / shape.group; g++) {
        block->scales[g] = (uint8_t)best.scales[g];
        block->lows[g] = (uint8_t)best.lows[g];
    }
    codes_affine(&search, &best, shape, block->codes);
}

void quant_search_q2_k(const float *values, const float *importance, struct quant_k_affine *block)
{
    search_affine(values, importance, (struct affine_shape){16, 3, 15, {2.2f, 0.25f, 8}}, block);
}

void quant_search_q4_k(const float *values, const float *importance, struct quant_k_affine *block)
{
    search_affine(values, importance, (struct affine_shape){32, 15, 63, {14, 0.25f, 8}}, block);
}

void quant_search_q5_k(const float *values, const float *importance, struct quant_k_affine *block)
{
    search_affine(values, importance, (struct affine_shape){32, 31, 63, {30, 0.25f, 8}}, block);
}

/* ---- symmetric: q3_k, q6_k ---- */

#define GROUP 16

struct symmetric_shape {
    float low, high;             /* of the codes */
    float scale_low, scale_high; /* of the integer scales */
    struct quant_ladder ladder;
};

struct symmetric_search {
    float x[QUANT_K_BLOCK], w[QUANT_K_BLOCK];
    float wanted[QUANT_K_BLOCK / GROUP];
};

struct symmetric_choice {
    uint16_t d;
    float scales[QUANT_K_BLOCK / GROUP]; /* integers */
    double error;
};

QUANT_INLINE void settle_symmetric(const struct symmetric_search *s, struct symmetric_choice *c,
                                   const struct symmetric_shape shape, uint16_t d_bits, int reach)
{
    float d = f32_from_f16(d_bits);
    c->d = d_bits;
    c->error = 0;
    for (int g = 0; g < QUANT_K_BLOCK / GROUP; g++) {
        float scale = integer_scale(s->wanted[g], d, shape.scale_low, shape.scale_high);
        float least = INFINITY;
        for (int a = -reach; a <= reach; a++) {
            float try_scale = quant_clamp(scale + (float)a, shape.scale_low, shape.scale_high);
            float error = quant_error_symmetric(s->x + GROUP * g, s->w + GROUP * g, GROUP,
                                                shape.low, shape.high, d * try_scale);
            if (error < least) {
                least = error;
                c->scales[g] = try_scale;
            }
        }
        c->error += least;
    }
}

QUANT_INLINE void codes_symmetric(const struct symmetric_search *s,
                                  const struct symmetric_choice *c,
                                  const struct symmetric_shape shape, uint8_t *codes)
{
    for (int g = 0; g < QUANT_K_BLOCK / GROUP; g++) {
        float scale = f32_from_f16(c->d) * c->scales[g];
        float inverse = scale != 0 ? 1 / scale : 0;
        for (int i = GROUP * g; i < GROUP * (g + 1); i += QUANT_LANES) {
            quant_lanes code =
                quant_round_lanes(quant_load_lanes(s->x + i) * inverse, shape.low, shape.high) -
                shape.low;
            for (int l = 0; l < QUANT_LANES; l++) {
                codes[i + l] = (uint8_t)code[l];
            }
        }
    }
}

/* d that fits all codes best. */
QUANT_INLINE uint16_t refit_symmetric(const struct symmetric_search *s,
                                      const struct symmetric_choice *c,
                                      const struct symmetric_shape shape)
{
    float d = f32_from_f16(c->d);
    double products = 0, squares = 0;
    for (int g = 0; g < QUANT_K_BLOCK / GROUP; g++) {
        float scale = c->scales[g], product, square;
        float inverse = d * scale != 0 ? 1 / (d * scale) : 0;
        quant_sum_symmetric(s->x + GROUP * g, s->w + GROUP * g, GROUP, shape.low, shape.high,
                            inverse, &product, &square);
        products += (double)scale * product;
        squares += (double)scale * scale * square;
    }
    return squares > 0 ? quant_factor_bits((float)(products / squares)) : c->d;
}

QUANT_INLINE void search_symmetric(const float *values, const float *importance,
                                   const struct symmetric_shape shape,
                                   struct quant_k_symmetric *block)
{
    struct symmetric_search search;
    struct symmetric_choice best;
    float largest = 0; /* with its sign: it gets the integer scale_low */
    float importance_factor = quant_importance_factor(importance, QUANT_K_BLOCK);
    struct quant_ladder ladder = ladder_for(shape.ladder, importance_factor);
    float limit = shape.scale_low * shape.low * QUANT_F16_MAX;
    quant_clean(values, QUANT_K_BLOCK, -limit, limit, search.x);
    for (int g = 0; g < QUANT_K_BLOCK / GROUP; g++) {
        int at = GROUP * g;
        quant_weigh(search.x + at, importance_factor > 0 ? importance + at : NULL,
                    importance_factor, GROUP, search.w + at);
        search.wanted[g] = quant_search_symmetric(search.x + at, search.w + at, GROUP, shape.low,
                                                  shape.high, ladder);
        largest = fabsf(search.wanted[g]) > fabsf(largest) ? search.wanted[g] : largest;
    }
    settle_symmetric(&search, &best, shape, quant_factor_bits(largest / shape.scale_low), 0);
    for (int round = 0; round < REFITS; round++) {
        uint16_t d = refit_symmetric(&search, &best, shape);
        struct symmetric_choice next;
        settle_symmetric(&search, &next, shape, d, 1);
        if (next.error >= best.error) {
            break;
        }
        best = next;
    }
    block->d = best.d;
    for (int g = 0; g < QUANT_K_BLOCK / GROUP; g++) {
        block->scales[g] = (int8_t)best.scales[g];
    }
    codes_symmetric(&search, &best, shape, block->codes);
}

void quant_search_q3_k(const float *values, const float *importance,
                       struct quant_k_symmetric *block)
{
    search_symmetric(values, importance, (struct symmetric_shape){-4, 3, -32, 31, {3, 0.25f, 8}},
                     block);
}

void quant_search_q6_k(const float *values, const float *importance,
                       struct quant_k_symmetric *block)
{
    search_symmetric(values, importance,
                     (struct symmetric_shape){-32, 31, -128, 127, {31, 0.25f, 8}}, block);
}
