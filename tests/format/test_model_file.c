/* What the writer wrote, the reader finds; and everything that is no .moxie file is refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/model/hparams.h"
#include "format/model_file.h"
#include "format/quant.h"
#include "tests/check.h"
#include "tests/format/model_sample.h"

static void open_or_fail(struct model_file *file, const char *path)
{
    struct error err = {0};
    cr_assert(model_file_open(file, path, &err), "%s", err.text);
}

static void verify_or_fail(const struct model_file *file)
{
    struct error err = {0};
    cr_assert(model_file_verify(file, NULL, NULL, &err), "%s", err.text);
}

static void check_record(const struct model_file *file, const struct sample_tensor *expected,
                         const struct tensor_record *record)
{
    cr_assert_eq(record->name_bytes, strlen(expected->name));
    cr_assert_arr_eq(record->name, expected->name, record->name_bytes);
    if (expected->slab) {
        const struct expert_spec *spec = &expected->expert;
        cr_assert(record->role == ROLE_EXPERT && record->layer == spec->layer &&
                  record->expert == spec->expert);
        cr_assert(record->type == spec->type && record->down_type == spec->down_type);
        cr_assert(record->rows == 2 * spec->ffn && record->cols == spec->hidden);
        cr_assert_eq(record->down_offset, model_writer_down_offset(spec));
        cr_assert_eq(record->offset % 4096, 0);
    } else {
        const struct tensor_spec *spec = &expected->matrix;
        cr_assert(record->role == (uint32_t)spec->role && record->layer == spec->layer &&
                  record->expert == MODEL_FILE_NO_EXPERT);
        cr_assert(record->type == spec->type && record->rows == spec->rows &&
                  record->cols == spec->cols);
        cr_assert_eq(record->offset % 64, 0);
    }
    cr_assert_eq(record->raw_bytes, expected->bytes);
    struct error err = {0};
    uint8_t *loaded = malloc(record->raw_bytes);
    memset(loaded, 0xA5, record->raw_bytes);
    cr_assert(model_file_load(file, record, loaded, &err), "%s", err.text);
    cr_assert_arr_eq(loaded, expected->data, record->raw_bytes, "%s", expected->name);
    free(loaded);
    const void *raw = model_file_raw(file, record);
    cr_assert_eq(raw != NULL, record->codec == CODEC_RAW);
    cr_assert(!raw || memcmp(raw, expected->data, record->raw_bytes) == 0);
}

static void check_tensors(const struct model_file *file, const struct sample *sample)
{
    cr_assert_eq(model_file_n_tensors(file), sample->n_tensors);
    for (uint32_t i = 0; i < sample->n_tensors; i++) {
        const struct sample_tensor *expected = &sample->tensors[i];
        struct tensor_record record, found;
        model_file_tensor_at(file, i, &record);
        check_record(file, expected, &record);
        if (!expected->slab) {
            uint32_t role = (uint32_t)expected->matrix.role;
            cr_assert(model_file_find_tensor(file, role, expected->matrix.layer, &found));
            cr_assert_eq(found.offset, record.offset);
            cr_assert_not(model_file_find_tensor(file, role, 777, &found));
        }
    }
    struct tensor_record record;
    cr_assert_not(model_file_find_tensor(file, ROLE_OUTPUT, MODEL_FILE_NO_LAYER, &record));
    cr_assert_not(model_file_find_tensor(file, ROLE_EXPERT, 1, &record));
}

static void check_directory(const struct model_file *file, bool raw)
{
    static const uint32_t experts[] = {1, 4, 3};
    cr_assert_eq(model_file_n_expert_layers(file), 3);
    struct expert_layer layer;
    for (uint32_t l = 0; l < 3; l++) {
        struct expert_layer found;
        struct tensor_record first;
        model_file_expert_layer_at(file, l, &layer);
        cr_assert(model_file_find_expert_layer(file, l, &found));
        cr_assert(layer.layer == l && found.layer == l && layer.n_experts == experts[l]);
        model_file_tensor_at(file, layer.first_record, &first);
        cr_assert(first.layer == l && first.expert == 0 && first.offset == layer.base);
        cr_assert_eq(layer.slab_bytes, l == 2 ? 0 : first.raw_bytes);
        uint64_t stride = (first.raw_bytes + 4095) / 4096 * 4096;
        if (raw) {
            cr_assert_eq(layer.stride, l == 2 ? 0 : stride);
        }
    }
    cr_assert_not(model_file_find_expert_layer(file, 3, &layer));
}

static void check_numbers(const struct model_file *file)
{
    uint64_t u;
    double f;
    bool b;
    cr_assert(model_file_get_u64(file, "zebra.count", &u) && u == 7);
    cr_assert(model_file_get_u64(file, "llama.context_length", &u) && u == UINT64_MAX);
    cr_assert(model_file_get_u64(file, "a.positive", &u) && u == 3);
    cr_assert_not(model_file_get_u64(file, "a.negative", &u));
    cr_assert_not(model_file_get_u64(file, "llama.rope.theta", &u));
    cr_assert_not(model_file_get_u64(file, "", &u));
    cr_assert_not(model_file_get_u64(file, "zebra", &u));
    cr_assert_not(model_file_get_u64(file, "zebra.count.more", &u));
    cr_assert(model_file_get_f64(file, "llama.rope.theta", &f) && f == 1e6);
    cr_assert_not(model_file_get_f64(file, "zebra.count", &f));
    cr_assert(model_file_get_bool(file, "yes", &b) && b);
    cr_assert(model_file_get_bool(file, "no", &b) && !b);
    cr_assert_not(model_file_get_bool(file, "maybe", &b));
}

static void check_texts_and_lists(const struct model_file *file)
{
    const char *text;
    const uint64_t *numbers;
    const double *reals;
    uint64_t n;
    cr_assert(model_file_get_string(file, "general.name", &text, &n));
    cr_assert(n == 6 && memcmp(text, "Sm\xC3\xA4ll", 6) == 0);
    cr_assert(model_file_get_string(file, "general.name.long", &text, &n) && n == 0);
    cr_assert(model_file_get_u64_array(file, "list.u64", &numbers, &n));
    cr_assert(n == 4 && numbers[1] == 1 && numbers[2] == UINT64_MAX && numbers[3] == 42);
    cr_assert(model_file_get_u64_array(file, "list.empty", &numbers, &n) && n == 0);
    cr_assert(model_file_get_f64_array(file, "list.f64", &reals, &n));
    cr_assert(n == 3 && reals[0] == 0.5 && reals[1] == -1e300 && reals[2] == 3.25);
    cr_assert_not(model_file_get_f64_array(file, "list.u64", &reals, &n));
    cr_assert_not(model_file_get_u64_array(file, "list.f64", &numbers, &n));
}

static void check_entries(const struct model_file *file)
{
    static const enum metadata_type types[] = {
        METADATA_I64,       METADATA_I64,       METADATA_STRING,       METADATA_STRING,
        METADATA_U64_ARRAY, METADATA_F64_ARRAY, METADATA_STRING_ARRAY, METADATA_STRING_ARRAY,
        METADATA_U64_ARRAY, METADATA_U64,       METADATA_F64,          METADATA_BOOL,
        METADATA_BOOL,      METADATA_U64};
    static const char *const keys[] = {"a.negative",
                                       "a.positive",
                                       "general.name",
                                       "general.name.long",
                                       "list.empty",
                                       "list.f64",
                                       "list.text",
                                       "list.text.empty",
                                       "list.u64",
                                       "llama.context_length",
                                       "llama.rope.theta",
                                       "no",
                                       "yes",
                                       "zebra.count"};
    cr_assert_eq(model_file_n_metadata(file), 14);
    for (uint64_t i = 0; i < 14; i++) {
        struct metadata_entry entry;
        model_file_metadata_at(file, i, &entry);
        cr_assert(entry.key_bytes == strlen(keys[i]) &&
                      memcmp(entry.key, keys[i], entry.key_bytes) == 0,
                  "%.*s", (int)entry.key_bytes, entry.key);
        cr_assert_eq(entry.type, types[i], "%s", keys[i]);
    }
    struct metadata_entry entry;
    model_file_metadata_at(file, 0, &entry);
    cr_assert_eq(*(const int64_t *)entry.value, -3);
    model_file_metadata_at(file, 6, &entry);
    static const char *const texts[] = {"one", "", "three \xE2\x82\xAC"};
    cr_assert_eq(entry.count, 3);
    for (uint64_t i = 0; i < 3; i++) {
        const char *text;
        uint64_t bytes;
        model_file_string_at(file, &entry, i, &text, &bytes);
        cr_assert(bytes == strlen(texts[i]) && memcmp(text, texts[i], bytes) == 0);
    }
}

static void count_progress(void *context, uint64_t done, uint64_t all)
{
    uint64_t *last = context;
    cr_assert(done > *last && done <= all);
    *last = done;
}

static void round_trip(enum compress compress)
{
    const char *path = check_path(check_temp_dir(), "sample.moxie");
    struct sample *sample = sample_new(1);
    sample_write(sample, path, compress);
    struct model_file file;
    open_or_fail(&file, path);
    check_tensors(&file, sample);
    check_directory(&file, compress == COMPRESS_NONE);
    check_numbers(&file);
    check_texts_and_lists(&file);
    check_entries(&file);
    const void *section;
    const char *text;
    uint64_t bytes;
    cr_assert(model_file_tokenizer(&file, &section, &bytes));
    cr_assert_eq(bytes, sizeof(sample->tokenizer));
    cr_assert_arr_eq(section, sample->tokenizer, bytes);
    cr_assert_eq((uintptr_t)section % 4096, 0);
    cr_assert(model_file_chat_template(&file, &text, &bytes));
    cr_assert(bytes == strlen(sample->chat_template) &&
              memcmp(text, sample->chat_template, bytes) == 0);
    uint64_t seen = 0;
    struct error err = {0};
    cr_assert(model_file_verify(&file, count_progress, &seen, &err), "%s", err.text);
    cr_assert_eq(seen, file.map.bytes);
    model_file_close(&file);
    sample_free(sample);
}

Test(model_file, round_trip_raw)
{
    round_trip(COMPRESS_NONE);
}

Test(model_file, round_trip_zstd)
{
    round_trip(COMPRESS_ZSTD);
}

Test(model_file, round_trip_auto)
{
    round_trip(COMPRESS_AUTO);
}

/* Which codec the writer takes, seen from the file: all three occur, and auto leaves quants alone.
 */
