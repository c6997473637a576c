/* Strings that end an answer, found although they may span tokens.
 *
 * Text goes in as tokens bring it and comes out as soon as it cannot belong to a stop string any
 * more; of a stop string nothing comes out. Of several, the one that begins first ends the text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/text_buffer.h"

struct stop_strings {
    const char *const *texts; /* (n), none empty; not owned */
    uint32_t n;
    struct text_buffer held; /* free with text_buffer_free */
};

/* Appends to `out` what is certain. True if a stop string was found: all before it is in `out`, and
 * nothing may be pushed after it. */
bool stop_strings_push(struct stop_strings *strings, const char *text, size_t n,
                       struct text_buffer *out);
/* The end of the text: what was held back is text after all, up to a stop string in it. True if
 * there is one. */
bool stop_strings_end(struct stop_strings *strings, struct text_buffer *out);
