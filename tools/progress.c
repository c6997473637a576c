#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "tools/tool.h"

/* Often enough to look alive, rarely enough to cost nothing. */
#define SECONDS_BETWEEN_LINES 0.1

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

void progress_update(struct progress *progress, uint64_t done, uint64_t total)
{
    double time = now();
    if (progress->started == 0) {
        progress->started = time;
        progress->on_terminal = isatty(STDERR_FILENO);
    }
    if (!progress->on_terminal ||
        (done < total && time - progress->printed < SECONDS_BETWEEN_LINES)) {
        return;
    }
    progress->printed = time;
    char done_text[32], total_text[32], rate_text[32];
    double seconds = time - progress->started;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    double left = rate > 0 ? (double)(total - done) / rate : 0;
    if (progress->unit) {
        fprintf(stderr, "\r\033[K%s: %" PRIu64 " of %" PRIu64 " %s, %.0f %s/s, %.0f s left",
                progress->title, done, total, progress->unit, rate, progress->unit, left);
        fflush(stderr);
        return;
    }
    fprintf(stderr, "\r\033[K%s: %s of %s, %s/s, %.0f s left", progress->title,
            bytes_text(done, done_text), bytes_text(total, total_text),
            bytes_text((uint64_t)rate, rate_text), left);
    fflush(stderr);
}

void progress_finish(struct progress *progress)
{
    if (progress->on_terminal) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
    }
}

double progress_seconds(const struct progress *progress)
{
    return progress->started > 0 ? now() - progress->started : 0;
}
