/* moxie chat: a conversation in the terminal, or line by line from a pipe. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/chat.h"
#include "tools/message_input.h"

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
    line_input_interrupt();
}

/* The oldest turns go; the session then holds the rest, the question and the answer so far. */
static bool make_room(void *context, struct moxie_error *err)
{
    struct chat_answer *answer = context;
    struct chat *chat = answer->chat;
    size_t n = answer->ids.n / sizeof(uint32_t), messages = chat->history.n;
    uint32_t *ids;
    if (!chat_fit(chat, (const uint32_t *)answer->ids.at, n - 1, &ids, &n, err)) {
        return false;
    }
    bool ok = true;
    if (chat->history.n < messages && n < moxie_context(chat->generation.session)) {
        ok = generation_prompt(&chat->generation, ids, n, err);
    }
    free(ids);
    return ok;
}

static bool token(void *context, uint32_t id)
{
    return chat_answer_token(context, id);
}

static void tell_end(const struct chat *chat, enum generation_end end)
{
    if (end == GENERATION_CONTEXT) {
        fprintf(stderr,
                "(the context of %" PRIu32
                " tokens is full: /reset starts anew; --context N or --slide make room)\n",
                moxie_context(chat->generation.session));
    } else if (end == GENERATION_INTERRUPTED) {
        fprintf(stderr, "(stopped)\n");
    }
}

/* Evaluates the prompt and prints the answer. */
static bool generate(struct chat *chat, struct chat_answer *answer, struct moxie_error *err)
{
    struct generation *g = &chat->generation;
    uint32_t *ids, context = moxie_context(g->session);
    size_t n;
    if (!chat_fit(chat, NULL, 0, &ids, &n, err)) {
        return false;
    }
    bool ok = false;
    if (n == 0) {
        snprintf(err->text, sizeof(err->text), "the chat template made an empty prompt");
    } else if (n > context) {
        snprintf(
            err->text, sizeof(err->text),
            "the question has %zu tokens with its system message and the context holds %" PRIu32
            ": ask a shorter one, or start with a larger --context",
            n, context);
    } else if (generation_prompt(g, ids, n, err)) {
        const struct generation_receiver receiver = {answer, token, make_room};
        chat_answer_begin(answer, chat, ids, n);
        enum generation_end end = generation_run(g, chat->limit, &receiver, err);
        chat_answer_end(answer);
        tell_end(chat, end);
        if (end == GENERATION_ENOUGH) {
            snprintf(err->text, sizeof(err->text), "not enough memory for the answer");
        }
        ok = end != GENERATION_FAILED && end != GENERATION_ENOUGH;
    }
    free(ids);
    return ok;
}

bool chat_reply(struct chat *chat)
{
    struct moxie_error err;
    struct chat_answer answer = {0};
    bool ok = generate(chat, &answer, &err);
    if (ok && !chat_history_add(&chat->history, CHAT_ASSISTANT, text_buffer_text(&answer.answer),
                                answer.thought.at)) {
        snprintf(err.text, sizeof(err.text), "not enough memory for the answer");
        ok = false;
    }
    if (!ok) {
        tool_fail("chat", err.text);
        chat_history_undo(&chat->history);
    }
    chat_answer_free(&answer);
    return ok;
}

/* The text with everything that is no UTF-8 as U+FFFD; free it. NULL if memory runs out. */
static char *valid_text(const char *text)
{
    size_t n = strlen(text);
    struct moxie_text_stream stream = {0};
    char *valid = n < SIZE_MAX / 8 ? malloc(3 * (n + 3) + 4) : NULL;
    if (valid) {
        size_t used = moxie_text_push(&stream, text, n, valid);
        used += moxie_text_flush(&stream, valid + used);
        valid[used] = 0;
    }
    return valid;
}

static bool take_message(struct chat *chat, const char *text, bool literal)
{
    char *valid = valid_text(text);
    bool ok = true;
    if (!valid) {
        tool_fail("chat", "not enough memory");
        ok = false;
    } else if (valid[0] == '/' && !literal) {
        ok = chat_command(chat, valid);
    } else if (valid[strspn(valid, " \t\n")]) {
        ok = chat_history_add(&chat->history, CHAT_USER, valid, NULL);
        if (!ok) {
            tool_fail("chat", "not enough memory");
        }
        ok = ok && chat_reply(chat);
    }
    free(valid);
    fflush(stdout);
    return ok;
}

