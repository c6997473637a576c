/* moxie convert, verify and inspect as programs: exit codes, sentences, signals, limits. */
#include <criterion/criterion.h>

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "format/model_writer.h"
#include "tests/check.h"
#include "tests/tools/run_program.h"
#include "tests/tools/tiny_checkpoint.h"

static const char *out_path(void)
{
    return check_path(check_temp_dir(), "out.moxie");
}

static void write_old_output(void)
{
    cr_assert(check_write_file(out_path(), "old", 3));
}

static void expect_old_output(void)
{
    size_t bytes = 0;
    char *data = check_read_file(out_path(), &bytes);
    cr_expect(data && bytes == 3 && memcmp(data, "old", 3) == 0, "the old output is gone");
    free(data);
}

/* Names in the folder that hold ".moxie", hidden ones included. */
static uint32_t moxie_files(void)
{
    uint32_t n = 0;
    DIR *folder = opendir(check_temp_dir());
    for (struct dirent *entry; (entry = readdir(folder));) {
        n += strstr(entry->d_name, ".moxie") != NULL;
    }
    closedir(folder);
    return n;
}

static void expect_failure(const struct program_run *run, int status, const char *sentence)
{
    cr_expect_eq(run->status, status, "%d: %s", run->status, run->err);
    cr_expect(strstr(run->err, sentence), "\"%s\" lacks \"%s\"", run->err, sentence);
    cr_expect_str_eq(run->out, "");
    size_t length = strlen(run->err);
    cr_expect(length > 1 && run->err[length - 1] == '\n');
    if (status == 1) {
        cr_expect_eq(strchr(run->err, '\n'), run->err + length - 1, "one line: %s", run->err);
    }
}

Test(convert_program, every_type_converts_and_verifies)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
    tiny.hidden = 256;
    tiny.expert_ffn = 256;
    const char *folder = tiny_checkpoint_write(&tiny, "tiny");
    static const char *const types[] = {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_k", "q6_k"};
    static const char *const compress[] = {"none", "zstd", "auto"};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        const struct program_run *run =
            run_moxie(NULL, "convert '%s' '%s' --type %s --compress=%s --threads %zu", folder,
                      out_path(), types[i], compress[i % 3], i % 3);
        cr_expect_eq(run->status, 0, "%s", run->err);
        cr_expect(strstr(run->out, types[i]), "%s", run->out);
        cr_expect_str_eq(run->err, "", "quiet in a pipe");
        run = run_moxie(NULL, "verify '%s'", out_path());
        cr_expect_eq(run->status, 0, "%s", run->err);
        cr_expect(strstr(run->out, "OK"), "%s", run->out);
        cr_expect(strstr(run->out, "/s"), "%s", run->out);
    }
    cr_expect_eq(moxie_files(), 1);
}

Test(convert_program, fallbacks_are_told)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3ForCausalLM");
    const char *folder = tiny_checkpoint_write(&tiny, "short");
    const struct program_run *run =
        run_moxie(NULL, "convert '%s' '%s' --type q4_k", folder, out_path());
    cr_expect_eq(run->status, 0, "%s", run->err);
    cr_expect(strstr(run->out, "13 matrices") && strstr(run->out, "stored as q5_0"), "%s",
              run->out);
}

Test(convert_program, dry_run_tells_the_plan_and_the_size)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
    tiny.hidden = 256;
    tiny.expert_ffn = 256;
    const char *folder = tiny_checkpoint_write(&tiny, "plan");
    static const char *const flags = "--type q4_k_m --tensor '*.attention_k=q8_0' "
                                     "--tensor 'layer.1.expert.2.down=f16'";
    const struct program_run *run =
        run_moxie(NULL, "convert '%s' '%s' %s --dry-run", folder, out_path(), flags);
    cr_assert_eq(run->status, 0, "%s", run->err);
    cr_expect_eq(moxie_files(), 0, "nothing is written");
    static const char *const lines[] = {
        "attention_k",         "q8_0", "--tensor",      "q4_k / f16",
        "small and sensitive", "0-1",  "3 x [512, 256]"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        cr_expect(strstr(run->out, lines[i]), "\"%s\" in %s", lines[i], run->out);
    }
    const char *size = strstr(run->out, "would have ");
    cr_assert(size);
    unsigned long bytes = strtoul(size + strlen("would have "), NULL, 10);
    run = run_moxie(NULL, "convert '%s' '%s' %s", folder, out_path(), flags);
    cr_assert_eq(run->status, 0, "%s", run->err);
    size_t file_bytes;
    free(check_read_file(out_path(), &file_bytes));
    cr_expect_eq(bytes, file_bytes);
    expect_failure(run_moxie(NULL, "convert a b --tensor q8_0"), 2, "PATTERN=TYPE");
    expect_failure(run_moxie(NULL, "convert a b --tensor x=q9"), 2, "PATTERN=TYPE");
    expect_failure(run_moxie(NULL, "convert a b --tensor =q8_0"), 2, "PATTERN=TYPE");
}

