/* What a benchmark asks of a session: what an evaluation must move and compute, how long it should
 * take, and what its ops took.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/device.h"
#include "engine/op/op_cost.h"
#include "engine/op/op_steps.h"
#include "engine/session_internal.h"

static_assert(sizeof(struct moxie_peaks) == sizeof(struct backend_peaks) &&
                  MOXIE_READ_SIZES == BACKEND_READ_SIZES,
              "the public struct is the back ends'");

bool moxie_device_peaks(const struct moxie_options *options, struct moxie_peaks *peaks,
                        char device[128], struct moxie_error *out)
{
    struct error err = {0};
    struct backend_peaks measured = {0};
    struct moxie_options defaults = moxie_options_defaults();
    options = options ? options : &defaults;
    struct device_request request = {
        .device = options->device,
        .threads = options->threads,
        .memory_limit = options->device_memory,
        .cache_folder = options->cache_folder,
        .validation = options->validation,
        .arithmetic = options->arithmetic,
    };
    struct backend *backend = device_open(&request, &err);
    bool ok = backend != NULL;
    if (ok && device) {
        memcpy(device, backend->name, sizeof(backend->name));
    }
    if (ok && !backend->functions->peaks) {
        ok = error_set(&err, "%s cannot be measured in this version", backend->name);
    }
    ok = ok && backend->functions->peaks(backend, &measured, &err);
    if (backend) {
        backend->functions->destroy(backend);
    }
    memcpy(peaks, &measured, sizeof(*peaks));
    return ok || moxie_error_export(out, &err);
}

double moxie_peaks_read(const struct moxie_peaks *peaks, double bytes)
{
    struct backend_peaks measured;
    memcpy(&measured, peaks, sizeof(measured));
    return backend_peaks_read(&measured, bytes);
}

/* Calls fn for every chunk that evaluating n tokens at a position comes in; chunk_loads: one per
 * router of the list, or NULL. */
typedef bool (*chunk_fn)(struct moxie_session *session, const struct op_list *list, uint32_t n,
                         uint32_t position, const struct op_loads *chunk_loads, void *context,
                         struct error *err);

static bool each_chunk(struct moxie_session *s, uint32_t n, uint32_t position,
                       const struct moxie_loads *loads, chunk_fn fn, void *context,
                       struct error *err)
{
    uint32_t chunk = s->forward.options.chunk;
    assert(n >= 1 && position <= s->forward.options.context &&
           n <= s->forward.options.context - position);
    for (uint32_t done = 0; done < n;) {
        uint32_t now = n - done < chunk ? n - done : chunk;
        const struct session_plan *plan = session_plan_for(s, now, err);
        const struct op_loads *of_chunk = session_loads_of(s, loads, n, done / chunk);
        if (!plan || !fn(s, &plan->list, now, position + done, of_chunk, context, err)) {
            return false;
        }
        done += now;
    }
    return true;
}

static bool add_cost(struct moxie_session *s, const struct op_list *list, uint32_t n,
                     uint32_t position, const struct op_loads *loads, void *context,
                     struct error *err)
{
    struct moxie_cost *total = context;
    uint32_t routers = 0;
    for (uint32_t i = 0; i < list->n_ops; i++) {
        const struct op *op = &list->ops[i];
        struct op_cost cost = op_cost_of(op, n, position, op_loads_at(loads, op, &routers));
        total->weight_bytes += cost.weight_bytes;
        total->cache_bytes += cost.cache_bytes;
        total->activation_bytes += cost.activation_bytes;
        total->operations += cost.operations;
    }
    total->ops += list->n_ops;
    total->steps += op_list_steps(list, NULL);
    return true;
}

bool moxie_eval_cost(struct moxie_session *s, uint32_t n, uint32_t position,
                     const struct moxie_loads *loads, struct moxie_cost *cost,
                     struct moxie_error *out)
{
    struct error err = {0};
    *cost = (struct moxie_cost){0};
    return each_chunk(s, n, position, loads, add_cost, cost, &err) || moxie_error_export(out, &err);
}

static bool make_prediction(struct moxie_session *s, struct error *err)
{
    if (!s->prediction) {
        s->prediction = prediction_create(s->model->backend, s->model->weight_bytes, err);
    }
    return s->prediction != NULL;
}

