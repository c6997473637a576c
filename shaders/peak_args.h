/* The arguments of the kernels that measure a device (peak_*.comp), compiled by C and by GLSL as
 * op_args.h is. They are not ops: engine/vk/vk_peaks.c alone runs them.
 */
#ifndef SHADERS_PEAK_ARGS_H
#define SHADERS_PEAK_ARGS_H

#ifdef MOXIE_GLSL
#define PEAK_ADDRESS(type) type
#define PEAK_U32 uint
#else
#include <stdint.h>
#define PEAK_ADDRESS(type) uint64_t
#define PEAK_U32 uint32_t
#endif

/* Work of each invocation, in units that the kernels tell. */
struct peak_args {
    PEAK_ADDRESS(words4) x; /* (mask + 1) of four words each */
    PEAK_ADDRESS(u32s) y;   /* (1) word, written only so that nothing can be left out */
    PEAK_U32 mask;          /* a power of two less one */
    PEAK_U32 repeats;
};

/* Multiply-adds of one repeat of one invocation of peak_f32, peak_f16 and peak_int8. */
#define PEAK_MULTIPLY_ADDS 256
/* Reads of 16 bytes of one repeat of one invocation of peak_read. */
#define PEAK_READS 8

#endif
