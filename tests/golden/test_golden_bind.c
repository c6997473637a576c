/* Files that do not hold the model their numbers tell of: each is refused with a sentence that
 * names what is wrong; and tensors that only some files have. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/golden/golden.h"
#include "tests/golden/model_copy.h"

/* One change to a family's file. */
struct fault {
    const char *family;
    enum tensor_role role; /* of a tensor of the last layer, or outside of layers */
    bool missing;          /* it is left out */
    uint32_t more_rows;    /* it gets more rows */
    const char *key;       /* of a number, or NULL */
    double value;
    const char *sentence;
};

static bool change_number(void *context, const char *key, double *value)
{
    const struct fault *fault = context;
    if (fault->key && strcmp(key, fault->key) == 0) {
        *value = fault->value;
    }
    return true;
}

static bool change_tensor(void *context, struct tensor_spec *spec)
{
    const struct fault *fault = context;
    if (fault->role != spec->role || (spec->layer != 1 && spec->layer != MODEL_FILE_NO_LAYER)) {
        return true;
    }
    spec->rows += fault->more_rows;
    return !fault->missing;
}

static bool change_slab(void *context, struct expert_spec *spec)
{
    const struct fault *fault = context;
    if (spec->layer != 1 || fault->role != (spec->shared ? ROLE_SHARED_EXPERT : ROLE_EXPERT)) {
        return true;
    }
    spec->ffn += fault->more_rows;
    return !fault->missing;
}

static void expect_refused(const struct fault *fault, const char *original)
{
    const struct model_change change = {.number = change_number,
                                        .tensor = change_tensor,
                                        .slab = change_slab,
                                        .context = (void *)(uintptr_t)fault};
    const char *path = model_copy(original, "fault.moxie", &change);
    struct moxie_options options = moxie_options_defaults();
    struct moxie_error err = {""};
    options.device = "cpu";
    struct moxie_model *model = moxie_open(path, &options, &err);
    cr_expect_null(model, "%s: accepted, expected: %s", fault->family, fault->sentence);
    cr_expect(strstr(err.text, fault->sentence), "%s: \"%s\" lacks \"%s\"", fault->family, err.text,
              fault->sentence);
    moxie_close(&model);
}

static void expect_all_refused(const struct fault *faults, size_t n)
{
    golden_cpu();
    json_t *reference;
    const char *original = golden_family(faults[0].family, "f32", &reference);
    json_decref(reference);
    for (size_t i = 0; i < n; i++) {
        expect_refused(&faults[i], original);
    }
}
#define EXPECT_ALL_REFUSED(faults) expect_all_refused(faults, sizeof(faults) / sizeof(faults[0]))

#define MISSING(family, name) \
    { \
        family, ROLE_##name, true, 0, NULL, 0, "the file has no " \
    }
#define TALLER(family, name) \
    { \
        family, ROLE_##name, false, 1, NULL, 0, "where the model's numbers ask for" \
    }
#define NUMBER(family, name, value, sentence) \
    { \
        family, 0, false, 0, "model." name, value, sentence \
    }

Test(golden_bind, gpt_oss)
{
    static const struct fault faults[] = {
        MISSING("gptoss", ATTENTION_Q),
        MISSING("gptoss", ATTENTION_Q_BIAS),
        MISSING("gptoss", ATTENTION_OUTPUT_BIAS),
        MISSING("gptoss", ATTENTION_SINKS),
        MISSING("gptoss", ROUTER_BIAS),
        MISSING("gptoss", EXPERT_GATE_BIAS),
        MISSING("gptoss", EXPERT_UP_BIAS),
        MISSING("gptoss", EXPERT_DOWN_BIAS),
        MISSING("gptoss", EXPERT),
        {"gptoss", ROLE_ROUTER, true, 0, NULL, 0, "layer 1 has 5 experts where"},
        TALLER("gptoss", ATTENTION_SINKS),
        TALLER("gptoss", EXPERT_UP_BIAS),
        TALLER("gptoss", EXPERT),
        NUMBER("gptoss", "window", 0, "sliding_window is missing or 0"),
        NUMBER("gptoss", "experts_per_token", 0, "num_experts_per_tok is 0"),
        NUMBER("gptoss", "experts_per_token", 6, "num_experts_per_tok is 6"),
        NUMBER("gptoss", "experts", 6, "where the model's numbers ask for"),
        NUMBER("gptoss", "experts", 0, "layer 0 has a router, which"),
        NUMBER("gptoss", "first_dense", 2, "layer 0 has a router, which"),
        NUMBER("gptoss", "router_score", 2, "scoring_func is 2"),
        NUMBER("gptoss", "rope_original_context", 0, "original_max_position_embeddings is 0"),
        NUMBER("gptoss", "rope_beta_fast", -1, "beta_fast is -1"),
        NUMBER("gptoss", "rope_dim", 12, "12 dims rotate"),
        NUMBER("gptoss", "shared_ffn", 12, "shared expert of width 12"),
    };
    EXPECT_ALL_REFUSED(faults);
}

