/* Small random models of every family at awkward sizes against Hugging Face's transformers
 * (tests/reference/golden_families.py): logits of every position and routes of every layer, token
 * by token and in chunks, with a cache of f32 and of f16. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/golden/golden.h"

struct family {
    char name[32];
};

static struct family families[] = {
    {"qwen3moe_mixed"}, {"qwen3moe_step"}, {"qwen3_tied"},      {"llama_scaled"},
    {"llama_linear"},   {"mixtral"},       {"qwen2moe"},        {"qwen2"},
    {"olmoe"},          {"gptoss"},        {"gptoss_mxfp4"},    {"deepseek_v2_lite"},
    {"deepseek_v2"},    {"deepseek_v3"},   {"deepseek_v3_fp8"},
};
/* Rounding of a cache of f16, which random weights (DeepSeek-V2's experts count 16-fold) spread. */
#define HALF_NMSE 2e-4
#define N_FAMILIES (sizeof(families) / sizeof(families[0]))

struct reference {
    json_t *json;
    uint32_t *ids;
    size_t n;
    float *logits; /* (n, vocabulary) */
    const json_t *routes;
};

static struct moxie_model *open_family(const struct family *family, struct reference *reference)
{
    size_t n_logits;
    golden_device(); /* skip before any work is done */
    struct moxie_model *model = golden_open(golden_family(family->name, "f32", &reference->json));
    reference->ids = golden_ids(json_object_get(reference->json, "ids"), &reference->n);
    reference->logits = golden_floats(json_object_get(reference->json, "logits"), &n_logits);
    reference->routes = json_object_get(reference->json, "routes");
    cr_assert_eq(n_logits, reference->n * golden_vocabulary(model));
    return model;
}

static void close_family(struct moxie_model *model, struct reference *reference)
{
    moxie_close(&model);
    json_decref(reference->json);
    free(reference->ids);
    free(reference->logits);
}

/* Logits where a part ends, routes everywhere. Returns the worst NMSE. */
static double run_parts(struct moxie_model *model, const struct reference *reference,
                        enum moxie_kv_type kv_type, size_t part, double bound, double weight_bound)
{
    uint32_t vocabulary = golden_vocabulary(model);
    struct moxie_session *session = golden_session(model, kv_type, 0);
    double worst = 0;
    char what[64];
    snprintf(what, sizeof(what), "%s cache, %zu at once", kv_type == MOXIE_KV_F32 ? "f32" : "f16",
             part);
    for (size_t done = 0; done < reference->n; done += part) {
        size_t n = reference->n - done < part ? reference->n - done : part;
        golden_eval(session, reference->ids + done, n);
        double nmse = check_nmse(moxie_logits(session),
                                 reference->logits + (done + n - 1) * vocabulary, vocabulary);
        cr_expect_leq(nmse, bound, "%s, position %zu: NMSE %g", what, done + n - 1, nmse);
        golden_check_routes(session, reference->routes, done, weight_bound, what);
        worst = nmse > worst ? nmse : worst;
    }
    moxie_session_destroy(&session);
    return worst;
}

ParameterizedTestParameters(golden_families, logits_and_routes)
{
    return cr_make_param_array(struct family, families, N_FAMILIES);
}

/* In short a Vulkan device runs those that between them have every op. */
static bool is_left_out(const struct family *family)
{
    return golden_short() && golden_device()->vulkan &&
           strcmp(family->name, "qwen3moe_mixed") != 0 && strcmp(family->name, "gptoss") != 0 &&
           strcmp(family->name, "deepseek_v3") != 0;
}

ParameterizedTest(struct family *family, golden_families, logits_and_routes)
{
    struct reference reference;
    if (is_left_out(family)) {
        cr_skip("in short, three families");
    }
    struct moxie_model *model = open_family(family, &reference);
    static const size_t parts[] = {33, 1, 5, 67};
    double worst[2] = {0};
    for (size_t i = 0; i < (golden_short() ? 1 : sizeof(parts) / sizeof(parts[0])); i++) {
        double exact =
            run_parts(model, &reference, MOXIE_KV_F32, parts[i], golden_device()->nmse / 100, 1e-4);
        worst[0] = exact > worst[0] ? exact : worst[0];
        /* Each list has an attention of its own for it: the chunk's and the single token's. */
        if (i < 2 || !golden_device()->vulkan) {
            double half = run_parts(model, &reference, MOXIE_KV_F16, parts[i], HALF_NMSE, 1e-2);
            worst[1] = half > worst[1] ? half : worst[1];
        }
    }
    printf("%-16s NMSE at most %.1e (f32 cache), %.1e (f16 cache)\n", family->name, worst[0],
           worst[1]);
    close_family(model, &reference);
}

ParameterizedTestParameters(golden_families, what_the_file_says)
{
    return cr_make_param_array(struct family, families, N_FAMILIES);
}

ParameterizedTest(struct family *family, golden_families, what_the_file_says)
{
    golden_cpu();
    struct reference reference;
    struct moxie_model *model = open_family(family, &reference);
    const json_t *config = json_object_get(reference.json, "config");
    struct moxie_model_info info;
    moxie_model_info(model, &info);
#define SAYS(key) (uint32_t) json_integer_value(json_object_get(config, key))
    cr_expect_eq(info.layers, SAYS("num_hidden_layers"));
    cr_expect_eq(info.hidden, SAYS("hidden_size"));
    cr_expect_eq(info.heads, SAYS("num_attention_heads"));
    cr_expect_eq(info.experts,
                 SAYS("num_experts") + SAYS("num_local_experts") + SAYS("n_routed_experts"));
    cr_expect_eq(info.experts_per_token, SAYS("num_experts_per_tok"));
    cr_expect_eq(info.context, SAYS("max_position_embeddings"));
    struct moxie_session *session = golden_session(model, MOXIE_KV_F16, 0);
    golden_eval(session, reference.ids, 3);
    /* Of latent attention only the latent and one rotated key are kept, in f16. */
    uint64_t row = SAYS("kv_lora_rank") + SAYS("qk_rope_head_dim");
    row = row ? row : 2 * (uint64_t)info.kv_heads * info.head_dim;
    struct moxie_memory memory;
    moxie_memory_report(session, &memory);
    cr_expect_eq(memory.context, info.layers * (uint64_t)info.context * row * 2);
    size_t routed = 0;
    for (uint32_t layer = 0; layer < info.layers; layer++) {
        const uint32_t *ids;
        const float *weights;
        uint32_t n = moxie_routes(session, layer, &ids, &weights);
        cr_expect(n == 0 || n == 3);
        routed += n > 0;
    }
    cr_expect_eq(routed, json_array_size(reference.routes));
    moxie_session_destroy(&session);
    close_family(model, &reference);
}
