/* Conversion as a library: what is stored is what the checkpoint holds, in the types the rules say,
 * the same bytes every time. */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/conversion.h"
#include "format/safetensors.h"
#include "format/f16.h"
#include "format/quant.h"
#include "tests/check.h"
#include "tests/tools/tiny_checkpoint.h"

/* ---- helpers ---- */

static const char *output_path(void)
{
    return check_path(check_temp_dir(), "out.moxie");
}

/* What a test asks for; zero-initialised: f32 if no mix is named. */
struct request {
    const char *mix;
    bool keep;
    struct conversion_pattern patterns[4];
    uint32_t n_patterns;
    struct conversion_options options;
    struct thread_pool *pool;
    const char *tokenizer, *chat_template; /* given to the source; or NULL */
    uint64_t tokenizer_bytes;
};

/* What the tests want to know of it. */
struct report {
    uint64_t n_items, planned_bytes, file_bytes;
    uint64_t fallbacks[TYPE_N_REASONS]; /* matrices */
};

static struct conversion_rules rules_of(const struct request *request)
{
    return (struct conversion_rules){
        .mix = request->mix ? type_mix_find(request->mix) : NULL,
        .keep = request->keep,
        .patterns = request->patterns,
        .n_patterns = request->n_patterns,
    };
}

static void count_fallbacks(const struct conversion_plan *plan, struct report *report)
{
    for (uint64_t i = 0; i < plan->n_items; i++) {
        const struct conversion_item *item = &plan->items[i];
        report->fallbacks[item->reason]++;
        report->fallbacks[item->down_reason] += !item->row;
    }
}

static bool convert(const char *path, const struct request *request, struct report *report,
                    struct error *err)
{
    struct conversion_rules rules = rules_of(request);
    struct conversion_work work = {.pool = request->pool};
    struct conversion_plan plan;
    struct source *source = source_open(path, err);
    bool ok = source && conversion_plan_make(&plan, source, &rules, &work, err);
    if (ok) {
        if (request->tokenizer) {
            source->tokenizer = request->tokenizer;
            source->tokenizer_bytes = request->tokenizer_bytes;
            source->chat_template = request->chat_template;
            source->chat_template_bytes = strlen(request->chat_template);
        }
        uint64_t bytes = 0;
        ok = conversion_run(&plan, output_path(), &request->options, &work, &bytes, err);
        if (report) {
            struct model_file planned;
            cr_assert(conversion_open_planned(&plan, &request->options, &planned, err), "%s",
                      err->text);
            *report = (struct report){
                .n_items = plan.n_items, .planned_bytes = planned.map.bytes, .file_bytes = bytes};
            count_fallbacks(&plan, report);
            model_file_close(&planned);
        }
        conversion_plan_free(&plan);
    }
    source_close(&source);
    return ok;
}

/* Converts and opens the result. */
static void convert_open(struct model_file *file, const char *folder, const struct request *request,
                         struct report *report)
{
    struct error err = {""};
    cr_assert(convert(folder, request, report, &err), "%s", err.text);
    cr_assert(model_file_open(file, output_path(), &err), "%s", err.text);
    cr_assert(model_file_verify(file, NULL, NULL, &err), "%s", err.text);
}

static void *load(const struct model_file *file, const struct tensor_record *record)
{
    struct error err = {""};
    void *bytes = malloc(record->raw_bytes);
    memset(bytes, 0xA5, record->raw_bytes);
    cr_assert(model_file_load(file, record, bytes, &err), "%s", err.text);
    return bytes;
}

/* NMSE of rows first, first + step, ... of a stored matrix against the checkpoint's tensor. */
static double compare_rows(const void *matrix, enum dtype type, uint64_t matrix_rows, uint64_t cols,
                           uint64_t first, uint64_t step, const float *expected, uint64_t rows)
{
    float *values = malloc(rows * cols * sizeof(float));
    for (uint64_t row = 0; row < rows; row++) {
        quant_decode_matrix_row(dtype_info(type), matrix, matrix_rows, cols, first + row * step,
                                values + row * cols);
    }
    double nmse = check_nmse(values, expected, rows * cols);
    free(values);
    return nmse;
}

static double compare_part(const struct tiny_checkpoint *tiny, const char *name, const void *matrix,
                           enum dtype type, uint64_t matrix_rows, uint64_t cols, uint64_t first,
                           uint64_t step, uint64_t rows)
{
    float *expected = malloc(rows * cols * sizeof(float));
    bool is_vector = matrix_rows == 1;
    tiny_checkpoint_values(tiny, name, is_vector ? 1 : 2, rows, cols, expected);
    double nmse = compare_rows(matrix, type, matrix_rows, cols, first, step, expected, rows);
    free(expected);
    return nmse;
}

