/* One test of moxie bench: warmed up, repeated in turns with probes of what it should have taken,
 * and its numbers. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench.h"
#include "tools/generate.h"
#include "tools/tool.h"

/* A repetition is interrupted for probes after so many seconds, and later after a part of what it
 * has taken so far. */
#define STRETCH_SECONDS 0.1
#define STRETCH_PART 10
/* Probing before and after a repetition takes half as long each as what lies between, but no longer
 * than that. */
#define MOST_PROBING 1.0
/* Every repetition has probes of its own if what was not probed in time takes at most so many
 * repetitions; otherwise they are averaged over all so far. */
#define PATIENCE 2

/* ---- a repetition ---- */

/* The position that an answer begins at: its choices need the logits of a token. */
static uint32_t first_choice(const struct bench_test *test)
{
    return test->depth > 0 ? test->depth : 1;
}

/* Goes to the test's depth. An answer begins, and its first token is known: what follows is what
 * every other token takes. */
static bool begin(struct bench *b, const struct bench_test *test)
{
    if (test->kind != BENCH_GENERATE) {
        return bench_go_to(b->session, b->ids, test->depth, &b->err);
    }
    struct moxie_sampling sampling = moxie_sampling_defaults();
    uint32_t before = first_choice(test) - 1, id;
    return bench_go_to(b->session, b->ids, before, &b->err) &&
           moxie_eval(b->session, b->ids + before, 1, &b->err) &&
           moxie_generate_begin(b->session, &sampling, NULL, 0, &b->err) &&
           moxie_generate_next(b->session, &id, &b->err);
}

/* Reads `tokens` tokens from `done` after the test's depth on, or generates them: one evaluation.
 */
static bool advance_once(struct bench *b, const struct bench_test *test, uint32_t done,
                         uint32_t tokens)
{
    uint32_t id;
    return test->kind == BENCH_GENERATE
               ? moxie_generate_next(b->session, &id, &b->err)
               : moxie_eval(b->session, b->ids + test->depth + done, tokens, &b->err);
}

static bool advance(struct bench *b, const struct bench_test *test, uint32_t tokens)
{
    uint32_t piece = bench_test_piece(test);
    bool ok = true;
    for (uint32_t done = 0; ok && done < tokens; done += piece) {
        ok = advance_once(b, test, done, tokens - done < piece ? tokens - done : piece);
    }
    return ok;
}

/* The session holds none but the text's tokens again. */
static void end(struct bench *b, const struct bench_test *test)
{
    if (test->kind == BENCH_GENERATE) {
        moxie_generate_end(b->session);
        moxie_rewind(b->session, first_choice(test));
    }
}

static void show_progress(const struct bench *b, const struct bench_test *test, uint32_t done)
{
    const char *path = b->setting->place->path, *slash = strrchr(path, '/');
    char name[48];
    progress_line("%s, %" PRIu32 " of %" PRIu32 ": %s, %s", bench_test_name(test, name), done + 1,
                  b->options->repetitions, slash && slash[1] ? slash + 1 : path,
                  b->setting->info.device);
}

static bool warm_up(struct bench *b, const struct bench_test *test)
{
    uint32_t most = test->kind == BENCH_PROMPT ? b->setting->chunk : 2 * bench_test_piece(test);
    uint32_t tokens = test->tokens < most ? test->tokens : most;
    bool ok = b->options->no_warmup || (begin(b, test) && advance(b, test, tokens));
    if (ok) {
        end(b, test);
    }
    return ok;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of sorted values: the smallest that so great a part of them does not exceed. */
static double percentile(const double *sorted, size_t n, double part)
{
    size_t index = (size_t)ceil(part * (double)n);
    return sorted[index > 0 ? index - 1 : 0];
}

static void summarise(struct bench_result *r, double *times, size_t evaluations)
{
    double sum = 0, squares = 0, seconds = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        sum += r->test.tokens / r->seconds[i];
        seconds += r->seconds[i];
    }
    r->mean = sum / r->n;
    for (uint32_t i = 0; i < r->n; i++) {
        double difference = r->test.tokens / r->seconds[i] - r->mean;
        squares += difference * difference;
    }
    r->deviation = r->n > 1 ? sqrt(squares / (r->n - 1)) : 0;
    r->drift = r->seconds[0] / r->seconds[r->n - 1];
    if (r->test.kind == BENCH_PROMPT) {
        r->first_seconds = seconds / r->n;
        return;
    }
    qsort(times, evaluations, sizeof(*times), compare_doubles);
    r->p50 = percentile(times, evaluations, 0.5);
    r->p99 = percentile(times, evaluations, 0.99);
}

