/* Products of tiles of block types with int8 activations, with AVX-512 VNNI.
 *
 * 32 rows and up to 6 vectors at a time: 12 sums of integers and 12 of floats stay in registers.
 * The integer sums of a group begin with what makes up for codes that are 128 too large. dpbusd
 * multiplies 64 pairs, as much as one load of weights or two broadcasts of activations serve.
 *
 * The limit: of 32 columns, 8 dpbusd, a product with scales for each group and one with those of
 * the activations go through the same ports, and one more for each group's minima: 80 % of the rate
 * of dpbusd alone, 73 % with minima or two groups, 62 % with both. Measured on Zen 4 from the L1
 * cache, 6 vectors: 81, 74, 69 and 59 %.
 */
#include "engine/cpu/cpu_tile_avx512.h"

/* All types get the offset 128. */
static inline tile_words tile_codes(tile_words codes, uint32_t offset)
{
    return codes + (128 - offset) * 0x01010101;
}

#define MAX_VECTORS 6

#include "engine/cpu/cpu_tile_unpack.h"

/* A group: codes times activations, and what makes up for the codes' offset. */
static inline __attribute__((always_inline)) void
multiply_group(const tile_words (*codes)[TILE_VECTORS], const int quads,
               const struct activations *x, const int n, __m512i sums[TILE_VECTORS][MAX_VECTORS])
{
    for (int i = 0; i < n; i++) {
        sums[0][i] = sums[1][i] = _mm512_set1_epi32(load_int32(x->rows[i] + x->shift));
    }
    for (int k = 0; k < quads; k++) {
        __m512i first = (__m512i)codes[k][0], second = (__m512i)codes[k][1];
        for (int i = 0; i < n; i++) {
            __m512i quad = _mm512_set1_epi32(load_int32(x->rows[i] + x->q + 4 * (uint64_t)k));
            sums[0][i] = _mm512_dpbusd_epi32(sums[0][i], first, quad);
            sums[1][i] = _mm512_dpbusd_epi32(sums[1][i], second, quad);
        }
    }
}

/* parts (of a block) + integers * scales, or just that for the first group of a block. */
static inline __attribute__((always_inline)) void
scale_group(const tile_floats scales[TILE_VECTORS], __m512i integers[TILE_VECTORS][MAX_VECTORS],
            const bool first, const int n, __m512 parts[TILE_VECTORS][MAX_VECTORS])
{
    for (int v = 0; v < TILE_VECTORS; v++) {
        for (int i = 0; i < n; i++) {
            __m512 products = _mm512_cvtepi32_ps(integers[v][i]);
            parts[v][i] = first ? _mm512_mul_ps(products, (__m512)scales[v])
                                : _mm512_fmadd_ps(products, (__m512)scales[v], parts[v][i]);
        }
    }
}

static inline __attribute__((always_inline)) void add_minima(const tile_floats minima[TILE_VECTORS],
                                                             const struct activations *x,
                                                             const int n,
                                                             __m512 sums[TILE_VECTORS][MAX_VECTORS])
{
    for (int i = 0; i < n; i++) {
        __m512 sum = _mm512_set1_ps(load_float(x->rows[i] + x->sum));
        sums[0][i] = _mm512_fmadd_ps((__m512)minima[0], sum, sums[0][i]);
        sums[1][i] = _mm512_fmadd_ps((__m512)minima[1], sum, sums[1][i]);
    }
}

/* A block of 32 columns. */
static inline __attribute__((always_inline)) void add_block(const struct tile *tile, uint64_t group,
                                                            const int groups, const bool minima,
                                                            struct activations *x, const int n,
                                                            __m512 sums[TILE_VECTORS][MAX_VECTORS])
{
    __m512 parts[TILE_VECTORS][MAX_VECTORS];
    for (int g = 0; g < groups; g++, group++) {
        const int quads = 8 / groups;
        __m512i integers[TILE_VECTORS][MAX_VECTORS];
        multiply_group(tile->codes + group * (uint64_t)quads, quads, x, n, integers);
        scale_group(tile->scales[group], integers, g == 0, n, parts);
        if (minima) {
            add_minima(tile->minima[group], x, n, sums);
        }
        x->q += 4 * (uint64_t)quads;
        x->sum += sizeof(float);
        x->shift += sizeof(int32_t);
    }
    for (int i = 0; i < n; i++) {
        __m512 scale = _mm512_set1_ps(load_float(x->rows[i] + x->scale));
        sums[0][i] = _mm512_fmadd_ps(parts[0][i], scale, sums[0][i]);
        sums[1][i] = _mm512_fmadd_ps(parts[1][i], scale, sums[1][i]);
    }
    x->scale += sizeof(float);
}

static inline __attribute__((always_inline)) void
multiply_panel(const struct tile_pass *pass, const int groups, const bool minima, const int n)
{
    struct activations x = activations_of(pass, groups, n);
    __m512 sums[TILE_VECTORS][MAX_VECTORS];
    for (int i = 0; i < n; i++) {
        sums[0][i] = sums[1][i] = _mm512_setzero_ps();
    }
    uint64_t n_groups = pass->n_columns / 32 * (uint64_t)groups;
    for (uint64_t g = 0; g < n_groups; g += (uint64_t)groups) {
        add_block(pass->tile, g, groups, minima, &x, n, sums);
    }
    for (int i = 0; i < n; i++) {
        tile_put(pass, (tile_floats)sums[0][i], i, 0);
        tile_put(pass, (tile_floats)sums[1][i], i, 1);
    }
}

#define PASSES(X) X(1, 0) X(1, 1) X(2, 0) X(2, 1)
#define VECTORS(X, groups, minima) \
    X(groups, minima, 1) \
    X(groups, minima, 2) \
    X(groups, minima, 3) X(groups, minima, 4) X(groups, minima, 5) X(groups, minima, 6)

#define PASS(groups, minima, n) \
    static void multiply_##groups##_##minima##_##n(const struct tile_pass *pass) \
    { \
        multiply_panel(pass, groups, minima, n); \
    }
#define X(groups, minima) VECTORS(PASS, groups, minima)
PASSES(X)
#undef X
#define ENTRY(groups, minima, n) [groups - 1][minima][n - 1] = multiply_##groups##_##minima##_##n,
#define X(groups, minima) VECTORS(ENTRY, groups, minima)
static void (*const passes[2][2][MAX_VECTORS])(const struct tile_pass *pass) = {PASSES(X)};
#undef X

#define X(NAME, name, groups, minima, ...) \
    void cpu_tile_##name##_avx512_vnni(const struct cpu_tile_call *call) \
    { \
        tile_walk(call, &(struct tile_kind){unpack_##name, 32 * TILE_GROUPS / groups, MAX_VECTORS, \
                                            passes[groups - 1][minima]}); \
    }
TILE_TYPES(X)
#undef X