Test(model_file, codecs_chosen)
{
    const char *path = check_path(check_temp_dir(), "codecs.moxie");
    struct sample *sample = sample_new(2);
    for (enum compress compress = COMPRESS_NONE; compress <= COMPRESS_AUTO; compress++) {
        sample_write(sample, path, compress);
        struct model_file file;
        open_or_fail(&file, path);
        uint32_t seen[3] = {0};
        for (uint64_t i = 0; i < model_file_n_tensors(&file); i++) {
            struct tensor_record record;
            model_file_tensor_at(&file, i, &record);
            seen[record.codec]++;
            bool is_float = dtype_info(record.type)->block_elements == 1;
            cr_assert(record.codec == CODEC_RAW || compress == COMPRESS_ZSTD || is_float);
            if (record.codec != CODEC_RAW) {
                uint64_t gain = compress == COMPRESS_AUTO ? record.raw_bytes / 16 : 1;
                cr_assert_leq(record.stored_bytes, record.raw_bytes - gain);
            }
        }
        cr_assert_eq(seen[1] + seen[2] == 0, compress == COMPRESS_NONE);
        model_file_close(&file);
    }
    sample_free(sample);
}

static struct tensor_record write_one(const char *path, enum compress compress,
                                      const struct tensor_spec *spec, const void *matrix)
{
    struct error err = {0};
    struct model_writer *w = model_writer_open(path, compress, &err);
    cr_assert(w && model_writer_tensor(w, spec, matrix, &err), "%s", err.text);
    cr_assert(model_writer_finish(w, &err), "%s", err.text);
    struct model_file file;
    open_or_fail(&file, path);
    verify_or_fail(&file);
    struct tensor_record record;
    model_file_tensor_at(&file, 0, &record);
    uint8_t *out = malloc(record.raw_bytes);
    memset(out, 0xA5, record.raw_bytes);
    cr_assert(model_file_load(&file, &record, out, &err), "%s", err.text);
    cr_assert_arr_eq(out, matrix, record.raw_bytes);
    free(out);
    model_file_close(&file);
    return record;
}

