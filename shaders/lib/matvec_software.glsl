/* Matrix times one vector, or few one after the other, on a CPU that plays a GPU (lavapipe): teams of eight neighbouring
 * invocations, which a subgroup holds, each team eight neighbouring rows.
 *
 * Such a device computes eight lanes with one instruction, but loads lane by lane and component by
 * component, so that loads are what a product costs. The lanes of a team take turns at the pieces of
 * a row (32 columns of a block type, lib/quant.glsl), load them by components of 64 bits
 * (lib/load_int64.glsl), and what they have loaded of the vector serves all eight rows. At the end
 * lane i has the sum of row i. No shared memory and no barriers, at which a CPU changes stacks.
 *
 * Arithmetic is that of floats; or, of block types, if PACKED, of integers: the vector is int8
 * (lib/packed.glsl). Two products are then one multiplication of 32 bits:
 *
 *     (c0 + c1 2^16) (x1 + x0 2^16) = c0 x1 + (c0 x0 + c1 x1) 2^16   modulo 2^32
 *
 * and several of these are added before the upper half is taken, rounded so that the sum of the
 * lower halves, which is less than half a unit of it, falls away.
 *
 * NORMED: the vector stands for its RMS norm, as in lib/matvec.glsl; not PACKED.
 */
#extension GL_KHR_shader_subgroup_shuffle : require

layout(constant_id = 0) const uint GROUP_SIZE = 64u;
layout(constant_id = 1) const uint PACKED = 0u;
layout(constant_id = 2) const uint NORMED = 0u;
layout(constant_id = 3) const uint SEVERAL = 0u; /* tokens, not one */
layout(local_size_x_id = 0, local_size_x = 64) in;

#include "load_int64.glsl"
#include "quant.glsl"
#include "packed.glsl"

#define LANES 8u
#define ROWS_PER_TEAM 8u

/* First row of this invocation's team, and its place in the team. */
uint team_row()
{
    return (group_index() * (GROUP_SIZE / LANES) + gl_LocalInvocationIndex / LANES) * ROWS_PER_TEAM;
}
uint team_lane()
{
    return gl_LocalInvocationIndex % LANES;
}

/* What the lanes have of a product: sums of the team's rows, and of the squares of a vector that is
 * to be normed. */
struct team_sums {
    float rows[ROWS_PER_TEAM];
    float squares;
};

team_sums team_zero()
{
    return team_sums(float[ROWS_PER_TEAM](0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0.0);
}

/* Every row of a team, or whatever comes in eights. The compiler of such a device does not unroll
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

uint team_pieces(uint cols)
{
    return cols >> 5;
}

#ifdef CODES_SHARED
/* Lane r loads what the pieces of a block share for row r: the lanes of a team have a block of 256
 * among them. */
codes_shared team_shared(words w, uint rows, uint cols, uint row, uint piece)
{
    return codes_shared_load(w, rows, cols, min(row + team_lane(), rows - 1u), piece >> 3);
}
void row_codes(words w, uint rows, uint cols, uint row, uint piece, codes_shared of_team, uint lane,
               out uvec2 codes[4], out vec2 scales[4])
{
    codes_shared shared_by =
        codes_shared(subgroupShuffle(of_team.scales, lane), subgroupShuffle(of_team.super, lane));
    weights_piece_codes_shared(w, rows, cols, min(row, rows - 1u), piece, shared_by, codes, scales);
}
#else
codes_shared team_shared(words w, uint rows, uint cols, uint row, uint piece)
{
    return codes_shared(uvec4(0u), 0u);
}
void row_codes(words w, uint rows, uint cols, uint row, uint piece, codes_shared of_team, uint lane,
               out uvec2 codes[4], out vec2 scales[4])
{
    weights_piece_codes(w, rows, cols, min(row, rows - 1u), piece, codes, scales);
}
#endif

/* The number of the scale that the i-th eight columns of a piece have. */
#define SCALE_OF(i) ((i) * int(CODES_SCALES) / 4)

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

/* Adds the products of the team's rows with one piece of the vector. */
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
    codes_shared of_team = team_shared(w, rows, cols, row, piece);
    uint first_lane = gl_SubgroupInvocationID & ~(LANES - 1u);
    uvec2 codes[4];
    vec2 scales[4];
#define MULTIPLY(r) \
    row_codes(w, rows, cols, row + r, piece, of_team, first_lane + r, codes, scales); \
    sums.rows[r] += row_product(codes, scales, fours, totals);
    EACH_OF_EIGHT(MULTIPLY)
#undef MULTIPLY
}

/* Of four int8 the first and the third, x0 2^16 + x2; and the second and the fourth. */
uint even_pair(uint bytes)
{
    return uint((int(bytes << 24) >> 8) + (int(bytes << 8) >> 24));
}
uint odd_pair(uint bytes)
{
    return even_pair(bytes >> 8 & 0xFFu | bytes >> 8 & 0xFF0000u);
}

/* Sum of both of a pair. */
int pair_total(uint pair)
{
    int low = int(pair << 16) >> 16;
    return low + (int(pair - uint(low)) >> 16);
}

/* The upper half of products of pairs. */
int upper_half(uint products)
{
    return int(products + 0x8000u) >> 16;
}

