#include "engine/model/conversion.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/model/conversion_batch.h"

#define BATCH_BYTES (64u << 20) /* of a batch, unless one item is larger */
#define BATCHES 3               /* being made, waiting, being written */

bool conversion_item_make(const struct conversion_plan *plan, const struct conversion_item *item,
                          struct thread_pool *pool, void *target, struct error *err)
{
    struct conversion_work work = {.pool = pool};
    uint8_t *targets[] = {target};
    uint64_t done = 0;
    return conversion_batch_make(plan, (uint64_t)(item - plan->items), 1, targets, &work, &done,
                                 err);
}

/* ---- the head ---- */

static bool put_text(struct model_writer *writer, const char *key, const char *text,
                     struct error *err)
{
    return model_writer_string(writer, key, text, strlen(text), err);
}

/* "bf16", or "f32, bf16": what the source stores, in a fixed order. */
static void source_types(const struct conversion_plan *plan, char text[128])
{
    static const char *const names[] = {[SOURCE_F32] = "f32",
                                        [SOURCE_F16] = "f16",
                                        [SOURCE_BF16] = "bf16",
                                        [SOURCE_F8_E4M3] = "f8_e4m3",
                                        [SOURCE_MXFP4_PAIR] = "mxfp4"};
    enum { SCALARS = sizeof(names) / sizeof(names[0]) };
    bool scalar[SCALARS] = {false}, block[64] = {false};
    for (uint64_t i = 0; i < plan->n_items; i++) {
        for (uint32_t part = 0; part < conversion_item_parts(&plan->items[i]); part++) {
            struct source_matrix matrix;
            conversion_item_source(plan, &plan->items[i], part, &matrix);
            if ((uint32_t)matrix.encoding < SCALARS) {
                scalar[matrix.encoding] = true;
            } else {
                block[matrix.block_type->dtype] = true;
            }
        }
    }
    size_t used = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < SCALARS + 64; i++) {
        bool seen = i < SCALARS ? scalar[i] : block[i - SCALARS];
        const char *name = i < SCALARS ? names[i] : dtype_name(i - SCALARS);
        if (seen && used < 128) {
            used += (size_t)snprintf(text + used, 128 - used, "%s%s", used ? ", " : "", name);
        }
    }
}

static bool write_head(const struct conversion_plan *plan, const struct conversion_options *options,
                       struct model_writer *writer, struct error *err)
{
    const struct source *source = plan->source;
    char types[128];
    source_types(plan, types);
    return put_text(writer, "architecture", source->arch->name, err) &&
           put_text(writer, "name", options->name ? options->name : source->name, err) &&
           put_text(writer, "file.type", plan->type_name, err) &&
           put_text(writer, "source.converter", options->converter ? options->converter : "moxie",
                    err) &&
           put_text(writer, "source.format", source->format, err) &&
           put_text(writer, "source.dtype", types, err) &&
           model_writer_u64(writer, "source.files", source->n_files, err) &&
           model_writer_u64(writer, "source.tensors", source->n_tensors, err) &&
           hparams_write(&source->hparams, writer, err) &&
           (!source->tokenizer ||
            model_writer_tokenizer(writer, source->tokenizer, source->tokenizer_bytes, err)) &&
           (!source->chat_template || model_writer_chat_template(writer, source->chat_template,
                                                                 source->chat_template_bytes, err));
}

bool conversion_open_planned(const struct conversion_plan *plan,
                             const struct conversion_options *options, struct model_file *file,
                             struct error *err)
{
    struct model_writer *writer = model_writer_open_plan(plan->source->path, err);
    bool ok = writer && write_head(plan, options, writer, err);
    for (uint64_t i = 0; ok && i < plan->n_items; i++) {
        ok = conversion_item_write(&plan->items[i], writer, NULL, err);
    }
    if (!ok) {
        model_writer_abort(writer);
        return false;
    }
    return model_writer_finish_plan(writer, file, err);
}

/* ---- making and writing at the same time ---- */

/* Some items in a row; `memory` is used again for every third batch. */
struct batch_memory {
    uint64_t first, n;
    uint8_t *memory;
    uint64_t capacity;
    uint64_t *offsets; /* (n), of the items */
    uint64_t offsets_capacity;
};

struct run {
    const struct conversion_plan *plan;
    struct model_writer *writer;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct batch_memory batches[BATCHES];
    uint64_t n_made, n_written; /* batches; batch i lies in batches[i % BATCHES] */
    bool finished;              /* no more will be made */
    bool failed;                /* the writer has */
    struct error writer_error;
};

static bool write_batch(struct run *run, const struct batch_memory *batch)
{
    for (uint64_t i = 0; i < batch->n; i++) {
        if (!conversion_item_write(&run->plan->items[batch->first + i], run->writer,
                                   batch->memory + batch->offsets[i], &run->writer_error)) {
            return false;
        }
    }
    return true;
}

static void *write_batches(void *context)
{
    struct run *run = context;
    pthread_mutex_lock(&run->mutex);
    while (!run->failed) {
        while (run->n_written == run->n_made && !run->finished) {
            pthread_cond_wait(&run->changed, &run->mutex);
        }
        if (run->n_written == run->n_made) {
            break;
        }
        struct batch_memory *batch = &run->batches[run->n_written % BATCHES];
        pthread_mutex_unlock(&run->mutex);
        bool ok = write_batch(run, batch);
        if (batch->capacity > BATCH_BYTES) { /* a large matrix does not stay beside the next */
            free(batch->memory);
            batch->memory = NULL;
            batch->capacity = 0;
        }
        pthread_mutex_lock(&run->mutex);
        run->n_written += ok;
        run->failed = !ok;
        pthread_cond_signal(&run->changed);
    }
    pthread_mutex_unlock(&run->mutex);
    return NULL;
}

