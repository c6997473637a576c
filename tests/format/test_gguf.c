/* The GGUF reader on good files: every type of value, split files, versions, unknown types. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "format/dtype.h"
#include "format/gguf_types.h"
#include "tests/check.h"
#include "tests/format/gguf_bytes.h"

static void open_or_fail(struct gguf_bytes *file, struct gguf *gguf)
{
    struct error err = {""};
    cr_assert(gguf_bytes_open(file, gguf, &err), "%s", err.text);
}

Test(gguf, the_worked_example)
{
    struct gguf_bytes file = {0};
    struct gguf gguf;
    gguf_bytes_example(&file);
    open_or_fail(&file, &gguf);
    cr_expect_eq(gguf.version, 3);
    cr_assert_eq(gguf.n_pairs, 4);
    cr_assert_eq(gguf.n_tensors, 2);
    const char *text;
    uint64_t bytes, whole;
    int64_t number;
    double real;
    cr_assert(gguf_value_string(gguf_find_pair(&gguf, "general.architecture"), &text, &bytes));
    cr_expect(bytes == 5 && memcmp(text, "llama", 5) == 0);
    cr_assert(gguf_value_u64(gguf_find_pair(&gguf, "general.alignment"), 0, &whole));
    cr_expect_eq(whole, 32);
    cr_assert(gguf_value_f64(gguf_find_pair(&gguf, "llama.rope.freq_base"), 0, &real));
    cr_expect_eq(real, 10000.0);
    const struct gguf_pair *array = gguf_find_pair(&gguf, "x.arr");
    cr_assert(array && array->is_array && array->count == 3);
    cr_assert(gguf_value_i64(array, 1, &number));
    cr_expect_eq(number, -2);
    cr_expect(!gguf_value_u64(array, 1, &whole), "negative");
    cr_expect(!gguf_value_i64(array, 3, &number), "outside");
    const struct gguf_tensor *a = gguf_find_tensor(&gguf, "a.weight"),
                             *b = gguf_find_tensor(&gguf, "b");
    cr_assert(a && b);
    cr_expect_null(gguf_find_tensor(&gguf, "a"));
    cr_expect(a->n_dims == 2 && a->dims[0] == 3 && a->dims[1] == 2 && a->dims[2] == 1);
    cr_expect_eq(a->bytes, 24);
    cr_expect_eq(b->bytes, 4);
    float values[6];
    memcpy(values, a->data, sizeof(values));
    cr_expect(values[0] == 1 && values[5] == 6);
    cr_expect_eq(memcmp(b->data, "\x00\x38\x00\xbc", 4), 0);
    gguf_release(&gguf, a->data, a->bytes);
    memcpy(values, a->data, sizeof(values));
    cr_expect(values[0] == 1 && values[5] == 6);
    gguf_close(&gguf);
}

static void put_number(struct gguf_bytes *file, const char *key, uint32_t type, uint64_t bits,
                       size_t bytes)
{
    gguf_bytes_text(file, key);
    gguf_bytes_u32(file, type);
    gguf_bytes_put(file, &bits, bytes);
}

Test(gguf, every_integer_type_is_an_integer)
{
    static const struct {
        uint32_t type;
        size_t bytes;
    } types[] = {{GGUF_U8, 1},  {GGUF_I8, 1},  {GGUF_U16, 2}, {GGUF_I16, 2},
                 {GGUF_U32, 4}, {GGUF_I32, 4}, {GGUF_U64, 8}, {GGUF_I64, 8}};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct gguf_bytes file = {0};
        struct gguf gguf;
        bool is_signed = types[i].type % 2 == 1;
        gguf_bytes_header(&file, 0, 2);
        put_number(&file, "k", types[i].type, 77, types[i].bytes);
        put_number(&file, "top", types[i].type, UINT64_MAX, types[i].bytes);
        open_or_fail(&file, &gguf);
        uint64_t whole = 0;
        int64_t number = 0;
        double real = 0;
        bool flag;
        const struct gguf_pair *k = gguf_find_pair(&gguf, "k"), *top = gguf_find_pair(&gguf, "top");
        cr_expect(gguf_value_u64(k, 0, &whole) && whole == 77);
        cr_expect(gguf_value_i64(k, 0, &number) && number == 77);
        cr_expect(gguf_value_f64(k, 0, &real) && real == 77);
        cr_expect(!gguf_value_bool(k, 0, &flag));
        if (types[i].type == GGUF_I64) {
            is_signed = true;
        }
        if (types[i].type == GGUF_U64) {
            cr_expect(gguf_value_u64(top, 0, &whole) && whole == UINT64_MAX);
            cr_expect(!gguf_value_i64(top, 0, &number));
            cr_expect(gguf_value_f64(top, 0, &real) && real == 18446744073709551616.0);
        } else if (is_signed) {
            cr_expect(!gguf_value_u64(top, 0, &whole));
            cr_expect(gguf_value_i64(top, 0, &number) && number == -1);
        } else {
            cr_expect(gguf_value_u64(top, 0, &whole) &&
                      whole == UINT64_MAX >> (64 - 8 * types[i].bytes));
        }
        gguf_close(&gguf);
    }
}

Test(gguf, floats_bools_strings_and_arrays)
{
    struct gguf_bytes file = {0};
    struct gguf gguf;
    double pi = 3.141592653589793;
    uint64_t bits;
    memcpy(&bits, &pi, sizeof(bits));
    gguf_bytes_header(&file, 0, 5);
    put_number(&file, "f64", GGUF_F64, bits, 8);
    put_number(&file, "no", GGUF_BOOL, 0, 1);
    put_number(&file, "seven", GGUF_BOOL, 7, 1);
    gguf_bytes_text(&file, "words");
    gguf_bytes_u32(&file, GGUF_ARRAY);
    gguf_bytes_u32(&file, GGUF_STRING);
    gguf_bytes_u64(&file, 3);
    gguf_bytes_text(&file, "one");
    gguf_bytes_text(&file, "");
    gguf_bytes_text(&file, "\xFF\x01"); /* tokens are any bytes */
    gguf_bytes_text(&file, "none");
    gguf_bytes_u32(&file, GGUF_ARRAY);
    gguf_bytes_u32(&file, GGUF_F32);
    gguf_bytes_u64(&file, 0);
    open_or_fail(&file, &gguf);
    double real;
    bool flag;
    cr_expect(gguf_value_f64(gguf_find_pair(&gguf, "f64"), 0, &real) && real == pi);
    cr_expect(gguf_value_bool(gguf_find_pair(&gguf, "no"), 0, &flag) && !flag);
    cr_expect(gguf_value_bool(gguf_find_pair(&gguf, "seven"), 0, &flag) && flag);
    const struct gguf_pair *words = gguf_find_pair(&gguf, "words");
    const char *text;
    uint64_t bytes, n = 0, sum = 0;
    cr_expect(!gguf_value_string(words, &text, &bytes), "an array is not a string");
    for (struct gguf_strings walk = gguf_strings(words); gguf_next_string(&walk, &text, &bytes);) {
        sum += bytes * (n + 1);
        n++;
    }
    cr_expect_eq(n, 3);
    cr_expect_eq(sum, 3 + 0 + 6);
    cr_expect_eq(gguf_find_pair(&gguf, "none")->count, 0);
    cr_expect(!gguf_value_f64(gguf_find_pair(&gguf, "none"), 0, &real));
    cr_expect(!gguf_value_f64(gguf_find_pair(&gguf, "absent"), 0, &real));
    gguf_close(&gguf);
}

