/* moxie chat: a conversation in the terminal, or line by line from a pipe. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/generate.h"
#include "tools/line_input.h"

struct chat {
    struct engine_flags engine;
    struct moxie_sampling sampling;
    uint32_t limit;
    bool slide;
    const char *system;
    struct generation generation;
    struct moxie_message *messages; /* contents are owned */
    size_t n_messages;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

static const char help_text[] = "/help    this text\n"
                                "/reset   forget the conversation\n"
                                "/quit    leave (so does Ctrl-D)\n"
                                "Ctrl-C   stops an answer\n";

static bool add_message(struct chat *c, const char *role, const char *content)
{
    struct moxie_message *grown = realloc(c->messages, (c->n_messages + 1) * sizeof(*c->messages));
    char *copy = strdup(content);
    if (grown) {
        c->messages = grown;
    }
    if (!grown || !copy) {
        free(copy);
        return false;
    }
    c->messages[c->n_messages++] = (struct moxie_message){role, copy};
    return true;
}

static void drop_messages(struct chat *c, size_t keep)
{
    while (c->n_messages > keep) {
        free((void *)c->messages[--c->n_messages].content);
    }
}

static bool reset(struct chat *c)
{
    drop_messages(c, 0);
    return !c->system || add_message(c, "system", c->system);
}

/* Forgets the oldest question and its answer, never the system's message or the question just
 * asked. */
static bool drop_oldest_turn(struct chat *c)
{
    size_t first = c->system ? 1 : 0;
    if (c->n_messages < first + 3) {
        return false;
    }
    free((void *)c->messages[first].content);
    free((void *)c->messages[first + 1].content);
    c->n_messages -= 2;
    memmove(c->messages + first, c->messages + first + 2,
            (c->n_messages - first) * sizeof(*c->messages));
    return true;
}

/* The conversation so far as tokens of the session; the longest beginning it already holds is
 * reused. */
static bool evaluate(struct chat *c, struct moxie_error *err)
{
    uint32_t *ids, context = moxie_context(c->generation.session);
    size_t n;
    if (!moxie_chat_tokens(c->generation.model, c->messages, c->n_messages, true, &ids, &n, err)) {
        return false;
    }
    while (n > context && c->slide && drop_oldest_turn(c)) {
        moxie_free(ids);
        if (!moxie_chat_tokens(c->generation.model, c->messages, c->n_messages, true, &ids, &n,
                               err)) {
            return false;
        }
    }
    bool ok = false;
    if (n == 0) {
        snprintf(err->text, sizeof(err->text), "the chat template made an empty prompt");
    } else if (n > context) {
        snprintf(err->text, sizeof(err->text),
                 "the conversation has %zu tokens and the context holds %" PRIu32
                 ": /reset starts anew; --context N or --slide make room",
                 n, context);
    } else {
        ok = generation_prompt(&c->generation, ids, n, err);
    }
    moxie_free(ids);
    return ok;
}

/* One question and its answer. A failure is told and costs the question, not the conversation. */
static bool answer(struct chat *c, const char *question)
{
    struct moxie_error err;
    char *text = NULL;
    if (!add_message(c, "user", question)) {
        tool_fail("chat", "not enough memory");
        return false;
    }
    interrupted = 0;
    if (!evaluate(c, &err)) {
        tool_fail("chat", err.text);
        drop_messages(c, c->n_messages - 1); /* the question */
        return false;
    }
    enum generation_end end = generation_run(&c->generation, c->limit, &text, &err);
    printf("\n");
    if (end == GENERATION_FAILED) {
        tool_fail("chat", err.text);
    } else if (end == GENERATION_CONTEXT) {
        fprintf(stderr,
                "(the context of %" PRIu32
                " tokens is full: /reset starts anew; --context N or --slide "
                "make room)\n",
                moxie_context(c->generation.session));
    } else if (end == GENERATION_INTERRUPTED) {
        fprintf(stderr, "(stopped)\n");
    }
    bool ok = end != GENERATION_FAILED && text && add_message(c, "assistant", text);
    if (!ok) {
        drop_messages(c, c->n_messages - 1); /* the question */
    }
    free(text);
    return ok;
}

