#include "tests/tools/run_program.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/check.h"

const struct program_run *run_moxie(const char *input, const char *format, ...)
{
    static struct program_run run;
    char arguments[8192], command[16384];
    const char *folder = check_temp_dir();
    va_list list;
    va_start(list, format);
    vsnprintf(arguments, sizeof(arguments), format, list);
    va_end(list);
    check_write_file(check_path(folder, "stdin"), input ? input : "", input ? strlen(input) : 0);
    /* In this order, so that the arguments may redirect as well. */
    snprintf(command, sizeof(command), "< %s/stdin > %s/stdout 2> %s/stderr '%s' %s", folder,
             folder, folder, MOXIE_PROGRAM, arguments);
    int status = system(command);
    free(run.out);
    free(run.err);
    run.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    run.out = check_read_file(check_path(folder, "stdout"), NULL);
    run.err = check_read_file(check_path(folder, "stderr"), NULL);
    return &run;
}
