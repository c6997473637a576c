/* moxie bench, in parts:
 *
 *     bench            options; every combination of models, types, devices and threads
 *     bench_run        one combination: a session, its tests
 *     bench_measure    one test
 *     bench_loads      how experts share the tokens of a test
 *     bench_peaks      what the devices can do, measured once each; --peaks
 *     bench_ops        --ops: where the time goes
 *     bench_output     rows as markdown, CSV and JSON lines
 *     bench_compare    moxie bench compare A B
 *     bench_difference the arithmetic of what differs
 *     bench_text       the text that is read
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "engine/moxie.h"

/* Written for the benchmark; about 11 KB of English, code and tables. */
extern const char bench_text[];
extern const size_t bench_text_bytes;

#define BENCH_LIST_MAX 32

struct bench_numbers {
    uint32_t values[BENCH_LIST_MAX];
    uint32_t n;
};

struct bench_names {
    char *names[BENCH_LIST_MAX]; /* into a copy of the option's text */
    uint32_t n;
};

enum bench_format { BENCH_MD, BENCH_CSV, BENCH_JSONL };

struct bench_options {
    struct bench_numbers prompts, answers, depths, batches, threads;
    struct bench_names devices, types; /* a type "" is the model's own */
    uint32_t repetitions, chunk;
    enum moxie_kv_type kv_type;
    uint64_t device_memory;
    const char *arithmetic; /* or NULL */
    enum bench_format format;
    bool random, sample, peaks, no_peaks, ops, no_warmup, tune;
};

/* As --kv-type has it. */
const char *bench_kv_type_name(enum moxie_kv_type type);

/* One combination. */
struct bench_place {
    const char *path, *device, *type; /* as asked for; type NULL: the model's own */
    uint32_t threads;                 /* as asked for; 0: one per core */
};

/* ---- bench_peaks ---- */

struct bench_peaks {
    bool known;                 /* false: the device could not be measured, or should not be */
    struct moxie_error failure; /* why it could not; empty: it should not */
    struct moxie_peaks peaks;
    char device[128];
};

/* Measured at the first call for a device and a number of threads, then remembered. */
const struct bench_peaks *bench_peaks_of(const struct bench_options *options, const char *device,
                                         uint32_t threads);
void bench_peaks_print(const struct bench_options *options, const struct bench_peaks *peaks);
/* Operations per second of products in the form that weights of a type are multiplied in, and the
 * form's name (which may be NULL): on the CPU f32 for floats, int8 for blocks; on a GPU whatever is
 * fastest. 0 if it was not measured. */
double bench_peaks_matrix(const struct moxie_peaks *peaks, bool cpu, const char *type,
                          const char **form);

/* ---- bench_run ---- */

enum bench_kind {
    BENCH_PROMPT,   /* pp512: a prompt of 512 tokens */
    BENCH_ANSWER,   /* tg128: 128 tokens, one at a time */
    BENCH_BATCH,    /* tg128b4: 128 tokens, four at a time */
    BENCH_GENERATE, /* gen128: 128 tokens that the device chooses, one queued behind the other */
};

struct bench_test {
    enum bench_kind kind;
    uint32_t tokens, batch, depth; /* batch: of BENCH_BATCH; depth: tokens before the first */
};
/* "pp512", "tg128@d4096", "tg128b4", "gen128"; returns text. */
const char *bench_test_name(const struct bench_test *test, char text[48]);

#define BENCH_MAX_REPETITIONS 1000

uint32_t bench_largest(const struct bench_numbers *numbers);

/* Tokens of one evaluation. */
uint32_t bench_test_piece(const struct bench_test *test);
/* Makes the session, which holds some of these tokens from the first on, hold `depth` of them. */
bool bench_go_to(struct moxie_session *session, const uint32_t *ids, uint32_t depth,
                 struct moxie_error *err);

/* What is known about where the tests run. */
struct bench_setting {
    const struct bench_place *place;
    struct moxie_model_info info;
    const char *backend; /* "CPU" or "Vulkan" */
    char driver[256];    /* of a Vulkan device; of the CPU its name and the kernel */
    uint32_t threads;    /* of the CPU; 0 elsewhere */
    uint32_t chunk, context;
    const char *kv_type;
    bool random_tokens;
};

