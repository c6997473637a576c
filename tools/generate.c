#include "tools/generate.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* First tokens that sliding keeps: models lean on them whatever they are (attention sinks, Xiao et
 * al. 2023). */
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
    flags->model.progress = show_progress;
    flags->model.progress_context = &progress;
    struct moxie_model *model = moxie_open(path, &flags->model, &err);
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
    } else if (flags->kv_type && strcmp(flags->kv_type, "f16") != 0) {
        tool_fail(tool, "--kv-type must be f16 or f32");
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
    *g = (struct generation){.model = model, .session = session};
    g->sampler = moxie_sampler_create(model, sampling, err);
    if (!g->sampler) {
        return false;
    }
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
    for (size_t done = common; done < n && !(g->stop && *g->stop);) {
        size_t piece = n - done < PROMPT_PIECE ? n - done : PROMPT_PIECE;
        g->n_tokens = (uint32_t)done;
        if (!moxie_eval(g->session, ids + done, piece, err)) {
            return false;
        }
        for (size_t i = done; i < done + piece; i++) {
            g->tokens[i] = ids[i];
            moxie_sampler_accept(g->sampler, ids[i]);
        }
        done += piece;
        g->n_tokens = (uint32_t)done;
    }
    return true;
}

/* Keeps the beginning and the newer half of the rest; what stays is evaluated anew at its new
 * positions. */
static bool slide(struct generation *g, struct moxie_error *err)
{
    uint32_t keep = SLIDE_KEEP < g->n_tokens / 2 ? SLIDE_KEEP : g->n_tokens / 2;
    uint32_t drop = (g->n_tokens - keep + 1) / 2;
    g->n_tokens -= drop;
    memmove(g->tokens + keep, g->tokens + keep + drop, (g->n_tokens - keep) * sizeof(*g->tokens));
    moxie_rewind(g->session, keep);
    return moxie_eval(g->session, g->tokens + keep, g->n_tokens - keep, err);
}

static bool append(char **text, size_t *used, const char *more, size_t n)
{
    char *grown = realloc(*text, *used + n + 1);
    if (!grown) {
        return false;
    }
    memcpy(grown + *used, more, n);
    *used += n;
    grown[*used] = 0;
    *text = grown;
    return true;
}

/* Prints what the token completes; out of memory only loses the copy in *answer. */
static bool emit(struct generation *g, struct moxie_text_stream *stream, uint32_t id, char **answer,
                 size_t *used)
{
    uint32_t bytes;
    const char *text = moxie_token_bytes(g->model, id, g->show_special, &bytes);
    char *out = malloc(3 * ((size_t)bytes + 3));
    bool ok = out != NULL;
    if (ok) {
        size_t n = moxie_text_push(stream, text, bytes, out);
        fwrite(out, 1, n, stdout);
        fflush(stdout);
        ok = !answer || append(answer, used, out, n);
    }
    free(out);
    return ok;
}

static enum generation_end run_tokens(struct generation *g, uint32_t limit,
                                      struct moxie_text_stream *stream, char **answer, size_t *used,
                                      struct moxie_error *err)
{
    g->n_generated = 0;
    for (uint32_t n = 0; n < limit; n++) {
        if (g->stop && *g->stop) {
            return GENERATION_INTERRUPTED;
        }
        uint32_t id = moxie_sample(g->sampler, g->session);
        if (moxie_is_stop(g->model, id)) {
            return GENERATION_STOP;
        }
        if (!emit(g, stream, id, answer, used)) {
            snprintf(err->text, sizeof(err->text), "not enough memory");
            return GENERATION_FAILED;
        }
        g->n_generated++;
        if (n + 1 == limit) {
            break; /* nobody will ask for what follows it */
        }
        if (g->n_tokens == moxie_context(g->session)) {
            if (!g->slide) {
                return GENERATION_CONTEXT;
            }
            if (!slide(g, err)) {
                return GENERATION_FAILED;
            }
        }
        moxie_sampler_accept(g->sampler, id);
        if (!moxie_eval(g->session, &id, 1, err)) {
            return GENERATION_FAILED;
        }
        g->tokens[g->n_tokens++] = id;
    }
    return GENERATION_LENGTH;
}

enum generation_end generation_run(struct generation *g, uint32_t limit, char **answer,
                                   struct moxie_error *err)
{
    struct moxie_text_stream stream = {0};
    size_t used = 0;
    char tail[4];
    if (answer) {
        *answer = calloc(1, 1);
    }
    enum generation_end end = run_tokens(g, limit, &stream, answer, &used, err);
    size_t n = moxie_text_flush(&stream, tail);
    fwrite(tail, 1, n, stdout);
    fflush(stdout);
    if (answer && *answer) {
        append(answer, &used, tail, n);
    }
    return end;
}
