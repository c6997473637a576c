/* Runs the built program and keeps what it says. */
#pragma once

struct program_run {
    int status; /* exit code, or 128 + signal */
    char *out, *err;
};

/* Runs `moxie ARGUMENTS` through the shell, with `input` on standard input (NULL: none). The texts
 * are valid until the next run. */
const struct program_run *run_moxie(const char *input, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