/* Rates are tokens per second. What could not be had is 0. */
struct bench_result {
    struct bench_test test;
    uint32_t n;                       /* repetitions */
    double *seconds;                  /* (n) */
    double *predictions, *bandwidths; /* (n): tokens and bytes per second; of the same memory */
    double mean, deviation;
    double first_seconds;   /* to the first logits of a prompt, on average */
    double p50, p99;        /* seconds of one evaluation; not of prompts */
    double bytes_per_token; /* weights and context, at least */
    double operations_per_token;
    double bytes_per_second, operations_per_second;
    double bandwidth; /* bytes per second, of reading as much as the model has, on average */
    double share;     /* of the bandwidth for answers, of the matrix peak for prompts */
    double predicted; /* tokens per second, on average */
    double submits, dispatches, barriers; /* of one evaluation (a prompt, a token, a batch) */
    double steps;                         /* the same: dependent steps */
    double drift;                         /* speed of the last repetition over that of the first */
};

/* The type that most weights are run as. */
const char *bench_setting_type(const struct bench_setting *setting);

/* Runs all tests of a combination and prints their rows. False after a sentence on stderr. */
bool bench_run(const struct bench_options *options, const struct bench_place *place);

/* ---- bench_loads ---- */

/* Reads the tests' tokens a second time, in a session of its own that keeps what routers choose:
 * keeping that would slow the measured one down. */
struct bench_counter {
    struct moxie_model *model;
    struct moxie_session_options options; /* the measured session's */
    const uint32_t *ids;                  /* (context) */
    struct moxie_session *session;        /* made at the first use */
    bool failed;                          /* and told */
};
/* Of one evaluation of the test; moxie_loads_free. NULL where it is not needed (a token alone,
 * a model without experts) and where it cannot be had, which is told on stderr, once. */
struct moxie_loads *bench_loads_of(struct bench_counter *counter, const struct bench_test *test);
void bench_counter_end(struct bench_counter *counter);

/* ---- bench_measure ---- */

/* The tests of a combination, one after another. */
struct bench {
    struct bench_counter counter;
    const struct bench_options *options;
    const struct bench_setting *setting;
    const struct bench_peaks *peaks;
    struct moxie_peaks now; /* of these, what was measured again lately */
    bool unpredictable;     /* and told */
    struct moxie_session *session;
    const uint32_t *ids; /* (context) */
    struct moxie_error err;
};

/* Runs a test and prints its row. */
bool bench_measure(struct bench *b, const struct bench_test *test);

/* ---- bench_ops ---- */

/* Prints where the time of a token and of a prompt goes. */
bool bench_ops(const struct bench_options *options, const struct bench_setting *setting,
               const struct bench_peaks *peaks, struct moxie_session *session,
               struct bench_counter *counter, struct moxie_error *err);

/* ---- bench_output ---- */

/* printf to stderr, not before the rows of the setting are printed: between them it would cut a
 * table in two. */
__attribute__((format(printf, 1, 2))) void bench_note(const char *format, ...);
void bench_notes_print(void);

/* A text from a file, made fit for a cell of a table on a terminal: no control characters, no bars.
 */
void bench_make_printable(char *text);

/* A text of a row; "?" if it is not UTF-8. */
void bench_set_text(json_t *row, const char *key, const char *text);
/* As a line of JSON or CSV, below the line of its keys where `head` says so. */
void bench_print_row(const struct bench_options *options, json_t *row, bool head);

/* Of a setting; the head of a table is printed where one begins. */
void bench_output_result(const struct bench_options *options, const struct bench_setting *setting,
                         const struct bench_result *result);
/* Below the rows of a setting: in markdown what all of them share. */
void bench_output_end(const struct bench_options *options, const struct bench_setting *setting,
                      const struct bench_peaks *peaks);

/* ---- bench_compare ---- */

/* moxie bench compare A B; argv[0] is "compare". */
int bench_compare(int argc, char **argv);

/* ---- bench_difference ---- */

/* Two measurements of the same: b over a, and whether mean +- deviation of the two do not touch. */
struct bench_difference {
    double ratio;
    bool exceeds;
};
struct bench_difference bench_difference_of(double mean_a, double deviation_a, double mean_b,
                                            double deviation_b);
/* Whether the repetitions of a test tell that the machine grew slower meanwhile: they are long
 * enough for that, and those of the second half are slower than those of the first. */
bool bench_slows_down(const double *seconds, uint32_t n);
