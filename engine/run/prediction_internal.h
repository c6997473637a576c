/* The parts of a prediction. Private to engine/run/prediction*.c.
 *
 *     prediction           what a list costs: the sum of its ops
 *     prediction_measured  what is known of ops; measuring it again, everything in turn
 *     prediction_probe     lists that are run to be timed
 *     prediction_memory    what they read and write
 *     prediction_product   products with weights of ours, as an op has them
 *     prediction_alone     all other ops, each alone
 */
#pragma once

#include "engine/run/prediction.h"

enum prediction_buffer {
    PREDICTION_STEP,
    PREDICTION_INPUT,  /* small numbers of both signs, f32 */
    PREDICTION_OUTPUT, /* whatever ops write */
    PREDICTION_BUFFERS
};

/* A step of a measurement has at most so many tokens. */
#define PREDICTION_MAX_TOKENS 4096
/* From so many on it is not memory that limits products. */
#define PREDICTION_MANY_TOKENS 4
/* Bytes of one weights buffer are all made of one byte; types differ in which they read as ordinary
 * numbers. */
#define PREDICTION_MAX_FILLS 5

/* A list that is run to see how long it takes, again and again; kept ready. */
struct prediction_probe {
    struct op_list list;
    struct tensor *tensors; /* what its ops point to, where that is the probe's own */
    struct buffer tables;   /* what its experts find their way by; bytes 0: none */
    struct program *program;
    uint32_t tokens, position;
    double last;          /* seconds of a run, the last time */
    double runs, seconds; /* since what was measured was forgotten */
};

/* What an op of its form costs, and what it is of. */
struct measured {
    enum op_kind kind;
    enum dtype dtype;
    uint32_t tokens;   /* of the list; of sorted experts: vectors of each */
    uint64_t shape;    /* a number made of all numbers of the arguments */
    uint64_t used;     /* the set that it was last asked for with */
    uint32_t n_probes; /* 0: cannot be run; 2: with few operations and with many */
    struct prediction_probe probes[2];
    double operations[2]; /* of a run */
    bool product;         /* its time is all operations' */
    bool from_memory;     /* the time includes bringing the weights from where the model's are */
};

/* What is to be added up. */
struct prediction_rate {
    double fixed;     /* seconds */
    double operation; /* seconds of one; 0: the op has no products */
    bool from_memory;
};

#define PREDICTION_MAX_MEASURED 256

struct prediction {
    struct backend *backend;
    uint64_t resident_bytes; /* of the model's weights */
    uint64_t weight_bytes;   /* of a buffer of them */
    struct buffer buffers[PREDICTION_BUFFERS];
    uint32_t n_buffers;
    struct buffer weights[PREDICTION_MAX_FILLS]; /* made when needed; bytes 0: not yet */
    struct measured *measured;                   /* (PREDICTION_MAX_MEASURED) */
    uint32_t n_measured;
    uint64_t set; /* what was asked for between two measurements is one; the current one's number */
    /* Of the device, since forgotten: how often, how long that took, and the sums. */
    double peaks_runs, peaks_seconds, seconds_per_byte, step_seconds;
};

/* ---- prediction_memory ---- */

bool prediction_memory_create(struct prediction *prediction, struct error *err);
void prediction_memory_destroy(struct prediction *prediction);
/* The tensor that a buffer of the prediction is, from an offset on. */
struct tensor prediction_tensor(const struct buffer *buffer, uint64_t offset);
/* Weights that decode, in this type, to ordinary numbers: neither zeros nor such that what is
 * computed of them overflows or loses itself in numbers that processors are slow with. NULL: an
 * error. */
const struct buffer *prediction_weights(struct prediction *prediction, enum dtype dtype,
                                        struct error *err);

/* ---- prediction_probe ---- */

double prediction_now(void);
/* The probe's list and memory are set; binds the list and makes it ready. What has been set is the
 * probe's in any case: prediction_probe_destroy. */
bool prediction_probe_create(struct prediction *prediction, struct prediction_probe *probe,
                             uint32_t tokens, uint32_t position, struct error *err);
void prediction_probe_destroy(struct prediction *prediction, struct prediction_probe *probe);
/* Runs it once, or some times in a row if that takes no longer than a few milliseconds, and counts.
 */
bool prediction_probe_run(struct prediction *prediction, struct prediction_probe *probe,
                          struct error *err);
/* Seconds of a run on average, without what its steps cost in waiting, which is counted once a
 * list. */
double prediction_probe_seconds(const struct prediction_probe *probe,
                                const struct backend_peaks *peaks);

/* ---- prediction_measured ---- */

/* What an op costs with `tokens` of its own form (of sorted experts: tokens for each), measured now
 * if that is not known yet. */
bool prediction_find(struct prediction *prediction, const struct op *op, uint32_t tokens,
                     const struct backend_peaks *peaks, struct prediction_rate *found,
                     struct error *err);

/* Experts whose pairs are sorted share their weights among tokens, so that it matters how many each
 * gets. */
bool prediction_is_sorted(const struct op *op);
/* Whether the op is a product with weights. */
bool prediction_is_product(enum op_kind kind);

/* Make the probes of m and fill in what they are of. m->tokens may be made smaller: as many as can
 * be measured. What has been made is m's in any case. */
bool prediction_measure_product(struct prediction *prediction, const struct op *op,
                                struct measured *m, struct error *err);
bool prediction_measure_alone(struct prediction *prediction, const struct op *op,
                              struct measured *m, struct error *err);
