/* The sixteen values of iq4_nl and iq4_xs, by code:
 *
 *   -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113
 *
 * A table that every invocation indexes with its own numbers is slow on GPUs: it lies in memory, or
 * an access is a chain of selections. These values follow a smooth curve; the polynomial goes past
 * each at a distance under 0.44, so that rounding gives all sixteen exactly.
 */
vec4 iq4_values(uint codes)
{
    vec4 n = unpack_u8x4(codes);
    return roundEven((((0.001586 * n + 0.031086) * n - 1.3719) * n + 24.174) * n - 126.57);
}

/* The same as int8, a byte each. */
uint iq4_bytes(uint codes)
{
    ivec4 values = ivec4(iq4_values(codes)) & 255;
    return uint(values.x | values.y << 8 | values.z << 16 | values.w << 24);
}
