/* Matrix times one vector: teams of LANES invocations, each team two neighbouring rows.
 *
 * This is what one token waits for, so it is made to keep the memory busy. An invocation asks for
 * ONE_BATCH pieces of both rows and for its share of the vector before it waits for any of them.
 * The vector, normed, passes through shared memory, a tile of ONE_FOURS fours at a time: a
 * work-group reads each element once and in order, while lanes, whose pieces are far apart, read it
 * out of order from banks that do not collide (one_place). Block types are multiplied as codes and
 * scaled afterwards: a sum of (scale.x code + scale.y) v is scale.x sum(code v) + scale.y sum(v).
 *
 * NORMED: the vector stands for its RMS norm. What all elements are divided by is one number, so it
 * is divided by at the end, and the sum of squares is made on the way.
 *
 * LANES is a power of two that divides GROUP_SIZE, at most 512 / (ONE_BATCH ONE_PIECE_FOURS). Shared
 * memory: 11 KiB at most. COLUMNS is 1, or one_vector is of no use.
 *
 * Who includes this defines the functions that are declared here.
 */
#extension GL_EXT_control_flow_attributes : require

layout(constant_id = 0) const uint GROUP_SIZE = 128u;
layout(constant_id = 1) const uint LANES = 32u;
layout(constant_id = 2) const uint COLUMNS = 1u;
layout(constant_id = 3) const uint NORMED = 0u;
layout(local_size_x_id = 0, local_size_x = 128) in;

#include "quant.glsl"

#define ROWS_PER_TEAM 2u

#ifdef CODES_SCALES
#define ONE_PIECE_FOURS 8u
#define ONE_BATCH 2u
struct one_piece {
    uvec2 codes[4];
    vec2 scales[4];
};
#else
#define ONE_PIECE_FOURS PIECE_FOURS
#define ONE_BATCH 4u
#define CODES_SPAN 32u
struct one_piece {
    vec4 fours[PIECE_FOURS];
};
#endif

/* A tile is what 32 lanes or more have at once, or as much in several rounds of fewer lanes. Named
 * once, as is the next, so that arrays of it are of one type. */
const uint ONE_FOURS = (LANES < 32u ? 32u : LANES) * ONE_BATCH * ONE_PIECE_FOURS;
#define ONE_PIECES (ONE_FOURS / ONE_PIECE_FOURS)
#define ONE_PLACES (ONE_FOURS + ONE_FOURS / (CODES_SPAN / 4u))
/* Fours of a tile that an invocation fetches. */
const uint ONE_FETCHED = ONE_FOURS / GROUP_SIZE;

shared vec4 one_vector[COLUMNS == 1u ? ONE_PLACES : 1u];
shared vec2 team_sums[COLUMNS * GROUP_SIZE];
shared float team_squares[NORMED * COLUMNS * GROUP_SIZE + 1u];

/* Where a piece is: the matrix, and its number in a row of that; and a four of the vector: its number
 * there, what it is multiplied by, and whether it is past the end. Of pieces and fours past the
 * end, any that exists. */
struct one_piece_spot {
    uvec2 matrix;
    uint piece;
};
struct one_four_spot {
    uint at;
    float factor;
    bool past;
};
one_piece_spot one_find_piece(uint piece);
one_four_spot one_find_four(uint four);
/* What is there, of the last row instead of one behind it, and of the norm if NORMED. */
void one_load_piece(one_piece_spot spot, uint row, out one_piece weights);
vec4 one_load_four(one_four_spot spot);
vec4 one_load_norm(one_four_spot spot);
/* Whether fours of the vector do not begin at multiples of 16 bytes, and those: 0 past the end. */
bool one_odd();
vec4 one_load_odd_four(uint four);
vec4 one_load_odd_norm(uint four);

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

