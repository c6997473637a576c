/* One conversation: tokens in, logits out.
 *
 * The op lists are written once, for each of a few sizes of evaluation (forward_list_for), at their
 * first use. Running one is: write the step, run, read the logits.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/importance.h"
#include "engine/session_internal.h"

#define DEFAULT_MAX_CONTEXT 8192
struct moxie_session_options moxie_session_defaults(void)
{
    return (struct moxie_session_options){.kv_type = MOXIE_KV_F16};
}

/* The tensors of forward are members of its array, one buffer each in the same order. */
static struct buffer *buffer_of(const struct moxie_session *s, const struct tensor *tensor)
{
    const struct forward_tensor *slot = (const struct forward_tensor *)tensor;
    return &s->buffers[slot - s->forward.tensors];
}

static bool place_tensors(struct moxie_session *s, struct error *err)
{
    struct backend *backend = s->model->backend;
    struct backend_memory memory;
    backend->functions->memory(backend, &memory);
    uint64_t need = forward_bytes(&s->forward);
    if (need > memory.available) {
        return error_set(err,
                         "a context of %" PRIu32 " tokens needs %.1f MiB and %s has %.1f MiB free: "
                         "ask for a smaller context",
                         s->forward.options.context, (double)need / 1048576, backend->name,
                         (double)memory.available / 1048576);
    }
    s->buffers = calloc(s->forward.n_tensors, sizeof(*s->buffers));
    if (!s->buffers) {
        return error_set(err, "not enough memory for a session");
    }
    for (uint32_t i = 0; i < s->forward.n_tensors; i++) {
        struct forward_tensor *slot = &s->forward.tensors[i];
        if (!backend->functions->buffer_create(backend, slot->tensor.bytes, slot->use,
                                               &s->buffers[i], err)) {
            return false;
        }
        s->n_buffers++;
        slot->tensor.address = s->buffers[i].address;
        if (slot->initial && !backend->functions->write(backend, &s->buffers[i], 0, slot->initial,
                                                        slot->tensor.bytes, err)) {
            return false;
        }
    }
    return true;
}

static bool allocate_results(struct moxie_session *s, struct error *err)
{
    const struct hparams *hparams = &s->model->model.hparams;
    const struct forward_options *options = &s->forward.options;
    s->step = calloc(1, sizeof(*s->step) + options->chunk * sizeof(uint32_t));
    s->logits = calloc(hparams->vocabulary, sizeof(float));
    bool ok = s->step && s->logits;
    if (ok && options->keep_routes && hparams->experts) {
        size_t n = (size_t)hparams->layers * options->chunk * hparams->experts_per_token;
        s->route_ids = calloc(n, sizeof(uint32_t));
        s->route_weights = calloc(n, sizeof(float));
        ok = s->route_ids && s->route_weights;
    }
    return ok || error_set(err, "not enough memory for a session");
}

/* chunk may stay 0: to be chosen. */
static struct forward_options resolve_options(const struct moxie_model *model,
                                              const struct moxie_session_options *options)
{
    uint32_t trained = model->model.hparams.context;
    uint32_t usual = trained < DEFAULT_MAX_CONTEXT ? trained : DEFAULT_MAX_CONTEXT;
    struct forward_options forward = {
        .context = options->context ? options->context : usual,
        .chunk = options->chunk,
        .expert_wide = model->backend->expert_wide,
        .kv_type = options->kv_type == MOXIE_KV_F32    ? DTYPE_F32
                   : options->kv_type == MOXIE_KV_Q8_0 ? DTYPE_Q8_0
                                                       : DTYPE_F16,
        .keep_routes = options->keep_routes,
        .observe = options->observe,
    };
    if (forward.chunk > forward.context) {
        forward.chunk = forward.context;
    }
    return forward;
}

