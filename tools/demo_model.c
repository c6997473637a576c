#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/tool.h"

/* Beside the program in the build folder, in the source tree that the build folder lies in, or
 * installed. */
static const char *const places[] = {
    "../models/moxie-tiny.moxie",
    "../share/moxie/moxie-tiny.moxie",
};

const char *demo_model_path(void)
{
    static char path[PATH_MAX + 64];
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (n <= 0) {
        return NULL;
    }
    program[n] = 0;
    char *slash = strrchr(program, '/');
    *slash = 0;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", program, places[i]);
        if (access(path, R_OK) == 0) {
            return path;
        }
    }
    return NULL;
}
