/* What the two expert products with one vector at a time share: which expert a work-group has, and
 * which pairs. For one token z is the slot, which is the pair. For SEVERAL z is the number of a tile of
 * an expert's pairs, as in lib/expert_team.glsl. Wants lib/matvec_software.glsl.
 */
#include "expert_tile.glsl"

/* False if there is no such tile. */
bool expert_team_find(u32s ids, u32s tiles, uint n_experts, out uint expert, out uint begin,
                      out uint end)
{
    if (SEVERAL != 0u) {
        return expert_tile_find(tiles, gl_WorkGroupID.z, expert, begin, end);
    }
    begin = gl_WorkGroupID.z;
    end = begin + 1u;
    expert = min(ids.v[begin], n_experts - 1u);
    return true;
}

/* The pair at a place between the two. */
uint expert_team_pair(u32s pairs, uint place)
{
    return SEVERAL != 0u ? pairs.v[place] : place;
}
