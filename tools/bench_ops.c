/* --ops: what every kind of operation took, of one token, of a batch and of a prompt, averaged over
 * the repetitions. Timing each op costs time itself; the sum beside it says how much. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tools/bench.h"
#include "tools/tool.h"

#define MAX_GROUPS 64

/* Ops of one name and type. */
struct group {
    const char *name, *type;
    uint32_t n;
    double seconds, bytes, operations, predicted;
};

struct groups {
    struct group groups[MAX_GROUPS];
    uint32_t n;
    double seconds, predicted; /* all together */
};

static struct group *group_of(struct groups *groups, const struct moxie_op_time *time)
{
    for (uint32_t i = 0; i < groups->n; i++) {
        struct group *group = &groups->groups[i];
        if (strcmp(group->name, time->name) == 0 && strcmp(group->type, time->type) == 0) {
            return group;
        }
    }
    if (groups->n == MAX_GROUPS) {
        return &groups->groups[MAX_GROUPS - 1];
    }
    groups->groups[groups->n] = (struct group){.name = time->name, .type = time->type};
    return &groups->groups[groups->n++];
}

static int by_seconds(const void *a, const void *b)
{
    double x = ((const struct group *)a)->seconds, y = ((const struct group *)b)->seconds;
    return (x < y) - (x > y);
}

/* Every number divided by the repetitions. */
static void average(struct groups *groups, uint32_t repetitions)
{
    for (uint32_t i = 0; i < groups->n; i++) {
        struct group *group = &groups->groups[i];
        group->n /= repetitions;
        group->seconds /= repetitions;
        group->bytes /= repetitions;
        group->operations /= repetitions;
        group->predicted /= repetitions;
    }
    groups->seconds /= repetitions;
    groups->predicted /= repetitions;
    qsort(groups->groups, groups->n, sizeof(groups->groups[0]), by_seconds);
}

/* Evaluates the test's tokens `repetitions` times after one time that does not count. */
static bool time_groups(struct moxie_session *session, const uint32_t *ids,
                        const struct bench_test *test, const struct moxie_loads *loads,
                        const struct moxie_peaks *peaks, uint32_t repetitions,
                        struct groups *groups, struct moxie_error *err)
{
    uint32_t depth = test->depth;
    size_t count = 0, capacity = 0;
    struct moxie_op_time *times = NULL;
    bool ok = true;
    for (uint32_t i = 0; ok && i <= repetitions; i++) {
        uint32_t position = moxie_position(session);
        if (position > depth) {
            moxie_rewind(session, depth);
        }
        ok = (position >= depth || moxie_eval(session, ids + position, depth - position, err)) &&
             moxie_op_times(session, ids + depth, test->tokens, loads, peaks, times, capacity,
                            &count, err);
        if (ok && capacity == 0) { /* now it is known how many there are */
            capacity = count;
            times = calloc(capacity, sizeof(*times));
            if (!times) {
                snprintf(err->text, sizeof(err->text), "not enough memory to time operations");
                return false;
            }
            continue;
        }
        for (size_t k = 0; ok && k < count; k++) {
            struct group *group = group_of(groups, &times[k]);
            group->n++;
            group->seconds += times[k].seconds;
            group->bytes += times[k].bytes;
            group->operations += times[k].operations;
            group->predicted += times[k].predicted;
            groups->seconds += times[k].seconds;
            groups->predicted += times[k].predicted;
        }
    }
    free(times);
    average(groups, repetitions);
    return ok;
}

static const char *microseconds_text(char text[24], const struct groups *groups, double seconds)
{
    if (groups->predicted > 0) {
        snprintf(text, 24, "%.1f", seconds * 1e6);
    } else { /* nothing was */
        snprintf(text, 24, "-");
    }
    return text;
}

static void print_md(const char *title, const struct groups *groups, double bandwidth)
{
    printf("| %-24s | %6s | %5s | %10s | %10s | %6s | %9s | %7s | %7s | %9s |\n", title, "type",
           "calls", "us", "predicted", "time", "MB", "GB/s", "of read", "Gop/s");
    printf("| %.24s | %.5s: | %.4s: | %.9s: | %.9s: | %.5s: | %.8s: | %.6s: | %.6s: | %.8s: |\n",
           "------------------------", "------", "-----", "----------", "----------", "------",
           "---------", "-------", "-------", "---------");
    char all[24];
    for (uint32_t i = 0; i < groups->n; i++) {
        const struct group *g = &groups->groups[i];
        double rate = g->seconds > 0 ? g->bytes / g->seconds : 0;
        char share[24] = "-", predicted[24];
        if (bandwidth > 0) {
            snprintf(share, sizeof(share), "%.0f %%", 100 * rate / bandwidth);
        }
        printf("| %-24s | %6s | %5" PRIu32
               " | %10.1f | %10s | %4.1f %% | %9.3f | %7.2f | %7s | %9.1f |\n",
               g->name, g->type, g->n, g->seconds * 1e6,
               microseconds_text(predicted, groups, g->predicted),
               100 * g->seconds / groups->seconds, g->bytes * 1e-6, rate * 1e-9, share,
               g->seconds > 0 ? g->operations / g->seconds * 1e-9 : 0);
    }
    printf("| %-24s | %6s | %5s | %10.1f | %10s | %6s | %9s | %7s | %7s | %9s |\n\n", "all", "", "",
           groups->seconds * 1e6, microseconds_text(all, groups, groups->predicted), "", "", "", "",
           "");
}

