/* Conversion as a library: what is stored is what the checkpoint holds, in the types the rules say,
 * the same bytes every time. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "format/quant.h"
#include "tests/check.h"
#include "tests/tools/tiny_conversion.h"

/* ---- what is stored ---- */

static const char *const families[] = {"Qwen3MoeForCausalLM", "Qwen3ForCausalLM",
                                       "LlamaForCausalLM"};

Test(convert, f32_is_exact_for_every_family)
{
    for (uint32_t i = 0; i < 3 * 4; i++) {
        struct tiny_checkpoint tiny = tiny_checkpoint_of(families[i / 4]);
        static const char *const dtypes[] = {"BF16", "F16", "F32", "BF16"};
        tiny.dtype = dtypes[i % 4];
        tiny.tied = i % 2;
        tiny.layers = 3;
        tiny.sparse_step = i % 4 == 3 ? 2 : 1; /* layers without a router among the others */
        tiny.seed = i;
        char name[32];
        snprintf(name, sizeof(name), "family%u", i);
        struct tiny_conversion request = {.mix = "f32"};
        struct tiny_conversion_report report;
        struct model_file file;
        tiny_conversion_open(&file, tiny_checkpoint_write(&tiny, name), &request, &report);
        cr_expect_eq(tiny_conversion_compare(&tiny, &file), 0, "%s %s", tiny.architecture,
                     tiny.dtype);
        cr_expect_eq(report.fallbacks[TYPE_FOR_COLUMNS] + report.fallbacks[TYPE_FOR_RANGE], 0);
        cr_expect_eq(report.file_bytes, file.map.bytes);
        cr_expect_eq(report.planned_bytes, file.map.bytes, "a dry run tells the size");
        cr_expect_eq(report.n_items, model_file_n_tensors(&file));

        struct hparams hparams;
        struct error err = {""};
        cr_assert(hparams_from_file(&hparams, arch_find_config(tiny.architecture), &file, &err),
                  "%s", err.text);
        cr_expect_eq(hparams.layers, 3);
        cr_expect_eq(hparams.hidden, tiny.hidden);
        cr_expect_eq(hparams.kv_heads, tiny.kv_heads);
        cr_expect_eq(hparams.head_dim, tiny.head_dim);
        cr_expect_eq(hparams.experts, tiny.experts);
        cr_expect_eq(hparams.experts_per_token, tiny.experts_per_token);
        cr_expect_eq(hparams.router_normalise, tiny.experts > 0);
        cr_expect_eq(hparams.vocabulary, tiny.vocabulary);
        cr_expect_eq(hparams.norm_epsilon, 1e-6);
        cr_expect_eq(hparams.rope_theta, 10000);
        const char *text;
        uint64_t bytes;
        cr_assert(model_file_get_string(&file, "name", &text, &bytes));
        cr_expect(bytes == strlen(name) && memcmp(text, name, bytes) == 0);
        cr_assert(model_file_get_string(&file, "architecture", &text, &bytes));
        cr_expect(arch_find(text, bytes) == arch_find_config(tiny.architecture));
        model_file_close(&file);
    }
}

Test(convert, half_floats_keep_their_bits)
{
    static const struct {
        const char *dtype;
        enum dtype type;
    } cases[] = {{"BF16", DTYPE_BF16}, {"F16", DTYPE_F16}};
    for (uint32_t i = 0; i < 2; i++) {
        struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
        tiny.dtype = cases[i].dtype;
        struct tiny_conversion request = {.mix = dtype_name(cases[i].type)};
        struct model_file file;
        tiny_conversion_open(&file, tiny_checkpoint_write(&tiny, cases[i].dtype), &request, NULL);
        cr_expect_eq(tiny_conversion_compare(&tiny, &file), 0, "%s", tiny.dtype);
        struct tensor_record record;
        cr_assert(model_file_find_tensor(&file, ROLE_ATTENTION_Q, 1, &record));
        cr_expect_eq(record.type, cases[i].type);
        cr_assert(model_file_find_tensor(&file, ROLE_ROUTER, 1, &record));
        cr_expect_eq(record.type, DTYPE_F32, "routers stay f32");
        cr_assert(model_file_find_tensor(&file, ROLE_FFN_NORM, 1, &record));
        cr_expect_eq(record.type, DTYPE_F32, "norms stay f32");
        model_file_close(&file);
    }
}

