/* What tiles have in common on a CPU that plays a GPU (lavapipe; lib/tile.glsl).
 *
 * Such a device computes eight lanes with one instruction, but loads lane by lane and component by
 * component, shared memory as slowly as any other, and changes stacks at barriers: loads are what a
 * product costs. So nothing is shared: the eight lanes of a subgroup multiply 32 rows by 8 vectors
 * by themselves. A lane unpacks its own four rows, 32 columns at a time, and loads one of the vectors,
 * whence every lane gets it by shuffles with constant indices, which are one instruction each. All
 * loops but those over the columns are unrolled, so that everything stays in registers.
 *
 * Nothing is ever jumped over there: lanes that a branch or a loop leaves out compute along, and
 * forget it. Loops over columns test at their end, for one more round with no lane left would cost as
 * much as any.
 *
 * cols is a multiple of 32; the subgroup has eight invocations.
 */
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_shuffle : require

layout(constant_id = 0) const uint GROUP_SIZE = 128u;
layout(constant_id = 1) const uint TILE_TOKENS = 64u;
layout(local_size_x_id = 0, local_size_x = 128) in;

#include "load_int64.glsl"
#include "quant.glsl"

#define TILE_ROWS 64u
#define TILE_COLUMNS 32u
#define NO_VECTOR 0xFFFFFFFFu
#define TILE_HIGH_ROW 0u
#define TILE_HIGH_VECTOR 4u

#define LANES 8u
#define LANE_ROWS 4u
#define LANE_VECTORS 8u

uint tile_lane()
{
    return gl_LocalInvocationIndex % LANES;
}
uint tile_vector()
{
    return gl_LocalInvocationIndex / (2u * LANES) * LANE_VECTORS;
}
uint tile_fetched_vector()
{
    return tile_vector() + tile_lane();
}
uint tile_row()
{
    return (gl_LocalInvocationIndex / LANES % 2u * LANES + tile_lane()) * LANE_ROWS;
}

/* The vectors of a tile come first, so that without the first there is none: then no steps. Where
 * another is missing the first is taken, and nobody stores what comes out. */
uint tile_steps(uint cols, inout uint x_row)
{
    uint first = subgroupShuffle(x_row, 0u);
    x_row = x_row == NO_VECTOR ? first : x_row;
    return first == NO_VECTOR ? 0u : cols / TILE_COLUMNS;
}