/* Messages until the end of the input. Returns the exit code. */
static int converse(struct chat *chat)
{
    struct message_input input;
    bool ok = true;
    if (!message_input_open(&input, chat->on_terminal)) {
        message_input_close(&input);
        return tool_fail("chat", "not enough memory");
    }
    while (!chat->quit) {
        enum line_status status;
        interrupted = 0;
        const char *text = message_input_next(&input, &status);
        if (status == LINE_END) {
            break;
        }
        if (status == LINE_INTERRUPTED) {
            printf("\n");
        } else {
            ok = take_message(chat, text, input.literal) && ok;
        }
    }
    if (chat->on_terminal && !chat->quit) {
        printf("\n");
    }
    message_input_close(&input);
    return chat->on_terminal || ok ? 0 : EXIT_FAILED;
}

static void greet(struct moxie_model *model)
{
    struct moxie_model_info info;
    moxie_model_info(model, &info);
    printf("%s on %s. /help lists commands, Ctrl-D leaves.\n",
           info.name[0] ? info.name : info.architecture, info.device);
}

static bool set_system(struct chat *chat, const char *system)
{
    char *valid = system ? valid_text(system) : NULL;
    bool ok = !system || (valid && chat_history_set_system(&chat->history, valid));
    free(valid);
    return ok;
}

static int chat_with(struct chat *chat, const char *path, const char *system)
{
    struct moxie_error err;
    bool done = false;
    int status = EXIT_FAILED;
    struct moxie_session *session = NULL;
    struct moxie_model *model = open_model("chat", path, &chat->engine);
    if (!model) {
        return EXIT_FAILED;
    }
    session = open_session("chat", model, &chat->engine, &done);
    if (!session) {
        status = done ? 0 : EXIT_FAILED;
    } else if (!generation_init(&chat->generation, model, session, &chat->sampling, &err)) {
        status = tool_fail("chat", err.text);
    } else if (!set_system(chat, system)) {
        status = tool_fail("chat", "not enough memory");
    } else {
        chat->generation.stop = &interrupted;
        chat->generation.slide = chat->slide;
        chat->on_terminal = isatty(STDIN_FILENO);
        struct sigaction action = {.sa_handler = on_interrupt}; /* no SA_RESTART: reading returns */
        sigaction(SIGINT, &action, NULL);
        if (chat->on_terminal) {
            greet(model);
        }
        chat_learn_template(chat);
        status = converse(chat);
    }
    chat_history_free(&chat->history);
    generation_free(&chat->generation);
    moxie_session_destroy(&session);
    close_model("chat", &model);
    return status;
}

static bool parse_think(const char *text, enum think_mode *mode)
{
    static const char *const names[] = {
        [THINK_SHOW] = "show", [THINK_HIDE] = "hide", [THINK_OFF] = "off"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *mode = (enum think_mode)i;
            return true;
        }
    }
    fprintf(stderr, "moxie: --think cannot be \"%s\"; it is show, hide or off\n", text);
    return false;
}

int tool_chat(int argc, char **argv)
{
    const char *think = "show", *system = NULL;
    struct chat chat = {
        .engine = {.model = moxie_options_defaults(), .session = moxie_session_defaults()},
        .sampling = moxie_sampling_defaults(),
        .limit = UINT32_MAX};
    chat.sampling.seed = seed_from_clock();
    const struct option options[] = {
        {"--system", "-s", OPTION_TEXT, &system, "TEXT", "what the model is told before it all"},
        {"--think", NULL, OPTION_TEXT, &think, "MODE",
         "reasoning of the model: show (default), hide, or off: ask the chat template for none "
         "(gpt-oss, which always reasons: for little) and hide what comes"},
        {"-n", "--predict", OPTION_LIMIT, &chat.limit, "N",
         "most tokens of an answer (default -1: until the model stops)"},
        {"--slide", NULL, OPTION_FLAG, &chat.slide, NULL,
         "when one answer alone fills the context drop the oldest half of it and go on"},
        SAMPLING_OPTIONS(&chat.sampling),
        DEVICE_OPTIONS(&chat.engine),
        SESSION_OPTIONS(&chat.engine),
        {0}};
    const struct usage usage = {
        .synopsis = "moxie chat [MODEL] [options]",
        .text =
            "Talks with a model: a .moxie file, a GGUF file or a Hugging Face folder. Without "
            "MODEL\n"
            "the demo model is used. Reads questions line by line, from a terminal or a pipe;\n"
            "several pasted lines are one question, a line that ends in \\ goes on with the next,\n"
            "and \"\"\" opens and closes a block of lines. When the context is full the oldest\n"
            "questions and answers are forgotten. In the conversation:\n"
            "  /help lists the commands; Ctrl-C stops an answer, Ctrl-D leaves.",
        .options = options,
        .max_arguments = 1};
    char **arguments;
    uint32_t n;
    int status = options_parse(&usage, argc, argv, &arguments, &n);
    if (status < 0 && !parse_think(think, &chat.think)) {
        status = EXIT_USAGE;
    }
    return status >= 0 ? status : chat_with(&chat, n ? arguments[0] : NULL, system);
}
