/* moxie imatrix: runs a text through a model and writes what quantize wants to know of it: how
 * large the inputs of every matrix are, and how often the router chose each expert. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/importance_weights.h"
#include "tools/generate.h"
#include "tools/interrupt.h"
#include "tools/text_buffer.h"

#define DEFAULT_CONTEXT 512
#define MAX_TEXT_BYTES (1u << 30)

struct collection {
    struct engine_flags engine;
    const char *text_path, *output;
    uint32_t max_chunks; /* 0: all */
    bool special;
};

/* The token that this model's texts begin with, or UINT32_MAX. */
static uint32_t first_token(const struct moxie_model *model, const uint32_t *ids)
{
    uint32_t *special, id = UINT32_MAX;
    size_t n;
    if (moxie_tokenize(model, "", 0, MOXIE_ADD_SPECIAL, &special, &n, NULL)) {
        id = n > 0 && special[0] == ids[0] ? special[0] : UINT32_MAX;
        moxie_free(special);
    }
    return id;
}

/* Every chunk is a text of its own: it begins at position 0, with the token that texts begin with
 * in place of its first. */
static bool run_chunks(struct moxie_session *session, const struct moxie_model *model,
                       uint32_t *ids, uint32_t chunks, uint32_t context, struct moxie_error *err)
{
    struct progress progress = {.title = "collecting", .unit = "tokens"};
    uint32_t begin = first_token(model, ids);
    bool ok = true;
    progress_update(&progress, 0, (uint64_t)chunks * context);
    for (uint32_t i = 0; ok && i < chunks; i++) {
        uint32_t *chunk = ids + (size_t)i * context;
        if (begin != UINT32_MAX) {
            chunk[0] = begin;
        }
        moxie_rewind(session, 0);
        ok = moxie_eval(session, chunk, context, err);
        if (ok && interrupt_came()) {
            snprintf(err->text, sizeof(err->text), "stopped; nothing was written");
            ok = false;
        }
        progress_update(&progress, (uint64_t)(i + 1) * context, (uint64_t)chunks * context);
    }
    progress_finish(&progress);
    return ok;
}

/* How the text spread over the experts. */
static bool print_usage(struct moxie_session *session, const struct moxie_model_info *info,
                        struct moxie_error *err)
{
    float *counts = calloc(info->experts + 1, sizeof(float));
    uint64_t never = 0, rarely = 0, all = 0;
    bool ok = counts != NULL;
    for (uint32_t layer = 0; ok && info->experts > 0 && layer < info->layers; layer++) {
        ok = moxie_expert_counts(session, layer, counts, err);
        float most = 0;
        uint64_t layer_never = 0, layer_rarely = 0;
        for (uint32_t i = 0; ok && i < info->experts; i++) {
            most = counts[i] > most ? counts[i] : most;
            layer_never += counts[i] == 0;
            layer_rarely += counts[i] > 0 && counts[i] < IMPORTANCE_PRIOR;
        }
        if (most > 0) { /* a layer with a router */
            never += layer_never;
            rarely += layer_rarely;
            all += info->experts;
        }
    }
    free(counts);
    if (ok && all > 0) {
        printf("%" PRIu64 " experts in all: %" PRIu64 " never chosen, %" PRIu64
               " fewer than %d times\n",
               all, never, rarely, IMPORTANCE_PRIOR);
    }
    if (ok && never + rarely > all / 10) {
        printf("a longer text would tell more of those; the mean of their layer stands in\n");
    }
    return ok;
}