static double compare_expert(const struct tiny_checkpoint *tiny, const struct model_file *file,
                             const struct tensor_record *record, bool router)
{
    char prefix[100], name[128];
    if (router) {
        snprintf(prefix, sizeof(prefix), "model.layers.%u.mlp.experts.%u", record->layer,
                 record->expert);
    } else {
        snprintf(prefix, sizeof(prefix), "model.layers.%u.mlp", record->layer);
    }
    uint64_t ffn = record->rows / 2, hidden = record->cols;
    uint8_t *slab = load(file, record);
    double worst = 0;
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    for (uint32_t i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "%s.%s.weight", prefix, parts[i]);
        double nmse = i < 2
                          ? compare_part(tiny, name, slab, record->type, 2 * ffn, hidden, i, 2, ffn)
                          : compare_part(tiny, name, slab + record->down_offset, record->down_type,
                                         hidden, ffn, 0, 1, hidden);
        worst = fmax(worst, nmse);
    }
    free(slab);
    return worst;
}

/* The Hugging Face name of a role, told here once more so that the tables are not their own
 * witness. */
static const char *source_name(uint32_t role, uint32_t layer)
{
    static char name[128];
    static const struct {
        uint32_t role;
        const char *name;
    } names[] = {
        {ROLE_TOKEN_EMBEDDING, "model.embed_tokens.weight"},
        {ROLE_OUTPUT_NORM, "model.norm.weight"},
        {ROLE_OUTPUT, "lm_head.weight"},
        {ROLE_ATTENTION_NORM, "input_layernorm"},
        {ROLE_ATTENTION_Q, "self_attn.q_proj"},
        {ROLE_ATTENTION_K, "self_attn.k_proj"},
        {ROLE_ATTENTION_V, "self_attn.v_proj"},
        {ROLE_ATTENTION_OUTPUT, "self_attn.o_proj"},
        {ROLE_ATTENTION_Q_NORM, "self_attn.q_norm"},
        {ROLE_ATTENTION_K_NORM, "self_attn.k_norm"},
        {ROLE_FFN_NORM, "post_attention_layernorm"},
        {ROLE_ROUTER, "mlp.gate"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].role == role && layer == MODEL_FILE_NO_LAYER) {
            return names[i].name;
        }
        if (names[i].role == role) {
            snprintf(name, sizeof(name), "model.layers.%u.%s.weight", layer, names[i].name);
            return name;
        }
    }
    cr_assert_fail("role %u", role);
    return NULL;
}

