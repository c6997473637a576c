/* A conversation in the terminal: what the files tools/chat*.c share.
 *
 * chat.c reads messages and answers them, chat_commands.c does what begins with a slash,
 * chat_context.c makes tokens of the conversation and drops what the context cannot hold,
 * chat_answer.c prints an answer as it comes, chat_history.c keeps the messages.
 */
#pragma once

#include "tools/chat_history.h"
#include "tools/generate.h"
#include "tools/reasoning.h"
#include "tools/text_buffer.h"
#include "tools/word_writer.h"

enum think_mode {
    THINK_SHOW,
    THINK_HIDE,
    THINK_OFF, /* asks the template for none; hides what comes nevertheless */
};

struct chat {
    struct engine_flags engine;
    struct moxie_sampling sampling;
    uint32_t limit;
    bool slide;
    enum think_mode think;
    const char
        *no_thinking; /* variables for THINK_OFF, as the template knows them; NULL: the usual */
    struct generation generation;
    struct chat_history history;
    bool on_terminal; /* questions come from a person */
    bool quit;
};

/* ---- chat_context.c */

/* Tokens of the messages, with the opening of the answer if `open`. *ids: moxie_free. */
bool chat_tokens(struct chat *chat, const struct chat_history *history, bool open, uint32_t **ids,
                 size_t *n, struct moxie_error *err);
/* To be called once, before the first question. Finds what ends an answer besides the model's stop
 * tokens: the first special token that the template writes after one. Tells on stderr if the
 * template is not the model's own, or --think off has no effect. */
void chat_learn_template(struct chat *chat);
/* To be called when the system message has changed: sliding keeps the first tokens, which are the
 * same whatever the question is. */
void chat_learn_system(struct chat *chat);
/* The tokens of the conversation followed by the n_answer first of `answer` (free them), dropping
 * the oldest turns (with a notice) until the context holds them and a good answer. Without an error
 * *n may be more than the context: there was nothing left to drop. */
bool chat_fit(struct chat *chat, const uint32_t *answer, size_t n_answer, uint32_t **ids, size_t *n,
              struct moxie_error *err);

/* ---- chat_answer.c */

struct chat_answer {
    struct chat *chat;
    struct reasoning reasoning;
    struct word_writer writer;
    struct moxie_text_stream stream;
    struct text_buffer answer, thought, ids; /* ids: of uint32_t */
    bool on_terminal;
    enum {
        ANSWER_NOTHING,
        ANSWER_THOUGHT,
        ANSWER_WAITING,
        ANSWER_TEXT
    } shown; /* last on the screen */
    bool failed;
};

/* `prompt`: the ids it continues. */
void chat_answer_begin(struct chat_answer *answer, struct chat *chat, const uint32_t *prompt,
                       size_t n);
bool chat_answer_token(struct chat_answer *answer, uint32_t id);
/* Prints what is held back and the end of the line. */
void chat_answer_end(struct chat_answer *answer);
void chat_answer_free(struct chat_answer *answer);

/* ---- chat.c */

/* Answers the question at the end of the history. A failure is told, and costs the question, not
 * the conversation. */
bool chat_reply(struct chat *chat);

/* ---- chat_commands.c */

/* Does what a line that begins with a slash says, or remarks on it on stderr; false if something
 * failed. */
bool chat_command(struct chat *chat, const char *line);
