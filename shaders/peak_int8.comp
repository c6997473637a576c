/* Dot products of four signed bytes, added to 32-bit sums: eight independent ones, eight times a
 * repeat. Of the tier of integer dot products; the instruction is named by its number, because the
 * language has no word for it (SPV_KHR_integer_dot_product). */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_spirv_intrinsics : require
#include "lib/peak.glsl"

/* OpSDotKHR of two words, PackedVectorFormat4x8Bit (0); capabilities DotProduct and
 * DotProductInput4x8BitPacked. */
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018],
                  id = 4450) int dot4(int a, int b, spirv_literal int packed_format);

void main()
{
    int seed = int(gl_GlobalInvocationID.x) * 0x01010101;
    int sums[8];
    for (int j = 0; j < 8; j++) {
        sums[j] = seed + j;
    }
    for (uint i = 0u; i < args.repeats; i++) {
        for (uint k = 0u; k < PEAK_MULTIPLY_ADDS / 32u; k++) {
            for (int j = 0; j < 8; j++) {
                sums[j] += dot4(sums[j], seed, 0);
            }
        }
    }
    int sum = 0;
    for (int j = 0; j < 8; j++) {
        sum ^= sums[j];
    }
    keep(uint(sum));
}
