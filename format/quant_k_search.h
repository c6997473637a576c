/* What to store for 256 values: the search behind the encoders of quant_k_affine.c and
 * quant_k_symmetric.c. */
#pragma once

#include <stdint.h>

#define QUANT_K_BLOCK 256

/* y = (d scale) n - (dmin low), d and dmin as f16 bits. q2_k: 16 groups, n to 3, scales and lows
 * to 15; q4_k and q5_k: 8 groups, n to 15 or 31, scales and lows to 63. */
struct quant_k_affine {
    uint16_t d, dmin;
    uint8_t scales[16], lows[16];
    uint8_t codes[QUANT_K_BLOCK]; /* n */
};

/* y = (d scale) (q + low), groups of 16. q3_k: low -4, q to 7, scales -32..31; q6_k: low -32, q to
 * 63, scales -128..127. */
struct quant_k_symmetric {
    uint16_t d;
    int8_t scales[16];
    uint8_t codes[QUANT_K_BLOCK]; /* q */
};

/* `importance`: 256 weights, or NULL (format/quant.h). */
void quant_search_q2_k(const float *values, const float *importance, struct quant_k_affine *block);
void quant_search_q4_k(const float *values, const float *importance, struct quant_k_affine *block);
void quant_search_q5_k(const float *values, const float *importance, struct quant_k_affine *block);
void quant_search_q3_k(const float *values, const float *importance,
                       struct quant_k_symmetric *block);
void quant_search_q6_k(const float *values, const float *importance,
                       struct quant_k_symmetric *block);