/* What the codecs are for: floats like weights shrink by byte-splitting; repetition by zstd alone;
 * noise by neither. */
Test(model_file, codecs_suit_the_data)
{
    const char *path = check_path(check_temp_dir(), "suits.moxie");
    enum { N = 1 << 18 };
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    float *values = malloc(N * sizeof(float));
    uint8_t *matrix = malloc(N * sizeof(float));
    struct check_random random = {5};
    for (int i = 0; i < N; i++) {
        values[i] = check_random_float(&random, -0.1f, 0.1f) * check_random_float(&random, 0, 1);
    }
    for (int t = 0; t < 3; t++) {
        struct tensor_spec spec = {"w", ROLE_OUTPUT, MODEL_FILE_NO_LAYER, types[t], 1, N};
        quant_encode_matrix_row(dtype_info(types[t]), values, NULL, matrix, 1, N, 0);
        struct tensor_record record = write_one(path, COMPRESS_AUTO, &spec, matrix);
        cr_assert_eq(record.codec, CODEC_SPLIT_ZSTD);
        cr_assert_lt((double)record.stored_bytes / (double)record.raw_bytes, t == 2 ? 0.75 : 0.91);
    }
    for (int i = 0; i < N; i++) {
        matrix[i] = (uint8_t)(i % 1000 * 37);
    }
    struct tensor_spec spec = {"w", ROLE_OUTPUT, MODEL_FILE_NO_LAYER, DTYPE_Q8_0, 32, 7680};
    cr_assert_eq(write_one(path, COMPRESS_ZSTD, &spec, matrix).codec, CODEC_ZSTD);
    cr_assert_eq(write_one(path, COMPRESS_AUTO, &spec, matrix).codec, CODEC_RAW);
    for (int i = 0; i < N; i++) {
        matrix[i] = (uint8_t)check_random_u64(&random);
    }
    cr_assert_eq(write_one(path, COMPRESS_ZSTD, &spec, matrix).codec, CODEC_RAW);
    free(values);
    free(matrix);
}

