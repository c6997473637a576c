#include "tests/golden/model_copy.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/quant.h"
#include "tests/check.h"

static bool keep_number(const struct model_change *change, const char *key, double *value)
{
    return !change->number || change->number(change->context, key, value);
}

/* Scalars lie at any address. */
static bool copy_scalar(struct model_writer *w, const struct metadata_entry *entry, const char *key,
                        const struct model_change *change, struct error *err)
{
    uint64_t whole = 0;
    double value = 0;
    switch (entry->type) {
    case METADATA_U64:
        memcpy(&whole, entry->value, sizeof(whole));
        value = (double)whole;
        return !keep_number(change, key, &value) || model_writer_u64(w, key, (uint64_t)value, err);
    case METADATA_F64:
        memcpy(&value, entry->value, sizeof(value));
        return !keep_number(change, key, &value) || model_writer_f64(w, key, value, err);
    case METADATA_BOOL:
        value = *(const uint8_t *)entry->value != 0;
        return !keep_number(change, key, &value) || model_writer_bool(w, key, value != 0, err);
    default:
        return error_set(err, "a type that no converter writes");
    }
}

static void copy_entry(struct model_writer *w, const struct metadata_entry *entry,
                       const struct model_change *change)
{
    char key[300];
    struct error err = {""};
    bool ok;
    snprintf(key, sizeof(key), "%.*s", (int)entry->key_bytes, entry->key);
    if (entry->type == METADATA_STRING) {
        ok = model_writer_string(w, key, entry->value, entry->count, &err);
    } else if (entry->type == METADATA_U64_ARRAY) {
        ok = model_writer_u64_array(w, key, entry->value, entry->count, &err);
    } else {
        ok = copy_scalar(w, entry, key, change, &err);
    }
    cr_assert(ok, "%s: %s", key, err.text);
}

/* A matrix of f32 as one of another type. */
static void change_type(const uint8_t *from, enum dtype type, uint8_t *to, uint64_t rows,
                        uint64_t cols)
{
    uint64_t stride = dtype_row_stride(dtype_info(DTYPE_F32), 0, cols);
    for (uint64_t row = 0; row < rows; row++) {
        quant_encode_matrix_row(dtype_info(type), (const float *)(from + row * stride), NULL, to,
                                rows, cols, row);
    }
}

static void copy_slab(struct model_writer *w, const struct tensor_record *record, const char *name,
                      const uint8_t *slab, const struct model_change *change)
{
    struct error err = {""};
    struct expert_spec spec = {
        .name = name,
        .layer = record->layer,
        .expert = record->expert,
        .type = record->type,
        .down_type = record->down_type,
        .hidden = record->cols,
        .ffn = record->rows / 2,
        .shared = record->role == ROLE_SHARED_EXPERT,
    };
    if (change->slab && !change->slab(change->context, &spec)) {
        return;
    }
    uint64_t bytes = model_writer_slab_bytes(&spec);
    uint8_t *copy = calloc(1, bytes > record->raw_bytes ? bytes : record->raw_bytes);
    if (spec.hidden == record->cols && spec.ffn == record->rows / 2) {
        change_type(slab, spec.type, copy, record->rows, record->cols);
        change_type(slab + record->down_offset, spec.down_type,
                    copy + model_writer_down_offset(&spec), record->cols, record->rows / 2);
    }
    cr_assert(model_writer_expert(w, &spec, copy, &err), "%s", err.text);
    free(copy);
}

static void copy_matrix(struct model_writer *w, const struct tensor_record *record,
                        const char *name, const void *matrix, const struct model_change *change)
{
    struct error err = {""};
    struct tensor_spec spec = {
        .name = name,
        .role = record->role,
        .layer = record->layer,
        .type = record->type,
        .rows = record->rows,
        .cols = record->cols,
    };
    if (change->tensor && !change->tensor(change->context, &spec)) {
        return;
    }
    uint64_t bytes = dtype_matrix_bytes(dtype_info(spec.type), spec.rows, spec.cols);
    uint8_t *copy = calloc(1, bytes);
    memcpy(copy, matrix, bytes < record->raw_bytes ? bytes : record->raw_bytes);
    cr_assert(model_writer_tensor(w, &spec, copy, &err), "%s", err.text);
    free(copy);
}

static void copy_tensor(struct model_writer *w, const struct model_file *file, uint64_t index,
                        const struct model_change *change)
{
    struct tensor_record record;
    struct error err = {""};
    char name[520];
    model_file_tensor_at(file, index, &record);
    cr_assert_eq(record.type, DTYPE_F32);
    snprintf(name, sizeof(name), "%.*s", (int)record.name_bytes, record.name);
    void *bytes = malloc(record.raw_bytes);
    cr_assert(model_file_load(file, &record, bytes, &err), "%s", err.text);
    if (role_is_slab(record.role)) {
        copy_slab(w, &record, name, bytes, change);
    } else {
        copy_matrix(w, &record, name, bytes, change);
    }
    free(bytes);
}

const char *model_copy(const char *path, const char *name, const struct model_change *change)
{
    struct model_file file;
    struct error err = {""};
    const char *copy = check_path(check_temp_dir(), name);
    cr_assert(model_file_open(&file, path, &err), "%s", err.text);
    struct model_writer *w = model_writer_open(copy, COMPRESS_NONE, &err);
    cr_assert(w, "%s", err.text);
    for (uint64_t i = 0; i < model_file_n_metadata(&file); i++) {
        struct metadata_entry entry;
        model_file_metadata_at(&file, i, &entry);
        copy_entry(w, &entry, change);
    }
    for (uint64_t i = 0; i < model_file_n_tensors(&file); i++) {
        copy_tensor(w, &file, i, change);
    }
    if (change->more) {
        change->more(change->context, w);
    }
    cr_assert(model_writer_finish(w, &err), "%s", err.text);
    model_file_close(&file);
    return copy;
}