/* Largest NMSE over all tensors of the file; checks that the file has every tensor once. */
static double compare_all(const struct tiny_checkpoint *tiny, const struct model_file *file)
{
    double worst = 0;
    uint32_t matrices = 0, slabs = 0;
    for (uint64_t i = 0; i < model_file_n_tensors(file); i++) {
        struct tensor_record record;
        model_file_tensor_at(file, i, &record);
        double nmse;
        if (record.role == ROLE_EXPERT) {
            bool router = tiny->experts > 0 && (record.layer + 1) % tiny->sparse_step == 0;
            nmse = compare_expert(tiny, file, &record, router);
            slabs++;
        } else {
            void *matrix = load(file, &record);
            nmse = compare_part(tiny, source_name(record.role, record.layer), matrix, record.type,
                                record.rows, record.cols, 0, 1, record.rows);
            free(matrix);
            matrices++;
        }
        worst = fmax(worst, nmse);
    }
    uint32_t routers = tiny->experts ? tiny->layers / tiny->sparse_step : 0;
    uint32_t in_layer = strncmp(tiny->architecture, "Qwen3", 5) == 0 ? 8 : 6;
    cr_expect_eq(matrices, (tiny->tied ? 2 : 3) + tiny->layers * in_layer + routers);
    cr_expect_eq(slabs, routers * tiny->experts + tiny->layers - routers);
    return worst;
}

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
        struct request request = {.mix = "f32"};
        struct report report;
        struct model_file file;
        convert_open(&file, tiny_checkpoint_write(&tiny, name), &request, &report);
        cr_expect_eq(compare_all(&tiny, &file), 0, "%s %s", tiny.architecture, tiny.dtype);
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
        struct request request = {.mix = dtype_name(cases[i].type)};
        struct model_file file;
        convert_open(&file, tiny_checkpoint_write(&tiny, cases[i].dtype), &request, NULL);
        cr_expect_eq(compare_all(&tiny, &file), 0, "%s", tiny.dtype);
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
            struct request request = {.mix = dtype_name(quantised[i].type)};
            struct report report;
            struct model_file file;
            convert_open(&file, tiny_checkpoint_write(&tiny, name), &request, &report);
            double nmse = compare_all(&tiny, &file);
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
    struct request request = {.mix = "q4_k"};
    struct report report;
    struct model_file file;
    convert_open(&file, tiny_checkpoint_write(&tiny, "rows64"), &request, &report);
    cr_expect_lt(compare_all(&tiny, &file), 5e-3);
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
        convert_open(&file, tiny_checkpoint_write(&tiny, cases[i].dtype), &request, &report);
        cr_expect_lt(compare_all(&tiny, &file), 5e-3);
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
        struct request request = {.mix = "f16"};
        struct report report;
        struct model_file file;
        convert_open(&file, tiny_checkpoint_write(&tiny, name), &request, &report);
        struct expert_layer layer;
        cr_assert(model_file_find_expert_layer(&file, 1, &layer));
        for (uint32_t e = 0; e < 4; e++) {
            struct tensor_record record;
            model_file_tensor_at(&file, layer.first_record + e, &record);
            cr_expect_eq(record.type, cases[i].given, "all experts of the layer agree");
            cr_expect_eq(record.down_type, DTYPE_F16);
            if (e == 2) {
                uint8_t *slab = load(&file, &record);
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
        struct request request = {.mix = "q8_0"};
        cr_expect_not(convert(folder, &request, NULL, &err));
        cr_expect(strstr(err.text, "layer.0.attention_v"), "%s", err.text);
        request.mix = "f16";
        struct model_file file;
        convert_open(&file, folder, &request, NULL);
        struct tensor_record record;
        cr_assert(model_file_find_tensor(&file, ROLE_ATTENTION_V, 0, &record));
        cr_expect_eq(record.type, DTYPE_F16, "an infinity is no reason to leave f16");
        float row[64];
        void *matrix = load(&file, &record);
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
    struct request request = {.mix = "bf16"};
    struct model_file file;
    struct tensor_record record;
    convert_open(&file, tiny_checkpoint_write(&tiny, "tied_with_head"), &request, NULL);
    cr_expect_not(model_file_find_tensor(&file, ROLE_OUTPUT, MODEL_FILE_NO_LAYER, &record),
                  "Hugging Face does not use a head that the config says is tied");
    model_file_close(&file);
    tiny.tied = true;
    tiny.config = ",\"tie_word_embeddings\":null";
    convert_open(&file, tiny_checkpoint_write(&tiny, "silent_without_head"), &request, NULL);
    cr_expect_not(model_file_find_tensor(&file, ROLE_OUTPUT, MODEL_FILE_NO_LAYER, &record));
    model_file_close(&file);
    tiny.config = ",\"tie_word_embeddings\":false";
    struct error err = {""};
    cr_expect_not(
        convert(tiny_checkpoint_write(&tiny, "untied_without_head"), &request, NULL, &err));
    cr_expect(strstr(err.text, "tie_word_embeddings"), "%s", err.text);
}

Test(convert, sections_are_handed_down)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3ForCausalLM");
    struct request request = {
        .mix = "q8_0",
        .options = {.name = "a name", .converter = "test 1"},
        .tokenizer = "\1\2\3\0\4",
        .tokenizer_bytes = 5,
        .chat_template = "{{ x }}",
    };
    struct model_file file;
    convert_open(&file, tiny_checkpoint_write(&tiny, "sections"), &request, NULL);
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
        struct request request = {.mix = "q4_k", .options = {.compress = COMPRESS_ZSTD}};
        request.pool = i < 2 ? thread_pool_create(1 + 3 * i, &err) : NULL;
        cr_assert(convert(folder, &request, NULL, &err), "%s", err.text);
        thread_pool_destroy(&request.pool);
        size_t bytes;
        char *data = check_read_file(output_path(), &bytes);
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
    struct request request = {.mix = "q8_0"};
    struct model_file single, sharded;
    convert_open(&single, tiny_checkpoint_write(&tiny, "single"), &request, NULL);
    tiny.shards = 3;
    convert_open(&sharded, tiny_checkpoint_write(&tiny, "sharded"), &request, NULL);
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
            struct request request = {.mix = dtype_name(types[t]), .options = {.compress = how[i]}};
            struct model_file file;
            convert_open(&file, folder, &request, NULL);
            double nmse = compare_all(&tiny, &file);
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
    struct request request = {.mix = "f32"};
    struct model_file file;
    convert_open(&file, folder, &request, NULL);
    struct safetensors tensors;
    struct error err = {""};
    cr_assert(safetensors_open_folder(&tensors, folder, &err), "%s", err.text);
    for (uint64_t i = 0; i < model_file_n_tensors(&file); i++) {
        struct tensor_record record;
        model_file_tensor_at(&file, i, &record);
        uint8_t *matrix = load(&file, &record);
        bool is_slab = record.role == ROLE_EXPERT;
        char name[128];
        snprintf(name, sizeof(name), "model.layers.%u.mlp.experts.%u.up_proj.weight", record.layer,
                 record.expert);
        const struct safetensors_tensor *source =
            safetensors_find(&tensors, is_slab ? name : source_name(record.role, record.layer));
        cr_assert(source, "%s", name);
        float *expected = malloc(source->elements * sizeof(float));
        safetensors_read(source, 0, source->elements, expected);
        double nmse = compare_rows(matrix, record.type, record.rows, record.cols, is_slab,
                                   1 + is_slab, expected, record.rows / (1 + is_slab));
        cr_expect_eq(nmse, 0, "%.*s", (int)record.name_bytes, record.name);
        free(expected);
        free(matrix);
    }
    safetensors_close(&tensors);
    model_file_close(&file);
}
