#include "format/write_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE (1u << 30)    /* bytes in one write; Linux takes no more than 2 GiB */
#define STRETCH (32u << 20) /* bytes after which the disk is set to work */
#define ATTEMPTS 10000      /* temporary names tried: other writers, and what crashed ones left */

static const char *reason(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return "the disk is full; free some space or choose another folder";
    case EFBIG:
        return "the file would be larger than this system or its limits allow";
    case ENOENT:
    case ENOTDIR:
        return "its folder does not exist";
    case EACCES:
    case EPERM:
        return "writing there is not permitted";
    case EROFS:
        return "the file system is read-only";
    default:
        return strerror(number);
    }
}

static void drop(struct write_file *file)
{
    if (file->descriptor >= 0) {
        close(file->descriptor);
        if (!file->planned) {
            unlink(file->temporary);
        }
        file->descriptor = -1;
    }
}

static bool fail(struct write_file *file, int number, struct error *err)
{
    drop(file);
    return error_set(err, "%s cannot be written: %s", file->path, reason(number));
}

static bool is_open(const struct write_file *file, struct error *err)
{
    return file->descriptor >= 0 ||
           error_set(err, "%s was not written: an earlier step failed", file->path);
}

bool write_file_open(struct write_file *file, const char *path, struct error *err)
{
    *file = (struct write_file){.descriptor = -1, .path = strdup(path)};
    size_t length = strlen(path) + 64;
    file->temporary = malloc(length);
    if (!file->path || !file->temporary) {
        write_file_abort(file);
        return error_set(err, "out of memory while creating %s", path);
    }
    struct stat status;
    int number = path[0] ? EEXIST : ENOENT;
    /* The new file takes the place of the old one, so that must be a file: not a folder, and not a
     * device either. */
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
        number = EISDIR;
    }
    for (int i = 0; i < ATTEMPTS && number == EEXIST; i++) {
        snprintf(file->temporary, length, "%s.partial-%ld-%d", path, (long)getpid(), i);
        file->descriptor = open(file->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        number = file->descriptor < 0 ? errno : 0;
    }
    if (number != 0) {
        write_file_abort(file);
        return error_set(err, "%s cannot be created: %s", path,
                         number == EISDIR ? "what has that name is not a file" : reason(number));
    }
    return true;
}

bool write_file_open_planned(struct write_file *file, const char *path, struct error *err)
{
    *file = (struct write_file){.descriptor = -1, .path = strdup(path), .planned = true};
    if (file->path) {
        file->descriptor = memfd_create("planned", MFD_CLOEXEC);
    }
    if (file->descriptor < 0) {
        write_file_abort(file);
        return error_set(err, "out of memory while planning for %s", path);
    }
    return true;
}

void write_file_skip(struct write_file *file, uint64_t bytes)
{
    assert(file->planned);
    file->bytes += bytes;
}

static bool write_at(struct write_file *file, uint64_t offset, const void *data, uint64_t bytes,
                     struct error *err)
{
    const uint8_t *next = data;
    while (bytes > 0) {
        ssize_t written =
            pwrite(file->descriptor, next, bytes < PIECE ? bytes : PIECE, (off_t)offset);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return fail(file, written < 0 ? errno : ENOSPC, err);
        }
        next += written;
        offset += (uint64_t)written;
        bytes -= (uint64_t)written;
    }
    return true;
}

bool write_file_append(struct write_file *file, const void *data, uint64_t bytes, struct error *err)
{
    if (!is_open(file, err) || !write_at(file, file->bytes, data, bytes, err)) {
        return false;
    }
    file->bytes += bytes;
    if (file->bytes - file->begun >= STRETCH && !file->planned) {
        /* The disk works from now on, and not only when the file is synced at the end. Whether it
         * does is no matter of success. */
        sync_file_range(file->descriptor, (off_t)file->begun, (off_t)(file->bytes - file->begun),
                        SYNC_FILE_RANGE_WRITE);
        file->begun = file->bytes;
    }
    return true;
}

bool write_file_align(struct write_file *file, uint64_t alignment, struct error *err)
{
    static const uint8_t zeros[4096];
    uint64_t missing = -file->bytes & (alignment - 1);
    if (file->planned) {
        write_file_skip(file, missing);
        return is_open(file, err);
    }
    while (missing > 0) {
        uint64_t piece = missing < sizeof(zeros) ? missing : sizeof(zeros);
        if (!write_file_append(file, zeros, piece, err)) {
            return false;
        }
        missing -= piece;
    }
    return is_open(file, err);
}

bool write_file_patch(struct write_file *file, uint64_t offset, const void *data, uint64_t bytes,
                      struct error *err)
{
    return is_open(file, err) && write_at(file, offset, data, bytes, err);
}

static bool sync_folder(const char *path)
{
    char *folder = strdup(path);
    if (!folder) {
        return false;
    }
    char *slash = strrchr(folder, '/');
    if (!slash) {
        strcpy(folder, "."); /* a path has at least one character */
    } else {
        slash[slash == folder] = 0;
    }
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (descriptor < 0) {
        return errno == EACCES; /* a folder that may be written but not read: nothing to do */
    }
    /* Some file systems cannot sync a folder and say EINVAL. */
    bool ok = fsync(descriptor) == 0 || errno == EINVAL;
    close(descriptor);
    return ok;
}

bool write_file_commit(struct write_file *file, struct error *err)
{
    bool ok = is_open(file, err);
    if (ok && (fsync(file->descriptor) != 0 || rename(file->temporary, file->path) != 0)) {
        ok = fail(file, errno, err);
    }
    if (ok) {
        /* All bytes were synced: closing can lose nothing. */
        close(file->descriptor);
        file->descriptor = -1;
        if (!sync_folder(file->path)) {
            ok = error_set(err, "%s is written, but its folder could not be synced: %s", file->path,
                           strerror(errno));
        }
    }
    write_file_abort(file);
    return ok;
}

void write_file_abort(struct write_file *file)
{
    drop(file);
    free(file->path);
    free(file->temporary);
    *file = (struct write_file){.descriptor = -1};
}
