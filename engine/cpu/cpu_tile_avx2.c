/* Products of tiles of block types with int8 activations, with AVX2.
 *
 * 16 rows and up to 4 vectors at a time: 8 sums of integers stay in registers. maddubs adds pairs
 * of products to 16 bits, where as many more are added as fit. Signed codes give their signs to the
 * activations.
 */
#include "engine/cpu/cpu_tile_avx2.h"

/* Offsets stay as they are, but codes with the largest become signed. */
static inline tile_words tile_codes(tile_words codes, uint32_t offset)
{
    return offset == 128 ? codes ^ 0x80808080 : codes;
}

#define MAX_VECTORS 4

#include "engine/cpu/cpu_tile_unpack.h"

/* What differs between types; constants in each pass. */
struct shape {
    int groups;
    bool minima;
    int offset, quads;
};

static inline __m256i multiply_quads(__m256i codes, __m256i x, const bool is_signed)
{
    return is_signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes))
                     : _mm256_maddubs_epi16(codes, x);
}

/* Some quads of columns, added up in 16 bits. */
static inline __attribute__((always_inline)) void
multiply_in_16_bits(const tile_words (*codes)[TILE_VECTORS], const struct shape shape, uint64_t q,
                    const struct activations *x, const int n,
                    __m256i sums[TILE_VECTORS][MAX_VECTORS])
{
    const bool is_signed = shape.offset == 128;
    for (int k = 0; k < shape.quads; k++) {
        __m256i first = (__m256i)codes[k][0], second = (__m256i)codes[k][1];
        for (int i = 0; i < n; i++) {
            __m256i quad = _mm256_set1_epi32(load_int32(x->rows[i] + q + 4 * (uint64_t)k));
            __m256i a = multiply_quads(first, quad, is_signed);
            __m256i b = multiply_quads(second, quad, is_signed);
            sums[0][i] = k ? _mm256_add_epi16(sums[0][i], a) : a;
            sums[1][i] = k ? _mm256_add_epi16(sums[1][i], b) : b;
        }
    }
}

static inline __attribute__((always_inline)) void
multiply_group(const tile_words (*codes)[TILE_VECTORS], const struct shape shape,
               const struct activations *x, const int n, __m256i sums[TILE_VECTORS][MAX_VECTORS])
{
    const bool shifted = shape.offset > 0 && shape.offset < 128;
    for (int k = 0; k < 8 / shape.groups; k += shape.quads) {
        __m256i pairs[TILE_VECTORS][MAX_VECTORS];
        multiply_in_16_bits(codes + k, shape, x->q + 4 * (uint64_t)k, x, n, pairs);
        for (int i = 0; i < n; i++) {
            for (int v = 0; v < TILE_VECTORS; v++) {
                __m256i quads = _mm256_madd_epi16(pairs[v][i], _mm256_set1_epi16(1));
                sums[v][i] = k ? _mm256_add_epi32(sums[v][i], quads) : quads;
            }
        }
    }
    for (int i = 0; shifted && i < n; i++) {
        /* Shifts are made for an offset of 128. */
        int places = __builtin_ctz(128) - __builtin_ctz((unsigned)shape.offset);
        __m256i shift = _mm256_set1_epi32(load_int32(x->rows[i] + x->shift));
        shift = _mm256_srai_epi32(shift, places);
        sums[0][i] = _mm256_add_epi32(sums[0][i], shift);
        sums[1][i] = _mm256_add_epi32(sums[1][i], shift);
    }
}

static inline __attribute__((always_inline)) void
add_group(const struct tile *tile, uint64_t group, const struct shape shape,
          const struct activations *x, const int n, __m256 sums[TILE_VECTORS][MAX_VECTORS])
{
    __m256i integers[TILE_VECTORS][MAX_VECTORS];
    multiply_group(tile->codes + group * (uint64_t)(8 / shape.groups), shape, x, n, integers);
    for (int v = 0; v < TILE_VECTORS; v++) {
        __m256 scales = (__m256)tile->scales[group][v];
        for (int i = 0; i < n; i++) {
            __m256 scale = _mm256_mul_ps(scales, _mm256_set1_ps(load_float(x->rows[i] + x->scale)));
            sums[v][i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(integers[v][i]), scale, sums[v][i]);
        }
    }
    for (int v = 0; shape.minima && v < TILE_VECTORS; v++) {
        __m256 minimum = (__m256)tile->minima[group][v];
        for (int i = 0; i < n; i++) {
            __m256 sum = _mm256_set1_ps(load_float(x->rows[i] + x->sum));
            sums[v][i] = _mm256_fmadd_ps(minimum, sum, sums[v][i]);
        }
    }
}

static inline __attribute__((always_inline)) void
multiply_panel(const struct tile_pass *pass, const struct shape shape, const int n)
{
    struct activations x = activations_of(pass, shape.groups, n);
    __m256 sums[TILE_VECTORS][MAX_VECTORS];
    for (int i = 0; i < n; i++) {
        sums[0][i] = sums[1][i] = _mm256_setzero_ps();
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
#define X(NAME, name, groups, minima, offset, quads, ...) \
    PASS(name, 1, groups, minima, offset, quads) \
    PASS(name, 2, groups, minima, offset, quads) \
    PASS(name, 3, groups, minima, offset, quads) \
    PASS(name, 4, groups, minima, offset, quads) \
    static void (*const passes_##name[MAX_VECTORS])(const struct tile_pass *pass) = { \
        multiply_##name##_1, multiply_##name##_2, multiply_##name##_3, multiply_##name##_4}; \
    void cpu_tile_##name##_avx2(const struct cpu_tile_call *call) \
    { \
        tile_walk(call, &(struct tile_kind){unpack_##name, 32 * TILE_GROUPS / groups, MAX_VECTORS, \
                                            passes_##name}); \
    }
TILE_TYPES(X)
#undef X
