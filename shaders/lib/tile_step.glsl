/* What is fetched of a tile at once, for the tiers whose weights keep the form of their codes: 64
 * columns, which are two pieces of block types (lib/quant.glsl), or 64 neighbours of others. A
 * piece's loads, and what makes numbers of its scales, serve 32 weights.
 *
 * The columns of a step stand in shared memory in eights, those that share a scale side by side:
 * step_column says which columns an eight has. A sum does not mind the order.
 *
 * What a tile has too much is loaded all the same, from the last row there is or from the first
 * vector, so that no load waits for a branch: nobody stores what comes of it. Only what lies past the
 * last column must be zero.
 */
#include "tile_group.glsl"
#include "quant.glsl"

#define STEP_COLUMNS 64u
#define STEP_EIGHTS (STEP_COLUMNS / 8u)

uint steps_of(uint cols)
{
    return (cols + STEP_COLUMNS - 1u) / STEP_COLUMNS;
}
/* Whether a step has columns past the last. */
bool step_is_cut(uint step, uint cols)
{
    return (step + 1u) * STEP_COLUMNS > cols;
}
/* The row of the matrix that stands for a row of the tile. */
uint step_matrix_row(uint first_row, uint row, uint rows)
{
    return min(first_row + row, rows - 1u);
}
/* Which eights of a vector an invocation fetches: the four from here on. */
uint step_first_eight()
{
    return gl_LocalInvocationIndex / TILE_TOKENS * 4u;
}
/* A unit of 16 bytes further on. */
uvec2 step_unit(uvec2 address, uint unit)
{
    uint carry;
    uint low = uaddCarry(address.x, unit << 4, carry);
    return uvec2(low, address.y + (unit >> 28) + carry);
}

#ifdef CODES_SCALES

/* Eights of a piece that share a scale. */
#define STEP_TOGETHER (4u / CODES_SCALES)

/* Codes are 0 .. STEP_FARTHEST, or that far from STEP_CENTER on either side, once step_unsigned has
 * made them unsigned; only the former have an offset of their own, scale.y. */
#ifdef CODES_CENTER
#define STEP_OFFSETS false
#define STEP_CENTER CODES_CENTER
#define STEP_FARTHEST CODES_FARTHEST
#else
#define STEP_OFFSETS (CODES_LARGEST != CODES_INT8)
#define STEP_CENTER (STEP_OFFSETS ? 0u : 128u)
#define STEP_FARTHEST CODES_LARGEST
#endif

/* Where the eights of the first and of the second piece of a step stand. */
uint step_place(uint second, uint eight)
{
    return (eight / STEP_TOGETHER * 2u + second) * STEP_TOGETHER + eight % STEP_TOGETHER;
}

/* The first column of the eight at a place. Pieces of types with four scales have eights 32 columns
 * apart. */
uint step_column(uint step, uint place)
{
    return CODES_SCALES == 4u ? (step >> 1) * 128u + (step & 1u) * 16u + (place >> 1) * 32u +
                                    (place & 1u) * 8u
                              : step * STEP_COLUMNS + place * 8u;
}

/* An invocation fetches so many pieces: of these rows, and the step's first or second. */
#define STEP_ITEMS (TILE_ROWS * 2u / GROUP_SIZE)

uint step_row(uint item)
{
    return (gl_LocalInvocationIndex + item * GROUP_SIZE) % TILE_ROWS;
}
uint step_second(uint item)
{
    return (gl_LocalInvocationIndex + item * GROUP_SIZE) / TILE_ROWS;
}

/* Four codes as bytes without a sign. */
uint step_unsigned(uint codes)
{
    return CODES_LARGEST == CODES_INT8 ? codes ^ 0x80808080u : codes;
}
/* Four codes as int8; where there are no offsets, 0 is a weight of 0. */
uint step_signed(uint codes)
{
#ifdef CODES_CENTER
    return ((codes | 0x80808080u) - CODES_CENTER * 0x01010101u) ^ 0x80808080u;
#else
    return codes;
#endif
}

#else

uint step_column(uint step, uint place)
{
    return step * STEP_COLUMNS + place * 8u;
}

#endif
