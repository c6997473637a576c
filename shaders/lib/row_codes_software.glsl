/* Rows of block types on a CPU that plays a GPU (lavapipe), for teams of eight lanes that take them one
 * after the other, 32 columns a lane and step: what up to STEPS steps of a row share, its lanes load
 * together and give each other, a load for all. Includers have LANES, STEPS and team_lane().
 */

#if defined(CODES_SHARED)

#define row_shared codes_shared
/* Lane i has what the pieces of step i share. */
row_shared row_shared_load(words w, uint rows, uint cols, uint row, uint first)
{
    uint block = min((first >> 3) + team_lane(), (cols >> 8) - 1u);
    return codes_shared_load(w, rows, cols, row, block);
}
void row_codes(words w, uint rows, uint cols, uint row, uint piece, row_shared of_row, uint s,
               out uvec2 codes[4], out vec2 scales[4])
{
    codes_shared shared_by =
        codes_shared(subgroupShuffle(of_row.scales, s), subgroupShuffle(of_row.super, s));
    weights_piece_codes_shared(w, rows, cols, row, piece, shared_by, codes, scales);
}

#elif defined(CODES_SCALE_BITS)

/* Lane i has the scales of pieces SCALES_LOADED i to SCALES_LOADED (i + 1) - 1, and as many from
 * SCALES_LOADED 8 on. */
#define SCALES_LOADED (64u / CODES_SCALE_BITS)
struct row_shared {
    uvec2 first, second;
};
row_shared row_shared_load(words w, uint rows, uint cols, uint row, uint first)
{
    uint base = codes_scales_unit(rows, cols, row) * 2u;
    uint own = first / SCALES_LOADED + team_lane();
    uint last = ((cols >> 5) - 1u) / SCALES_LOADED;
    row_shared of_row;
    of_row.first = load8(w, base + min(own, last));
    of_row.second = STEPS > SCALES_LOADED ? load8(w, base + min(own + LANES, last)) : uvec2(0u);
    return of_row;
}
uint scale_bits(row_shared of_row, uint s)
{
    uint place = s * LANES + team_lane();
    uint lane = place / SCALES_LOADED;
    uvec2 loaded = s < SCALES_LOADED ? of_row.first : of_row.second;
    uint low = subgroupShuffle(loaded.x, lane % LANES);
    uint high = subgroupShuffle(loaded.y, lane % LANES);
    uint in_word = 32u / CODES_SCALE_BITS;
    uint word = place % SCALES_LOADED < in_word ? low : high;
    return word >> place % in_word * CODES_SCALE_BITS & (1u << CODES_SCALE_BITS) - 1u;
}
void row_codes(words w, uint rows, uint cols, uint row, uint piece, row_shared of_row, uint s,
               out uvec2 codes[4], out vec2 scales[4])
{
    weights_piece_codes_scaled(w, rows, cols, row, piece, scale_bits(of_row, s), codes, scales);
}

#else

struct row_shared {
    uint nothing;
};
row_shared row_shared_load(words w, uint rows, uint cols, uint row, uint first)
{
    return row_shared(0u);
}
void row_codes(words w, uint rows, uint cols, uint row, uint piece, row_shared of_row, uint s,
               out uvec2 codes[4], out vec2 scales[4])
{
    weights_piece_codes(w, rows, cols, row, piece, codes, scales);
}

#endif

/* The same address, but the driver sees that all lanes have it, and keeps it in a register. */
words of_all_lanes(words w)
{
    return words(unpackUint2x32(subgroupBroadcastFirst(packUint2x32(uvec2(w)))));
}
