/* Templates for models that come without one: the known form of their family, in as few words as it
 * takes. They know roles, texts and parts of text; a template that comes with a model is always to
 * be preferred, so whoever uses one of these says so.
 *
 * Forms: the model cards and published templates of the families named in the table.
 */
#pragma once

#include "engine/text/tokenizer.h"

struct chat_template_family {
    const char *architecture; /* as the engine names it */
    const char *token;        /* a special token that the vocabulary must have; NULL: none */
    const char *name;         /* of the form, for people: "ChatML" */
    const char *text;         /* Jinja */
};

/* The first row that fits; the tokenizer may be NULL (then only rows without a token fit). NULL if
 * the family has no form that fits. */
const struct chat_template_family *chat_template_family_find(const char *architecture,
                                                             const struct tokenizer *tokenizer);
