/* y = vectors of x, or of their RMS norm, in the format int8 of lib/packed.glsl.
 *
 * Work-group (x, y) packs vector x of token y; an invocation 32 columns at a time. The largest of
 * them becomes 127. Where one is infinite or NaN, the scale is NaN. Columns that are all next to
 * nothing, so that the scale has no inverse, become 0. What all columns of a norm have in common is
 * part of the scales. cols is a multiple of 32, as in all types that int8 is multiplied with.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/packed.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 64u;
layout(local_size_x_id = 0, local_size_x = 64) in;

#include "lib/reduce.glsl"

layout(push_constant) uniform push
{
    pack_args args;
};

#define INFINITY_BITS 0x7F800000u
#define NAN_BITS 0x7FC00000u
#define SMALLEST 1e-35

/* Positive floats, infinity and NaN are ordered as their bits are. */
uint largest_bits(vec4 four, uint before)
{
    uvec4 bits = floatBitsToUint(abs(four));
    return max(before, max(max(bits.x, bits.y), max(bits.z, bits.w)));
}

/* Four columns; of a normed vector but for the factor that all have in common. */
vec4 load_four(uint row, uint column, bool normed)
{
    vec4 four = f32x4s(uvec2(args.x)).v[row + column >> 2];
    return normed ? four * f32x4s(uvec2(args.norm)).v[column >> 2] : four;
}

/* Four columns as int8, and their sum. */
uint pack_four(vec4 four, bool number, float inverse, out int sum)
{
    ivec4 codes = number ? ivec4(roundEven(four * inverse)) : ivec4(0);
    sum = codes.x + codes.y + codes.z + codes.w;
    codes &= 255;
    return uint(codes.x | codes.y << 8 | codes.z << 16 | codes.w << 24);
}

/* Written without loops: compilers of CPUs that play GPUs would not unroll them. */
#define EACH_OF_EIGHT(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

void pack_block(uint row, uint block, uint unit, bool normed, float factor)
{
    uint bits = 0u;
    uint column = block * 32u;
    int sums[8];
#define LOAD(i) \
    vec4 four##i = load_four(row, column + i * 4u, normed); \
    bits = largest_bits(four##i, bits);
    EACH_OF_EIGHT(LOAD)
#undef LOAD
    float largest = uintBitsToFloat(bits);
    bool number = bits < INFINITY_BITS;
    float inverse = number && largest > SMALLEST ? 127.0 / largest : 0.0;
    float scale = number ? largest / 127.0 * factor : uintBitsToFloat(NAN_BITS);
#define STORE(i) args.y.v[unit * 4u + i] = pack_four(four##i, number, inverse, sums[i]);
    EACH_OF_EIGHT(STORE)
#undef STORE
    int first = sums[0] + sums[1] + sums[2] + sums[3];
    int last = sums[4] + sums[5] + sums[6] + sums[7];
    args.y.v[unit * 4u + 8u] = floatBitsToUint(scale);
    args.y.v[unit * 4u + 9u] = floatBitsToUint(scale * float(first));
    args.y.v[unit * 4u + 10u] = floatBitsToUint(scale * float(last));
    args.y.v[unit * 4u + 11u] = floatBitsToUint(scale * float(first + last));
}

/* What all columns of a normed vector are multiplied with. */
float norm_factor(uint row)
{
    float squares = 0.0;
    for (uint column = gl_LocalInvocationIndex * 4u; column < args.cols;
         column += GROUP_SIZE * 4u) {
        vec4 four = load_four(row, column, false);
        squares += dot(four, four);
    }
    return 1.0 / sqrt(reduce_sum(squares) / float(args.cols) + args.epsilon);
}

void main()
{
    uint t = gl_WorkGroupID.y;
    if (t >= args.step.n_tokens) {
        return;
    }
    uint vector = t * args.vectors_per_token + gl_WorkGroupID.x;
    uint units = PACK_INT8_UNITS(args.cols);
    bool normed = uvec2(args.norm) != uvec2(0u);
    float factor = normed ? norm_factor(vector * args.cols) : 1.0;
    for (uint block = gl_LocalInvocationIndex; block < units / 3u; block += GROUP_SIZE) {
        pack_block(vector * args.cols, block, vector * units + block * 3u, normed, factor);
    }
}
