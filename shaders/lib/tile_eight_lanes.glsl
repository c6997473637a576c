/* What tiles have in common on a CPU that plays a GPU (lavapipe; lib/tile.glsl).
 *
 * Such a device computes eight lanes with one instruction, but loads lane by lane and component by
 * component, shared memory as slowly as any other, and changes stacks at barriers: loads are what a
 * product costs. So nothing is shared: the eight lanes of a subgroup are a team that multiplies its
 * rows by its 8 vectors by itself. All loops but those over rows and columns are unrolled, so that
 * everything stays in registers, or at least where no index varies.
 *
 * Nothing is ever jumped over there: lanes that a branch or a loop leaves out compute along, and
 * forget it. Loops test at their end, for one more round with no lane left would cost as much as
 * any.
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

#define NO_VECTOR 0xFFFFFFFFu

#define LANES 8u
#define LANE_VECTORS 8u

uint tile_lane()
{
    return gl_LocalInvocationIndex % LANES;
}

/* The vectors of a tile come first, so that without the first there is none: then false. Where
 * another is missing the first is taken, and nobody stores what comes out. */
bool tile_has_vectors(inout uint x_row)
{
    uint first = subgroupShuffle(x_row, 0u);
    x_row = x_row == NO_VECTOR ? first : x_row;
    return first != NO_VECTOR;
}
