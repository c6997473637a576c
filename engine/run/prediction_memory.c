/* What probes read and write: weights that are as many as the model's, activations, a step. */
#include "engine/run/prediction_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "format/quant.h"

/* As many bytes of weights as the model has, up to where no processor's cache holds them, and at
 * least so many. */
#define MOST_WEIGHTS (UINT64_C(256) << 20)
#define LEAST_WEIGHTS (UINT64_C(8) << 20)
#define ACTIVATION_BYTES (UINT64_C(32) << 20)
#define PIECE_BYTES (UINT64_C(1) << 20)

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

static const uint8_t candidates[PREDICTION_MAX_FILLS] = {0x38, 0x78, 0x30, 0x70, 0x28};

/* The index of the byte that a type reads as ordinary numbers wherever it stands. */
static size_t ordinary_byte(enum dtype dtype)
{
    uint8_t block[256];
    float values[256];
    const struct dtype_info *type = dtype_info(dtype);
    for (size_t c = 0; c < PREDICTION_MAX_FILLS; c++) {
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
            return c;
        }
    }
    return 0;
}

static bool fill_weights(struct prediction *p, const struct buffer *buffer, uint8_t byte,
                         struct error *err)
{
    uint8_t *bytes = malloc(PIECE_BYTES);
    if (!bytes) {
        return error_set(err, "not enough memory to predict a speed");
    }
    uint32_t random = 1;
    for (uint64_t i = 0; i < PIECE_BYTES; i++) {
        random = random * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(byte | random >> 30); /* not all alike */
    }
    bool ok = repeat(p, buffer, bytes, err);
    free(bytes);
    return ok;
}

const struct buffer *prediction_weights(struct prediction *p, enum dtype dtype, struct error *err)
{
    size_t fill = ordinary_byte(dtype);
    struct buffer *buffer = &p->weights[fill];
    const struct backend_functions *functions = p->backend->functions;
    if (buffer->bytes > 0) {
        return buffer;
    }
    if (!functions->buffer_create(p->backend, p->weight_bytes, BUFFER_WEIGHTS, buffer, err)) {
        buffer->bytes = 0;
        return NULL;
    }
    if (!fill_weights(p, buffer, candidates[fill], err)) {
        functions->buffer_destroy(p->backend, buffer);
        buffer->bytes = 0;
        return NULL;
    }
    return buffer;
}

bool prediction_memory_create(struct prediction *p, struct error *err)
{
    const struct {
        uint64_t bytes;
        enum buffer_use use;
    } wanted[PREDICTION_BUFFERS] = {
        [PREDICTION_STEP] = {sizeof(struct step) + PREDICTION_MAX_TOKENS * sizeof(uint32_t),
                             BUFFER_STEP},
        [PREDICTION_INPUT] = {ACTIVATION_BYTES, BUFFER_ACTIVATIONS},
        [PREDICTION_OUTPUT] = {ACTIVATION_BYTES, BUFFER_ACTIVATIONS},
    };
    p->weight_bytes = weight_bytes(p->backend, p->resident_bytes);
    for (uint32_t i = 0; i < PREDICTION_BUFFERS; i++) {
        if (!p->backend->functions->buffer_create(p->backend, wanted[i].bytes, wanted[i].use,
                                                  &p->buffers[i], err)) {
            return false;
        }
        p->n_buffers++;
    }
    return clear_step(p, err) && fill_input(p, err);
}

void prediction_memory_destroy(struct prediction *p)
{
    for (uint32_t i = 0; i < p->n_buffers; i++) {
        p->backend->functions->buffer_destroy(p->backend, &p->buffers[i]);
    }
    for (uint32_t i = 0; i < PREDICTION_MAX_FILLS; i++) {
        if (p->weights[i].bytes > 0) {
            p->backend->functions->buffer_destroy(p->backend, &p->weights[i]);
        }
    }
}

struct tensor prediction_tensor(const struct buffer *buffer, uint64_t offset)
{
    assert(offset < buffer->bytes);
    return (struct tensor){
        .dtype = DTYPE_F32, .bytes = buffer->bytes - offset, .address = buffer->address + offset};
}
