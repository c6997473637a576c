#include "tools/message_input.h"

#include <string.h>

#define PROMPT "> "
#define PROMPT_MORE "... "
#define QUOTES "\"\"\""
#define QUOTES_LENGTH 3

bool message_input_open(struct message_input *input, bool terminal)
{
    *input = (struct message_input){.lines = line_input_create(terminal)};
    return input->lines != NULL;
}

void message_input_close(struct message_input *input)
{
    if (input->lines) {
        line_input_destroy(&input->lines);
    }
    text_buffer_free(&input->text);
}

static bool ends_with_quotes(const char *line)
{
    size_t n = strlen(line);
    return n >= QUOTES_LENGTH && strcmp(line + n - QUOTES_LENGTH, QUOTES) == 0;
}

/* Adds a line; true if another one belongs to the message. */
static bool add_line(struct message_input *input, const char *line, bool in_block)
{
    size_t n = strlen(line);
    bool goes_on = in_block;
    if (in_block && ends_with_quotes(line)) {
        n -= QUOTES_LENGTH;
        goes_on = false;
    } else if (!in_block && n > 0 && line[n - 1] == '\\') {
        n--;
        goes_on = true;
    }
    text_buffer_append(&input->text, line, n);
    return goes_on;
}

const char *message_input_next(struct message_input *input, enum line_status *status)
{
    text_buffer_clear(&input->text);
    const char *line = line_input_next(input->lines, PROMPT, status);
    if (*status != LINE_READ) {
        return NULL;
    }
    bool in_block = strncmp(line, QUOTES, QUOTES_LENGTH) == 0;
    bool goes_on = add_line(input, line + (in_block ? QUOTES_LENGTH : 0), in_block);
    input->literal = in_block || strchr(line, '\n');
    while (goes_on && !input->text.failed) {
        line = line_input_next(input->lines, PROMPT_MORE, status);
        if (*status == LINE_INTERRUPTED) {
            return NULL;
        }
        if (*status == LINE_END) {
            break;
        }
        /* A block whose first line is empty begins with the second. */
        if (!in_block || input->text.n > 0) {
            text_buffer_append(&input->text, "\n", 1);
        }
        goes_on = add_line(input, line, in_block);
    }
    size_t n = input->text.n;
    if (in_block && n > 0 && input->text.at[n - 1] == '\n') {
        input->text.at[--input->text.n] = 0; /* quotes on a line of their own */
    }
    line_input_remember(input->lines, text_buffer_text(&input->text));
    *status = input->text.failed ? LINE_END : LINE_READ;
    return input->text.failed ? NULL : text_buffer_text(&input->text);
}
