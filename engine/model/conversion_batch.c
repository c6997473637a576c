#include "engine/model/conversion_batch.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "format/f16.h"
#include "format/quant.h"

/* Elements a thread takes at a time: some tens of microseconds of work. */
#define UNIT_ELEMENTS 16384
/* Source bytes a thread works on between two calls of progress. */
#define WINDOW_BYTES (8u << 20)

/* A matrix of the source on its way to where it goes: row r becomes row first_row + r * row_step of
 * the target. */
struct part {
    struct source_matrix matrix;
    void *memory; /* of the matrix, or NULL */
    const struct conversion_item *item;
    const char *what; /* "gate", ..., for messages; NULL: a matrix */
    const struct dtype_info *type;
    const float *importance;
    uint8_t *target;
    uint64_t target_rows, first_row, row_step;
    bool copy; /* bit for bit */
};

struct unit {
    uint32_t part;
    uint64_t begin, end; /* rows */
};

struct batch {
    const struct conversion_plan *plan;
    struct part *parts;
    uint32_t n_parts;
    struct unit *units;
    uint64_t n_units, first_unit; /* of the window */
    float *rows;                  /* (threads, row_capacity) */
    uint64_t row_capacity;
    atomic_uint_fast32_t bad_part; /* number + 1 of a part with a NaN or infinity, 0: none */
};

static bool all_finite(const float *values, uint64_t n)
{
    uint32_t bad = 0;
    for (uint64_t i = 0; i < n; i++) {
        bad |= (f32_to_bits(values[i]) & 0x7F800000u) == 0x7F800000u;
    }
    return bad == 0;
}

static void make_rows(struct batch *batch, const struct unit *unit, float *values)
{
    const struct part *part = &batch->parts[unit->part];
    uint64_t cols = part->matrix.cols;
    bool quantised = part->type->block_elements > 1;
    for (uint64_t row = unit->begin; row < unit->end; row++) {
        uint64_t to = part->first_row + row * part->row_step;
        if (part->copy) {
            source_matrix_copy(&part->matrix, row, part->target, part->target_rows, to);
            continue;
        }
        source_matrix_read(&part->matrix, row, values);
        if (quantised && !all_finite(values, cols)) {
            atomic_store(&batch->bad_part, unit->part + 1);
        }
        quant_encode_matrix_row(part->type, values, part->importance, part->target,
                                part->target_rows, cols, to);
    }
}

static void make_units(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    struct batch *batch = context;
    for (uint64_t i = begin; i < end; i++) {
        make_rows(batch, &batch->units[batch->first_unit + i],
                  batch->rows + thread * batch->row_capacity);
    }
}

/* ---- setting up ---- */

/* The parts of one item. */
static bool add_parts(struct batch *batch, const struct conversion_item *item, uint8_t *target,
                      struct error *err)
{
    static const char *const names[] = {"gate", "up", "down"};
    const struct conversion_plan *plan = batch->plan;
    const struct conversion_rules *rules = &plan->rules;
    if (!item->row) { /* between gate/up and down */
        uint64_t end = dtype_matrix_bytes(dtype_info(item->type), item->rows, item->cols);
        memset(target + end, 0, item->down_offset - end);
    }
    for (uint32_t i = 0; i < conversion_item_parts(item); i++) {
        struct part *part = &batch->parts[batch->n_parts++];
        bool slab = !item->row, down = slab && i == SOURCE_DOWN;
        *part = (struct part){
            .item = item,
            .what = slab ? names[i] : NULL,
            .type = dtype_info(down ? item->down_type : item->type),
            .target = target + (down ? item->down_offset : 0),
            .target_rows = down ? item->cols : item->rows,
            .first_row = slab && i == SOURCE_UP,
            .row_step = slab && !down ? 2 : 1,
        };
        conversion_item_source(plan, item, i, &part->matrix);
        if (rules->importance) {
            part->importance =
                rules->importance(rules->context, item->role, item->layer, item->expert, i);
        }
        if (!source_load(plan->source, &part->matrix, &part->memory, err)) {
            return false;
        }
        part->copy = source_matrix_exact(&part->matrix) == part->type->dtype;
        uint64_t cols = part->matrix.cols;
        batch->row_capacity = cols > batch->row_capacity ? cols : batch->row_capacity;
    }
    return true;
}

static uint64_t unit_rows(const struct part *part)
{
    return UNIT_ELEMENTS / part->matrix.cols + 1;
}

static bool make_list_of_units(struct batch *batch, struct error *err)
{
    uint64_t capacity = 0;
    for (uint32_t i = 0; i < batch->n_parts; i++) {
        capacity += batch->parts[i].matrix.rows / unit_rows(&batch->parts[i]) + 1;
    }
    batch->units = malloc(capacity * sizeof(*batch->units));
    if (!batch->units) {
        return error_set(err, "not enough memory to convert %s", batch->plan->source->name);
    }
    for (uint32_t i = 0; i < batch->n_parts; i++) {
        uint64_t rows = batch->parts[i].matrix.rows, step = unit_rows(&batch->parts[i]);
        for (uint64_t row = 0; row < rows; row += step) {
            batch->units[batch->n_units++] =
                (struct unit){i, row, rows - row < step ? rows : row + step};
        }
    }
    return true;
}

