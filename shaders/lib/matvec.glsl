/* Matrix times few vectors: teams of LANES invocations, each team two neighbouring rows.
 *
 * One vector goes the way of lib/matvec_one.glsl. Of several, the lanes of a team take turns at the
 * pieces of a row (lib/quant.glsl), so they read neighbouring 16-byte units of the weights, and every
 * piece that a lane has unpacked serves all COLUMNS vectors. Their sums meet in shared memory. LANES
 * is a power of two that divides GROUP_SIZE; COLUMNS is at most 8. Shared memory: 12 KiB at most.
 */
#include "matvec_one.glsl"

#define NO_VECTOR 0xFFFFFFFFu

/* The matrix and the vector that one_product multiplies. */
struct matvec_source {
    uvec2 weights;
    uint rows, cols;
    uvec2 x, norm;
    uint x_row;
};
matvec_source matvec_one;

one_piece_spot one_find_piece(uint piece)
{
    return one_piece_spot(matvec_one.weights, min(piece, one_pieces_of(matvec_one.cols) - 1u));
}

one_four_spot one_find_four(uint four)
{
    uint at = min(four, max(matvec_one.cols / 4u, 1u) - 1u);
    return one_four_spot(at, 1.0, four * 4u >= matvec_one.cols);
}

void one_load_piece(one_piece_spot spot, uint row, out one_piece weights)
{
    one_weights_load(words(spot.matrix), matvec_one.rows, matvec_one.cols,
                     min(row, matvec_one.rows - 1u), spot.piece, weights);
}

vec4 one_load_four(one_four_spot spot)
{
    return f32x4s(matvec_one.x).v[matvec_one.x_row / 4u + spot.at];
}

vec4 one_load_norm(one_four_spot spot)
{
    return f32x4s(matvec_one.norm).v[spot.at];
}

bool one_odd()
{
    return (matvec_one.cols & 3u) != 0u;
}

vec4 one_load_odd_four(uint four)
{
    return row_load4(f32s(matvec_one.x), matvec_one.x_row, matvec_one.cols, four * 4u);
}

vec4 one_load_odd_norm(uint four)
{
    return row_load4(f32s(matvec_one.norm), 0u, matvec_one.cols, four * 4u);
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
    if (COLUMNS == 1u) {
        matvec_one = matvec_source(uvec2(w), rows, cols, uvec2(x), uvec2(norm), x_rows[0]);
        sums[0] = one_product(row, one_pieces_of(cols), cols, epsilon);
        return;
    }
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
