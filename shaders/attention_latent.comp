/* Latent attention in absorbed form: y[t][h] = sum over j <= position + t of p[j] latent[j], where
 * p = softmax over j of scale (q[t][h] . latent[j] + q_rope[t][h] . rope[j]).
 *
 * A query is one head of one token; all read the same rows of the caches. A work-group (folded into
 * x and y) has QUERIES neighbouring queries, counted token by token, and walks the rows that the
 * last of them sees, GROUP_SIZE at a time (lib/softmax.glsl):
 *   scores   invocation i has row i of the block, and its scores with all queries;
 *   values   invocation i has four dimensions of the latent, or PARTS times four, GROUP_SIZE fours
 *            apart, and every SHARES-th row of the block.
 * The shares are added at the end. Fastest if RANK and ROPE_DIM are multiples of 4. Shared memory:
 * QUERIES (4 RANK + 4 ROPE_DIM + 8 GROUP_SIZE) + 16 GROUP_SIZE bytes.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/cache.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 128u;
layout(constant_id = 1) const uint RANK = 512u;
layout(constant_id = 2) const uint QUERIES = 4u;
layout(constant_id = 3) const uint ROPE_DIM = 64u;
layout(local_size_x_id = 0, local_size_x = 128) in;

#include "lib/softmax.glsl"

#define RANK_FOURS ((RANK + 3u) / 4u)
#define ROPE_FOURS ((ROPE_DIM + 3u) / 4u)
#define PARTS ((RANK_FOURS + GROUP_SIZE - 1u) / GROUP_SIZE)
#define SHARES (PARTS > 1u ? 1u : GROUP_SIZE / RANK_FOURS)

layout(push_constant) uniform push
{
    attention_latent_args args;
};

shared vec4 queries[QUERIES * RANK_FOURS];
shared vec4 rope_queries[QUERIES * ROPE_FOURS];
shared vec4 share_values[GROUP_SIZE];

/* This work-group's query i: token * heads + head. Past the last query, that one. */
uint query_number(uint first, uint i)
{
    return min(first + i, args.step.n_tokens * args.heads - 1u);
}

/* Cache rows that query i sees. */
uint query_rows(uint first, uint i)
{
    return min(args.step.position + query_number(first, i) / args.heads + 1u, args.capacity);
}

void load_queries(uint first)
{
    uint me = gl_LocalInvocationIndex;
    for (uint item = me; item < QUERIES * RANK_FOURS; item += GROUP_SIZE) {
        uint q = query_number(first, item / RANK_FOURS) * RANK;
        queries[item] = row_load4(args.q, q, RANK, item % RANK_FOURS * 4u) * args.scale;
    }
    for (uint item = me; item < QUERIES * ROPE_FOURS; item += GROUP_SIZE) {
        uint q = query_number(first, item / ROPE_FOURS) * ROPE_DIM;
        rope_queries[item] =
            row_load4(args.q_rope, q, ROPE_DIM, item % ROPE_FOURS * 4u) * args.scale;
    }
}

/* Scores of cache row `row` with every query, LOWEST where the query may not see it. */
void score_row(uint row, uint first, out float scores[QUERIES])
{
    for (uint i = 0u; i < QUERIES; i++) {
        scores[i] = 0.0;
    }
    if (row < query_rows(first, QUERIES - 1u)) {
        for (uint four = 0u; four < RANK_FOURS; four++) {
            vec4 k4 = cache_load4(args.latent_cache, row * RANK, RANK, four * 4u);
            for (uint i = 0u; i < QUERIES; i++) {
                scores[i] += dot(queries[i * RANK_FOURS + four], k4);
            }
        }
        for (uint four = 0u; four < ROPE_FOURS; four++) {
            vec4 k4 = cache_load4(args.rope_cache, row * ROPE_DIM, ROPE_DIM, four * 4u);
            for (uint i = 0u; i < QUERIES; i++) {
                scores[i] += dot(rope_queries[i * ROPE_FOURS + four], k4);
            }
        }
    }
    for (uint i = 0u; i < QUERIES; i++) {
        scores[i] = row < query_rows(first, i) ? scores[i] : LOWEST;
    }
}

/* Four dimensions of y of this work-group's query i, from the shares of all invocations. */
void write_query(uint first, uint i, uint four, vec4 values)
{
    uint me = gl_LocalInvocationIndex;
    share_values[me] = values;
    barrier();
    if (me < RANK_FOURS && four < RANK_FOURS && first + i < args.step.n_tokens * args.heads) {
        vec4 sum = share_values[me];
        for (uint s = 1u; s < SHARES; s++) {
            sum += share_values[s * RANK_FOURS + me];
        }
        sum /= softmax_total(i);
        uint y = (first + i) * RANK + four * 4u;
        for (uint d = 0u; d < min(RANK - four * 4u, 4u); d++) {
            args.y.v[y + d] = sum[d];
        }
    }
    barrier();
}

void main()
{
    uint first = group_index() * QUERIES;
    if (first >= args.step.n_tokens * args.heads) {
        return;
    }
    uint me = gl_LocalInvocationIndex;
    uint share = me / RANK_FOURS;
    uint first_four = me % RANK_FOURS;
    uint rows = query_rows(first, QUERIES - 1u);

    load_queries(first);
    float maxima[QUERIES];
    float sums[QUERIES];
    vec4 values[QUERIES * PARTS];
    for (uint i = 0u; i < QUERIES; i++) {
        maxima[i] = LOWEST;
        sums[i] = 0.0;
    }
    for (uint i = 0u; i < QUERIES * PARTS; i++) {
        values[i] = vec4(0.0);
    }
    barrier();
    for (uint block = 0u; block < rows; block += GROUP_SIZE) {
        float scores[QUERIES];
        float shrinks[QUERIES];
        score_row(block + me, first, scores);
        softmax_block(scores, maxima, sums, shrinks);
        for (uint i = 0u; i < QUERIES * PARTS; i++) {
            values[i] *= shrinks[i / PARTS];
        }
        uint live = min(rows - block, GROUP_SIZE);
        for (uint j = share; share < SHARES && j < live; j += SHARES) {
            for (uint part = 0u; part < PARTS; part++) {
                uint four = first_four + part * GROUP_SIZE;
                if (four < RANK_FOURS) {
                    vec4 v4 = cache_load4(args.latent_cache, (block + j) * RANK, RANK, four * 4u);
                    for (uint i = 0u; i < QUERIES; i++) {
                        values[i * PARTS + part] += softmax_weights[i * GROUP_SIZE + j] * v4;
                    }
                }
            }
        }
        barrier();
    }

    softmax_finish(sums);
    for (uint i = 0u; i < QUERIES; i++) {
        for (uint part = 0u; part < PARTS; part++) {
            write_query(first, i, first_four + part * GROUP_SIZE, values[i * PARTS + part]);
        }
    }
}