/* Rows long enough for every type. */
static struct tiny_checkpoint wide_checkpoint(void)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
    tiny.hidden = 256;
    tiny.expert_ffn = 256;
    tiny.heads = 8;
    tiny.head_dim = 32;
    tiny.layers = 1;
    return tiny;
}

/* Expected NMSE of uniform values, with room: step^2 / 12 over variance, twice for the scales. */
static const struct {
    enum dtype type;
    double nmse;
    enum dtype tied_head; /* of an embedding that is the head as well */
} quantised[] = {
    {DTYPE_Q8_0, 5e-5, DTYPE_Q8_0},
    {DTYPE_Q6_K, 1e-3, DTYPE_Q6_K},
    {DTYPE_Q4_K, 1e-2, DTYPE_Q6_K},
    {DTYPE_Q4_0, 2e-2, DTYPE_Q6_K},
};

Test(convert, quantised_types_stay_close)
{
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t tied = 0; tied < 2; tied++) {
            struct tiny_checkpoint tiny = wide_checkpoint();
            tiny.tied = tied;
            char name[32];
            snprintf(name, sizeof(name), "q%u_%u", i, tied);
            struct tiny_conversion request = {.mix = dtype_name(quantised[i].type)};
            struct tiny_conversion_report report;
            struct model_file file;
            tiny_conversion_open(&file, tiny_checkpoint_write(&tiny, name), &request, &report);
            double nmse = tiny_conversion_compare(&tiny, &file);
            cr_expect_lt(nmse, quantised[i].nmse, "%s: %g", request.mix, nmse);
            cr_expect_gt(nmse, 0);
            cr_expect_eq(report.fallbacks[TYPE_FOR_COLUMNS], 0);
            struct tensor_record record;
            cr_assert(
                model_file_find_tensor(&file, ROLE_TOKEN_EMBEDDING, MODEL_FILE_NO_LAYER, &record));
            cr_expect_eq(record.type, tied ? quantised[i].tied_head : quantised[i].type);
            bool has_head =
                model_file_find_tensor(&file, ROLE_OUTPUT, MODEL_FILE_NO_LAYER, &record);
            cr_expect_eq(has_head, !tied);
            cr_expect(tied || record.type == quantised[i].tied_head);
            model_file_close(&file);
        }
    }
}

Test(convert, short_rows_fall_back)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM"); /* hidden 64 */
    struct tiny_conversion request = {.mix = "q4_k"};
    struct tiny_conversion_report report;
    struct model_file file;
    tiny_conversion_open(&file, tiny_checkpoint_write(&tiny, "rows64"), &request, &report);
    cr_expect_lt(tiny_conversion_compare(&tiny, &file), 5e-3);
    cr_expect_eq(report.fallbacks[TYPE_FOR_COLUMNS], 2 + 2 * (4 + 4 * 2),
                 "both ends, attention, experts");
    struct tensor_record record;
    cr_assert(model_file_find_tensor(&file, ROLE_ATTENTION_Q, 0, &record));
    cr_expect_eq(record.type, DTYPE_Q5_0);
    cr_assert(model_file_find_tensor(&file, ROLE_OUTPUT, MODEL_FILE_NO_LAYER, &record));
    cr_expect_eq(record.type, DTYPE_Q8_0, "in place of q6_k");
    model_file_close(&file);

    static const struct {
        const char *dtype;
        enum dtype given;
    } cases[] = {{"BF16", DTYPE_BF16}, {"F16", DTYPE_F16}, {"F32", DTYPE_BF16}};
    for (uint32_t i = 0; i < 3; i++) {
        tiny.hidden = 36;
        tiny.expert_ffn = 64;
        tiny.dtype = cases[i].dtype;
        tiny_conversion_open(&file, tiny_checkpoint_write(&tiny, cases[i].dtype), &request,
                             &report);
        cr_expect_lt(tiny_conversion_compare(&tiny, &file), 5e-3);
        cr_assert(model_file_find_tensor(&file, ROLE_ATTENTION_Q, 0, &record));
        cr_expect_eq(record.type, cases[i].given, "%s", tiny.dtype);
        cr_assert(model_file_find_tensor(&file, ROLE_ATTENTION_OUTPUT, 0, &record));
        cr_expect_eq(record.type, DTYPE_Q5_0, "rows of 64");
        struct expert_layer layer;
        cr_assert(model_file_find_expert_layer(&file, 1, &layer));
        model_file_tensor_at(&file, layer.first_record + 3, &record);
        cr_expect_eq(record.type, cases[i].given);
        cr_expect_eq(record.down_type, DTYPE_Q5_0);
        cr_expect_gt(report.fallbacks[TYPE_FOR_COLUMNS], 2);
        model_file_close(&file);
    }
}

