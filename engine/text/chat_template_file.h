/* Chat templates as checkpoints bring them: one text, or several with names.
 *
 * Of several, "default" is the template, and "tool_use", where there is one, takes its place when
 * tools are given, as in transformers; those with other names ("rag") are not used. The two become
 * one text that asks for tools itself, so that whatever keeps a template keeps both.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/error.h"

/* One template of two; NULL where there is none. *text is allocated, NUL-terminated; NULL if both
 * are. */
struct chat_template_pair {
    const char *plain, *tool_use;
    size_t plain_bytes, tool_use_bytes;
};
bool chat_template_join(const struct chat_template_pair *pair, char **text, uint64_t *bytes,
                        struct error *err);

/* The chat template of a Hugging Face folder: chat_template.jinja (and tool_use.jinja in
 * additional_chat_templates), or the key in tokenizer_config.json, which is a text or a list of
 * {"name", "template"}. *text is allocated, or NULL if there is none. */
bool chat_template_read(const char *folder, char **text, uint64_t *bytes, struct error *err);
