/* Attention of a tile of queries, for both kinds of attention: y = sum over cache rows j of p[j]
 * value[j], p = softmax over j of query . key[j], in one pass over the rows with a running maximum
 * (Milakov & Gimelshein 2018; Dao et al. 2022, "FlashAttention").
 *
 * A query is one head of one token. Work-group (x, y, z) has QUERIES queries of one kv head, counted
 * token by token, so that they share what is read of the caches, and one of the splits of the rows
 * that they see: x = split * kv heads + kv head, and y, z fold the number of the tile. It walks its
 * rows in blocks of ROWS:
 *   scores   keys pass through shared memory, PIECE_FOURS fours of dimensions at a time; an
 *            invocation has QUERY_SCORES queries times ROW_SCORES rows;
 *   weights  GROUP_SIZE / QUERIES invocations have a query's rows: maximum, exponentials, sum;
 *   values   an invocation has four dimensions of VALUE_QUERIES queries (VALUE_PARTS times four,
 *            GROUP_SIZE fours apart, if there are more fours than invocations); those left over
 *            take other queries, then other rows, whose sums are added at the end.
 * All of QUERIES, ROWS, PIECE_FOURS, ROW_SCORES, VALUE_QUERIES are powers of two; QUERIES divides
 * GROUP_SIZE; QUERY_SCORES = QUERIES ROWS / GROUP_SIZE / ROW_SCORES >= 1; VALUE_QUERIES <= QUERIES
 * <= VALUE_QUERIES max(GROUP_SIZE / VALUE_FOURS, 1); ROWS PIECE_FOURS >= GROUP_SIZE; at most ROWS
 * splits. Shared memory: 16 (QUERIES KEY_FOURS + ROWS (PIECE_FOURS + 1)) + 4 ROWS WEIGHT_STRIDE + 4
 * GROUP_SIZE + 8 QUERIES + 16 bytes.
 *
 * Splits (Dao et al. 2023, "Flash-Decoding"). The host decides how many there can be, the position
 * how many there are: those without rows leave at once. The others write their sums to `parts`,
 * count themselves, and the one that counts last adds up all parts in the order of the splits,
 * whichever it is itself, and sets the counter back to zero: the same bits every time, and nobody
 * waits. Why it sees what the others wrote, in the words of Vulkan's memory model: the writes are
 * to memory that is declared coherent, so each is made available, and each read visible, at the
 * scope of the queue family; memoryBarrierBuffer is a fence, release and acquire, at the scope of
 * the device. All writers of a split pass that fence and then the control barrier, after which one
 * invocation adds to the counter; in the last split it reads what the others added to (the fence
 * before the addition and the fence after it synchronise, the additions being atomic), passes a
 * fence, and then the control barrier with all that will read. So every write happens before every
 * read. The next dispatch that uses the counter comes behind a barrier of the command buffer.
 *
 * The shader that includes this names GROUP_SIZE, QUERIES, ROWS, PIECE_FOURS, ROW_SCORES,
 * VALUE_QUERIES, KEY_FOURS and VALUE_FOURS, has `args` with step, parts and capacity, and defines the
 * functions that are declared here.
 */
#include "arrival.glsl"
#include "attention_tile.glsl"

#define LOWEST (-3.402823466e38)

#define QUERY_SCORES (QUERIES * ROWS / GROUP_SIZE / ROW_SCORES)
#define ROW_INVOCATIONS (ROWS / ROW_SCORES)
#define WEIGHT_INVOCATIONS (GROUP_SIZE / QUERIES)
/* Weights of four queries are read at once, where there are as many. */
#define WEIGHT_STRIDE (QUERIES >= 4u ? QUERIES + 4u : QUERIES + 1u)
#define KEY_STRIDE (PIECE_FOURS + 1u)
#define VALUE_PARTS ((VALUE_FOURS + GROUP_SIZE - 1u) / GROUP_SIZE)
/* Named once, so that arrays of it are of one type. */
const uint VALUES = VALUE_QUERIES * VALUE_PARTS;
/* Fours of a piece of the keys that an invocation loads, and rows of values that it waits for at
 * once. */
const uint KEY_ITEMS = ROWS * PIECE_FOURS / GROUP_SIZE;
const uint VALUE_BATCH = VALUE_PARTS == 1u ? 8u : 4u;
#define VALUE_INVOCATIONS (VALUE_PARTS > 1u ? GROUP_SIZE : VALUE_FOURS)
#define QUERY_SHARES (QUERIES / VALUE_QUERIES)
#define ROW_SHARES (GROUP_SIZE / VALUE_INVOCATIONS / QUERY_SHARES)

/* Dimensions 4 four .. 4 four + 3 of a query, scaled; of the key and of the value in a row; 0 past
 * the last. `head` counts within the kv head. */
