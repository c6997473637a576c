#include "tools/generate.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/selftest.h"

/* First tokens that sliding keeps at least: models lean on them whatever they are (attention sinks,
 * Xiao et al. 2023). */
#define SLIDE_KEEP 4

/* Tokens of a prompt between two looks at the stop flag: as many as a session computes at once by
 * default. */
#define PROMPT_PIECE 512

uint64_t seed_from_clock(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (uint64_t)time.tv_sec * UINT64_C(1000000007) + (uint64_t)time.tv_nsec;
}

double clock_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void show_progress(void *context, uint64_t done, uint64_t total)
{
    progress_update(context, done, total);
}

struct moxie_model *open_model(const char *tool, const char *path, struct engine_flags *flags)
{
    struct moxie_error err;
    struct progress progress = {.title = "loading"};
    path = path ? path : demo_model_path();
    if (!path) {
        tool_fail(tool, "the demo model is not beside the program: name a model");
        return NULL;
    }
    char folder[CACHE_FOLDER_BYTES];
    flags->model.cache_folder = flags->no_cache ? NULL : cache_folder(folder);
    selftest_start(tool, flags->model.device, flags->model.cache_folder);
    flags->model.progress = show_progress;
    flags->model.progress_context = &progress;
    struct moxie_model *model = moxie_open(path, &flags->model, &err);
    flags->model.cache_folder = NULL; /* the back end has its own copy */
    progress_finish(&progress);
    if (!model) {
        tool_fail(tool, err.text);
    }
    return model;
}

void close_model(const char *tool, struct moxie_model **model)
{
    char first[512] = "";
    uint32_t n = *model ? moxie_validation_messages(*model, first, sizeof(first)) : 0;
    if (n > 0) {
        fprintf(stderr, "moxie %s: %u messages of the validation layer, the first: %s\n", tool, n,
                first);
    }
    moxie_close(model);
}

struct moxie_session *open_session(const char *tool, struct moxie_model *model,
                                   struct engine_flags *flags, bool *done)
{
    struct moxie_error err;
    *done = false;
    if (flags->kv_type && strcmp(flags->kv_type, "f32") == 0) {
        flags->session.kv_type = MOXIE_KV_F32;
    } else if (flags->kv_type && strcmp(flags->kv_type, "q8_0") == 0) {
        flags->session.kv_type = MOXIE_KV_Q8_0;
    } else if (flags->kv_type && strcmp(flags->kv_type, "f16") != 0) {
        tool_fail(tool, "--kv-type must be f16, f32 or q8_0");
        return NULL;
    }
    struct moxie_session *session = moxie_session_create(model, &flags->session, &err);
    if (!session) {
        tool_fail(tool, err.text);
    } else if (flags->print_ops) {
        moxie_print_ops(session, false, stdout);
        moxie_session_destroy(&session);
        *done = true;
    }
    return session;
}

bool generation_init(struct generation *g, struct moxie_model *model, struct moxie_session *session,
                     const struct moxie_sampling *sampling, struct moxie_error *err)
{
    *g = (struct generation){.model = model,
                             .session = session,
                             .sampling = *sampling,
                             .end_of_turn = UINT32_MAX,
                             .slide_keep = SLIDE_KEEP};
    /* Bad settings are told of before a prompt is read. */
    g->sampler = moxie_sampler_create(model, sampling, err);
    if (!g->sampler) {
        return false;
    }
    moxie_sampler_destroy(&g->sampler);
    g->tokens = calloc(moxie_context(session), sizeof(*g->tokens));
    if (!g->tokens) {
        snprintf(err->text, sizeof(err->text), "not enough memory");
        return false;
    }
    return true;
}

void generation_free(struct generation *g)
{
    moxie_sampler_destroy(&g->sampler);
    free(g->tokens);
    *g = (struct generation){0};
}

bool generation_prompt(struct generation *g, const uint32_t *ids, size_t n, struct moxie_error *err)
{
    uint32_t common = 0;
    double started = clock_seconds();
    assert(n > 0);
    if (n > moxie_context(g->session)) {
        snprintf(
            err->text, sizeof(err->text),
            "the prompt has %zu tokens and the context holds %u: shorten it, or ask for a larger "
            "--context",
            n, moxie_context(g->session));
        return false;
    }
    while (common < g->n_tokens && common + 1 < n && g->tokens[common] == ids[common]) {
        common++;
    }
    moxie_rewind(g->session, common);
    g->n_tokens = common;
    g->counts.prompt = (uint32_t)n;
    g->counts.kept = common;
    for (size_t done = common; done < n && !(g->stop && *g->stop);) {
        size_t piece = n - done < PROMPT_PIECE ? n - done : PROMPT_PIECE;
        if (!moxie_eval(g->session, ids + done, piece, err)) {
            return false;
        }
        for (size_t i = done; i < done + piece; i++) {
            g->tokens[i] = ids[i];
        }
        done += piece;
        g->n_tokens = (uint32_t)done;
        g->counts.total_evaluated += piece;
    }
    g->counts.prompt_seconds = clock_seconds() - started;
    return true;
}

