/* What the files of attention share: the loops that every instruction set brings, the caches, and
 * attention of a tile of queries, which serves grouped and latent heads alike.
 */
#pragma once

#include <stdint.h>

#include "engine/op/op.h"

struct cpu_run;
struct cpu_level;

/* Cache rows that are unpacked and met at a time: keys and values of 128 dimensions fill the L1
 * cache half. */
#define CPU_ATTENTION_ROWS 32
/* Rows of floats between the loops below have a multiple of this many elements, zeros behind the
 * last; so have counts of queries a multiple of 4, with anything behind the last. */
#define CPU_ATTENTION_ALIGN 16

/* The loops over a block of n_rows <= CPU_ATTENTION_ROWS cache rows. Rows of floats are 64-byte
 * aligned and `dim` long, a multiple of CPU_ATTENTION_ALIGN. */
struct cpu_attention_math {
    /* n floats of f16; of q8_0, n a multiple of 32. */
    void (*unpack_f16)(const uint16_t *halves, uint64_t n, float *values);
    void (*unpack_q8_0)(const int8_t *codes, const uint16_t *scales, uint64_t n, float *values);
    /* scores[q * CPU_ATTENTION_ROWS + r] = queries[q] . keys[r]; what is behind n_rows may become
     * anything. */
    void (*score)(const float *queries, uint32_t n_queries, const float *keys, uint64_t n_rows,
                  uint64_t dim, float *scores);
    /* scores = exp(scores - maximum) for all CPU_ATTENTION_ROWS of them; returns the sum. */
    float (*weigh)(float *scores, float maximum);
    /* sums[q] = sums[q] * shrinks[q] + sum over r of weights[q * CPU_ATTENTION_ROWS + r] values[r]
     */
    void (*add)(const float *weights, const float *shrinks, uint32_t n_queries, const float *values,
                uint64_t n_rows, uint64_t dim, float *sums);
};

/* Level 0, and what the rungs of the ladder bring. */
extern const struct cpu_attention_math cpu_attention_math_plain;
#if defined(__x86_64__)
extern const struct cpu_attention_math cpu_attention_math_avx2, cpu_attention_math_avx512;
#elif defined(__aarch64__)
extern const struct cpu_attention_math cpu_attention_math_neon;
#endif

/* A key or value cache: capacity rows of row_dim elements. */
struct cpu_cache {
    enum dtype dtype; /* f32, f16 or q8_0 */
    uint8_t *bytes;
    uint64_t capacity, row_dim;
};

/* Row `row` = values (row_dim), rounded as format/ does. */
void cpu_cache_store(const struct cpu_cache *cache, uint64_t row, const float *values);
/* Elements [first, first + n) of a row. For q8_0 both are multiples of 32. */
void cpu_cache_load(const struct cpu_cache *cache, const struct cpu_attention_math *math,
                    uint64_t row, uint64_t first, uint64_t n, float *values);

/* Asks for the bytes of such a stretch: heads of a row are far apart in memory, where the processor
 * does not foresee what comes next. */
void cpu_cache_prefetch(const struct cpu_cache *cache, uint64_t row, uint64_t first, uint64_t n);

/* cos and sin of the angles at a position, times scale: n_pairs each. */
void cpu_rope_turns(const float *frequencies, uint64_t position, uint32_t n_pairs, float scale,
                    float *cosines, float *sines);
/* One head: its first 2 n_pairs elements rotated, the rest copied. y may be x. */
void cpu_rope_head(const float *x, const float *cosines, const float *sines, uint32_t n_pairs,
                   uint32_t head_dim, float *y);
/* Pairs of one head: bounds the stack. */
#define CPU_ROPE_MAX_PAIRS 512

/* Causal attention over caches. A key is one stretch of each key cache, a query the same stretches
 * of each array of queries: one stretch (keys[1].head_dim = 0), or latent and rotary key. */
struct cpu_attention {
    struct {
        struct cpu_cache cache;
        const float *queries; /* (n_tokens, heads, head_dim) */
        uint64_t head_dim;
    } keys[2];
    const struct cpu_cache *values; /* NULL: values are the first stretch of the keys */
    const float *sinks;             /* (heads) or NULL */
    float *y;                       /* (n_tokens, heads, keys[0].head_dim) */
    uint32_t n_tokens, position;
    uint32_t heads, kv_heads, window;
    float scale;
};

/* Scratch: cpu_attention_tiles_scratch bytes, 64-byte aligned; key_dim is that of both stretches.
 */
void cpu_attention_tiles(const struct cpu_run *run, const struct cpu_attention *attention);
uint64_t cpu_attention_tiles_scratch(uint32_t max_tokens, uint32_t heads, uint32_t kv_heads,
                                     uint64_t key_dim, uint64_t value_dim);