vec4 attention_query(uint token, uint kv_head, uint head, uint four);
vec4 attention_key(uint row, uint kv_head, uint four);
vec4 attention_value(uint row, uint kv_head, uint four);
/* The logit of the head's sink, LOWEST if there is none. */
float attention_sink(uint kv_head, uint head);
bool attention_has_sinks();

shared vec4 shared_queries[QUERIES * KEY_FOURS];
/* A piece of the keys of a block; at the end shares of the values. */
shared vec4 shared_keys[ROWS * KEY_STRIDE];
/* Scores, then weights of the block's rows: [row][query]. */
shared float shared_weights[ROWS * WEIGHT_STRIDE];
shared float shared_reduced[GROUP_SIZE];
/* Of every query: by how much the last maximum shrinks what was summed before it; the sum. */
shared float shared_shrinks[QUERIES];
shared float shared_sums[QUERIES];

void load_queries(attention_tile tile)
{
    for (uint item = gl_LocalInvocationIndex; item < QUERIES * KEY_FOURS; item += GROUP_SIZE) {
        uint token;
        uint head;
        query_find(tile, item / KEY_FOURS, token, head);
        shared_queries[item] = attention_query(token, tile.kv_head, head, item % KEY_FOURS);
    }
}

/* This invocation's share of a piece of the keys of a block. Past the last row and the last four the
 * last one comes again, so that no load waits for a branch; nobody looks at it. */
void load_keys(attention_tile tile, uint block, uint first_four, out vec4 keys[KEY_ITEMS])
{
    for (uint i = 0u; i < KEY_ITEMS; i++) {
        uint item = gl_LocalInvocationIndex + i * GROUP_SIZE;
        keys[i] = attention_key(min(block + item / PIECE_FOURS, tile.end - 1u), tile.kv_head,
                                min(first_four + item % PIECE_FOURS, KEY_FOURS - 1u));
    }
}

void keep_keys(vec4 keys[KEY_ITEMS])
{
    for (uint i = 0u; i < KEY_ITEMS; i++) {
        uint item = gl_LocalInvocationIndex + i * GROUP_SIZE;
        shared_keys[item / PIECE_FOURS * KEY_STRIDE + item % PIECE_FOURS] = keys[i];
    }
}

/* shared_weights = scores of the block's rows with the queries, LOWEST where a query does not see the
 * row. Ends without a barrier. */
void score_block(attention_tile tile, uint block)
{
    uint row = gl_LocalInvocationIndex % ROW_INVOCATIONS;
    uint query = gl_LocalInvocationIndex / ROW_INVOCATIONS * QUERY_SCORES;
    float scores[QUERY_SCORES * ROW_SCORES];
    for (uint i = 0u; i < QUERY_SCORES * ROW_SCORES; i++) {
        scores[i] = 0.0;
    }
    vec4 piece[KEY_ITEMS];
    load_keys(tile, block, 0u, piece);
    for (uint first = 0u; first < KEY_FOURS; first += PIECE_FOURS) {
        barrier(); /* an earlier piece may still be being read */
        keep_keys(piece);
        barrier();
        if (first + PIECE_FOURS < KEY_FOURS) { /* the next is on its way in the meantime */
            load_keys(tile, block, first + PIECE_FOURS, piece);
        }
        uint fours =
            KEY_FOURS % PIECE_FOURS == 0u ? PIECE_FOURS : min(PIECE_FOURS, KEY_FOURS - first);
        for (uint four = 0u; four < fours; four++) {
            vec4 keys[ROW_SCORES];
            for (uint r = 0u; r < ROW_SCORES; r++) {
                keys[r] = shared_keys[(row + r * ROW_INVOCATIONS) * KEY_STRIDE + four];
            }
            for (uint q = 0u; q < QUERY_SCORES; q++) {
                vec4 q4 = shared_queries[(query + q) * KEY_FOURS + first + four];
                for (uint r = 0u; r < ROW_SCORES; r++) {
                    scores[q * ROW_SCORES + r] =
                        add_dot(q4, keys[r], scores[q * ROW_SCORES + r]);
                }
            }
        }
    }
    for (uint q = 0u; q < QUERY_SCORES; q++) {
        uint begin;
        uint end;
        query_rows(tile, query + q, begin, end);
        end = min(end, tile.end);
        for (uint r = 0u; r < ROW_SCORES; r++) {
            uint in_block = row + r * ROW_INVOCATIONS;
            bool seen = block + in_block >= begin && block + in_block < end;
            shared_weights[in_block * WEIGHT_STRIDE + query + q] =
                seen ? scores[q * ROW_SCORES + r] : LOWEST;
        }
    }
}

