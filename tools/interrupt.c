#include "tools/interrupt.h"

#include <signal.h>
#include <stddef.h>

#include "tools/tool.h"

static volatile sig_atomic_t came;

static void note(int signal_number)
{
    came = 1;
}

void interrupt_catch(void)
{
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction before;
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN) { /* not nohup */
        sigaction(SIGHUP, &action, NULL);
    }
    signal(SIGXFSZ, SIG_IGN);
}

bool interrupt_came(void)
{
    return came;
}

bool interrupt_progress(void *context, uint64_t done, uint64_t total)
{
    progress_update(context, done, total);
    return !came;
}
