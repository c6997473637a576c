/* Tells what a model thinks from what it answers.
 *
 * Two conventions. Markers: the answer begins with a thought between <think> and </think> or the
 * like (a table in reasoning.c); the opening marker may stand at the end of the prompt already.
 * Channels (gpt-oss): <|channel|>NAME<|message|>text<|end|>, all four special tokens; the channel
 * "analysis" is thought. Markers themselves, and white space beside them, belong to neither part.
 * Only a marker at the beginning counts, so that an answer may speak of <think>.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum reasoning_part { REASONING_THOUGHT, REASONING_ANSWER };

enum reasoning_state {
    REASONING_START, /* nothing but white space or a piece of a marker so far */
    REASONING_THINKING,
    REASONING_ANSWERING,
    REASONING_HEADER,  /* of a channel: its name */
    REASONING_BETWEEN, /* the channels: nothing to show */
};

struct reasoning {
    /* Gets the text in order; pieces may begin and end inside a character. */
    void (*text)(void *context, enum reasoning_part part, const char *text, size_t n);
    void *context;
    enum reasoning_state state; /* from here on private */
    const char *closing;        /* the marker that ends the thought; NULL in a channel */
    bool channels, skip_space;
    char held[64];
    size_t n_held;
};

/* A new answer; `prompt` is the text that it continues (its last 100 bytes are enough). Sets
 * everything but text and context. */
void reasoning_begin(struct reasoning *reasoning, const char *prompt, size_t n);
void reasoning_push(struct reasoning *reasoning, const char *text, size_t n);
/* A special token, by its text. */
void reasoning_push_special(struct reasoning *reasoning, const char *name, size_t n);
void reasoning_end(struct reasoning *reasoning);