/* Zeros compress by nearly the greatest factor there is: the reader's bound must let them pass. */
Test(model_file, extreme_compression)
{
    const char *path = check_path(check_temp_dir(), "zeros.moxie");
    uint64_t rows = 3000, cols = 2048;
    float *zeros = calloc(rows * cols, sizeof(float));
    struct tensor_spec spec = {"zeros", ROLE_OUTPUT, MODEL_FILE_NO_LAYER, DTYPE_F32, rows, cols};
    struct tensor_record record = write_one(path, COMPRESS_ZSTD, &spec, zeros);
    cr_assert(record.codec != CODEC_RAW && record.stored_bytes < record.raw_bytes / 5000);
    free(zeros);
}

/* The smallest file: no tensors, no metadata, no tokenizer. */
Test(model_file, nothing_in_it)
{
    const char *path = check_path(check_temp_dir(), "empty.moxie");
    struct error err = {0};
    struct model_writer *w = model_writer_open(path, COMPRESS_AUTO, &err);
    cr_assert(w && model_writer_finish(w, &err), "%s", err.text);
    struct model_file file;
    open_or_fail(&file, path);
    verify_or_fail(&file);
    const void *section;
    const char *text;
    uint64_t value;
    struct tensor_record record;
    cr_assert_eq(model_file_n_tensors(&file), 0);
    cr_assert_eq(model_file_n_metadata(&file), 0);
    cr_assert_eq(model_file_n_expert_layers(&file), 0);
    cr_assert_not(model_file_tokenizer(&file, &section, &value));
    cr_assert_not(model_file_chat_template(&file, &text, &value));
    cr_assert_not(model_file_get_u64(&file, "a", &value));
    cr_assert_not(model_file_find_tensor(&file, 1, 1, &record));
    model_file_close(&file);
}