/* Keeps the beginning and the newer half of the rest; what stays is evaluated anew at its new
 * positions. */
static bool slide(struct generation *g, struct moxie_error *err)
{
    uint32_t half = g->n_tokens / 2, keep = g->slide_keep < half ? g->slide_keep : half;
    uint32_t drop = (g->n_tokens - keep + 1) / 2;
    g->n_tokens -= drop;
    memmove(g->tokens + keep, g->tokens + keep + drop, (g->n_tokens - keep) * sizeof(*g->tokens));
    moxie_rewind(g->session, keep);
    g->counts.total_evaluated += g->n_tokens - keep;
    return moxie_eval(g->session, g->tokens + keep, g->n_tokens - keep, err);
}

/* From here on choose gives tokens, after all that the session holds. */
static bool begin(struct generation *g, struct moxie_error *err)
{
    struct moxie_sampling sampling = g->sampling;
    sampling.seed += g->n_answers - 1;
    if (!g->wants_logits) {
        return moxie_generate_begin(g->session, &sampling, g->tokens, g->n_tokens, err);
    }
    g->sampler = moxie_sampler_create(g->model, &sampling, err);
    for (uint32_t i = 0; g->sampler && i < g->n_tokens; i++) {
        moxie_sampler_accept(g->sampler, g->tokens[i]);
    }
    return g->sampler != NULL;
}

static void end(struct generation *g)
{
    moxie_generate_end(g->session);
    moxie_sampler_destroy(&g->sampler);
    g->n_tokens = moxie_position(g->session);
}

static bool choose(struct generation *g, uint32_t *id, struct moxie_error *err)
{
    if (!g->wants_logits) {
        return moxie_generate_next(g->session, id, err);
    }
    *id = moxie_sample(g->sampler, g->session);
    return true;
}

/* Makes the token part of the text; a session that chooses by itself appends it when it is asked
 * for the next. */
static bool append(struct generation *g, uint32_t id, struct moxie_error *err)
{
    if (g->wants_logits) {
        moxie_sampler_accept(g->sampler, id);
        if (!moxie_eval(g->session, &id, 1, err)) {
            return false;
        }
    }
    g->tokens[g->n_tokens++] = id;
    g->counts.total_evaluated++;
    return true;
}

/* The context is full: room for the token, if anything makes it, and the token. */
static enum generation_end append_to_full(struct generation *g, uint32_t id,
                                          const struct generation_receiver *receiver,
                                          struct moxie_error *err)
{
    uint32_t context = moxie_context(g->session);
    end(g);
    if (receiver->make_room && !receiver->make_room(receiver->context, err)) {
        return GENERATION_FAILED;
    }
    if (g->stop && *g->stop) {
        return GENERATION_INTERRUPTED;
    }
    if (g->n_tokens == context && g->slide && !slide(g, err)) {
        return GENERATION_FAILED;
    }
    if (g->n_tokens == context) {
        return GENERATION_CONTEXT;
    }
    if (!moxie_eval(g->session, &id, 1, err)) {
        return GENERATION_FAILED;
    }
    g->tokens[g->n_tokens++] = id;
    g->counts.total_evaluated++;
    return begin(g, err) ? GENERATION_ENOUGH : GENERATION_FAILED;
}

static enum generation_end run_tokens(struct generation *g, uint32_t limit,
                                      const struct generation_receiver *receiver,
                                      struct moxie_error *err)
{
    for (uint32_t n = 0; n < limit; n++) {
        uint32_t id;
        if (g->stop && *g->stop) {
            return GENERATION_INTERRUPTED;
        }
        if ((n == 0 && !begin(g, err)) || !choose(g, &id, err)) {
            return GENERATION_FAILED;
        }
        if (id == g->end_of_turn || moxie_is_stop(g->model, id)) {
            return GENERATION_STOP;
        }
        g->counts.generated++;
        g->counts.total_generated++;
        if (!receiver->token(receiver->context, id)) {
            return GENERATION_ENOUGH;
        }
        if (n + 1 == limit) {
            break; /* nobody will ask for what follows it */
        }
        if (g->n_tokens == moxie_context(g->session)) {
            enum generation_end full = append_to_full(g, id, receiver, err);
            if (full != GENERATION_ENOUGH) {
                return full;
            }
        } else if (!append(g, id, err)) {
            return GENERATION_FAILED;
        }
    }
    return GENERATION_LENGTH;
}

enum generation_end generation_run(struct generation *g, uint32_t limit,
                                   const struct generation_receiver *receiver,
                                   struct moxie_error *err)
{
    double started = clock_seconds();
    g->counts.generated = 0;
    g->n_answers++;
    enum generation_end why = run_tokens(g, limit, receiver, err);
    end(g);
    g->counts.answer_seconds = clock_seconds() - started;
    return why;
}
