/* Products of tiles of block types with int8 activations, with AVX2.
 *
 * 16 rows and up to 4 vectors at a time: 8 sums of integers stay in registers. maddubs adds pairs
 * of products to 16 bits, where as many more are added as fit. Signed codes give their signs to the
 * activations.
 */
#include "engine/cpu/cpu_tile_avx2.h"

#define MAX_VECTORS 4
#define TILE_COUNTS(X, ...) X(1, __VA_ARGS__) X(2, __VA_ARGS__) X(3, __VA_ARGS__) X(4, __VA_ARGS__)
#define TILE_SHAPES(X) \
    X(1, 0, 8, 8) \
    X(1, 0, 16, 4) \
    X(1, 0, 128, 1) X(1, 1, 0, 8) X(1, 1, 0, 4) X(2, 0, 4, 4) X(2, 0, 32, 2) X(2, 1, 0, 4)
#define TILE_PASSES(groups, minima, offset, quads) passes_##groups##minima##_##offset##_##quads
#define TILE_FUNCTION(name) void cpu_tile_##name##_avx2

/* Offsets stay as they are, but codes with the largest become signed. */
static inline tile_words tile_codes(tile_words codes, uint32_t offset)
{
    return offset == 128 ? codes ^ 0x80808080 : codes;
}

#include "engine/cpu/cpu_tile_unpack.h"

static inline __m256i multiply_quads(__m256i codes, __m256i x, const bool is_signed)
{
    return is_signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes))
                     : _mm256_maddubs_epi16(codes, x);
}

/* Some quads of columns, added up in 16 bits. */
TILE_INLINE void multiply_in_16_bits(const tile_words (*codes)[TILE_VECTORS],
                                     const struct shape shape, uint64_t q,
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

TILE_INLINE void multiply_group(const tile_words (*codes)[TILE_VECTORS], const struct shape shape,
                                const struct activations *x, const int n,
                                tile_ints sums[TILE_VECTORS][MAX_VECTORS])
{
    const bool shifted = shape.offset > 0 && shape.offset < 128;
    for (int k = 0; k < 8 / shape.groups; k += shape.quads) {
        __m256i pairs[TILE_VECTORS][MAX_VECTORS];
        multiply_in_16_bits(codes + k, shape, x->q + 4 * (uint64_t)k, x, n, pairs);
        for (int i = 0; i < n; i++) {
            for (int v = 0; v < TILE_VECTORS; v++) {
                tile_ints quads = (tile_ints)_mm256_madd_epi16(pairs[v][i], _mm256_set1_epi16(1));
                sums[v][i] = k ? sums[v][i] + quads : quads;
            }
        }
    }
    for (int i = 0; shifted && i < n; i++) {
        int32_t shift = activations_shift(x, i, shape.offset);
        sums[0][i] += shift;
        sums[1][i] += shift;
    }
}

#include "engine/cpu/cpu_tile_multiply.h"
