/* Better sizes of a GPU's kernels: tried, kept for later starts, and told. */
#include <inttypes.h>
#include <stdio.h>

#include "engine/moxie.h"
#include "tools/tool.h"

int tune_device(const char *tool, const char *device, FILE *report)
{
    char folder[CACHE_FOLDER_BYTES];
    struct moxie_options options = moxie_options_defaults();
    struct moxie_tuned rows[MOXIE_TUNED_ROWS];
    struct moxie_error err;
    uint32_t n;
    options.device = device;
    options.cache_folder = cache_folder(folder);
    if (!moxie_tune(&options, rows, &n, &err)) {
        return tool_fail(tool, err.text);
    }
    for (uint32_t i = 0; i < n; i++) {
        fprintf(report, "%-17s %3" PRIu32 " -> %3" PRIu32 "  %.2f times as fast: %s\n",
                rows[i].name, rows[i].before, rows[i].after, rows[i].speedup, rows[i].meaning);
    }
    return 0;
}
