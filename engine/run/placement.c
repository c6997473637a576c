#include "engine/run/placement.h"

#include <stdlib.h>

struct placement {
    struct backend *backend;
    const struct model_file *file;
    const struct placement_request *request;
    struct buffer *buffers;
    uint64_t n_buffers;
    uint64_t done, total; /* bytes, for progress */
};

static bool in_place(const struct backend *backend, const struct model_file *file,
                     const struct tensor_record *record)
{
    return backend->functions->buffer_import && model_file_raw(file, record);
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

struct sum {
    const struct backend *backend;
    const struct model_file *file;
    uint64_t resident, all, records;
};

static bool sum_record(void *context, const struct tensor_record *record)
{
    struct sum *sum = context;
    sum->all += record->raw_bytes;
    sum->records++;
    if (!in_place(sum->backend, sum->file, record)) {
        sum->resident += record->raw_bytes;
    }
    return true;
}

static struct sum sum_request(const struct backend *backend, const struct model_file *file,
                              const struct placement_request *request)
{
    struct sum sum = {.backend = backend, .file = file};
    each_record(file, request, sum_record, &sum);
    return sum;
}

/* Decodes (or copies) one record into a new buffer, or imports it. */
static bool place_record(struct placement *p, const struct tensor_record *record, uint64_t *address,
                         struct error *err)
{
    const struct backend_functions *backend = p->backend->functions;
    struct buffer *buffer = &p->buffers[p->n_buffers];
    const void *raw = model_file_raw(p->file, record);
    bool ok;
    if (raw && backend->buffer_import) {
        ok = backend->buffer_import(p->backend, raw, record->raw_bytes, buffer, err);
        p->n_buffers += ok;
    } else {
        ok = backend->buffer_create(p->backend, record->raw_bytes, BUFFER_WEIGHTS, buffer, err);
        p->n_buffers += ok;
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
    *address = buffer->address;
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

struct placement *placement_create(struct backend *backend, const struct model_file *file,
                                   const struct placement_request *request, struct error *err)
{
    struct sum sum = sum_request(backend, file, request);
    if (!check_budget(backend, &sum, request->session_bytes, err)) {
        return NULL;
    }
    struct placement *p = calloc(1, sizeof(*p));
    if (p) {
        *p = (struct placement){
            .backend = backend, .file = file, .request = request, .total = sum.all};
        uint64_t n_tables = 0;
        for (uint32_t i = 0; i < request->n_experts; i++) {
            n_tables += request->experts[i]->n_classes;
        }
        p->buffers = calloc(sum.records + n_tables, sizeof(*p->buffers));
    }
    bool ok = (p && p->buffers) || error_set(err, "not enough memory to place the weights");
    for (uint32_t i = 0; ok && i < request->n_weights; i++) {
        struct weight *weight = request->weights[i];
        ok = place_record(p, &weight->record, &weight->tensor.address, err);
    }
    for (uint32_t i = 0; ok && i < request->n_experts; i++) {
        ok = place_experts(p, request->experts[i], err);
    }
    if (!ok) {
        placement_destroy(&p);
        return NULL;
    }
    p->request = NULL; /* the caller's arrays are not needed any more */
    return p;
}

void placement_destroy(struct placement **placement)
{
    struct placement *p = *placement;
    if (!p) {
        return;
    }
    for (uint64_t i = 0; i < p->n_buffers; i++) {
        p->backend->functions->buffer_destroy(p->backend, &p->buffers[i]);
    }
    free(p->buffers);
    free(p);
    *placement = NULL;
}
