#include "tools/line_input.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
#include <wchar.h>

#include <histedit.h>
#include <langinfo.h>

/* How many texts the arrow keys reach. */
#define HISTORY_ENTRIES 500

/* Bracketed paste, as xterm defined it: asked for by the first two, pasted text comes between the
 * others.
 */
#define PASTE_ON "\033[?2004h"
#define PASTE_OFF "\033[?2004l"
#define PASTE_BEGIN "\033[200~"
#define PASTE_END L"\033[201~"
#define PASTE_END_LENGTH 6

/* A signal handler writes to the second end; a pipe, because a flag that is set just before read()
 * is called would be seen too late. -1: not open. */
static int wake[2] = {-1, -1};

struct line_input {
    const char *prompt;
    EditLine *editor; /* NULL for a pipe */
    bool knows_paste;
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

/* Inserts `n` pasted characters at the cursor; line feeds and tabs are the only control characters.
 */
static bool insert_pasted(EditLine *editor, wchar_t *text, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        wchar_t c = text[i];
        if (c == L'\r') { /* terminals send it for every line feed */
            c = i + 1 < n && text[i + 1] == L'\n' ? 0 : L'\n';
        }
        if (c >= L' ' || c == L'\n' || c == L'\t') {
            text[kept++] = c;
        }
    }
    text[kept] = 0;
    return kept == 0 || el_winsertstr(editor, text) == 0;
}

/* Bound to PASTE_BEGIN: takes everything up to PASTE_END into the line. */
static unsigned char paste(EditLine *editor, int key)
{
    size_t n = 0, capacity = 256;
    wchar_t *text = malloc(capacity * sizeof(*text)), c;
    bool ok = text != NULL, ended = false;
    while (!ended && el_wgetc(editor, &c) == 1) {
        if (ok && n + 1 == capacity) {
            wchar_t *grown = realloc(text, 2 * capacity * sizeof(*text));
            ok = grown != NULL;
            text = ok ? grown : text;
            capacity *= ok ? 2 : 1;
        }
        if (ok) {
            text[n++] = c;
            ended = n >= PASTE_END_LENGTH &&
                    wmemcmp(text + n - PASTE_END_LENGTH, PASTE_END, PASTE_END_LENGTH) == 0;
        }
    }
    ok = ended && insert_pasted(editor, text, n - PASTE_END_LENGTH);
    free(text);
    return ended ? (ok ? CC_REFRESH : CC_ERROR) : CC_EOF;
}

static void forget_interrupts(void)
{
    char bytes[64];
    while (read(wake[0], bytes, sizeof(bytes)) > 0) {
    }
}

void line_input_interrupt(void)
{
    int reason = errno;
    if (wake[1] >= 0) {
        (void)!write(wake[1], "", 1); /* a full pipe is read soon */
    }
    errno = reason;
}

/* Waits for a byte of the terminal: 1, 0 at the end, -1 with errno (EINTR: interrupted). */
static int read_byte(char *byte)
{
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                           {.fd = wake[0], .events = POLLIN}};
    for (;;) {
        int ready = poll(fds, 2, -1);
        if (ready < 0 && errno != EINTR) {
            return -1;
        }
        if (ready > 0 && fds[1].revents) {
            forget_interrupts();
            errno = EINTR;
            return -1;
        }
        if (ready > 0) {
            return (int)read(STDIN_FILENO, byte, 1);
        }
    }
}

/* libedit's way to a character; what is no UTF-8 becomes U+FFFD. */
static int read_character(EditLine *editor, wchar_t *character)
{
    mbstate_t state = {0};
    for (;;) {
        char byte;
        int n = read_byte(&byte);
        if (n <= 0) {
            return n;
        }
        size_t length = mbrtowc(character, &byte, 1, &state);
        if (length != (size_t)-2) {
            *character = length == (size_t)-1 ? 0xFFFD : *character;
            return 1;
        }
    }
}

/* libedit decodes what is typed by the locale: where that is not UTF-8, one that is. */
static void use_utf8(void)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) {
        setlocale(LC_CTYPE, "C.UTF-8");
    }
}

static bool create_editor(struct line_input *input)
{
    HistEvent event;
    const char *terminal = getenv("TERM");
    use_utf8();
    input->knows_paste = terminal && *terminal && strcmp(terminal, "dumb") != 0;
    input->history = history_init();
    input->editor = el_init("moxie", stdin, stdout, stderr);
    if (!input->history || !input->editor || pipe2(wake, O_NONBLOCK | O_CLOEXEC) != 0) {
        return false;
    }
    history(input->history, &event, H_SETSIZE, HISTORY_ENTRIES);
    history(input->history, &event, H_SETUNIQUE, 1); /* repetitions count once */
    el_set(input->editor, EL_CLIENTDATA, input);
    el_set(input->editor, EL_PROMPT, show_prompt);
    el_set(input->editor, EL_EDITOR, "emacs");
    el_set(input->editor, EL_HIST, history, input->history);
    el_set(input->editor, EL_GETCFN, read_character);
    el_wset(input->editor, EL_ADDFN, L"moxie-paste", L"insert pasted text", paste);
    el_set(input->editor, EL_BIND, PASTE_BEGIN, "moxie-paste", NULL);
    return true;
}

struct line_input *line_input_create(bool terminal)
{
    struct line_input *input = calloc(1, sizeof(*input));
    if (input) {
        input->prompt = "";
        if (terminal && !create_editor(input)) {
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
    for (int i = 0; i < 2; i++) {
        if (wake[i] >= 0) {
            close(wake[i]);
            wake[i] = -1;
        }
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
    forget_interrupts();
    el_set(input->editor, EL_PREP_TERM, 1); /* before the prompt: whoever sees it may type */
    if (input->knows_paste) {
        fputs(PASTE_ON, stdout);
        fflush(stdout);
    }
    errno = 0;
    const char *line = el_gets(input->editor, &n);
    int reason = errno;
    if (input->knows_paste) {
        fputs(PASTE_OFF, stdout);
        fflush(stdout);
    }
    if (!line || n <= 0) {
        *status = reason == EINTR ? LINE_INTERRUPTED : LINE_END;
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
    return cut(input, (size_t)n, status);
}

const char *line_input_next(struct line_input *input, const char *prompt, enum line_status *status)
{
    input->prompt = prompt;
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

void line_input_remember(struct line_input *input, const char *text)
{
    HistEvent event;
    if (input->history && *text) {
        history(input->history, &event, H_ENTER, text);
    }
}