Test(gguf, version_2_and_vocabulary_only)
{
    struct gguf_bytes file = {0};
    struct gguf gguf;
    gguf_bytes_header(&file, 0, 1);
    file.data[4] = 2;
    gguf_bytes_pair_text(&file, "tokenizer.ggml.model", "gpt2");
    open_or_fail(&file, &gguf);
    cr_expect_eq(gguf.version, 2);
    cr_expect_eq(gguf.n_tensors, 0);
    cr_expect_null(gguf_find_tensor(&gguf, "token_embd.weight"));
    gguf_close(&gguf);
}

Test(gguf, table_of_types_agrees_with_ours)
{
    for (uint32_t i = 0; i < dtype_count(); i++) {
        const struct dtype_info *info = dtype_at(i);
        uint32_t elements = 0, bytes = 0;
        char text[24];
        cr_assert(gguf_type_size(info->dtype, &elements, &bytes), "%s", info->name);
        cr_expect_eq(elements, info->block_elements, "%s", info->name);
        cr_expect_eq(bytes, info->ggml_block_bytes, "%s", info->name);
        cr_expect_str_eq(gguf_type_name(info->dtype, text), info->name);
    }
    char text[24];
    cr_expect_str_eq(gguf_type_name(999, text), "type 999");
}

/* Types of unknown size: the file can be listed, and what follows is still checked. */
Test(gguf, unknown_types_reach_to_the_next_tensor)
{
    static const uint32_t types[] = {4, 137, 999, UINT32_MAX};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct gguf_bytes file = {0};
        struct gguf gguf;
        gguf_bytes_header(&file, 3, 0);
        gguf_bytes_tensor(&file, "a", 7, 3, types[i], 0);
        gguf_bytes_tensor(&file, "b", 8, 1, 0, 96);
        gguf_bytes_tensor(&file, "c", 7, 3, types[i], 128);
        gguf_bytes_data(&file, 150);
        open_or_fail(&file, &gguf);
        cr_expect_eq(gguf_find_tensor(&gguf, "a")->bytes, 96);
        cr_expect_eq(gguf_find_tensor(&gguf, "b")->data[0], 97);
        cr_expect_eq(gguf_find_tensor(&gguf, "c")->bytes, 22);
        gguf_close(&gguf);
    }
    struct gguf_bytes file = {0};
    gguf_bytes_header(&file, 2, 0);
    gguf_bytes_tensor(&file, "a", 7, 3, 999, 0);
    gguf_bytes_tensor(&file, "b", 8, 1, 0, 96);
    gguf_bytes_data(&file, 127);
    gguf_bytes_refused(&file, "\"b\" ends behind the end");
}

