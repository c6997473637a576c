/* How the experts of every layer share the tokens of an evaluation, counted from the choices that a
 * session with keep_routes keeps.
 */
#include <assert.h>
#include <stdlib.h>

#include "engine/session_internal.h"

struct moxie_loads {
    uint32_t n_tokens, chunk; /* of one evaluation, and of the session that counted */
    uint32_t n_routers;
    struct op_loads *loads; /* (chunks of an evaluation, n_routers) */
    double *experts;        /* theirs, (..., min(chunk, n_tokens) + 1) */
    uint32_t *tokens;       /* (experts): a count of one chunk and layer */
};

static uint32_t n_chunks(const struct moxie_loads *l)
{
    return (l->n_tokens + l->chunk - 1) / l->chunk;
}

static struct moxie_loads *create(const struct moxie_session *s, uint32_t n, struct error *err)
{
    const struct hparams *hparams = &s->model->model.hparams;
    struct moxie_loads *l = calloc(1, sizeof(*l));
    if (!l) {
        error_set(err, "not enough memory to count what the routers choose");
        return NULL;
    }
    l->n_tokens = n;
    l->chunk = s->forward.options.chunk;
    for (uint32_t layer = 0; layer < hparams->layers; layer++) {
        l->n_routers += s->model->model.layers[layer].has_router && hparams->experts > 1;
    }
    uint32_t most = n < l->chunk ? n : l->chunk;
    size_t count = (size_t)n_chunks(l) * l->n_routers;
    l->loads = calloc(count + 1, sizeof(*l->loads));
    l->experts = calloc(count + 1, (most + UINT64_C(1)) * sizeof(double));
    l->tokens = calloc(hparams->experts + UINT64_C(1), sizeof(*l->tokens));
    if (!l->loads || !l->experts || !l->tokens) {
        moxie_loads_free(&l);
        error_set(err, "not enough memory to count what the routers choose");
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t left = n - (uint32_t)(i / l->n_routers) * l->chunk;
        l->loads[i].n_tokens = left < most ? left : most;
        l->loads[i].experts = l->experts + i * (most + 1);
    }
    return l;
}

void moxie_loads_free(struct moxie_loads **loads)
{
    struct moxie_loads *l = *loads;
    if (l) {
        free(l->loads);
        free(l->experts);
        free(l->tokens);
        free(l);
    }
    *loads = NULL;
}

/* Adds the choices of the last chunk that was evaluated, each expert as a part of one. */
static void add_chunk(struct moxie_loads *l, const struct moxie_session *s, uint32_t chunk,
                      double part)
{
    const struct hparams *hparams = &s->model->model.hparams;
    uint32_t most = l->n_tokens < l->chunk ? l->n_tokens : l->chunk, router = 0;
    for (uint32_t layer = 0; layer < hparams->layers && router < l->n_routers; layer++) {
        const uint32_t *ids;
        const float *weights;
        uint32_t n = moxie_routes(s, layer, &ids, &weights);
        if (n == 0) {
            continue;
        }
        double *experts =
            l->experts + ((size_t)chunk * l->n_routers + router++) * (most + UINT64_C(1));
        for (uint32_t e = 0; e < hparams->experts; e++) {
            l->tokens[e] = 0;
        }
        for (uint64_t i = 0; i < (uint64_t)n * hparams->experts_per_token; i++) {
            assert(ids[i] < hparams->experts);
            l->tokens[ids[i]]++;
        }
        for (uint32_t e = 0; e < hparams->experts; e++) {
            assert(l->tokens[e] <= n);
            experts[l->tokens[e]] += part;
        }
    }
}

struct moxie_loads *moxie_loads_count(struct moxie_session *s, const uint32_t *ids, size_t n,
                                      uint32_t at_a_time, struct moxie_error *out)
{
    struct error err = {0};
    assert(s->forward.options.keep_routes && at_a_time >= 1 && n >= at_a_time &&
           n % at_a_time == 0);
    struct moxie_loads *l = create(s, at_a_time, &err);
    if (!l) {
        moxie_error_export(out, &err);
        return NULL;
    }
    double part = (double)at_a_time / (double)n;
    for (size_t done = 0; done < n;) {
        uint32_t within = (uint32_t)(done % at_a_time), left = at_a_time - within;
        uint32_t now = left < l->chunk ? left : l->chunk;
        if (!moxie_eval(s, ids + done, now, out)) {
            moxie_loads_free(&l);
            return NULL;
        }
        add_chunk(l, s, within / l->chunk, part);
        done += now;
    }
    return l;
}

const struct op_loads *session_loads_of(const struct moxie_session *s,
                                        const struct moxie_loads *loads, uint32_t n, uint32_t chunk)
{
    if (!loads) {
        return NULL;
    }
    assert(loads->n_tokens == n && loads->chunk == s->forward.options.chunk);
    return loads->loads + (size_t)chunk * loads->n_routers;
}
