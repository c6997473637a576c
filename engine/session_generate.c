/* Answers whose tokens the device chooses by itself: the list of a token ends by writing the step
 * of the next one, so that the host can queue a token before it knows the one before.
 *
 * Choice i is the token for position begin + i. The first is made from the logits of the last eval,
 * all others by a list that appends the token before. Where a back end computes while the host goes
 * on, the next choice is queued before the caller gets one: at the end of the answer it is a token
 * too many, whose rows of the context nobody reads.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/session_internal.h"
#include "engine/text/sampler.h"

static bool make_plan(struct moxie_session *s, struct session_plan *plan,
                      bool (*write)(const struct forward *, struct op_list *, struct error *),
                      struct error *err)
{
    if (!plan->ready) {
        op_list_free(&plan->list);
        plan->ready = write(&s->forward, &plan->list, err) &&
                      schedule_create(&plan->schedule, s->model->backend, &plan->list, err);
    }
    return plan->ready;
}

/* Fills the ring with the newest of the last tokens, and the counts of what is in it. */
static bool write_recent(struct moxie_session *s, struct sampling_state *state,
                         const uint32_t *last, size_t n, struct error *err)
{
    const struct forward *f = &s->forward;
    struct session_generation *g = &s->generation;
    if (!g->recent) {
        g->recent = calloc(f->options.context, sizeof(*g->recent));
    }
    if (!g->occurrences) {
        g->occurrences = malloc(f->occurrences->bytes);
    }
    if (!g->recent || !g->occurrences) {
        return error_set(err, "not enough memory for the repeat penalty");
    }
    memset(g->occurrences, 0, f->occurrences->bytes);
    for (size_t i = n > state->repeat_last ? n - state->repeat_last : 0; i < n; i++) {
        sampling_accept(state, g->recent, g->occurrences, last[i]);
    }
    return session_write_tensor(s, f->recent, g->recent, state->repeat_last * sizeof(*g->recent),
                                err) &&
           session_write_tensor(s, f->occurrences, g->occurrences, f->occurrences->bytes, err);
}

static bool write_settings(struct moxie_session *s, const struct sampler_options *options,
                           const uint32_t *last, size_t n, struct error *err)
{
    struct sampling_state state =
        sampler_state(options, session_n_valid(s->model), s->forward.options.context);
    if (state.repeat_last > 0 && !write_recent(s, &state, last, n, err)) {
        return false;
    }
    /* The choice finds the position behind the last token. */
    s->step->n_tokens = 1;
    s->step->position = s->position - 1;
    s->step->tokens[0] = 0;
    return session_write_tensor(s, s->forward.sampling, &state, sizeof(state), err) &&
           session_write_tensor(s, s->forward.step, s->step,
                                sizeof(*s->step) + sizeof(*s->step->tokens), err);
}

static bool check_ids(const struct moxie_session *s, const uint32_t *ids, size_t n,
                      struct error *err)
{
    uint32_t vocabulary = s->forward.model->hparams.vocabulary;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= vocabulary) {
            return error_set(err, "token id %" PRIu32 " is outside the vocabulary of %" PRIu32,
                             ids[i], vocabulary);
        }
    }
    return true;
}

bool moxie_generate_begin(struct moxie_session *s, const struct moxie_sampling *sampling,
                          const uint32_t *last, size_t n, struct moxie_error *out)
{
    struct error err = {0};
    struct session_generation *g = &s->generation;
    const struct sampler_options options = session_sampler_options(sampling);
    assert(!g->active && s->has_logits && s->position > 0);
    if (!sampler_options_check(&options, &err) || !check_ids(s, last, n, &err) ||
        !make_plan(s, &g->choice, forward_write_choice, &err) ||
        !make_plan(s, &g->next, forward_write_next, &err) ||
        !write_settings(s, &options, last, n, &err)) {
        return moxie_error_export(out, &err);
    }
    s->has_logits = false;
    g->active = true;
    g->failed = false;
    g->begin = s->position;
    g->n_started = g->n_taken = 0;
    /* What a surplus token leaves must not be seen. */
    g->ahead = schedule_can_start(&g->next.schedule) && !s->forward.options.keep_routes &&
               !s->forward.options.observe;
    return true;
}

static struct schedule *schedule_of(struct session_generation *g, uint32_t choice)
{
    return choice == 0 ? &g->choice.schedule : &g->next.schedule;
}

/* Queues a choice, or makes it. */
static bool start(struct session_generation *g, struct error *err)
{
    struct schedule *schedule = schedule_of(g, g->n_started);
    bool ok = schedule_can_start(schedule)
                  ? schedule_start(schedule, &g->tickets[g->n_started % BACKEND_STARTED], err)
                  : schedule_run(schedule, err);
    g->n_started += ok;
    return ok;
}

static bool finish(struct session_generation *g, uint32_t choice, struct error *err)
{
    struct schedule *schedule = schedule_of(g, choice);
    return !schedule_can_start(schedule) ||
           schedule_finish(schedule, g->tickets[choice % BACKEND_STARTED], err);
}

/* Makes choice n_taken known, with the one behind it on its way. */
static bool take(struct moxie_session *s, uint32_t *id, struct error *err)
{
    struct session_generation *g = &s->generation;
    uint32_t choice = g->n_taken, position = g->begin + choice;
    uint32_t room = s->forward.options.context - g->begin; /* choices that can be made, less one */
    while (g->n_started <= choice + g->ahead && g->n_started <= room) {
        if (!start(g, err)) {
            if (g->n_started == 1) { /* of the other list, and still under way */
                finish(g, 0, NULL);
            }
            g->n_started = choice;
            return false;
        }
    }
    if (!finish(g, choice, err)) {
        g->n_started = choice; /* nothing is under way after a failure */
        return false;
    }
    g->n_taken++;
    s->position = position;
    s->last_tokens = 1;
    return session_read_tensor(s, s->forward.chosen, position % SAMPLE_RESULTS * sizeof(*id), id,
                               sizeof(*id), err) &&
           (choice == 0 || session_read_routes(s, 1, err));
}

bool moxie_generate_next(struct moxie_session *s, uint32_t *id, struct moxie_error *out)
{
    struct error err = {0};
    struct session_generation *g = &s->generation;
    uint32_t context = s->forward.options.context;
    assert(g->active);
    if (g->failed) {
        return moxie_error_export(out, &g->error);
    }
    if (g->n_taken > 0 && s->position == context) {
        error_set(&err, "the context of %" PRIu32 " tokens is full", context);
        return moxie_error_export(out, &err);
    }
    if (!take(s, id, &err)) {
        g->failed = true;
        g->error = err;
        return moxie_error_export(out, &err);
    }
    return true;
}

void moxie_generate_end(struct moxie_session *s)
{
    struct session_generation *g = &s->generation;
    for (uint32_t choice = g->n_taken; g->active && choice < g->n_started; choice++) {
        if (!finish(g, choice, NULL)) {
            break; /* the next call that needs the device says why */
        }
    }
    g->active = false;
}