/* Two codes in two bytes of a word, as numbers modulo 2^32. */
uint code_pair(uint bytes)
{
    bytes &= 0x00FF00FFu;
    return CODES_LARGEST == CODES_INT8 ? (bytes ^ 0x00800080u) - 0x00800080u : bytes;
}

/* Eight codes times the four pairs of a vector. As many products of pairs are added before the upper
 * half is taken as it holds: each is below 2 127 CODES_LARGEST. */
int eight_product(uvec2 codes, uvec4 pairs)
{
    uint p0 = code_pair(codes.x) * pairs.x;
    uint p1 = code_pair(codes.x >> 8) * pairs.y;
    uint p2 = code_pair(codes.y) * pairs.z;
    uint p3 = code_pair(codes.y >> 8) * pairs.w;
    if (CODES_LARGEST <= 31u) {
        return upper_half(p0 + p1 + p2 + p3);
    }
    if (CODES_LARGEST <= 63u) {
        return upper_half(p0 + p1) + upper_half(p2 + p3);
    }
    return upper_half(p0) + upper_half(p1) + upper_half(p2) + upper_half(p3);
}

/* As row_product, with a packed piece. */
float row_product_packed(uvec2 codes[4], vec2 scales[4], uvec4 pairs[4], float x_scales[4],
                         float totals[4])
{
    ivec4 eights =
        ivec4(eight_product(codes[0], pairs[0]), eight_product(codes[1], pairs[1]),
              eight_product(codes[2], pairs[2]), eight_product(codes[3], pairs[3]));
    float factors[4] = float[4](scales[0].x * x_scales[0], scales[1].x * x_scales[1],
                                scales[2].x * x_scales[2], scales[3].x * x_scales[3]);
    float offset = offset_sum(scales, totals);
    if (CODES_SCALES == 1u) {
        return factors[0] * float(eights.x + eights.y + eights.z + eights.w) + offset;
    }
    if (CODES_SCALES == 2u) {
        return factors[0] * float(eights.x + eights.y) + factors[1] * float(eights.z + eights.w) +
               offset;
    }
    return scaled_sum(vec4(eights), factors) + offset;
}

/* As piece_product; the packed vector begins at x_unit, in units of 16 bytes. */
void piece_product_packed(words w, uint rows, uint cols, uint row, uint piece, words x, uint x_unit,
                          inout team_sums sums)
{
    uvec4 pairs[4];
    float x_scales[4], totals[4];
    int sums_of[4] = int[4](0, 0, 0, 0);
#define LOAD(i) \
    { \
        uint column = codes_column(piece, i); \
        uint unit = x_unit + (column >> 5) * 3u; \
        uvec2 bytes = load8(x, unit * 2u + (column >> 3 & 3u)); \
        pairs[i] = uvec4(even_pair(bytes.x), odd_pair(bytes.x), even_pair(bytes.y), \
                         odd_pair(bytes.y)); \
        sums_of[SCALE_OF(i)] += pair_total(pairs[i].x + pairs[i].y + pairs[i].z + pairs[i].w); \
        if (i * int(CODES_SCALES) % 4 == 0) { \
            x_scales[SCALE_OF(i)] = uintBitsToFloat(x.v[(unit + 2u) * 4u]); \
        } \
        totals[SCALE_OF(i)] = x_scales[SCALE_OF(i)] * float(sums_of[SCALE_OF(i)]); \
    }
    EACH_OF_FOUR(LOAD)
#undef LOAD
    codes_shared of_team = team_shared(w, rows, cols, row, piece);
    uint first_lane = gl_SubgroupInvocationID & ~(LANES - 1u);
    uvec2 codes[4];
    vec2 scales[4];
#define MULTIPLY(r) \
    row_codes(w, rows, cols, row + r, piece, of_team, first_lane + r, codes, scales); \
    sums.rows[r] += row_product_packed(codes, scales, pairs, x_scales, totals);
    EACH_OF_EIGHT(MULTIPLY)
#undef MULTIPLY
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

void piece_product_packed(words w, uint rows, uint cols, uint row, uint piece, words x, uint x_unit,
                          inout team_sums sums)
{
}

#endif

/* Adds the products of the team's rows, from `row` on, with a vector: the one of this number in x.
 * Of rows past the last one, anything. norm is read if NORMED. */
void team_multiply(words w, uint rows, uint cols, uint row, f32s x, uint vector, f32s norm,
                   inout team_sums sums)
{
    uint pieces = team_pieces(cols);
    for (uint piece = team_lane(); piece < pieces; piece += LANES) {
        if (PACKED != 0u) {
            piece_product_packed(w, rows, cols, row, piece, words(uvec2(x)),
                                 vector * PACK_INT8_UNITS(cols), sums);
        } else {
            piece_product(w, rows, cols, row, piece, x, vector * cols, norm, sums);
        }
    }
}

/* The product of row `lane` of the team's, summed over its lanes; every lane must call. */
float team_product_of(team_sums sums, uint lane)
{
    float product = 0.0;
#define PICK(r) product = lane == r ? team_add(sums.rows[r]) : product;
    EACH_OF_EIGHT(PICK)
#undef PICK
    return product;
}

/* What a product with a normed vector is multiplied with; every lane must call. */
float team_norm_factor(team_sums sums, uint cols, float epsilon)
{
    return NORMED != 0u ? 1.0 / sqrt(team_add(sums.squares) / float(cols) + epsilon) : 1.0;
}