Test(model_file, same_input_same_bytes)
{
    struct image first, second;
    for (enum compress compress = COMPRESS_NONE; compress <= COMPRESS_AUTO; compress++) {
        for (int i = 0; i < 2; i++) {
            const char *path = check_path(check_temp_dir(), i ? "two.moxie" : "one.moxie");
            struct sample *sample = sample_new(4);
            sample_write(sample, path, compress);
            sample_free(sample);
            *(i ? &second : &first) = image_read(path);
        }
        cr_assert_eq(first.bytes, second.bytes);
        cr_assert_arr_eq(first.data, second.data, first.bytes);
        image_free(&first);
        image_free(&second);
    }
}

/* ---- not ours ---- */

static void refuse(const char *path, const char *because)
{
    struct model_file file;
    struct error err = {0};
    cr_assert_not(model_file_open(&file, path, &err), "%s was opened", path);
    cr_assert(strstr(err.text, because), "\"%s\" does not say \"%s\"", err.text, because);
    cr_assert(strstr(err.text, path), "\"%s\" does not name the file", err.text);
    cr_assert(file.map.data == NULL && file.tables == NULL);
    model_file_close(&file); /* harmless */
}

Test(model_file, not_ours)
{
    const char *path = check_path(check_temp_dir(), "other");
    refuse(path, "does not exist");
    refuse(check_temp_dir(), "is a folder");
    refuse("/dev/null", "not a file");
    check_write_file(path, "", 0);
    refuse(path, "is empty");
    check_write_file(path, "GGUF\3\0\0\0 and so on, long enough to be something else entirely, yes",
                     66);
    refuse(path, "is not a .moxie file");
    check_write_file(path, "x", 1);
    refuse(path, "is not a .moxie file");
    check_write_file(path, "\x89MOXIE\r\n", 8);
    refuse(path, "cut short");
    const char *pipe = check_path(check_temp_dir(), "pipe");
    cr_assert_eq(mkfifo(pipe, 0600), 0);
    refuse(pipe, "not a file");
}

Test(model_file, unreadable)
{
    const char *path = check_path(check_temp_dir(), "unreadable");
    check_write_file(path, "\x89MOXIE\r\n", 8);
    cr_assert_eq(chmod(path, 0), 0);
    if (geteuid() == 0) {
        cr_assert_eq(chmod(check_temp_dir(), 0755), 0);
        cr_assert_eq(seteuid(65534), 0); /* permissions do not stop root */
    }
    refuse(path, "Permission denied");
    if (getuid() == 0) {
        cr_assert_eq(seteuid(0), 0);
    }
}

Test(model_file, newer_version)
{
    const char *path = check_path(check_temp_dir(), "newer.moxie");
    struct sample *sample = sample_new(3);
    sample_write(sample, path, COMPRESS_NONE);
    struct image image = image_read(path);
    image_header(&image)->version = 2;
    image_header(&image)->header_xxh3 = 0; /* perhaps computed in another way by then */
    image_write(&image, path);
    refuse(path, "has format version 2, but this program reads version 1");
    image_free(&image);
    sample_free(sample);
}

/* Every number of roles.h and dtype.h and every model key is told in the specification. */
Test(model_file, specification_is_complete)
{
    size_t bytes;
    char *text = check_read_file(check_source_path("format/README.md"), &bytes), row[128];
    cr_assert(text);
#define X(NAME, number, name) \
    snprintf(row, sizeof(row), "| %d | %s |", number, name); \
    cr_expect(strstr(text, row), "README.md lacks \"%s\"", row);
    TENSOR_ROLES(X)
    LAYOUT_SECTIONS(X)
#undef X
#define X(kind, field, ...) \
    cr_expect(strstr(text, "model." #field), "README.md lacks model." #field);
    HPARAMS(X)
#undef X
    for (uint32_t t = 0; t < dtype_count(); t++) {
        const struct dtype_info *type = dtype_at(t);
        int used = snprintf(row, sizeof(row), "| %u | %s | %u | %u", (uint32_t)type->dtype,
                            type->name, type->block_elements, type->plane_bytes[0]);
        for (uint32_t p = 1; p < type->n_planes; p++) {
            used += snprintf(row + used, sizeof(row) - (size_t)used, ", %u", type->plane_bytes[p]);
        }
        snprintf(row + used, sizeof(row) - (size_t)used, " |");
        cr_expect(strstr(text, row), "README.md lacks \"%s\"", row);
    }
    free(text);
}
