/* A conversation as JSON, in the shape that transformers' apply_chat_template takes, made into the
 * variables of a chat template:
 *
 *   messages   [{"role": "user", "content": "text" or [{"type": "text", "text": ...}, ...],
 *               "reasoning_content": ..., "tool_calls": [...], "tool_call_id": ..., ...}, ...]
 *   tools      [{"type": "function", "function": {"name": ..., ...}}, ...]
 *   variables  {"enable_thinking": false, ...}: whatever else the template knows
 *
 * As transformers 5 does it, keys of a message that are null are left out, reasoning is found under
 * each of its names (reasoning_content, thinking, reasoning) and handed on as reasoning_content and
 * thinking, and tools and documents are none where there are none. The texts are untrusted: shapes,
 * length and nesting are checked, and the sentence says what is wrong where.
 */
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "format/error.h"

#define CHAT_MESSAGES_MAX_BYTES (16u << 20) /* of each text */
#define CHAT_MESSAGES_MAX_NESTING 200       /* lists and objects inside each other */

struct chat_messages {
    const char *messages;  /* JSON, NUL-terminated, as all of them */
    const char *tools;     /* NULL: none */
    const char *variables; /* NULL: none */
    bool add_generation_prompt;
    const char *messages_file, *tools_file; /* for sentences; may be NULL */
};

/* The variables for chat_template_render, but for the special tokens; json_decref them. NULL if a
 * text is not JSON or has another shape. */
json_t *chat_messages_variables(const struct chat_messages *chat, struct error *err);

/* The same from a list of messages that is known to be well formed; takes `messages` over, also on
 * failure. NULL only if memory runs out. */
json_t *chat_messages_wrap(json_t *messages, bool add_generation_prompt, struct error *err);
