/* Products of tiles of block types with int8 activations, with NEON's dot products.
 *
 * 8 rows and up to 4 vectors at a time: 8 sums of integers stay in registers. One instruction
 * multiplies 4 columns of 4 rows with 4 activations, which are a lane of a register. Codes with the
 * largest offset are signed.
 */
#include "engine/cpu/cpu_tile_neon.h"

static inline tile_words tile_codes(tile_words codes, uint32_t offset)
{
    return offset == 128 ? codes ^ 0x80808080 : codes;
}

#define MAX_VECTORS 4
#define ALWAYS_INLINE static inline __attribute__((always_inline))

#include "engine/cpu/cpu_tile_unpack.h"

/* What differs between types; constants in each pass. */
struct shape {
    int groups;
    bool minima;
    int offset;
};

/* Four quads of columns, 16 activations of a vector. */
ALWAYS_INLINE void multiply_16(const tile_words (*codes)[TILE_VECTORS], uint64_t q,
                               const struct activations *x, const int n,
                               int32x4_t sums[TILE_VECTORS][MAX_VECTORS])
{
    int8x16_t quads[MAX_VECTORS];
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        quads[i] = vld1q_s8((const int8_t *)x->rows[i] + q);
    }
#pragma GCC unroll 2
    for (int v = 0; v < TILE_VECTORS; v++) {
        int8x16_t k0 = (int8x16_t)codes[0][v], k1 = (int8x16_t)codes[1][v];
        int8x16_t k2 = (int8x16_t)codes[2][v], k3 = (int8x16_t)codes[3][v];
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            int32x4_t sum = vdotq_laneq_s32(sums[v][i], k0, quads[i], 0);
            sum = vdotq_laneq_s32(sum, k1, quads[i], 1);
            sum = vdotq_laneq_s32(sum, k2, quads[i], 2);
            sums[v][i] = vdotq_laneq_s32(sum, k3, quads[i], 3);
        }
    }
}

ALWAYS_INLINE void multiply_group(const tile_words (*codes)[TILE_VECTORS], const struct shape shape,
                                  const struct activations *x, const int n,
                                  int32x4_t sums[TILE_VECTORS][MAX_VECTORS])
{
    const bool shifted = shape.offset > 0 && shape.offset < 128;
    for (int i = 0; i < n; i++) {
        int32_t shift = 0;
        if (shifted) { /* shifts are made for an offset of 128 */
            int places = __builtin_ctz(128) - __builtin_ctz((unsigned)shape.offset);
            shift = load_int32(x->rows[i] + x->shift) >> places;
        }
        sums[0][i] = sums[1][i] = vdupq_n_s32(shift);
    }
    multiply_16(codes, x->q, x, n, sums);
    if (shape.groups == 1) {
        multiply_16(codes + 4, x->q + 16, x, n, sums);
    }
}

ALWAYS_INLINE void add_group(const struct tile *tile, uint64_t group, const struct shape shape,
                             const struct activations *x, const int n,
                             float32x4_t sums[TILE_VECTORS][MAX_VECTORS])
{
    int32x4_t integers[TILE_VECTORS][MAX_VECTORS];
    multiply_group(tile->codes + group * (uint64_t)(8 / shape.groups), shape, x, n, integers);
    for (int v = 0; v < TILE_VECTORS; v++) {
        float32x4_t scales = (float32x4_t)tile->scales[group][v];
        for (int i = 0; i < n; i++) {
            float32x4_t scale = vmulq_n_f32(scales, load_float(x->rows[i] + x->scale));
            sums[v][i] = vfmaq_f32(sums[v][i], vcvtq_f32_s32(integers[v][i]), scale);
            if (shape.minima) {
                sums[v][i] = vfmaq_n_f32(sums[v][i], (float32x4_t)tile->minima[group][v],
                                         load_float(x->rows[i] + x->sum));
            }
        }
    }
}

ALWAYS_INLINE void multiply_panel(const struct tile_pass *pass, const struct shape shape,
                                  const int n)
{
    struct activations x = activations_of(pass, shape.groups, n);
    float32x4_t sums[TILE_VECTORS][MAX_VECTORS];
    for (int i = 0; i < n; i++) {
        sums[0][i] = sums[1][i] = vdupq_n_f32(0);
    }
    uint64_t n_groups = pass->n_columns / 32 * (uint64_t)shape.groups;
    for (uint64_t g = 0; g < n_groups; g += (uint64_t)shape.groups) {
        for (int k = 0; k < shape.groups; k++) {
            add_group(pass->tile, g + (uint64_t)k, shape, &x, n, sums);
            x.q += (uint64_t)(32 / shape.groups);
            x.sum += 4;
            x.shift += 4;
        }
        x.scale += 4;
    }
    for (int i = 0; i < n; i++) {
        tile_put(pass, (tile_floats)sums[0][i], i, 0);
        tile_put(pass, (tile_floats)sums[1][i], i, 1);
    }
}

#define PASS(name, n, ...) \
    static void multiply_##name##_##n(const struct tile_pass *pass) \
    { \
        multiply_panel(pass, (struct shape){__VA_ARGS__}, n); \
    }
#define X(NAME, name, groups, minima, offset, ...) \
    PASS(name, 1, groups, minima, offset) \
    PASS(name, 2, groups, minima, offset) \
    PASS(name, 3, groups, minima, offset) \
    PASS(name, 4, groups, minima, offset) \
    static void (*const passes_##name[MAX_VECTORS])(const struct tile_pass *pass) = { \
        multiply_##name##_1, multiply_##name##_2, multiply_##name##_3, multiply_##name##_4}; \
    void cpu_tile_##name##_neon_dot(const struct cpu_tile_call *call) \
    { \
        tile_walk(call, &(struct tile_kind){unpack_##name, 32 * TILE_GROUPS / groups, MAX_VECTORS, \
                                            passes_##name}); \
    }
TILE_TYPES(X)
#undef X
