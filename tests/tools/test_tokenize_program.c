/* moxie tokenize over every container, and chats with an exported model: the words go with it. */
#include <criterion/criterion.h>

#include <string.h>

#include "tests/check.h"
#include "tests/tools/run_program.h"

Test(tokenize_program, vocabulary_only_file)
{
    const char *path = check_source_path("tests/text/sentencepiece.gguf");
    const struct program_run *run = run_moxie(NULL, "tokenize '%s' 'the cat' --add-special", path);
    cr_assert_eq(run->status, 0, "%s", run->err);
    cr_expect_eq(strncmp(run->out, "1,", 2), 0, "%s", run->out);
    char ids[256];
    cr_assert_lt(strlen(run->out), sizeof(ids));
    strcpy(ids, run->out + 2);
    ids[strcspn(ids, "\n")] = 0;
    run = run_moxie(NULL, "tokenize '%s' --decode %s", path, ids);
    cr_expect_str_eq(run->out, "the cat\n", "the space before a text is not part of it");
    run = run_moxie(NULL, "tokenize '%s' '<|x|>' --special --json", path);
    cr_expect(strstr(run->out, "\"<|x|>\""), "%s", run->out);
}

Test(tokenize_program, without_a_tokenizer)
{
    const char *path = check_path(check_temp_dir(), "none.gguf");
    static const char empty[24] = "GGUF\3";
    cr_assert(check_write_file(path, empty, sizeof(empty)));
    const struct program_run *run = run_moxie(NULL, "tokenize '%s' x", path);
    cr_expect_eq(run->status, 1);
    cr_expect(strstr(run->err, "none.gguf has no tokenizer"), "%s", run->err);
    run = run_moxie(NULL, "tokenize '%s' x", check_source_path("README.md"));
    cr_expect_eq(run->status, 1);
    run = run_moxie(NULL, "tokenize '%s' x", check_temp_dir());
    cr_expect_eq(run->status, 1);
    cr_expect(strstr(run->err, "tokenizer.json does not exist"), "%s", run->err);
}

/* The demo model as a GGUF file: the same ids, the same answer. */
Test(tokenize_program, exported_model)
{
    const char *model = check_source_path("models/moxie-tiny.moxie");
    const char *path = check_path(check_temp_dir(), "demo.gguf");
    cr_assert_eq(run_moxie(NULL, "export '%s' '%s'", model, path)->status, 0);
    static const char *const commands[] = {
        "tokenize", "\"<|im_start|>user Hello, I'll say 12 + 30<|im_end|>\" --special", "complete",
        "'The capital of France is' -n 6 --temp 0 --device cpu"};
    for (int i = 0; i < 4; i += 2) {
        char wanted[512];
        const struct program_run *run =
            run_moxie(NULL, "%s '%s' %s", commands[i], model, commands[i + 1]);
        cr_assert(run->status == 0 && strlen(run->out) < sizeof(wanted), "%s", run->err);
        strcpy(wanted, run->out);
        run = run_moxie(NULL, "%s '%s' %s", commands[i], path, commands[i + 1]);
        cr_expect_str_eq(run->out, wanted, "%s", run->err);
    }
}
