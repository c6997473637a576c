/* Files of activation statistics, ours and others', good and bad; and what quantisation makes of
 * them: weights that blend an expert's own numbers with its layer's, and smaller errors in the
 * columns that matter. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/conversion.h"
#include "engine/model/importance_weights.h"
#include "format/gguf_writer.h"
#include "format/quant.h"
#include "tests/check.h"
#include "tests/tools/tiny_checkpoint.h"

static const char *path_of(const char *name)
{
    return check_path(check_temp_dir(), name);
}

static struct tiny_checkpoint wide_checkpoint(void)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
    tiny.hidden = 256;
    tiny.expert_ffn = 256;
    tiny.experts = 4;
    tiny.experts_per_token = 2;
    tiny.tied = true;
    return tiny;
}

static struct source *open_source(const struct tiny_checkpoint *tiny, const char *name)
{
    struct error err = {""};
    struct source *source = source_open(tiny_checkpoint_write(tiny, name), &err);
    cr_assert(source, "%s", err.text);
    return source;
}

static void add(struct importance *importance, const char *name, uint64_t columns,
                uint64_t n_counts, const float *counts)
{
    struct error err;
    struct check_random random = {strlen(name) + columns};
    float *sums = malloc(columns * n_counts * sizeof(float));
    for (uint64_t i = 0; i < columns * n_counts; i++) {
        sums[i] = counts[i / columns] * check_random_float(&random, 0.01F, 4);
    }
    cr_assert(importance_add(importance, name, columns * n_counts, n_counts, sums, counts, &err));
    free(sums);
}

/* Of everything in the wide checkpoint; expert 2 of each layer was never chosen, 3 rarely. */
static const float expert_counts[4] = {500, 1000, 0, 8};
static struct importance sample(void)
{
    static const char *const dense[] = {"attn_q", "attn_k", "attn_v", "attn_output"};
    static const char *const experts[] = {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"};
    struct importance importance = {
        .dataset = strdup("a text"), .chunk_count = 7, .chunk_size = 99};
    char name[64];
    const float tokens = 754;
    struct tiny_checkpoint tiny = wide_checkpoint();
    for (uint32_t layer = 0; layer < tiny.layers; layer++) {
        for (uint32_t i = 0; i < 4; i++) {
            snprintf(name, sizeof(name), "blk.%u.%s.weight", layer, dense[i]);
            add(&importance, name, i == 3 ? tiny.heads * tiny.head_dim : tiny.hidden, 1, &tokens);
        }
        for (uint32_t i = 0; i < 3; i++) {
            snprintf(name, sizeof(name), "blk.%u.%s.weight", layer, experts[i]);
            add(&importance, name, 256, 4, expert_counts);
        }
    }
    add(&importance, "token_embd.weight", tiny.hidden, 1, &tokens);
    return importance;
}

static void read_sample(struct importance *importance)
{
    struct error err = {""};
    struct importance made = sample();
    cr_assert(importance_write(&made, path_of("sample.gguf"), &err), "%s", err.text);
    importance_free(&made);
    cr_assert(importance_read(importance, path_of("sample.gguf"), &err), "%s", err.text);
}

/* ---- files ---- */

Test(importance, a_file_gives_back_what_was_written)
{
    struct importance made = sample(), read;
    read_sample(&read);
    cr_expect_str_eq(read.dataset, "a text");
    cr_expect(read.chunk_count == 7 && read.chunk_size == 99);
    cr_assert_eq(read.n_entries, made.n_entries);
    for (uint64_t i = 0; i < made.n_entries; i++) {
        const struct importance_entry *x = &made.entries[i];
        const struct importance_entry *y = importance_find(&read, x->name);
        cr_assert(y, "%s", x->name);
        cr_assert(x->n_values == y->n_values && x->n_counts == y->n_counts);
        cr_expect_arr_eq(x->sums, y->sums, x->n_values * sizeof(float));
        cr_expect_arr_eq(x->counts, y->counts, x->n_counts * sizeof(float));
    }
    cr_expect_null(importance_find(&read, "blk.9.attn_q.weight"));
    importance_free(&made);
    importance_free(&read);
}

/* The layout of llama.cpp's files: keys, names, shapes. */
Test(importance, a_file_is_laid_out_as_others_expect)
{
    struct error err;
    struct importance made = sample();
    struct gguf gguf;
    const char *text;
    uint64_t bytes, number;
    cr_assert(importance_write(&made, path_of("layout.gguf"), &err));
    cr_assert(gguf_open(&gguf, path_of("layout.gguf"), &err), "%s", err.text);
    cr_assert(gguf_value_string(gguf_find_pair(&gguf, "general.type"), &text, &bytes));
    cr_expect(bytes == 7 && memcmp(text, "imatrix", 7) == 0);
    const struct gguf_pair *datasets = gguf_find_pair(&gguf, "imatrix.datasets");
    cr_expect(datasets && datasets->is_array && datasets->type == GGUF_STRING);
    cr_expect(gguf_value_u64(gguf_find_pair(&gguf, "imatrix.chunk_size"), 0, &number));
    cr_expect_eq(number, 99);
    const struct gguf_tensor *sums = gguf_find_tensor(&gguf, "blk.1.ffn_down_exps.weight.in_sum2");
    const struct gguf_tensor *counts = gguf_find_tensor(&gguf, "blk.1.ffn_down_exps.weight.counts");
    cr_assert(sums && counts);
    cr_expect(sums->n_dims == 2 && sums->dims[0] == 256 && sums->dims[1] == 4 && sums->type == 0);
    cr_expect(counts->n_dims == 2 && counts->dims[0] == 1 && counts->dims[1] == 4);
    gguf_close(&gguf);
    importance_free(&made);
}

struct bad {
    const char *type;          /* general.type, NULL: no key */
    const char *sums, *counts; /* names, NULL: none */
    uint64_t n_sums, n_counts;
    uint32_t sums_type;
    float value;
    const char *sentence;
};

static void write_bad(const struct bad *bad, const char *path)
{
    struct gguf_writer writer;
    struct error err = {""};
    float values[64];
    cr_assert(gguf_writer_open(&writer, path, &err));
    if (bad->type) {
        gguf_writer_string(&writer, "general.type", bad->type, strlen(bad->type));
    }
    uint64_t sums = bad->sums ? gguf_writer_tensor(&writer, bad->sums, 1, (uint64_t[]){bad->n_sums},
                                                   bad->sums_type)
                              : 0;
    uint64_t counts = bad->counts ? gguf_writer_tensor(&writer, bad->counts, 1,
                                                       (uint64_t[]){bad->n_counts}, DTYPE_F32)
                                  : 0;
    for (uint32_t i = 0; i < 64; i++) {
        values[i] = 1;
    }
    values[1] = bad->value;
    cr_assert(gguf_writer_begin_data(&writer, &err));
    cr_assert(!sums || gguf_writer_data(&writer, values, sums, &err));
    cr_assert(!counts || gguf_writer_data(&writer, values + 2, counts, &err));
    cr_assert(gguf_writer_commit(&writer, &err), "%s", err.text);
}

Test(importance, bad_files_are_refused_with_a_sentence)
{
    static const struct bad bad[] = {
        {NULL, "a.in_sum2", "a.counts", 8, 1, DTYPE_F32, 1, "not one of activation statistics"},
        {"model", "a.in_sum2", "a.counts", 8, 1, DTYPE_F32, 1, "not one of activation"},
        {"imatrix", "a.weight", "b", 8, 1, DTYPE_F32, 1, "holds no activation statistics"},
        {"imatrix", "a.in_sum2", NULL, 8, 1, DTYPE_F32, 1, "a has sums but no counts"},
        {"imatrix", "a.in_sum2", "b.counts", 8, 1, DTYPE_F32, 1, "a has sums but no counts"},
        {"imatrix", "a.in_sum2", "a.counts", 8, 3, DTYPE_F32, 1, "sums and counts of a"},
        {"imatrix", "a.in_sum2", "a.counts", 8, 1, DTYPE_F16, 1, "sums and counts of a"},
        {"imatrix", "a.in_sum2", "a.counts", 8, 1, DTYPE_F32, -1, "statistics of a hold numbers"},
        {"imatrix", "a.in_sum2", "a.counts", 8, 1, DTYPE_F32, NAN, "statistics of a hold numbers"},
        {"imatrix", "a.in_sum2", "a.counts", 8, 1, DTYPE_F32, INFINITY, "statistics of a hold"},
    };
    const char *path = path_of("bad.gguf");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct importance importance;
        struct error err = {""};
        write_bad(&bad[i], path);
        cr_expect_not(importance_read(&importance, path, &err), "file %zu", i);
        cr_expect(strstr(err.text, bad[i].sentence) && strstr(err.text, path), "%zu: %s", i,
                  err.text);
    }
    struct importance importance;
    struct error err = {""};
    cr_assert(check_write_file(path, "imatrix from long ago", 21));
    cr_expect_not(importance_read(&importance, path, &err));
    cr_expect(strstr(err.text, path), "%s", err.text);
    cr_expect_not(importance_read(&importance, path_of("absent.gguf"), &err));
    cr_expect(strstr(err.text, "absent.gguf"), "%s", err.text);
}