static bool collect(const struct collection *c, struct moxie_model *model,
                    struct moxie_session *session, struct moxie_error *err)
{
    struct moxie_model_info info;
    struct text_buffer text = {0};
    size_t n;
    uint32_t *ids, context = moxie_context(session);
    moxie_model_info(model, &info);
    uint32_t flags = MOXIE_ADD_SPECIAL | (c->special ? MOXIE_PARSE_SPECIAL : 0);
    bool ok =
        text_buffer_read_path(&text, c->text_path, MAX_TEXT_BYTES, err->text, sizeof(err->text)) &&
        moxie_tokenize(model, text_buffer_text(&text), text.n, flags, &ids, &n, err);
    text_buffer_free(&text);
    if (!ok) {
        return false;
    }
    uint64_t chunks = n / context;
    chunks = c->max_chunks && chunks > c->max_chunks ? c->max_chunks : chunks;
    chunks = chunks > UINT32_MAX ? UINT32_MAX : chunks;
    if (chunks == 0) {
        snprintf(err->text, sizeof(err->text),
                 "%s has %zu tokens, less than one chunk of %" PRIu32
                 ": name a longer text, or a smaller --context",
                 c->text_path, n, context);
        ok = false;
    }
    ok = ok && run_chunks(session, model, ids, (uint32_t)chunks, context, err) &&
         moxie_save_importance(session, c->output, c->text_path, (uint32_t)chunks, context, err);
    moxie_free(ids);
    if (ok) {
        printf("%s: activations of %" PRIu64 " chunks of %" PRIu32 " tokens of %s\n", c->output,
               chunks, context, c->text_path);
        ok = print_usage(session, &info, err);
    }
    return ok;
}

static int run(struct collection *c, const char *path)
{
    struct moxie_error err;
    struct moxie_model_info info;
    bool done = false, ok = false;
    struct moxie_model *model = open_model("imatrix", path, &c->engine);
    if (!model) {
        return EXIT_FAILED;
    }
    moxie_model_info(model, &info);
    uint32_t context = c->engine.session.context;
    context = context ? context : DEFAULT_CONTEXT;
    c->engine.session.context = context < info.context ? context : info.context;
    c->engine.session.observe = true;
    struct moxie_session *session = open_session("imatrix", model, &c->engine, &done);
    if (session) {
        interrupt_catch();
        ok = collect(c, model, session, &err);
        if (!ok) {
            tool_fail("imatrix", err.text);
        }
    }
    moxie_session_destroy(&session);
    close_model("imatrix", &model);
    return ok || done ? 0 : EXIT_FAILED;
}

int tool_imatrix(int argc, char **argv)
{
    struct collection c = {
        .engine = {.model = moxie_options_defaults(), .session = moxie_session_defaults()}};
    const struct option options[] = {
        {"--file", "-f", OPTION_TEXT, &c.text_path, "TEXT",
         "a text like those the model will be used for"},
        {"--output", "-o", OPTION_TEXT, &c.output, "FILE", "where the statistics go"},
        {"--chunks", NULL, OPTION_U32, &c.max_chunks, "N", "most chunks of the text (default all)"},
        {"--context", "-c", OPTION_U32, &c.engine.session.context, "N",
         "tokens of a chunk (default 512, or what the model allows)"},
        {"--special", NULL, OPTION_FLAG, &c.special, NULL,
         "text of special tokens such as <|im_end|> becomes those tokens"},
        DEVICE_OPTIONS(&c.engine),
        {"--print-ops", NULL, OPTION_FLAG, &c.engine.print_ops, NULL,
         "print the list of operations of one token and exit"},
        {0}};
    const struct usage usage = {
        .synopsis = "moxie imatrix MODEL -f TEXT -o FILE [options]",
        .text =
            "Runs TEXT through MODEL in chunks and writes activation statistics for `moxie\n"
            "quantize --imatrix`: how large the inputs of every matrix are column by column, of\n"
            "experts for each of them, and how often each expert was chosen. The file is GGUF,\n"
            "as llama.cpp's.",
        .options = options,
        .min_arguments = 1,
        .max_arguments = 1};
    char **arguments;
    uint32_t n;
    int status = options_parse(&usage, argc, argv, &arguments, &n);
    if (status >= 0) {
        return status;
    }
    if (!c.text_path || !c.output) {
        fprintf(stderr, "moxie imatrix: %s is missing\nusage: %s\n",
                c.text_path ? "-o FILE" : "-f TEXT", usage.synopsis);
        return EXIT_USAGE;
    }
    return run(&c, arguments[0]);
}