/* ---- what it should have taken ---- */

/* Answers are judged by a token in their middle. */
static uint32_t judged_position(const struct bench_test *test)
{
    return test->depth +
           (test->kind == BENCH_PROMPT ? 0 : (test->tokens - bench_test_piece(test)) / 2);
}

static void tell_unpredictable(struct bench *b)
{
    bench_note("moxie bench: no predicted speed: %s\n", b->err.text);
    b->unpredictable = true;
}

/* Alternately with what is measured, and for as long: what a machine can do changes while others
 * use its memory and its cores, so that only what was measured at the same time can be compared. */
static void probe(struct bench *b, bool fresh, double seconds)
{
    if (b->peaks->known && !b->unpredictable &&
        !moxie_peaks_again(b->session, &b->now, fresh, seconds, &b->err)) {
        tell_unpredictable(b);
    }
}

/* From what was measured since a fresh probe; what was not yet is now. */
static void predict(struct bench *b, const struct moxie_loads *loads, uint32_t repetition,
                    struct bench_result *r)
{
    uint32_t piece = bench_test_piece(&r->test);
    double seconds;
    if (!b->peaks->known || b->unpredictable) {
        return;
    }
    if (!moxie_eval_predict(b->session, piece, judged_position(&r->test), loads, &b->now, &seconds,
                            &b->err)) {
        tell_unpredictable(b);
        return;
    }
    r->predictions[repetition] = piece / seconds;
    r->bandwidths[repetition] = moxie_peaks_read(&b->now, (double)b->setting->info.weight_bytes);
}

static double mean_of(const double *values, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += values[i];
    }
    return sum / n;
}

static void judge_speed(const struct bench *b, struct bench_result *r)
{
    const struct bench_setting *setting = b->setting;
    if (r->test.kind == BENCH_PROMPT) {
        double matrix = bench_peaks_matrix(&b->peaks->peaks, setting->threads > 0,
                                           bench_setting_type(setting), NULL);
        r->share = matrix > 0 ? r->operations_per_second / matrix : 0;
    } else {
        r->share = r->bandwidth > 0 ? r->bytes_per_second / r->bandwidth : 0;
    }
}

/* What the test had to do. */
static bool judge(struct bench *b, const struct moxie_loads *loads, struct bench_result *r)
{
    uint32_t piece = bench_test_piece(&r->test);
    struct moxie_cost cost;
    if (!moxie_eval_cost(b->session, piece, judged_position(&r->test), loads, &cost, &b->err)) {
        return false;
    }
    r->steps = cost.steps;
    r->bytes_per_token = (cost.weight_bytes + cost.cache_bytes) / piece;
    r->operations_per_token = cost.operations / piece;
    r->bytes_per_second = r->bytes_per_token * r->mean;
    r->operations_per_second = r->operations_per_token * r->mean;
    if (b->peaks->known && !b->unpredictable) {
        r->predicted = mean_of(r->predictions, r->n);
        r->bandwidth = mean_of(r->bandwidths, r->n);
        judge_speed(b, r);
    }
    return true;
}

static void tell_drift(const struct bench_result *r)
{
    char name[48];
    if (bench_slows_down(r->seconds, r->n)) {
        bench_note("moxie bench: %s: the last repetition ran at %.0f %% of the speed of the first: "
                   "the device grows hot and slows down, or something else uses it\n",
                   bench_test_name(&r->test, name), 100 * r->drift);
    }
}

static void add_counts(struct bench *b, struct moxie_counts *sum, const struct moxie_counts *before)
{
    struct moxie_counts now;
    moxie_counts(b->session, &now);
    sum->submits += now.submits - before->submits;
    sum->dispatches += now.dispatches - before->dispatches;
    sum->barriers += now.barriers - before->barriers;
}

/* Whether a repetition can be interrupted for probes: a prompt is one evaluation, and what is
 * generated is under way all the time. */
