/* Comparing floats where NaN may come: integers in the order of the floats they are made of. NaN is
 * 0, below everything; both zeros are one. Integer comparisons are exact on every device. */
uint order_key(float value)
{
    if (is_nan(value)) {
        return 0u;
    }
    uint bits = floatBitsToUint(value);
    if (bits << 1 == 0u) {
        return 0x80000000u;
    }
    return (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
}
