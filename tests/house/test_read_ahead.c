/* Reading ahead: a file that is in no memory is soon in memory, whole, though nobody touches it;
 * ending at once neither waits nor hangs. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/read_ahead.h"
#include "tests/check.h"

#define FILE_BYTES ((size_t)24 << 20)

/* A mapped file whose pages are on the drive alone, as far as the system lets go of them. */
static uint8_t *map_file(void)
{
    static uint8_t piece[1 << 20];
    struct check_random random = {1};
    char path[] = "read-ahead-XXXXXX";
    int file = mkstemp(path);
    cr_assert_geq(file, 0);
    unlink(path);
    for (size_t done = 0; done < FILE_BYTES; done += sizeof(piece)) {
        for (size_t i = 0; i < sizeof(piece); i++) {
            piece[i] = (uint8_t)check_random_u64(&random);
        }
        cr_assert_eq(write(file, piece, sizeof(piece)), (ssize_t)sizeof(piece));
    }
    cr_assert_eq(fsync(file), 0);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    uint8_t *memory = mmap(NULL, FILE_BYTES, PROT_READ, MAP_SHARED, file, 0);
    cr_assert_neq(memory, MAP_FAILED);
    close(file);
    return memory;
}

static size_t pages_in_memory(uint8_t *memory, size_t *all)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), there = 0;
    *all = FILE_BYTES / page;
    unsigned char *resident = malloc(*all);
    cr_assert(resident && mincore(memory, FILE_BYTES, resident) == 0);
    for (size_t i = 0; i < *all; i++) {
        there += resident[i] & 1;
    }
    free(resident);
    return there;
}

Test(read_ahead, brings_the_whole_file)
{
    uint8_t *memory = map_file();
    size_t all, before = pages_in_memory(memory, &all), now = before;
    if (before == all) {
        cr_skip("this file system keeps its files in memory");
    }
    /* Neither end is a page's. */
    struct read_ahead *ahead = read_ahead_begin(memory + 100, FILE_BYTES - 200);
    cr_assert_not_null(ahead);
    for (int i = 0; i < 2000 && now < all; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        now = pages_in_memory(memory, &all);
    }
    cr_expect_eq(now, all, "%zu of %zu pages, %zu before", now, all, before);
    read_ahead_end(&ahead);
    cr_expect_null(ahead);
    munmap(memory, FILE_BYTES);
}

Test(read_ahead, ends_at_once)
{
    uint8_t *memory = map_file();
    for (int i = 0; i < 20; i++) {
        struct read_ahead *ahead = read_ahead_begin(memory, FILE_BYTES);
        read_ahead_end(&ahead);
        cr_expect_null(ahead);
    }
    read_ahead_end(&(struct read_ahead *){NULL});
    munmap(memory, FILE_BYTES);
}
