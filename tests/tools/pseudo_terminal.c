#include "tests/tools/pseudo_terminal.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#define SECONDS_OF_SILENCE 30

void pseudo_terminal_open(struct pseudo_terminal *terminal, const char *const *arguments)
{
    const struct winsize size = {.ws_row = 40, .ws_col = 100};
    const char *argv[32] = {"moxie"};
    for (size_t i = 0; arguments[i]; i++) {
        cr_assert_lt(i, 30);
        argv[i + 1] = arguments[i];
    }
    *terminal = (struct pseudo_terminal){0};
    terminal->child = forkpty(&terminal->fd, NULL, NULL, &size);
    cr_assert_geq(terminal->child, 0);
    if (terminal->child == 0) {
        setenv("TERM", "xterm", 1);
        unsetenv("LC_ALL"); /* whatever the locale is, characters are UTF-8 */
        setenv("LANG", "C", 1);
        execv(MOXIE_PROGRAM, (char **)argv);
        _exit(127);
    }
}

void pseudo_terminal_send(struct pseudo_terminal *terminal, const char *keys)
{
    size_t n = strlen(keys);
    cr_assert_eq(write(terminal->fd, keys, n), (ssize_t)n);
}

/* Takes what comes next; false at the end. A long silence fails the test. */
static bool take_more(struct pseudo_terminal *terminal)
{
    char piece[4096];
    struct pollfd poll_fd = {.fd = terminal->fd, .events = POLLIN};
    if (poll(&poll_fd, 1, SECONDS_OF_SILENCE * 1000) <= 0) {
        kill(terminal->child, SIGKILL);
        cr_assert_fail("nothing more comes; what came last: %s",
                       terminal->text ? terminal->text + terminal->seen : "");
    }
    ssize_t n = read(terminal->fd, piece, sizeof(piece));
    if (n <= 0) {
        return false;
    }
    terminal->text = realloc(terminal->text, terminal->n + (size_t)n + 1);
    cr_assert_not_null(terminal->text);
    memcpy(terminal->text + terminal->n, piece, (size_t)n);
    terminal->n += (size_t)n;
    terminal->text[terminal->n] = 0;
    return true;
}

void pseudo_terminal_expect(struct pseudo_terminal *terminal, const char *text)
{
    const char *found = NULL;
    while (!terminal->text || !(found = strstr(terminal->text + terminal->seen, text))) {
        cr_assert(take_more(terminal), "\"%s\" did not come; what came: %s", text,
                  terminal->text ? terminal->text + terminal->seen : "");
    }
    terminal->seen = (size_t)(found - terminal->text) + strlen(text);
}

void pseudo_terminal_wait(struct pseudo_terminal *terminal, size_t n)
{
    while (terminal->n < terminal->seen + n) {
        cr_assert(take_more(terminal), "no more came");
    }
}

const char *pseudo_terminal_since(const struct pseudo_terminal *terminal, size_t position)
{
    return terminal->text + position;
}

int pseudo_terminal_close(struct pseudo_terminal *terminal)
{
    int status;
    while (take_more(terminal)) {
    }
    cr_assert_eq(waitpid(terminal->child, &status, 0), terminal->child);
    close(terminal->fd);
    free(terminal->text);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
