/* moxie bench as a user meets it. What it measures is not looked at, only that it is there and that
 * every format can be read; all runs use the demo model on the CPU. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/check.h"
#include "tests/tools/run_program.h"

#define BENCH "bench --device cpu --threads 2 "

/* Runs and parses: an array of the objects that were printed, a line each. */
static json_t *run_lines(const char *arguments)
{
    const struct program_run *run = run_moxie(NULL, BENCH "-o jsonl %s", arguments);
    cr_assert_eq(run->status, 0, "%s", run->err);
    json_t *rows = json_array();
    char *text = strdup(run->out);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_error_t error;
        json_t *row = json_loads(line, 0, &error);
        cr_assert_not_null(row, "%s: %s", line, error.text);
        json_array_append_new(rows, row);
    }
    free(text);
    return rows;
}

static double number(const json_t *row, const char *key)
{
    const json_t *value = json_object_get(row, key);
    cr_assert(json_is_number(value), "%s is no number", key);
    return json_number_value(value);
}

static const char *text(const json_t *row, const char *key)
{
    const char *value = json_string_value(json_object_get(row, key));
    cr_assert_not_null(value, "%s is no text", key);
    return value;
}

Test(bench_program, json_lines)
{
    json_t *rows = run_lines("-p 8 -n 2 -r 3 --no-peaks");
    cr_assert_eq(json_array_size(rows), 2);
    static const char *const tests[] = {"pp8", "tg2"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *row = json_array_get(rows, i);
        cr_expect_str_eq(text(row, "test"), tests[i]);
        cr_expect_str_eq(text(row, "backends"), "CPU");
        cr_expect_str_eq(text(row, "tokens"), "text");
        cr_expect_str_eq(text(row, "weight_type"), "q8_0");
        cr_expect_eq(number(row, "n_threads"), 2);
        cr_expect_eq(number(row, "model_n_params"), 7613184);
        cr_expect_eq(number(row, "n_depth"), 0);
        cr_expect_gt(number(row, "steps"), 4);
        cr_expect_gt(number(row, "dispatches"), 4);
        cr_expect(json_is_null(json_object_get(row, "predicted_ts")));
        cr_expect(json_is_null(json_object_get(row, "share_of_peak")));
        /* the mean of the samples is the mean */
        const json_t *samples = json_object_get(row, "samples_ts");
        cr_assert_eq(json_array_size(samples), 3);
        double sum = 0;
        for (size_t k = 0; k < 3; k++) {
            sum += json_number_value(json_array_get(samples, k));
        }
        cr_expect_float_eq(sum / 3, number(row, "avg_ts"), 1e-6 * sum);
        cr_expect_float_eq(number(row, "bytes_per_second"),
                           number(row, "avg_ts") * number(row, "active_bytes_per_token"),
                           1e-6 * number(row, "bytes_per_second"));
    }
    const json_t *prompt = json_array_get(rows, 0), *answer = json_array_get(rows, 1);
    cr_expect_eq(number(prompt, "n_prompt"), 8);
    cr_expect_eq(number(prompt, "n_gen"), 0);
    cr_expect_gt(number(prompt, "first_token_ms"), 0);
    cr_expect(json_is_null(json_object_get(prompt, "p50_ms")));
    cr_expect_eq(number(answer, "n_prompt"), 0);
    cr_expect_eq(number(answer, "n_gen"), 2);
    cr_expect_leq(number(answer, "p50_ms"), number(answer, "p99_ms"));
    /* 3120400 bytes of weights and, at position 0, a row of the caches written and read */
    cr_expect_float_eq(number(answer, "active_bytes_per_token"), 3120400 + 4 * 2 * 512, 0.5);
    json_decref(rows);
}

Test(bench_program, combinations_and_peaks)
{
    json_t *rows = run_lines("-p 8,0 -n 2,3 -d 0,16 --batch 1,2 --sample -r 2 --kv-type f32");
    static const char *const tests[] = {"pp8",      "tg2",     "tg2b2",     "gen2",    "tg3",
                                        "tg3b2",    "gen3",    "pp8@d16",   "tg2@d16", "tg2b2@d16",
                                        "gen2@d16", "tg3@d16", "tg3b2@d16", "gen3@d16"};
    cr_assert_eq(json_array_size(rows), 14);
    for (size_t i = 0; i < 14; i++) {
        const json_t *row = json_array_get(rows, i);
        bool chosen = strncmp(tests[i], "gen", 3) == 0;
        cr_expect_str_eq(text(row, "test"), tests[i]);
        cr_expect_str_eq(text(row, "tokens"), chosen ? "generated" : "text");
        cr_expect_str_eq(text(row, "type_k"), "f32");
        cr_expect_gt(number(row, "predicted_ts"), 0);
        cr_expect_gt(number(row, "share_of_peak"), 0);
        cr_expect_eq(number(row, "submits"), 1); /* those of probes are not the test's */
    }
    json_decref(rows);
}

