/* Matrix times one vector, or few one after the other, on a CPU that plays a GPU (lavapipe): teams
 * of eight neighbouring invocations, which are a subgroup, each team 16 neighbouring rows.
 *
 * Such a device computes eight lanes with one instruction, but loads lane by lane and component by
 * component, so that loads are what a product costs: how many there are, and that they follow each
 * other in memory, for a CPU fetches ahead what is read in order. No shared memory and no barriers,
 * at which a CPU changes stacks. Loops test at their ends: one that tests before its body runs it
 * once more for nobody. Two ways:
 *
 * PACKED, of block types: in integers, the vector being int8 (lib/packed.glsl), by lib/pairs.glsl.
 * The team takes its rows one after the other, 32 columns a lane and step, and keeps up to 8 STEPS
 * of the vector in registers meanwhile.
 *
 * Else in floats: eight rows side by side. The lanes take turns at the pieces of a row, and what
 * they have loaded of the vector serves all eight. NORMED: the vector stands for its RMS norm, as in
 * lib/matvec.glsl.
 */
#extension GL_EXT_shader_subgroup_extended_types_int64 : require
#extension GL_KHR_shader_subgroup_ballot : require
#extension GL_KHR_shader_subgroup_shuffle : require

layout(constant_id = 0) const uint GROUP_SIZE = 64u;
layout(constant_id = 1) const uint PACKED = 0u;
layout(constant_id = 2) const uint NORMED = 0u;
layout(constant_id = 3) const uint SEVERAL = 0u; /* tokens, not one */
layout(constant_id = 4) const uint STEPS = 8u; /* of 256 columns, that a block of columns has */
layout(local_size_x_id = 0, local_size_x = 64) in;

#include "load_int64.glsl"
#include "quant.glsl"
#include "packed.glsl"

#define LANES 8u
#define ROWS_PER_TEAM 16u
#define ROWS_BESIDE 8u /* each other, in floats */

/* First row of this invocation's team, and its place in the team. */
uint team_row()
{
    return (group_index() * (GROUP_SIZE / LANES) + gl_LocalInvocationIndex / LANES) * ROWS_PER_TEAM;
}
uint team_lane()
{
    return gl_SubgroupInvocationID % LANES;
}

/* What the lanes have of a product: sums of eight rows, and of the squares of a vector that is
 * to be normed. */
struct team_sums {
    float rows[ROWS_BESIDE];
    float squares;
};

