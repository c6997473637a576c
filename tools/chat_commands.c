/* What begins with a slash in a conversation (chat.h): one row and one function a command. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/chat.h"

struct command {
    const char *name, *argument, *help;
    bool needs_argument;
    bool (*run)(struct chat *chat, const char *argument);
};

static bool complain(const char *sentence)
{
    fprintf(stderr, "%s\n", sentence);
    return false;
}

/* The same about a command that makes no sense here: nothing has failed. */
static bool remark(const char *sentence)
{
    fprintf(stderr, "%s\n", sentence);
    return true;
}

static bool quit(struct chat *chat, const char *argument)
{
    chat->quit = true;
    return true;
}

static bool reset(struct chat *chat, const char *argument)
{
    chat_history_cut(&chat->history, chat_history_system(&chat->history) ? 1 : 0);
    return true;
}

static bool change_system(struct chat *chat, const char *argument)
{
    const char *system = chat_history_system(&chat->history);
    if (!*argument) {
        printf("%s\n", system ? system : "(there is no system message)");
        return true;
    }
    if (!chat_history_set_system(&chat->history, strcmp(argument, "-") == 0 ? NULL : argument)) {
        return complain("there is not enough memory for the system message");
    }
    printf("(the system message is %s)\n", strcmp(argument, "-") == 0 ? "removed" : "set");
    chat_learn_system(chat);
    return true;
}

static bool undo(struct chat *chat, const char *argument)
{
    if (!chat_history_undo(&chat->history)) {
        return remark("there is no question to take back");
    }
    printf("(the last question and its answer are taken back)\n");
    return true;
}

static bool regenerate(struct chat *chat, const char *argument)
{
    struct chat_history *history = &chat->history;
    if (history->n < 2 || history->messages[history->n - 1].role != CHAT_ASSISTANT) {
        return remark("there is no answer to make anew");
    }
    chat_history_cut(history, history->n - 1);
    return chat_reply(chat);
}

static bool save(struct chat *chat, const char *argument)
{
    struct moxie_error err;
    if (!chat_history_save(&chat->history, argument, &err)) {
        return complain(err.text);
    }
    printf("(%zu messages saved to %s)\n", chat->history.n, argument);
    return true;
}

/* Whether the chat template takes these messages is found out now, not at the next question. */
static bool load(struct chat *chat, const char *argument)
{
    struct moxie_error err;
    struct chat_history loaded = {0};
    uint32_t *ids = NULL;
    size_t n;
    bool ok = chat_history_load(&loaded, argument, &err);
    if (ok && loaded.n > 0 && !chat_tokens(chat, &loaded, false, &ids, &n, &err)) {
        char reason[sizeof(err.text)];
        memcpy(reason, err.text, sizeof(reason));
        snprintf(err.text, sizeof(err.text), "%.150s: the chat template refuses it: %.300s",
                 argument, reason);
        ok = false;
    }
    moxie_free(ids);
    if (!ok) {
        chat_history_free(&loaded);
        return complain(err.text);
    }
    chat_history_free(&chat->history);
    chat->history = loaded;
    chat_learn_system(chat);
    printf("(%zu messages loaded from %s)\n", chat->history.n, argument);
    return true;
}

static double rate(double tokens, double seconds)
{
    return seconds > 0 ? tokens / seconds : 0;
}

static bool stats(struct chat *chat, const char *argument)
{
    const struct generation *g = &chat->generation;
    const struct generation_counts *counts = &g->counts;
    struct moxie_memory memory;
    char weights[32], context[32], activations[32];
    moxie_memory_report(g->session, &memory);
    printf("context     %" PRIu32 " of %" PRIu32 " tokens, %zu messages\n", g->n_tokens,
           moxie_context(g->session), chat->history.n);
    printf("last prompt %" PRIu32 " tokens: %" PRIu32 " kept, %" PRIu32
           " evaluated, %.1f tokens/s\n",
           counts->prompt, counts->kept, counts->prompt - counts->kept,
           rate(counts->prompt - counts->kept, counts->prompt_seconds));
    printf("last answer %" PRIu32 " tokens, %.1f tokens/s\n", counts->generated,
           rate(counts->generated, counts->answer_seconds));
    printf("in all      %" PRIu64 " tokens evaluated, %" PRIu64 " generated\n",
           counts->total_evaluated, counts->total_generated);
    printf("memory      weights %s, context %s, activations %s\n",
           bytes_text(memory.weights, weights), bytes_text(memory.context, context),
           bytes_text(memory.activations, activations));
    return true;
}

static bool help(struct chat *chat, const char *argument);

static const struct command commands[] = {
    {"/help", "", "this text", false, help},
    {"/system", "[TEXT]", "show or set the system message; \"-\" removes it", false, change_system},
    {"/regen", "", "answer the last question anew", false, regenerate},
    {"/undo", "", "take the last question and its answer back", false, undo},
    {"/reset", "", "forget the conversation, but not the system message", false, reset},
    {"/save", "FILE", "write the conversation as JSON", true, save},
    {"/load", "FILE", "go on with a saved conversation", true, load},
    {"/stats", "", "tokens, speed and memory", false, stats},
    {"/quit", "", "leave (so does Ctrl-D)", false, quit},
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static bool help(struct chat *chat, const char *argument)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        char left[32];
        snprintf(left, sizeof(left), "%s %s", commands[i].name, commands[i].argument);
        printf("%-16s %s\n", left, commands[i].help);
    }
    printf("%-16s %s\n", "Ctrl-C", "stops an answer");
    printf("%-16s %s\n", "\\ or \"\"\"",
           "a line that ends in \\ goes on with the next one; a line "
           "that begins with \"\"\"\n"
           "                 opens a block up to the next \"\"\"");
    return true;
}

bool chat_command(struct chat *chat, const char *line)
{
    size_t length = strcspn(line, " \t\n");
    const char *argument = line + length + strspn(line + length, " \t\n");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strlen(commands[i].name) != length || memcmp(commands[i].name, line, length) != 0) {
            continue;
        }
        if (commands[i].needs_argument && !*argument) {
            fprintf(stderr, "%s needs a %s\n", commands[i].name, commands[i].argument);
            return true;
        }
        if (!*commands[i].argument && *argument) {
            fprintf(stderr, "%s takes nothing after it\n", commands[i].name);
            return true;
        }
        return commands[i].run(chat, argument);
    }
    fprintf(stderr, "there is no command %.*s (/help lists them)\n", (int)length, line);
    return true;
}
