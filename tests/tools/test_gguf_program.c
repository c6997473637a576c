/* moxie export, and inspect of GGUF files, as programs: what they print, exit codes, sentences. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "format/gguf_writer.h"
#include "tests/check.h"
#include "tests/tools/run_program.h"

static const char *exported(void)
{
    const char *path = check_path(check_temp_dir(), "demo.gguf");
    const struct program_run *run =
        run_moxie(NULL, "export '%s' '%s'", check_source_path("models/moxie-tiny.moxie"), path);
    cr_assert_eq(run->status, 0, "%s", run->err);
    cr_expect(strstr(run->out, "qwen3moe, 50 tensors"), "%s", run->out);
    return path;
}

Test(gguf_program, inspect_tells_what_is_there)
{
    const char *path = exported();
    const struct program_run *run = run_moxie(NULL, "inspect '%s'", path);
    cr_assert_eq(run->status, 0, "%s", run->err);
    static const char *const lines[] = {
        "GGUF version 3",
        "architecture   qwen3moe",
        "runs here      yes",
        "  qwen3moe.expert_count                      u32       8\n",
        "  blk.3.ffn_down_exps.weight           q8_0       8 x 256 x 256 ",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        cr_expect(strstr(run->out, lines[i]), "no line \"%s\" in %s", lines[i], run->out);
    }
    run = run_moxie(NULL, "inspect '%s' --json", path);
    json_t *top = json_loads(run->out, 0, NULL);
    cr_assert(json_is_object(top), "%s", run->out);
    cr_expect(json_is_true(json_object_get(top, "runs")));
    cr_expect_eq(json_array_size(json_object_get(top, "tensors")), 50);
    const json_t *count = json_object_get(json_object_get(top, "metadata"), "qwen3moe.block_count");
    cr_expect_eq(json_integer_value(count), 4);
    json_decref(top);
}

/* An unknown family, an unknown type, keys of every kind, text that is none: still listed. */
Test(gguf_program, inspect_of_what_cannot_be_run)
{
    const char *path = check_path(check_temp_dir(), "strange.gguf");
    struct gguf_writer writer;
    struct error err = {""};
    cr_assert(gguf_writer_open(&writer, path, &err), "%s", err.text);
    gguf_writer_string(&writer, "general.architecture", "nothing\xFF\x1B[2J", 12);
    gguf_writer_array(&writer, "many", GGUF_I32, 1000);
    for (int i = 0; i < 1000; i++) {
        gguf_writer_element_i32(&writer, -i);
    }
    gguf_writer_array(&writer, "words", GGUF_STRING, 2);
    gguf_writer_element_string(&writer, "\x1B]0;x", 5);
    gguf_writer_element_string(&writer, "\xC2\x9BK", 3); /* the same in one character */
    gguf_writer_f32(&writer, "not.finite", __builtin_nanf(""));
    gguf_writer_tensor(&writer, "t", 2, (uint64_t[]){256, 1}, 16);
    cr_assert(gguf_writer_begin_data(&writer, &err));
    uint8_t block[66] = {1};
    cr_assert(gguf_writer_data(&writer, block, sizeof(block), &err));
    cr_assert(gguf_writer_commit(&writer, &err));
    const struct program_run *run = run_moxie(NULL, "inspect '%s'", path);
    cr_assert_eq(run->status, 0, "%s", run->err);
    cr_expect(strstr(run->out, "runs here      no: "), "%s", run->out);
    cr_expect(strstr(run->out, "0, -1, -2, -3, -4, -5, -6, -7, ... (1000)"), "%s", run->out);
    cr_expect(strstr(run->out, "iq2_xxs"), "%s", run->out);
    cr_expect_null(strchr(run->out, 0x1B), "control characters must not reach a terminal");
    cr_expect_not_null(strstr(run->out, "??K"), "%s", run->out);
    run = run_moxie(NULL, "inspect '%s' --json", path);
    cr_assert_eq(run->status, 0, "%s", run->err);
    json_t *top = json_loads(run->out, 0, NULL);
    cr_assert(json_is_object(top), "%s", run->out);
    cr_expect(json_is_false(json_object_get(top, "runs")));
    const json_t *many = json_object_get(json_object_get(top, "metadata"), "many");
    cr_expect_eq(json_integer_value(json_object_get(many, "count")), 1000);
    json_decref(top);
    run = run_moxie(NULL, "logits '%s' --ids 1", path);
    cr_expect_eq(run->status, 1);
    cr_expect(strstr(run->err, "is not one of those this version knows"), "%s", run->err);
}

Test(gguf_program, export_that_fails)
{
    const char *path = exported();
    cr_expect_eq(run_moxie(NULL, "export")->status, 2);
    cr_expect_eq(run_moxie(NULL, "export '%s'", path)->status, 2);
    const struct program_run *run = run_moxie(NULL, "export '%s' '%s'", path, path);
    cr_expect_eq(run->status, 1);
    cr_expect(strstr(run->err, "choose another name"), "%s", run->err);
    run = run_moxie(NULL, "export '%s' /nowhere/x.gguf", path);
    cr_expect_eq(run->status, 1);
    cr_expect(strstr(run->err, "its folder does not exist"), "%s", run->err);
    run = run_moxie(NULL, "export '%s.absent' '%s'", path, path);
    cr_expect_eq(run->status, 1);
    cr_expect(strstr(run->err, "does not exist"), "%s", run->err);
}

/* A GGUF file exported from a GGUF file has the same weights. */
Test(gguf_program, export_of_an_export)
{
    const char *path = exported(), *again = check_path(check_temp_dir(), "again.gguf");
    const struct program_run *run = run_moxie(NULL, "export '%s' '%s'", path, again);
    cr_assert_eq(run->status, 0, "%s", run->err);
    size_t bytes, again_bytes;
    char *a = check_read_file(path, &bytes), *b = check_read_file(again, &again_bytes);
    cr_assert(a && b && bytes == again_bytes);
    cr_expect(memcmp(a, b, bytes) == 0);
    free(a);
    free(b);
}
