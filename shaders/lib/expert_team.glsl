/* What the two expert products with few tokens share: which expert a work-group has, and which
 * vectors.
 *
 * In lists for one token (not GROUPED) z is the slot. Otherwise z is a number among the experts
 * that were chosen, in order; the work-group has all pairs of its expert, COLUMNS at a time, so
 * that the expert's rows are read from memory once. Wants lib/matvec.glsl.
 */
layout(constant_id = 4) const uint GROUPED = 0u;

#define EXPERT_TILE 0x10000u /* all pairs of an expert */
#include "expert_tile.glsl"

/* False if there is no such expert. Every invocation must call. */
bool expert_team_find(u32s ids, u32s offsets, uint n_experts, out uint expert, out uint begin,
                      out uint end)
{
    if (GROUPED != 0u) {
        return expert_tile_find(offsets, n_experts, gl_WorkGroupID.z, expert, begin, end);
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
