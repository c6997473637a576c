/* q2_k, blocks of 256 in two halves of 128: plane 0 pairs of bits[64], plane 1 scales[16], plane 2
 * f16 d, f16 dmin; y = (d scale) q - (dmin minimum). Element 32 k + l of a half is bits 2 k of byte
 * l of the half's 32; of the scales' byte 2 k + l / 16 of its 8 the low nibble is the scale, the
 * high one the minimum. */
#include "../lib/unpack.glsl"

struct eight_bytes {
    uvec2 pairs, scales;
    vec2 d_dmin;
};

#include "../lib/blocks128.glsl"

#define CODES_LARGEST 3u

eight_bytes eight_load(words w, uint rows, uint cols, uint row, uint piece)
{
    uint blocks = cols >> 8;
    uint scales = (rows * 4u + row) * blocks * 2u; /* in units of 8 bytes */
    uint super = rows * blocks * 5u + row * plane_stride16(blocks, 4u);
    eight_bytes e;
    e.pairs = load8(w, row * blocks * 8u + piece);
    e.scales = eight_scales(load8(w, scales + (piece >> 2)), piece);
    e.d_dmin = unpackHalf2x16(w.v[super * 4u + (piece >> 3)]);
    return e;
}

uint eight_codes(eight_bytes e, uint k, uint i)
{
    return e.pairs[i] >> k * 2u & 0x03030303u;
}

vec2 eight_scale_of(eight_bytes e, uint k)
{
    uint both = eight_scale(e.scales, k);
    return e.d_dmin * vec2(both & 15u, -float(both >> 4));
}

vec4 eight_four(eight_bytes e, uint k, uint i)
{
    vec2 scale = eight_scale_of(e, k);
    return scale.x * unpack_u8x4(eight_codes(e, k, i)) + scale.y;
}

codes_shared codes_shared_load(words w, uint rows, uint cols, uint row, uint block)
{
    uint blocks = cols >> 8;
    uint super = rows * blocks * 5u + row * plane_stride16(blocks, 4u);
    return codes_shared(load16(w, (rows * 4u + row) * blocks + block), w.v[super * 4u + block]);
}

eight_bytes eight_load_shared(words w, uint rows, uint cols, uint row, uint piece,
                              codes_shared shared_by)
{
    uvec2 half_scales = (piece & 4u) == 0u ? shared_by.scales.xy : shared_by.scales.zw;
    eight_bytes e;
    e.pairs = load8(w, row * (cols >> 8) * 8u + piece);
    e.scales = eight_scales(half_scales, piece);
    e.d_dmin = unpackHalf2x16(shared_by.super);
    return e;
}
