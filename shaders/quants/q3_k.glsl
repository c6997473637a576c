/* q3_k, blocks of 256 in two halves of 128: plane 0 pairs of bits[64], plane 1 third bits[32],
 * plane 2 twelve bytes of 6-bit scales, plane 3 f16 d; y = (d (scale - 32)) (q - 4).
 * Element 32 k + l of half N takes bits 2 k of byte l of the half's 32, bit 4 N + k of byte l of
 * the third bits, and scale 8 N + 2 k + l / 16: the low four bits of scale g are nibble g / 8 of
 * byte g % 8, its high two are pair g / 4 of byte 8 + g % 4. */
#include "../lib/unpack.glsl"

struct eight_bytes {
    uvec2 pairs, third_bits, scales;
    float d;
};

#include "../lib/blocks128.glsl"

#define CODES_LARGEST 7u
#define CODES_CENTER 4u
#define CODES_FARTHEST 4u

/* As eight_scales(): byte 2 k + (l / 16) of either kind goes to k's place. */
uvec2 unpack_scales(uint low0, uint low1, uint high, uint piece)
{
    uint shift = (piece >> 1 & 1u) * 8u + (piece >> 2 & 1u) * 4u;
    uvec2 low = uvec2(low0, low1) >> shift & 0x000F000Fu;
    return low | (uvec2(high, high >> 2) >> shift & 0x00030003u) << 4;
}

eight_bytes eight_load(words w, uint rows, uint cols, uint row, uint piece)
{
    uint blocks = cols >> 8;
    uint block = piece >> 3;
    uint scale_stride = plane_stride16(blocks, 12u);
    uint third = (rows * 4u + row * 2u) * blocks * 2u; /* in units of 8 bytes */
    uint scales = (rows * blocks * 6u + row * scale_stride) * 4u + block * 3u;
    uint super = rows * (blocks * 6u + scale_stride) + row * plane_stride16(blocks, 2u);
    eight_bytes e;
    e.pairs = load8(w, row * blocks * 8u + piece);
    e.third_bits = load8(w, third + block * 4u + (piece & 3u)) >> (piece >> 2 & 1u) * 4u;
    e.scales = unpack_scales(w.v[scales], w.v[scales + 1u], w.v[scales + 2u], piece);
    e.d = unpack_half(w, super * 4u, block);
    return e;
}

uint eight_codes(eight_bytes e, uint k, uint i)
{
    return e.pairs[i] >> k * 2u & 0x03030303u | (e.third_bits[i] >> k & 0x01010101u) << 2;
}

vec2 eight_scale_of(eight_bytes e, uint k)
{
    return vec2(1.0, -4.0) * (e.d * (float(eight_scale(e.scales, k)) - 32.0));
}

vec4 eight_four(eight_bytes e, uint k, uint i)
{
    return eight_scale_of(e, k).x * (unpack_u8x4(eight_codes(e, k, i)) - 4.0);
}

codes_shared codes_shared_load(words w, uint rows, uint cols, uint row, uint block)
{
    uint blocks = cols >> 8;
    uint scale_stride = plane_stride16(blocks, 12u);
    uint scales = (rows * blocks * 6u + row * scale_stride) * 4u + block * 3u;
    uint super = rows * (blocks * 6u + scale_stride) + row * plane_stride16(blocks, 2u);
    return codes_shared(uvec4(w.v[scales], w.v[scales + 1u], w.v[scales + 2u], 0u),
                        floatBitsToUint(unpack_half(w, super * 4u, block)));
}

eight_bytes eight_load_shared(words w, uint rows, uint cols, uint row, uint piece,
                              codes_shared shared_by)
{
    uint blocks = cols >> 8;
    uint third = (rows * 4u + row * 2u) * blocks * 2u; /* in units of 8 bytes */
    eight_bytes e;
    e.pairs = load8(w, row * blocks * 8u + piece);
    e.third_bits = load8(w, third + (piece >> 3) * 4u + (piece & 3u)) >> (piece >> 2 & 1u) * 4u;
    e.scales = unpack_scales(shared_by.scales.x, shared_by.scales.y, shared_by.scales.z, piece);
    e.d = uintBitsToFloat(shared_by.super);
    return e;
}
