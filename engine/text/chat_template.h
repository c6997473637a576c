/* The model's own chat template, in the Jinja language, run by a small interpreter.
 *
 * A template sees its input and nothing else: no files, no environment, no clock except
 * strftime_now. It is untrusted: size, nesting, steps and output are bounded.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "format/error.h"

struct chat_template;

#define CHAT_TEMPLATE_MAX_BYTES (1u << 20)

/* The text is copied. On a syntax error, or a construct this version does not know, err names it
 * and the line. */
struct chat_template *chat_template_create(const char *text, size_t bytes, struct error *err);
void chat_template_destroy(struct chat_template **template);

/* `variables` is an object: messages, add_generation_prompt, bos_token, eos_token, tools, ... as
 * Hugging Face passes them. *text is allocated and NUL-terminated. False if the template raises an
 * exception (err is its message), uses something undefined, or exceeds a bound. */
bool chat_template_render(const struct chat_template *template, const json_t *variables,
                          char **text, size_t *bytes, struct error *err);
