/* Products of int8 vectors and codes in integers, two a multiplication of 32 bits, for CPUs that play
 * GPUs:
 *
 *     (c0 + c2 2^16) (x2 + x0 2^16) = c0 x2 + (c0 x0 + c2 x2) 2^16   modulo 2^32
 *
 * CODES_ADDED of them may be added before the upper half is taken, rounded so that the sum of the
 * lower halves, which is less than half a unit of it, falls away. Where the smallest weight is a
 * multiple of the scale (CODES_CENTER), that is taken from the codes, and no offset remains.
 *
 * Of four bytes the first and the third are a pair, and the second and the fourth: so bytes are cut
 * out of words. For types that have codes (lib/quant.glsl).
 */

/* How far codes are from what is taken from them, and whether an offset remains. */
#ifdef CODES_CENTER
#define CODES_BELOW CODES_FARTHEST
#define CODES_TAKEN CODES_CENTER
#define CODES_OFFSETS false
#else
#define CODES_BELOW CODES_LARGEST
#define CODES_TAKEN 0u
#define CODES_OFFSETS (CODES_LARGEST != CODES_INT8)
#endif

/* So many products of pairs may be added: each is at most 2 127 CODES_BELOW. */
#define CODES_ADDED \
    (CODES_BELOW <= 8u    ? 16u \
     : CODES_BELOW <= 16u ? 8u \
     : CODES_BELOW <= 32u ? 4u \
     : CODES_BELOW <= 64u ? 2u \
                          : 1u)

/* The number of the scale that the i-th eight columns of a piece have. */
#define SCALE_OF(i) ((i) * CODES_SCALES / 4u)

/* Added to products beforehand, it rounds their upper half. */
#define PAIR_HALF 0x8000u

/* Of four int8 the first and the third, x0 2^16 + x2; and the second and the fourth. */
uint even_pair(uint bytes)
{
    return uint((int(bytes << 24) >> 8) + (int(bytes << 8) >> 24));
}
uint odd_pair(uint bytes)
{
    return even_pair(bytes >> 8);
}

/* Both of a pair, or of a sum of pairs that do not overflow. */
int pair_total(uint pair)
{
    int low = int(pair << 16) >> 16;
    return low + (int(pair - uint(low)) >> 16);
}

/* Two codes in the even bytes of a word, less what is taken from each, as c0 + c2 2^16 modulo
 * 2^32. */
uint code_pair(uint bytes, uint taken)
{
    bytes &= 0x00FF00FFu;
    return CODES_LARGEST == CODES_INT8 ? (bytes ^ 0x00800080u) - 0x00800080u
                                       : bytes - taken * 0x00010001u;
}

/* The upper half of products of pairs. */
int upper_half(uint products)
{
    return int(products + PAIR_HALF) >> 16;
}
