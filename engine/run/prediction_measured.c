#include "engine/run/prediction_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "engine/op/op_steps.h"
#include "format/quant.h"

/* As many bytes of weights as the model has, up to where no processor's cache holds them, and at
 * least so many. */
#define MOST_WEIGHTS (UINT64_C(256) << 20)
#define LEAST_WEIGHTS (UINT64_C(8) << 20)
#define ACTIVATION_BYTES (UINT64_C(32) << 20)
#define TABLES_BYTES (UINT64_C(1) << 20)
#define PIECE_BYTES (UINT64_C(1) << 20)

/* A measurement takes at least so long, in pieces of which the median counts: whatever interrupts a
 * piece does not tell what the device can. */
#define MIN_SECONDS 0.02
#define LEAST_PIECES 3
#define MOST_PIECES 31

/* ---- memory ---- */

static uint64_t weight_bytes(struct backend *backend, uint64_t resident_bytes)
{
    struct backend_memory memory;
    uint64_t bytes = resident_bytes < MOST_WEIGHTS ? resident_bytes : MOST_WEIGHTS;
    backend->functions->memory(backend, &memory);
    bytes = bytes < memory.available / 4 ? bytes : memory.available / 4;
    return bytes > LEAST_WEIGHTS ? bytes : LEAST_WEIGHTS;
}

/* Fills a buffer with repetitions of a piece of PIECE_BYTES. */
static bool repeat(struct prediction *p, const struct buffer *buffer, const void *piece,
                   struct error *err)
{
    bool ok = true;
    for (uint64_t done = 0; ok && done < buffer->bytes; done += PIECE_BYTES) {
        uint64_t left = buffer->bytes - done;
        ok = p->backend->functions->write(p->backend, buffer, done, piece,
                                          left < PIECE_BYTES ? left : PIECE_BYTES, err);
    }
    return ok;
}

/* The step's tokens are all the first of the vocabulary. */
static bool clear_step(struct prediction *p, struct error *err)
{
    static const uint32_t zeros[sizeof(struct step) / sizeof(uint32_t) + PREDICTION_MAX_TOKENS];
    return p->backend->functions->write(p->backend, &p->buffers[PREDICTION_STEP], 0, zeros,
                                        sizeof(zeros), err);
}

static bool fill_input(struct prediction *p, struct error *err)
{
    uint32_t random = 1;
    float *values = malloc(PIECE_BYTES);
    if (!values) {
        return error_set(err, "not enough memory to predict a speed");
    }
    for (uint64_t i = 0; i < PIECE_BYTES / sizeof(float); i++) {
        random = random * 1664525u + 1013904223u;
        float size = 0x1p-10f * (1 + (float)(random >> 8) * 0x1p-24f);
        values[i] = random >> 31 ? size : -size;
    }
    bool ok = repeat(p, &p->buffers[PREDICTION_INPUT], values, err);
    free(values);
    return ok;
}

/* A byte that a type reads as ordinary numbers wherever it stands. */
static int ordinary_byte(enum dtype dtype)
{
    static const uint8_t candidates[] = {0x38, 0x78, 0x30, 0x70, 0x28};
    uint8_t block[256];
    float values[256];
    const struct dtype_info *type = dtype_info(dtype);
    for (size_t c = 0; c < sizeof(candidates); c++) {
        const uint8_t *planes[DTYPE_MAX_PLANES] = {block, block, block, block};
        bool ordinary = true;
        for (size_t i = 0; i < sizeof(block); i++) {
            block[i] = candidates[c];
        }
        quant_of(dtype)->decode_row(planes, type->block_elements, values);
        for (uint32_t i = 0; i < type->block_elements; i++) {
            ordinary = ordinary && fabsf(values[i]) > 1e-6f && fabsf(values[i]) < 1e4f;
        }
        if (ordinary) {
            return candidates[c];
        }
    }
    return candidates[0];
}

bool prediction_fill_weights(struct prediction *p, enum dtype dtype, struct error *err)
{
    int byte = ordinary_byte(dtype);
    if (byte == p->fill) {
        return true;
    }
    uint8_t *bytes = malloc(PIECE_BYTES);
    if (!bytes) {
        return error_set(err, "not enough memory to predict a speed");
    }
    uint32_t random = 1;
    for (uint64_t i = 0; i < PIECE_BYTES; i++) {
        random = random * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(byte | random >> 30); /* not all alike */
    }
    bool ok = repeat(p, &p->buffers[PREDICTION_WEIGHTS], bytes, err);
    p->fill = ok ? byte : -1;
    free(bytes);
    return ok;
}

struct prediction *prediction_create(struct backend *backend, uint64_t resident_bytes,
                                     struct error *err)
{
    const struct {
        uint64_t bytes;
        enum buffer_use use;
    } wanted[PREDICTION_BUFFERS] = {
        [PREDICTION_STEP] = {sizeof(struct step) + PREDICTION_MAX_TOKENS * sizeof(uint32_t),
                             BUFFER_STEP},
        [PREDICTION_WEIGHTS] = {weight_bytes(backend, resident_bytes), BUFFER_WEIGHTS},
        [PREDICTION_INPUT] = {ACTIVATION_BYTES, BUFFER_ACTIVATIONS},
        [PREDICTION_OUTPUT] = {ACTIVATION_BYTES, BUFFER_ACTIVATIONS},
        [PREDICTION_TABLES] = {TABLES_BYTES, BUFFER_ACTIVATIONS},
    };
    struct prediction *p = calloc(1, sizeof(*p));
    if (!p) {
        error_set(err, "not enough memory to predict a speed");
        return NULL;
    }
    p->backend = backend;
    p->resident_bytes = resident_bytes;
    p->fill = -1;
    for (uint32_t i = 0; i < PREDICTION_BUFFERS; i++) {
        if (!backend->functions->buffer_create(backend, wanted[i].bytes, wanted[i].use,
                                               &p->buffers[i], err)) {
            prediction_destroy(&p);
            return NULL;
        }
        p->n_buffers++;
    }
    if (!clear_step(p, err) || !fill_input(p, err)) {
        prediction_destroy(&p);
    }
    return p;
}