struct poke {
    const char *name;
    float value;
};

static void poke(void *context, struct tiny_tensor *tensor)
{
    const struct poke *p = context;
    if (strcmp(tensor->name, p->name) == 0) {
        tensor->values[5] = p->value;
    }
}

Test(convert, values_beyond_f16_keep_their_range)
{
    static const struct {
        const char *dtype;
        enum dtype given;
        float value;
    } cases[] = {
        {"BF16", DTYPE_BF16, -70144}, {"F32", DTYPE_F32, 65520}, {"F32", DTYPE_F16, 65519}};
    for (uint32_t i = 0; i < 3; i++) {
        struct poke p = {"model.layers.1.mlp.experts.2.up_proj.weight", cases[i].value};
        struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
        tiny.dtype = cases[i].dtype;
        tiny.change = poke;
        tiny.change_context = &p;
        char name[32];
        snprintf(name, sizeof(name), "range%u", i);
        struct tiny_conversion request = {.mix = "f16"};
        struct tiny_conversion_report report;
        struct model_file file;
        tiny_conversion_open(&file, tiny_checkpoint_write(&tiny, name), &request, &report);
        struct expert_layer layer;
        cr_assert(model_file_find_expert_layer(&file, 1, &layer));
        for (uint32_t e = 0; e < 4; e++) {
            struct tensor_record record;
            model_file_tensor_at(&file, layer.first_record + e, &record);
            cr_expect_eq(record.type, cases[i].given, "all experts of the layer agree");
            cr_expect_eq(record.down_type, DTYPE_F16);
            if (e == 2) {
                uint8_t *slab = tiny_conversion_load(&file, &record);
                float row[64];
                quant_decode_matrix_row(dtype_info(record.type), slab, record.rows, record.cols, 1,
                                        row);
                float expected = cases[i].given == DTYPE_F16 ? 65504 : cases[i].value;
                cr_expect_eq(row[5], expected, "%g", (double)row[5]);
                free(slab);
            }
        }
        cr_assert(model_file_find_expert_layer(&file, 0, &layer));
        struct tensor_record record;
        model_file_tensor_at(&file, layer.first_record, &record);
        cr_expect_eq(record.type, DTYPE_F16, "the other layer does not");
        cr_expect_eq(report.fallbacks[TYPE_FOR_RANGE] > 0, i < 2);
        model_file_close(&file);
    }
}

Test(convert, not_a_number_is_refused_by_quantised_types)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (uint32_t i = 0; i < 3; i++) {
        struct poke p = {"model.layers.0.self_attn.v_proj.weight", bad[i]};
        struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3ForCausalLM");
        tiny.change = poke;
        tiny.change_context = &p;
        char name[32];
        snprintf(name, sizeof(name), "nan%u", i);
        const char *folder = tiny_checkpoint_write(&tiny, name);
        struct error err = {""};
        struct tiny_conversion request = {.mix = "q8_0"};
        cr_expect_not(tiny_conversion_run(folder, &request, NULL, &err));
        cr_expect(strstr(err.text, "layer.0.attention_v"), "%s", err.text);
        request.mix = "f16";
        struct model_file file;
        tiny_conversion_open(&file, folder, &request, NULL);
        struct tensor_record record;
        cr_assert(model_file_find_tensor(&file, ROLE_ATTENTION_V, 0, &record));
        cr_expect_eq(record.type, DTYPE_F16, "an infinity is no reason to leave f16");
        float row[64];
        void *matrix = tiny_conversion_load(&file, &record);
        quant_decode_matrix_row(dtype_info(record.type), matrix, record.rows, record.cols, 0, row);
        cr_expect(i == 0 ? isnan(row[5]) : row[5] == bad[i]);
        free(matrix);
        model_file_close(&file);
    }
}

