/* moxie bench compare: two files of results beside each other. Reads what moxie bench -o jsonl and
 * llama-bench -o jsonl (or json) write. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tools/bench.h"
#include "tools/tool.h"

/* Results of one file, in its order; strings belong to the file's JSON. */
struct row {
    char model[80], test[64];
    const char *device;
    json_int_t threads;
    double mean, deviation;
    bool used;
};

struct results {
    json_t *values; /* an array: keeps what rows point at */
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

/* Lines of objects, or arrays of them, one after another. NULL after a sentence on stderr. */
static json_t *read_values(const char *path)
{
    FILE *file = fopen(path, "r");
    json_t *all = json_array();
    json_error_t error = {0};
    bool ok = file && all;
    if (!file) {
        fprintf(stderr, "moxie bench: %s cannot be opened\n", path);
    }
    while (ok) {
        int c;
        do {
            c = fgetc(file);
        } while (c == ' ' || c == '\n' || c == '\r' || c == '\t');
        if (c == EOF) {
            break;
        }
        ungetc(c, file);
        json_t *value = json_loadf(file, JSON_DISABLE_EOF_CHECK, &error);
        ok = json_is_array(value) ? json_array_extend(all, value) == 0
                                  : value && json_array_append(all, value) == 0;
        json_decref(value);
        if (!ok) {
            fprintf(stderr, "moxie bench: %s holds no results: %s\n", path, error.text);
        }
    }
    if (file) {
        fclose(file);
    }
    if (!ok) {
        json_decref(all);
    }
    return ok ? all : NULL;
}

/* Objects with a rate are results; peaks and times of ops are passed over. */
static bool read_results(const char *path, struct results *results)
{
    *results = (struct results){.values = read_values(path)};
    if (!results->values) {
        return false;
    }
    size_t index;
    json_t *object;
    results->rows = calloc(json_array_size(results->values) + 1, sizeof(*results->rows));
    json_array_foreach(results->values, index, object)
    {
        const json_t *mean = json_object_get(object, "avg_ts");
        if (!results->rows || !json_is_number(mean) || json_number_value(mean) <= 0) {
            continue;
        }
        struct row *row = &results->rows[results->n++];
        name_model(object, row->model);
        name_test(object, row->test);
        bench_make_printable(row->model);
        bench_make_printable(row->test);
        row->device = string_of(object, "device");
        row->threads = integer_of(object, "n_threads");
        row->mean = json_number_value(mean);
        row->deviation = json_number_value(json_object_get(object, "stddev_ts"));
    }
    if (results->n == 0) {
        fprintf(stderr, "moxie bench: %s holds no results of moxie bench -o jsonl\n", path);
    }
    return results->n > 0;
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
        char left[48], right[48];
        snprintf(left, sizeof(left), "%.2f ± %.2f", row->mean, row->deviation);
        snprintf(right, sizeof(right), "%.2f ± %.2f", other->mean, other->deviation);
        printf("| %-30s | %-14s | %19s | %19s | %6.3f | %-17s |\n", row->model, row->test, left,
               right, d.ratio,
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
            fprintf(stderr, "moxie bench: only %s has %s, %s\n", path, results->rows[i].model,
                    results->rows[i].test);
        }
    }
}

static void free_results(struct results *results)
{
    free(results->rows);
    json_decref(results->values);
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
    free_results(&a);
    free_results(&b);
    return status;
}
