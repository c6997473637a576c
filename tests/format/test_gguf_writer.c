/* The GGUF writer: what it writes, the reader finds; a file that is not finished is not there. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/gguf_writer.h"
#include "tests/check.h"

static void write_sample(struct gguf_writer *writer, const char *path)
{
    struct error err = {""};
    cr_assert(gguf_writer_open(writer, path, &err), "%s", err.text);
    gguf_writer_string(writer, "general.architecture", "llama", 5);
    gguf_writer_u32(writer, "a.u32", 4000000000u);
    gguf_writer_u64(writer, "a.u64", UINT64_MAX);
    gguf_writer_f32(writer, "a.f32", -1.5f);
    gguf_writer_bool(writer, "a.bool", true);
    gguf_writer_array(writer, "b.words", GGUF_STRING, 2);
    gguf_writer_element_string(writer, "", 0);
    gguf_writer_element_string(writer, "\xFFx", 2);
    gguf_writer_array(writer, "b.i32", GGUF_I32, 2);
    gguf_writer_element_i32(writer, -7);
    gguf_writer_element_i32(writer, 7);
    gguf_writer_array(writer, "b.u32", GGUF_U32, 1);
    gguf_writer_element_u32(writer, 9);
    gguf_writer_array(writer, "b.f32", GGUF_F32, 1);
    gguf_writer_element_f32(writer, 0.25f);
    gguf_writer_array(writer, "b.bool", GGUF_BOOL, 1);
    gguf_writer_element_bool(writer, true);
    gguf_writer_array(writer, "b.none", GGUF_U32, 0);
    cr_expect_eq(gguf_writer_tensor(writer, "x", 1, (uint64_t[]){5}, 0), 20);
    cr_expect_eq(gguf_writer_tensor(writer, "y", 3, (uint64_t[]){32, 3, 2}, 8), 6 * 34);
    cr_assert(gguf_writer_begin_data(writer, &err), "%s", err.text);
}

Test(gguf_writer, what_is_written_is_read)
{
    const char *path = check_path(check_temp_dir(), "out.gguf");
    struct gguf_writer writer;
    struct error err = {""};
    struct check_random random = {5};
    uint8_t x[20], y[6 * 34];
    for (size_t i = 0; i < sizeof(x) + sizeof(y); i++) {
        *(i < sizeof(x) ? &x[i] : &y[i - sizeof(x)]) = (uint8_t)check_random_u64(&random);
    }
    write_sample(&writer, path);
    cr_assert(gguf_writer_data(&writer, x, 20, &err));
    cr_assert(gguf_writer_data(&writer, y, 100, &err));
    cr_assert(gguf_writer_data(&writer, y + 100, sizeof(y) - 100, &err));
    cr_expect_neq(access(path, F_OK), 0, "not there before it is whole");
    cr_assert(gguf_writer_commit(&writer, &err), "%s", err.text);
    struct gguf gguf;
    cr_assert(gguf_open(&gguf, path, &err), "%s", err.text);
    cr_expect_eq(gguf.files[0].bytes % GGUF_DEFAULT_ALIGNMENT, 0);
    cr_expect_eq(gguf.n_pairs, 11);
    uint64_t whole;
    int64_t number;
    double real;
    bool flag;
    cr_expect(gguf_value_u64(gguf_find_pair(&gguf, "a.u32"), 0, &whole) && whole == 4000000000u);
    cr_expect(gguf_value_u64(gguf_find_pair(&gguf, "a.u64"), 0, &whole) && whole == UINT64_MAX);
    cr_expect(gguf_value_f64(gguf_find_pair(&gguf, "a.f32"), 0, &real) && real == -1.5);
    cr_expect(gguf_value_bool(gguf_find_pair(&gguf, "a.bool"), 0, &flag) && flag);
    cr_expect(gguf_value_i64(gguf_find_pair(&gguf, "b.i32"), 0, &number) && number == -7);
    cr_expect(gguf_value_u64(gguf_find_pair(&gguf, "b.u32"), 0, &whole) && whole == 9);
    cr_expect(gguf_value_f64(gguf_find_pair(&gguf, "b.f32"), 0, &real) && real == 0.25);
    cr_expect(gguf_value_bool(gguf_find_pair(&gguf, "b.bool"), 0, &flag) && flag);
    const struct gguf_pair *words = gguf_find_pair(&gguf, "b.words");
    cr_assert_eq(words->count, 2);
    cr_expect_eq(words->value_bytes, 8 + 8 + 2);
    cr_assert_eq(gguf.n_tensors, 2);
    cr_expect_eq(memcmp(gguf_find_tensor(&gguf, "x")->data, x, sizeof(x)), 0);
    const struct gguf_tensor *tensor = gguf_find_tensor(&gguf, "y");
    cr_expect_eq(memcmp(tensor->data, y, sizeof(y)), 0);
    cr_expect(tensor->n_dims == 3 && tensor->dims[1] == 3 && tensor->dims[2] == 2);
    gguf_close(&gguf);
}

Test(gguf_writer, an_unfinished_file_is_not_there)
{
    const char *path = check_path(check_temp_dir(), "never.gguf");
    struct gguf_writer writer;
    write_sample(&writer, path);
    gguf_writer_abort(&writer);
    cr_expect_neq(access(path, F_OK), 0);
}
