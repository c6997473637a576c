#include "tools/line_input.h"

#include <errno.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <histedit.h>

/* Lines that the arrow keys reach. */
#define HISTORY_LINES 500

struct line_input {
    const char *prompt;
    EditLine *editor; /* NULL for a pipe */
    History *history;
    char *line;
    size_t capacity;
};

static char *show_prompt(EditLine *editor)
{
    struct line_input *input = NULL;
    el_get(editor, EL_CLIENTDATA, &input);
    return (char *)input->prompt;
}

static bool create_editor(struct line_input *input)
{
    HistEvent event;
    setlocale(LC_CTYPE, ""); /* libedit decodes the terminal's characters by the locale */
    input->history = history_init();
    input->editor = el_init("moxie", stdin, stdout, stderr);
    if (!input->history || !input->editor) {
        return false;
    }
    history(input->history, &event, H_SETSIZE, HISTORY_LINES);
    el_set(input->editor, EL_CLIENTDATA, input);
    el_set(input->editor, EL_PROMPT, show_prompt);
    el_set(input->editor, EL_EDITOR, "emacs");
    el_set(input->editor, EL_HIST, history, input->history);
    return true;
}

struct line_input *line_input_create(const char *prompt)
{
    struct line_input *input = calloc(1, sizeof(*input));
    if (input) {
        input->prompt = prompt;
        if (prompt && !create_editor(input)) {
            line_input_destroy(&input);
        }
    }
    return input;
}

void line_input_destroy(struct line_input **input)
{
    if (!*input) {
        return;
    }
    if ((*input)->editor) {
        el_end((*input)->editor);
    }
    if ((*input)->history) {
        history_end((*input)->history);
    }
    free((*input)->line);
    free(*input);
    *input = NULL;
}

static const char *cut(struct line_input *input, size_t n, enum line_status *status)
{
    while (n > 0 && (input->line[n - 1] == '\n' || input->line[n - 1] == '\r')) {
        n--;
    }
    input->line[n] = 0;
    *status = LINE_READ;
    return input->line;
}

static const char *next_from_terminal(struct line_input *input, enum line_status *status)
{
    int n = 0;
    HistEvent event;
    errno = 0;
    const char *line = el_gets(input->editor, &n);
    if (!line || n <= 0) {
        *status = errno == EINTR ? LINE_INTERRUPTED : LINE_END;
        return NULL;
    }
    if (input->capacity < (size_t)n + 1) {
        char *grown = realloc(input->line, (size_t)n + 1);
        if (!grown) {
            *status = LINE_END;
            return NULL;
        }
        input->line = grown;
        input->capacity = (size_t)n + 1;
    }
    memcpy(input->line, line, (size_t)n);
    if (line[0] != '\n') {
        history(input->history, &event, H_ENTER, line);
    }
    return cut(input, (size_t)n, status);
}

const char *line_input_next(struct line_input *input, enum line_status *status)
{
    if (input->editor) {
        return next_from_terminal(input, status);
    }
    errno = 0;
    ssize_t n = getline(&input->line, &input->capacity, stdin);
    if (n < 0) {
        *status = errno == EINTR ? LINE_INTERRUPTED : LINE_END;
        clearerr(stdin);
        return NULL;
    }
    return cut(input, (size_t)n, status);
}
