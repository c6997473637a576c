/* Attention of tiles of queries, in one pass over the cache rows with a running maximum (Milakov &
 * Gimelshein 2018; Dao et al. 2022, "FlashAttention").
 *
 * A query is one head of one token. A tile is up to TILE_QUERIES neighbouring queries of one kv
 * head, counted token by token; rows of the caches come in blocks, are unpacked to floats once, and
 * meet all queries of the tile. Where there are few tiles, as when one token is evaluated, their
 * rows are shared out among several splits; the split that is done last adds up the parts of all in
 * their order. How rows are split depends on the step alone, never on threads: the same bits
 * whatever their number.
 */
#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "engine/cpu/cpu_attention.h"
#include "engine/cpu/cpu_internal.h"

#define TILE_QUERIES 32
/* As many items (a split of a tile) as keep a large machine busy; rows that are worth an item. */
#define MOST_ITEMS 128
#define LEAST_SPLIT_ROWS 128
/* Items that are being worked on at any time; each has a workspace. */
#define MOST_WORKERS 128

/* What one item needs. Floats, rows padded to CPU_ATTENTION_ALIGN. */
struct workspace {
    float *queries;                   /* (TILE_QUERIES, key_dim) */
    float *keys;                      /* (CPU_ATTENTION_ROWS, key_dim) */
    float *values;                    /* (CPU_ATTENTION_ROWS, value_dim) */
    float *sums;                      /* (TILE_QUERIES, value_dim) */
    float *scores;                    /* (TILE_QUERIES, CPU_ATTENTION_ROWS) */
    float *shrinks, *maxima, *totals; /* (TILE_QUERIES) */
};

struct tiles_loop {
    const struct cpu_attention *attention;
    const struct cpu_attention_math *math;
    uint64_t key_dim, value_dim; /* padded */
    uint64_t heads;              /* of queries for each kv head */
    uint64_t n_queries, n_tiles; /* for each kv head */
    uint64_t most_splits;
    atomic_uint_fast32_t next; /* item */
    atomic_uint *arrived;      /* (n_tiles * kv_heads) splits that are done */
    float *parts;              /* (tiles, splits, TILE_QUERIES, value_dim + CPU_ATTENTION_ALIGN) */
    float *workspaces;
    uint64_t workspace_floats;
};