uint64_t session_default_bytes(const struct moxie_model *model)
{
    struct forward forward;
    struct moxie_session_options defaults = moxie_session_defaults();
    struct forward_options options = resolve_options(model, &defaults);
    options.chunk = options.context < SESSION_USUAL_CHUNK ? options.context : SESSION_USUAL_CHUNK;
    if (!forward_init(&forward, &model->model, &options, NULL)) {
        return 0;
    }
    uint64_t bytes = forward_bytes(&forward);
    forward_free(&forward);
    return bytes;
}

static uint32_t default_chunk(const struct moxie_model *model,
                              const struct forward_options *options)
{
    struct backend_memory memory;
    model->backend->functions->memory(model->backend, &memory);
    return session_chunk_for(&model->model, options, model->backend->chunk, memory.available);
}

struct moxie_session *moxie_session_create(struct moxie_model *model,
                                           const struct moxie_session_options *options,
                                           struct moxie_error *out)
{
    struct error err = {0};
    struct moxie_session_options defaults = moxie_session_defaults();
    struct forward_options forward = resolve_options(model, options ? options : &defaults);
    uint32_t trained = model->model.hparams.context;
    struct moxie_session *s = NULL;
    bool ok = true;
    if (forward.chunk == 0) {
        forward.chunk = default_chunk(model, &forward);
    }
    if (forward.context > trained) {
        ok = error_set(&err,
                       "a context of %" PRIu32 " tokens is more than the %" PRIu32
                       " the model was trained for",
                       forward.context, trained);
    } else {
        s = calloc(1, sizeof(*s));
        ok = s || error_set(&err, "not enough memory for a session");
    }
    if (ok) {
        s->model = model;
        model->n_sessions++;
        ok = forward_init(&s->forward, &model->model, &forward, &err) && place_tensors(s, &err) &&
             allocate_results(s, &err);
    }
    if (!ok) {
        moxie_error_export(out, &err);
        moxie_session_destroy(&s);
    }
    return s;
}

void moxie_session_destroy(struct moxie_session **session)
{
    struct moxie_session *s = *session;
    if (!s) {
        return;
    }
    for (uint32_t i = 0; i < FORWARD_LISTS; i++) {
        schedule_destroy(&s->plans[i].schedule);
        op_list_free(&s->plans[i].list);
    }
    schedule_destroy(&s->generation.choice.schedule);
    schedule_destroy(&s->generation.next.schedule);
    op_list_free(&s->generation.choice.list);
    op_list_free(&s->generation.next.list);
    free(s->generation.recent);
    free(s->generation.occurrences);
    for (uint32_t i = 0; i < s->n_buffers; i++) {
        s->model->backend->functions->buffer_destroy(s->model->backend, &s->buffers[i]);
    }
    prediction_destroy(&s->prediction);
    s->model->n_sessions--;
    forward_free(&s->forward);
    free(s->buffers);
    free(s->step);
    free(s->logits);
    free(s->route_ids);
    free(s->route_weights);
    free(s);
    *session = NULL;
}

struct session_plan *session_plan_for(struct moxie_session *s, uint32_t n, struct error *err)
{
    uint32_t max_tokens;
    uint32_t index = forward_list_for(n, s->forward.options.chunk, &max_tokens);
    struct session_plan *plan = &s->plans[index];
    if (plan->ready) {
        return plan;
    }
    op_list_free(&plan->list);
    plan->ready = forward_write(&s->forward, max_tokens, &plan->list, err) &&
                  schedule_create(&plan->schedule, s->model->backend, &plan->list, err);
    return plan->ready ? plan : NULL;
}

bool session_write_tensor(struct moxie_session *s, const struct tensor *tensor, const void *source,
                          uint64_t bytes, struct error *err)
{
    struct backend *backend = s->model->backend;
    return backend->functions->write(backend, buffer_of(s, tensor), 0, source, bytes, err);
}

bool session_read_tensor(struct moxie_session *s, const struct tensor *tensor, uint64_t offset,
                         void *destination, uint64_t bytes, struct error *err)
{
    struct backend *backend = s->model->backend;
    return backend->functions->read(backend, buffer_of(s, tensor), offset, destination, bytes, err);
}