/* A row of the table as JSON and CSV have it; what could not be had is null. */
static json_t *row_of(const struct bench_setting *setting, const char *title,
                      const struct groups *groups, const struct group *g, double bandwidth)
{
    json_t *row = json_object();
    double rate = g->seconds > 0 ? g->bytes / g->seconds : 0;
    bench_set_text(row, "kind", "op");
    bench_set_text(row, "model_filename", setting->place->path);
    bench_set_text(row, "device", setting->info.device);
    bench_set_text(row, "test", title);
    bench_set_text(row, "op", g->name);
    bench_set_text(row, "type", g->type);
    json_object_set_new(row, "calls", json_integer(g->n));
    json_object_set_new(row, "seconds", json_real(g->seconds));
    json_object_set_new(row, "bytes", json_real(g->bytes));
    json_object_set_new(row, "bytes_per_second", json_real(rate));
    json_object_set_new(row, "share_of_read",
                        bandwidth > 0 ? json_real(rate / bandwidth) : json_null());
    json_object_set_new(row, "operations", json_real(g->operations));
    json_object_set_new(row, "predicted_seconds",
                        groups->predicted > 0 ? json_real(g->predicted) : json_null());
    return row;
}

static void print_rows(const struct bench_options *options, const struct bench_setting *setting,
                       const char *title, const struct groups *groups, double bandwidth)
{
    static bool has_head;
    for (uint32_t i = 0; i < groups->n; i++) {
        json_t *row = row_of(setting, title, groups, &groups->groups[i], bandwidth);
        bool csv = options->format == BENCH_CSV;
        bench_print_row(options, row, csv && !has_head);
        has_head = has_head || csv;
        json_decref(row);
    }
}

static bool time_test(const struct bench_options *options, const struct bench_setting *setting,
                      const struct bench_peaks *peaks, struct moxie_session *session,
                      struct bench_counter *counter, const struct bench_test *test,
                      struct moxie_error *err)
{
    char title[48];
    struct groups groups = {0};
    struct bench_test timed = *test; /* at most one chunk */
    timed.tokens = test->tokens < setting->chunk ? test->tokens : setting->chunk;
    struct moxie_loads *loads = bench_loads_of(counter, &timed);
    bool ok = time_groups(session, counter->ids, &timed, loads, peaks->known ? &peaks->peaks : NULL,
                          options->repetitions, &groups, err);
    moxie_loads_free(&loads);
    if (!ok) {
        return false;
    }
    double bandwidth =
        peaks->known ? moxie_peaks_read(&peaks->peaks, (double)setting->info.weight_bytes) : 0;
    bench_test_name(&timed, title);
    if (options->format == BENCH_MD) {
        print_md(title, &groups, bandwidth);
    } else {
        print_rows(options, setting, title, &groups, bandwidth);
    }
    fflush(stdout);
    return true;
}

bool bench_ops(const struct bench_options *options, const struct bench_setting *setting,
               const struct bench_peaks *peaks, struct moxie_session *session,
               struct bench_counter *counter, struct moxie_error *err)
{
    uint32_t n_batches = bench_largest(&options->answers) > 0 ? options->batches.n : 0;
    for (uint32_t d = 0; d < options->depths.n; d++) {
        for (uint32_t i = 0; i < n_batches; i++) {
            uint32_t n = options->batches.values[i];
            struct bench_test token = {n > 1 ? BENCH_BATCH : BENCH_ANSWER, n, n,
                                       options->depths.values[d]};
            if (!time_test(options, setting, peaks, session, counter, &token, err)) {
                return false;
            }
        }
        for (uint32_t i = 0; i < options->prompts.n; i++) {
            struct bench_test prompt = {BENCH_PROMPT, options->prompts.values[i], 1,
                                        options->depths.values[d]};
            if (prompt.tokens > 0 &&
                !time_test(options, setting, peaks, session, counter, &prompt, err)) {
                return false;
            }
        }
    }
    if (options->format == BENCH_MD) {
        if (setting->threads > 0) {
            printf("Each operation was timed alone; in a run those of one step share a phase of "
                   "all threads.\n");
        }
        bench_output_end(options, setting, peaks);
    }
    return true;
}
