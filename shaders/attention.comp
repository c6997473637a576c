/* Causal attention: y[t][h] = sum over j of p[j] v[j][h'], where j are the cache rows that token t
 * sees: i - window < j <= i = position + t (no window: 0 <= j); p = softmax over j of (scale
 * q[t][h] . k[j][h']), with the sink of head h as one more logit; and h' = h / (heads / kv_heads).
 *
 * A query is one head of one token. Work-group (x, y, z) has kv head x and QUERIES of its queries,
 * number QUERIES (y + z * groups of y) and on, counted token by token, so that they share what is
 * read of the caches. It walks the rows that one of them sees, GROUP_SIZE at a time
 * (lib/softmax.glsl):
 *   scores   invocation i has row i of the block, and its scores with all queries;
 *   values   invocation i has four dimensions of v, and every SHARES-th row of the block.
 * The shares are added at the end. HEAD_DIM <= 4 GROUP_SIZE; heads is a multiple of kv_heads;
 * QUERIES <= GROUP_SIZE, so that every query sees a row of the first block; fastest if HEAD_DIM is
 * a multiple of 4. Shared memory: QUERIES (4 HEAD_DIM + 8 GROUP_SIZE) + 16 GROUP_SIZE bytes.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/cache.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 128u;
layout(constant_id = 1) const uint HEAD_DIM = 128u;
layout(constant_id = 2) const uint QUERIES = 1u;
layout(local_size_x_id = 0, local_size_x = 128) in;

#include "lib/softmax.glsl"

#define HEAD_FOURS ((HEAD_DIM + 3u) / 4u)
#define SHARES (GROUP_SIZE / HEAD_FOURS)

layout(push_constant) uniform push
{
    attention_args args;
};

shared vec4 queries[QUERIES * HEAD_FOURS];
shared vec4 share_values[GROUP_SIZE];

/* Token and head of this work-group's query i; past the last query, those of the last. */
void query_find(uint first, uint i, out uint token, out uint head)
{
    uint per_token = args.heads / args.kv_heads;
    uint query = min(first + i, args.step.n_tokens * per_token - 1u);
    token = query / per_token;
    head = gl_WorkGroupID.x * per_token + query % per_token;
}

/* Where query i begins in q and y. */
uint query_offset(uint first, uint i)
{
    uint token;
    uint head;
    query_find(first, i, token, head);
    return (token * args.heads + head) * HEAD_DIM;
}

/* Cache rows [begin, end) that query i sees. */
void query_rows(uint first, uint i, out uint begin, out uint end)
{
    uint token;
    uint head;
    query_find(first, i, token, head);
    end = min(args.step.position + token + 1u, args.capacity);
    begin = args.window != 0u && end > args.window ? end - args.window : 0u;
}

void load_queries(uint first)
{
    for (uint item = gl_LocalInvocationIndex; item < QUERIES * HEAD_FOURS; item += GROUP_SIZE) {
        uint offset = query_offset(first, item / HEAD_FOURS);
        queries[item] = row_load4(args.q, offset, HEAD_DIM, item % HEAD_FOURS * 4u) * args.scale;
    }
}

/* A running softmax of no rows, or of the sink alone: then one invocation has it in its share. */
void begin_softmax(uint first, out float maxima[QUERIES], out float sums[QUERIES])
{
    bool sinks = uvec2(args.sinks) != uvec2(0u);
    for (uint i = 0u; i < QUERIES; i++) {
        uint token;
        uint head;
        query_find(first, i, token, head);
        maxima[i] = sinks ? max(args.sinks.v[head], LOWEST) : LOWEST;
        sums[i] = sinks && gl_LocalInvocationIndex == 0u ? 1.0 : 0.0;
    }
}

/* Scores of cache row `row`, below `end`, with every query, LOWEST where the query does not see it.
 */
void score_row(uint row, uint end, uint first, out float scores[QUERIES])
{
    for (uint i = 0u; i < QUERIES; i++) {
        scores[i] = 0.0;
    }
    if (row < end) {
        uint k = (row * args.kv_heads + gl_WorkGroupID.x) * HEAD_DIM;
        for (uint four = 0u; four < HEAD_FOURS; four++) {
            vec4 k4 = cache_load4(args.k_cache, k, HEAD_DIM, four * 4u);
            for (uint i = 0u; i < QUERIES; i++) {
                scores[i] += dot(queries[i * HEAD_FOURS + four], k4);
            }
        }
    }
    for (uint i = 0u; i < QUERIES; i++) {
        uint query_begin;
        uint query_end;
        query_rows(first, i, query_begin, query_end);
        scores[i] = row >= query_begin && row < query_end ? scores[i] : LOWEST;
    }
}

/* y of this work-group's query i from the shares of all invocations. */
void write_query(uint first, uint i, vec4 values)
{
    uint share = gl_LocalInvocationIndex / HEAD_FOURS;
    uint four = gl_LocalInvocationIndex % HEAD_FOURS;
    share_values[gl_LocalInvocationIndex] = values;
    barrier();
    if (share == 0u && first + i < args.step.n_tokens * (args.heads / args.kv_heads)) {
        vec4 sum = share_values[four];
        for (uint s = 1u; s < SHARES; s++) {
            sum += share_values[s * HEAD_FOURS + four];
        }
        sum /= softmax_total(i);
        uint offset = query_offset(first, i) + four * 4u;
        for (uint d = 0u; d < min(HEAD_DIM - four * 4u, 4u); d++) {
            args.y.v[offset + d] = sum[d];
        }
    }
    barrier();
}

void main()
{
    uint first = (gl_WorkGroupID.z * gl_NumWorkGroups.y + gl_WorkGroupID.y) * QUERIES;
    if (first >= args.step.n_tokens * (args.heads / args.kv_heads)) {
        return;
    }
    uint me = gl_LocalInvocationIndex;
    uint share = me / HEAD_FOURS;
    uint four = me % HEAD_FOURS;
    uint begin;
    uint end;
    uint unused;
    query_rows(first, 0u, begin, unused);
    query_rows(first, QUERIES - 1u, unused, end);

    load_queries(first);
    float maxima[QUERIES];
    float sums[QUERIES];
    vec4 values[QUERIES];
    begin_softmax(first, maxima, sums);
    for (uint i = 0u; i < QUERIES; i++) {
        values[i] = vec4(0.0);
    }
    barrier();
    for (uint block = begin; block < end; block += GROUP_SIZE) {
        float scores[QUERIES];
        float shrinks[QUERIES];
        score_row(block + me, end, first, scores);
        softmax_block(scores, maxima, sums, shrinks);
        for (uint i = 0u; i < QUERIES; i++) {
            values[i] *= shrinks[i];
        }
        uint live = min(end - block, GROUP_SIZE);
        if (share < SHARES) {
            for (uint j = share; j < live; j += SHARES) {
                uint v = ((block + j) * args.kv_heads + gl_WorkGroupID.x) * HEAD_DIM;
                vec4 v4 = cache_load4(args.v_cache, v, HEAD_DIM, four * 4u);
                for (uint i = 0u; i < QUERIES; i++) {
                    values[i] += softmax_weights[i * GROUP_SIZE + j] * v4;
                }
            }
        }
        barrier();
    }

    softmax_finish(sums);
    for (uint i = 0u; i < QUERIES; i++) {
        write_query(first, i, values[i]);
    }
}
