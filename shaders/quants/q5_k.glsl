/* q5_k, blocks of 256 in 8 groups of 32: plane 0 nibbles[128], plane 1 fifth bits[32], plane 2
 * f16 d, f16 dmin and twelve bytes of 6-bit scales and minima; y = (d scale) n - (dmin minimum). */
#include "../lib/unpack.glsl"
#include "../lib/blocks64.glsl"

#define CODES_LARGEST 31u

uvec4 block_header(words w, uint rows, uint cols, uint row, uint block)
{
    uint blocks = cols >> 8;
    return load16(w, (rows * 10u + row) * blocks + block);
}

uvec4 fifth_bits16(words w, uint rows, uint cols, uint row, uint block, uint unit)
{
    uint blocks = cols >> 8;
    return load16(w, (rows * 8u + row * 2u) * blocks + block * 2u + unit);
}
uvec2 fifth_bits8(words w, uint rows, uint cols, uint row, uint block, uint eight)
{
    uint blocks = cols >> 8;
    return load8(w, (rows * 16u + row * 4u) * blocks + block * 4u + eight);
}
