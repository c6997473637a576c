#include "tests/tools/layout_check.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/conversion.h"
#include "format/quant.h"
#include "tests/check.h"

static const char *output_path(void)
{
    return check_path(check_temp_dir(), "out.moxie");
}

void layout_check_convert(struct model_file *file, const char *folder, const char *mix)
{
    struct error err = {""};
    struct conversion_rules rules = {.mix = mix ? type_mix_find(mix) : NULL, .keep = !mix};
    struct conversion_options options = {.compress = COMPRESS_NONE};
    struct conversion_plan plan;
    struct source *source = source_open(folder, &err);
    cr_assert(source, "%s", err.text);
    cr_assert(conversion_plan_make(&plan, source, &rules, NULL, &err), "%s", err.text);
    cr_assert(conversion_run(&plan, output_path(), &options, NULL, NULL, &err), "%s", err.text);
    conversion_plan_free(&plan);
    source_close(&source);
    cr_assert(model_file_open(file, output_path(), &err), "%s", err.text);
    cr_assert(model_file_verify(file, NULL, NULL, &err), "%s", err.text);
}

void layout_check_refused(const char *folder, const char *sentence)
{
    struct error err = {""};
    struct source *source = source_open(folder, &err);
    cr_expect_null(source);
    cr_expect(strstr(err.text, sentence), "\"%s\" lacks \"%s\"", err.text, sentence);
    source_close(&source);
}

float layout_check_value(const struct expectation *e, const char *format, uint64_t index)
{
    char name[128];
    snprintf(name, sizeof(name), format, e->layer, e->expert);
    return raw_checkpoint_value(raw_checkpoint_find(e->raw, name), index);
}

/* Every element of rows first, first + step, ... of a matrix. Returns how many differ from 0. */
static void compare(const struct expectation *e, enum dtype type, const uint8_t *matrix,
                    uint64_t matrix_rows, uint64_t cols, uint64_t rows, uint64_t first,
                    uint64_t step)
{
    float *values = malloc(cols * sizeof(float));
    uint64_t wrong = 0, different = 0;
    for (uint64_t row = 0; row < rows; row++) {
        quant_decode_matrix_row(dtype_info(type), matrix, matrix_rows, cols, first + row * step,
                                values);
        for (uint64_t col = 0; col < cols; col++) {
            float expected = e->value(e, row, col);
            wrong += memcmp(&values[col], &expected, sizeof(expected)) != 0 &&
                     !(values[col] == 0 && expected == 0);
            different += expected != values[0];
        }
    }
    cr_expect_eq(wrong, 0, "%ju of %ju values", (uintmax_t)wrong, (uintmax_t)(rows * cols));
    cr_expect_gt(different, rows * cols / 4);
    free(values);
}

uint8_t *layout_check_load(const struct model_file *file, const struct tensor_record *record)
{
    struct error err = {""};
    uint8_t *bytes = malloc(record->raw_bytes);
    memset(bytes, 0xA5, record->raw_bytes);
    cr_assert(model_file_load(file, record, bytes, &err), "%s", err.text);
    return bytes;
}

void layout_check_matrix(const struct model_file *file, const struct raw_checkpoint *raw,
                         uint32_t role, uint32_t layer, uint64_t rows, uint64_t cols,
                         float (*value)(const struct expectation *, uint64_t, uint64_t))
{
    struct expectation e = {raw, layer, 0, value};
    struct tensor_record record;
    cr_assert(model_file_find_tensor(file, role, layer, &record), "role %u", role);
    cr_expect(record.rows == rows && record.cols == cols, "role %u", role);
    uint8_t *matrix = layout_check_load(file, &record);
    compare(&e, record.type, matrix, rows, cols, rows, 0, 1);
    free(matrix);
}

void layout_check_slab(const struct model_file *file, const struct raw_checkpoint *raw,
                       const struct tensor_record *record, uint32_t expert,
                       float (*const value[3])(const struct expectation *, uint64_t, uint64_t))
{
    uint8_t *slab = layout_check_load(file, record);
    uint64_t ffn = record->rows / 2, hidden = record->cols;
    for (uint32_t part = 0; part < 2; part++) {
        struct expectation e = {raw, record->layer, expert, value[part]};
        compare(&e, record->type, slab, 2 * ffn, hidden, ffn, part, 2);
    }
    struct expectation e = {raw, record->layer, expert, value[2]};
    compare(&e, record->down_type, slab + record->down_offset, hidden, ffn, hidden, 0, 1);
    free(slab);
}

void layout_check_experts(const struct model_file *file, const struct raw_checkpoint *raw,
                          uint32_t layer, uint32_t n,
                          float (*const value[3])(const struct expectation *, uint64_t, uint64_t))
{
    struct expert_layer directory;
    cr_assert(model_file_find_expert_layer(file, layer, &directory));
    cr_assert_eq(directory.n_experts, n);
    for (uint32_t expert = 0; expert < n; expert++) {
        struct tensor_record record;
        model_file_tensor_at(file, directory.first_record + expert, &record);
        layout_check_slab(file, raw, &record, expert, value);
    }
}

const char *layout_check_config(const char *format, const char *more)
{
    static char text[4096];
    snprintf(text, sizeof(text), format, more);
    return text;
}
