/* Lines from a terminal, with editing and history, or from a pipe.
 *
 * What is pasted into a terminal that knows bracketed paste comes as it is, line feeds included,
 * and can be edited before it is sent: a "line" from a terminal may hold several.
 */
#pragma once

#include <stdbool.h>

enum line_status {
    LINE_READ,
    LINE_END,         /* end of input, or a read error */
    LINE_INTERRUPTED, /* a signal came while waiting */
};

struct line_input;

/* Of standard input. NULL if memory runs out. */
struct line_input *line_input_create(bool terminal);
void line_input_destroy(struct line_input **input);

/* The next line without its newline, valid until the next call. Only a terminal shows the prompt.
 */
const char *line_input_next(struct line_input *input, const char *prompt, enum line_status *status);

/* For the handler of a signal: whoever waits at the terminal for a line gets LINE_INTERRUPTED, also
 * if the signal comes between two keys, or in another thread. */
void line_input_interrupt(void);

/* A text, of one line or several, that the arrow keys shall find. Nothing for a pipe. */
void line_input_remember(struct line_input *input, const char *text);