/* Models also come with -m; an answer has no more tokens at a time than it has. */
Test(bench_program, named_models_and_batches_too_large)
{
    char arguments[8192];
    const char *path = check_source_path("models/moxie-tiny.moxie");
    snprintf(arguments, sizeof(arguments),
             "-p 0 -n 2 -r 1 --no-peaks --batch 4,2 -m '%s' --model '%s'", path, path);
    json_t *rows = run_lines(arguments);
    cr_assert_eq(json_array_size(rows), 2);
    cr_expect_str_eq(text(json_array_get(rows, 1), "test"), "tg2b2");
    json_decref(rows);
    const struct program_run *run = run_moxie(NULL, BENCH "-p 0 -n 2 -r 1 --no-peaks --batch 4");
    cr_expect_eq(run->status, 0);
    cr_expect_not_null(strstr(run->err, "no 4 at a time"), "%s", run->err);
}

Test(bench_program, types_and_random_tokens)
{
    json_t *rows = run_lines("-p 0 -n 1 -r 1 --no-peaks --random --type keep,q4_0");
    cr_assert_eq(json_array_size(rows), 2);
    const json_t *kept = json_array_get(rows, 0), *made = json_array_get(rows, 1);
    cr_expect_str_eq(text(kept, "run_as"), "");
    cr_expect_str_eq(text(made, "run_as"), "q4_0");
    cr_expect_str_eq(text(made, "weight_type"), "q4_0");
    cr_expect_str_eq(text(made, "tokens"), "random");
    cr_expect_lt(number(made, "active_bytes_per_token"),
                 0.6 * number(kept, "active_bytes_per_token"));
    json_decref(rows);
}

Test(bench_program, times_of_ops)
{
    json_t *rows = run_lines("-p 4 -n 1 -r 1 --no-peaks --ops --batch 1,3");
    double tokens = 0, prompts = 0, batches = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        cr_expect_str_eq(text(row, "kind"), "op");
        cr_expect_gt(number(row, "seconds"), 0);
        cr_expect_gt(number(row, "calls"), 0);
        cr_expect(json_is_null(json_object_get(row, "predicted_seconds")));
        *(strcmp(text(row, "test"), "tg1") == 0     ? &tokens
          : strcmp(text(row, "test"), "tg3b3") == 0 ? &batches
                                                    : &prompts) += number(row, "bytes");
        if (strcmp(text(row, "op"), "expert_gate_up") == 0) {
            cr_expect_eq(number(row, "calls"), 4);
            cr_expect_str_eq(text(row, "type"), "q8_0");
        }
    }
    cr_expect_gt(tokens, 3120400);
    cr_expect_lt(tokens, 3120400 * 1.2);
    cr_expect_gt(batches, tokens);
    cr_expect_gt(prompts, batches);
    json_decref(rows);
}

Test(bench_program, peaks_alone)
{
    json_t *rows = run_lines("--peaks");
    cr_assert_eq(json_array_size(rows), 1);
    const json_t *row = json_array_get(rows, 0), *read = json_object_get(row, "read");
    cr_expect_gt(json_array_size(read), 1);
    double before = 0;
    for (size_t i = 0; i < json_array_size(read); i++) {
        const json_t *entry = json_array_get(read, i);
        cr_expect_gt(number(entry, "bytes"), before);
        cr_expect_gt(number(entry, "bytes_per_second"), 0);
        before = number(entry, "bytes");
    }
    cr_expect_gt(number(row, "matrix_int8"), 0);
    cr_expect_gt(number(row, "step_seconds"), 0);
    json_decref(rows);
}

/* Cells of a line of CSV, quotes and all. */
static size_t count_cells(const char *line, size_t length)
{
    size_t n = 1;
    bool quoted = false;
    for (size_t i = 0; i < length; i++) {
        quoted = line[i] == '"' ? !quoted : quoted;
        n += line[i] == ',' && !quoted;
    }
    return n;
}

static size_t count_bars(const char *line, size_t length)
{
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        n += line[i] == '|';
    }
    return n;
}