/* Pieces of a row of `cols`, and one of them. */
uint one_pieces_of(uint cols)
{
    return (cols + 4u * ONE_PIECE_FOURS - 1u) / (4u * ONE_PIECE_FOURS);
}
void one_weights_load(words w, uint rows, uint cols, uint row, uint piece, out one_piece weights)
{
#ifdef CODES_SCALES
    weights_piece_codes(w, rows, cols, row, piece, weights.codes, weights.scales);
#else
    weights_piece(w, rows, cols, row, piece, weights.fours);
#endif
}

/* Where a four of a tile lies: one place is left out behind as many as the columns of a piece are
 * spread over, so that eight neighbouring lanes read eight different sixteenths of 128 bytes. */
uint one_place(uint four)
{
    return four + four / (CODES_SPAN / 4u);
}

/* The products of one piece of two rows, `piece` counted within the tile. */
#ifdef CODES_SCALES
float one_dot(uvec2 codes, vec4 low, vec4 high)
{
    if (CODES_LARGEST == CODES_INT8) {
        return dot(unpack_s8x4(codes.x), low) + dot(unpack_s8x4(codes.y), high);
    }
    return dot(unpack_u8x4(codes.x), low) + dot(unpack_u8x4(codes.y), high);
}

vec2 one_multiply(one_piece first, one_piece second, uint piece)
{
    const uint eights = 4u / CODES_SCALES;
    uint place = one_place(codes_column(piece, 0u) / 4u);
    vec2 sums = vec2(0.0);
    vec4 x4[8];
    for (uint eight = 0u; eight < 4u; eight++) {
        uint at = place + one_place(codes_column(0u, eight) / 4u);
        x4[2u * eight] = one_vector[at];
        x4[2u * eight + 1u] = one_vector[at + 1u];
    }
    for (uint s = 0u; s < CODES_SCALES; s++) {
        vec2 products = vec2(0.0);
        vec4 total = vec4(0.0);
        for (uint i = 0u; i < eights; i++) {
            uint eight = s * eights + i;
            vec4 low = x4[2u * eight];
            vec4 high = x4[2u * eight + 1u];
            products.x += one_dot(first.codes[eight], low, high);
            products.y += one_dot(second.codes[eight], low, high);
            total += low + high;
        }
        float offset = dot(total, vec4(1.0));
        sums.x += first.scales[s].x * products.x + first.scales[s].y * offset;
        sums.y += second.scales[s].x * products.y + second.scales[s].y * offset;
    }
    return sums;
}
#else
vec2 one_multiply(one_piece first, one_piece second, uint piece)
{
    uint place = one_place(piece_column(piece, 0u) / 4u);
    vec2 sums = vec2(0.0);
    vec4 x4[PIECE_FOURS];
    for (uint four = 0u; four < PIECE_FOURS; four++) {
        x4[four] = one_vector[place + four];
    }
    for (uint four = 0u; four < PIECE_FOURS; four++) {
        sums += vec2(dot(first.fours[four], x4[four]), dot(second.fours[four], x4[four]));
    }
    return sums;
}
#endif

/* Up to eight of each team's sums become one, until one is left. */
void one_reduce_level(uint live)
{
    uint i = gl_LocalInvocationIndex;
    uint left = max(live / 8u, 1u);
    if (live == 1u) {
        return;
    }
    if (i % LANES < left) {
        vec2 found[8];
        for (uint k = 0u; k < 8u; k++) {
            found[k] = team_sums[i + min(k, live / left - 1u) * left];
        }
        vec2 sum = found[0];
        for (uint k = 1u; k < 8u; k++) {
            sum += k < live / left ? found[k] : vec2(0.0);
        }
        team_sums[i] = sum;
    }
    barrier();
}

/* The pieces of both rows that an invocation has at once, from `piece` on. */
void one_load(uint row, uint piece, out one_piece weights[2u * ONE_BATCH])
{
    one_piece_spot spots[ONE_BATCH];
    for (uint b = 0u; b < ONE_BATCH; b++) {
        spots[b] = one_find_piece(piece + b * LANES);
    }
    for (uint b = 0u; b < ONE_BATCH; b++) {
        one_load_piece(spots[b], row, weights[2u * b]);
        one_load_piece(spots[b], row + 1u, weights[2u * b + 1u]);
    }
}

