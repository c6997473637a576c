/* Causal attention: y[t][h] = sum over j <= position + t of p[j] v[j][h'], where j is a cache row,
 * p = softmax over j of (scale q[t][h] . k[j][h']), and h' = h / (heads / kv_heads).
 *
 * A query is one head of one token. Work-group (x, y, z) has kv head x and QUERIES of its queries,
 * number QUERIES (y + z * groups of y) and on, counted token by token, so that they share what is
 * read of the caches. It walks the cache rows GROUP_SIZE at a time, with a running maximum and sum
 * (Milakov & Gimelshein 2018):
 *   scores   invocation i has row i of the block, and its scores with all queries;
 *   values   invocation i has four dimensions of v, and every SHARES-th row of the block.
 * The shares are added at the end. HEAD_DIM <= 4 GROUP_SIZE; heads is a multiple of kv_heads;
 * fastest if HEAD_DIM is a multiple of 4. Shared memory: QUERIES (4 HEAD_DIM + 8 GROUP_SIZE) + 16
 * GROUP_SIZE bytes.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/cache.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 128u;
layout(constant_id = 1) const uint HEAD_DIM = 128u;
layout(constant_id = 2) const uint QUERIES = 1u;
layout(local_size_x_id = 0, local_size_x = 128) in;

#define HEAD_FOURS ((HEAD_DIM + 3u) / 4u)
#define SHARES (GROUP_SIZE / HEAD_FOURS)
#define LOWEST (-3.402823466e38)

layout(push_constant) uniform push
{
    attention_args args;
};

shared vec4 queries[QUERIES * HEAD_FOURS];
shared float weights[QUERIES * GROUP_SIZE];
shared float reduced[QUERIES * GROUP_SIZE];
shared vec4 share_values[GROUP_SIZE];

/* Index of this work-group's query i in q and y; past the last query, that of the last. */
uint query_offset(uint first, uint i, out uint token)
{
    uint per_token = args.heads / args.kv_heads;
    uint query = min(first + i, args.step.n_tokens * per_token - 1u);
    token = query / per_token;
    return (token * args.heads + gl_WorkGroupID.x * per_token + query % per_token) * HEAD_DIM;
}

/* reduced[i * GROUP_SIZE] = maximum or sum of query i's values in `reduced`. */
void reduce_queries(bool maximum)
{
    uint me = gl_LocalInvocationIndex;
    barrier();
    for (uint live = GROUP_SIZE; live > 1u;) {
        uint upper = (live + 1u) / 2u;
        if (me + upper < live) {
            for (uint i = 0u; i < QUERIES; i++) {
                uint at = i * GROUP_SIZE + me;
                float a = reduced[at];
                float b = reduced[at + upper];
                reduced[at] = maximum ? max(a, b) : a + b;
            }
        }
        live = upper;
        barrier();
    }
}

void load_queries(uint first)
{
    for (uint item = gl_LocalInvocationIndex; item < QUERIES * HEAD_FOURS; item += GROUP_SIZE) {
        uint token;
        uint offset = query_offset(first, item / HEAD_FOURS, token);
        queries[item] = row_load4(args.q, offset, HEAD_DIM, item % HEAD_FOURS * 4u) * args.scale;
    }
}

/* Scores of cache row `row` with every query, LOWEST where the query may not see it. */
void score_row(uint row, uint first, out float scores[QUERIES])
{
    uint token;
    query_offset(first, QUERIES - 1u, token);
    for (uint i = 0u; i < QUERIES; i++) {
        scores[i] = 0.0;
    }
    if (row <= args.step.position + token) {
        uint k = (row * args.kv_heads + gl_WorkGroupID.x) * HEAD_DIM;
        for (uint four = 0u; four < HEAD_FOURS; four++) {
            vec4 k4 = cache_load4(args.k_cache, k, HEAD_DIM, four * 4u);
            for (uint i = 0u; i < QUERIES; i++) {
                scores[i] += dot(queries[i * HEAD_FOURS + four], k4);
            }
        }
    }
    for (uint i = 0u; i < QUERIES; i++) {
        query_offset(first, i, token);
        scores[i] = row <= args.step.position + token ? scores[i] : LOWEST;
    }
}

void main()
{
    uint per_token = args.heads / args.kv_heads;
    uint first = (gl_WorkGroupID.z * gl_NumWorkGroups.y + gl_WorkGroupID.y) * QUERIES;
    uint n_queries = args.step.n_tokens * per_token;
    if (first >= n_queries) {
        return;
    }
    uint me = gl_LocalInvocationIndex;
    uint share = me / HEAD_FOURS;
    uint four = me % HEAD_FOURS;
    uint last_token = min(first + QUERIES, n_queries) - 1u;
    last_token /= per_token;
    uint rows = min(args.step.position + last_token + 1u, args.capacity);

    load_queries(first);
    float maxima[QUERIES];
    float sums[QUERIES];
    vec4 values[QUERIES];
    for (uint i = 0u; i < QUERIES; i++) {
        maxima[i] = LOWEST;
        sums[i] = 0.0;
        values[i] = vec4(0.0);
    }
    barrier();
    for (uint block = 0u; block < rows; block += GROUP_SIZE) {
        float scores[QUERIES];
        score_row(block + me, first, scores);
        for (uint i = 0u; i < QUERIES; i++) {
            reduced[i * GROUP_SIZE + me] = scores[i];
        }
        reduce_queries(true);
        for (uint i = 0u; i < QUERIES; i++) {
            float maximum = max(maxima[i], reduced[i * GROUP_SIZE]);
            float shrink = exp(maxima[i] - maximum);
            float weight = exp(scores[i] - maximum);
            weights[i * GROUP_SIZE + me] = weight;
            sums[i] = sums[i] * shrink + weight;
            values[i] *= shrink;
            maxima[i] = maximum;
        }
        barrier();
        uint live = min(rows - block, GROUP_SIZE);
        if (share < SHARES) {
            for (uint j = share; j < live; j += SHARES) {
                uint v = ((block + j) * args.kv_heads + gl_WorkGroupID.x) * HEAD_DIM;
                vec4 v4 = cache_load4(args.v_cache, v, HEAD_DIM, four * 4u);
                for (uint i = 0u; i < QUERIES; i++) {
                    values[i] += weights[i * GROUP_SIZE + j] * v4;
                }
            }
        }
        barrier();
    }

    for (uint i = 0u; i < QUERIES; i++) {
        reduced[i * GROUP_SIZE + me] = sums[i];
    }
    reduce_queries(false);
    for (uint i = 0u; i < QUERIES; i++) {
        share_values[me] = values[i];
        barrier();
        if (share == 0u && first + i < n_queries) {
            vec4 sum = share_values[four];
            for (uint s = 1u; s < SHARES; s++) {
                sum += share_values[s * HEAD_FOURS + four];
            }
            sum /= reduced[i * GROUP_SIZE];
            uint token;
            uint offset = query_offset(first, i, token) + four * 4u;
            for (uint d = 0u; d < min(HEAD_DIM - four * 4u, 4u); d++) {
                args.y.v[offset + d] = sum[d];
            }
        }
        barrier();
    }
}
