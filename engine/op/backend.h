/* What a back end can do. engine/run knows back ends only by this struct.
 *
 * All calls on one back end come from one thread at a time. Functions that can fail because the
 * world is wrong return false and fill err; a back end that has failed while running (a lost
 * device) fails every later call with the same kind of sentence.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/op/op.h"
#include "format/error.h"

enum buffer_use {
    BUFFER_WEIGHTS,     /* written once, read by ops */
    BUFFER_ACTIVATIONS, /* read and written by ops only */
    BUFFER_STEP,        /* written by the host before runs, read and written by ops */
    BUFFER_RESULT,      /* read by the host after runs, also while a later one is under way */
};

/* Bytes on a back end. `address` is 256-byte aligned and is what goes into argument structs. Fresh
 * memory is zero on the CPU and undefined elsewhere. */
struct buffer {
    uint64_t address;
    uint64_t bytes;
    void *internal; /* the back end's own */
};

/* Unfinished runs of one program. */
#define BACKEND_STARTED 2

/* A list made ready to run, many times, with different steps. */
struct program;

struct backend_counts {
    uint64_t submits;    /* of command buffers, since the back end was made */
    uint64_t dispatches; /* executed */
    uint64_t barriers;   /* executed */
};

struct backend_memory {
    uint64_t total;     /* bytes of the largest device-local heap, or of RAM */
    uint64_t available; /* of these, what may be taken now */
    uint64_t used;      /* by this back end's buffers */
};

/* What a device can do at most, measured. Rates are per second; 0: it cannot, or it has no such
 * thing. */
#define BACKEND_READ_SIZES 8
#define BACKEND_REMEASURE_LEAST 65536
struct backend_peaks {
    uint32_t n_read; /* read bandwidth by buffer size, ascending: caches first, memory last */
    struct {
        uint64_t bytes;
        double bytes_per_second;
    } read[BACKEND_READ_SIZES];
    double dispatch_seconds; /* an empty dispatch after another; on the CPU an empty phase */
    double step_seconds;     /* a dispatch that depends on the one before (barrier) */
    double submit_seconds;   /* submit to the host's seeing it done, empty */
    double host_read;        /* bytes of host memory read by shaders */
    double copy_pageable[2], copy_pinned[2],
        copy_imported[2];                       /* bytes to the device, and from it */
    double matrix_f32, matrix_f16, matrix_int8; /* operations (a multiply-add is two) */
};

/* Bytes per second that are read out of a buffer of this size, between the sizes measured
 * (logarithmic in the size); infinite where nothing was measured. */
double backend_peaks_read(const struct backend_peaks *peaks, double bytes);
/* A buffer of this size was measured again: what memory of its kind and slower ones read changes in
 * the same proportion. */
void backend_peaks_set_read(struct backend_peaks *peaks, double bytes, double bytes_per_second);

struct backend {
    const struct backend_functions *functions;
    char name[128]; /* "CPU, avx512, 16 threads" or the device's name */
    /* Tokens of a prompt beyond which computing more of them at once gains nothing: a power of two;
     * 0: not known. */
    uint32_t chunk;
    /* Pairs of an expert, in the mean, beyond which tiles of 64 are better than of 32
     * (op_expert_tile_pairs); 0: not known. */
    uint32_t expert_wide;
};

struct backend_functions {
    /* Refuses (with the sizes in the sentence) rather than exceed the device's limits or budget. */
    bool (*buffer_create)(struct backend *backend, uint64_t bytes, enum buffer_use use,
                          struct buffer *buffer, struct error *err);
    void (*buffer_destroy)(struct backend *backend, struct buffer *buffer);
    /* Optional (may be NULL): uses host memory in place, which must outlive the buffer. */
    bool (*buffer_import)(struct backend *backend, const void *host, uint64_t bytes,
                          struct buffer *buffer, struct error *err);
    /* Host to buffer and back; returns when done. A write or read of a STEP or RESULT buffer
     * between runs is a plain copy. */
    bool (*write)(struct backend *backend, const struct buffer *buffer, uint64_t offset,
                  const void *source, uint64_t bytes, struct error *err);
    bool (*read)(struct backend *backend, const struct buffer *buffer, uint64_t offset,
                 void *destination, uint64_t bytes, struct error *err);
    /* The list must be bound and must outlive the program. */
    struct program *(*program_create)(struct backend *backend, const struct op_list *list,
                                      struct error *err);
    void (*program_destroy)(struct backend *backend, struct program *program);
    /* Runs the whole list and returns when the results can be read. */
    bool (*run)(struct backend *backend, struct program *program, struct error *err);
    void (*counts)(struct backend *backend, struct backend_counts *counts);
    void (*memory)(struct backend *backend, struct backend_memory *memory);
    void (*destroy)(struct backend *backend);
    /* As run, but slower: seconds[i] is what op i of the list took (CPU clocks, timestamp queries).
     * Optional (NULL). */
    bool (*profile)(struct backend *backend, struct program *program, double *seconds,
                    struct error *err);
    /* run in two halves, for lists that need nothing of the host: start returns when the run is
     * queued, finish when its results can be read. Runs follow one another in the order of their
     * starts, and each sees what those before it have written; a program may be started again
     * before its last run is finished, up to BACKEND_STARTED unfinished runs. *ticket is what
     * finish wants, once for every start, in the same order. A failure of either ends all of them.
     * Optional, both or neither (NULL): this back end computes in the caller's thread. */
    bool (*start)(struct backend *backend, struct program *program, uint64_t *ticket,
                  struct error *err);
    bool (*finish)(struct backend *backend, struct program *program, uint64_t ticket,
                   struct error *err);
    /* Takes some seconds. Optional (NULL). */
    bool (*peaks)(struct backend *backend, struct backend_peaks *peaks, struct error *err);
    /* Measures again what changes while a machine is used, and puts it into peaks: reading the
     * first `bytes` (at least BACKEND_REMEASURE_LEAST) of a buffer, and a dependent step. As work
     * meets them, not at best; some milliseconds of a fast device's. Optional (NULL). */
    bool (*peaks_again)(struct backend *backend, const struct buffer *buffer, uint64_t bytes,
                        struct backend_peaks *peaks, struct error *err);
};