static bool read_tensor(struct moxie_session *s, const struct tensor *tensor, void *destination,
                        uint64_t bytes, struct error *err)
{
    return session_read_tensor(s, tensor, 0, destination, bytes, err);
}

bool session_read_routes(struct moxie_session *s, uint32_t n, struct error *err)
{
    const struct hparams *hparams = &s->model->model.hparams;
    size_t stride = (size_t)s->forward.options.chunk * hparams->experts_per_token;
    uint64_t bytes = (uint64_t)n * hparams->experts_per_token * 4;
    for (uint32_t layer = 0; s->route_ids && layer < hparams->layers; layer++) {
        if (s->model->model.layers[layer].has_router &&
            !(read_tensor(s, s->forward.ids[layer], s->route_ids + layer * stride, bytes, err) &&
              read_tensor(s, s->forward.weights[layer], s->route_weights + layer * stride, bytes,
                          err))) {
            return false;
        }
    }
    return true;
}

bool session_read_results(struct moxie_session *s, struct error *err)
{
    const struct forward *f = &s->forward;
    s->has_logits = read_tensor(s, f->logits, s->logits, f->logits->bytes, err) &&
                    read_tensor(s, f->best, &s->best, sizeof(s->best), err) &&
                    session_read_routes(s, s->last_tokens, err);
    return s->has_logits;
}

bool session_eval_chunk(struct moxie_session *s, const uint32_t *ids, uint32_t n,
                        double *op_seconds, struct error *err)
{
    assert(!s->generation.active);
    struct session_plan *plan = session_plan_for(s, n, err);
    if (!plan) {
        return false;
    }
    s->step->n_tokens = n;
    s->step->position = s->position;
    memcpy(s->step->tokens, ids, n * sizeof(*ids));
    if (!session_write_tensor(s, s->forward.step, s->step, sizeof(*s->step) + n * sizeof(*ids),
                              err) ||
        !(op_seconds ? schedule_profile(&plan->schedule, op_seconds, err)
                     : schedule_run(&plan->schedule, err))) {
        return false;
    }
    s->position += n;
    s->last_tokens = n;
    return true;
}

bool session_check_tokens(const struct moxie_session *s, const uint32_t *ids, size_t n,
                          struct error *err)
{
    uint32_t context = s->forward.options.context;
    uint32_t vocabulary = s->model->model.hparams.vocabulary;
    if (n > context - s->position) {
        return error_set(
            err, "%zu tokens do not fit: the context holds %" PRIu32 " and %" PRIu32 " are taken",
            n, context, s->position);
    }
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= vocabulary) {
            return error_set(err, "token id %" PRIu32 " is outside the vocabulary of %" PRIu32,
                             ids[i], vocabulary);
        }
    }
    return true;
}

bool moxie_eval(struct moxie_session *s, const uint32_t *ids, size_t n, struct moxie_error *out)
{
    struct error err = {0};
    assert(n >= 1);
    if (!session_check_tokens(s, ids, n, &err)) {
        return moxie_error_export(out, &err);
    }
    s->has_logits = false;
    uint32_t chunk = s->forward.options.chunk;
    for (size_t done = 0; done < n;) {
        uint32_t now = n - done < chunk ? (uint32_t)(n - done) : chunk;
        if (!session_eval_chunk(s, ids + done, now, NULL, &err)) {
            return moxie_error_export(out, &err);
        }
        done += now;
    }
    return session_read_results(s, &err) || moxie_error_export(out, &err);
}

const float *moxie_logits(const struct moxie_session *s)
{
    return s->has_logits ? s->logits : NULL;
}

uint32_t moxie_best(const struct moxie_session *s)
{
    assert(s->has_logits);
    return s->best;
}

uint32_t moxie_context(const struct moxie_session *s)
{
    return s->forward.options.context;
}

uint32_t moxie_chunk(const struct moxie_session *s)
{
    return s->forward.options.chunk;
}

uint32_t moxie_position(const struct moxie_session *s)
{
    return s->position;
}

void moxie_rewind(struct moxie_session *s, uint32_t position)
{
    assert(position <= s->position && !s->generation.active);
    s->position = position; /* rows of a KV state beyond the position are never read */
    s->has_logits = false;
}

