/* A file that appears whole or not at all.
 *
 * Everything goes to a temporary name in the folder of the final one; write_file_commit syncs the
 * file, renames it and syncs the folder. Any failure removes the temporary file at once and leaves
 * what stood at the final name; every later call then fails too. Two writers of the same file do
 * not meet: the last to commit wins. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/error.h"

struct write_file {
    int descriptor; /* -1 when closed or failed */
    uint64_t bytes; /* written so far */
    char *path;     /* the final name, owned */
    char *temporary;
    uint64_t begun; /* bytes whose way to the disk has begun */
    bool planned;   /* has no name and no place on a disk */
};

bool write_file_open(struct write_file *file, const char *path, struct error *err);
/* A file in memory without a name; what is skipped takes none. `path` is for messages. It cannot be
 * committed: its descriptor is to be used. */
bool write_file_open_planned(struct write_file *file, const char *path, struct error *err);
/* Of a planned file: bytes that read as zero. */
void write_file_skip(struct write_file *file, uint64_t bytes);

bool write_file_append(struct write_file *file, const void *data, uint64_t bytes,
                       struct error *err);
/* Zeros up to a multiple of alignment (a power of two). */
bool write_file_align(struct write_file *file, uint64_t alignment, struct error *err);
/* Overwrites bytes that were appended before. */
bool write_file_patch(struct write_file *file, uint64_t offset, const void *data, uint64_t bytes,
                      struct error *err);
/* After commit or abort the structure is closed. */
bool write_file_commit(struct write_file *file, struct error *err);
void write_file_abort(struct write_file *file);
