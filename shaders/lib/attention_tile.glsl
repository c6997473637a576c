/* Which queries and which rows of the caches a work-group of attention has (lib/attention.glsl says
 * how they are shared out), where the splits of a tile leave what they found, and the product of a
 * query and a key.
 *
 * The shader that includes this names QUERIES and ROWS, has `args` with step, parts and capacity, and
 * defines the functions that are declared here.
 */
/* Heads of queries of a kv head, kv heads, the window (0: none). */
uint attention_heads();
uint attention_kv_heads();
uint attention_window();
/* Dimensions of y, and where a query's begins. */
uint attention_value_dim();
uint attention_result(uint token, uint kv_head, uint head);

/* What this work-group is about. */
struct attention_tile {
    uint kv_head;
    uint number;     /* of the tile, over all kv heads: of its counter and its parts */
    uint first;      /* query */
    uint queries;    /* there are */
    uint splits;     /* with rows */
    uint split;      /* of these */
    uint begin, end; /* rows of this split */
};

/* Token and head of the tile's query i; past the last query, those of the last. */
void query_find(attention_tile tile, uint i, out uint token, out uint head)
{
    uint query = min(tile.first + i, tile.queries - 1u);
    token = query / attention_heads();
    head = query % attention_heads();
}

/* Cache rows [begin, end) that query i sees. */
void query_rows(attention_tile tile, uint i, out uint begin, out uint end)
{
    uint token;
    uint head;
    query_find(tile, i, token, head);
    uint window = attention_window();
    end = min(args.step.position + token + 1u, args.capacity);
    begin = window != 0u && end > window ? end - window : 0u;
}

/* False if this work-group has nothing to do. */
bool tile_find(out attention_tile tile)
{
    uint kv_heads = attention_kv_heads();
    uint tile_of_head = gl_WorkGroupID.z * gl_NumWorkGroups.y + gl_WorkGroupID.y;
    tile.kv_head = gl_WorkGroupID.x % kv_heads;
    tile.number = tile_of_head * kv_heads + tile.kv_head;
    tile.first = tile_of_head * QUERIES;
    tile.queries = args.step.n_tokens * attention_heads();
    if (tile.first >= tile.queries) {
        return false;
    }
    uint begin;
    uint end;
    uint unused;
    query_rows(tile, 0u, begin, unused);
    query_rows(tile, QUERIES - 1u, unused, end);
    uint blocks = (end - begin + ROWS - 1u) / ROWS;
    uint most_splits = gl_NumWorkGroups.x / kv_heads;
    uint split_blocks = (blocks + most_splits - 1u) / most_splits;
    tile.splits = (blocks + split_blocks - 1u) / split_blocks;
    tile.split = gl_WorkGroupID.x / kv_heads;
    tile.begin = begin + tile.split * split_blocks * ROWS;
    tile.end = min(tile.begin + split_blocks * ROWS, end);
    return tile.split < tile.splits;
}

/* In which words of parts the split's sums of query i begin: its values, maximum, sum. */
uint part_begin(attention_tile tile, uint split, uint i)
{
    uint part = (tile.number * (gl_NumWorkGroups.x / attention_kv_heads()) + split) * QUERIES + i;
    return uint(ATTENTION_MAX_TILES) + part * (attention_value_dim() + 2u);
}

/* sum + a . b: dot() and a sum are more instructions than four that multiply and add. */
float add_dot(vec4 a, vec4 b, float sum)
{
    sum += a.x * b.x;
    sum += a.y * b.y;
    sum += a.z * b.z;
    sum += a.w * b.w;
    return sum;
}