uint32_t moxie_routes(const struct moxie_session *s, uint32_t layer, const uint32_t **ids,
                      const float **weights)
{
    const struct hparams *hparams = &s->model->model.hparams;
    assert(s->forward.options.keep_routes && layer < hparams->layers);
    assert(s->has_logits || s->generation.active);
    if (!s->model->model.layers[layer].has_router) {
        return 0;
    }
    size_t stride = (size_t)s->forward.options.chunk * hparams->experts_per_token;
    *ids = s->route_ids + layer * stride;
    *weights = s->route_weights + layer * stride;
    return s->last_tokens;
}

bool moxie_expert_counts(struct moxie_session *s, uint32_t layer, float *counts,
                         struct moxie_error *out)
{
    struct error err = {0};
    const struct hparams *hparams = &s->model->model.hparams;
    assert(s->forward.options.observe && layer < hparams->layers);
    const struct observation *o = observation_of(&s->forward, OBSERVED_FFN, layer);
    memset(counts, 0, hparams->experts * sizeof(float));
    return !s->model->model.layers[layer].has_router ||
           read_tensor(s, o->counts, counts, o->counts->bytes, &err) ||
           moxie_error_export(out, &err);
}

/* Reads what was observed of one input and enters it for every matrix that has it. */
static bool add_observation(struct moxie_session *s, enum observed_input input, uint32_t layer,
                            struct importance *importance, struct error *err)
{
    const struct model *model = &s->model->model;
    const struct observation *o = observation_of(&s->forward, input, layer);
    if (!o->sums) {
        return true;
    }
    float *sums = malloc(o->sums->bytes), *counts = malloc(o->counts->bytes);
    bool ok = sums && counts;
    if (!ok) {
        error_set(err, "not enough memory for the activation statistics");
    }
    ok = ok && read_tensor(s, o->sums, sums, o->sums->bytes, err) &&
         read_tensor(s, o->counts, counts, o->counts->bytes, err) &&
         importance_add_input(importance, model, input, layer, o->sums->rows * o->sums->cols,
                              o->counts->cols, sums, counts, err);
    free(sums);
    free(counts);
    return ok;
}

bool moxie_save_importance(struct moxie_session *s, const char *path, const char *text_name,
                           uint32_t chunks, uint32_t chunk_tokens, struct moxie_error *out)
{
    struct error err = {0};
    assert(s->forward.options.observe);
    struct importance importance = {
        .dataset = strdup(text_name), .chunk_count = chunks, .chunk_size = chunk_tokens};
    bool ok = true;
    for (uint32_t layer = 0; ok && layer < s->model->model.hparams.layers; layer++) {
        for (uint32_t input = 0; ok && input < OBSERVED_INPUTS; input++) {
            ok = add_observation(s, (enum observed_input)input, layer, &importance, &err);
        }
    }
    ok = ok && importance_write(&importance, path, &err);
    importance_free(&importance);
    return ok || moxie_error_export(out, &err);
}

void moxie_memory_report(const struct moxie_session *s, struct moxie_memory *memory)
{
    struct backend_memory device;
    s->model->backend->functions->memory(s->model->backend, &device);
    uint64_t context = forward_state_bytes(&s->forward);
    *memory = (struct moxie_memory){
        .weights = s->model->weight_bytes,
        .context = context,
        .activations = forward_bytes(&s->forward) - context,
        .device_available = device.available,
    };
}

void moxie_counts(const struct moxie_session *s, struct moxie_counts *counts)
{
    struct backend_counts device;
    s->model->backend->functions->counts(s->model->backend, &device);
    *counts = (struct moxie_counts){device.submits, device.dispatches, device.barriers};
}

void moxie_print_ops(const struct moxie_session *s, bool chunk, FILE *out)
{
    struct op_list list;
    if (forward_write(&s->forward, chunk ? s->forward.options.chunk : 1, &list, NULL)) {
        op_list_print(&list, out);
        op_list_free(&list);
    }
}