Test(bench_program, csv_and_markdown)
{
    const struct program_run *run = run_moxie(NULL, BENCH "-p 4 -n 1 -r 1 --no-peaks -o csv");
    cr_assert_eq(run->status, 0, "%s", run->err);
    size_t lines = 0, cells = 0;
    for (const char *line = run->out; *line; lines++) {
        size_t length = strcspn(line, "\n");
        size_t n = count_cells(line, length);
        cr_expect(cells == 0 || n == cells, "%zu cells, then %zu", cells, n);
        cells = n;
        line += length + 1;
    }
    cr_expect_eq(lines, 3);
    cr_expect_gt(cells, 30);
    cr_expect_not_null(strstr(run->out, ",avg_ts,stddev_ts,"));

    run = run_moxie(NULL, BENCH "-p 4 -n 1 -r 2 --no-peaks");
    cr_assert_eq(run->status, 0, "%s", run->err);
    lines = 0;
    size_t bars = 0;
    for (const char *line = run->out; *line == '|'; lines++) {
        size_t length = strcspn(line, "\n");
        size_t n = count_bars(line, length);
        cr_expect(bars == 0 || n == bars);
        bars = n;
        line += length + 1;
    }
    cr_expect_eq(lines, 4);
    cr_expect_not_null(strstr(run->out, "| pp4 "), "%s", run->out);
    cr_expect_not_null(strstr(run->out, " ± "));
    cr_expect_not_null(strstr(run->out, "\nCPU, "), "what ran it is below the table");
    cr_expect_str_eq(run->err, "", "milliseconds do not heat anything");
}

Test(bench_program, wrong_options)
{
    static const char *const wrong[] = {
        "-p x",         "-p 1,,2",        "-p ''",       "-p 4,",
        "-p -1",        "-n 99999999999", "-p 0 -n 0",   "--peaks --no-peaks",
        "-r x",         "--vram 1Q",      "--batch 0",   "-r 0",
        "-r 1001",      "-o xml",         "--device ''", "--device cpu,",
        "--type ''",    "--kv-type q4_0", "compare",     "compare a",
        "compare a b c"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const struct program_run *run = run_moxie(NULL, "bench %s", wrong[i]);
        cr_expect_eq(run->status, 2, "%s: exit %d", wrong[i], run->status);
        cr_expect_str_empty(run->out);
        cr_expect_not_null(strstr(run->err, "moxie"), "%s", run->err);
    }
    static const char *const limits[][2] = {
        {"-d 100000000", "from 0 to 16777216"},
        {"--batch 0", "from 1 to 4096"},
        {"-p 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1",
         "at most 32 numbers"},
        {"-p 12x", "like 512,2048"},
        {"--vram 1Q", "like 512M"},
    };
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        const char *err = run_moxie(NULL, "bench %s", limits[i][0])->err;
        cr_expect_not_null(strstr(err, limits[i][1]), "%s: %s", limits[i][0], err);
    }
}