static bool has_breaks(const struct bench_test *test)
{
    return test->kind == BENCH_ANSWER || test->kind == BENCH_BATCH;
}

/* One repetition: *seconds without the probes in between; times gets those of every evaluation. */
static bool advance_timed(struct bench *b, const struct bench_test *test, double *times,
                          double *seconds, struct moxie_counts *counts)
{
    uint32_t piece = bench_test_piece(test);
    double stretch = 0;
    struct moxie_counts before;
    *seconds = 0;
    *counts = (struct moxie_counts){0};
    moxie_counts(b->session, &before);
    for (uint32_t done = 0, i = 0; done < test->tokens; i++) {
        uint32_t n = test->tokens - done < piece ? test->tokens - done : piece;
        double start = clock_seconds();
        if (!advance_once(b, test, done, n)) {
            return false;
        }
        times[i] = clock_seconds() - start;
        *seconds += times[i];
        stretch += times[i];
        done += n;
        if (has_breaks(test) && done < test->tokens && stretch >= STRETCH_SECONDS &&
            stretch >= *seconds / STRETCH_PART) {
            add_counts(b, counts, &before);
            probe(b, false, STRETCH_SECONDS);
            moxie_counts(b->session, &before);
            stretch = 0;
        }
    }
    add_counts(b, counts, &before);
    return true;
}

/* Of a probe before or after a repetition that takes so long. */
static double probe_seconds(const struct bench_test *test, double repetition)
{
    double most = has_breaks(test) ? STRETCH_SECONDS / 2 : MOST_PROBING;
    return repetition / 2 < most ? repetition / 2 : most;
}

/* times has room for the seconds of every evaluation. */
static bool repeat(struct bench *b, const struct moxie_loads *loads, struct bench_result *r,
                   double *times, uint32_t evaluations)
{
    struct moxie_counts counts = {0};
    bool fresh = true;
    predict(b, loads, 0, r); /* so that it is known what to probe */
    for (uint32_t i = 0; i < r->n; i++) {
        double last = i > 0 ? r->seconds[i - 1] : STRETCH_SECONDS;
        show_progress(b, &r->test, i);
        probe(b, fresh, probe_seconds(&r->test, last));
        if (!begin(b, &r->test) ||
            !advance_timed(b, &r->test, times + (size_t)i * evaluations, &r->seconds[i], &counts)) {
            return false;
        }
        end(b, &r->test);
        probe(b, false, probe_seconds(&r->test, r->seconds[i]));
        double start = clock_seconds();
        predict(b, loads, i, r);
        fresh = fresh && clock_seconds() - start < PATIENCE * r->seconds[i];
    }
    r->submits = (double)counts.submits / evaluations;
    r->dispatches = (double)counts.dispatches / evaluations;
    r->barriers = (double)counts.barriers / evaluations;
    summarise(r, times, (size_t)r->n * evaluations);
    return judge(b, loads, r);
}

static bool measure(struct bench *b, struct bench_result *r, double *times, uint32_t evaluations)
{
    if (!warm_up(b, &r->test)) {
        return false;
    }
    struct moxie_loads *loads = bench_loads_of(&b->counter, &r->test);
    bool ok = repeat(b, loads, r, times, evaluations);
    moxie_loads_free(&loads);
    return ok;
}

bool bench_measure(struct bench *b, const struct bench_test *test)
{
    uint32_t piece = bench_test_piece(test), evaluations = (test->tokens + piece - 1) / piece;
    struct bench_result r = {.test = *test, .n = b->options->repetitions};
    double *times = calloc((size_t)r.n * evaluations, sizeof(*times));
    r.seconds = calloc(3 * (size_t)r.n, sizeof(*r.seconds));
    r.predictions = r.seconds ? r.seconds + r.n : NULL;
    r.bandwidths = r.seconds ? r.predictions + r.n : NULL;
    bool ok = times && r.seconds;
    if (!ok) {
        snprintf(b->err.text, sizeof(b->err.text), "not enough memory for the measurements");
    }
    ok = ok && measure(b, &r, times, evaluations);
    progress_clear();
    if (ok) {
        bench_output_result(b->options, b->setting, &r);
        tell_drift(&r);
    }
    free(times);
    free(r.seconds);
    return ok;
}
