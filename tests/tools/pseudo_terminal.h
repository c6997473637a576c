/* The built program at a pseudo-terminal, as a person sits at it. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct pseudo_terminal {
    pid_t child;
    int fd;
    char *text; /* all that came, NUL-terminated; control sequences and all */
    size_t n;
    size_t seen; /* how much of it pseudo_terminal_expect has passed */
};

/* Starts the program with these arguments (NULL at the end); 100 columns, TERM is xterm. */
void pseudo_terminal_open(struct pseudo_terminal *terminal, const char *const *arguments);
void pseudo_terminal_send(struct pseudo_terminal *terminal, const char *keys);
/* Waits until the text comes behind what was seen before, and passes it; fails the test after a
 * long time. */
void pseudo_terminal_expect(struct pseudo_terminal *terminal, const char *text);
/* Waits until at least n more characters have come. */
void pseudo_terminal_wait(struct pseudo_terminal *terminal, size_t n);
/* What came since a position in the text, for a look at what did not come. */
const char *pseudo_terminal_since(const struct pseudo_terminal *terminal, size_t position);
/* Waits for the program's end and returns its exit code, or 128 + signal. */
int pseudo_terminal_close(struct pseudo_terminal *terminal);
