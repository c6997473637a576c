/* A file of ~/.cache/moxie: read back under the key it was kept by, and taken for everything that
 * is kept there: sizes of kernels, the verdict of a selftest, whether importing pays. (Of compiled
 * kernels the driver's own header is looked at, which tests/vk/test_vk_cache.c tries byte by byte.)
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "engine/base/cache_file.h"
#include "engine/vk/vk_caps.h"
#include "engine/vk/vk_kept.h"
#include "tests/fuzz/fuzz.h"

#define FOLDER "cache"
static const char key[] = "fuzz, one device";

enum { VERSION_AT = 8, KEY_BYTES_AT = 12, DATA_BYTES_AT = 16, SUM_AT = 24, HEAD = 32 };

static volatile uint64_t sink;

/* What a reader has accepted is in bounds. */
static void use(const uint8_t *data, uint64_t bytes)
{
    struct vk_tuning tuning;
    struct vk_verdict verdict;
    bool pays;
    for (uint64_t i = 0; i < bytes; i++) {
        sink += data[i];
    }
    /* Cut to its size, which changes with its rows. */
    if (vk_kept_tuning(data, bytes < sizeof(tuning) ? bytes : sizeof(tuning), &tuning)) {
        for (uint32_t i = 0; i < VK_TUNING_COUNT; i++) {
            uint32_t value = *vk_tuning_value(&tuning, i);
            assert(value >= vk_tuning_rows[i].smallest && value <= vk_tuning_rows[i].largest);
        }
    }
    if (vk_kept_verdict(data, bytes, &verdict)) {
        assert(verdict.tiers_off >> VK_N_TIERS == 0);
    }
    if (vk_kept_import(data, bytes, &pays)) {
        sink += pays;
    }
}

static bool run(const uint8_t *data, size_t bytes)
{
    char path[4096];
    uint64_t n = 0;
    const struct cache_file file = {
        .folder = fuzz_file_folder(FOLDER), .name = "fuzz", .key = key, .key_bytes = sizeof(key)};
    bool fits = cache_file_path(&file, path, sizeof(path));
    assert(fits);
    fuzz_file_write(FOLDER, strrchr(path, '/') + 1, data, bytes);
    uint8_t *kept = cache_file_read(&file, &n);
    if (!kept) {
        return false;
    }
    assert(n > 0 && n == bytes - HEAD - sizeof(key));
    assert(memcmp(kept, data + HEAD + sizeof(key), n) == 0);
    use(kept, n);
    free(kept);
    return true;
}

static void put(uint8_t *data, uint32_t at, uint64_t value, uint32_t bytes)
{
    memcpy(data + at, &value, bytes);
}

/* Key and data as they are, with the lengths and the checksum that belong to them; then perhaps a
 * length or the version wrong after all. */
static size_t mutate(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                     fuzz_change *change)
{
    const size_t start = HEAD + sizeof(key);
    if (bytes <= start || fuzz_random_below(random, 3) == 0) {
        return change(data, bytes, room);
    }
    bytes = start + change(data + start, bytes - start, room - start);
    put(data, KEY_BYTES_AT, sizeof(key), 4);
    put(data, DATA_BYTES_AT, bytes - start, 8);
    put(data, SUM_AT, XXH3_64bits(data + HEAD, bytes - HEAD), 8);
    switch (fuzz_random_below(random, 8)) {
    case 0:
        put(data, DATA_BYTES_AT, fuzz_random_trouble(random, bytes - start, bytes), 8);
        break;
    case 1:
        put(data, KEY_BYTES_AT, fuzz_random_trouble(random, sizeof(key), bytes), 4);
        break;
    case 2:
        put(data, VERSION_AT, fuzz_random_trouble(random, 1, bytes), 4);
        break;
    default:
        break;
    }
    return bytes;
}

const struct fuzz_target fuzz_cache = {"cache", run, mutate};
