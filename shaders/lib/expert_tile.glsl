/* Which expert and which of its pairs a work-group of a grouped matrix product has.
 *
 * The pairs (token, slot) lie sorted by expert; expert e has [offsets[e], offsets[e + 1]), cut into
 * tiles of EXPERT_TILE. The host does not know how many tiles there are, only that they are at most
 * pairs / EXPERT_TILE + experts; so every work-group counts the tiles of all experts (a scan
 * through shared memory) and looks up its own. Wants GROUP_SIZE and EXPERT_TILE.
 */
shared uint tile_counts[GROUP_SIZE];
shared uint tile_expert;
shared uint tile_first_pair;

/* The expert of tile number `tile` (the same for the whole work-group) and its pairs [begin, end)
 * in the sorted list; false if there is no such tile. Every invocation must call. */
bool expert_tile_find(u32s offsets, uint n_experts, uint tile, out uint expert, out uint begin,
                      out uint end)
{
    uint i = gl_LocalInvocationIndex;
    uint share = (n_experts + GROUP_SIZE - 1u) / GROUP_SIZE;
    uint first = min(i * share, n_experts);
    uint last = min(first + share, n_experts);
    uint count = 0u;
    for (uint e = first; e < last; e++) {
        count += (offsets.v[e + 1u] - offsets.v[e] + EXPERT_TILE - 1u) / EXPERT_TILE;
    }
    tile_counts[i] = count;
    if (i == 0u) {
        tile_expert = n_experts;
        tile_first_pair = 0u;
    }
    barrier();
    for (uint distance = 1u; distance < GROUP_SIZE; distance *= 2u) {
        uint before = i >= distance ? tile_counts[i - distance] : 0u;
        barrier();
        tile_counts[i] += before;
        barrier();
    }
    uint tiles = tile_counts[i] - count; /* of the experts before mine */
    for (uint e = first; e < last; e++) {
        uint pairs = offsets.v[e + 1u] - offsets.v[e];
        uint mine = (pairs + EXPERT_TILE - 1u) / EXPERT_TILE;
        if (tile >= tiles && tile < tiles + mine) {
            tile_expert = e;
            tile_first_pair = offsets.v[e] + (tile - tiles) * EXPERT_TILE;
        }
        tiles += mine;
    }
    barrier();
    expert = tile_expert;
    begin = tile_first_pair;
    if (expert >= n_experts) {
        end = begin;
        return false;
    }
    end = min(begin + EXPERT_TILE, offsets.v[expert + 1u]);
    return true;
}
