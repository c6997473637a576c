/* The parts of a prediction. Private to engine/run/prediction*.c.
 *
 *     prediction           what a list costs: the sum of its ops
 *     prediction_measured  what the device can, measured once, when it is needed first
 *     prediction_product   products with weights of ours, as an op has them
 *     prediction_alone     all other ops, each alone
 */
#pragma once

#include "engine/run/prediction.h"

enum prediction_buffer {
    PREDICTION_STEP,
    PREDICTION_WEIGHTS,
    PREDICTION_INPUT,  /* small numbers of both signs, f32 */
    PREDICTION_OUTPUT, /* whatever ops write */
    PREDICTION_TABLES, /* what experts find their way by */
    PREDICTION_BUFFERS
};

/* A step of a measurement has at most so many tokens. */
#define PREDICTION_MAX_TOKENS 4096

/* One measurement, and what it is of. */
struct measured {
    enum op_kind kind;
    enum dtype dtype;
    uint32_t tokens;  /* of the list; of sorted experts: vectors of each */
    uint64_t shape;   /* a number made of all numbers of the arguments */
    double fixed;     /* seconds */
    double operation; /* seconds of one; 0: the op has no products */
};

#define PREDICTION_MAX_MEASURED 256

struct prediction {
    struct backend *backend;
    uint64_t resident_bytes; /* of the model's weights */
    struct buffer buffers[PREDICTION_BUFFERS];
    uint32_t n_buffers;
    int fill; /* the byte that the weights are filled with; -1: none yet */
    struct measured measured[PREDICTION_MAX_MEASURED];
    uint32_t n_measured;
};

/* The tensor that a buffer of the prediction is, from an offset on. */
struct tensor prediction_tensor(const struct prediction *prediction, enum prediction_buffer buffer,
                                uint64_t offset);

/* Makes the weights decode, in this type, to ordinary numbers: neither zeros nor such that what is
 * computed of them overflows or loses itself in numbers that processors are slow with. */
bool prediction_fill_weights(struct prediction *prediction, enum dtype dtype, struct error *err);

/* Seconds of a run of a bound list without what its steps cost in waiting, which is counted once a
 * list. */
bool prediction_time(struct prediction *prediction, const struct op_list *list, uint32_t n,
                     uint32_t position, const struct backend_peaks *peaks, double *seconds,
                     struct error *err);

/* Seconds of operations with `tokens` of the op's own form (of sorted experts: tokens for each),
 * measured now if they are not known yet. */
bool prediction_find(struct prediction *prediction, const struct op *op, uint32_t tokens,
                     const struct backend_peaks *peaks, struct measured *found, struct error *err);

/* Experts whose pairs are sorted share their weights among tokens, so that it matters how many each
 * gets. */
bool prediction_is_sorted(const struct op *op);
/* Whether the op is a product with weights. */
bool prediction_is_product(enum op_kind kind);

/* Fill m->fixed and m->operation. m->tokens may be made smaller: as many as can be measured. */
bool prediction_measure_product(struct prediction *prediction, const struct op *op,
                                const struct backend_peaks *peaks, struct measured *m,
                                struct error *err);
bool prediction_measure_alone(struct prediction *prediction, const struct op *op,
                              const struct backend_peaks *peaks, struct measured *m,
                              struct error *err);
