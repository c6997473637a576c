/* Attention of a tile of queries for CPUs that play GPUs (lavapipe), for both kinds of attention: a
 * work-group is one subgroup of eight lanes, which compute with registers alone, without shared memory
 * and, but for splits, without barriers.
 *
 * Such a device computes eight lanes with one instruction, but loads lane by lane, pays for whatever
 * a branch leaves out, and has registers for what no index varies: so loads are wide, and everything but
 * the walk over the rows is unrolled. The lanes share the dimensions of QUERIES queries, KEY_CHUNKS fours
 * each, and those of as many sums of values, VALUE_CHUNKS fours. Of each of ROWS rows they multiply
 * their dimensions with those of the queries; the sums over the lanes are made so that lane i comes to
 * have the score of query i modulo QUERIES, whose maximum and sum of weights it keeps; the weights
 * come back by shuffles.
 *
 * Splits are as in lib/attention.glsl. The shader that includes this names QUERIES, ROWS, SPLITS,
 * KEY_CHUNKS, VALUE_CHUNKS and VALUE_DIM, has `args` with step, parts, y and capacity, and defines the
 * functions that are declared here and in lib/attention_tile.glsl. QUERIES is a power of two up to 8.
 */
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "load_int64.glsl"
#include "store_int64.glsl"

#define LANES 8u
#define LOWEST (-3.402823466e38)

#include "attention_tile.glsl"
#include "arrival.glsl"

/* Named once, so that arrays of them are of one type. */
const uint QUERY_FOURS = QUERIES * KEY_CHUNKS;
const uint RESULT_FOURS = QUERIES * VALUE_CHUNKS;
const uint KEY_FOURS = ROWS * KEY_CHUNKS;
const uint VALUE_FOURS = ROWS * VALUE_CHUNKS;

/* Which four of a value, or of a result, is the lane's i-th; it may be past the last. */
uint lane_four(uint i);
/* The lane's i-th four of a query, scaled; 0 past the last. */
vec4 attention_query(uint token, uint kv_head, uint head, uint i);
/* The lane's fours of ROWS rows, past `last` of that one, chunk by chunk. */
vec4 keys[KEY_FOURS];
vec4 values[VALUE_FOURS];
/* Loads them; values may be had of keys. */
void attention_keys(uint kv_head, uint row, uint last);
void attention_values(uint kv_head, uint row, uint last);
/* The logit of the head's sink, LOWEST if there is none. */
float attention_sink(uint kv_head, uint head);
bool attention_has_sinks();

uint attention_lane()
{
    return gl_LocalInvocationIndex;
}

void load_queries(attention_tile tile, out vec4 queries[QUERY_FOURS])
{
    [[unroll]] for (uint q = 0u; q < QUERIES; q++) {
        uint token;
        uint head;
        query_find(tile, q, token, head);
        [[unroll]] for (uint i = 0u; i < KEY_CHUNKS; i++) {
            queries[q * KEY_CHUNKS + i] = attention_query(token, tile.kv_head, head, i);
        }
    }
}

/* Sums over pairs of lanes, of sums[2 i] in those that have not the bit `distance`, else of
 * sums[2 i + 1], to sums[i]; or of sums[0], which is the last. */
void lanes_add(inout float sums[QUERIES], uint distance, uint pairs)
{
    bool second = (attention_lane() & distance) != 0u;
    [[unroll]] for (uint i = 0u; i < pairs; i++) {
        float a = sums[2u * i];
        float b = sums[2u * i + 1u];
        sums[i] = (second ? b : a) + subgroupShuffleXor(second ? a : b, distance);
    }
    if (pairs == 0u) {
        sums[0] += subgroupShuffleXor(sums[0], distance);
    }
}

/* In lane i the sum over all lanes of sums[i modulo QUERIES]. */
float lanes_sum(float sums[QUERIES])
{
    lanes_add(sums, 1u, QUERIES / 2u);
    lanes_add(sums, 2u, QUERIES / 4u);
    lanes_add(sums, 4u, QUERIES / 8u);
    return sums[0];
}

/* The lanes' scores with ROWS rows. */
void score_rows(vec4 queries[QUERY_FOURS], out float scores[ROWS])
{
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        float sums[QUERIES];
        [[unroll]] for (uint q = 0u; q < QUERIES; q++) {
            sums[q] = 0.0;
        }
        [[unroll]] for (uint i = 0u; i < KEY_CHUNKS; i++) {
            [[unroll]] for (uint q = 0u; q < QUERIES; q++) {
                sums[q] = add_dot(queries[q * KEY_CHUNKS + i], keys[r * KEY_CHUNKS + i], sums[q]);
            }
        }
        scores[r] = lanes_sum(sums);
    }
}

/* Adds ROWS rows by their weights to results that shrink before. */
void add_rows(float weights[ROWS], float shrink,
              inout vec4 results[RESULT_FOURS])
{
    [[unroll]] for (uint q = 0u; q < QUERIES; q++) {
        float factor = subgroupShuffle(shrink, q);
        [[unroll]] for (uint i = 0u; i < VALUE_CHUNKS; i++) {
            results[q * VALUE_CHUNKS + i] *= factor;
        }
    }
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        [[unroll]] for (uint q = 0u; q < QUERIES; q++) {
            float weight = subgroupShuffle(weights[r], q);
            [[unroll]] for (uint i = 0u; i < VALUE_CHUNKS; i++) {
                results[q * VALUE_CHUNKS + i] += weight * values[r * VALUE_CHUNKS + i];
            }
        }
    }
}

