#include "tools/disk_space.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "tools/tool.h"

bool disk_space_suffices(const char *path, uint64_t bytes, struct error *err)
{
    char folder[4096], needed[32], available[32];
    struct statvfs volume;
    const char *slash = strrchr(path, '/');
    int length = slash == path ? 1 : slash ? (int)(slash - path) : 0;
    snprintf(folder, sizeof(folder), "%.*s", length, path);
    if (statvfs(length > 0 ? folder : ".", &volume) != 0) {
        return true;
    }
    uint64_t block = volume.f_frsize, blocks = volume.f_bavail;
    uint64_t room = block > 0 && blocks > UINT64_MAX / block ? UINT64_MAX : blocks * block;
    return bytes <= room ||
           error_set(err,
                     "%s needs %s and its disk has %s free: make room, or choose a smaller type",
                     path, bytes_text(bytes, needed), bytes_text(room, available));
}