struct tile {
    uint64_t kv_head, number, first, n_queries;
    uint64_t n_splits, split;
    uint64_t begin, end; /* cache rows of this split */
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t align(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

static uint64_t workspace_floats(uint64_t key_dim, uint64_t value_dim)
{
    return (TILE_QUERIES + CPU_ATTENTION_ROWS) * (key_dim + value_dim + CPU_ATTENTION_ALIGN) +
           TILE_QUERIES * (CPU_ATTENTION_ROWS + 3);
}

static struct workspace workspace_of(const struct tiles_loop *loop, uint64_t worker)
{
    struct workspace w = {.queries = loop->workspaces + worker * loop->workspace_floats};
    w.keys = w.queries + TILE_QUERIES * loop->key_dim;
    w.values = w.keys + CPU_ATTENTION_ROWS * loop->key_dim;
    w.sums = w.values + CPU_ATTENTION_ROWS * loop->value_dim;
    w.scores = w.sums + TILE_QUERIES * loop->value_dim;
    w.shrinks = w.scores + TILE_QUERIES * CPU_ATTENTION_ROWS;
    w.maxima = w.shrinks + TILE_QUERIES;
    w.totals = w.maxima + TILE_QUERIES;
    return w;
}

/* Rows [begin, end) that a query of the tile sees. */
static void see(const struct tiles_loop *loop, const struct tile *tile, uint64_t query,
                uint64_t *begin, uint64_t *end)
{
    uint64_t window = loop->attention->window;
    *end = loop->attention->position + (tile->first + query) / loop->heads + 1;
    *begin = window != 0 && *end > window ? *end - window : 0;
}

/* False if there is no such item. Later tokens see more: their tiles come first. */
static bool find_tile(const struct tiles_loop *loop, uint64_t item, struct tile *tile)
{
    uint64_t kv_heads = loop->attention->kv_heads, unused;
    tile->kv_head = item % kv_heads; /* neighbours in memory at about the same time */
    tile->split = item / kv_heads % loop->most_splits;
    uint64_t tile_of_head = loop->n_tiles - 1 - item / loop->most_splits / kv_heads;
    tile->number = tile_of_head * kv_heads + tile->kv_head;
    tile->first = tile_of_head * TILE_QUERIES;
    tile->n_queries = smaller(loop->n_queries - tile->first, TILE_QUERIES);
    see(loop, tile, 0, &tile->begin, &unused);
    see(loop, tile, tile->n_queries - 1, &unused, &tile->end);
    uint64_t rows = tile->end - tile->begin;
    uint64_t splits = smaller(loop->most_splits, (rows + LEAST_SPLIT_ROWS - 1) / LEAST_SPLIT_ROWS);
    uint64_t split_rows = align((rows + splits - 1) / splits, CPU_ATTENTION_ROWS);
    tile->n_splits = (rows + split_rows - 1) / split_rows;
    tile->begin += tile->split * split_rows;
    tile->end = smaller(tile->end, tile->begin + split_rows);
    return tile->split < tile->n_splits;
}

static uint64_t head_of(const struct tiles_loop *loop, const struct tile *tile, uint64_t query)
{
    return tile->kv_head * loop->heads + (tile->first + query) % loop->heads;
}

/* Which row of the queries and of y is meant: token * heads + head. */
static uint64_t row_of(const struct tiles_loop *loop, const struct tile *tile, uint64_t query)
{
    return (tile->first + query) / loop->heads * loop->attention->heads +
           head_of(loop, tile, query);
}

static void begin_tile(const struct tiles_loop *loop, const struct tile *tile,
                       const struct workspace *w)
{
    const struct cpu_attention *attention = loop->attention;
    for (uint64_t q = 0; q < tile->n_queries; q++) {
        float *to = w->queries + q * loop->key_dim;
        memset(to, 0, loop->key_dim * sizeof(float));
        for (uint32_t k = 0; k < 2; k++) {
            uint64_t dim = attention->keys[k].head_dim;
            const float *from = attention->keys[k].queries + row_of(loop, tile, q) * dim;
            for (uint64_t i = 0; i < dim; i++) {
                *to++ = from[i] * attention->scale;
            }
        }
        bool sink = attention->sinks && tile->split == 0;
        w->maxima[q] = sink ? attention->sinks[head_of(loop, tile, q)] : -INFINITY;
        w->totals[q] = sink ? 1 : 0;
    }
    memset(w->sums, 0, align(tile->n_queries, 4) * loop->value_dim * sizeof(float));
}

/* The row's part of a cache, and with it the one that the next block will want. */
static void load_row(const struct tiles_loop *loop, const struct tile *tile,
                     const struct cpu_cache *cache, uint64_t row, uint64_t dim, float *values)
{
    uint64_t first = tile->kv_head * dim;
    if (row + CPU_ATTENTION_ROWS < tile->end) {
        cpu_cache_prefetch(cache, row + CPU_ATTENTION_ROWS, first, dim);
    }
    cpu_cache_load(cache, loop->math, row, first, dim, values);
}

/* Unpacks n rows from `first` on. */
static void load_block(const struct tiles_loop *loop, const struct tile *tile, uint64_t first,
                       uint64_t n, const struct workspace *w)
{
    const struct cpu_attention *attention = loop->attention;
    uint64_t dims[2] = {attention->keys[0].head_dim, attention->keys[1].head_dim};
    for (uint64_t r = 0; r < n; r++) {
        float *key = w->keys + r * loop->key_dim;
        load_row(loop, tile, &attention->keys[0].cache, first + r, dims[0], key);
        if (dims[1] > 0) {
            load_row(loop, tile, &attention->keys[1].cache, first + r, dims[1], key + dims[0]);
        }
        memset(key + dims[0] + dims[1], 0, (loop->key_dim - dims[0] - dims[1]) * sizeof(float));
        float *value = w->values + r * loop->value_dim;
        if (attention->values) {
            load_row(loop, tile, attention->values, first + r, dims[0], value);
        } else {
            memcpy(value, key, dims[0] * sizeof(float));
        }
        memset(value + dims[0], 0, (loop->value_dim - dims[0]) * sizeof(float));
    }
}

/* Makes weights of a query's scores with rows `first` and on. */
static void weigh(const struct tiles_loop *loop, const struct tile *tile, uint64_t query,
                  uint64_t first, const struct workspace *w)
{
    float *scores = w->scores + query * CPU_ATTENTION_ROWS;
    uint64_t begin, end;
    see(loop, tile, query, &begin, &end);
    end = smaller(end, tile->end);
    float maximum = w->maxima[query];
    for (uint64_t r = 0; r < CPU_ATTENTION_ROWS; r++) {
        bool seen = first + r >= begin && first + r < end;
        scores[r] = seen ? scores[r] : -INFINITY;
        maximum = scores[r] > maximum ? scores[r] : maximum;
    }
    if (maximum == -INFINITY) { /* no row, no sink so far; the difference would be NaN */
        maximum = 0;
    }
    float sum = loop->math->weigh(scores, maximum);
    w->shrinks[query] = expf(w->maxima[query] - maximum);
    w->totals[query] = w->totals[query] * w->shrinks[query] + sum;
    w->maxima[query] = maximum;
}

static void attend_block(const struct tiles_loop *loop, const struct tile *tile, uint64_t first,
                         uint64_t n, const struct workspace *w)
{
    uint32_t n_queries = (uint32_t)tile->n_queries;
    load_block(loop, tile, first, n, w);
    loop->math->score(w->queries, n_queries, w->keys, n, loop->key_dim, w->scores);
    for (uint32_t q = 0; q < n_queries; q++) {
        weigh(loop, tile, q, first, w);
    }
    loop->math->add(w->scores, w->shrinks, n_queries, w->values, n, loop->value_dim, w->sums);
}

static float *part_of(const struct tiles_loop *loop, const struct tile *tile, uint64_t split,
                      uint64_t query)
{
    uint64_t part = (tile->number * loop->most_splits + split) * TILE_QUERIES + query;
    return loop->parts + part * (loop->value_dim + CPU_ATTENTION_ALIGN);
}

static void write_result(const struct tiles_loop *loop, const struct tile *tile, uint64_t query,
                         const float *sums, float total)
{
    uint64_t dim = loop->attention->keys[0].head_dim;
    float *y = loop->attention->y + row_of(loop, tile, query) * dim;
    for (uint64_t i = 0; i < dim; i++) {
        y[i] = sums[i] / total;
    }
}

/* y of all queries from the parts of all splits. */
static void add_parts(const struct tiles_loop *loop, const struct tile *tile,
                      const struct workspace *w)
{
    uint64_t dim = loop->value_dim;
    for (uint64_t q = 0; q < tile->n_queries; q++) {
        float maximum = -INFINITY, total = 0;
        for (uint64_t s = 0; s < tile->n_splits; s++) {
            maximum = fmaxf(maximum, part_of(loop, tile, s, q)[dim]);
        }
        memset(w->sums, 0, dim * sizeof(float));
        for (uint64_t s = 0; s < tile->n_splits; s++) {
            const float *part = part_of(loop, tile, s, q);
            float factor = expf(part[dim] - maximum);
            total += factor * part[dim + 1];
            for (uint64_t i = 0; i < dim; i++) {
                w->sums[i] += factor * part[i];
            }
        }
        write_result(loop, tile, q, w->sums, total);
    }
}

static void attend(const struct tiles_loop *loop, const struct tile *tile,
                   const struct workspace *w)
{
    begin_tile(loop, tile, w);
    for (uint64_t first = tile->begin; first < tile->end; first += CPU_ATTENTION_ROWS) {
        attend_block(loop, tile, first, smaller(tile->end - first, CPU_ATTENTION_ROWS), w);
    }
    for (uint64_t q = 0; q < tile->n_queries; q++) {
        const float *sums = w->sums + q * loop->value_dim;
        if (tile->n_splits == 1) {
            write_result(loop, tile, q, sums, w->totals[q]);
        } else {
            float *part = part_of(loop, tile, tile->split, q);
            memcpy(part, sums, loop->value_dim * sizeof(float));
            part[loop->value_dim] = w->maxima[q];
            part[loop->value_dim + 1] = w->totals[q];
        }
    }
    /* Acquire and release: the last one sees what the others have written. */
    if (tile->n_splits > 1 &&
        atomic_fetch_add(&loop->arrived[tile->number], 1) + 1 == tile->n_splits) {
        add_parts(loop, tile, w);
    }
}

/* A worker takes items one after the other in its own workspace. */
static void tiles_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    struct tiles_loop *loop = context;
    struct workspace w = workspace_of(loop, begin);
    uint64_t n_items = loop->n_tiles * loop->attention->kv_heads * loop->most_splits;
    for (uint64_t item; (item = atomic_fetch_add(&loop->next, 1)) < n_items;) {
        struct tile tile;
        if (find_tile(loop, item, &tile)) {
            attend(loop, &tile, &w);
        }
    }
}

/* How many splits a tile may have, and how many tiles there are, for all kv heads. */
static uint64_t split_tiles(uint64_t n_tokens, uint64_t heads, uint64_t kv_heads, uint64_t *n_tiles)
{
    *n_tiles = (n_tokens * (heads / kv_heads) + TILE_QUERIES - 1) / TILE_QUERIES * kv_heads;
    return *n_tiles < MOST_ITEMS ? MOST_ITEMS / *n_tiles : 1;
}

/* Scratch: the counters, the parts of at most MOST_ITEMS items, the workspaces. */
static uint64_t counter_bytes(uint64_t n_tiles)
{
    return align(n_tiles * sizeof(atomic_uint), 64);
}

static uint64_t part_bytes(uint64_t value_dim)
{
    return MOST_ITEMS * TILE_QUERIES * (value_dim + CPU_ATTENTION_ALIGN) * sizeof(float);
}

void cpu_attention_tiles(const struct cpu_run *run, const struct cpu_attention *attention)
{
    const struct cpu_attention *a = attention;
    struct tiles_loop loop = {
        .attention = a,
        .math = run->level->attention,
        .key_dim = align(a->keys[0].head_dim + a->keys[1].head_dim, CPU_ATTENTION_ALIGN),
        .value_dim = align(a->keys[0].head_dim, CPU_ATTENTION_ALIGN),
        .heads = a->heads / a->kv_heads,
    };
    uint64_t n_tiles;
    loop.most_splits = split_tiles(a->n_tokens, a->heads, a->kv_heads, &n_tiles);
    uint64_t most_rows = (uint64_t)a->position + a->n_tokens;
    loop.most_splits =
        smaller(loop.most_splits, (most_rows + LEAST_SPLIT_ROWS - 1) / LEAST_SPLIT_ROWS);
    loop.n_queries = a->n_tokens * loop.heads;
    loop.n_tiles = n_tiles / a->kv_heads;
    loop.arrived = (atomic_uint *)(void *)run->scratch;
    memset(run->scratch, 0, counter_bytes(n_tiles));
    uint8_t *parts = run->scratch + counter_bytes(n_tiles);
    loop.parts = (float *)(void *)parts;
    loop.workspaces = (float *)(void *)(parts + part_bytes(loop.value_dim));
    loop.workspace_floats = workspace_floats(loop.key_dim, loop.value_dim);
    thread_pool_for(run->pool, smaller(n_tiles * loop.most_splits, MOST_WORKERS), 1, tiles_range,
                    &loop);
}

uint64_t cpu_attention_tiles_scratch(uint32_t max_tokens, uint32_t heads, uint32_t kv_heads,
                                     uint64_t key_dim, uint64_t value_dim)
{
    uint64_t values = align(value_dim, CPU_ATTENTION_ALIGN), n_tiles;
    split_tiles(max_tokens, heads, kv_heads, &n_tiles);
    uint64_t floats = workspace_floats(align(key_dim, CPU_ATTENTION_ALIGN), values);
    return counter_bytes(n_tiles) + part_bytes(values) + MOST_WORKERS * floats * sizeof(float);
}
