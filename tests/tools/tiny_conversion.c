#include "tests/tools/tiny_conversion.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/quant.h"
#include "tests/check.h"

const char *tiny_conversion_path(void)
{
    return check_path(check_temp_dir(), "out.moxie");
}

static struct conversion_rules rules_of(const struct tiny_conversion *request)
{
    return (struct conversion_rules){
        .mix = request->mix ? type_mix_find(request->mix) : NULL,
        .keep = request->keep,
        .patterns = request->patterns,
        .n_patterns = request->n_patterns,
    };
}

static void count_fallbacks(const struct conversion_plan *plan,
                            struct tiny_conversion_report *report)
{
    for (uint64_t i = 0; i < plan->n_items; i++) {
        const struct conversion_item *item = &plan->items[i];
        report->fallbacks[item->reason]++;
        report->fallbacks[item->down_reason] += !item->row;
    }
}

bool tiny_conversion_between(const char *from, const char *to, const struct conversion_rules *rules,
                             enum compress compress, const struct conversion_work *work,
                             struct error *err)
{
    struct conversion_options options = {.compress = compress};
    struct conversion_plan plan;
    struct source *source = source_open(from, err);
    bool ok = source && conversion_plan_make(&plan, source, rules, work, err);
    if (ok) {
        ok = conversion_run(&plan, to, &options, work, NULL, err);
        conversion_plan_free(&plan);
    }
    source_close(&source);
    return ok;
}

bool tiny_conversion_run(const char *path, const struct tiny_conversion *request,
                         struct tiny_conversion_report *report, struct error *err)
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
        ok = conversion_run(&plan, tiny_conversion_path(), &request->options, &work, &bytes, err);
        if (report) {
            struct model_file planned;
            cr_assert(conversion_open_planned(&plan, &request->options, &planned, err), "%s",
                      err->text);
            *report = (struct tiny_conversion_report){
                .n_items = plan.n_items, .planned_bytes = planned.map.bytes, .file_bytes = bytes};
            count_fallbacks(&plan, report);
            model_file_close(&planned);
        }
        conversion_plan_free(&plan);
    }
    source_close(&source);
    return ok;
}

void tiny_conversion_open(struct model_file *file, const char *folder,
                          const struct tiny_conversion *request,
                          struct tiny_conversion_report *report)
{
    struct error err = {""};
    cr_assert(tiny_conversion_run(folder, request, report, &err), "%s", err.text);
    cr_assert(model_file_open(file, tiny_conversion_path(), &err), "%s", err.text);
    cr_assert(model_file_verify(file, NULL, NULL, &err), "%s", err.text);
}

void *tiny_conversion_load(const struct model_file *file, const struct tensor_record *record)
{
    struct error err = {""};
    void *bytes = malloc(record->raw_bytes);
    memset(bytes, 0xA5, record->raw_bytes);
    cr_assert(model_file_load(file, record, bytes, &err), "%s", err.text);
    return bytes;
}

double tiny_conversion_compare_rows(const void *matrix, enum dtype type, uint64_t matrix_rows,
                                    uint64_t cols, uint64_t first, uint64_t step,
                                    const float *expected, uint64_t rows)
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
    double nmse =
        tiny_conversion_compare_rows(matrix, type, matrix_rows, cols, first, step, expected, rows);
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
    uint8_t *slab = tiny_conversion_load(file, record);
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

const char *tiny_conversion_source_name(uint32_t role, uint32_t layer)
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

double tiny_conversion_compare(const struct tiny_checkpoint *tiny, const struct model_file *file)
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
            void *matrix = tiny_conversion_load(file, &record);
            nmse = compare_part(tiny, tiny_conversion_source_name(record.role, record.layer),
                                matrix, record.type, record.rows, record.cols, 0, 1, record.rows);
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
