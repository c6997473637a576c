/* Whatever goes wrong while converting leaves the old file alone and nothing beside it. */
#include <criterion/criterion.h>

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/check.h"
#include "tests/tools/tiny_conversion.h"

static const char *output_path(void)
{
    return check_path(check_temp_dir(), "out.moxie");
}

static bool convert_to(const char *folder, const char *path, const char *type,
                       const struct conversion_work *work, struct error *err)
{
    struct conversion_rules rules = {.mix = type_mix_find(type)};
    return tiny_conversion_between(folder, path, &rules, COMPRESS_NONE, work, err);
}

static bool convert(const char *folder, const char *type, const struct conversion_work *work,
                    struct error *err)
{
    return convert_to(folder, output_path(), type, work, err);
}

static uint32_t files_in_temp_dir(void)
{
    uint32_t n = 0;
    DIR *folder = opendir(check_temp_dir());
    while (readdir(folder)) {
        n++;
    }
    closedir(folder);
    return n;
}

static void write_old_output(void)
{
    cr_assert(check_write_file(output_path(), "old", 3));
}

/* The conversion failed: the old file stands, and nothing else was left in the folder. */
static void expect_untouched(uint32_t files_before)
{
    size_t bytes = 0;
    char *data = check_read_file(output_path(), &bytes);
    cr_expect(data && bytes == 3 && memcmp(data, "old", 3) == 0, "the old output is gone");
    free(data);
    cr_expect_eq(files_in_temp_dir(), files_before, "a file was left behind");
}

struct stopper {
    uint32_t calls, stop_at;
    uint64_t done, total;
};

static bool stop_later(void *context, uint64_t done, uint64_t total)
{
    struct stopper *stopper = context;
    cr_assert_leq(done, total);
    cr_assert_geq(done, stopper->done);
    stopper->done = done;
    stopper->total = total;
    return ++stopper->calls < stopper->stop_at;
}

Test(convert_failures, can_be_stopped_anywhere)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
    const char *folder = tiny_checkpoint_write(&tiny, "stop");
    struct stopper stopper = {.stop_at = UINT32_MAX};
    struct conversion_work work = {.progress = stop_later, .progress_context = &stopper};
    struct error err = {""};
    cr_assert(convert(folder, "f16", &work, &err), "%s", err.text);
    cr_expect_eq(stopper.done, stopper.total);
    uint32_t calls = stopper.calls;
    cr_assert_gt(calls, 20);
    write_old_output();
    uint32_t files = files_in_temp_dir();
    for (uint32_t at = 1; at <= calls; at++) {
        stopper = (struct stopper){.stop_at = at};
        cr_expect_not(convert(folder, "f16", &work, &err));
        cr_expect(strstr(err.text, "stopped"), "%s", err.text);
        expect_untouched(files);
    }
}

/* In the middle of the weights, with batches waiting for the writer. */
Test(convert_failures, can_be_stopped_while_writing)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("LlamaForCausalLM");
    tiny.vocabulary = 160000; /* two matrices of 20 MiB each, 40 in f32 */
    const char *folder = tiny_checkpoint_write(&tiny, "stop_late");
    struct stopper stopper = {.stop_at = UINT32_MAX};
    struct conversion_work work = {.progress = stop_later, .progress_context = &stopper};
    struct error err = {""};
    cr_assert(convert(folder, "f32", &work, &err), "%s", err.text);
    uint32_t calls = stopper.calls;
    cr_assert_gt(calls, 4);
    write_old_output();
    uint32_t files = files_in_temp_dir();
    for (uint32_t at = 1; at <= calls; at++) {
        stopper = (struct stopper){.stop_at = at};
        cr_expect_not(convert(folder, "f32", &work, &err));
        expect_untouched(files);
    }
}

Test(convert_failures, full_disk)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
    const char *folder = tiny_checkpoint_write(&tiny, "full");
    struct error err = {""};
    cr_assert(convert(folder, "f32", NULL, &err), "%s", err.text);
    struct stat status;
    stat(output_path(), &status);
    write_old_output();
    uint32_t files = files_in_temp_dir();
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 20; i++) {
        struct rlimit limit, old;
        getrlimit(RLIMIT_FSIZE, &old);
        limit = old;
        limit.rlim_cur = (rlim_t)(status.st_size - 1) * (rlim_t)i / 19;
        setrlimit(RLIMIT_FSIZE, &limit);
        err.text[0] = 0;
        bool ok = convert(folder, "f32", NULL, &err);
        setrlimit(RLIMIT_FSIZE, &old);
        cr_expect_not(ok, "limit %ju", (uintmax_t)limit.rlim_cur);
        cr_expect(strstr(err.text, "out.moxie"), "%s", err.text);
        expect_untouched(files);
    }
}

Test(convert_failures, impossible_outputs)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("LlamaForCausalLM");
    const char *folder = tiny_checkpoint_write(&tiny, "outputs");
    struct error err = {""};
    uint32_t files = files_in_temp_dir();
    const char *const paths[] = {folder, check_path(folder, "none/out.moxie"),
                                 check_path(folder, "model.safetensors"),
                                 check_path(folder, "config.json/out.moxie"), ""};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        err.text[0] = 0;
        cr_expect_not(convert_to(folder, paths[i], "q8_0", NULL, &err), "%s", paths[i]);
        cr_expect(err.text[0] != 0 && strstr(err.text, paths[i]), "%s", err.text);
        cr_expect_eq(files_in_temp_dir(), files);
    }
    if (geteuid() != 0) {
        cr_assert_eq(chmod(folder, 0555), 0);
        cr_expect_not(convert_to(folder, check_path(folder, "x"), "q8_0", NULL, &err));
        chmod(folder, 0755);
    }
}
