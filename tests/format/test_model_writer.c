/* Writing: all or nothing, whatever goes wrong. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/model_writer.h"
#include "tests/check.h"
#include "tests/format/model_sample.h"

/* Files in the folder of the test. */
static int count_files(void)
{
    int n = 0;
    DIR *folder = opendir(check_temp_dir());
    for (struct dirent *entry; (entry = readdir(folder));) {
        n += entry->d_name[0] != '.';
    }
    closedir(folder);
    return n;
}

static void expect_text(const char *path, const char *text)
{
    size_t bytes;
    char *data = check_read_file(path, &bytes);
    cr_assert(data && strcmp(data, text) == 0, "%s was touched", path);
    free(data);
}

/* A limit on the size of files stands in for a full disk: the same calls fail, at any chosen byte.
 */
static void set_limit(rlim_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(model_writer, full_disk)
{
    const char *path = check_path(check_temp_dir(), "full.moxie");
    struct sample *sample = sample_new(1);
    sample_write(sample, path, COMPRESS_NONE);
    struct image whole = image_read(path);
    uint64_t size = whole.bytes;
    image_free(&whole);
    signal(SIGXFSZ, SIG_IGN);
    struct check_random random = {2};
    for (int i = 0; i < 60; i++) {
        uint64_t limit = i < 20   ? check_random_u64(&random) % size
                         : i < 40 ? size - 1 - check_random_below(&random, 40000)
                                  : (uint64_t)(i - 40) * 7;
        check_write_file(path, "the old file", 12);
        struct error err = {0};
        set_limit(limit);
        bool written = sample_try_write(sample, path, COMPRESS_NONE, &err);
        set_limit(RLIM_INFINITY);
        cr_assert_not(written, "with a limit of %zu", (size_t)limit);
        cr_assert(strstr(err.text, path) && strstr(err.text, "larger than"), "%s", err.text);
        expect_text(path, "the old file");
        cr_assert_eq(count_files(), 1, "a temporary file stays");
    }
    struct error err = {0};
    set_limit(size);
    cr_assert(sample_try_write(sample, path, COMPRESS_NONE, &err), "%s", err.text);
    set_limit(RLIM_INFINITY);
    cr_assert_eq(count_files(), 1);
    sample_free(sample);
}

Test(model_writer, disk_without_room)
{
    struct stat status;
    if (stat("/dev/full", &status) != 0) {
        cr_skip("no /dev/full here");
    }
    /* A real ENOSPC, through the code that explains it. The temporary name lies beside the device,
     * so only a link can lead to it: the writer must refuse to write through anything that exists.
     */
    const char *path = check_path(check_temp_dir(), "m.moxie");
    char link[4200];
    snprintf(link, sizeof(link), "%s.partial-%ld-0", path, (long)getpid());
    cr_assert_eq(symlink("/dev/full", link), 0);
    struct error err = {0};
    struct model_writer *w = model_writer_open(path, COMPRESS_NONE, &err);
    cr_assert(w, "%s", err.text);
    cr_assert(model_writer_finish(w, &err), "%s", err.text);
    cr_assert_eq(count_files(), 2);
}

Test(model_writer, abort_leaves_nothing)
{
    const char *path = check_path(check_temp_dir(), "old.moxie");
    check_write_file(path, "old", 3);
    struct error err = {0};
    struct model_writer *w = model_writer_open(path, COMPRESS_NONE, &err);
    cr_assert_eq(count_files(), 2);
    cr_assert_eq(model_writer_bytes(w), 4096);
    float values[5] = {1, 2, 3, 4, 5};
    struct tensor_spec spec = {"norm", ROLE_OUTPUT_NORM, MODEL_FILE_NO_LAYER, DTYPE_F32, 1, 4};
    cr_assert(model_writer_tensor(w, &spec, values, &err));
    cr_assert_eq(model_writer_bytes(w), 4112);
    model_writer_abort(w);
    model_writer_abort(NULL);
    expect_text(path, "old");
    cr_assert_eq(count_files(), 1);
}

Test(model_writer, two_at_once)
{
    const char *path = check_path(check_temp_dir(), "both.moxie");
    struct error err = {0};
    struct model_writer *a = model_writer_open(path, COMPRESS_NONE, &err);
    struct model_writer *b = model_writer_open(path, COMPRESS_NONE, &err);
    cr_assert(a && b, "%s", err.text);
    cr_assert(model_writer_u64(a, "who", 1, &err) && model_writer_u64(b, "who", 2, &err));
    for (int last = 0; last < 2; last++) {
        cr_assert(model_writer_finish(last ? b : a, &err), "%s", err.text);
        struct model_file file;
        uint64_t who;
        cr_assert(model_file_open(&file, path, &err), "%s", err.text);
        cr_assert(model_file_get_u64(&file, "who", &who) && who == (last ? 2 : 1));
        model_file_close(&file);
    }
    cr_assert_eq(count_files(), 1);
}

/* A mapping that was opened before stays what it was. */
Test(model_writer, replaces_under_a_reader)
{
    const char *path = check_path(check_temp_dir(), "read.moxie");
    struct sample *sample = sample_new(6);
    struct error err = {0};
    sample_write(sample, path, COMPRESS_NONE);
    struct model_file file;
    cr_assert(model_file_open(&file, path, &err), "%s", err.text);
    struct model_writer *w = model_writer_open(path, COMPRESS_NONE, &err);
    cr_assert(model_writer_finish(w, &err), "%s", err.text);
    cr_assert(model_file_verify(&file, NULL, NULL, &err), "%s", err.text);
    cr_assert_eq(model_file_n_tensors(&file), sample->n_tensors);
    model_file_close(&file);
    sample_free(sample);
}

static void refuse_open(const char *path, const char *because)
{
    struct error err = {0};
    cr_assert_null(model_writer_open(path, COMPRESS_NONE, &err));
    cr_assert(strstr(err.text, because) && strstr(err.text, path), "%s", err.text);
}

Test(model_writer, impossible_places)
{
    refuse_open(check_path(check_temp_dir(), "no/such/x.moxie"), "folder does not exist");
    refuse_open(check_temp_dir(), "what has that name is not a file");
    const char *fifo = check_path(check_temp_dir(), "fifo");
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    refuse_open(fifo, "what has that name is not a file");
    cr_assert_eq(unlink(fifo), 0);
    refuse_open("", "cannot be created");
    cr_assert_eq(count_files(), 0);
}

/* In the current folder: a path without a slash. */
Test(model_writer, bare_name)
{
    cr_assert_eq(chdir(check_temp_dir()), 0);
    struct error err = {0};
    struct model_writer *w = model_writer_open("bare.moxie", COMPRESS_NONE, &err);
    cr_assert(w && model_writer_finish(w, &err), "%s", err.text);
    cr_assert_eq(access("bare.moxie", R_OK), 0);
    cr_assert_eq(count_files(), 1);
}

static void expect_finish_fails(struct model_writer *w, const char *because)
{
    struct error err = {0};
    cr_assert_not(model_writer_finish(w, &err));
    cr_assert(strstr(err.text, because), "%s", err.text);
    cr_assert_eq(count_files(), 0);
}

Test(model_writer, bad_metadata)
{
    const char *path = check_path(check_temp_dir(), "keys.moxie");
    struct error err = {0};
    struct model_writer *w = model_writer_open(path, COMPRESS_NONE, &err);
    char longest[300];
    memset(longest, 'k', sizeof(longest));
    longest[256] = 0;
    cr_assert_not(model_writer_u64(w, longest, 1, &err));
    cr_assert_not(model_writer_u64(w, "", 1, &err));
    cr_assert_not(model_writer_u64(w, "with space", 1, &err));
    cr_assert(strstr(err.text, "with space"), "%s", err.text);
    longest[255] = 0;
    cr_assert(model_writer_u64(w, longest, 1, &err));
    cr_assert(model_writer_u64(w, "twice", 1, &err) && model_writer_f64(w, "twice", 1, &err));
    expect_finish_fails(w, "twice is given twice");
}

Test(model_writer, bad_tensors)
{
    const char *path = check_path(check_temp_dir(), "tensors.moxie");
    static const float values[512];
    struct error err = {0};
    struct model_writer *w = model_writer_open(path, COMPRESS_NONE, &err);
    struct tensor_spec spec = {"a", ROLE_OUTPUT, MODEL_FILE_NO_LAYER, DTYPE_Q4_K, 1, 100};
    cr_assert_not(model_writer_tensor(w, &spec, values, &err));
    cr_assert(strstr(err.text, "tensor a: [1, 100] does not suit type q4_k"), "%s", err.text);
    spec.type = DTYPE_F32;
    spec.rows = 0;
    cr_assert_not(model_writer_tensor(w, &spec, values, &err));
    spec.rows = UINT64_C(1) << 31;
    cr_assert_not(model_writer_tensor(w, &spec, values, &err));
    spec.rows = 1;
    spec.name = "\xFF";
    cr_assert_not(model_writer_tensor(w, &spec, values, &err));
    struct expert_spec expert = {
        .name = "e", .type = DTYPE_Q8_0, .down_type = DTYPE_Q8_0, .hidden = 64, .ffn = 33};
    cr_assert_not(model_writer_expert(w, &expert, values, &err));
    cr_assert(strstr(err.text, "expert e: hidden 64 and ffn 33"), "%s", err.text);
    spec.name = "a";
    cr_assert(model_writer_tensor(w, &spec, values, &err), "%s", err.text);
    spec.role = ROLE_OUTPUT_NORM;
    cr_assert(model_writer_tensor(w, &spec, values, &err), "%s", err.text);
    expect_finish_fails(w, "tensor a is there twice");

    w = model_writer_open(path, COMPRESS_NONE, &err);
    cr_assert(model_writer_tensor(w, &spec, values, &err), "%s", err.text);
    spec.name = "b";
    cr_assert(model_writer_tensor(w, &spec, values, &err), "%s", err.text);
    expect_finish_fails(w, "the role and layer of another");
}

/* Two layers, each with a shared expert, one before and one after the others. */
Test(model_writer, shared_experts)
{
    const char *path = check_path(check_temp_dir(), "shared.moxie");
    struct error err = {0};
    float slab[2 * 8 * 4 + 4 * 8];
    for (size_t i = 0; i < sizeof(slab) / sizeof(slab[0]); i++) {
        slab[i] = (float)i + 1;
    }
    struct model_writer *w = model_writer_open(path, COMPRESS_NONE, &err);
    for (uint32_t i = 0; i < 6; i++) {
        bool shared = i == 0 || i == 5;
        char name[16];
        snprintf(name, sizeof(name), "slab.%u", i);
        struct expert_spec spec = {.name = name,
                                   .layer = i / 3,
                                   .expert = i == 2 || i == 4 ? 1 : 0,
                                   .hidden = 4,
                                   .ffn = shared ? 8 : 5,
                                   .shared = shared};
        slab[0] = (float)i;
        cr_assert(model_writer_expert(w, &spec, slab, &err), "%s", err.text);
    }
    cr_assert(model_writer_finish(w, &err), "%s", err.text);
    struct model_file file;
    cr_assert(model_file_open(&file, path, &err), "%s", err.text);
    cr_expect(model_file_verify(&file, NULL, NULL, &err), "%s", err.text);
    for (uint32_t layer = 0; layer < 2; layer++) {
        struct tensor_record record, again;
        struct expert_layer directory;
        cr_assert(model_file_find_tensor(&file, ROLE_SHARED_EXPERT, layer, &record));
        model_file_tensor_at(&file, record.index, &again);
        cr_expect_eq(again.offset, record.offset);
        cr_expect_eq(record.expert, 0);
        cr_expect_eq(record.rows, 16);
        cr_expect_eq(record.cols, 4);
        cr_expect_eq(record.offset % 4096, 0);
        cr_expect_eq(record.raw_bytes, record.down_offset + 4 * 8 * 4);
        cr_expect_eq(*(const float *)model_file_raw(&file, &record), layer == 0 ? 0 : 5);
        cr_assert(model_file_find_expert_layer(&file, layer, &directory));
        cr_expect_eq(directory.n_experts, 2);
        cr_expect_eq(directory.first_record, layer == 0 ? 1 : 3);
    }
    model_file_close(&file);
}

/* Permissions of the new file follow the user's mask. */
Test(model_writer, permissions)
{
    const char *path = check_path(check_temp_dir(), "mode.moxie");
    umask(027);
    struct error err = {0};
    struct model_writer *w = model_writer_open(path, COMPRESS_NONE, &err);
    cr_assert(model_writer_finish(w, &err), "%s", err.text);
    struct stat status;
    cr_assert_eq(stat(path, &status), 0);
    cr_assert_eq(status.st_mode & 0777, 0640);
}
