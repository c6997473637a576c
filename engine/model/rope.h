/* Rotary position embedding as the hyper-parameters scale it: the inverse frequencies, and the
 * factors that YaRN puts on cos and sin and on the scores of attention. */
#pragma once

#include "engine/model/hparams.h"

/* Inverse frequencies, (rope_dim / 2). `divisors`, of the same number, divide them; NULL: none. */
void rope_frequencies(const struct hparams *hparams, const float *divisors, float *frequencies);

/* Factor of cos and sin. */
double rope_attention_factor(const struct hparams *hparams);

/* Factor of attention's scores where the family asks for it: the square of YaRN's magnitude with
 * mscale_all_dim (DeepSeek-V2 and V3), else 1. */
double rope_score_factor(const struct hparams *hparams);
