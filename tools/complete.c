/* moxie complete: a text goes on. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/complete_output.h"
#include "tools/generate.h"

#define MAX_PROMPT_BYTES (64u << 20)

/* Entries of "top" with --json. */
#define DEFAULT_ALTERNATIVES 5
#define MAX_ALTERNATIVES 1000

struct complete {
    struct engine_flags engine;
    struct moxie_sampling sampling;
    uint32_t limit, alternatives;
    struct text_list stops;
    bool slide, special, quiet, stats, json;
    bool unasked; /* standard input is read because there is no other text */
    const char *model;
    const char *prompt;      /* NULL: from the file */
    const char *prompt_file; /* "-": standard input */
};

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
            t->new_tokens > 1 ? steps / generation : 0.0);
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

static bool take_token(void *context, uint32_t id)
{
    return complete_output_token(context, id);
}

static enum generation_end run(const struct complete *c, struct generation *g,
                               const struct text_buffer *prompt, struct moxie_error *err)
{
    enum generation_end end = GENERATION_FAILED;
    const char *const *stops = c->stops.texts;
    struct complete_output output = {.model = g->model,
                                     .session = g->session,
                                     .show_special = c->special,
                                     .stops = {.texts = stops, .n = c->stops.n}};
    if (c->json) {
        output.lines = token_json_create(g->model, c->alternatives, stdout);
        output.failed = !output.lines;
    } else if (!c->quiet) {
        fwrite(text_buffer_text(prompt), 1, prompt->n, stdout);
        fflush(stdout);
    }
    if (!output.failed) {
        const struct generation_receiver receiver = {.context = &output, .token = take_token};
        end = generation_run(g, c->limit, &receiver, err);
        complete_output_end(&output);
    }
    if (!c->json) {
        printf("\n");
    }
    if (output.failed) {
        snprintf(err->text, sizeof(err->text), "not enough memory");
        end = GENERATION_FAILED;
    }
    complete_output_free(&output);
    return end;
}

static int generate(const struct complete *c, struct generation *g, const uint32_t *ids, size_t n,
                    const struct text_buffer *prompt, double started)
{
    struct moxie_error err;
    struct timing t = {.opened = clock_seconds(), .prompt_tokens = (uint32_t)n};
    g->slide = c->slide;
    g->wants_logits = c->json;
    if (!generation_prompt(g, ids, n, &err)) {
        return tool_fail("complete", err.text);
    }
    t.prompted = clock_seconds();
    moxie_counts(g->session, &t.before);
    enum generation_end end = run(c, g, prompt, &err);
    t.finished = clock_seconds();
    moxie_counts(g->session, &t.after);
    t.new_tokens = g->counts.generated;
    if (c->stats) {
        print_stats(g, &t, started);
    }
    return finish(end, g, &err);
}

static int complete_with(struct complete *c, const struct text_buffer *prompt, double started)
{
    struct moxie_error err;
    int status = EXIT_FAILED;
    bool done = false;
    size_t n = 0;
    uint32_t *ids = NULL;
    struct generation g = {0};
    struct moxie_session *session = NULL;
    struct moxie_model *model = open_model("complete", c->model, &c->engine);
    if (!model) {
        return EXIT_FAILED;
    }
    uint32_t flags = MOXIE_ADD_SPECIAL | (c->special ? MOXIE_PARSE_SPECIAL : 0);
    if (!moxie_tokenize(model, text_buffer_text(prompt), prompt->n, flags, &ids, &n, &err)) {
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
    generation_free(&g);
    moxie_session_destroy(&session);
    close_model("complete", &model);
    moxie_free(ids);
    return status;
}

static int complete(struct complete *c)
{
    struct text_buffer prompt = {0};
    double started = clock_seconds();
    char why[512];
    int status;
    if (c->prompt && !text_buffer_append(&prompt, c->prompt, strlen(c->prompt))) {
        status = tool_fail("complete", "not enough memory for the prompt");
    } else if (!c->prompt && !text_buffer_read_path(&prompt, c->prompt_file, MAX_PROMPT_BYTES, why,
                                                    sizeof(why))) {
        status = tool_fail("complete", why);
    } else if (c->unasked && prompt.n == 0) {
        fprintf(stderr, "moxie complete: a text is missing (--help tells where it may be)\n");
        status = EXIT_USAGE;
    } else {
        status = complete_with(c, &prompt, started);
    }
    text_buffer_free(&prompt);
    return status;
}

/* Whether a single argument is a model rather than a text. */
static bool names_model(const char *argument)
{
    static const char *const endings[] = {".moxie", ".gguf"};
    size_t n = strlen(argument);
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        size_t length = strlen(endings[i]);
        if (n > length && strcmp(argument + n - length, endings[i]) == 0) {
            return access(argument, F_OK) == 0;
        }
    }
    return false;
}