Test(convert, tie_word_embeddings_decides_about_the_head)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("LlamaForCausalLM");
    tiny.config = ",\"tie_word_embeddings\":true"; /* the last of two keys counts */
    struct tiny_conversion request = {.mix = "bf16"};
    struct model_file file;
    struct tensor_record record;
    tiny_conversion_open(&file, tiny_checkpoint_write(&tiny, "tied_with_head"), &request, NULL);
    cr_expect_not(model_file_find_tensor(&file, ROLE_OUTPUT, MODEL_FILE_NO_LAYER, &record),
                  "Hugging Face does not use a head that the config says is tied");
    model_file_close(&file);
    tiny.tied = true;
    tiny.config = ",\"tie_word_embeddings\":null";
    tiny_conversion_open(&file, tiny_checkpoint_write(&tiny, "silent_without_head"), &request,
                         NULL);
    cr_expect_not(model_file_find_tensor(&file, ROLE_OUTPUT, MODEL_FILE_NO_LAYER, &record));
    model_file_close(&file);
    tiny.config = ",\"tie_word_embeddings\":false";
    struct error err = {""};
    cr_expect_not(tiny_conversion_run(tiny_checkpoint_write(&tiny, "untied_without_head"), &request,
                                      NULL, &err));
    cr_expect(strstr(err.text, "tie_word_embeddings"), "%s", err.text);
}

Test(convert, sections_are_handed_down)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3ForCausalLM");
    struct tiny_conversion request = {
        .mix = "q8_0",
        .options = {.name = "a name", .converter = "test 1"},
        .tokenizer = "\1\2\3\0\4",
        .tokenizer_bytes = 5,
        .chat_template = "{{ x }}",
    };
    struct model_file file;
    tiny_conversion_open(&file, tiny_checkpoint_write(&tiny, "sections"), &request, NULL);
    const void *section;
    const char *text;
    uint64_t bytes;
    cr_assert(model_file_tokenizer(&file, &section, &bytes));
    cr_expect(bytes == 5 && memcmp(section, "\1\2\3\0\4", 5) == 0);
    cr_assert(model_file_chat_template(&file, &text, &bytes));
    cr_expect(bytes == 7 && memcmp(text, "{{ x }}", 7) == 0);
    cr_assert(model_file_get_string(&file, "name", &text, &bytes));
    cr_expect(bytes == 6 && memcmp(text, "a name", 6) == 0);
    cr_assert(model_file_get_string(&file, "source.converter", &text, &bytes));
    cr_expect(bytes == 6 && memcmp(text, "test 1", 6) == 0);
    cr_assert(model_file_get_string(&file, "source.dtype", &text, &bytes));
    cr_expect(bytes == 4 && memcmp(text, "bf16", 4) == 0);
    cr_assert(model_file_get_string(&file, "file.type", &text, &bytes));
    cr_expect(bytes == 4 && memcmp(text, "q8_0", 4) == 0);
    model_file_close(&file);
}

/* ---- the same bytes ---- */

Test(convert, threads_and_repetition_change_nothing)
{
    struct tiny_checkpoint tiny = wide_checkpoint();
    const char *folder = tiny_checkpoint_write(&tiny, "same");
    char *first = NULL;
    size_t first_bytes = 0;
    for (uint32_t i = 0; i < 3; i++) {
        struct error err = {""};
        struct tiny_conversion request = {.mix = "q4_k", .options = {.compress = COMPRESS_ZSTD}};
        request.pool = i < 2 ? thread_pool_create(1 + 3 * i, &err) : NULL;
        cr_assert(tiny_conversion_run(folder, &request, NULL, &err), "%s", err.text);
        thread_pool_destroy(&request.pool);
        size_t bytes;
        char *data = check_read_file(tiny_conversion_path(), &bytes);
        if (i == 0) {
            first = data;
            first_bytes = bytes;
            continue;
        }
        cr_expect(bytes == first_bytes && memcmp(data, first, bytes) == 0, "run %u differs", i);
        free(data);
    }
    free(first);
}