Test(golden_bind, latent_attention)
{
    static const struct fault faults[] = {
        MISSING("deepseek_v3", LATENT_Q_A),
        MISSING("deepseek_v3", LATENT_Q_A_NORM),
        MISSING("deepseek_v3", LATENT_Q_NOPE),
        MISSING("deepseek_v3", LATENT_Q_ROPE),
        MISSING("deepseek_v3", LATENT_KV_A),
        MISSING("deepseek_v3", LATENT_KV_A_NORM),
        MISSING("deepseek_v3", LATENT_K_ROPE),
        MISSING("deepseek_v3", LATENT_K_B),
        MISSING("deepseek_v3", LATENT_V_B),
        MISSING("deepseek_v3", ROUTER_CORRECTION),
        MISSING("deepseek_v3", ATTENTION_OUTPUT),
        MISSING("deepseek_v3", SHARED_EXPERT),
        TALLER("deepseek_v3", LATENT_K_B),
        TALLER("deepseek_v3", SHARED_EXPERT),
        TALLER("deepseek_v3", ROUTER_CORRECTION),
        NUMBER("deepseek_v3", "kv_rank", 24, "where the model's numbers ask for"),
        NUMBER("deepseek_v3", "q_rank", 0, "where the model's numbers ask for"),
        NUMBER("deepseek_v3", "kv_rank", 5000, "kv_lora_rank is 5000"),
        NUMBER("deepseek_v3", "rope_dim", 5, "even numbers are needed"),
        NUMBER("deepseek_v3", "nope_dim", 0, "qk_nope_head_dim is 0"),
        NUMBER("deepseek_v3", "router_groups", 5, "not a multiple of n_group 5"),
        NUMBER("deepseek_v3", "router_top_groups", 0, "topk_group is 0"),
        NUMBER("deepseek_v3", "router_top_groups", 1, "leaves 3 experts"),
        NUMBER("deepseek_v3", "shared_ffn", 20, "where the model's numbers ask for"),
    };
    EXPECT_ALL_REFUSED(faults);
}

Test(golden_bind, shared_router)
{
    static const struct fault faults[] = {
        MISSING("qwen2moe", SHARED_ROUTER),
        MISSING("qwen2moe", SHARED_EXPERT),
        TALLER("qwen2moe", SHARED_ROUTER),
    };
    EXPECT_ALL_REFUSED(faults);
}

/* ---- divisors of RoPE's frequencies ---- */

/* The divisors say what the numbers said before. */
struct divisors {
    float values[64];
    uint32_t n;
};

static bool drop_scaling(void *context, const char *key, double *value)
{
    if (strcmp(key, "model.rope_scaling") == 0) {
        *value = 0;
    }
    return true;
}

static void add_divisors(void *context, struct model_writer *writer)
{
    const struct divisors *divisors = context;
    struct error err = {""};
    uint8_t row[64 * 4 + 16] = {0};
    memcpy(row, divisors->values, divisors->n * sizeof(float));
    struct tensor_spec spec = {.name = "rope_divisors",
                               .role = ROLE_ROPE_DIVISORS,
                               .layer = MODEL_FILE_NO_LAYER,
                               .type = DTYPE_F32,
                               .rows = 1,
                               .cols = divisors->n};
    cr_assert(model_writer_tensor(writer, &spec, row, &err), "%s", err.text);
}

static float *logits_of(const char *path, uint32_t *vocabulary)
{
    struct moxie_model *model = golden_open(path);
    struct moxie_session *session = golden_session(model, MOXIE_KV_F32, 0);
    uint32_t ids[20];
    *vocabulary = golden_vocabulary(model);
    for (uint32_t i = 0; i < 20; i++) {
        ids[i] = (7 * i + 3) % *vocabulary;
    }
    golden_eval(session, ids, 20);
    float *logits = malloc(*vocabulary * sizeof(float));
    memcpy(logits, moxie_logits(session), *vocabulary * sizeof(float));
    moxie_session_destroy(&session);
    moxie_close(&model);
    return logits;
}

Test(golden_bind, rope_divisors)
{
    golden_cpu();
    json_t *reference;
    const char *original = golden_family("llama_linear", "f32", &reference);
    const json_t *config = json_object_get(reference, "config");
    uint32_t heads = (uint32_t)json_integer_value(json_object_get(config, "num_attention_heads"));
    uint32_t hidden = (uint32_t)json_integer_value(json_object_get(config, "hidden_size"));
    const json_t *head_dim = json_object_get(config, "head_dim");
    const json_t *scaling = json_object_get(config, "rope_scaling");
    scaling = scaling ? scaling : json_object_get(config, "rope_parameters");
    double factor = json_number_value(json_object_get(scaling, "factor"));
    uint32_t pairs = (head_dim ? (uint32_t)json_integer_value(head_dim) : hidden / heads) / 2;
    cr_assert(factor > 1 && pairs > 0 && pairs <= 64);
    json_decref(reference);

    struct divisors divisors = {.n = pairs};
    struct model_change change = {
        .number = drop_scaling, .more = add_divisors, .context = &divisors};
    for (uint32_t i = 0; i < pairs; i++) {
        divisors.values[i] = (float)factor;
    }
    uint32_t vocabulary;
    const char *copy = model_copy(original, "divisors.moxie", &change);
    float *expected = logits_of(original, &vocabulary), *got = logits_of(copy, &vocabulary);
    double nmse = check_nmse(got, expected, vocabulary);
    cr_expect_leq(nmse, 1e-10, "NMSE %g", nmse);
    free(got);
    for (uint32_t i = 0; i < pairs; i++) {
        divisors.values[i] = 1;
    }
    got = logits_of(model_copy(original, "ones.moxie", &change), &vocabulary);
    cr_expect_gt(check_nmse(got, expected, vocabulary), 1e-6, "the factor is without effect");
    free(got);
    free(expected);

    struct moxie_options options = moxie_options_defaults();
    struct moxie_error err = {""};
    options.device = "cpu";
    divisors.values[1] = 0;
    cr_expect_null(moxie_open(model_copy(original, "zero.moxie", &change), &options, &err));
    cr_expect(strstr(err.text, "rope_divisors has a 0"), "%s", err.text);
    divisors.values[1] = 1;
    divisors.n = pairs - 1;
    cr_expect_null(moxie_open(model_copy(original, "short.moxie", &change), &options, &err));
    cr_expect(strstr(err.text, "where the model's numbers ask for"), "%s", err.text);
}