/* Asks the system to read what the item will be made from. */
static void prefetch(const struct conversion_plan *plan, const struct conversion_item *item)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (uint32_t i = 0; i < conversion_item_parts(item); i++) {
        struct source_matrix matrix;
        const uint8_t *begin;
        uint64_t bytes;
        conversion_item_source(plan, item, i, &matrix);
        source_matrix_span(&matrix, 0, matrix.rows, &begin, &bytes);
        uintptr_t first = (uintptr_t)begin & ~(page - 1);
        madvise((void *)first, (uintptr_t)begin + bytes - first, MADV_WILLNEED);
    }
}

/* ---- carrying out ---- */

static uint64_t row_bytes(const struct part *part)
{
    return source_matrix_bytes(&part->matrix) / part->matrix.rows;
}

/* Rows of planes and of transposed matrices lie all over the tensor. */
static bool is_scattered(const struct source_matrix *matrix)
{
    return matrix->transposed || matrix->encoding == SOURCE_PLANES;
}

/* Lets go of the pages of units [begin, end). */
static void release_units(const struct batch *batch, uint64_t begin, uint64_t end)
{
    const struct source *source = batch->plan->source;
    while (begin < end) {
        const struct unit *first = &batch->units[begin];
        const struct part *part = &batch->parts[first->part];
        uint64_t next = begin + 1;
        while (next < end && batch->units[next].part == first->part) {
            next++;
        }
        uint64_t last_row = batch->units[next - 1].end;
        if (!part->memory && !is_scattered(&part->matrix)) {
            source->functions->release(source, &part->matrix, first->begin,
                                       last_row - first->begin);
        } else if (!part->memory && last_row == part->matrix.rows) {
            source->functions->release(source, &part->matrix, 0, last_row);
        }
        begin = next;
    }
}

static bool check_finite(struct batch *batch, struct error *err)
{
    uint32_t number = (uint32_t)atomic_load(&batch->bad_part);
    if (number == 0) {
        return true;
    }
    const struct part *part = &batch->parts[number - 1];
    char name[CONVERSION_NAME];
    conversion_item_name(part->item, name);
    return error_set(err,
                     "%s: %s%s%s has a NaN or an infinity, which %s cannot hold; the source is "
                     "damaged, or --type f32, f16 or bf16 may keep it",
                     batch->plan->source->path, name, part->what ? " " : "",
                     part->what ? part->what : "", part->type->name);
}

static bool run_units(struct batch *batch, const struct conversion_work *work, uint64_t *done,
                      struct error *err)
{
    uint32_t threads = work->pool ? thread_pool_size(work->pool) : 1;
    while (batch->first_unit < batch->n_units) {
        uint64_t end = batch->first_unit, bytes = 0;
        for (; end < batch->n_units && bytes < (uint64_t)WINDOW_BYTES * threads; end++) {
            const struct unit *unit = &batch->units[end];
            bytes += (unit->end - unit->begin) * row_bytes(&batch->parts[unit->part]);
        }
        thread_pool_for(work->pool, end - batch->first_unit, 1, make_units, batch);
        release_units(batch, batch->first_unit, end);
        batch->first_unit = end;
        *done += bytes;
        if (work->progress &&
            !work->progress(work->progress_context, *done, batch->plan->source_bytes)) {
            return error_set(err, "stopped");
        }
        if (!check_finite(batch, err)) {
            return false;
        }
    }
    return true;
}

bool conversion_batch_make(const struct conversion_plan *plan, uint64_t first, uint64_t n,
                           uint8_t *const *targets, const struct conversion_work *work,
                           uint64_t *done, struct error *err)
{
    uint32_t threads = work->pool ? thread_pool_size(work->pool) : 1;
    struct batch batch = {.plan = plan};
    batch.parts = calloc(n * SOURCE_PARTS, sizeof(*batch.parts));
    bool ok = batch.parts || error_set(err, "not enough memory to convert %s", plan->source->name);
    for (uint64_t i = 0; ok && i < n; i++) {
        prefetch(plan, &plan->items[first + i]);
        ok = add_parts(&batch, &plan->items[first + i], targets[i], err);
    }
    ok = ok && make_list_of_units(&batch, err);
    if (ok) {
        batch.rows = malloc(threads * batch.row_capacity * sizeof(float));
        ok = batch.rows || error_set(err, "not enough memory to convert %s", plan->source->name);
    }
    ok = ok && run_units(&batch, work, done, err);
    for (uint32_t i = 0; i < batch.n_parts; i++) {
        free(batch.parts[i].memory);
    }
    free(batch.rows);
    free(batch.units);
    free(batch.parts);
    return ok;
}
