/* 8 and 16 bytes of weights, at an index in such units, for devices that load component by component:
 * a component of 64 bits costs them as much as one of 32.
 *
 * Such a load is a loop over the lanes, into which the driver's compiler moves the sums that the
 * index is made of. A minimum, which changes no index, it leaves outside.
 */
#define LOAD_INT64
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer longs
{
    uint64_t v[];
};

uvec2 load8(words w, uint index)
{
    return unpackUint2x32(longs(uvec2(w)).v[min(index, 0x7FFFFFFFu)]);
}

/* Two loads of their own, so that the address of each is one vector, as it is for load8. */
uvec4 load16(words w, uint index)
{
    return uvec4(load8(w, index * 2u), load8(w, index * 2u + 1u));
}
