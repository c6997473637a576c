/* Rows of results. The names of JSON and CSV fields that llama-bench has too are its own, so that
 * scripts made for it, and moxie bench compare, read both. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "tools/bench.h"
#include "tools/inspect.h"
#include "tools/tool.h"

static bool table_is_open;

#define NOTES_BYTES 16384
static char notes[NOTES_BYTES]; /* what does not fit is left out */
static size_t notes_used;

void bench_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(notes + notes_used, NOTES_BYTES - notes_used, format, arguments);
    va_end(arguments);
    if (n > 0 && (size_t)n < NOTES_BYTES - notes_used) {
        notes_used += (size_t)n;
    }
    notes[notes_used] = 0;
}

void bench_notes_print(void)
{
    fflush(stdout);
    fputs(notes, stderr);
    notes_used = 0;
    notes[0] = 0;
}

void bench_make_printable(char *text)
{
    size_t bytes = strlen(text);
    char *printable = inspect_printable(text, bytes); /* may be cut within a character */
    for (size_t i = 0; i < bytes; i++) {
        char c = printable ? printable[i] : '?';
        text[i] = c == '|' ? '?' : c;
    }
    free(printable);
}

/* The last part of the path, without the ending of a file. */
static void model_text(const struct bench_setting *setting, char text[96])
{
    const char *path = setting->place->path, *slash = strrchr(path, '/');
    const char *name = setting->info.name[0] ? setting->info.name
                       : slash && slash[1]   ? slash + 1
                                             : path;
    snprintf(text, 96, "%.64s %s", name, bench_setting_type(setting));
    bench_make_printable(text);
}

/* ---- markdown ---- */

struct column {
    const char *title;
    int width; /* negative: aligned to the left */
};

static const struct column columns[] = {
    {"model", -30}, {"size", 10},         {"params", 9},      {"backend", -7},
    {"threads", 7}, {"test", -14},        {"t/s", 20},        {"predicted", 9},
    {"ttft ms", 9}, {"p50 / p99 ms", 17}, {"MB/token", 9},    {"GB/s", 7},
    {"of peak", 9}, {"steps", 5},         {"dispatches", 10}, {"barriers", 8},
};
#define N_COLUMNS (sizeof(columns) / sizeof(columns[0]))

static void md_head(void)
{
    for (size_t i = 0; i < N_COLUMNS; i++) {
        printf("| %*s ", columns[i].width, columns[i].title);
    }
    printf("|\n");
    for (size_t i = 0; i < N_COLUMNS; i++) {
        int width = abs(columns[i].width);
        printf("| %.*s%s ", width - 1, "--------------------------------",
               columns[i].width < 0 ? "-" : ":");
    }
    printf("|\n");
}

/* A number, or nothing where it is not known. */
static const char *number(char text[24], int decimals, double value)
{
    if (value > 0) {
        snprintf(text, 24, "%.*f", decimals, value);
    } else {
        snprintf(text, 24, "-");
    }
    return text;
}

static const char *parameters_text(uint64_t n, char text[24])
{
    if (n >= 1000000000) {
        snprintf(text, 24, "%.2f B", (double)n * 1e-9);
    } else {
        snprintf(text, 24, "%.2f M", (double)n * 1e-6);
    }
    return text;
}

static void md_row(const struct bench_setting *s, const struct bench_result *r)
{
    char cells[N_COLUMNS][96], a[48], b[24];
    bool prompt = r->test.kind == BENCH_PROMPT;
    model_text(s, cells[0]);
    snprintf(cells[1], 96, "%s", bytes_text(s->info.weight_bytes, a));
    snprintf(cells[2], 96, "%s", parameters_text(s->info.parameters, b));
    snprintf(cells[3], 96, "%s", s->backend);
    snprintf(cells[4], 96, "%s", number(b, 0, s->threads));
    snprintf(cells[5], 96, "%s", bench_test_name(&r->test, a));
    snprintf(cells[6], 96, "%.2f ± %.2f", r->mean, r->deviation);
    snprintf(cells[7], 96, "%s", number(b, 2, r->predicted));
    snprintf(cells[8], 96, "%s", number(b, 1, r->first_seconds * 1e3));
    snprintf(cells[9], 96, "%s%s%s", number(b, 2, r->p50 * 1e3), prompt ? "" : " / ",
             prompt ? "" : number(a, 2, r->p99 * 1e3));
    snprintf(cells[10], 96, "%s", number(b, 2, r->bytes_per_token * 1e-6));
    snprintf(cells[11], 96, "%s", number(b, 2, r->bytes_per_second * 1e-9));
    snprintf(cells[12], 96, "%s%s", number(b, 0, r->share * 100),
             r->share == 0 ? ""
             : prompt      ? " % ops"
                           : " % bw");
    snprintf(cells[13], 96, "%s", number(b, 0, r->steps));
    snprintf(cells[14], 96, "%s", number(b, 0, r->dispatches));
    snprintf(cells[15], 96, "%s", number(b, 0, r->barriers));
    for (size_t i = 0; i < N_COLUMNS; i++) {
        int wide = strstr(cells[i], "±") ? 1 : 0; /* bytes of a character beyond its first */
        printf("| %*s ", columns[i].width < 0 ? columns[i].width - wide : columns[i].width + wide,
               cells[i]);
    }
    printf("|\n");
}

