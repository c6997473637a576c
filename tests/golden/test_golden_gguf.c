/* GGUF as a source: every family of the golden checkpoints exported and opened again has the same
 * numbers and, bit for bit, the same matrices. */
#include <criterion/criterion.h>

#include <string.h>
#include <unistd.h>

#include "engine/model/gguf_export.h"
#include "engine/model/source_gguf.h"
#include "tests/golden/export_source.h"
#include "tests/golden/golden.h"
#include "tests/golden/model_copy.h"

static void round_trip(const char *family)
{
    struct source *a = export_source_family(family);
    struct source *b = export_source_open(export_source_gguf(a));
    cr_expect_str_eq(a->arch->gguf_name, b->arch->gguf_name);
    export_source_same_numbers(a, b);
    cr_expect_gt(export_source_same_weights(a, b), 10);
    source_close(&a);
    source_close(&b);
}

Test(golden_gguf, llama)
{
    round_trip("llama_linear");
}
Test(golden_gguf, qwen2)
{
    round_trip("qwen2");
}
Test(golden_gguf, qwen3)
{
    round_trip("qwen3_tied");
}
Test(golden_gguf, mixtral)
{
    round_trip("mixtral");
}
Test(golden_gguf, olmoe)
{
    round_trip("olmoe");
}
Test(golden_gguf, gptoss)
{
    round_trip("gptoss");
}
Test(golden_gguf, gptoss_mxfp4)
{
    round_trip("gptoss_mxfp4");
}
Test(golden_gguf, deepseek_v2)
{
    round_trip("deepseek_v2");
}
Test(golden_gguf, deepseek_v2_lite)
{
    round_trip("deepseek_v2_lite");
}
Test(golden_gguf, deepseek_v3)
{
    round_trip("deepseek_v3");
}
Test(golden_gguf, deepseek_v3_fp8)
{
    round_trip("deepseek_v3_fp8");
}

/* llama3 scaling becomes a tensor of divisors: 1 for the first pair, the factor for the last. */
Test(golden_gguf, llama3_scaling)
{
    round_trip("llama_scaled");
    struct source *source = export_source_open(export_source_path("model.gguf"));
    const struct gguf_tensor *divisors =
        gguf_find_tensor(source_gguf_file(source), "rope_freqs.weight");
    cr_assert(divisors && divisors->dims[0] == source->hparams.rope_dim / 2);
    float first, last;
    memcpy(&first, divisors->data, sizeof(first));
    memcpy(&last, divisors->data + divisors->bytes - sizeof(last), sizeof(last));
    cr_expect_eq(first, 1);
    cr_expect_eq(last, 8);
    source_close(&source);
}

/* ---- .moxie files as the source ---- */

static void moxie_round_trip(const char *path)
{
    struct error err = {""};
    struct source *a = source_open_moxie(path, &err);
    cr_assert(a, "%s", err.text);
    struct source *b = export_source_open(export_source_gguf(a));
    export_source_same_numbers(a, b);
    cr_expect_gt(export_source_same_weights(a, b), 10);
    source_close(&a);
    source_close(&b);
}

Test(golden_gguf, moxie_file)
{
    json_t *reference;
    moxie_round_trip(golden_family("deepseek_v3", "bf16", &reference));
    json_decref(reference);
}

Test(golden_gguf, quantised_moxie_file)
{
    moxie_round_trip(golden_demo());
}

static bool mix_types(void *context, struct expert_spec *spec)
{
    spec->type = spec->expert == 3 ? DTYPE_BF16 : DTYPE_F32;
    return true;
}

Test(golden_gguf, experts_that_differ_in_type_are_refused)
{
    json_t *reference;
    const struct model_change change = {.slab = mix_types};
    const char *path = model_copy(golden_family("mixtral", "f32", &reference), "mixed", &change);
    struct error err = {""};
    struct source *source = source_open_moxie(path, &err);
    cr_assert(source, "%s", err.text);
    struct gguf_export_report report;
    const struct gguf_export_options options = {0};
    cr_expect(
        !gguf_export_run(source, export_source_path("refused.gguf"), &options, &report, &err));
    cr_expect(strstr(err.text, "experts of layer 0 have types f32 and bf16"), "%s", err.text);
    source_close(&source);
    json_decref(reference);
}

/* What GGUF cannot express. */
Test(golden_gguf, refused_exports)
{
    static const char *const families[] = {"qwen2moe", "qwen3moe_mixed"};
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        struct source *source = export_source_family(families[i]);
        struct gguf_export_report report;
        const struct gguf_export_options options = {0};
        struct error err = {""};
        const char *path = export_source_path("refused.gguf");
        cr_expect(!gguf_export_run(source, path, &options, &report, &err));
        cr_expect(strstr(err.text, "has no experts"), "%s", err.text);
        cr_expect_neq(access(path, F_OK), 0);
        source_close(&source);
    }
    struct source *source = export_source_family("mixtral");
    struct gguf_export_report report;
    const struct gguf_export_options options = {0};
    struct error err = {""};
    cr_expect(
        !gguf_export_run(source, export_source_path("model.safetensors"), &options, &report, &err));
    cr_expect(strstr(err.text, "a file of the model itself"), "%s", err.text);
    source_close(&source);
}