Test(convert_program, mistakes_of_usage)
{
    expect_failure(run_moxie(NULL, "convert"), 2, "usage");
    expect_failure(run_moxie(NULL, "convert a"), 2, "usage");
    expect_failure(run_moxie(NULL, "convert a b c"), 2, "usage");
    expect_failure(run_moxie(NULL, "convert a b --type q5_x"), 2, "--type cannot be \"q5_x\"");
    expect_failure(run_moxie(NULL, "convert a b --compress lzma"), 2, "--compress cannot be");
    expect_failure(run_moxie(NULL, "convert a b --threads -1"), 2, "--threads");
    expect_failure(run_moxie(NULL, "verify"), 2, "usage");
    expect_failure(run_moxie(NULL, "inspect --nothing x"), 2, "--nothing");
}

Test(convert_program, failures_leave_the_old_file)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("LlamaForCausalLM");
    write_old_output();
    expect_failure(run_moxie(NULL, "convert /nonexistent '%s'", out_path()), 1, "does not exist");
    expect_old_output();
    tiny.config = ",\"vocab_size\":300";
    expect_failure(
        run_moxie(NULL, "convert '%s' '%s'", tiny_checkpoint_write(&tiny, "a"), out_path()), 1,
        "[300, 64] (vocab_size, hidden_size)");
    expect_old_output();
    tiny.config = "";
    tiny.vocabulary = 263; /* one row less than the tokenizer has tokens */
    expect_failure(
        run_moxie(NULL, "convert '%s' '%s'", tiny_checkpoint_write(&tiny, "b"), out_path()), 1,
        "vocab_size");
    expect_old_output();
    tiny.vocabulary = 300;
    const char *folder = tiny_checkpoint_write(&tiny, "c");
    cr_assert_eq(unlink(check_path(folder, "tokenizer.json")), 0);
    expect_failure(run_moxie(NULL, "convert '%s' '%s'", folder, out_path()), 1, "tokenizer.json");
    expect_old_output();
    expect_failure(
        run_moxie(NULL, "convert '%s' '%s'", tiny_checkpoint_write(&tiny, "d"), check_temp_dir()),
        1, check_temp_dir());
    cr_expect_eq(moxie_files(), 1);
}

static void run_with_limit(const char *folder, const char *out, int kibibytes, char *text,
                           size_t bytes)
{
    char command[4096];
    snprintf(command, sizeof(command), "ulimit -f %d; exec '%s' convert '%s' '%s' --type f32 2>&1",
             kibibytes, MOXIE_PROGRAM, folder, out);
    FILE *pipe = popen(command, "r");
    cr_assert(pipe);
    size_t n = fread(text, 1, bytes - 1, pipe);
    text[n] = 0;
    int status = pclose(pipe);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %x: %s", status, text);
}

Test(convert_program, file_size_limit_is_an_error_not_a_crash)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("LlamaForCausalLM");
    const char *folder = tiny_checkpoint_write(&tiny, "limit");
    write_old_output();
    char text[1024];
    run_with_limit(folder, out_path(), 64, text, sizeof(text));
    cr_expect(strstr(text, "cannot be written"), "%s", text);
    expect_old_output();
    cr_expect_eq(moxie_files(), 1);
}

static pid_t start(const char *folder, const char *out)
{
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) {
            _exit(127);
        }
        execl(MOXIE_PROGRAM, "moxie", "convert", folder, out, "--type", "q4_k", "--threads", "1",
              (char *)NULL);
        _exit(127);
    }
    return child;
}

