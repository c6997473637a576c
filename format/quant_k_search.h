/* What to store for 256 values: the search behind the encoders of quant_k.c. */
#pragma once

#include <stdint.h>

#define QUANT_K_BLOCK 256

/* y = (d scale) n - (dmin low), d and dmin as f16 bits; groups of 32. */
struct quant_q4_k {
    uint16_t d, dmin;
    uint8_t scales[8], lows[8];   /* 0..63 */
    uint8_t codes[QUANT_K_BLOCK]; /* n, 0..15 */
};

/* y = (d scale) (q - 32); groups of 16. */
struct quant_q6_k {
    uint16_t d;
    int8_t scales[16];
    uint8_t codes[QUANT_K_BLOCK]; /* q, 0..63 */
};

void quant_search_q4_k(const float *values, struct quant_q4_k *block);
void quant_search_q6_k(const float *values, struct quant_q6_k *block);
