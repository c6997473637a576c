/* Sleeping until a word changes: no lock to hand from sleeper to sleeper when all are to wake.
 *
 * futex_wait sleeps while *word is `seen`; it may return for no reason. Whoever changes the word
 * calls futex_wake_all afterwards. Where the system has no such call, sleepers look now and then.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#ifdef __linux__
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static inline void futex_wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
#else
#include <time.h>

static inline void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    if (atomic_load(word) == seen) {
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
}

static inline void futex_wake_all(_Atomic uint32_t *word)
{
}
#endif