void prediction_destroy(struct prediction **prediction)
{
    struct prediction *p = *prediction;
    if (p) {
        for (uint32_t i = 0; i < p->n_buffers; i++) {
            p->backend->functions->buffer_destroy(p->backend, &p->buffers[i]);
        }
        free(p);
    }
    *prediction = NULL;
}

struct tensor prediction_tensor(const struct prediction *p, enum prediction_buffer buffer,
                                uint64_t offset)
{
    assert(offset < p->buffers[buffer].bytes);
    return (struct tensor){.dtype = DTYPE_F32,
                           .bytes = p->buffers[buffer].bytes - offset,
                           .address = p->buffers[buffer].address + offset};
}

/* ---- time ---- */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool time_piece(struct prediction *p, struct program *program, uint32_t runs,
                       double *seconds, struct error *err)
{
    bool ok = true;
    double begin = now();
    for (uint32_t i = 0; ok && i < runs; i++) {
        ok = p->backend->functions->run(p->backend, program, err);
    }
    *seconds = (now() - begin) / runs;
    return ok;
}

/* Seconds of one run of a program. */
static bool time_program(struct prediction *p, struct program *program, double *seconds,
                         struct error *err)
{
    double pieces[MOST_PIECES], first;
    uint32_t n = 0;
    if (!time_piece(p, program, 1, &first, err) || !time_piece(p, program, 1, &first, err)) {
        return false;
    }
    double runs = fmax(1, ceil(MIN_SECONDS / MOST_PIECES / fmax(first, 1e-7)));
    double begin = now();
    while (n < LEAST_PIECES || (n < MOST_PIECES && now() - begin < MIN_SECONDS)) {
        if (!time_piece(p, program, (uint32_t)runs, &pieces[n++], err)) {
            return false;
        }
    }
    qsort(pieces, n, sizeof(*pieces), by_size);
    *seconds = pieces[n / 2];
    return true;
}

bool prediction_time(struct prediction *p, const struct op_list *list, uint32_t n,
                     uint32_t position, const struct backend_peaks *peaks, double *seconds,
                     struct error *err)
{
    const struct backend_functions *functions = p->backend->functions;
    struct step step = {.n_tokens = n, .position = position};
    struct program *program = functions->program_create(p->backend, list, err);
    double whole = 0;
    bool ok =
        program &&
        functions->write(p->backend, &p->buffers[PREDICTION_STEP], 0, &step, sizeof(step), err) &&
        time_program(p, program, &whole, err);
    functions->program_destroy(p->backend, program);
    double waiting = op_list_steps(list, NULL) * peaks->step_seconds + peaks->submit_seconds;
    *seconds = fmax(whole - waiting, whole / 10);
    return ok;
}

bool prediction_again(struct prediction *p, struct backend_peaks *peaks, struct error *err)
{
    const struct buffer *weights = &p->buffers[PREDICTION_WEIGHTS];
    uint64_t bytes = p->resident_bytes < weights->bytes ? p->resident_bytes : weights->bytes;
    p->n_measured = 0;
    bytes = bytes > BACKEND_REMEASURE_LEAST ? bytes : BACKEND_REMEASURE_LEAST;
    /* Memory that nobody has written may be no memory at all. */
    return !p->backend->functions->peaks_again ||
           ((p->fill >= 0 || prediction_fill_weights(p, DTYPE_Q8_0, err)) &&
            p->backend->functions->peaks_again(p->backend, weights, bytes, peaks, err));
}

/* ---- what is known ---- */

/* A number made of which tensors are there and of all numbers of the arguments, which follow the
 * addresses. */
static uint64_t shape_of(const struct op *op)
{
    uint64_t shape = UINT64_C(14695981039346656037) ^ op->max_tokens;
    for (uint32_t i = 0; i < op->n_tensors; i++) {
        shape = shape * 2 + (op->tensors[i] != NULL);
    }
    for (uint32_t i = op->n_tensors * 8; i < op_args_bytes(op->kind); i++) {
        shape = (shape ^ op->args.bytes[i]) * UINT64_C(1099511628211); /* FNV-1a */
    }
    return shape;
}

bool prediction_find(struct prediction *p, const struct op *op, uint32_t tokens,
                     const struct backend_peaks *peaks, struct measured *found, struct error *err)
{
    uint64_t shape = shape_of(op);
    for (uint32_t i = 0; i < p->n_measured; i++) {
        const struct measured *known = &p->measured[i];
        if (known->kind == op->kind && known->dtype == op->dtype && known->tokens == tokens &&
            known->shape == shape) {
            *found = *known;
            return true;
        }
    }
    *found =
        (struct measured){.kind = op->kind, .dtype = op->dtype, .tokens = tokens, .shape = shape};
    bool ok = prediction_is_product(op->kind) ? prediction_measure_product(p, op, peaks, found, err)
                                              : prediction_measure_alone(p, op, peaks, found, err);
    found->tokens = tokens;
    if (ok && p->n_measured < PREDICTION_MAX_MEASURED) {
        p->measured[p->n_measured++] = *found;
    }
    return ok;
}
