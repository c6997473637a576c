#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
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

/* Longer lines would wrap, and what wrapped cannot be overwritten. */
static uint32_t terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

/* So many columns of the text at most, taking every character for one wide. */
static void cut(char *text, uint32_t columns)
{
    uint32_t used = 0;
    for (; *text; text++) {
        used += ((unsigned char)*text & 0xc0) != 0x80;
        if (used > columns) {
            *text = 0;
            return;
        }
    }
}

void progress_line(const char *format, ...)
{
    char text[512];
    va_list arguments;
    if (!isatty(STDERR_FILENO)) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    cut(text, terminal_columns() - 1);
    fprintf(stderr, "\r\033[K%s", text);
    fflush(stderr);
}

void progress_clear(void)
{
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
    }
}

void progress_update(struct progress *progress, uint64_t done, uint64_t total)
{
    double time = now();
    if (progress->started == 0) { /* a rate there is from now on */
        progress->started = progress->printed = time;
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
        progress_line("%" PRIu64 " of %" PRIu64 " %s, %.0f %s/s, %.0f s left: %s", done, total,
                      progress->unit, rate, progress->unit, left, progress->title);
        return;
    }
    progress_line("%s of %s, %s/s, %.0f s left: %s", bytes_text(done, done_text),
                  bytes_text(total, total_text), bytes_text((uint64_t)rate, rate_text), left,
                  progress->title);
}

void progress_finish(struct progress *progress)
{
    if (progress->on_terminal) {
        progress_clear();
    }
}

double progress_seconds(const struct progress *progress)
{
    return progress->started > 0 ? now() - progress->started : 0;
}
