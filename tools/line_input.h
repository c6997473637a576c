/* Lines from a terminal, with editing and history, or from a pipe. */
#pragma once

enum line_status {
    LINE_READ,
    LINE_END,         /* end of input, or a read error */
    LINE_INTERRUPTED, /* a signal came while waiting */
};

struct line_input;

/* prompt NULL: a pipe, no editing. The prompt must outlive the input. NULL if memory runs out. */
struct line_input *line_input_create(const char *prompt);
void line_input_destroy(struct line_input **input);

/* The next line without its newline, valid until the next call. */
const char *line_input_next(struct line_input *input, enum line_status *status);