Test(bench_program, what_cannot_be_run)
{
    static const char *const cases[][2] = {
        {"/nowhere/model.moxie", "/nowhere/model.moxie"},
        {"--type banana", "banana"},
        {"--device abacus", "abacus"},
        {"-d 5000", "1024"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct program_run *run =
            run_moxie(NULL, "bench --device cpu --no-peaks -p 4 -n 1 -r 1 %s", cases[i][0]);
        cr_expect_eq(run->status, 1, "%s: exit %d", cases[i][0], run->status);
        cr_expect_str_empty(run->out);
        cr_expect_not_null(strstr(run->err, cases[i][1]), "%s", run->err);
    }
    /* An unknown device is told once, also where it is to be measured. */
    for (int peaks = 0; peaks < 2; peaks++) {
        const char *err = run_moxie(NULL, "bench --device abacus%s", peaks ? " --peaks" : "")->err;
        const char *told = strstr(err, "abacus");
        cr_expect(told && !strstr(told + 1, "abacus"), "%s", err);
    }
    /* One that fails does not keep the next from running. */
    const struct program_run *run = run_moxie(NULL, BENCH "--no-peaks -p 4 -n 0 -r 1 /nowhere '%s'",
                                              check_source_path("models/moxie-tiny.moxie"));
    cr_expect_eq(run->status, 1);
    cr_expect_not_null(strstr(run->out, "pp4"));
}

static const char file_a[] =
    "{\"model_filename\":\"/a/one.moxie\",\"test\":\"pp512\",\"avg_ts\":100.0,\"stddev_ts\":1.0}\n"
    "{\"kind\":\"peaks\",\"device\":\"x\"}\n"
    "{\"model_filename\":\"/a/one.moxie\",\"test\":\"tg128@d16\",\"avg_ts\":10.0,\"stddev_ts\":1,"
    "\"device\":\"x\",\"n_threads\":2}\n"
    "{\"model_filename\":\"/a/one.moxie\",\"test\":\"tg128@d16\",\"avg_ts\":20.0,\"stddev_ts\":1,"
    "\"device\":\"x\",\"n_threads\":4}\n"
    "{\"model_filename\":\"/a/"
    "two.moxie\",\"test\":\"tg128\\u001b[2J\","
    "\"avg_ts\":20.0,\"stddev_ts\":1}\n";
/* As llama-bench -o json has it, and the rows in another order. */
static const char file_b[] =
    "[{\"model_filename\":\"one.gguf\",\"n_prompt\":0,\"n_gen\":128,\"n_depth\":16,\"avg_ts\":19.0,"
    "\"stddev_ts\":0.5,\"device\":\"x\",\"n_threads\":4},\n"
    "{\"model_filename\":\"one.gguf\",\"n_prompt\":0,\"n_gen\":128,\"n_depth\":16,\"avg_ts\":5.0,"
    "\"stddev_ts\":0.5,\"device\":\"x\",\"n_threads\":2},\n"
    "{\"model_filename\":\"one.gguf\",\"n_prompt\":512,\"n_gen\":0,\"n_depth\":0,\"avg_ts\":150.0,"
    "\"stddev_ts\":2.0}]\n";

Test(bench_program, compare)
{
    const char *folder = check_temp_dir();
    const char *a = check_path(folder, "a.jsonl"), *b = check_path(folder, "b.json");
    check_write_file(a, file_a, strlen(file_a));
    check_write_file(b, file_b, strlen(file_b));
    const struct program_run *run = run_moxie(NULL, "bench compare '%s' '%s'", a, b);
    cr_assert_eq(run->status, 0, "%s", run->err);
    static const char *const lines[] = {
        "one                            | pp512          |      100.00 ± 1.00 |      150.00 ± 2.00 "
        "|  "
        "1.500 | B is faster",
        "one, 2 threads                 | tg128@d16      |       10.00 ± 1.00 |        5.00 ± 0.50 "
        "|  "
        "0.500 | B is slower",
        "one, 4 threads                 | tg128@d16      |       20.00 ± 1.00 |       19.00 ± 0.50 "
        "|  "
        "0.950 | within the spread",
    };
    for (size_t i = 0; i < 3; i++) {
        cr_expect_not_null(strstr(run->out, lines[i]), "%s in\n%s", lines[i], run->out);
    }
    cr_expect_not_null(strstr(run->err, "two, tg128?[2J"), "what has no partner is told: %s",
                       run->err);

    /* What was measured can be compared with itself. */
    char *own = strdup(run_moxie(NULL, BENCH "-p 4 -n 1 -r 1 --no-peaks -o jsonl")->out);
    check_write_file(a, own, strlen(own));
    free(own);
    run = run_moxie(NULL, "bench compare '%s' '%s'", a, a);
    cr_assert_eq(run->status, 0, "%s", run->err);
    cr_expect_not_null(strstr(run->out, "1.000 | within the spread"), "%s", run->out);
}

Test(bench_program, compare_bad_files)
{
    const char *folder = check_temp_dir();
    const char *good = check_path(folder, "good.jsonl");
    check_write_file(good, file_a, strlen(file_a));
    static const struct {
        const char *name, *text;
    } bad[] = {
        {"empty", ""},
        {"words", "hello\n"},
        {"cut", "{\"avg_ts\": 1"},
        {"number", "17\n"},
        {"nothing", "{\"avg_ts\": \"fast\"}\n[]\n{}\n{\"avg_ts\": -1}\n"},
        {"other", "{\"avg_ts\": 1, \"test\": \"pp1\", \"model_filename\": \"x\"}\n"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *path = check_path(folder, bad[i].name);
        check_write_file(path, bad[i].text, strlen(bad[i].text));
        const struct program_run *run = run_moxie(NULL, "bench compare '%s' '%s'", good, path);
        cr_expect_eq(run->status, 1, "%s: exit %d", bad[i].name, run->status);
        cr_expect_not_null(strstr(run->err, "moxie bench: "), "%s", run->err);
    }
    const struct program_run *run =
        run_moxie(NULL, "bench compare '%s' '%s'", good, check_path(folder, "missing"));
    cr_expect_eq(run->status, 1);
    cr_expect_not_null(strstr(run->err, "missing"), "%s", run->err);
    run = run_moxie(NULL, "bench compare '%s' '%s'", good, folder);
    cr_expect_eq(run->status, 1);
    cr_expect_not_null(strstr(run->err, "could not be read"), "a folder: %s", run->err);
}

/* Results by the million would be compared with each other for hours. */
Test(bench_program, compare_too_much)
{
    static const char line[] = "{\"avg_ts\":1}\n";
    enum { LINES = 20000, BYTES = 17 << 20, LENGTH = sizeof(line) - 1 };
    const char *path = check_path(check_temp_dir(), "many.jsonl");
    char *text = malloc(BYTES);
    for (size_t i = 0; i < LINES; i++) {
        memcpy(text + i * LENGTH, line, LENGTH);
    }
    check_write_file(path, text, LINES * LENGTH);
    const struct program_run *run = run_moxie(NULL, "bench compare '%s' '%s'", path, path);
    cr_expect_eq(run->status, 1);
    cr_expect_not_null(strstr(run->err, "has more than 4096 results"), "%s", run->err);
    memset(text, ' ', BYTES);
    check_write_file(path, text, BYTES);
    run = run_moxie(NULL, "bench compare '%s' '%s'", path, path);
    cr_expect_eq(run->status, 1);
    cr_expect_not_null(strstr(run->err, "too long"), "%s", run->err);
    memset(text, '[', BYTES);
    check_write_file(path, text, BYTES / 2);
    run = run_moxie(NULL, "bench compare '%s' '%s'", path, path);
    cr_expect_eq(run->status, 1);
    cr_expect_not_null(strstr(run->err, "more than a million values"), "%s", run->err);
    free(text);
}

/* What is cut to fit, and the names of files, stay whole characters, and none that controls. */
Test(bench_program, compare_names)
{
    static const char text[] = "{\"avg_ts\":1,\"model_filename\":"
                               "\"a\\u65e5\\u65e5\\u65e5\\u65e5\\u65e5\\u65e5\\u65e5\\u65e5"
                               "\\u65e5\\u65e5\\u65e5\\u65e5\\u65e5\\u65e5\\u65e5\\u65e5\\u65e5\\u6"
                               "5e5\\u65e5\\u65e5\\u65e5\\u65e5\","
                               "\"test\":\"\\u009b2J|\\u001b[2J\"}";
    const char *path = check_path(check_temp_dir(), "a\nb\x1b[2J.jsonl");
    check_write_file(path, text, strlen(text));
    const struct program_run *run = run_moxie(NULL, "bench compare '%s' '%s'", path, path);
    cr_assert_eq(run->status, 0, "%s", run->err);
    /* 21 of three bytes behind the first: the 22nd is cut. */
    cr_expect_not_null(strstr(run->out, "\xE6\x97\xA5 | ??2J??[2J "), "%s", run->out);
    check_write_file(path, "", 0);
    run = run_moxie(NULL, "bench compare '%s' '%s'", path, path);
    cr_expect_eq(run->status, 1);
    cr_expect_not_null(strstr(run->err, "a?b?[2J.jsonl"), "%s", run->err);
}

/* A Vulkan device end to end, where a software one is installed. */
Test(bench_program, lavapipe)
{
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* Vulkan drivers leak */
    const char *driver = "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json";
    setenv("VK_DRIVER_FILES", driver, 1);
    setenv("VK_ICD_FILENAMES", driver, 1);
    const struct program_run *run = run_moxie(NULL, "devices");
    if (access(driver, R_OK) != 0 || !strstr(run->out, "vulkan:0")) {
        cr_skip("lavapipe is not here");
    }
    run = run_moxie(NULL, "bench --device vulkan:0 -o jsonl -p 4 -n 2 -r 1 --threads 1,2");
    cr_assert_eq(run->status, 0, "%s", run->err);
    json_t *row = json_loads(run->out, JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert_not_null(row, "%s", run->out);
    cr_expect_str_eq(text(row, "backends"), "Vulkan");
    cr_expect_str_eq(text(row, "test"), "pp4");
    cr_expect_eq(number(row, "submits"), 1);
    cr_expect_gt(number(row, "barriers"), 4);
    cr_expect_gt(number(row, "active_bytes_per_token"), 1e5);
    cr_expect_gt(number(row, "predicted_ts"), 0);
    json_decref(row);
    const char *second = strchr(run->out, '\n');
    cr_expect_str_eq(strchr(second + 1, '\n'), "\n", "threads of the CPU change nothing there: %s",
                     run->out);
    run = run_moxie(NULL, "bench --device vulkan:0 -o jsonl -p 0 -n 1 -r 1 --no-peaks --ops");
    cr_assert_eq(run->status, 0, "%s", run->err);
    cr_expect_not_null(strstr(run->out, "\"op\":\"expert_gate_up\""), "%s", run->out);
}
