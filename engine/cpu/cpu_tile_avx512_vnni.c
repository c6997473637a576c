/* Products of tiles of block types with int8 activations, with AVX-512 VNNI.
 *
 * 32 rows and up to 6 vectors at a time: 12 sums of integers and 12 of floats stay in registers.
 * dpbusd multiplies 64 pairs, as much as one load of weights or two broadcasts of activations
 * serve.
 *
 * The limit: of 32 columns, 8 dpbusd, a product with scales for each group and one with those of
 * the activations go through the same ports, and one more for each group's minima: 80 % of the rate
 * of dpbusd alone, 73 % with minima or two groups, 62 % with both. Measured on Zen 4 from the L1
 * cache, 6 vectors: 81, 74, 69 and 59 %.
 */
#include "engine/cpu/cpu_tile_avx512.h"

#define MAX_VECTORS 6
#define TILE_COUNTS(X, ...) \
    X(1, __VA_ARGS__) \
    X(2, __VA_ARGS__) \
    X(3, __VA_ARGS__) X(4, __VA_ARGS__) X(5, __VA_ARGS__) X(6, __VA_ARGS__)
#define TILE_FUNCTION(name) void cpu_tile_##name##_avx512_vnni

static inline tile_ints tile_dot(tile_ints sums, tile_words codes, tile_ints x)
{
    return (tile_ints)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)codes, (__m512i)x);
}

#include "engine/cpu/cpu_tile_vnni.h"
