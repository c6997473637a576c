/* q6_k, blocks of 256 in two halves of 128: plane 0 low nibbles[128], plane 1 high pairs of
 * bits[64], plane 2 int8 scales[16], plane 3 f16 d; y = (d scale) (q - 32).
 * Element 32 k + l of a half takes nibble k / 2 of byte 32 (k % 2) + l of the half's 64 low bytes,
 * bits 2 k of byte l of its 32 high bytes, and scale 2 k + l / 16 of its 8. */
#include "../lib/unpack.glsl"

struct eight_bytes {
    uvec2 even, odd; /* low bytes of k = 0 and 2, and of 1 and 3 */
    uvec2 high, scales;
    float d;
};

#include "../lib/blocks128.glsl"

#define CODES_LARGEST 63u
#define CODES_CENTER 32u
#define CODES_FARTHEST 32u

eight_bytes eight_load(words w, uint rows, uint cols, uint row, uint piece)
{
    uint blocks = cols >> 8;
    uint low = row * blocks * 16u + (piece >> 2) * 8u + (piece & 3u); /* in units of 8 bytes */
    uint high = (rows * 16u + row * 8u) * blocks + piece;
    uint scales = (rows * 24u + row * 2u) * blocks + (piece >> 2);
    uint super = rows * blocks * 13u + row * plane_stride16(blocks, 2u);
    eight_bytes e;
    e.even = load8(w, low);
    e.odd = load8(w, low + 4u);
    e.high = load8(w, high);
    e.scales = eight_scales(load8(w, scales), piece);
    e.d = unpack_half(w, super * 4u, piece >> 3);
    return e;
}

uint eight_codes(eight_bytes e, uint k, uint i)
{
    uint low = (k & 1u) == 0u ? e.even[i] : e.odd[i];
    return nibble_bytes(low, (k >> 1) * 4u) | (e.high[i] >> k * 2u & 0x03030303u) << 4;
}

vec2 eight_scale_of(eight_bytes e, uint k)
{
    int scale = bitfieldExtract(int(eight_scale(e.scales, k)), 0, 8);
    return vec2(1.0, -32.0) * (e.d * float(scale));
}

vec4 eight_four(eight_bytes e, uint k, uint i)
{
    return eight_scale_of(e, k).x * (unpack_u8x4(eight_codes(e, k, i)) - 32.0);
}

codes_shared codes_shared_load(words w, uint rows, uint cols, uint row, uint block)
{
    uint blocks = cols >> 8;
    uint super = rows * blocks * 13u + row * plane_stride16(blocks, 2u);
    return codes_shared(load16(w, (rows * 12u + row) * blocks + block),
                        floatBitsToUint(unpack_half(w, super * 4u, block)));
}

eight_bytes eight_load_shared(words w, uint rows, uint cols, uint row, uint piece,
                              codes_shared shared_by)
{
    uint blocks = cols >> 8;
    uint low = row * blocks * 16u + (piece >> 2) * 8u + (piece & 3u); /* in units of 8 bytes */
    uvec2 half_scales = (piece & 4u) == 0u ? shared_by.scales.xy : shared_by.scales.zw;
    eight_bytes e;
    e.even = load8(w, low);
    e.odd = load8(w, low + 4u);
    e.high = load8(w, (rows * 16u + row * 8u) * blocks + piece);
    e.scales = eight_scales(half_scales, piece);
    e.d = uintBitsToFloat(shared_by.super);
    return e;
}
