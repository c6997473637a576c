/* Rotary position embedding of half-split pairs, for what prepares attention. The angle is a float,
 * as in the models' own code; its sine and cosine are taken in double and rounded once.
 */
#include <math.h>

#include "engine/cpu/cpu_attention.h"

void cpu_rope_turns(const float *frequencies, uint64_t position, uint32_t n_pairs, float scale,
                    float *cosines, float *sines)
{
    for (uint32_t j = 0; j < n_pairs; j++) {
        float angle = (float)position * frequencies[j];
        cosines[j] = (float)cos((double)angle) * scale;
        sines[j] = (float)sin((double)angle) * scale;
    }
}

void cpu_rope_head(const float *x, const float *cosines, const float *sines, uint32_t n_pairs,
                   uint32_t head_dim, float *y)
{
    for (uint32_t j = 0; j < n_pairs; j++) {
        float a = x[j], b = x[j + n_pairs];
        y[j] = a * cosines[j] - b * sines[j];
        y[j + n_pairs] = b * cosines[j] + a * sines[j];
    }
    for (uint32_t j = 2 * n_pairs; j < head_dim; j++) {
        y[j] = x[j];
    }
}
