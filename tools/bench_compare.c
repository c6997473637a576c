/* moxie bench compare: two files of results beside each other. Reads what moxie bench -o jsonl and
 * llama-bench -o jsonl (or json) write. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/text/json_values.h"
#include "format/error.h"
#include "tools/bench.h"
#include "tools/text_buffer.h"
#include "tools/tool.h"

/* Of one file. A test is a kilobyte, or ten with the times of its ops. */
#define MAX_BYTES ((size_t)16 << 20)
#define MAX_RESULTS 4096
#define TEXT_OF_(x) #x
#define TEXT_OF(x) TEXT_OF_(x)

/* Results of one file, in its order. */
struct row {
    char model[80], test[64], device[256];
    json_int_t threads;
    double mean, deviation;
    bool used;
};

struct results {
    struct row *rows;
    size_t n;
};

static json_int_t integer_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *string_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* The name of the file without folder and ending; with the type it was run as, if that was another.
 */
static void name_model(const json_t *object, char text[80])
{
    const char *path = string_of(object, "model_filename"), *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    int length = dot && dot > name ? (int)(dot - name) : (int)strlen(name);
    const char *run_as = string_of(object, "run_as");
    snprintf(text, 80, "%.*s%s%.14s", length < 64 ? length : 64, name, run_as[0] ? " " : "",
             run_as);
}

/* Our own name of the test, or what it would be called here. */
static void name_test(const json_t *object, char text[64])
{
    const char *test = string_of(object, "test");
    if (test[0]) {
        snprintf(text, 64, "%.60s", test);
        return;
    }
    json_int_t prompt = integer_of(object, "n_prompt"), answer = integer_of(object, "n_gen");
    json_int_t depth = integer_of(object, "n_depth");
    int n = prompt > 0 && answer > 0
                ? snprintf(text, 64, "pp%" JSON_INTEGER_FORMAT "+tg%" JSON_INTEGER_FORMAT, prompt,
                           answer)
            : prompt > 0 ? snprintf(text, 64, "pp%" JSON_INTEGER_FORMAT, prompt)
                         : snprintf(text, 64, "tg%" JSON_INTEGER_FORMAT, answer);
    if (depth > 0 && n > 0 && n < 64) {
        snprintf(text + n, 64 - (size_t)n, "@d%" JSON_INTEGER_FORMAT, depth);
    }
}

static bool fail(const char *path, const char *what, const char *detail)
{
    struct error err;
    error_set(&err, "%s %s%s", path, what, detail);
    tool_fail("bench", err.text);
    return false;
}

/* An object with a rate is a result; peaks and times of ops are passed over. */
static bool add_result(struct results *results, const json_t *object, const char *path)
{
    const json_t *mean = json_object_get(object, "avg_ts");
    if (!json_is_number(mean) || json_number_value(mean) <= 0) {
        return true;
    }
    if (results->n == MAX_RESULTS) {
        return fail(path, "has more than " TEXT_OF(MAX_RESULTS) " results", "");
    }
    struct row *row = &results->rows[results->n++];
    name_model(object, row->model);
    name_test(object, row->test);
    snprintf(row->device, sizeof(row->device), "%s", string_of(object, "device"));
    bench_make_printable(row->model);
    bench_make_printable(row->test);
    bench_make_printable(row->device);
    row->threads = integer_of(object, "n_threads");
    row->mean = json_number_value(mean);
    row->deviation = json_number_value(json_object_get(object, "stddev_ts"));
    return true;
}

/* An object, or an array of them. */
static bool add_value(struct results *results, const json_t *value, const char *path)
{
    size_t index;
    const json_t *object;
    if (!json_is_array(value)) {
        return add_result(results, value, path);
    }
    json_array_foreach(value, index, object)
    {
        if (!add_result(results, object, path)) {
            return false;
        }
    }
    return true;
}

/* Lines of objects, or arrays of them, one after another. */
static bool add_text(struct results *results, const char *text, size_t bytes, const char *path)
{
    size_t at = 0;
    json_error_t error;
    if (json_values_most(text, bytes) > JSON_VALUES_MAX) {
        return fail(path, "has more than a million values", "");
    }
    while ((at += strspn(text + at, " \n\r\t")) < bytes) {
        json_t *value = json_loadb(text + at, bytes - at, JSON_DISABLE_EOF_CHECK, &error);
        if (!value) {
            return fail(path, "is not what -o jsonl writes: ", error.text);
        }
        bool ok = add_value(results, value, path);
        json_decref(value);
        if (!ok) {
            return false;
        }
        at += (size_t)error.position;
    }
    return results->n > 0 || fail(path, "holds no results of moxie bench -o jsonl", "");
}