static void md_end(const struct bench_setting *s, const struct bench_peaks *peaks)
{
    printf("%s%s; %s; moxie " MOXIE_VERSION "; kv %s; %s\n", table_is_open ? "\n" : "",
           s->info.device, s->driver[0] ? s->driver : "driver unknown", s->kv_type,
           s->random_tokens ? "random tokens" : "text");
    if (peaks->known) {
        const char *form = "unknown";
        double matrix =
            bench_peaks_matrix(&peaks->peaks, s->threads > 0, bench_setting_type(s), &form);
        printf("peaks: read %.1f GB/s at the model's size, %s products %.0f Gop/s, step %.1f us\n",
               moxie_peaks_read(&peaks->peaks, (double)s->info.weight_bytes) * 1e-9, form,
               matrix * 1e-9, peaks->peaks.step_seconds * 1e6);
    }
    printf("\n");
}

/* ---- CSV and JSON ---- */

static json_t *samples(const struct bench_result *r, bool rates)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < r->n; i++) {
        json_array_append_new(list, rates ? json_real(r->test.tokens / r->seconds[i])
                                          : json_integer((json_int_t)(r->seconds[i] * 1e9)));
    }
    return list;
}

static double mean_seconds(const struct bench_result *r, double *deviation)
{
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        sum += r->seconds[i];
    }
    for (uint32_t i = 0; i < r->n; i++) {
        double difference = r->seconds[i] - sum / r->n;
        squares += difference * difference;
    }
    *deviation = r->n > 1 ? sqrt(squares / (r->n - 1)) : 0;
    return sum / r->n;
}

/* What could not be had is null. */
static void set_number(json_t *row, const char *key, double value)
{
    json_object_set_new(row, key, value > 0 && isfinite(value) ? json_real(value) : json_null());
}

void bench_set_text(json_t *row, const char *key, const char *text)
{
    json_t *string = json_string(text); /* NULL: not UTF-8 */
    json_object_set_new(row, key, string ? string : json_string("?"));
}

static void set_place(json_t *row, const struct bench_setting *s)
{
    char model[96];
    model_text(s, model);
    bench_set_text(row, "build_commit", "moxie " MOXIE_VERSION);
    bench_set_text(row, "backends", s->backend);
    bench_set_text(row, "device", s->info.device);
    bench_set_text(row, "driver", s->driver);
    bench_set_text(row, "model_filename", s->place->path);
    bench_set_text(row, "model_type", model);
    bench_set_text(row, "architecture", s->info.architecture);
    bench_set_text(row, "weight_type", s->info.type);
    bench_set_text(row, "run_as", s->place->type ? s->place->type : "");
    json_object_set_new(row, "model_size", json_integer((json_int_t)s->info.weight_bytes));
    json_object_set_new(row, "model_n_params", json_integer((json_int_t)s->info.parameters));
    json_object_set_new(row, "n_threads", json_integer(s->threads));
    json_object_set_new(row, "n_ubatch", json_integer(s->chunk));
    bench_set_text(row, "type_k", s->kv_type);
    bench_set_text(row, "type_v", s->kv_type);
    bench_set_text(row, "tokens", s->random_tokens ? "random" : "text");
}

