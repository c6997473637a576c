/* The argument struct of pack_float16 and pack_int8, and how long what they write is: vectors in
 * other formats than f32, for the products of devices that multiply them faster. They are no ops:
 * the Vulkan back end puts them between ops (engine/vk/vk_pack.h). Compiled by C and by GLSL, after
 * op_args.h. The formats are told in lib/packed.glsl.
 */
#ifndef SHADERS_PACK_ARGS_H
#define SHADERS_PACK_ARGS_H

/* Units of 16 bytes that a vector takes. */
#define PACK_FLOAT16_UNITS(cols) (1 + ((cols) + 31) / 32 * 4)
#define PACK_INT8_UNITS(cols) (((cols) + 31) / 32 * 3)

struct pack_args {
    ADDRESS(step_buffer) step;
    ADDRESS(f32s) x;          /* (n, vectors_per_token, cols) */
    ADDRESS(f32s) norm;       /* (cols) or 0: x stands for its RMS norm, as in matmul_args; int8 */
    ADDRESS(words_written) y; /* (n, vectors_per_token) packed vectors */
    U32 vectors_per_token, cols;
    F32 epsilon; /* of the norm */
};

#endif