/* False after a sentence on stderr. */
static bool read_results(const char *path, struct results *results)
{
    struct text_buffer text = {0};
    char why[512];
    *results = (struct results){.rows = calloc(MAX_RESULTS, sizeof(*results->rows))};
    bool ok = results->rows && text_buffer_read_path(&text, path, MAX_BYTES, why, sizeof(why));
    if (!ok) {
        tool_fail("bench", results->rows ? why : "out of memory");
    }
    ok = ok && add_text(results, text_buffer_text(&text), text.n, path);
    text_buffer_free(&text);
    return ok;
}

/* The row of B that is the same test of the same model: on the same device with as many threads if
 * there is such a one, else the first that has no partner yet. */
static struct row *find_partner(struct results *b, const struct row *row)
{
    struct row *first = NULL;
    for (size_t i = 0; i < b->n; i++) {
        struct row *other = &b->rows[i];
        if (other->used || strcmp(other->model, row->model) != 0 ||
            strcmp(other->test, row->test) != 0) {
            continue;
        }
        if (strcmp(other->device, row->device) == 0 && other->threads == row->threads) {
            return other;
        }
        first = first ? first : other;
    }
    return first;
}

/* What tells a row from others of the same model and test, if there are any. */
static const char *place_text(const struct results *results, const struct row *row, char text[192])
{
    bool devices = false, threads = false;
    for (size_t i = 0; i < results->n; i++) {
        const struct row *other = &results->rows[i];
        if (strcmp(other->model, row->model) == 0 && strcmp(other->test, row->test) == 0) {
            devices = devices || strcmp(other->device, row->device) != 0;
            threads = threads || other->threads != row->threads;
        }
    }
    text[0] = 0;
    if (devices && row->device[0]) { /* a CPU's tells its threads */
        snprintf(text, 192, ", %.160s", row->device);
    } else if (threads) {
        snprintf(text, 192, ", %" JSON_INTEGER_FORMAT " threads", row->threads);
    }
    return text;
}

static uint32_t print_table(struct results *a, struct results *b)
{
    uint32_t matched = 0;
    printf("| %-30s | %-14s | %18s | %18s | %6s | %-17s |\n", "model", "test", "A t/s", "B t/s",
           "B / A", "");
    printf("| %.30s | %.14s | %.17s: | %.17s: | %.5s: | %.17s |\n",
           "------------------------------", "--------------", "------------------",
           "------------------", "------", "-----------------");
    for (size_t i = 0; i < a->n; i++) {
        struct row *row = &a->rows[i], *other = find_partner(b, row);
        if (!other) {
            continue;
        }
        row->used = other->used = true;
        matched++;
        struct bench_difference d =
            bench_difference_of(row->mean, row->deviation, other->mean, other->deviation);
        char model[280], place[192], left[48], right[48];
        snprintf(model, sizeof(model), "%s%s", row->model, place_text(a, row, place));
        snprintf(left, sizeof(left), "%.2f ± %.2f", row->mean, row->deviation);
        snprintf(right, sizeof(right), "%.2f ± %.2f", other->mean, other->deviation);
        printf("| %-30s | %-14s | %19s | %19s | %6.3f | %-17s |\n", model, row->test, left, right,
               d.ratio,
               !d.exceeds    ? "within the spread"
               : d.ratio > 1 ? "B is faster"
                             : "B is slower");
    }
    return matched;
}

static void tell_unmatched(const struct results *results, const char *path)
{
    for (size_t i = 0; i < results->n; i++) {
        if (!results->rows[i].used) {
            const struct row *row = &results->rows[i];
            char place[192];
            fprintf(stderr, "moxie bench: only %s has %s, %s%s\n", path, row->model, row->test,
                    place_text(results, row, place));
        }
    }
}

int bench_compare(int argc, char **argv)
{
    const struct option options[] = {{0}};
    const struct usage usage = {
        .synopsis = "moxie bench compare A.jsonl B.jsonl",
        .text = "Compares two outputs of moxie bench -o jsonl (or llama-bench -o jsonl): rows of "
                "the same model\nand test, how many times A's speed B has, and whether the "
                "difference exceeds the spread: the\ntwo intervals of mean and deviation do not "
                "touch.",
        .options = options,
        .min_arguments = 2,
        .max_arguments = 2};
    char **paths;
    uint32_t n;
    int status = options_parse(&usage, argc, argv, &paths, &n);
    if (status >= 0) {
        return status;
    }
    struct results a = {0}, b = {0};
    status = read_results(paths[0], &a) && read_results(paths[1], &b) ? 0 : EXIT_FAILED;
    if (status == 0) {
        if (print_table(&a, &b) == 0) {
            status = tool_fail("bench", "the two files have no model and test in common");
        }
        tell_unmatched(&a, paths[0]);
        tell_unmatched(&b, paths[1]);
    }
    free(a.rows);
    free(b.rows);
    return status;
}