/* The largest, or the sum, of the values that the WEIGHT_INVOCATIONS of a query give; all get it. */
float reduce_query(float value, bool largest)
{
    uint me = gl_LocalInvocationIndex;
    barrier(); /* an earlier result may still be being read */
    shared_reduced[me] = value;
    barrier();
    for (uint distance = WEIGHT_INVOCATIONS / 2u; distance > 0u; distance /= 2u) {
        if (me % WEIGHT_INVOCATIONS < distance) {
            float a = shared_reduced[me];
            float b = shared_reduced[me + distance];
            shared_reduced[me] = largest ? max(a, b) : a + b;
        }
        barrier();
    }
    return shared_reduced[me / WEIGHT_INVOCATIONS * WEIGHT_INVOCATIONS];
}

/* Makes weights of the scores. `maximum` is that of this invocation's query so far, `sum` this
 * invocation's share of its weights. */
void weigh_block(inout float maximum, inout float sum)
{
    uint query = gl_LocalInvocationIndex / WEIGHT_INVOCATIONS;
    uint lane = gl_LocalInvocationIndex % WEIGHT_INVOCATIONS;
    barrier();
    float largest = maximum;
    for (uint row = lane; row < ROWS; row += WEIGHT_INVOCATIONS) {
        largest = max(largest, shared_weights[row * WEIGHT_STRIDE + query]);
    }
    largest = reduce_query(largest, true);
    float shrink = exp(maximum - largest);
    sum *= shrink;
    for (uint row = lane; row < ROWS; row += WEIGHT_INVOCATIONS) {
        uint at = row * WEIGHT_STRIDE + query;
        float score = shared_weights[at];
        float weight = score == LOWEST ? 0.0 : exp(score - largest);
        shared_weights[at] = weight;
        sum += weight;
    }
    if (lane == 0u) {
        shared_shrinks[query] = shrink;
    }
    maximum = largest;
    barrier();
}

/* Where an invocation's values belong. */
uint value_first_four()
{
    return gl_LocalInvocationIndex % VALUE_INVOCATIONS;
}
uint value_first_query()
{
    return gl_LocalInvocationIndex / VALUE_INVOCATIONS % QUERY_SHARES * VALUE_QUERIES;
}
uint value_share()
{
    return gl_LocalInvocationIndex / VALUE_INVOCATIONS / QUERY_SHARES;
}

/* Past the last four the last one comes again: it is not written. */
uint value_part_four(uint part)
{
    return min(value_first_four() + part * GROUP_SIZE, VALUE_FOURS - 1u);
}

/* A row's value, by its weight for each query, to the sums of a part. */
void add_value(uint row, uint part, vec4 value, inout vec4 values[VALUES])
{
    uint first = row * WEIGHT_STRIDE + value_first_query();
    for (uint q = 0u; q < VALUE_QUERIES; q++) {
        values[q * VALUE_PARTS + part] += shared_weights[first + q] * value;
    }
}

void add_values(attention_tile tile, uint block, inout vec4 values[VALUES])
{
    uint query = value_first_query();
    for (uint q = 0u; q < VALUE_QUERIES; q++) {
        for (uint part = 0u; part < VALUE_PARTS; part++) {
            values[q * VALUE_PARTS + part] *= shared_shrinks[query + q];
        }
    }
    uint live = value_share() < ROW_SHARES ? min(tile.end - block, ROWS) : 0u;
    uint row = value_share();
    for (; row + (VALUE_BATCH - 1u) * ROW_SHARES < live; row += VALUE_BATCH * ROW_SHARES) {
        for (uint part = 0u; part < VALUE_PARTS; part++) {
            vec4 batch[VALUE_BATCH];
            for (uint i = 0u; i < VALUE_BATCH; i++) {
                batch[i] = attention_value(block + row + i * ROW_SHARES, tile.kv_head,
                                           value_part_four(part));
            }
            for (uint i = 0u; i < VALUE_BATCH; i++) {
                add_value(row + i * ROW_SHARES, part, batch[i], values);
            }
        }
    }
    for (; row < live; row += ROW_SHARES) {
        for (uint part = 0u; part < VALUE_PARTS; part++) {
            vec4 value = attention_value(block + row, tile.kv_head, value_part_four(part));
            add_value(row, part, value, values);
        }
    }
}

/* Four dimensions of query i, unless it is past the last: as they are to parts, or divided by the
 * sum of weights to y. */
void write_values(attention_tile tile, uint i, uint four, vec4 values)
{
    if (tile.first + i >= tile.queries || four >= VALUE_FOURS) {
        return;
    }
    uint dim = attention_value_dim();
    uint count = min(dim - four * 4u, 4u);
    if (tile.splits > 1u) {
        uint to = part_begin(tile, tile.split, i) + four * 4u;
        for (uint d = 0u; d < count; d++) {
            args.parts.v[to + d] = floatBitsToUint(values[d]);
        }
    } else {
        uint token;
        uint head;
        query_find(tile, i, token, head);
        uint to = attention_result(token, tile.kv_head, head) + four * 4u;
        values /= shared_sums[i];
        for (uint d = 0u; d < count; d++) {
            args.y.v[to + d] = values[d];
        }
    }
}

