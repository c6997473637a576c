/* An answer on its way to the screen and into the history (chat.h). */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/chat.h"

#define DIM "\033[2m"
#define PLAIN "\033[0m"
#define ERASE_LINE "\r\033[K"

/* Enough tokens of the prompt to see whether it ends with an opening marker. */
#define PROMPT_TAIL 12

/* Between a thought and an answer, and before the first. */
static void change_part(struct chat_answer *a, enum reasoning_part part)
{
    bool shows = a->chat->think == THINK_SHOW;
    word_writer_end(&a->writer);
    if (part == REASONING_THOUGHT) {
        fputs(shows ? (a->on_terminal ? DIM : "<think>\n") : (a->on_terminal ? "thinking ..." : ""),
              stdout);
        a->shown = shows ? ANSWER_THOUGHT : ANSWER_WAITING;
    } else {
        if (a->shown == ANSWER_THOUGHT) {
            const char *gap = a->writer.last == '\n' ? "" : "\n";
            printf("%s%s\n", gap, a->on_terminal ? PLAIN : "</think>\n");
        } else if (a->shown == ANSWER_WAITING && a->on_terminal) {
            fputs(ERASE_LINE, stdout);
        }
        a->shown = ANSWER_TEXT;
    }
    a->writer.last = 0;
    fflush(stdout);
}

static void take_text(void *context, enum reasoning_part part, const char *text, size_t n)
{
    struct chat_answer *a = context;
    if (part == REASONING_THOUGHT && a->shown != ANSWER_THOUGHT && a->shown != ANSWER_WAITING) {
        change_part(a, part);
    } else if (part == REASONING_ANSWER && a->shown != ANSWER_TEXT) {
        change_part(a, part);
    }
    text_buffer_append(part == REASONING_THOUGHT ? &a->thought : &a->answer, text, n);
    if (part == REASONING_ANSWER || a->chat->think == THINK_SHOW) {
        word_writer_push(&a->writer, text, n);
    }
}

void chat_answer_begin(struct chat_answer *a, struct chat *chat, const uint32_t *prompt, size_t n)
{
    bool on_terminal = isatty(STDOUT_FILENO);
    struct text_buffer tail = {0};
    *a = (struct chat_answer){.chat = chat,
                              .reasoning = {.text = take_text, .context = a},
                              .writer = {.out = stdout, .terminal = on_terminal},
                              .on_terminal = on_terminal};
    for (size_t i = n < PROMPT_TAIL ? 0 : n - PROMPT_TAIL; i < n; i++) {
        uint32_t bytes;
        const char *text = moxie_token_bytes(chat->generation.model, prompt[i], true, &bytes);
        text_buffer_append(&tail, text, bytes);
    }
    reasoning_begin(&a->reasoning, text_buffer_text(&tail), tail.n);
    text_buffer_free(&tail);
}

bool chat_answer_token(struct chat_answer *a, uint32_t id)
{
    const struct moxie_model *model = a->chat->generation.model;
    uint32_t bytes;
    const char *text = moxie_token_bytes(model, id, false, &bytes);
    text_buffer_append(&a->ids, (const char *)&id, sizeof(id));
    if (bytes == 0) {
        text = moxie_token_bytes(model, id, true, &bytes);
        reasoning_push_special(&a->reasoning, bytes ? text : "", bytes);
    } else {
        char *out = malloc(3 * ((size_t)bytes + 3));
        a->failed = a->failed || !out;
        if (out) {
            reasoning_push(&a->reasoning, out, moxie_text_push(&a->stream, text, bytes, out));
        }
        free(out);
    }
    a->failed = a->failed || a->answer.failed || a->thought.failed || a->ids.failed;
    return !a->failed;
}

void chat_answer_end(struct chat_answer *a)
{
    char tail[4];
    reasoning_push(&a->reasoning, tail, moxie_text_flush(&a->stream, tail));
    reasoning_end(&a->reasoning);
    word_writer_end(&a->writer);
    if (a->shown == ANSWER_THOUGHT) {
        fputs(a->on_terminal ? PLAIN : "\n</think>", stdout);
    } else if (a->shown == ANSWER_WAITING && a->on_terminal) {
        fputs(ERASE_LINE, stdout);
    }
    printf("\n");
    fflush(stdout);
}

void chat_answer_free(struct chat_answer *a)
{
    text_buffer_free(&a->answer);
    text_buffer_free(&a->thought);
    text_buffer_free(&a->ids);
}
