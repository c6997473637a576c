/* What the tiles of all tiers share: who has which rows and vectors of a tile.
 *
 * Invocation i has rows 4 r ... 4 r + 3 and 32 + 4 r ... 32 + 4 r + 3 with r = i % 8, and vectors
 * 4 (i / 8) ... + 3.
 */
layout(constant_id = 0) const uint GROUP_SIZE = 128u;
layout(constant_id = 1) const uint TILE_TOKENS = 64u;
layout(local_size_x_id = 0, local_size_x = 128) in;

#define TILE_ROWS 64u
#define TILE_COLUMNS 32u
#define NO_VECTOR 0xFFFFFFFFu
#define TILE_HIGH_ROW 32u
#define TILE_HIGH_VECTOR 0u

/* The vector of the tile that this invocation fetches (the same one for all columns). */
uint tile_fetched_vector()
{
    return gl_LocalInvocationIndex % TILE_TOKENS;
}
/* First of the four vectors, and of the first and second four rows, that it multiplies. */
uint tile_vector()
{
    return gl_LocalInvocationIndex / 8u * 4u;
}
uint tile_row()
{
    return gl_LocalInvocationIndex % 8u * 4u;
}