static bool predict_list(struct moxie_session *s, const struct op_list *list, uint32_t n,
                         uint32_t position, const struct op_loads *loads,
                         const struct backend_peaks *peaks, double *seconds, double *op_seconds,
                         struct error *err)
{
    return make_prediction(s, err) && prediction_of_list(s->prediction, list, n, position, loads,
                                                         peaks, seconds, op_seconds, err);
}

bool moxie_peaks_again(struct moxie_session *s, struct moxie_peaks *peaks, bool fresh,
                       double seconds, struct moxie_error *out)
{
    struct error err = {0};
    struct backend_peaks measured;
    memcpy(&measured, peaks, sizeof(measured));
    if (!make_prediction(s, &err) ||
        !prediction_again(s->prediction, &measured, fresh, seconds, &err)) {
        return moxie_error_export(out, &err);
    }
    memcpy(peaks, &measured, sizeof(*peaks));
    return true;
}

struct predicting {
    struct backend_peaks peaks;
    double seconds;
};

static bool add_prediction(struct moxie_session *s, const struct op_list *list, uint32_t n,
                           uint32_t position, const struct op_loads *loads, void *context,
                           struct error *err)
{
    struct predicting *predicting = context;
    double seconds;
    if (!predict_list(s, list, n, position, loads, &predicting->peaks, &seconds, NULL, err)) {
        return false;
    }
    predicting->seconds += seconds;
    return true;
}

bool moxie_eval_predict(struct moxie_session *s, uint32_t n, uint32_t position,
                        const struct moxie_loads *loads, const struct moxie_peaks *peaks,
                        double *seconds, struct moxie_error *out)
{
    struct error err = {0};
    struct predicting predicting = {0};
    memcpy(&predicting.peaks, peaks, sizeof(*peaks));
    if (!each_chunk(s, n, position, loads, add_prediction, &predicting, &err)) {
        return moxie_error_export(out, &err);
    }
    *seconds = predicting.seconds;
    return true;
}

/* What the ops of a list took and what they had to do. */
static void list_times(const struct op_list *list, uint32_t n, uint32_t position,
                       const struct op_loads *loads, const double *seconds, const double *predicted,
                       struct moxie_op_time *times, size_t capacity)
{
    uint32_t routers = 0;
    for (uint32_t i = 0; i < list->n_ops && i < capacity; i++) {
        const struct op *op = &list->ops[i];
        struct op_cost cost = op_cost_of(op, n, position, op_loads_at(loads, op, &routers));
        times[i] = (struct moxie_op_time){
            .name = op_name(op->kind),
            .type = dtype_name(op->dtype),
            .seconds = seconds[i],
            .bytes = cost.weight_bytes + cost.cache_bytes + cost.activation_bytes,
            .operations = cost.operations,
            .predicted = predicted[i],
        };
    }
}

bool moxie_op_times(struct moxie_session *s, const uint32_t *ids, size_t n,
                    const struct moxie_loads *loads, const struct moxie_peaks *peaks,
                    struct moxie_op_time *times, size_t capacity, size_t *count,
                    struct moxie_error *out)
{
    struct error err = {0};
    const struct op_loads *of_list = session_loads_of(s, loads, (uint32_t)n, 0);
    struct backend_peaks of_backend = {0};
    assert(n >= 1 && n <= s->forward.options.chunk);
    uint32_t position = s->position;
    const struct session_plan *plan =
        session_check_tokens(s, ids, n, &err) ? session_plan_for(s, (uint32_t)n, &err) : NULL;
    if (!plan) {
        return moxie_error_export(out, &err);
    }
    const struct op_list *list = &plan->list;
    double *seconds = calloc(2 * (size_t)list->n_ops, sizeof(*seconds)), all;
    bool ok = seconds || error_set(&err, "not enough memory to time operations");
    s->has_logits = false;
    ok = ok && session_eval_chunk(s, ids, (uint32_t)n, seconds, &err) &&
         session_read_results(s, &err);
    if (ok && peaks) { /* after the evaluation, whose activations it overwrites */
        memcpy(&of_backend, peaks, sizeof(of_backend));
        ok = predict_list(s, list, (uint32_t)n, position, of_list, &of_backend, &all,
                          seconds + list->n_ops, &err);
    }
    if (ok) {
        list_times(list, (uint32_t)n, position, of_list, seconds, seconds + list->n_ops, times,
                   capacity);
    }
    *count = list->n_ops;
    free(seconds);
    return ok || moxie_error_export(out, &err);
}
