#include "format/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool map_open_descriptor(struct map *map, int descriptor, const char *path, struct error *err)
{
    *map = (struct map){0};
    struct stat status;
    if (fstat(descriptor, &status) != 0) {
        return error_set(err, "%s cannot be read: %s", path, strerror(errno));
    }
    if (!S_ISREG(status.st_mode)) {
        return error_set(err, "%s is %s, not a file", path,
                         S_ISDIR(status.st_mode) ? "a folder" : "a device or pipe");
    }
    if (status.st_size <= 0) {
        return error_set(err, "%s is empty; it may be the rest of an interrupted download", path);
    }
    if ((uint64_t)status.st_size > SIZE_MAX) {
        return error_set(err, "%s is too large for this machine's address space", path);
    }
    void *data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (data == MAP_FAILED) {
        return error_set(err, "%s cannot be mapped into memory: %s", path, strerror(errno));
    }
    map->path = strdup(path);
    if (!map->path) {
        munmap(data, (size_t)status.st_size);
        return error_set(err, "out of memory while opening %s", path);
    }
    map->data = data;
    map->bytes = (uint64_t)status.st_size;
    return true;
}

bool map_is_there(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

bool map_open(struct map *map, const char *path, struct error *err)
{
    *map = (struct map){0};
    /* O_NONBLOCK: opening a pipe by mistake must not wait for its other end. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        if (errno == ENOENT && map_is_there(path)) {
            return error_set(err, "%s is a link to a file that is not there", path);
        }
        if (errno == ENOENT) {
            return error_set(err, "%s does not exist; check the path", path);
        }
        return error_set(err, "%s cannot be opened: %s", path, strerror(errno));
    }
    bool ok = map_open_descriptor(map, descriptor, path, err);
    close(descriptor);
    return ok;
}

void map_close(struct map *map)
{
    if (map->data) {
        munmap((void *)map->data, (size_t)map->bytes);
    }
    free(map->path);
    *map = (struct map){0};
}

const void *map_slice(const struct map *map, uint64_t offset, uint64_t bytes)
{
    if (offset > map->bytes || bytes > map->bytes - offset) {
        return NULL;
    }
    return map->data + offset;
}
