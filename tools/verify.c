/* moxie verify: reads every byte of a .moxie file and checks it. */
#include <stdio.h>
#include <time.h>

#include "format/model_file.h"
#include "tools/tool.h"

static void show(void *context, uint64_t done, uint64_t total)
{
    progress_update(context, done, total);
}

static double seconds_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) * 1e-9;
}

static int verify(const char *path)
{
    struct error err;
    struct model_file file;
    if (!model_file_open(&file, path, &err)) {
        return tool_fail("verify", err.text);
    }
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    struct progress progress = {.title = path};
    bool ok = model_file_verify(&file, show, &progress, &err);
    progress_finish(&progress);
    if (ok) {
        double seconds = seconds_since(&start);
        char bytes[32], rate[32];
        printf("%s: OK, %s checked, %s/s\n", path, bytes_text(file.map.bytes, bytes),
               bytes_text((uint64_t)((double)file.map.bytes / (seconds + 1e-9)), rate));
    }
    model_file_close(&file);
    return ok ? 0 : tool_fail("verify", err.text);
}

int tool_verify(int argc, char **argv)
{
    const struct option rows[] = {{0}};
    const struct usage usage = {
        .synopsis = "moxie verify FILE",
        .text = "Checks the structure and every checksum of a .moxie file. The first fault is\n"
                "named, and the exit code is 1.",
        .options = rows,
        .min_arguments = 1,
        .max_arguments = 1,
    };
    char **arguments;
    uint32_t n_arguments;
    int status = options_parse(&usage, argc, argv, &arguments, &n_arguments);
    return status >= 0 ? status : verify(arguments[0]);
}