static void wait_for_temporary(pid_t child)
{
    for (uint32_t i = 0; i < 20000 && moxie_files() < 2; i++) {
        cr_assert_eq(kill(child, 0), 0);
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    cr_assert_eq(moxie_files(), 2, "no temporary file appeared");
}

Test(convert_program, signals_leave_no_temporary_file, .timeout = 120)
{
    /* Slow enough to be caught at work: some ten million weights of the slowest type. */
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3ForCausalLM");
    tiny.hidden = 256;
    tiny.ffn = 256;
    tiny.layers = 30;
    const char *folder = tiny_checkpoint_write(&tiny, "slow");
    static const int signals[] = {SIGINT, SIGTERM};
    for (uint32_t i = 0; i < 2; i++) {
        write_old_output();
        pid_t child = start(folder, out_path());
        wait_for_temporary(child);
        kill(child, signals[i]);
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %x", status);
        expect_old_output();
        cr_expect_eq(moxie_files(), 1, "a temporary file was left");
    }
}

Test(convert_program, verify_names_the_damage)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
    const char *folder = tiny_checkpoint_write(&tiny, "verify");
    cr_assert_eq(run_moxie(NULL, "convert '%s' '%s'", folder, out_path())->status, 0);
    struct model_file file;
    struct error err = {""};
    cr_assert(model_file_open(&file, out_path(), &err), "%s", err.text);
    struct expert_layer layer;
    cr_assert(model_file_find_expert_layer(&file, 1, &layer));
    struct tensor_record record;
    model_file_tensor_at(&file, layer.first_record + 2, &record);
    model_file_close(&file);
    size_t bytes;
    char *data = check_read_file(out_path(), &bytes);
    data[record.offset + 77] ^= 0x10;
    cr_assert(check_write_file(out_path(), data, bytes));
    free(data);
    expect_failure(run_moxie(NULL, "verify '%s'", out_path()), 1, "layer.1.expert.2");
    expect_failure(run_moxie(NULL, "verify '%s/config.json'", folder), 1, "config.json");
    expect_failure(run_moxie(NULL, "verify '%s'", folder), 1, folder);
}

/* ---- inspect ---- */

static json_t *inspect_json(const char *path)
{
    const struct program_run *run = run_moxie(NULL, "inspect '%s' --json", path);
    cr_assert_eq(run->status, 0, "%s", run->err);
    json_error_t where;
    json_t *top = json_loads(run->out, JSON_REJECT_DUPLICATES, &where);
    cr_assert(top, "%s", where.text);
    return top;
}

static json_int_t whole(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    cr_assert(json_is_integer(value), "%s", key);
    return json_integer_value(value);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    cr_assert(text, "%s", key);
    return text;
}

