/* Writes of 8 and 16 bytes, at an index in such units: lib/load_int64.glsl says why. */
layout(buffer_reference, std430, buffer_reference_align = 16) writeonly buffer longs_written
{
    uint64_t v[];
};

void store8(uvec2 address, uint index, uvec2 bits)
{
    longs_written(address).v[index] = packUint2x32(bits);
}

void store_four(f32s y, uint four, vec4 values)
{
    uvec4 bits = floatBitsToUint(values);
    store8(uvec2(y), four * 2u, bits.xy);
    store8(uvec2(y), four * 2u + 1u, bits.zw);
}
