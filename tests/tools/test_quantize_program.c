/* moxie imatrix and moxie quantize as programs. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/model_file.h"
#include "tests/check.h"
#include "tests/tools/run_program.h"
#include "tests/tools/tiny_checkpoint.h"

static const char *path_of(const char *name)
{
    return check_path(check_temp_dir(), name);
}

static const char *demo(void)
{
    return check_source_path("models/moxie-tiny.moxie");
}

static void expect_failure(const struct program_run *run, int status, const char *sentence)
{
    cr_expect_eq(run->status, status, "%d: %s", run->status, run->err);
    cr_expect(strstr(run->err, sentence), "\"%s\" lacks \"%s\"", run->err, sentence);
    size_t length = strlen(run->err);
    cr_expect(status != 1 || strchr(run->err, '\n') == run->err + length - 1, "%s", run->err);
}

static void expect_success(const struct program_run *run)
{
    cr_assert_eq(run->status, 0, "%s", run->err);
}

/* A text of some 400 tokens, and its statistics. */
static const char *statistics(void)
{
    char text[4096];
    size_t used = 0;
    for (int i = 0; i < 40; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used,
                                 "The king said %d words to the old man by the sea. ", 3 * i);
    }
    cr_assert(check_write_file(path_of("text.txt"), text, used));
    const struct program_run *run =
        run_moxie(NULL, "imatrix '%s' -f '%s' -o '%s' -c 64 --chunks 4 --device cpu", demo(),
                  path_of("text.txt"), path_of("use.gguf"));
    expect_success(run);
    cr_expect(strstr(run->out, "4 chunks of 64 tokens"), "%s", run->out);
    cr_expect(strstr(run->out, "32 experts in all"), "%s", run->out);
    cr_expect_str_eq(run->err, "", "quiet in a pipe");
    return path_of("use.gguf");
}

Test(quantize_program, statistics_are_made_and_used)
{
    const char *use = statistics();
    const struct program_run *run = run_moxie(NULL, "quantize '%s' '%s' --type q3_k --imatrix '%s'",
                                              demo(), path_of("out.moxie"), use);
    expect_success(run);
    cr_expect(strstr(run->out, "activations of 4 chunks"), "%s", run->out);
    cr_expect(strstr(run->out, "q3_k"), "%s", run->out);
    cr_expect(strstr(run->err, "warning") && strstr(run->err, "quantised already"), "%s", run->err);
    run = run_moxie(NULL, "verify '%s'", path_of("out.moxie"));
    expect_success(run);
    run = run_moxie(NULL, "complete '%s' 'The capital of France' -n 8 --temp 0 --device cpu",
                    path_of("out.moxie"));
    expect_success(run);
    cr_expect_gt(strlen(run->out), 5);
    run = run_moxie(NULL, "inspect '%s'", use);
    expect_success(run);
}

/* Whether the file's experts differ in type, and the bytes of all. */
static uint64_t slab_bytes(const char *path, bool *differ)
{
    struct model_file file;
    struct error err;
    uint64_t bytes = 0;
    uint32_t first = UINT32_MAX;
    cr_assert(model_file_open(&file, path, &err), "%s", err.text);
    *differ = false;
    for (uint64_t i = 0; i < model_file_n_tensors(&file); i++) {
        struct tensor_record record;
        model_file_tensor_at(&file, i, &record);
        if (record.role == ROLE_EXPERT) {
            bytes += record.raw_bytes;
            first = first == UINT32_MAX ? record.type : first;
            *differ = *differ || record.type != first;
        }
    }
    model_file_close(&file);
    return bytes;
}

Test(quantize_program, a_budget_is_met)
{
    const char *use = statistics(), *out = path_of("out.moxie");
    bool differ;
    expect_success(run_moxie(NULL, "quantize '%s' '%s' --type q4_k", demo(), out));
    uint64_t whole = slab_bytes(out, &differ);
    cr_expect_not(differ);
    const struct program_run *run =
        run_moxie(NULL, "quantize '%s' '%s' --type q4_k --imatrix '%s' --expert-budget 80%%",
                  demo(), out, use);
    expect_success(run);
    cr_expect(strstr(run->out, "experts take"), "%s", run->out);
    uint64_t bytes = slab_bytes(out, &differ);
    cr_expect(differ && bytes <= whole * 8 / 10 && bytes > whole * 7 / 10, "%llu of %llu",
              (unsigned long long)bytes, (unsigned long long)whole);
    expect_success(run_moxie(NULL, "verify '%s'", out));
    run = run_moxie(NULL, "complete '%s' 'The capital of France' -n 8 --temp 0 --device cpu", out);
    expect_success(run);
    run = run_moxie(NULL, "quantize '%s' '%s' --imatrix '%s' --expert-budget 3M", demo(), out, use);
    expect_success(run);
    bytes = slab_bytes(out, &differ);
    cr_expect(bytes <= 3 << 20 && bytes > 23 << 17, "%llu", (unsigned long long)bytes);
    expect_failure(run_moxie(NULL, "quantize '%s' '%s' --imatrix '%s' --expert-budget 10K", demo(),
                             path_of("no.moxie"), use),
                   1, "too small");
    expect_failure(run_moxie(NULL,
                             "quantize '%s' '%s' --imatrix '%s' --expert-budget 80%% --tensor "
                             "'*.expert.*=f32' --tensor '*.gate_up=f32'",
                             demo(), path_of("no.moxie"), use),
                   1, "--tensor");
    struct stat status;
    cr_expect_neq(stat(path_of("no.moxie"), &status), 0);
}

