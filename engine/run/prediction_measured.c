#include "engine/run/prediction_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

struct prediction *prediction_create(struct backend *backend, uint64_t resident_bytes,
                                     struct error *err)
{
    struct prediction *p = calloc(1, sizeof(*p));
    struct measured *measured = calloc(PREDICTION_MAX_MEASURED, sizeof(*measured));
    if (!p || !measured) {
        free(p);
        free(measured);
        error_set(err, "not enough memory to predict a speed");
        return NULL;
    }
    p->backend = backend;
    p->resident_bytes = resident_bytes;
    p->measured = measured;
    if (!prediction_memory_create(p, err)) {
        prediction_destroy(&p);
    }
    return p;
}

static void destroy_measured(struct prediction *p, struct measured *m)
{
    for (uint32_t i = 0; i < 2; i++) {
        prediction_probe_destroy(p, &m->probes[i]);
    }
}

static void destroy_all_measured(struct prediction *p)
{
    for (uint32_t i = 0; i < p->n_measured; i++) {
        destroy_measured(p, &p->measured[i]);
    }
    p->n_measured = 0;
}

void prediction_destroy(struct prediction **prediction)
{
    struct prediction *p = *prediction;
    if (p) {
        destroy_all_measured(p);
        prediction_memory_destroy(p);
        free(p->measured);
        free(p);
    }
    *prediction = NULL;
}

/* ---- again ---- */

static void forget(struct prediction *p)
{
    for (uint32_t i = 0; i < p->n_measured; i++) {
        struct measured *m = &p->measured[i];
        for (uint32_t k = 0; k < m->n_probes; k++) {
            m->probes[k].runs = m->probes[k].seconds = 0;
        }
    }
    p->peaks_runs = p->peaks_seconds = p->seconds_per_byte = p->step_seconds = 0;
}

/* Into peaks go the averages since all was forgotten. */
static bool measure_peaks(struct prediction *p, struct backend_peaks *peaks, struct error *err)
{
    const struct buffer *weights = NULL;
    for (uint32_t i = 0; !weights && i < PREDICTION_MAX_FILLS; i++) {
        weights = p->weights[i].bytes > 0 ? &p->weights[i] : NULL;
    }
    /* Memory that nobody has written may be no memory at all. */
    weights = weights ? weights : prediction_weights(p, DTYPE_Q8_0, err);
    if (!weights) {
        return false;
    }
    uint64_t bytes = p->resident_bytes < weights->bytes ? p->resident_bytes : weights->bytes;
    bytes = bytes > BACKEND_REMEASURE_LEAST ? bytes : BACKEND_REMEASURE_LEAST;
    double begin = prediction_now();
    if (!p->backend->functions->peaks_again(p->backend, weights, bytes, peaks, err)) {
        return false;
    }
    p->peaks_seconds += prediction_now() - begin;
    p->peaks_runs++;
    p->seconds_per_byte += 1 / backend_peaks_read(peaks, (double)bytes);
    p->step_seconds += peaks->step_seconds;
    backend_peaks_set_read(peaks, (double)bytes, p->peaks_runs / p->seconds_per_byte);
    peaks->step_seconds = p->step_seconds / p->peaks_runs;
    return true;
}

/* What has been asked for since the last measurement, if anything has, is the current set. */
static void begin_set(struct prediction *p)
{
    bool asked = false;
    for (uint32_t i = 0; i < p->n_measured; i++) {
        asked = asked || p->measured[i].used > p->set;
    }
    p->set += asked;
}

/* Of the current set's, the one that has been run for the shortest time;
 * NULL: there is none. */
static struct prediction_probe *next_probe(struct prediction *p)
{
    struct prediction_probe *next = NULL;
    for (uint32_t i = 0; i < p->n_measured; i++) {
        struct measured *m = &p->measured[i];
        for (uint32_t k = 0; m->used == p->set && k < m->n_probes; k++) {
            next = next && next->seconds <= m->probes[k].seconds ? next : &m->probes[k];
        }
    }
    return next;
}

bool prediction_again(struct prediction *p, struct backend_peaks *peaks, bool fresh, double seconds,
                      struct error *err)
{
    double begin = prediction_now();
    bool ok = true, can_measure = p->backend->functions->peaks_again != NULL;
    if (fresh) {
        forget(p);
    }
    begin_set(p);
    do {
        struct prediction_probe *probe = next_probe(p);
        if (can_measure && (!probe || p->peaks_seconds <= probe->seconds)) {
            ok = measure_peaks(p, peaks, err);
        } else if (probe) {
            ok = prediction_probe_run(p, probe, err);
        } else {
            break;
        }
    } while (ok && prediction_now() - begin < seconds);
    return ok;
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

static struct measured *find_known(struct prediction *p, const struct measured *wanted)
{
    for (uint32_t i = 0; i < p->n_measured; i++) {
        struct measured *m = &p->measured[i];
        if (m->kind == wanted->kind && m->dtype == wanted->dtype && m->tokens == wanted->tokens &&
            m->shape == wanted->shape) {
            return m;
        }
    }
    return NULL;
}

static struct measured *add_measured(struct prediction *p, const struct op *op,
                                     const struct measured *wanted, struct error *err)
{
    if (p->n_measured == PREDICTION_MAX_MEASURED) {
        destroy_all_measured(p);
    }
    struct measured *m = &p->measured[p->n_measured];
    *m = *wanted;
    m->product = prediction_is_product(op->kind);
    if (!(m->product ? prediction_measure_product(p, op, m, err)
                     : prediction_measure_alone(p, op, m, err))) {
        destroy_measured(p, m);
        return NULL;
    }
    m->tokens = wanted->tokens;
    p->n_measured++;
    return m;
}

static struct prediction_rate rate_of(const struct measured *m, const struct backend_peaks *peaks)
{
    struct prediction_rate rate = {.from_memory = m->from_memory};
    if (m->n_probes == 0) {
        return rate;
    }
    rate.fixed = prediction_probe_seconds(&m->probes[0], peaks) / m->probes[0].list.n_ops;
    double operations = m->operations[0] / m->probes[0].list.n_ops;
    if (m->product) {
        rate.operation = rate.fixed / operations;
        rate.fixed = 0;
    } else if (m->n_probes == 2) {
        const struct prediction_probe *second = &m->probes[1];
        double seconds = prediction_probe_seconds(second, peaks) / second->list.n_ops;
        double more = m->operations[1] / second->list.n_ops - operations;
        /* Both parts are positive whatever the clock says. */
        rate.operation = fmin(fmax(seconds - rate.fixed, 0) / more, rate.fixed / operations);
        rate.fixed -= rate.operation * operations;
    }
    return rate;
}

bool prediction_find(struct prediction *p, const struct op *op, uint32_t tokens,
                     const struct backend_peaks *peaks, struct prediction_rate *found,
                     struct error *err)
{
    struct measured wanted = {
        .kind = op->kind, .dtype = op->dtype, .tokens = tokens, .shape = shape_of(op)};
    struct measured *m = find_known(p, &wanted);
    m = m ? m : add_measured(p, op, &wanted, err);
    if (!m) {
        return false;
    }
    m->used = p->set + 1;
    for (uint32_t k = 0; k < m->n_probes; k++) {
        if (m->probes[k].runs == 0 && !prediction_probe_run(p, &m->probes[k], err)) {
            return false;
        }
    }
    *found = rate_of(m, peaks);
    return true;
}
