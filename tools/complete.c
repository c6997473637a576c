/* moxie complete: a text goes on. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/generate.h"

struct complete {
    struct engine_flags engine;
    struct moxie_sampling sampling;
    uint32_t limit;
    bool slide, special, quiet, stats;
    const char *model, *prompt;
};

static double seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* All of standard input, for the prompt "-". NULL after running out of memory or a read error. */
static char *read_input(size_t *bytes)
{
    size_t capacity = 4096;
    char *text = malloc(capacity);
    *bytes = 0;
    while (text) {
        *bytes += fread(text + *bytes, 1, capacity - *bytes - 1, stdin);
        if (*bytes + 1 < capacity) {
            break;
        }
        capacity *= 2;
        char *grown = realloc(text, capacity);
        if (!grown) {
            free(text);
        }
        text = grown;
    }
    if (text && ferror(stdin)) {
        free(text);
        return NULL;
    }
    if (text) {
        text[*bytes] = 0;
    }
    return text;
}

struct timing {
    double opened, prompted, finished;
    uint32_t prompt_tokens, new_tokens;
    struct moxie_counts before, after;
};

static void print_stats(const struct generation *g, const struct timing *t, double started)
{
    struct moxie_model_info info;
    struct moxie_memory memory;
    char weights[32], context[32], activations[32];
    moxie_model_info(g->model, &info);
    moxie_memory_report(g->session, &memory);
    double prompt = t->prompted - t->opened, generation = t->finished - t->prompted;
    uint32_t steps = t->new_tokens > 1 ? t->new_tokens - 1 : 1;
    fprintf(stderr, "device      %s\n", info.device);
    fprintf(stderr, "memory      weights %s, context %s, activations %s\n",
            bytes_text(memory.weights, weights), bytes_text(memory.context, context),
            bytes_text(memory.activations, activations));
    fprintf(stderr, "ready       after %.3f s, first token after %.3f s\n", t->opened - started,
            t->prompted - started);
    fprintf(stderr, "prompt      %" PRIu32 " tokens, %.1f tokens/s\n", t->prompt_tokens,
            t->prompt_tokens / prompt);
    fprintf(stderr, "generation  %" PRIu32 " tokens, %.1f tokens/s\n", t->new_tokens,
            steps / generation);
    fprintf(stderr, "per token   %.1f submits, %.1f dispatches, %.1f barriers\n",
            (double)(t->after.submits - t->before.submits) / steps,
            (double)(t->after.dispatches - t->before.dispatches) / steps,
            (double)(t->after.barriers - t->before.barriers) / steps);
}

static int finish(enum generation_end end, const struct generation *g,
                  const struct moxie_error *err)
{
    if (end == GENERATION_FAILED) {
        return tool_fail("complete", err->text);
    }
    if (end == GENERATION_CONTEXT) {
        fprintf(stderr,
                "moxie complete: the context of %" PRIu32
                " tokens is full: ask for a larger --context, or --slide\n",
                moxie_context(g->session));
    }
    return 0;
}

static int generate(const struct complete *c, struct generation *g, const uint32_t *ids, size_t n,
                    const char *prompt, double started)
{
    struct moxie_error err;
    struct timing t = {.opened = seconds(), .prompt_tokens = (uint32_t)n};
    g->slide = c->slide;
    g->show_special = c->special;
    if (!generation_prompt(g, ids, n, &err)) {
        return tool_fail("complete", err.text);
    }
    t.prompted = seconds();
    moxie_counts(g->session, &t.before);
    if (!c->quiet) {
        fputs(prompt, stdout);
    }
    enum generation_end end = generation_run(g, c->limit, NULL, &err);
    printf("\n");
    t.finished = seconds();
    moxie_counts(g->session, &t.after);
    t.new_tokens = g->n_generated;
    if (c->stats) {
        print_stats(g, &t, started);
    }
    return finish(end, g, &err);
}

static int complete(struct complete *c)
{
    struct moxie_error err;
    double started = seconds();
    int status = EXIT_FAILED;
    bool done = false;
    char *input = NULL;
    size_t bytes = strlen(c->prompt), n = 0;
    uint32_t *ids = NULL;
    struct generation g = {0};
    struct moxie_session *session = NULL;
    struct moxie_model *model = open_model("complete", c->model, &c->engine);
    if (!model) {
        return EXIT_FAILED;
    }
    const char *prompt = c->prompt;
    if (strcmp(prompt, "-") == 0) {
        prompt = input = read_input(&bytes);
        if (!prompt) {
            status = tool_fail("complete", "standard input could not be read");
            goto out;
        }
    }
    uint32_t flags = MOXIE_ADD_SPECIAL | (c->special ? MOXIE_PARSE_SPECIAL : 0);
    if (!moxie_tokenize(model, prompt, bytes, flags, &ids, &n, &err)) {
        status = tool_fail("complete", err.text);
    } else if (n == 0) {
        status = tool_fail("complete", "the prompt is empty");
    } else if (!(session = open_session("complete", model, &c->engine, &done))) {
        status = done ? 0 : EXIT_FAILED;
    } else if (!generation_init(&g, model, session, &c->sampling, &err)) {
        status = tool_fail("complete", err.text);
    } else {
        status = generate(c, &g, ids, n, prompt, started);
    }
out:
    generation_free(&g);
    moxie_session_destroy(&session);
    close_model("complete", &model);
    moxie_free(ids);
    free(input);
    return status;
}

int tool_complete(int argc, char **argv)
{
    struct complete c = {
        .engine = {.model = moxie_options_defaults(), .session = moxie_session_defaults()},
        .sampling = moxie_sampling_defaults(),
        .limit = UINT32_MAX};
    c.sampling.seed = seed_from_clock();
    const struct option options[] = {
        {"-n", "--predict", OPTION_U32, &c.limit, "N",
         "most tokens to add (default: until the model stops or the context is full)"},
        {"-p", "--prompt", OPTION_TEXT, &c.prompt, "TEXT",
         "the text, instead of the last argument"},
        {"--special", NULL, OPTION_FLAG, &c.special, NULL,
         "read and show special tokens such as <|im_end|> in the text"},
        {"--slide", NULL, OPTION_FLAG, &c.slide, NULL,
         "when the context is full drop the oldest half and go on"},
        {"--no-echo", NULL, OPTION_FLAG, &c.quiet, NULL, "do not print the prompt"},
        {"--stats", NULL, OPTION_FLAG, &c.stats, NULL, "print memory, speed and counts at the end"},
        SAMPLING_OPTIONS(&c.sampling),
        DEVICE_OPTIONS(&c.engine),
        SESSION_OPTIONS(&c.engine),
        {0}};
    const struct usage usage = {.synopsis = "moxie complete [MODEL] \"text\" [options]",
                                .text = "Prints the text and goes on with it. Without MODEL the "
                                        "demo model is used; \"-\" reads "
                                        "the text\nfrom standard input.",
                                .options = options,
                                .min_arguments = 0,
                                .max_arguments = 2};
    char **arguments;
    uint32_t n;
    int status = options_parse(&usage, argc, argv, &arguments, &n);
    if (status >= 0) {
        return status;
    }
    if (!c.prompt && n > 0) {
        c.prompt = arguments[--n];
    }
    if (!c.prompt && c.engine.print_ops) {
        c.prompt = " ";
    }
    if (!c.prompt || n > 1) {
        fprintf(stderr, "moxie complete: %s\nusage: %s (--help for more)\n",
                c.prompt ? "one argument too many" : "a text is missing", usage.synopsis);
        return EXIT_USAGE;
    }
    c.model = n ? arguments[0] : NULL;
    return complete(&c);
}
