/* Frequencies of rotary position embeddings against numbers of published models, computed by an
 * independent program in double precision. */
#include <criterion/criterion.h>

#include <math.h>

#include "engine/model/rope.h"

#define MAX_PAIRS 128

static void expect_near(double value, double expected, const char *what, uint32_t j)
{
    cr_expect(fabs(value - expected) <= 1e-6 * fabs(expected), "%s at %u: %.9g, not %.9g", what, j,
              value, expected);
}

Test(rope, yarn)
{
    static const uint32_t at[] = {0, 8, 12, 16, 24, 31};
    static const double gptoss_values[] = {
        1, 0.0508132748, 0.00679495949, 0.000456483919, 4.09997848e-6, 3.02351143e-7};
    static const double deepseek_values[] = {1, 0.1, 0.0268793601, 0.0055, 2.5e-5, 3.33380358e-6};
    struct hparams gptoss = {.rope_dim = 64,
                             .rope_theta = 150000,
                             .rope_scaling = ROPE_SCALING_YARN,
                             .rope_factor = 32,
                             .rope_original_context = 4096,
                             .rope_beta_fast = 32,
                             .rope_beta_slow = 1};
    struct hparams deepseek = gptoss;
    deepseek.rope_theta = 10000;
    deepseek.rope_factor = 40;
    deepseek.rope_truncate = true;
    deepseek.rope_mscale = deepseek.rope_mscale_all_dim = 1;
    float values[MAX_PAIRS];
    rope_frequencies(&gptoss, NULL, values);
    for (uint32_t i = 0; i < 6; i++) {
        expect_near((double)values[at[i]], gptoss_values[i], "gpt-oss", at[i]);
    }
    rope_frequencies(&deepseek, NULL, values);
    for (uint32_t i = 0; i < 6; i++) {
        expect_near((double)values[at[i]], deepseek_values[i], "DeepSeek-V3", at[i]);
    }
    expect_near(rope_attention_factor(&gptoss), 1.34657359, "attention factor", 0);
    expect_near(rope_score_factor(&gptoss), 1, "score factor", 0);
    expect_near(rope_attention_factor(&deepseek), 1, "attention factor", 0);
    expect_near(rope_score_factor(&deepseek) / sqrt(192), 0.135233776, "scale", 0);
    deepseek.rope_mscale_all_dim = 0;
    expect_near(rope_attention_factor(&deepseek), 1 + 0.1 * log(40), "attention factor", 0);
    expect_near(rope_score_factor(&deepseek), 1, "score factor", 0);
    gptoss.rope_attention_factor = 1.5;
    expect_near(rope_attention_factor(&gptoss), 1.5, "given factor", 0);
}

/* Divisors of Llama 3's scaling; GGUF files hold them in a tensor instead. */
Test(rope, llama3)
{
    static const struct {
        uint32_t rope_dim, j;
        double factor, divisor;
    } cases[] = {
        {128, 28, 8, 1},       {128, 29, 8, 1.20748}, {128, 30, 8, 1.55341}, {128, 32, 8, 2.69453},
        {128, 34, 8, 5.25733}, {128, 35, 8, 8},       {64, 14, 32, 1},       {64, 15, 32, 1.65133},
        {64, 16, 32, 3.29226}, {64, 17, 32, 9.66673}, {64, 18, 32, 32},
    };
    for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hparams h = {.rope_dim = cases[i].rope_dim, .rope_theta = 500000};
        float plain[MAX_PAIRS], scaled[MAX_PAIRS], divided[MAX_PAIRS], divisors[MAX_PAIRS];
        rope_frequencies(&h, NULL, plain);
        uint32_t j = cases[i].j;
        for (uint32_t pair = 0; pair < h.rope_dim / 2; pair++) {
            divisors[pair] = pair == j ? (float)cases[i].divisor : 1;
        }
        rope_frequencies(&h, divisors, divided);
        h.rope_scaling = ROPE_SCALING_LLAMA3;
        h.rope_factor = cases[i].factor;
        h.rope_low_frequency_factor = 1;
        h.rope_high_frequency_factor = 4;
        h.rope_original_context = 8192;
        rope_frequencies(&h, NULL, scaled);
        double divisor = (double)plain[j] / (double)scaled[j];
        cr_expect(fabs(divisor - cases[i].divisor) < 1e-5 * cases[i].divisor,
                  "%u of %u: %.7g, not %g", j, h.rope_dim, divisor, cases[i].divisor);
        expect_near((double)divided[j], (double)plain[j] / cases[i].divisor, "divided", j);
        cr_expect_eq(divided[j - 1], plain[j - 1]);
        cr_expect_eq(rope_attention_factor(&h), 1);
    }
}

Test(rope, linear)
{
    struct hparams h = {.rope_dim = 8, .rope_theta = 10000};
    float plain[MAX_PAIRS], scaled[MAX_PAIRS];
    rope_frequencies(&h, NULL, plain);
    h.rope_scaling = ROPE_SCALING_LINEAR;
    h.rope_factor = 4;
    rope_frequencies(&h, NULL, scaled);
    for (uint32_t j = 0; j < 4; j++) {
        expect_near((double)plain[j], pow(10, -(double)j), "plain", j);
        expect_near((double)scaled[j], pow(10, -(double)j) / 4, "linear", j);
    }
}