static void set_test(json_t *row, const struct bench_result *r)
{
    char name[48], when[32];
    time_t now = time(NULL);
    struct tm utc;
    bool prompt = r->test.kind == BENCH_PROMPT;
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    bench_set_text(row, "test", bench_test_name(&r->test, name));
    json_object_set_new(row, "n_prompt", json_integer(prompt ? r->test.tokens : 0));
    json_object_set_new(row, "n_gen", json_integer(prompt ? 0 : r->test.tokens));
    json_object_set_new(row, "n_depth", json_integer(r->test.depth));
    json_object_set_new(row, "tokens_at_a_time",
                        json_integer(r->test.kind == BENCH_BATCH ? r->test.batch
                                     : prompt                    ? r->test.tokens
                                                                 : 1));
    bench_set_text(row, "test_time", when);
    if (r->test.kind == BENCH_GENERATE) {
        bench_set_text(row, "tokens", "generated");
    }
}

static json_t *row_of(const struct bench_setting *s, const struct bench_result *r)
{
    json_t *row = json_object();
    double deviation, seconds = mean_seconds(r, &deviation);
    set_place(row, s);
    set_test(row, r);
    json_object_set_new(row, "avg_ns", json_integer((json_int_t)(seconds * 1e9)));
    json_object_set_new(row, "stddev_ns", json_integer((json_int_t)(deviation * 1e9)));
    json_object_set_new(row, "avg_ts", json_real(r->mean));
    json_object_set_new(row, "stddev_ts", json_real(r->deviation));
    set_number(row, "predicted_ts", r->predicted);
    set_number(row, "first_token_ms", r->first_seconds * 1e3);
    set_number(row, "p50_ms", r->p50 * 1e3);
    set_number(row, "p99_ms", r->p99 * 1e3);
    set_number(row, "active_bytes_per_token", r->bytes_per_token);
    set_number(row, "operations_per_token", r->operations_per_token);
    set_number(row, "bytes_per_second", r->bytes_per_second);
    set_number(row, "operations_per_second", r->operations_per_second);
    set_number(row, "share_of_peak", r->share);
    json_object_set_new(row, "steps", json_integer((json_int_t)r->steps));
    json_object_set_new(row, "submits", json_real(r->submits));
    json_object_set_new(row, "dispatches", json_real(r->dispatches));
    json_object_set_new(row, "barriers", json_real(r->barriers));
    set_number(row, "last_over_first", r->drift);
    return row;
}

/* RFC 4180. */
static void print_quoted(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"') {
            putchar('"');
        }
        putchar(*text);
    }
    putchar('"');
}

static void print_csv(json_t *row, bool head)
{
    const char *key;
    json_t *value;
    const char *comma = "";
    json_object_foreach(row, key, value)
    {
        printf("%s", comma);
        comma = ",";
        if (head) {
            printf("%s", key);
        } else if (json_is_string(value)) {
            print_quoted(json_string_value(value));
        } else if (json_is_integer(value)) {
            printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        } else if (json_is_real(value)) {
            printf("%.6g", json_real_value(value));
        }
    }
    printf("\n");
}

void bench_print_row(const struct bench_options *options, json_t *row, bool head)
{
    if (options->format == BENCH_JSONL) {
        json_dumpf(row, stdout, JSON_ENSURE_ASCII | JSON_COMPACT | JSON_REAL_PRECISION(9));
        printf("\n");
        return;
    }
    if (head) {
        printf("%s", options->peaks ? "\n" : ""); /* below another table */
        print_csv(row, true);
    }
    print_csv(row, false);
}

void bench_output_result(const struct bench_options *options, const struct bench_setting *setting,
                         const struct bench_result *result)
{
    bool head = !table_is_open;
    table_is_open = true;
    if (options->format == BENCH_MD) {
        if (head) {
            md_head();
        }
        md_row(setting, result);
        fflush(stdout);
        return;
    }
    json_t *row = row_of(setting, result);
    if (options->format == BENCH_JSONL) {
        json_object_set_new(row, "samples_ns", samples(result, false));
        json_object_set_new(row, "samples_ts", samples(result, true));
    }
    bench_print_row(options, row, head && options->format == BENCH_CSV);
    json_decref(row);
    fflush(stdout);
}

void bench_output_end(const struct bench_options *options, const struct bench_setting *setting,
                      const struct bench_peaks *peaks)
{
    if (options->format == BENCH_MD) {
        md_end(setting, peaks);
        table_is_open = false;
    }
}
