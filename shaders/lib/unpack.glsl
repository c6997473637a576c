/* Small numbers out of words. */

/* The four bytes of a word as floats: unsigned, and two's complement. */
vec4 unpack_u8x4(uint word)
{
    return vec4(word & 255u, word >> 8 & 255u, word >> 16 & 255u, word >> 24);
}
vec4 unpack_s8x4(uint word)
{
    int s = int(word);
    return vec4(bitfieldExtract(s, 0, 8), bitfieldExtract(s, 8, 8), bitfieldExtract(s, 16, 8),
                bitfieldExtract(s, 24, 8));
}

/* The low or (shift 4) the high nibbles of the four bytes of a word, a byte each. */
uint nibble_bytes(uint word, uint shift)
{
    return word >> shift & 0x0F0F0F0Fu;
}

/* The low four bits of a word, a byte each. The product puts bit i at 8 i; no two of its bits
 * meet. */
uint bit_bytes(uint bits)
{
    return (bits & 15u) * 0x00204081u & 0x01010101u;
}

/* The f16 at an index of an array of halves that begins at word `base`. */
float unpack_half(words w, uint base, uint index)
{
    vec2 pair = unpackHalf2x16(w.v[base + (index >> 1)]);
    return (index & 1u) == 0u ? pair.x : pair.y;
}

/* The byte at an index of an array of bytes that begins at word `base`. */
uint unpack_byte(words w, uint base, uint index)
{
    return w.v[base + (index >> 2)] >> (index & 3u) * 8u & 255u;
}

/* Two bfloat16. */
vec2 unpack_bf16x2(uint word)
{
    return vec2(uintBitsToFloat(word << 16), uintBitsToFloat(word & 0xFFFF0000u));
}

/* Bytes of a row of a plane, in units of 16: rows begin at 16-byte boundaries. */
uint plane_stride16(uint blocks, uint block_bytes)
{
    return (blocks * block_bytes + 15u) >> 4;
}