Test(convert, shards_give_the_same_tensors)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
    struct tiny_conversion request = {.mix = "q8_0"};
    struct model_file single, sharded;
    tiny_conversion_open(&single, tiny_checkpoint_write(&tiny, "single"), &request, NULL);
    tiny.shards = 3;
    tiny_conversion_open(&sharded, tiny_checkpoint_write(&tiny, "sharded"), &request, NULL);
    uint64_t files;
    cr_assert(model_file_get_u64(&sharded, "source.files", &files));
    cr_expect_eq(files, 3);
    cr_assert_eq(model_file_n_tensors(&single), model_file_n_tensors(&sharded));
    for (uint64_t i = 0; i < model_file_n_tensors(&single); i++) {
        struct tensor_record a, b;
        model_file_tensor_at(&single, i, &a);
        model_file_tensor_at(&sharded, i, &b);
        cr_assert_eq(a.role, b.role);
        cr_assert_eq(a.offset, b.offset);
        cr_assert_eq(a.xxh3, b.xxh3);
    }
    model_file_close(&single);
    model_file_close(&sharded);
}

Test(convert, compressed_files_decode_to_the_same)
{
    struct tiny_checkpoint tiny = wide_checkpoint();
    const char *folder = tiny_checkpoint_write(&tiny, "compress");
    static const enum compress how[] = {COMPRESS_NONE, COMPRESS_ZSTD, COMPRESS_AUTO};
    static const enum dtype types[] = {DTYPE_BF16, DTYPE_Q8_0};
    for (uint32_t t = 0; t < 2; t++) {
        uint64_t bytes[3];
        for (uint32_t i = 0; i < 3; i++) {
            struct tiny_conversion request = {.mix = dtype_name(types[t]),
                                              .options = {.compress = how[i]}};
            struct model_file file;
            tiny_conversion_open(&file, folder, &request, NULL);
            double nmse = tiny_conversion_compare(&tiny, &file);
            cr_expect(types[t] == DTYPE_BF16 ? nmse == 0 : nmse < 5e-5);
            bytes[i] = file.map.bytes;
            model_file_close(&file);
        }
        if (types[t] == DTYPE_BF16) {
            cr_expect_lt(bytes[1], bytes[0] * 9 / 10);
            cr_expect_lt(bytes[2], bytes[0] * 9 / 10);
        } else {
            cr_expect_leq(bytes[1], bytes[0]);
        }
    }
}

Test(convert, moxie_tiny_is_exact)
{
    const char *folder = check_shared_path("models/moxie-tiny");
    if (!folder) {
        cr_skip("the checkpoint is not here");
    }
    struct tiny_conversion request = {.mix = "f32"};
    struct model_file file;
    tiny_conversion_open(&file, folder, &request, NULL);
    struct safetensors tensors;
    struct error err = {""};
    cr_assert(safetensors_open_folder(&tensors, folder, &err), "%s", err.text);
    for (uint64_t i = 0; i < model_file_n_tensors(&file); i++) {
        struct tensor_record record;
        model_file_tensor_at(&file, i, &record);
        uint8_t *matrix = tiny_conversion_load(&file, &record);
        bool is_slab = record.role == ROLE_EXPERT;
        char name[128];
        snprintf(name, sizeof(name), "model.layers.%u.mlp.experts.%u.up_proj.weight", record.layer,
                 record.expert);
        const struct safetensors_tensor *source = safetensors_find(
            &tensors, is_slab ? name : tiny_conversion_source_name(record.role, record.layer));
        cr_assert(source, "%s", name);
        float *expected = malloc(source->elements * sizeof(float));
        safetensors_read(source, 0, source->elements, expected);
        double nmse =
            tiny_conversion_compare_rows(matrix, record.type, record.rows, record.cols, is_slab,
                                         1 + is_slab, expected, record.rows / (1 + is_slab));
        cr_expect_eq(nmse, 0, "%.*s", (int)record.name_bytes, record.name);
        free(expected);
        free(matrix);
    }
    safetensors_close(&tensors);
    model_file_close(&file);
}
