/* What the two expert products with few tokens share: which expert a work-group has, and which
 * vectors.
 *
 * In lists for one token (not GROUPED) z is the slot. Otherwise z is the number of a tile of
 * pairs of an expert; the work-group has all of them, COLUMNS at a time, so that the expert's rows
 * are read from memory once. Wants lib/matvec.glsl.
 */
layout(constant_id = 4) const uint GROUPED = 0u;

#include "expert_tile.glsl"

/* False if there is no such tile. */
bool expert_team_find(u32s ids, u32s tiles, uint n_experts, out uint expert, out uint begin,
                      out uint end)
{
    if (GROUPED != 0u) {
        return expert_tile_find(tiles, gl_WorkGroupID.z, expert, begin, end);
    }
    begin = gl_WorkGroupID.z;
    end = begin + 1u;
    expert = min(ids.v[begin], n_experts - 1u);
    return true;
}

/* The pairs from place `first` on, NO_VECTOR from `end` on. */
void expert_team_pairs(u32s pairs, uint first, uint end, out uint found[COLUMNS])
{
    for (uint c = 0u; c < COLUMNS; c++) {
        uint place = first + c;
        found[c] = NO_VECTOR;
        if (place < end) {
            found[c] = GROUPED != 0u ? pairs.v[place] : place;
        }
    }
}
