/* Small files that save work at the next start: compiled pipelines, measurements of a device.
 *
 * A cache is an offer, never a need: it may be missing, old, damaged or written by somebody else,
 * and then the work is done again. So nothing here reports an error. What a file holds is tied to a
 * key, which names everything the data depend on (device, driver, version of ours); a file with
 * another key is not read. Files are written whole or not at all, and carry a checksum.
 *
 *     offset  bytes
 *          0      8  magic "MOXCACHE"
 *          8      4  version, 1
 *         12      4  bytes of the key
 *         16      8  bytes of the data
 *         24      8  xxh3 of key and data
 *         32         the key, then the data, then the end of the file
 *
 * Numbers are those of the machine: the key of everything we keep contains the machine's own
 * device.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CACHE_FILE_MAX_KEY 1024
#define CACHE_FILE_MAX_BYTES (UINT64_C(256) << 20)

/* The file is folder/name-<hash of the key>; folder NULL: there is no cache. */
struct cache_file {
    const char *folder;
    const char *name; /* letters and "-" */
    const void *key;
    uint32_t key_bytes; /* at most CACHE_FILE_MAX_KEY */
};

/* The data (free them), or NULL if there are none to be trusted. *bytes is at least 1. */
void *cache_file_read(const struct cache_file *file, uint64_t *bytes);
/* Makes the folder if it is not there. False if the data could not be kept, or are none. */
bool cache_file_write(const struct cache_file *file, const void *data, uint64_t bytes);
/* Where it is; `path` may be cut off, which is false. */
bool cache_file_path(const struct cache_file *file, char *path, uint32_t path_bytes);
