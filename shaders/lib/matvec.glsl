/* Matrix times one vector: teams of LANES invocations, each team two neighbouring rows.
 *
 * The lanes of a team take turns at the pieces of a row (lib/quant.glsl), so they read neighbouring
 * 16-byte units of the weights, and every four of x that a lane has fetched serves both rows. Their
 * sums meet in shared memory. LANES is a power of two that divides GROUP_SIZE.
 */
layout(constant_id = 0) const uint GROUP_SIZE = 128u;
layout(constant_id = 1) const uint LANES = 32u;
layout(local_size_x_id = 0, local_size_x = 128) in;

#include "quant.glsl"

#define ROWS_PER_TEAM 2u

shared vec2 team_sums[GROUP_SIZE];

/* First row of this invocation's team, and whether the invocation is the one that writes. */
uint team_row()
{
    uint teams = GROUP_SIZE / LANES;
    return (group_index() * teams + gl_LocalInvocationIndex / LANES) * ROWS_PER_TEAM;
}
bool team_writes()
{
    return gl_LocalInvocationIndex % LANES == 0u;
}

/* The products of rows `row` and `row + 1` of w with the vector that begins at x[x_row]; of rows
 * past the last one, anything. Every invocation must call; the one that writes gets the result. */
vec2 team_product(words w, uint rows, uint cols, uint row, f32s x, uint x_row)
{
    uint i = gl_LocalInvocationIndex;
    uint lane = i % LANES;
    uint row0 = min(row, rows - 1u);
    uint row1 = min(row + 1u, rows - 1u);
    uint pieces = pieces_of(cols);
    vec2 sum = vec2(0.0);
    for (uint piece = lane; piece < pieces; piece += LANES) {
        vec4 first[PIECE_FOURS];
        vec4 second[PIECE_FOURS];
        weights_piece(w, rows, cols, row0, piece, first);
        weights_piece(w, rows, cols, row1, piece, second);
        for (uint four = 0u; four < PIECE_FOURS; four++) {
            vec4 x4 = row_load4(x, x_row, cols, piece_column(piece, four));
            sum += vec2(dot(first[four], x4), dot(second[four], x4));
        }
    }
    team_sums[i] = sum;
    barrier();
    for (uint live = LANES / 2u; live > 0u; live /= 2u) {
        if (lane < live) {
            team_sums[i] += team_sums[i + live];
        }
        barrier();
    }
    return team_sums[i];
}