Test(gguf, a_million_tensors)
{
    const uint32_t n = 1000000;
    struct gguf_bytes file = {0};
    struct gguf gguf;
    gguf_bytes_header(&file, n, 0);
    for (uint32_t i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof(name), "t%u", (uint32_t)((uint64_t)i * 7919 % n));
        gguf_bytes_tensor(&file, name, 1, 1, 24, (uint64_t)i * 32);
    }
    gguf_bytes_data(&file, (size_t)32 * n);
    clock_t begin = clock();
    open_or_fail(&file, &gguf);
    cr_assert_eq(gguf.n_tensors, n);
    char name[32];
    for (uint32_t i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "t%u", i);
        const struct gguf_tensor *tensor = gguf_find_tensor(&gguf, name);
        cr_assert(tensor && tensor->name_bytes == strlen(name));
    }
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    cr_expect_lt(seconds, 60, "%g s: something is quadratic", seconds);
    gguf_close(&gguf);
}

/* ---- split files ---- */

struct part {
    uint32_t number, count, tensors;
    const char *name; /* of its one tensor; NULL: none */
};

static const char *write_part(const char *file_name, struct part part)
{
    struct gguf_bytes file = {0};
    gguf_bytes_header(&file, part.name ? 1 : 0, part.number == 0 ? 4 : 3);
    if (part.number == 0) {
        gguf_bytes_pair_text(&file, "general.architecture", "llama");
    }
    put_number(&file, "split.no", GGUF_U16, part.number, 2);
    put_number(&file, "split.count", GGUF_U16, part.count, 2);
    put_number(&file, "split.tensors.count", GGUF_I32, part.tensors, 4);
    if (part.name) {
        gguf_bytes_tensor(&file, part.name, 8, 2, 0, 0);
    }
    gguf_bytes_data(&file, part.name ? 64 : 0);
    return gguf_bytes_write(&file, file_name);
}

Test(gguf, split_in_three)
{
    struct gguf gguf;
    struct error err = {""};
    const char *path = write_part("m-00001-of-00003.gguf", (struct part){0, 3, 2, NULL});
    write_part("m-00002-of-00003.gguf", (struct part){1, 3, 2, "x"});
    write_part("m-00003-of-00003.gguf", (struct part){2, 3, 2, "y"});
    cr_assert(gguf_open(&gguf, path, &err), "%s", err.text);
    cr_expect_eq(gguf.n_files, 3);
    cr_assert_eq(gguf.n_tensors, 2);
    cr_assert(gguf_find_pair(&gguf, "general.architecture"));
    cr_expect_eq(gguf_find_tensor(&gguf, "x")->file, 1);
    cr_expect_eq(gguf_find_tensor(&gguf, "y")->file, 2);
    cr_expect_eq(gguf_find_tensor(&gguf, "y")->data[63], 64);
    gguf_close(&gguf);
}

static void expect_split_refused(const char *path, const char *part)
{
    struct gguf gguf;
    struct error err = {""};
    cr_assert(!gguf_open(&gguf, path, &err), "\"%s\" was expected", part);
    cr_expect(strstr(err.text, part), "\"%s\" does not say \"%s\"", err.text, part);
}

Test(gguf, bad_splits)
{
    const struct part first = {0, 2, 2, "x"};
    const char *path = write_part("n-00001-of-00002.gguf", first);
    expect_split_refused(path, "n-00002-of-00002.gguf does not exist");
    const char *second = write_part("n-00002-of-00002.gguf", (struct part){1, 2, 2, "y"});
    expect_split_refused(second, "is part 2 of a model in 2 files");
    write_part("n-00002-of-00002.gguf", (struct part){1, 2, 2, "x"});
    expect_split_refused(path, "\"x\" occurs twice");
    write_part("n-00002-of-00002.gguf", (struct part){0, 2, 2, "y"});
    expect_split_refused(path, "is not part 2 of 2");
    write_part("n-00002-of-00002.gguf", (struct part){1, 3, 2, "y"});
    expect_split_refused(path, "is not part 2 of 2");
    write_part("n-00002-of-00002.gguf", (struct part){1, 2, 2, NULL});
    expect_split_refused(path, "1 tensors where 2 should be");
    expect_split_refused(write_part("other.gguf", first), "rename it");
    expect_split_refused(write_part("o-00001-of-65535.gguf", (struct part){0, 65535, 2, "x"}),
                         "o-00002-of-65535.gguf does not exist");
    struct gguf_bytes file = {0};
    gguf_bytes_header(&file, 0, 1);
    gguf_bytes_pair_u32(&file, "split.count", 3000000000u);
    gguf_bytes_refused(&file, "split.no is missing");
}