/* A running softmax of the lane's query. */
struct attention_softmax {
    float maximum, sum;
};

/* Weights of the scores of rows from `row` on; returns by how much what was summed shrinks. */
float weigh_rows(inout attention_softmax softmax, uint row, uint begin, uint end,
                 inout float scores[ROWS])
{
    float largest = softmax.maximum;
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        bool seen = row + r >= begin && row + r < end;
        scores[r] = seen ? scores[r] : LOWEST;
        largest = max(largest, scores[r]);
    }
    float shrink = exp(softmax.maximum - largest);
    softmax.sum *= shrink;
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        scores[r] = scores[r] == LOWEST ? 0.0 : exp(scores[r] - largest);
        softmax.sum += scores[r];
    }
    softmax.maximum = largest;
    return shrink;
}

/* y, if this is the only split. */
void write_results(attention_tile tile, attention_softmax softmax, vec4 results[RESULT_FOURS])
{
    [[unroll]] for (uint q = 0u; q < QUERIES; q++) {
        uint token;
        uint head;
        query_find(tile, q, token, head);
        uint to = attention_result(token, tile.kv_head, head) / 4u;
        float sum = subgroupShuffle(softmax.sum, q);
        bool live = tile.first + q < tile.queries;
        [[unroll]] for (uint i = 0u; i < VALUE_CHUNKS; i++) {
            uint four = lane_four(i);
            if (live && four < VALUE_DIM / 4u) {
                store_four(args.y, to + four, results[q * VALUE_CHUNKS + i] / sum);
            }
        }
    }
}

/* What this split found, for the one that is done last. */
void write_part(attention_tile tile, attention_softmax softmax, vec4 results[RESULT_FOURS])
{
    [[unroll]] for (uint q = 0u; q < QUERIES; q++) {
        uint to = part_begin(tile, tile.split, q);
        if (tile.first + q < tile.queries) {
            [[unroll]] for (uint i = 0u; i < VALUE_CHUNKS; i++) {
                uint four = lane_four(i);
                uvec4 bits = floatBitsToUint(results[q * VALUE_CHUNKS + i]);
                if (four < VALUE_DIM / 4u) {
                    args.parts.v[to + four * 4u] = bits.x;
                    args.parts.v[to + four * 4u + 1u] = bits.y;
                    args.parts.v[to + four * 4u + 2u] = bits.z;
                    args.parts.v[to + four * 4u + 3u] = bits.w;
                }
            }
        }
        if (attention_lane() == q && tile.first + q < tile.queries) {
            args.parts.v[to + VALUE_DIM] = floatBitsToUint(softmax.maximum);
            args.parts.v[to + VALUE_DIM + 1u] = floatBitsToUint(softmax.sum);
        }
    }
}

/* y from the parts of all splits, query by query. */
void add_parts(attention_tile tile)
{
    uint live = min(QUERIES, tile.queries - tile.first);
    args.parts.v[tile.number] = 0u;
    for (uint q = 0u; q < live; q++) {
        float maximum = LOWEST;
        for (uint split = 0u; split < tile.splits; split++) {
            uint at = part_begin(tile, split, q) + VALUE_DIM;
            maximum = max(maximum, uintBitsToFloat(args.parts.v[at]));
        }
        uint token;
        uint head;
        query_find(tile, q, token, head);
        uint to = attention_result(token, tile.kv_head, head);
        for (uint d = attention_lane(); d < VALUE_DIM; d += LANES) {
            float value = 0.0;
            float sum = 0.0;
            for (uint split = 0u; split < tile.splits; split++) {
                uint at = part_begin(tile, split, q);
                float factor = exp(uintBitsToFloat(args.parts.v[at + VALUE_DIM]) - maximum);
                value += factor * uintBitsToFloat(args.parts.v[at + d]);
                sum += factor * uintBitsToFloat(args.parts.v[at + VALUE_DIM + 1u]);
            }
            args.y.v[to + d] = value / sum;
        }
    }
}

void attend()
{
    attention_tile tile;
    if (!tile_find(tile)) {
        return;
    }
    uint own = attention_lane() % QUERIES;
    uint token;
    uint head;
    uint begin;
    uint end;
    query_find(tile, own, token, head);
    query_rows(tile, own, begin, end);
    /* A running softmax of no rows; in the first split, of the sink. */
    attention_softmax softmax = attention_softmax(LOWEST, 0.0);
    if (attention_has_sinks() && tile.split == 0u) {
        softmax = attention_softmax(max(attention_sink(tile.kv_head, head), LOWEST), 1.0);
    }
    vec4 queries[QUERY_FOURS];
    vec4 results[RESULT_FOURS];
    load_queries(tile, queries);
    [[unroll]] for (uint i = 0u; i < RESULT_FOURS; i++) {
        results[i] = vec4(0.0);
    }
    uint row = tile.begin;
    do {
        float weights[ROWS];
        attention_keys(tile.kv_head, row, tile.end - 1u);
        score_rows(queries, weights);
        float shrink = weigh_rows(softmax, row, begin, end, weights);
        attention_values(tile.kv_head, row, tile.end - 1u);
        add_rows(weights, shrink, results);
        row += ROWS;
    } while (row < tile.end);
    if (SPLITS == 1u) {
        write_results(tile, softmax, results);
        return;
    }
    write_part(tile, softmax, results);
    if (arrives_last(args.parts, tile.number, tile.splits)) {
        add_parts(tile);
    }
}
