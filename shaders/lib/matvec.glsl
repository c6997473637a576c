/* Matrix times few vectors: teams of LANES invocations, each team two neighbouring rows.
 *
 * The lanes of a team take turns at the pieces of a row (lib/quant.glsl), so they read neighbouring
 * 16-byte units of the weights, and every piece that a lane has unpacked serves all COLUMNS
 * vectors. Their sums meet in shared memory. LANES is a power of two that divides GROUP_SIZE;
 * COLUMNS is at most 8. Shared memory: 8 KiB at most, and 4 KiB if NORMED.
 *
 * NORMED: the vectors stand for their RMS norm. What all elements of a vector are divided by is
 * one number, so it is divided by at the end, and the sum of squares is made on the way.
 */
layout(constant_id = 0) const uint GROUP_SIZE = 128u;
layout(constant_id = 1) const uint LANES = 32u;
layout(constant_id = 2) const uint COLUMNS = 1u;
layout(constant_id = 3) const uint NORMED = 0u;
layout(local_size_x_id = 0, local_size_x = 128) in;

#include "quant.glsl"

#define ROWS_PER_TEAM 2u
#define NO_VECTOR 0xFFFFFFFFu

shared vec2 team_sums[COLUMNS * GROUP_SIZE];
shared float team_squares[NORMED * COLUMNS * GROUP_SIZE + 1u];

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

/* Adds up what the lanes of a team have, into `sums` and `squares` of lane 0. */
void team_reduce(inout vec2 sums[COLUMNS], inout float squares[COLUMNS])
{
    uint i = gl_LocalInvocationIndex;
    uint lane = i % LANES;
    for (uint c = 0u; c < COLUMNS; c++) {
        team_sums[c * GROUP_SIZE + i] = sums[c];
        if (NORMED != 0u) {
            team_squares[c * GROUP_SIZE + i] = squares[c];
        }
    }
    barrier();
    for (uint live = LANES / 2u; live > 0u; live /= 2u) {
        if (lane < live) {
            for (uint c = 0u; c < COLUMNS; c++) {
                uint at = c * GROUP_SIZE + i;
                team_sums[at] += team_sums[at + live];
                if (NORMED != 0u) {
                    team_squares[at] += team_squares[at + live];
                }
            }
        }
        barrier();
    }
    for (uint c = 0u; c < COLUMNS; c++) {
        sums[c] = team_sums[c * GROUP_SIZE + i];
        if (NORMED != 0u) {
            squares[c] = team_squares[c * GROUP_SIZE + i];
        }
    }
}

/* The products of rows `row` and `row + 1` of w with the vectors that begin at x[x_rows[c]], or
 * none where that is NO_VECTOR; of rows past the last one, anything. norm and epsilon are read if
 * NORMED. Every invocation must call; the one that writes gets the result. */
void team_product(words w, uint rows, uint cols, uint row, f32s x, uint x_rows[COLUMNS], f32s norm,
                  float epsilon, out vec2 sums[COLUMNS])
{
    float squares[COLUMNS];
    for (uint c = 0u; c < COLUMNS; c++) {
        sums[c] = vec2(0.0);
        squares[c] = 0.0;
    }
    uint row0 = min(row, rows - 1u);
    uint row1 = min(row + 1u, rows - 1u);
    uint pieces = pieces_of(cols);
    for (uint piece = gl_LocalInvocationIndex % LANES; piece < pieces; piece += LANES) {
        vec4 first[PIECE_FOURS];
        vec4 second[PIECE_FOURS];
        weights_piece(w, rows, cols, row0, piece, first);
        weights_piece(w, rows, cols, row1, piece, second);
        for (uint four = 0u; four < PIECE_FOURS; four++) {
            uint column = piece_column(piece, four);
            vec4 scale = vec4(1.0);
            if (NORMED != 0u) {
                scale = row_load4(norm, 0u, cols, column);
            }
            for (uint c = 0u; c < COLUMNS; c++) {
                if (x_rows[c] != NO_VECTOR) {
                    vec4 x4 = row_load4(x, x_rows[c], cols, column);
                    if (NORMED != 0u) {
                        squares[c] += dot(x4, x4);
                        x4 *= scale;
                    }
                    sums[c] += vec2(dot(first[four], x4), dot(second[four], x4));
                }
            }
        }
    }
    team_reduce(sums, squares);
    for (uint c = 0u; c < COLUMNS; c++) {
        if (NORMED != 0u) {
            sums[c] *= 1.0 / sqrt(squares[c] / float(cols) + epsilon);
        }
    }
}
