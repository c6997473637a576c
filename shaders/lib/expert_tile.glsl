/* The tiles of pairs that expert_group has cut (struct expert_group_args). */

/* The expert of tile number `tile` and its pairs [begin, end) in the sorted list; false if there is
 * no such tile: the host launches as many work-groups as there can be tiles at most. */
bool expert_tile_find(u32s tiles, uint tile, out uint expert, out uint begin, out uint end)
{
    uint at = 1u + tile * EXPERT_TILE_WORDS;
    if (tile >= tiles.v[0]) {
        return false;
    }
    expert = tiles.v[at];
    begin = tiles.v[at + 1u];
    end = begin + tiles.v[at + 2u];
    return true;
}
