/* Long work that Ctrl-C ends in good order: it stops at its next piece and removes what it wrote
 * under a temporary name.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* From here on SIGINT, SIGTERM and SIGHUP (unless nohup ignores it) are only noted, and writing
 * beyond a file size limit (ulimit -f) is an error of write, not the end of the program. */
void interrupt_catch(void);

/* Whether one of them has come. */
bool interrupt_came(void);

/* A progress function of the engine's long work: context is a struct progress; false stops it. */
bool interrupt_progress(void *context, uint64_t done, uint64_t total);
