/* Where moxie may keep what saves work at the next start (XDG Base Directory Specification). */
#include <stdio.h>
#include <stdlib.h>

#include "tools/tool.h"

const char *cache_folder(char *folder)
{
    const char *base = getenv("XDG_CACHE_HOME"), *below = "moxie";
    if (!base || base[0] != '/') { /* the specification: relative paths are to be ignored */
        base = getenv("HOME");
        below = ".cache/moxie";
    }
    if (!base || base[0] != '/') {
        return NULL;
    }
    int n = snprintf(folder, CACHE_FOLDER_BYTES, "%s/%s", base, below);
    return n > 0 && n < CACHE_FOLDER_BYTES ? folder : NULL;
}
