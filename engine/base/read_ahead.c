#include "engine/base/read_ahead.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* What is asked for at once: enough for a drive to be fast, little to wait for at the end. */
#define PIECE_BYTES ((uintptr_t)8 << 20)

struct read_ahead {
    pthread_t thread;
    uintptr_t begin, end; /* whole pages */
    atomic_bool stop;
};

/* False: this system cannot, or the file has become shorter. */
static bool read_piece(void *memory, size_t bytes)
{
#ifdef MADV_POPULATE_READ
    if (madvise(memory, bytes, MADV_POPULATE_READ) == 0 || errno == EINTR) {
        return true;
    }
    if (errno != EINVAL) { /* before Linux 5.14 */
        return false;
    }
#endif
    return madvise(memory, bytes, MADV_WILLNEED) == 0;
}

static void *read_all(void *context)
{
    struct read_ahead *ahead = context;
    bool ok = true;
    for (uintptr_t at = ahead->begin; ok && at < ahead->end && !atomic_load(&ahead->stop);) {
        uintptr_t bytes = ahead->end - at < PIECE_BYTES ? ahead->end - at : PIECE_BYTES;
        ok = read_piece((void *)at, bytes);
        at += bytes;
    }
    return NULL;
}

struct read_ahead *read_ahead_begin(const void *memory, uint64_t bytes)
{
    struct read_ahead *ahead = calloc(1, sizeof(*ahead));
    if (!ahead) {
        return NULL;
    }
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    ahead->begin = (uintptr_t)memory / page * page;
    ahead->end = ((uintptr_t)memory + bytes + page - 1) / page * page;
#ifdef MADV_HUGEPAGE
    madvise((void *)ahead->begin, ahead->end - ahead->begin, MADV_HUGEPAGE); /* a hint */
#endif
    if (pthread_create(&ahead->thread, NULL, read_all, ahead) != 0) {
        free(ahead);
        return NULL;
    }
    return ahead;
}

void read_ahead_end(struct read_ahead **ahead)
{
    if (*ahead) {
        atomic_store(&(*ahead)->stop, true);
        pthread_join((*ahead)->thread, NULL);
        free(*ahead);
    }
    *ahead = NULL;
}
