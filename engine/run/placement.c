#include "engine/run/placement.h"

#include <stdlib.h>

#include "engine/base/read_ahead.h"

/* Most bytes of the file that are imported as one buffer: devices bound both the size of one and
 * their number. */
#define PIECE_BYTES (UINT64_C(512) << 20)

/* A stretch of the mapped file that holds whole records, used where it lies. */
struct piece {
    const uint8_t *host;
    uint64_t bytes;
    struct buffer buffer;
};

struct placement {
    struct backend *backend;
    const struct model_file *file;
    const struct placement_request *request;
    struct piece *pieces; /* (n_pieces) in the order of the file */
    uint64_t n_pieces;
    struct buffer *buffers;
    uint64_t n_buffers;
    struct read_ahead *ahead; /* of the pieces */
    uint64_t done, total;     /* bytes, for progress */
};

/* The piece that holds these bytes, or NULL. */
static const struct piece *find_piece(const struct placement *p, const uint8_t *raw)
{
    uint64_t first = 0, end = p->n_pieces;
    while (first < end) { /* the last that begins at or before them */
        uint64_t middle = first + (end - first) / 2;
        if (p->pieces[middle].host <= raw) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    const struct piece *piece = first > 0 ? &p->pieces[first - 1] : NULL;
    return piece && (uint64_t)(raw - piece->host) < piece->bytes ? piece : NULL;
}

/* Calls fn for every record of the request: weights, then slabs. */
static bool each_record(const struct model_file *file, const struct placement_request *request,
                        bool (*fn)(void *context, const struct tensor_record *record),
                        void *context)
{
    for (uint32_t i = 0; i < request->n_weights; i++) {
        if (!fn(context, &request->weights[i]->record)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < request->n_experts; i++) {
        const struct expert_set *experts = request->experts[i];
        for (uint32_t expert = 0; expert < experts->n_experts; expert++) {
            struct tensor_record record;
            model_file_tensor_at(file, experts->first_record + expert, &record);
            if (!fn(context, &record)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- in place ---- */

struct raw_record {
    const uint8_t *host;
    uint64_t bytes;
};

struct raw_records {
    const struct model_file *file;
    struct raw_record *list;
    uint64_t n;
};

static bool collect_raw(void *context, const struct tensor_record *record)
{
    struct raw_records *records = context;
    const void *raw = model_file_raw(records->file, record);
    if (raw) {
        if (records->list) {
            records->list[records->n] = (struct raw_record){raw, record->raw_bytes};
        }
        records->n++;
    }
    return true;
}

static int compare_raw(const void *a, const void *b)
{
    const struct raw_record *x = a, *y = b;
    return (x->host > y->host) - (x->host < y->host);
}

/* Joins neighbours to pieces. A record that is used twice is in one piece once. */
static void make_pieces(struct placement *p, const struct raw_records *records)
{
    for (uint64_t i = 0; i < records->n; i++) {
        const struct raw_record *record = &records->list[i];
        struct piece *last = p->n_pieces ? &p->pieces[p->n_pieces - 1] : NULL;
        uint64_t end = last ? (uint64_t)(record->host - last->host) + record->bytes : 0;
        if (last && (end <= PIECE_BYTES || record->host < last->host + last->bytes)) {
            last->bytes = end > last->bytes ? end : last->bytes;
        } else {
            p->pieces[p->n_pieces++] = (struct piece){record->host, record->bytes, {0}};
        }
    }
}

static void drop_pieces(struct placement *p, uint64_t n_imported)
{
    for (uint64_t i = 0; i < n_imported; i++) {
        p->backend->functions->buffer_destroy(p->backend, &p->pieces[i].buffer);
    }
    free(p->pieces);
    p->pieces = NULL;
    p->n_pieces = 0;
}

/* Imports every raw record of the request, or none: then they are copied. False: no memory. */
static bool import_records(struct placement *p, struct error *err)
{
    struct raw_records records = {.file = p->file};
    if (!p->backend->functions->buffer_import) {
        return true;
    }
    each_record(p->file, p->request, collect_raw, &records);
    if (records.n == 0) {
        return true;
    }
    records.list = calloc(records.n, sizeof(*records.list));
    p->pieces = calloc(records.n, sizeof(*p->pieces));
    if (!records.list || !p->pieces) {
        free(records.list);
        return error_set(err, "not enough memory to place the weights");
    }
    records.n = 0;
    each_record(p->file, p->request, collect_raw, &records);
    qsort(records.list, records.n, sizeof(*records.list), compare_raw);
    make_pieces(p, &records);
    free(records.list);
    for (uint64_t i = 0; i < p->n_pieces; i++) {
        struct piece *piece = &p->pieces[i];
        if (!p->backend->functions->buffer_import(p->backend, piece->host, piece->bytes,
                                                  &piece->buffer, NULL)) {
            drop_pieces(p, i);
            break;
        }
    }
    return true;
}

/* What fits into memory is read before it is asked for; what does not would drive itself out. */
static void read_pieces_ahead(struct placement *p)
{
    struct backend_memory memory;
    if (p->n_pieces == 0) {
        return;
    }
    const struct piece *first = &p->pieces[0], *last = &p->pieces[p->n_pieces - 1];
    uint64_t bytes = (uint64_t)(last->host - first->host) + last->bytes;
    p->backend->functions->memory(p->backend, &memory);
    if (bytes <= memory.available) {
        p->ahead = read_ahead_begin(first->host, bytes);
    }
}

/* ---- the plan ---- */

struct sum {
    const struct placement *placement;
    uint64_t resident, all, records;
};

static bool sum_record(void *context, const struct tensor_record *record)
{
    struct sum *sum = context;
    const uint8_t *raw = model_file_raw(sum->placement->file, record);
    sum->all += record->raw_bytes;
    sum->records++;
    if (!raw || !find_piece(sum->placement, raw)) {
        sum->resident += record->raw_bytes;
    }
    return true;
}

/* Decodes (or copies) one record into a new buffer, unless it is in a piece. */
static bool place_record(struct placement *p, const struct tensor_record *record, uint64_t *address,
                         struct error *err)
{
    const struct backend_functions *backend = p->backend->functions;
    const uint8_t *raw = model_file_raw(p->file, record);
    const struct piece *piece = raw ? find_piece(p, raw) : NULL;
    bool ok = true;
    if (piece) {
        *address = piece->buffer.address + (uint64_t)(raw - piece->host);
    } else {
        struct buffer *buffer = &p->buffers[p->n_buffers];
        ok = backend->buffer_create(p->backend, record->raw_bytes, BUFFER_WEIGHTS, buffer, err);
        p->n_buffers += ok;
        *address = buffer->address;
        void *decoded = NULL;
        if (ok && !raw) {
            decoded = malloc(record->raw_bytes);
            ok = decoded ? model_file_load(p->file, record, decoded, err)
                         : error_set(err, "not enough memory to decode %.*s",
                                     (int)record->name_bytes, record->name);
        }
        ok = ok &&
             backend->write(p->backend, buffer, 0, raw ? raw : decoded, record->raw_bytes, err);
        free(decoded);
    }
    if (!ok) {
        return false;
    }
    p->done += record->raw_bytes;
    if (p->request->progress) {
        p->request->progress(p->request->progress_context, p->done, p->total);
    }
    return true;
}

/* Makes the table of a class from the addresses of all experts of its set. */
static bool place_table(struct placement *p, const struct expert_set *experts,
                        struct expert_class *class, const uint64_t *addresses, uint64_t *table,
                        struct error *err)
{
    const struct backend_functions *backend = p->backend->functions;
    struct buffer *buffer = &p->buffers[p->n_buffers];
    for (uint32_t expert = 0; expert < experts->n_experts; expert++) {
        struct tensor_record record;
        model_file_tensor_at(p->file, experts->first_record + expert, &record);
        table[expert] = expert_class_has(class, &record) ? addresses[expert] : 0;
    }
    if (!backend->buffer_create(p->backend, class->slabs.bytes, BUFFER_WEIGHTS, buffer, err)) {
        return false;
    }
    p->n_buffers++;
    class->slabs.address = buffer->address;
    return backend->write(p->backend, buffer, 0, table, class->slabs.bytes, err);
}

static bool place_experts(struct placement *p, struct expert_set *experts, struct error *err)
{
    uint64_t *addresses = calloc(2 * (size_t)experts->n_experts, sizeof(*addresses));
    bool ok = addresses || error_set(err, "not enough memory for a table of experts");
    for (uint32_t expert = 0; ok && expert < experts->n_experts; expert++) {
        struct tensor_record record;
        model_file_tensor_at(p->file, experts->first_record + expert, &record);
        ok = place_record(p, &record, &addresses[expert], err);
    }
    for (uint32_t i = 0; ok && i < experts->n_classes; i++) {
        ok = place_table(p, experts, &experts->classes[i], addresses,
                         addresses + experts->n_experts, err);
    }
    free(addresses);
    return ok;
}

/* Asks before anything is allocated. */
static bool check_budget(struct backend *backend, const struct sum *sum, uint64_t session_bytes,
                         struct error *err)
{
    struct backend_memory memory;
    backend->functions->memory(backend, &memory);
    uint64_t need = sum->resident + session_bytes;
    if (need <= memory.available) {
        return true;
    }
    return error_set(
        err,
        "the model needs %.1f MiB and %s has %.1f MiB free: use a smaller type, or --device cpu",
        (double)need / 1048576, backend->name, (double)memory.available / 1048576);
}

static bool place_all(struct placement *p, struct error *err)
{
    const struct placement_request *request = p->request;
    for (uint32_t i = 0; i < request->n_weights; i++) {
        struct weight *weight = request->weights[i];
        if (!place_record(p, &weight->record, &weight->tensor.address, err)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < request->n_experts; i++) {
        if (!place_experts(p, request->experts[i], err)) {
            return false;
        }
    }
    return true;
}

static bool make_buffers(struct placement *p, uint64_t records, struct error *err)
{
    uint64_t n_tables = 0;
    for (uint32_t i = 0; i < p->request->n_experts; i++) {
        n_tables += p->request->experts[i]->n_classes;
    }
    p->buffers = calloc(records + n_tables, sizeof(*p->buffers));
    return p->buffers || error_set(err, "not enough memory to place the weights");
}

struct placement *placement_create(struct backend *backend, const struct model_file *file,
                                   const struct placement_request *request, struct error *err)
{
    struct placement *p = calloc(1, sizeof(*p));
    if (!p) {
        error_set(err, "not enough memory to place the weights");
        return NULL;
    }
    *p = (struct placement){.backend = backend, .file = file, .request = request};
    bool ok = import_records(p, err);
    if (ok) {
        struct sum sum = {.placement = p};
        each_record(file, request, sum_record, &sum);
        p->total = sum.all;
        ok = check_budget(backend, &sum, request->session_bytes, err) &&
             make_buffers(p, sum.records, err) && place_all(p, err);
    }
    if (!ok) {
        placement_destroy(&p);
        return NULL;
    }
    read_pieces_ahead(p);
    p->request = NULL; /* the caller's arrays are not needed any more */
    return p;
}

void placement_destroy(struct placement **placement)
{
    struct placement *p = *placement;
    if (!p) {
        return;
    }
    read_ahead_end(&p->ahead);
    for (uint64_t i = 0; i < p->n_buffers; i++) {
        p->backend->functions->buffer_destroy(p->backend, &p->buffers[i]);
    }
    drop_pieces(p, p->n_pieces);
    free(p->buffers);
    free(p);
    *placement = NULL;
}
