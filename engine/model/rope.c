#include "engine/model/rope.h"

#include <math.h>

/* Llama 3.1's scaling: wavelengths beyond the original context / low factor are divided, those
 * below the original context / high factor kept, with a linear ramp between. */
static double scale_llama3(const struct hparams *hparams, double frequency)
{
    double wavelength = 2 * M_PI / frequency;
    double context = hparams->rope_original_context;
    double low = hparams->rope_low_frequency_factor, high = hparams->rope_high_frequency_factor;
    if (wavelength < context / high) {
        return frequency;
    }
    if (wavelength > context / low) {
        return frequency / hparams->rope_factor;
    }
    double ramp = (context / wavelength - low) / (high - low);
    return (1 - ramp) * frequency / hparams->rope_factor + ramp * frequency;
}

/* The pair that turns `rotations` times over the original context. */
static double yarn_pair(const struct hparams *hparams, double rotations)
{
    double turns = hparams->rope_original_context / (rotations * 2 * M_PI);
    return hparams->rope_dim * log(turns) / (2 * log(hparams->rope_theta));
}

/* YaRN (Peng et al. 2023): pairs that turn often keep their frequency, those that turn seldom are
 * divided, with a linear ramp between. */
static double scale_yarn(const struct hparams *hparams, double frequency, uint32_t pair)
{
    double low = yarn_pair(hparams, hparams->rope_beta_fast);
    double high = yarn_pair(hparams, hparams->rope_beta_slow);
    if (hparams->rope_truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, hparams->rope_dim - 1.0);
    if (low == high) {
        high += 0.001; /* as the reference implementation avoids the division by 0 */
    }
    double ramp = fmin(fmax((pair - low) / (high - low), 0), 1);
    return frequency / hparams->rope_factor * ramp + frequency * (1 - ramp);
}

static double scale(const struct hparams *hparams, double frequency, uint32_t pair)
{
    switch ((enum rope_scaling)hparams->rope_scaling) {
    case ROPE_SCALING_NONE:
        return frequency;
    case ROPE_SCALING_LINEAR:
        return frequency / hparams->rope_factor;
    case ROPE_SCALING_LLAMA3:
        return scale_llama3(hparams, frequency);
    case ROPE_SCALING_YARN:
        return scale_yarn(hparams, frequency, pair);
    }
    return frequency;
}

void rope_frequencies(const struct hparams *hparams, const float *divisors, float *frequencies)
{
    for (uint32_t j = 0; j < hparams->rope_dim / 2; j++) {
        double frequency = pow(hparams->rope_theta, -2.0 * j / hparams->rope_dim);
        frequency = scale(hparams, frequency, j);
        frequencies[j] = (float)(divisors ? frequency / (double)divisors[j] : frequency);
    }
}

static double magnitude(const struct hparams *hparams, double mscale)
{
    return hparams->rope_factor <= 1 ? 1 : 0.1 * mscale * log(hparams->rope_factor) + 1;
}

double rope_attention_factor(const struct hparams *hparams)
{
    if (hparams->rope_scaling != ROPE_SCALING_YARN) {
        return 1;
    }
    if (hparams->rope_attention_factor > 0) {
        return hparams->rope_attention_factor;
    }
    if (hparams->rope_mscale > 0 && hparams->rope_mscale_all_dim > 0) {
        return magnitude(hparams, hparams->rope_mscale) /
               magnitude(hparams, hparams->rope_mscale_all_dim);
    }
    return magnitude(hparams, 1);
}

double rope_score_factor(const struct hparams *hparams)
{
    if (hparams->rope_scaling != ROPE_SCALING_YARN || hparams->rope_mscale_all_dim <= 0) {
        return 1;
    }
    double factor = magnitude(hparams, hparams->rope_mscale_all_dim);
    return factor * factor;
}
