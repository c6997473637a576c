/* Read-only mapping of a whole file. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/error.h"

struct map {
    const uint8_t *data; /* NULL when closed; an empty file is refused */
    uint64_t bytes;
    char *path; /* as given, for messages */
};

/* Whether something has this name, and be it a link to nothing: a folder of links, as downloads
 * keep them, lacks what they lack, and not what it never had. */
bool map_is_there(const char *path);

/* Regular files only. On failure the map is closed. */
bool map_open(struct map *map, const char *path, struct error *err);
/* The same of an open descriptor, which stays the caller's. */
bool map_open_descriptor(struct map *map, int descriptor, const char *path, struct error *err);
void map_close(struct map *map);

/* The bytes [offset, offset + bytes) if all of them lie inside the file, else NULL. Never
 * overflows. */
const void *map_slice(const struct map *map, uint64_t offset, uint64_t bytes);