/* The items of the batch that begins at `first`: as many as fit, at least one. */
static uint64_t batch_length(const struct conversion_plan *plan, uint64_t first, uint64_t *bytes)
{
    uint64_t n = 0;
    *bytes = 0;
    while (first + n < plan->n_items) {
        uint64_t more = (plan->items[first + n].bytes + 63) & ~UINT64_C(63);
        if (n > 0 && *bytes + more > BATCH_BYTES) {
            break;
        }
        *bytes += more;
        n++;
    }
    return n;
}

static bool batch_allocate(struct batch_memory *batch, uint64_t bytes, struct error *err)
{
    if (batch->n > batch->offsets_capacity) {
        free(batch->offsets);
        batch->offsets = malloc(batch->n * sizeof(*batch->offsets));
        batch->offsets_capacity = batch->offsets ? batch->n : 0;
    }
    if (bytes > batch->capacity) {
        free(batch->memory);
        batch->capacity = bytes < BATCH_BYTES ? BATCH_BYTES : bytes;
        batch->memory = malloc(batch->capacity);
    }
    if (!batch->memory || !batch->offsets) {
        batch->capacity = 0;
        return error_set(err, "not enough memory for a matrix of %.1f MiB",
                         (double)bytes / 1048576);
    }
    return true;
}

/* Waits until there is room for a batch of so many bytes: a place, and for one larger than usual
 * nothing else in memory. False if the writer has failed. */
static bool wait_for_room(struct run *run, uint64_t bytes)
{
    uint64_t most = bytes > BATCH_BYTES ? 0 : BATCHES - 1;
    pthread_mutex_lock(&run->mutex);
    while (!run->failed && run->n_made - run->n_written > most) {
        pthread_cond_wait(&run->changed, &run->mutex);
    }
    bool ok = !run->failed;
    pthread_mutex_unlock(&run->mutex);
    return ok;
}

static bool make_batch(struct run *run, uint64_t first, uint64_t n, uint64_t bytes,
                       const struct conversion_work *work, uint64_t *done, struct error *err)
{
    struct batch_memory *batch = &run->batches[run->n_made % BATCHES];
    batch->first = first;
    batch->n = n;
    uint8_t **targets = malloc(n * sizeof(*targets));
    bool ok = targets || error_set(err, "not enough memory to convert %s", run->plan->source->name);
    ok = ok && batch_allocate(batch, bytes, err);
    uint64_t offset = 0;
    for (uint64_t i = 0; ok && i < n; i++) {
        batch->offsets[i] = offset;
        targets[i] = batch->memory + offset;
        offset += (run->plan->items[first + i].bytes + 63) & ~UINT64_C(63);
    }
    ok = ok && conversion_batch_make(run->plan, first, n, targets, work, done, err);
    free(targets);
    return ok;
}

/* Makes all batches; false with a sentence if one cannot be made, without one if the writer has
 * failed. */
static bool make_batches(struct run *run, const struct conversion_work *work, struct error *err)
{
    uint64_t done = 0, bytes;
    for (uint64_t first = 0; first < run->plan->n_items;) {
        uint64_t n = batch_length(run->plan, first, &bytes);
        if (!wait_for_room(run, bytes)) {
            return true; /* the writer says why */
        }
        if (!make_batch(run, first, n, bytes, work, &done, err)) {
            return false;
        }
        first += n;
        pthread_mutex_lock(&run->mutex);
        run->n_made++;
        pthread_cond_signal(&run->changed);
        pthread_mutex_unlock(&run->mutex);
    }
    return true;
}

static bool write_weights(const struct conversion_plan *plan, struct model_writer *writer,
                          const struct conversion_work *work, struct error *err)
{
    struct run run = {.plan = plan,
                      .writer = writer,
                      .mutex = PTHREAD_MUTEX_INITIALIZER,
                      .changed = PTHREAD_COND_INITIALIZER};
    pthread_t thread;
    if (pthread_create(&thread, NULL, write_batches, &run) != 0) {
        return error_set(err, "no thread could be started to write %s", plan->source->name);
    }
    bool ok = make_batches(&run, work, err);
    pthread_mutex_lock(&run.mutex);
    run.finished = true;
    run.failed = run.failed || !ok; /* nothing more needs to be written */
    pthread_cond_signal(&run.changed);
    pthread_mutex_unlock(&run.mutex);
    pthread_join(thread, NULL);
    for (uint32_t i = 0; i < BATCHES; i++) {
        free(run.batches[i].memory);
        free(run.batches[i].offsets);
    }
    if (ok && run.failed) {
        *err = run.writer_error;
        ok = false;
    }
    return ok;
}

bool conversion_run(const struct conversion_plan *plan, const char *path,
                    const struct conversion_options *options, const struct conversion_work *work,
                    uint64_t *file_bytes, struct error *err)
{
    static const struct conversion_work alone;
    if (plan->source->functions->is_part(plan->source, path)) {
        return error_set(err, "%s is part of the source itself; choose another output", path);
    }
    struct model_writer *writer = model_writer_open(path, options->compress, err);
    if (!writer || !write_head(plan, options, writer, err) ||
        !write_weights(plan, writer, work ? work : &alone, err)) {
        model_writer_abort(writer);
        return false;
    }
    struct stat status;
    bool ok = model_writer_finish(writer, err);
    if (ok && file_bytes) {
        *file_bytes = stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
    }
    return ok;
}
