#include "tools/chat_history.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char *const role_names[] = {"system", "user", "assistant", "tool"};

static void free_message(struct chat_message *message)
{
    free(message->content);
    free(message->reasoning);
    json_decref(message->whole);
}

void chat_history_free(struct chat_history *history)
{
    chat_history_cut(history, 0);
    free(history->messages);
    *history = (struct chat_history){0};
}

void chat_history_cut(struct chat_history *history, size_t n)
{
    while (history->n > n) {
        free_message(&history->messages[--history->n]);
    }
}

/* Takes the message over, also on failure. */
static bool append(struct chat_history *history, struct chat_message message, bool complete)
{
    struct chat_message *grown =
        realloc(history->messages, (history->n + 1) * sizeof(*history->messages));
    if (grown) {
        history->messages = grown;
    }
    if (!grown || !complete) {
        free_message(&message);
        return false;
    }
    history->messages[history->n++] = message;
    return true;
}

bool chat_history_add(struct chat_history *history, enum chat_role role, const char *content,
                      const char *reasoning)
{
    struct chat_message message = {role, strdup(content), reasoning ? strdup(reasoning) : NULL,
                                   NULL};
    return append(history, message, message.content && (!reasoning || message.reasoning));
}

bool chat_history_add_whole(struct chat_history *history, enum chat_role role, json_t *whole)
{
    return append(history, (struct chat_message){role, NULL, NULL, json_incref(whole)}, true);
}

const char *chat_history_system(const struct chat_history *history)
{
    return history->n > 0 && history->messages[0].role == CHAT_SYSTEM ? history->messages[0].content
                                                                      : NULL;
}

/* Takes `count` messages out. */
static void take_out(struct chat_history *history, size_t at, size_t count)
{
    assert(at + count <= history->n);
    for (size_t i = at; i < at + count; i++) {
        free_message(&history->messages[i]);
    }
    history->n -= count;
    memmove(history->messages + at, history->messages + at + count,
            (history->n - at) * sizeof(*history->messages));
}

bool chat_history_set_system(struct chat_history *history, const char *content)
{
    bool had = chat_history_system(history) != NULL;
    if (content) {
        if (!chat_history_add(history, CHAT_SYSTEM, content, NULL)) {
            return false;
        }
        struct chat_message added = history->messages[history->n - 1];
        memmove(history->messages + 1, history->messages,
                (history->n - 1) * sizeof(*history->messages));
        history->messages[0] = added;
    }
    if (had) {
        take_out(history, content ? 1 : 0, 1);
    }
    return true;
}

size_t chat_history_last_question(const struct chat_history *history)
{
    for (size_t i = history->n; i-- > 0;) {
        if (history->messages[i].role == CHAT_USER) {
            return i;
        }
    }
    return history->n;
}

bool chat_history_undo(struct chat_history *history)
{
    size_t last = chat_history_last_question(history);
    bool any = last < history->n;
    chat_history_cut(history, last);
    return any;
}

bool chat_history_drop_oldest(struct chat_history *history)
{
    size_t first = chat_history_system(history) ? 1 : 0;
    for (size_t i = first + 1; i < history->n; i++) {
        if (history->messages[i].role == CHAT_USER) {
            take_out(history, first, i - first);
            return true;
        }
    }
    return false;
}

json_t *chat_history_json(const struct chat_history *history)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < history->n; i++) {
        const struct chat_message *message = &history->messages[i];
        json_t *object =
            message->whole
                ? json_incref(message->whole)
                : json_pack("{s:s, s:s, s:s*}", "role", role_names[message->role], "content",
                            message->content, "reasoning_content", message->reasoning);
        if (!object || json_array_append_new(list, object) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}
