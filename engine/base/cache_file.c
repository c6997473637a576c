#include "engine/base/cache_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "format/write_file.h"

#define MAX_PATH 4096

struct header {
    char magic[8];
    uint32_t version, key_bytes;
    uint64_t data_bytes, xxh3;
};
_Static_assert(sizeof(struct header) == 32, "as the head of the header file says");

static const char magic[8] = {'M', 'O', 'X', 'C', 'A', 'C', 'H', 'E'};
#define VERSION 1
#define MAX_FILE (sizeof(struct header) + CACHE_FILE_MAX_KEY + CACHE_FILE_MAX_BYTES)

bool cache_file_path(const struct cache_file *file, char *path, uint32_t path_bytes)
{
    assert(file->key_bytes <= CACHE_FILE_MAX_KEY);
    int n = snprintf(path, path_bytes, "%s/%s-%016" PRIx64, file->folder, file->name,
                     (uint64_t)XXH3_64bits(file->key, file->key_bytes));
    return n > 0 && (uint32_t)n < path_bytes;
}

/* Of the key followed by the data; false if there is no memory. */
static bool checksum(const struct cache_file *file, const void *data, uint64_t bytes, uint64_t *sum)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state) {
        return false;
    }
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, file->key, file->key_bytes);
    XXH3_64bits_update(state, data, bytes);
    *sum = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return true;
}

/* The whole of a regular file of a reasonable length, or NULL. Read rather than mapped: somebody
 * may cut the file off meanwhile. */
static uint8_t *read_all(const char *path, uint64_t *bytes)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    uint8_t *content = NULL;
    if (descriptor >= 0 && fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) &&
        status.st_size > (off_t)sizeof(struct header) && (uint64_t)status.st_size <= MAX_FILE) {
        *bytes = (uint64_t)status.st_size;
        content = malloc(*bytes);
    }
    for (uint64_t done = 0; content && done < *bytes;) {
        ssize_t n = read(descriptor, content + done, *bytes - done);
        if (n > 0) {
            done += (uint64_t)n;
        } else if (n == 0 || errno != EINTR) {
            free(content);
            content = NULL;
        }
    }
    if (descriptor >= 0) {
        close(descriptor);
    }
    return content;
}

/* Where the data begin in the file's content, or 0. */
static uint64_t find_data(const struct cache_file *file, const uint8_t *content, uint64_t bytes)
{
    struct header header;
    memcpy(&header, content, sizeof(header));
    uint64_t rest = bytes - sizeof(header), sum;
    if (memcmp(header.magic, magic, sizeof(magic)) != 0 || header.version != VERSION ||
        header.key_bytes != file->key_bytes || rest < header.key_bytes ||
        rest - header.key_bytes != header.data_bytes || header.data_bytes == 0) {
        return 0;
    }
    const uint8_t *key = content + sizeof(header), *data = key + header.key_bytes;
    bool same = memcmp(key, file->key, file->key_bytes) == 0 &&
                checksum(file, data, header.data_bytes, &sum) && sum == header.xxh3;
    return same ? (uint64_t)(data - content) : 0;
}

void *cache_file_read(const struct cache_file *file, uint64_t *bytes)
{
    char path[MAX_PATH];
    uint64_t all;
    if (!file->folder || !cache_file_path(file, path, sizeof(path))) {
        return NULL;
    }
    uint8_t *content = read_all(path, &all);
    uint64_t start = content ? find_data(file, content, all) : 0;
    if (start == 0) {
        free(content);
        return NULL;
    }
    *bytes = all - start;
    memmove(content, content + start, *bytes);
    return content;
}

/* The folder and those above it that are missing. */
static bool make_folders(const char *folder)
{
    char path[MAX_PATH];
    size_t n = strlen(folder);
    if (n == 0 || n >= sizeof(path)) {
        return false;
    }
    memcpy(path, folder, n + 1);
    for (size_t i = 1; i < n; i++) {
        if (path[i] == '/') {
            path[i] = 0;
            mkdir(path, 0700);
            path[i] = '/';
        }
    }
    mkdir(path, 0700);
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

bool cache_file_write(const struct cache_file *file, const void *data, uint64_t bytes)
{
    char path[MAX_PATH];
    struct header header = {.version = VERSION, .key_bytes = file->key_bytes, .data_bytes = bytes};
    memcpy(header.magic, magic, sizeof(magic));
    struct write_file out;
    if (!file->folder || bytes == 0 || bytes > CACHE_FILE_MAX_BYTES ||
        !cache_file_path(file, path, sizeof(path)) || !checksum(file, data, bytes, &header.xxh3) ||
        !make_folders(file->folder) || !write_file_open(&out, path, NULL)) {
        return false;
    }
    bool ok = write_file_append(&out, &header, sizeof(header), NULL) &&
              write_file_append(&out, file->key, file->key_bytes, NULL) &&
              write_file_append(&out, data, bytes, NULL) && write_file_commit(&out, NULL);
    if (!ok) {
        write_file_abort(&out);
    }
    return ok;
}