/* Adds the row shares and writes them. */
void finish_values(attention_tile tile, vec4 values[VALUES])
{
    uint me = gl_LocalInvocationIndex;
    for (uint q = 0u; q < VALUE_QUERIES; q++) {
        for (uint part = 0u; part < VALUE_PARTS; part++) {
            vec4 sum = values[q * VALUE_PARTS + part];
            if (ROW_SHARES > 1u) {
                barrier();
                shared_keys[me] = sum;
                barrier();
                for (uint share = 1u; share < ROW_SHARES; share++) {
                    uint other = me + share * QUERY_SHARES * VALUE_INVOCATIONS;
                    if (value_share() == 0u) {
                        sum += shared_keys[other];
                    }
                }
            }
            if (value_share() == 0u) {
                write_values(tile, value_first_query() + q,
                             value_first_four() + part * GROUP_SIZE, sum);
            }
        }
    }
}

/* y from the parts of all splits. */
void add_parts(attention_tile tile)
{
    uint me = gl_LocalInvocationIndex;
    uint dim = attention_value_dim();
    uint live = min(QUERIES, tile.queries - tile.first);
    if (me == 0u) {
        args.parts.v[tile.number] = 0u;
    }
    for (uint item = me; item < tile.splits * QUERIES; item += GROUP_SIZE) {
        uint i = item % QUERIES;
        if (i < live) {
            uint maximum = args.parts.v[part_begin(tile, item / QUERIES, i) + dim];
            shared_weights[item / QUERIES * WEIGHT_STRIDE + i] = uintBitsToFloat(maximum);
        }
    }
    barrier();
    if (me < live) { /* how much of each part counts */
        float maximum = LOWEST;
        for (uint split = 0u; split < tile.splits; split++) {
            maximum = max(maximum, shared_weights[split * WEIGHT_STRIDE + me]);
        }
        float sum = 0.0;
        for (uint split = 0u; split < tile.splits; split++) {
            float factor = exp(shared_weights[split * WEIGHT_STRIDE + me] - maximum);
            shared_weights[split * WEIGHT_STRIDE + me] = factor;
            sum += factor * uintBitsToFloat(args.parts.v[part_begin(tile, split, me) + dim + 1u]);
        }
        shared_sums[me] = sum;
    }
    barrier();
    for (uint item = me; item < live * dim; item += GROUP_SIZE) {
        uint i = item / dim;
        uint d = item % dim;
        float value = 0.0;
        for (uint split = 0u; split < tile.splits; split++) {
            value += shared_weights[split * WEIGHT_STRIDE + i] *
                     uintBitsToFloat(args.parts.v[part_begin(tile, split, i) + d]);
        }
        uint token;
        uint head;
        query_find(tile, i, token, head);
        args.y.v[attention_result(token, tile.kv_head, head) + d] = value / shared_sums[i];
    }
}

void attend()
{
    attention_tile tile;
    if (!tile_find(tile)) {
        return;
    }
    uint query = gl_LocalInvocationIndex / WEIGHT_INVOCATIONS;
    bool leads = gl_LocalInvocationIndex % WEIGHT_INVOCATIONS == 0u;
    uint token;
    uint head;
    query_find(tile, query, token, head);
    /* A running softmax of no rows; in the first split, of the sink. */
    bool has_sink = attention_has_sinks() && tile.split == 0u;
    float maximum = has_sink ? max(attention_sink(tile.kv_head, head), LOWEST) : LOWEST;
    float sum = has_sink && leads ? 1.0 : 0.0;
    vec4 values[VALUES];
    for (uint i = 0u; i < VALUES; i++) {
        values[i] = vec4(0.0);
    }
    load_queries(tile);
    for (uint block = tile.begin; block < tile.end; block += ROWS) {
        score_block(tile, block);
        weigh_block(maximum, sum);
        add_values(tile, block, values);
    }
    sum = reduce_query(sum, false);
    if (leads) {
        shared_sums[query] = sum;
        if (tile.splits > 1u && tile.first + query < tile.queries) {
            uint to = part_begin(tile, tile.split, query) + attention_value_dim();
            args.parts.v[to] = floatBitsToUint(maximum);
            args.parts.v[to + 1u] = floatBitsToUint(sum);
        }
    }
    barrier();
    finish_values(tile, values);
    if (tile.splits > 1u && arrives_last(args.parts, tile.number, tile.splits)) {
        add_parts(tile);
    }
}