/* Which argument is what: MODEL, text, both or none. NULL if they make sense, else what is wrong.
 */
static const char *sort_arguments(struct complete *c, char **arguments, uint32_t n)
{
    bool given = c->prompt || c->prompt_file;
    if (c->prompt && c->prompt_file) {
        return "-p and -f cannot both be the text";
    }
    if (!given && n > 0 && !(n == 1 && names_model(arguments[0]))) {
        c->prompt = arguments[--n];
        given = true;
    }
    if (n > 1) {
        return "one argument too many";
    }
    c->model = n ? arguments[0] : NULL;
    if (c->prompt && strcmp(c->prompt, "-") == 0) {
        c->prompt = NULL;
        c->prompt_file = "-";
    }
    if (!given && c->engine.print_ops) {
        c->prompt = " ";
    } else if (!given && isatty(STDIN_FILENO)) {
        return "a text is missing";
    } else if (!given) {
        c->prompt_file = "-";
        c->unasked = true;
    }
    return NULL;
}

static const char *check_values(const struct complete *c)
{
    for (uint32_t i = 0; i < c->stops.n; i++) {
        if (!*c->stops.texts[i]) {
            return "--stop needs a text that is not empty";
        }
    }
    return c->alternatives > MAX_ALTERNATIVES ? "--top-logprobs can be at most 1000" : NULL;
}

int tool_complete(int argc, char **argv)
{
    struct complete c = {
        .engine = {.model = moxie_options_defaults(), .session = moxie_session_defaults()},
        .sampling = moxie_sampling_defaults(),
        .limit = UINT32_MAX,
        .alternatives = DEFAULT_ALTERNATIVES};
    c.sampling.seed = seed_from_clock();
    const struct option options[] = {
        {"-n", "--predict", OPTION_LIMIT, &c.limit, "N",
         "most tokens to add (default -1: until the model stops or the context is full)"},
        {"-p", "--prompt", OPTION_TEXT, &c.prompt, "TEXT",
         "the text, instead of the last argument"},
        {"-f", "--file", OPTION_TEXT, &c.prompt_file, "FILE", "the text is in this file"},
        {"--stop", NULL, OPTION_LIST, &c.stops, "TEXT",
         "end before this text, which is not printed; may be given more than once"},
        {"--json", NULL, OPTION_FLAG, &c.json, NULL,
         "one JSON object a token: id, text, probability and the likeliest (top)"},
        {"--top-logprobs", "--alternatives", OPTION_U32, &c.alternatives, "N",
         "how many are in \"top\" (default 5)"},
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
    const struct usage usage = {
        .synopsis = "moxie complete [MODEL] [\"text\"] [options]",
        .text = "Prints the text and goes on with it. Without MODEL the demo model is used. "
                "Without a text (or\nwith \"-\") it is read from standard input; one argument "
                "alone is the text, unless it is a .moxie\nor .gguf file.",
        .options = options,
        .max_arguments = 2};
    char **arguments;
    uint32_t n;
    int status = options_parse(&usage, argc, argv, &arguments, &n);
    if (status >= 0) {
        return status;
    }
    const char *wrong = check_values(&c);
    wrong = wrong ? wrong : sort_arguments(&c, arguments, n);
    if (wrong) {
        fprintf(stderr, "moxie complete: %s\nusage: %s (--help for more)\n", wrong, usage.synopsis);
        return EXIT_USAGE;
    }
    return complete(&c);
}