/* Lines until the end of the input. Returns the exit code. */
static int converse(struct chat *c)
{
    bool terminal = isatty(STDIN_FILENO), ok = true;
    struct line_input *input = line_input_create(terminal ? "> " : NULL);
    if (!input || !reset(c)) {
        line_input_destroy(&input);
        return tool_fail("chat", "not enough memory");
    }
    for (;;) {
        interrupted = 0;
        enum line_status status;
        const char *line = line_input_next(input, &status);
        if (status == LINE_INTERRUPTED) {
            printf("\n");
            continue;
        }
        if (status != LINE_READ || strcmp(line, "/quit") == 0) {
            break;
        }
        if (strcmp(line, "/help") == 0) {
            fputs(help_text, stdout);
        } else if (strcmp(line, "/reset") == 0) {
            ok = reset(c) && ok;
        } else if (line[0] == '/') {
            fprintf(stderr, "there is no command %s (/help lists them)\n", line);
        } else if (line[strspn(line, " \t")]) {
            ok = answer(c, line) && ok;
        }
        fflush(stdout);
    }
    if (terminal) {
        printf("\n");
    }
    line_input_destroy(&input);
    return terminal || ok ? 0 : EXIT_FAILED;
}

static void greet(struct moxie_model *model)
{
    struct moxie_model_info info;
    moxie_model_info(model, &info);
    if (isatty(STDIN_FILENO)) {
        printf("%s on %s. /help lists commands, Ctrl-D leaves.\n",
               info.name[0] ? info.name : info.architecture, info.device);
    }
}

static int chat(struct chat *c, const char *path)
{
    struct moxie_error err;
    bool done = false;
    int status = EXIT_FAILED;
    struct moxie_session *session = NULL;
    struct moxie_model *model = open_model("chat", path, &c->engine);
    if (!model) {
        return EXIT_FAILED;
    }
    session = open_session("chat", model, &c->engine, &done);
    if (!session) {
        status = done ? 0 : EXIT_FAILED;
    } else if (!generation_init(&c->generation, model, session, &c->sampling, &err)) {
        status = tool_fail("chat", err.text);
    } else {
        c->generation.stop = &interrupted;
        c->generation.slide = c->slide;
        struct sigaction action = {.sa_handler = on_interrupt}; /* no SA_RESTART: reading returns */
        sigaction(SIGINT, &action, NULL);
        greet(model);
        status = converse(c);
    }
    drop_messages(c, 0);
    free(c->messages);
    generation_free(&c->generation);
    moxie_session_destroy(&session);
    close_model("chat", &model);
    return status;
}

int tool_chat(int argc, char **argv)
{
    struct chat c = {
        .engine = {.model = moxie_options_defaults(), .session = moxie_session_defaults()},
        .sampling = moxie_sampling_defaults(),
        .limit = UINT32_MAX};
    c.sampling.seed = seed_from_clock();
    const struct option options[] = {
        {"--system", "-s", OPTION_TEXT, &c.system, "TEXT", "what the model is told before it all"},
        {"-n", "--predict", OPTION_U32, &c.limit, "N",
         "most tokens of an answer (default: until the model stops)"},
        {"--slide", NULL, OPTION_FLAG, &c.slide, NULL,
         "when the context is full drop the oldest half and go on"},
        SAMPLING_OPTIONS(&c.sampling),
        DEVICE_OPTIONS(&c.engine),
        SESSION_OPTIONS(&c.engine),
        {0}};
    const struct usage usage = {
        .synopsis = "moxie chat [MODEL] [options]",
        .text = "Talks with a model. Without MODEL the demo model is used. Reads questions line by "
                "line, "
                "from a\nterminal or a pipe. In the conversation:\n"
                "  /help, /reset, /quit; Ctrl-C stops an answer, Ctrl-D leaves.",
        .options = options,
        .max_arguments = 1};
    char **arguments;
    uint32_t n;
    int status = options_parse(&usage, argc, argv, &arguments, &n);
    return status >= 0 ? status : chat(&c, n ? arguments[0] : NULL);
}