/* Every byte of the head changed, and every length: refused or read, nothing else. */
Test(importance, damaged_files_do_no_harm)
{
    struct importance made = sample(), read;
    struct error err = {""};
    const char *path = path_of("damaged.gguf");
    cr_assert(importance_write(&made, path, &err));
    importance_free(&made);
    size_t bytes;
    char *data = check_read_file(path, &bytes);
    uint32_t refused = 0;
    for (size_t at = 0; at < 1800; at += 3) {
        data[at] ^= 0x81;
        cr_assert(check_write_file(path, data, bytes));
        if (importance_read(&read, path, &err)) {
            importance_free(&read);
        } else {
            refused++;
        }
        data[at] ^= 0x81;
    }
    cr_expect_gt(refused, 100);
    for (size_t length = 0; length < bytes; length += bytes / 40) {
        cr_assert(check_write_file(path, data, length));
        cr_expect_not(importance_read(&read, path, &err), "cut to %zu bytes", length);
    }
    free(data);
}

/* ---- weights ---- */

Test(importance, experts_with_few_tokens_lean_on_their_layer)
{
    struct tiny_checkpoint tiny = wide_checkpoint();
    struct source *source = open_source(&tiny, "blend");
    struct importance importance;
    struct importance_weights weights;
    struct error err = {""};
    read_sample(&importance);
    cr_assert(importance_weights_make(&weights, &importance, source, &err), "%s", err.text);
    cr_expect_eq(weights.n_without, 0, "%s", weights.first_without);
    cr_expect_eq(weights.n_matrices, 2 * 7 + 1);
    cr_expect(weights.n_experts == 8 && weights.n_never == 2 && weights.n_rarely == 2);
    static const char *const names[] = {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"};
    for (uint32_t part = 0; part < SOURCE_PARTS; part++) {
        char name[64];
        snprintf(name, sizeof(name), "blk.1.%s.weight", names[part]);
        const float *sums = importance_find(&importance, name)->sums;
        for (uint32_t expert = 0; expert < 4; expert++) {
            const float *w = importance_weights_of(&weights, ROLE_EXPERT, 1, expert, part);
            cr_assert(w);
            for (uint32_t c = 0; c < 256; c++) {
                double all = 0;
                for (uint32_t e = 0; e < 4; e++) {
                    all += (double)sums[e * 256 + c];
                }
                double mean = all / 1508, own = (double)sums[expert * 256 + c];
                double expected = (own + 32 * mean) / ((double)expert_counts[expert] + 32);
                cr_assert_float_eq(w[c], expected, 1e-5 * expected, "%s %u, %u", name, expert, c);
            }
        }
    }
    const float *q = importance_weights_of(&weights, ROLE_ATTENTION_Q, 0, MODEL_FILE_NO_EXPERT, 0);
    const float *sums = importance_find(&importance, "blk.0.attn_q.weight")->sums;
    cr_assert_float_eq(q[17], sums[17] / 754, 1e-6);
    cr_expect(importance_weights_of(&weights, ROLE_TOKEN_EMBEDDING, MODEL_FILE_NO_LAYER,
                                    MODEL_FILE_NO_EXPERT, 0));
    cr_expect_null(importance_weights_of(&weights, ROLE_ROUTER, 0, MODEL_FILE_NO_EXPERT, 0));
    cr_expect_null(importance_weights_of(&weights, ROLE_FFN_NORM, 0, MODEL_FILE_NO_EXPERT, 0));
    const float *counts;
    cr_assert(importance_weights_usage(&weights, 0, &counts));
    cr_expect_arr_eq(counts, expert_counts, sizeof(expert_counts));
    importance_weights_free(&weights);
    importance_free(&importance);
    source_close(&source);
}

/* llama.cpp leaves the head out unless it is asked for it. */
Test(importance, what_is_missing_is_told_and_left_out)
{
    struct tiny_checkpoint tiny = wide_checkpoint();
    struct source *source = open_source(&tiny, "missing");
    struct importance importance;
    struct importance_weights weights;
    struct error err = {""};
    read_sample(&importance);
    struct importance_entry *last = &importance.entries[importance.n_entries - 1];
    cr_assert_str_eq(last->name, "token_embd.weight");
    free(last->sums);
    free(last->counts);
    importance.n_entries--;
    cr_assert(importance_weights_make(&weights, &importance, source, &err), "%s", err.text);
    cr_expect_eq(weights.n_without, 1);
    cr_expect_str_eq(weights.first_without, "token_embd.weight");
    cr_expect_null(importance_weights_of(&weights, ROLE_TOKEN_EMBEDDING, MODEL_FILE_NO_LAYER,
                                         MODEL_FILE_NO_EXPERT, 0));
    importance_weights_free(&weights);
    importance_free(&importance);
    source_close(&source);
}

Test(importance, statistics_of_another_model_are_refused)
{
    struct tiny_checkpoint tiny = wide_checkpoint();
    struct importance importance;
    struct importance_weights weights;
    struct error err = {""};
    read_sample(&importance);
    tiny.experts = 8;
    struct source *source = open_source(&tiny, "more");
    cr_expect_not(importance_weights_make(&weights, &importance, source, &err));
    cr_expect(strstr(err.text, "exps.weight") && strstr(err.text, "another model"), "%s", err.text);
    source_close(&source);
    tiny = wide_checkpoint();
    tiny.hidden = 512;
    source = open_source(&tiny, "wider");
    cr_expect_not(importance_weights_make(&weights, &importance, source, &err));
    cr_expect(strstr(err.text, "another model"), "%s", err.text);
    source_close(&source);
    for (uint64_t i = 0; i < importance.n_entries; i++) {
        importance.entries[i].name[0] = 'x';
    }
    tiny = wide_checkpoint();
    source = open_source(&tiny, "strange");
    cr_expect_not(importance_weights_make(&weights, &importance, source, &err));
    cr_expect(strstr(err.text, "statistics of no matrix"), "%s", err.text);
    source_close(&source);
    importance_free(&importance);
}

/* ---- what they do ---- */

static const float *find_weights(void *context, enum tensor_role role, uint32_t layer,
                                 uint32_t expert, uint32_t part)
{
    return importance_weights_of(context, role, layer, expert, part);
}

/* The sum over all matrices of the relative squared errors, weighted by the statistics. */
static double weighted_error(const struct conversion_plan *plan, struct importance_weights *weights,
                             uint64_t *n_weighted)
{
    double sum = 0;
    for (uint64_t i = 0; i < plan->n_items; i++) {
        const struct conversion_item *item = &plan->items[i];
        struct error err = {""};
        uint8_t *made = malloc(item->bytes);
        cr_assert(conversion_item_make(plan, item, NULL, made, &err), "%s", err.text);
        for (uint32_t part = 0; part < conversion_item_parts(item); part++) {
            const float *w =
                importance_weights_of(weights, item->role, item->layer, item->expert, part);
            bool slab = !item->row, down = slab && part == SOURCE_DOWN;
            struct source_matrix matrix;
            conversion_item_source(plan, item, part, &matrix);
            float *exact = malloc(2 * matrix.cols * sizeof(float)), *got = exact + matrix.cols;
            double error = 0, square = 0;
            for (uint64_t row = 0; w && row < matrix.rows; row++) {
                source_matrix_read(&matrix, row, exact);
                quant_decode_matrix_row(dtype_info(down ? item->down_type : item->type),
                                        made + (down ? item->down_offset : 0),
                                        slab && !down ? 2 * matrix.rows : matrix.rows, matrix.cols,
                                        slab && !down ? 2 * row + part : row, got);
                for (uint64_t c = 0; c < matrix.cols; c++) {
                    double e = (double)exact[c] - (double)got[c];
                    error += (double)w[c] * e * e;
                    square += (double)w[c] * (double)exact[c] * (double)exact[c];
                }
            }
            *n_weighted += w != NULL;
            sum += w ? error / square : 0;
            free(exact);
        }
        free(made);
    }
    return sum;
}

Test(importance, columns_that_matter_are_stored_more_exactly)
{
    static const char *const types[] = {"q2_k", "q3_k", "q4_k", "iq4_nl"};
    struct tiny_checkpoint tiny = wide_checkpoint();
    struct source *source = open_source(&tiny, "weighted");
    struct importance importance;
    struct importance_weights weights;
    struct error err = {""};
    read_sample(&importance);
    cr_assert(importance_weights_make(&weights, &importance, source, &err), "%s", err.text);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        double errors[2];
        uint64_t n_weighted = 0;
        for (uint32_t with = 0; with < 2; with++) {
            struct conversion_plan plan;
            struct conversion_rules rules = {.mix = type_mix_find(types[i]),
                                             .importance = with ? find_weights : NULL,
                                             .context = &weights};
            cr_assert(conversion_plan_make(&plan, source, &rules, NULL, &err), "%s", err.text);
            errors[with] = weighted_error(&plan, &weights, &n_weighted);
            conversion_plan_free(&plan);
        }
        cr_expect_eq(n_weighted, 2 * (2 * (4 + 3 * 4) + 1));
        cr_expect_lt(errors[1], 0.97 * errors[0], "%s: %g with, %g without", types[i], errors[1],
                     errors[0]);
    }
    importance_weights_free(&weights);
    importance_free(&importance);
    source_close(&source);
}