Test(quantize_program, what_has_the_type_is_copied)
{
    const char *out = path_of("out.moxie"), *again = path_of("again.moxie");
    expect_success(run_moxie(NULL, "quantize '%s' '%s' --type q4_k", demo(), out));
    const struct program_run *run = run_moxie(NULL, "quantize '%s' '%s' --type q4_k", out, again);
    expect_success(run);
    cr_expect_str_eq(run->err, "", "nothing is quantised twice");
    struct model_file a, b;
    struct error err;
    cr_assert(model_file_open(&a, out, &err) && model_file_open(&b, again, &err), "%s", err.text);
    cr_assert_eq(model_file_n_tensors(&a), model_file_n_tensors(&b));
    for (uint64_t i = 0; i < model_file_n_tensors(&a); i++) {
        struct tensor_record x, y;
        model_file_tensor_at(&a, i, &x);
        model_file_tensor_at(&b, i, &y);
        cr_assert(x.type == y.type && x.raw_bytes == y.raw_bytes);
        cr_expect_arr_eq(model_file_raw(&a, &x), model_file_raw(&b, &y), x.raw_bytes);
    }
    model_file_close(&a);
    model_file_close(&b);
}

Test(quantize_program, help_lists_the_mixes)
{
    const struct program_run *run = run_moxie(NULL, "quantize --help");
    expect_success(run);
    static const char *const words[] = {"q4_k_m",    "mxfp4_moe",       "q2_k",    " 4.50", " 8.50",
                                        "--imatrix", "--expert-budget", "--tensor"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        cr_expect(strstr(run->out, words[i]), "%s", words[i]);
    }
    run = run_moxie(NULL, "quantize '%s' '%s' --dry-run", demo(), path_of("dry.moxie"));
    expect_success(run);
    cr_expect(strstr(run->out, "q4_k") && strstr(run->out, "would have"), "%s", run->out);
    struct stat status;
    cr_expect_neq(stat(path_of("dry.moxie"), &status), 0);
}

Test(quantize_program, mistakes)
{
    const char *out = path_of("no.moxie");
    expect_failure(run_moxie(NULL, "quantize"), 2, "usage");
    expect_failure(run_moxie(NULL, "quantize a b --type q9"), 2,
                   "moxie quantize: --type cannot be \"q9\"; it is one of f32");
    expect_failure(run_moxie(NULL, "quantize a b --tensor x"), 2, "PATTERN=TYPE");
    expect_failure(run_moxie(NULL, "quantize a b --expert-budget 80%%"), 2, "moxie imatrix");
    static const char *const budgets[] = {"x", "-3", "0%", "0", "5X", "%", "1e9%"};
    for (size_t i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i++) {
        expect_failure(run_moxie(NULL, "quantize a b --imatrix c --expert-budget='%s'", budgets[i]),
                       2, "--expert-budget cannot be");
    }
    expect_failure(run_moxie(NULL, "quantize /nonexistent '%s'", out), 1, "does not exist");
    expect_failure(run_moxie(NULL, "quantize '%s' '%s' --imatrix /nonexistent", demo(), out), 1,
                   "/nonexistent");
    expect_failure(run_moxie(NULL, "quantize '%s' '%s' --imatrix '%s'", demo(), out, demo()), 1,
                   "moxie-tiny.moxie");
    expect_failure(run_moxie(NULL, "imatrix"), 2, "usage");
    expect_failure(run_moxie(NULL, "imatrix a -o b"), 2, "-f TEXT is missing");
    expect_failure(run_moxie(NULL, "imatrix a -f b"), 2, "-o FILE is missing");
    expect_failure(
        run_moxie(NULL, "imatrix '%s' -f /nonexistent -o '%s' --device cpu", demo(), out), 1,
        "/nonexistent");
    cr_assert(check_write_file(path_of("short.txt"), "too short", 9));
    expect_failure(run_moxie(NULL, "imatrix '%s' -f '%s' -o '%s' --device cpu", demo(),
                             path_of("short.txt"), out),
                   1, "less than one chunk");
    cr_assert(check_write_file(path_of("empty.txt"), "", 0));
    expect_failure(run_moxie(NULL, "imatrix '%s' -f '%s' -o '%s' --device cpu", demo(),
                             path_of("empty.txt"), out),
                   1, "less than one chunk");
}

/* Statistics of one model are not taken for another. */
Test(quantize_program, statistics_of_another_model)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
    const char *folder = tiny_checkpoint_write(&tiny, "other");
    expect_failure(run_moxie(NULL, "quantize '%s' '%s' --imatrix '%s'", folder, path_of("no.moxie"),
                             statistics()),
                   1, "another model");
}