/* A tile of the vector goes to shared memory, and its squares are added up. */
void one_keep(uint tile, one_four_spot spots[ONE_FETCHED], vec4 x4[ONE_FETCHED],
              vec4 norm[ONE_FETCHED], inout float squares)
{
    uint i = gl_LocalInvocationIndex;
    barrier(); /* what was there before may still be being read */
    if (one_odd()) {
        [[dont_unroll]] for (uint four = i; four < ONE_FOURS; four += GROUP_SIZE) {
            vec4 kept = one_load_odd_four(tile * ONE_FOURS + four);
            squares += dot(kept, kept);
            if (NORMED != 0u) {
                kept *= one_load_odd_norm(tile * ONE_FOURS + four);
            }
            one_vector[one_place(four)] = kept;
        }
    } else {
        for (uint k = 0u; k < ONE_FETCHED; k++) {
            vec4 kept = spots[k].past ? vec4(0.0) : x4[k] * spots[k].factor;
            squares += dot(kept, kept);
            one_vector[one_place(k * GROUP_SIZE + i)] = kept * norm[k];
        }
    }
    if (NORMED != 0u) {
        team_squares[i] = squares;
    }
    barrier();
}

/* The products of all pieces with the vector of so many pieces: this invocation's share. */
vec2 one_gather(uint row, uint pieces)
{
    uint i = gl_LocalInvocationIndex;
    one_four_spot spots[ONE_FETCHED];
    vec4 x4[ONE_FETCHED];
    vec4 norm[ONE_FETCHED];
    float squares = 0.0;
    vec2 sums = vec2(0.0);
    for (uint first = 0u; first < pieces; first += ONE_BATCH * LANES) {
        one_piece weights[2u * ONE_BATCH];
        uint tile = first / ONE_PIECES;
        bool begins = LANES >= 32u || first % ONE_PIECES == 0u;
        if (begins) {
            for (uint k = 0u; k < ONE_FETCHED; k++) {
                spots[k] = one_find_four(tile * ONE_FOURS + k * GROUP_SIZE + i);
            }
            for (uint k = 0u; k < ONE_FETCHED; k++) {
                x4[k] = one_load_four(spots[k]);
                norm[k] = NORMED != 0u ? one_load_norm(spots[k]) : vec4(1.0);
            }
        }
        one_load(row, first + i % LANES, weights);
        if (begins) {
            one_keep(tile, spots, x4, norm, squares);
        }
        for (uint b = 0u; b < ONE_BATCH; b++) {
            sums += one_multiply(weights[2u * b], weights[2u * b + 1u],
                                 first % ONE_PIECES + i % LANES + b * LANES);
        }
    }
    return sums;
}

/* The products of rows `row` and `row + 1` with the vector of so many pieces, whose norm
 * is of `cols` elements. Every invocation must call; the one that writes gets the result. */
vec2 one_product(uint row, uint pieces, uint cols, float epsilon)
{
    const uint parts = GROUP_SIZE / 8u;
    uint i = gl_LocalInvocationIndex;
    vec2 sums = one_gather(row, pieces);
    if (NORMED != 0u && i < parts) {
        float found[8];
        for (uint k = 0u; k < 8u; k++) {
            found[k] = team_squares[i + k * parts];
        }
        float squares = 0.0;
        for (uint k = 0u; k < 8u; k++) {
            squares += found[k];
        }
        team_squares[i] = squares;
    }
    team_sums[i] = sums;
    barrier();
    one_reduce_level(LANES);
    one_reduce_level(max(LANES / 8u, 1u));
    one_reduce_level(max(LANES / 64u, 1u));
    sums = team_sums[i];
    if (NORMED != 0u) {
        float found[parts];
        for (uint k = 0u; k < parts; k++) {
            found[k] = team_squares[k];
        }
        float squares = 0.0;
        for (uint k = 0u; k < parts; k++) {
            squares += found[k];
        }
        sums *= 1.0 / sqrt(squares / float(cols) + epsilon);
    }
    return sums;
}
