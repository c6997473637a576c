/* The messages of a conversation: an optional system message, then questions and answers in turn.
 * Before its answer, a question of a loaded conversation may have turns in which the model called
 * tools and tools answered; they go to the template as they came.
 *
 * Files of it are JSON in the shape that chat templates take (and `moxie render --messages` reads):
 * [{"role": "user", "content": "..."}, {"role": "assistant", "content": "...",
 *   "reasoning_content": "..."}, ...]. They are untrusted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "engine/moxie.h"

enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT, CHAT_TOOL };

struct chat_message {
    enum chat_role role;
    char *content;
    char *reasoning; /* of an answer, or NULL */
    json_t *whole;   /* of a call of tools, or what a tool answered: the whole message; else NULL */
};

struct chat_history {
    struct chat_message *messages;
    size_t n;
};

void chat_history_free(struct chat_history *history);
/* False if memory runs out; reasoning may be NULL. */
bool chat_history_add(struct chat_history *history, enum chat_role role, const char *content,
                      const char *reasoning);
/* The same of a message in JSON that is more than texts; it is shared. */
bool chat_history_add_whole(struct chat_history *history, enum chat_role role, json_t *whole);
/* Drops messages from the end until n are left. */
void chat_history_cut(struct chat_history *history, size_t n);
/* The text of the system message, or NULL. */
const char *chat_history_system(const struct chat_history *history);
/* Sets, changes or (NULL) removes it. False if memory runs out. */
bool chat_history_set_system(struct chat_history *history, const char *content);
/* Drops the last question and what came after it. False if there is none. */
bool chat_history_undo(struct chat_history *history);
/* Drops the oldest question up to its answer, never the system message or the last question. False
 * if there is nothing else. */
bool chat_history_drop_oldest(struct chat_history *history);

/* Where the last question stands; n if there is none. */
size_t chat_history_last_question(const struct chat_history *history);

/* A new JSON list of the messages; NULL if memory runs out. */
json_t *chat_history_json(const struct chat_history *history);
/* Writes to a temporary name beside `path` and renames: on failure what stood there stays. */
bool chat_history_save(const struct chat_history *history, const char *path,
                       struct moxie_error *err);
/* Replaces the messages; leaves them alone on failure. */
bool chat_history_load(struct chat_history *history, const char *path, struct moxie_error *err);
