/* Files of the cache: what was written is read under the same key and no other; damage of every
 * kind is as if there were no file. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/cache_file.h"
#include "tests/check.h"

static char path[4096];

static struct cache_file make(const char *key)
{
    static char folder[4000];
    snprintf(folder, sizeof(folder), "%s/a/b", check_temp_dir());
    struct cache_file file = {
        .folder = folder, .name = "test", .key = key, .key_bytes = (uint32_t)strlen(key)};
    cr_assert(cache_file_path(&file, path, sizeof(path)));
    return file;
}

static bool reads(const struct cache_file *file, const void *data, uint64_t bytes)
{
    uint64_t got_bytes = 0;
    void *got = cache_file_read(file, &got_bytes);
    bool same = got && got_bytes == bytes && memcmp(got, data, bytes) == 0;
    cr_expect(!got || same, "other data than were written");
    free(got);
    return same;
}

Test(cache_file, what_is_written_is_read)
{
    struct check_random random = {1};
    static uint8_t data[100000];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)check_random_u64(&random);
    }
    struct cache_file file = make("device one");
    cr_expect_not(reads(&file, data, 1), "there is no folder yet");
    static const uint64_t sizes[] = {1, 7, 4096, sizeof(data)};
    for (size_t i = 0; i < 4; i++) {
        cr_assert(cache_file_write(&file, data, sizes[i]));
        cr_expect(reads(&file, data, sizes[i]));
    }
    struct cache_file other = make("device two");
    cr_expect_not(reads(&other, data, sizeof(data)));
    cr_assert(cache_file_write(&other, data + 5, 10));
    cr_expect(reads(&other, data + 5, 10));
    cr_expect(reads(&file, data, sizeof(data)), "two keys, two files");
}

Test(cache_file, no_folder_is_no_cache)
{
    struct cache_file file = make("key");
    uint64_t bytes;
    file.folder = NULL;
    cr_expect_not(cache_file_write(&file, "x", 1));
    cr_expect_null(cache_file_read(&file, &bytes));
    file.folder = "/proc/no-such-place";
    cr_expect_not(cache_file_write(&file, "x", 1));
    cr_expect_null(cache_file_read(&file, &bytes));
    file.folder = "";
    cr_expect_not(cache_file_write(&file, "x", 1));
    file = make("key");
    cr_expect_not(cache_file_write(&file, "x", 0), "no data are no file");
}

/* A file with another's name: the key inside counts. */
Test(cache_file, another_key_under_this_name)
{
    struct cache_file one = make("key one");
    char *content, from[4096];
    size_t bytes;
    cr_assert(cache_file_write(&one, "abc", 3));
    strcpy(from, path);
    content = check_read_file(from, &bytes);
    struct cache_file two = make("key two");
    cr_assert(check_write_file(path, content, bytes));
    cr_expect_not(reads(&two, "abc", 3));
    free(content);
}

Test(cache_file, damage_is_no_file)
{
    struct cache_file file = make("a key of some length");
    uint8_t data[100];
    size_t bytes;
    memset(data, 0x5A, sizeof(data));
    cr_assert(cache_file_write(&file, data, sizeof(data)));
    char *content = check_read_file(path, &bytes);
    cr_assert_eq(bytes, 32 + strlen(file.key) + sizeof(data));
    for (size_t i = 0; i < bytes; i++) { /* every bit of every byte */
        for (int bit = 0; bit < 8; bit++) {
            content[i] ^= (char)(1 << bit);
            cr_assert(check_write_file(path, content, bytes));
            cr_expect_not(reads(&file, data, sizeof(data)), "byte %zu, bit %d", i, bit);
            content[i] ^= (char)(1 << bit);
        }
    }
    for (size_t n = 0; n < bytes; n++) { /* cut off */
        cr_assert(check_write_file(path, content, n));
        cr_expect_not(reads(&file, data, sizeof(data)), "%zu bytes", n);
    }
    char *longer = calloc(bytes + 1, 1);
    memcpy(longer, content, bytes);
    cr_assert(check_write_file(path, longer, bytes + 1));
    cr_expect_not(reads(&file, data, sizeof(data)), "one byte more");
    cr_assert(check_write_file(path, content, bytes));
    cr_expect(reads(&file, data, sizeof(data)), "undamaged again");
    remove(path);
    cr_assert_eq(mkdir(path, 0700), 0);
    cr_expect_not(reads(&file, data, sizeof(data)), "a folder");
    remove(path);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_expect_not(reads(&file, data, sizeof(data)), "a pipe that nobody writes to");
    free(longer);
    free(content);
}