Test(convert_program, inspect_tells_what_is_there)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
    const char *folder = tiny_checkpoint_write(&tiny, "inspect");
    cr_assert_eq(run_moxie(NULL, "convert '%s' '%s' --type q8_0", folder, out_path())->status, 0);
    json_t *top = inspect_json(out_path());
    cr_expect_str_eq(text_of(top, "architecture"), "qwen3moe");
    cr_expect_str_eq(text_of(top, "name"), "inspect");
    json_int_t attention = 64 * (64 + 32 + 32 + 64), norms = 2 * 64 + 2 * 16;
    json_int_t weights = 2 * 264 * 64 + 64 + 2 * (attention + norms + 4 * 64 + 4 * 3 * 32 * 64);
    cr_expect_eq(whole(top, "weights"), weights);
    cr_expect_eq(whole(json_object_get(top, "tokenizer"), "tokens"), 264);
    cr_expect_gt(whole(top, "chat_template_bytes"), 100);
    const json_t *metadata = json_object_get(top, "metadata");
    cr_expect_eq(whole(metadata, "model.experts"), 4);
    cr_expect_str_eq(text_of(metadata, "file.type"), "q8_0");
    const json_t *types = json_object_get(top, "types");
    json_int_t f32 = whole(json_object_get(types, "f32"), "weights");
    cr_expect_eq(f32, 64 + 2 * (norms + 4 * 64));
    cr_expect_eq(whole(json_object_get(types, "q8_0"), "weights"), weights - f32);
    const json_t *experts = json_object_get(top, "experts");
    cr_assert_eq(json_array_size(experts), 2);
    const json_t *layer = json_array_get(experts, 1);
    cr_expect_eq(whole(layer, "experts"), 4);
    cr_expect_eq(whole(layer, "slab_bytes"), 64 * 80 + 64 * 48);
    cr_expect_eq(whole(layer, "stride"), 8192);
    const json_t *tensors = json_object_get(top, "tensors");
    cr_assert_eq(json_array_size(tensors), 3 + 2 * (9 + 4));
    json_int_t stored = 0;
    for (size_t i = 0; i < json_array_size(tensors); i++) {
        stored += whole(json_array_get(tensors, i), "stored_bytes");
    }
    double bits = json_real_value(json_object_get(top, "bits_per_weight"));
    cr_expect_float_eq(bits, (double)stored * 8 / (double)weights, 1e-9);
    json_decref(top);

    const struct program_run *run = run_moxie(NULL, "inspect '%s'", out_path());
    cr_expect_eq(run->status, 0);
    cr_expect(strstr(run->out, "layer.1.router") && strstr(run->out, "8 experts (--all lists"));
    cr_expect_null(strstr(run->out, "layer.1.expert.3"));
    run = run_moxie(NULL, "inspect --all '%s'", out_path());
    cr_expect(strstr(run->out, "layer.1.expert.3") && strstr(run->out, "q8_0+q8_0"));
    expect_failure(run_moxie(NULL, "inspect '%s/config.json'", folder), 1, "config.json");
}

/* A file of the future: unknown architecture and role, texts that would upset a terminal. */
Test(convert_program, inspect_works_on_strange_files)
{
    struct error err = {""};
    struct model_writer *writer = model_writer_open(out_path(), COMPRESS_NONE, &err);
    cr_assert(writer, "%s", err.text);
    static const char *const names[] = {"evil \x1B[2J name", "UTF-8 \xC3\xA9"};
    cr_assert(model_writer_string(writer, "name", names[0], strlen(names[0]), &err));
    cr_assert(model_writer_string(writer, "other", names[1], strlen(names[1]), &err));
    cr_assert(model_writer_string(writer, "architecture", "marvel", 6, &err));
    double numbers[20];
    uint64_t wholes[3] = {1, UINT64_MAX, 3};
    for (uint32_t i = 0; i < 20; i++) {
        numbers[i] = i + 0.5;
    }
    cr_assert(model_writer_f64_array(writer, "numbers", numbers, 20, &err));
    cr_assert(model_writer_u64_array(writer, "wholes", wholes, 3, &err));
    float row[4] = {1, 2, 3, 4};
    struct tensor_spec spec = {"odd", 999, 5, DTYPE_F32, 1, 4};
    cr_assert(model_writer_tensor(writer, &spec, row, &err), "%s", err.text);
    cr_assert(model_writer_finish(writer, &err), "%s", err.text);

    const struct program_run *run = run_moxie(NULL, "inspect '%s'", out_path());
    cr_expect_eq(run->status, 0, "%s", run->err);
    cr_expect_null(strchr(run->out, 0x1B));
    cr_expect(strstr(run->out, "evil ?[2J name") && strstr(run->out, "UTF-8 \xC3\xA9"));
    cr_expect(strstr(run->out, "marvel") && strstr(run->out, "role 999"), "%s", run->out);
    cr_expect(strstr(run->out, "7.5, ... (20)"), "%s", run->out);
    json_t *top = inspect_json(out_path());
    cr_expect_str_eq(text_of(top, "architecture"), "marvel");
    cr_expect_str_eq(text_of(top, "name"), names[0]);
    cr_expect(json_is_null(json_object_get(top, "tokenizer")));
    const json_t *metadata = json_object_get(top, "metadata");
    cr_expect_eq(json_array_size(json_object_get(metadata, "numbers")), 20);
    json_decref(top);
    run = run_moxie(NULL, "verify '%s'", out_path());
    cr_expect_eq(run->status, 0, "%s", run->err);
}
