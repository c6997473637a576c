/* What a person says: one line, or several.
 *
 * A line that ends in \ goes on with the next one. A line that begins with """ opens a block, which
 * goes on up to a line that ends with """. Several pasted lines, and what is
 * written in a block, are never a command.
 */
#pragma once

#include <stdbool.h>

#include "tools/line_input.h"
#include "tools/text_buffer.h"

struct message_input {
    struct line_input *lines;
    struct text_buffer text;
    bool literal; /* the last message cannot be a command */
};

/* False if memory runs out. */
bool message_input_open(struct message_input *input, bool terminal);
void message_input_close(struct message_input *input);

/* The next message, valid until the next call; NULL unless *status is LINE_READ. The end of the
 * input ends a message as well. */
const char *message_input_next(struct message_input *input, enum line_status *status);
