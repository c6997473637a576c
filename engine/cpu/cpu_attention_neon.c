/* The loops of attention with NEON. */
#include <arm_neon.h>

#define LANES 4
#include "engine/cpu/cpu_attention_vectors.h"

static vector load_f16(const uint16_t *halves)
{
    return (vector)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves)));
}

static vector load_q8(const int8_t *codes)
{
    uint32_t four;
    memcpy(&four, codes, sizeof(four));
    int16x8_t wide = vmovl_s8(vcreate_s8(four));
    return (vector)vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
}

const struct cpu_attention_math cpu_attention_math_neon = {
    .unpack_f16 = unpack_f16,
    .unpack_q8_0 = unpack_q8_0,
    .score = score,
    .weigh = weigh,
    .add = add,
};
