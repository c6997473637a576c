/* Files in memory for fuzz targets, random numbers, and changes made by them. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ftw.h>

#include "tests/fuzz/fuzz.h"

uint64_t fuzz_random_u64(struct fuzz_random *random)
{
    uint64_t z = random->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint32_t fuzz_random_below(struct fuzz_random *random, uint32_t n)
{
    return (uint32_t)((fuzz_random_u64(random) >> 32) * n >> 32);
}

uint64_t fuzz_random_trouble(struct fuzz_random *random, uint64_t value, uint64_t bytes)
{
    uint32_t shift = fuzz_random_below(random, 64), near = fuzz_random_below(random, 5);
    switch (fuzz_random_below(random, 9)) {
    case 0:
        return near;
    case 1:
        return UINT64_MAX - near;
    case 2:
        return (UINT64_C(1) << shift) + near - 2;
    case 3:
        return value + near - 2;
    case 4:
        return bytes + near - 2;
    case 5:
        return value << (near + 1);
    case 6:
        return value ^ UINT64_C(1) << shift;
    case 7:
        return fuzz_random_below(random, 300);
    default:
        return fuzz_random_u64(random) >> shift;
    }
}

static struct fuzz_random change_state;

void fuzz_change_start(uint64_t seed)
{
    change_state.state = seed;
}

size_t fuzz_change_bytes(uint8_t *data, size_t bytes, size_t room)
{
    struct fuzz_random *random = &change_state;
    size_t at = bytes ? fuzz_random_below(random, (uint32_t)bytes) : 0;
    switch (fuzz_random_below(random, 4)) {
    case 0:
        if (bytes > 1) {
            memmove(data + at, data + at + 1, bytes - at - 1);
            return bytes - 1;
        }
        break;
    case 1:
        if (bytes < room) {
            memmove(data + at + 1, data + at, bytes - at);
            data[at] = (uint8_t)fuzz_random_u64(random);
            return bytes + 1;
        }
        break;
    default:
        break;
    }
    if (bytes > 0) {
        data[at] = (uint8_t)fuzz_random_trouble(random, data[at], bytes);
    }
    return bytes;
}

/* ---- inputs of several files ---- */

uint32_t fuzz_parts(const uint8_t *data, size_t bytes, struct fuzz_part parts[FUZZ_MAX_PARTS])
{
    static const char separator[] = "\n--8<--\n";
    uint32_t n = 0;
    size_t start = 0, length = sizeof(separator) - 1;
    while (n < FUZZ_MAX_PARTS) {
        const uint8_t *end = memmem(data + start, bytes - start, separator, length);
        size_t stop = end && n + 1 < FUZZ_MAX_PARTS ? (size_t)(end - data) : bytes;
        parts[n++] = (struct fuzz_part){start, stop - start};
        if (stop == bytes) {
            break;
        }
        start = stop + length;
    }
    return n;
}

size_t fuzz_parts_mutate(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                         fuzz_change *change, fuzz_part_mutate *mutate)
{
    struct fuzz_part parts[FUZZ_MAX_PARTS];
    uint32_t n = fuzz_parts(data, bytes, parts), which = fuzz_random_below(random, n);
    struct fuzz_part part = parts[which];
    size_t rest = bytes - part.at - part.bytes;
    uint8_t *copy = malloc(rest + 1);
    memcpy(copy, data + part.at + part.bytes, rest);
    size_t changed =
        mutate(data + part.at, part.bytes, room - part.at - rest, which, n, random, change);
    memcpy(data + part.at + changed, copy, rest);
    free(copy);
    return part.at + changed + rest;
}

/* ---- files ---- */

static char base[64];

static void make_base(void)
{
    if (base[0]) {
        return;
    }
    strcpy(base,
           access("/dev/shm", W_OK) == 0 ? "/dev/shm/moxie-fuzz-XXXXXX" : "/tmp/moxie-fuzz-XXXXXX");
    if (!mkdtemp(base)) {
        perror(base);
        abort();
    }
}

const char *fuzz_file_folder(const char *folder)
{
    static char path[PATH_MAX];
    make_base();
    snprintf(path, sizeof(path), "%s/%s", base, folder);
    if (folder[0]) {
        mkdir(path, 0700);
    }
    return path;
}

static const char *file_path(const char *folder, const char *name)
{
    static char path[PATH_MAX];
    make_base();
    snprintf(path, sizeof(path), "%s/%s%s%s", base, folder, folder[0] ? "/" : "", name);
    return path;
}

const char *fuzz_file_write(const char *folder, const char *name, const void *data, size_t bytes)
{
    fuzz_file_folder(folder);
    const char *path = file_path(folder, name);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || write(file, data, bytes) != (ssize_t)bytes || close(file) != 0) {
        perror(path);
        abort();
    }
    return path;
}

void fuzz_file_remove(const char *folder, const char *name)
{
    unlink(file_path(folder, name));
}

const char *fuzz_file_link(const char *folder, const char *name, const char *to)
{
    fuzz_file_folder(folder);
    const char *path = file_path(folder, name);
    unlink(path);
    if (symlink(to, path) != 0) {
        perror(path);
        abort();
    }
    return path;
}

static int remove_one(const char *path, const struct stat *status, int flag, struct FTW *walk)
{
    return remove(path);
}

void fuzz_file_clean(void)
{
    if (base[0]) {
        nftw(base, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        base[0] = 0;
    }
}