team_sums team_zero()
{
    return team_sums(float[ROWS_BESIDE](0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0.0);
}

/* Eight rows, or whatever comes in eights. The compiler of such a device does not unroll
 * loops as long as these are, and what an array holds is in registers only if no index varies. */
#define EACH_OF_EIGHT(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define EACH_OF_FOUR(X) X(0) X(1) X(2) X(3)

/* The sum of a value over the lanes of the team. */
float team_add(float value)
{
    value += subgroupShuffleXor(value, 1u);
    value += subgroupShuffleXor(value, 2u);
    return value + subgroupShuffleXor(value, 4u);
}

/* The four floats of x from an element on, a multiple of four. */
vec4 load_four(f32s x, uint element)
{
    return uintBitsToFloat(load16(words(uvec2(x)), element >> 2));
}

/* Four elements of a vector, normed but for the factor that all have in common. */
vec4 vector_four(f32s x, uint x_row, f32s norm, uint column, inout float squares)
{
    vec4 four = load_four(x, x_row + column);
    if (NORMED != 0u) {
        squares += dot(four, four);
        four *= load_four(norm, column);
    }
    return four;
}

#ifdef CODES_SCALES

#include "pairs.glsl"

uint team_pieces(uint cols)
{
    return cols >> 5;
}

/* Four numbers, of the eights of a piece each, with their scales. */
float scaled_sum(vec4 eights, float factors[4])
{
    if (CODES_SCALES == 1u) {
        return factors[0] * (eights.x + eights.y + eights.z + eights.w);
    }
    if (CODES_SCALES == 2u) {
        return factors[0] * (eights.x + eights.y) + factors[1] * (eights.z + eights.w);
    }
    return factors[0] * eights.x + factors[1] * eights.y + factors[2] * eights.z +
           factors[3] * eights.w;
}

/* As many of four scales as there are: their first numbers times factors, and their second times
 * totals, of vectors. */
float offset_sum(vec2 scales[4], float totals[4])
{
    float sum = scales[0].y * totals[0];
    if (CODES_SCALES >= 2u) {
        sum += scales[1].y * totals[1];
    }
    if (CODES_SCALES == 4u) {
        sum += scales[2].y * totals[2] + scales[3].y * totals[3];
    }
    return sum;
}

vec4 code_four(uint codes)
{
    return CODES_LARGEST == CODES_INT8 ? unpack_s8x4(codes) : unpack_u8x4(codes);
}

float eight_dot(uvec2 codes, vec4 low, vec4 high)
{
    return dot(code_four(codes.x), low) + dot(code_four(codes.y), high);
}

/* The product of a row with one piece of a vector; totals are sums of columns with the same scale. */
float row_product(uvec2 codes[4], vec2 scales[4], vec4 fours[8], float totals[4])
{
    vec4 eights = vec4(
        eight_dot(codes[0], fours[0], fours[1]), eight_dot(codes[1], fours[2], fours[3]),
        eight_dot(codes[2], fours[4], fours[5]), eight_dot(codes[3], fours[6], fours[7]));
    float factors[4] = float[4](scales[0].x, scales[1].x, scales[2].x, scales[3].x);
    return scaled_sum(eights, factors) + offset_sum(scales, totals);
}

/* Adds the products of eight rows with one piece of the vector. */
void piece_product(words w, uint rows, uint cols, uint row, uint piece, f32s x, uint x_row,
                   f32s norm, inout team_sums sums)
{
    vec4 fours[8];
    float totals[4] = float[4](0.0, 0.0, 0.0, 0.0);
#define LOAD(i) \
    fours[2 * i] = vector_four(x, x_row, norm, codes_column(piece, i), sums.squares); \
    fours[2 * i + 1] = vector_four(x, x_row, norm, codes_column(piece, i) + 4u, sums.squares); \
    totals[SCALE_OF(i)] += dot(fours[2 * i] + fours[2 * i + 1], vec4(1.0));
    EACH_OF_FOUR(LOAD)
#undef LOAD
    uvec2 codes[4];
    vec2 scales[4];
#define MULTIPLY(r) \
    weights_piece_codes(w, rows, cols, min(row + r, rows - 1u), piece, codes, scales); \
    sums.rows[r] += row_product(codes, scales, fours, totals);
    EACH_OF_EIGHT(MULTIPLY)
#undef MULTIPLY
}

/* Eight codes times the four pairs of a vector; where products may not be added, the upper half. */
uint eight_product(uvec2 codes, uvec4 pairs)
{
    uint p0 = code_pair(codes.x, 0u) * pairs.x;
    uint p1 = code_pair(codes.x >> 8, 0u) * pairs.y;
    uint p2 = code_pair(codes.y, 0u) * pairs.z;
    uint p3 = code_pair(codes.y >> 8, 0u) * pairs.w;
    if (CODES_ADDED >= 4u) {
        return p0 + p1 + p2 + p3;
    }
    return uint(upper_half(p0) + upper_half(p1) + upper_half(p2) + upper_half(p3));
}

/* Eights, less what is taken from them: one; two; and four. */
int sum_of_one(uint eight, uint taken)
{
    return CODES_ADDED < 4u ? int(eight) : upper_half(eight - taken);
}
int sum_of_two(uvec2 eights, uvec2 taken)
{
    if (CODES_ADDED < 8u) {
        return sum_of_one(eights.x, taken.x) + sum_of_one(eights.y, taken.y);
    }
    return upper_half(eights.x + eights.y - (taken.x + taken.y));
}
int sum_of_four(uvec4 eights, uvec4 taken)
{
    if (CODES_ADDED < 16u) {
        return sum_of_two(eights.xy, taken.xy) + sum_of_two(eights.zw, taken.zw);
    }
    return upper_half(eights.x + eights.y + eights.z + eights.w -
                      (taken.x + taken.y + taken.z + taken.w));
}

/* 32 columns of a packed vector: pairs, what is taken from their products, and for each scale of
 * the weights the scale of the vector and the sum of the columns. */
struct packed_piece {
    uvec4 pairs[4];
    uvec4 taken;
    float scales[4];
    float totals[4];
};

/* The packed vector begins at x_unit, in units of 16 bytes. */
packed_piece packed_piece_load(words x, uint x_unit, uint piece)
{
    packed_piece p;
    int sums_of[4] = int[4](0, 0, 0, 0);
#define LOAD(i) \
    { \
        uint column = codes_column(piece, i); \
        uint unit = x_unit + (column >> 5) * 3u; \
        uvec2 bytes = load8(x, unit * 2u + (column >> 3 & 3u)); \
        p.pairs[i] = uvec4(even_pair(bytes.x), odd_pair(bytes.x), even_pair(bytes.y), \
                           odd_pair(bytes.y)); \
        uint eight = p.pairs[i].x + p.pairs[i].y + p.pairs[i].z + p.pairs[i].w; \
        p.taken[i] = CODES_TAKEN * 0x00010001u * eight; \
        sums_of[SCALE_OF(i)] += pair_total(eight); \
        if (i * int(CODES_SCALES) % 4 == 0) { \
            p.scales[SCALE_OF(i)] = uintBitsToFloat(x.v[(unit + 2u) * 4u]); \
        } \
        p.totals[SCALE_OF(i)] = p.scales[SCALE_OF(i)] * float(sums_of[SCALE_OF(i)]); \
    }
    EACH_OF_FOUR(LOAD)
#undef LOAD
    return p;
}

/* As row_product, with a packed piece. */
float row_product_packed(uvec2 codes[4], vec2 scales[4], packed_piece p)
{
    uvec4 eights =
        uvec4(eight_product(codes[0], p.pairs[0]), eight_product(codes[1], p.pairs[1]),
              eight_product(codes[2], p.pairs[2]), eight_product(codes[3], p.pairs[3]));
    float factors[4] = float[4](scales[0].x * p.scales[0], scales[1].x * p.scales[1],
                                scales[2].x * p.scales[2], scales[3].x * p.scales[3]);
    float offset = CODES_OFFSETS ? offset_sum(scales, p.totals) : 0.0;
    if (CODES_SCALES == 1u) {
        return factors[0] * float(sum_of_four(eights, p.taken)) + offset;
    }
    if (CODES_SCALES == 2u) {
        return factors[0] * float(sum_of_two(eights.xy, p.taken.xy)) +
               factors[1] * float(sum_of_two(eights.zw, p.taken.zw)) + offset;
    }
    vec4 sums = vec4(sum_of_one(eights.x, p.taken.x), sum_of_one(eights.y, p.taken.y),
                     sum_of_one(eights.z, p.taken.z), sum_of_one(eights.w, p.taken.w));
    return scaled_sum(sums, factors) + offset;
}

#include "row_codes_software.glsl"

/* The product of a row with a block of columns, from piece `first` on: what the lane has of it. */
float row_sum_packed(words w, uint rows, uint cols, uint row, uint first, packed_piece vector[8])
{
    uint pieces = team_pieces(cols);
    row_shared of_row = row_shared_load(w, rows, cols, row, first);
    uvec2 codes[4];
    vec2 scales[4];
    float sum = 0.0;
#define STEP(s) \
    if (s < STEPS) { \
        uint piece = first + s * LANES + team_lane(); \
        row_codes(w, rows, cols, row, min(piece, pieces - 1u), of_row, s, codes, scales); \
        float product = row_product_packed(codes, scales, vector[s]); \
        sum += piece < pieces ? product : 0.0; \
    }
    EACH_OF_EIGHT(STEP)
#undef STEP
    return sum;
}

/* Of the team's rows from `row` on; the packed vector begins at x_unit. */
vec2 products_packed(words w, uint rows, uint cols, uint row, words x, uint x_unit)
{
    uint pieces = team_pieces(cols);
    uint last = min(row + ROWS_PER_TEAM, rows) - 1u;
    vec2 products = vec2(0.0);
    packed_piece vector[8];
    w = of_all_lanes(w);
    x = of_all_lanes(x);
    uint first = 0u;
    do {
#define LOAD(s) \
    if (s < STEPS) { \
        uint piece = min(first + s * LANES + team_lane(), pieces - 1u); \
        vector[s] = packed_piece_load(x, x_unit, piece); \
    }
        EACH_OF_EIGHT(LOAD)
#undef LOAD
        uint r = 0u;
        do {
            uint taken = min(row + r, rows - 1u);
            float product = team_add(row_sum_packed(w, rows, cols, taken, first, vector));
            products.x += r == team_lane() ? product : 0.0;
            products.y += r == team_lane() + LANES ? product : 0.0;
            r++;
        } while (row + r <= last);
        first += STEPS * LANES;
    } while (first < pieces);
    return products;
}

#else

/* Types of floats; cols is a multiple of 4 PIECE_FOURS. */
uint team_pieces(uint cols)
{
    return cols / (4u * PIECE_FOURS);
}

void piece_product(words w, uint rows, uint cols, uint row, uint piece, f32s x, uint x_row,
                   f32s norm, inout team_sums sums)
{
    vec4 first = vector_four(x, x_row, norm, piece_column(piece, 0u), sums.squares);
    vec4 second = vec4(0.0);
    if (PIECE_FOURS == 2u) {
        second = vector_four(x, x_row, norm, piece_column(piece, 1u), sums.squares);
    }
#define MULTIPLY(r) \
    { \
        vec4 weights[PIECE_FOURS]; \
        weights_piece(w, rows, cols, min(row + r, rows - 1u), piece, weights); \
        sums.rows[r] += dot(weights[0], first) + dot(weights[PIECE_FOURS - 1u], second); \
    }
    EACH_OF_EIGHT(MULTIPLY)
#undef MULTIPLY
}

vec2 products_packed(words w, uint rows, uint cols, uint row, words x, uint x_unit)
{
    return vec2(0.0);
}

#endif

/* In floats: the product of row `row` + lane. */
float product_beside(words w, uint rows, uint cols, uint row, f32s x, uint x_row, f32s norm,
                     float epsilon)
{
    uint pieces = team_pieces(cols);
    team_sums sums = team_zero();
    uint piece = team_lane();
    if (piece < pieces) {
        do {
            piece_product(w, rows, cols, row, piece, x, x_row, norm, sums);
            piece += LANES;
        } while (piece < pieces);
    }
    float product = 0.0;
#define PICK(r) product = team_lane() == r ? team_add(sums.rows[r]) : product;
    EACH_OF_EIGHT(PICK)
#undef PICK
    return NORMED != 0u ? product / sqrt(team_add(sums.squares) / float(cols) + epsilon) : product;
}

/* The products of rows `row` + lane and `row` + lane + LANES with a vector, the one of this number
 * in x; of rows past the last one, anything. Every lane must call. norm and epsilon are read if
 * NORMED. */
vec2 team_multiply(words w, uint rows, uint cols, uint row, f32s x, uint vector, f32s norm,
                   float epsilon)
{
    if (PACKED != 0u) {
        return products_packed(w, rows, cols, row, words(uvec2(x)), vector * PACK_INT8_UNITS(cols));
    }
    vec2 products = vec2(0.0);
    uint half_row = row;
    do {
        float product = product_beside(w, rows, cols, half_row, x, vector * cols, norm, epsilon);
        products = half_row == row ? vec2(product, 0.0) : vec2(products.x, product);
        half_row += ROWS_BESIDE;
    } while (half_row < row + ROWS_PER_TEAM);
    return products;
}
