/* Opening a GGUF file, or all parts of a split one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"
#include "format/gguf_head.h"

#define MAX_PARTS 65535 /* split.count is 16 bits wide */

/* "-00001-of-00003.gguf" */
#define SUFFIX_BYTES 20

static bool open_part(struct gguf *gguf, const char *path, bool keep_pairs,
                      struct gguf_split *split, struct error *err)
{
    /* n_files never counts a map that is not open. */
    if (!map_open(&gguf->files[gguf->n_files], path, err)) {
        return false;
    }
    gguf->n_files++;
    return gguf_read_head(gguf, gguf->n_files - 1, keep_pairs, split, err);
}

/* Where the suffix of part `number` (from 1) of `count` stands in the path; NULL if elsewhere. */
static const char *find_suffix(const char *path, uint64_t number, uint64_t count)
{
    char suffix[64];
    int length =
        snprintf(suffix, sizeof(suffix), "-%05" PRIu64 "-of-%05" PRIu64 ".gguf", number, count);
    size_t bytes = strlen(path);
    if (length != SUFFIX_BYTES || bytes < SUFFIX_BYTES) {
        return NULL;
    }
    const char *at = path + bytes - SUFFIX_BYTES;
    return strcmp(at, suffix) == 0 ? at : NULL;
}

static bool check_first(const char *path, const struct gguf_split *split, struct error *err)
{
    if (split->count > MAX_PARTS) {
        return error_set(err, "%s: split.count is %" PRIu64 ", more than 65535", path,
                         split->count);
    }
    if (split->number != 0) {
        return error_set(err,
                         "%s is part %" PRIu64 " of a model in %" PRIu64
                         " files; name the first one (-00001-of-%05" PRIu64 ".gguf)",
                         path, split->number + 1, split->count, split->count);
    }
    if (!find_suffix(path, 1, split->count)) {
        return error_set(err,
                         "%s is the first of %" PRIu64
                         " files, but its name does not end in -00001-of-%05" PRIu64
                         ".gguf, so the others cannot be found; rename it",
                         path, split->count, split->count);
    }
    return true;
}

static bool open_other_parts(struct gguf *gguf, const char *path, const struct gguf_split *first,
                             struct error *err)
{
    size_t prefix_bytes = strlen(path) - SUFFIX_BYTES;
    char *part = malloc(prefix_bytes + SUFFIX_BYTES + 1);
    bool ok = part || error_set(err, "out of memory while opening %s", path);
    for (uint64_t number = 2; ok && number <= first->count; number++) {
        struct map *files = realloc(gguf->files, (gguf->n_files + 1) * sizeof(*files));
        if (!files) {
            ok = error_set(err, "out of memory while opening %s", path);
            break;
        }
        gguf->files = files;
        memcpy(part, path, prefix_bytes);
        snprintf(part + prefix_bytes, SUFFIX_BYTES + 1, "-%05" PRIu64 "-of-%05" PRIu64 ".gguf",
                 number, first->count);
        struct gguf_split split;
        ok = open_part(gguf, part, false, &split, err);
        if (ok && (!split.present || split.number != number - 1 || split.count != first->count)) {
            ok = error_set(err, "%s is not part %" PRIu64 " of %" PRIu64 "; get the files again",
                           part, number, first->count);
        }
    }
    free(part);
    return ok;
}

static bool open_all(struct gguf *gguf, const char *path, struct error *err)
{
    struct gguf_split split;
    gguf->files = calloc(1, sizeof(*gguf->files));
    if (!gguf->files) {
        return error_set(err, "out of memory while opening %s", path);
    }
    if (!open_part(gguf, path, true, &split, err)) {
        return false;
    }
    if (split.present && split.count > 1) {
        if (!check_first(path, &split, err) || !open_other_parts(gguf, path, &split, err)) {
            return false;
        }
        if (gguf->n_tensors != split.tensors) {
            return error_set(err,
                             "%s: all parts together have %" PRIu64 " tensors where %" PRIu64
                             " should be; get the files again",
                             path, gguf->n_tensors, split.tensors);
        }
    }
    return gguf_index_tensors(gguf, err);
}

bool gguf_open(struct gguf *gguf, const char *path, struct error *err)
{
    *gguf = (struct gguf){0};
    if (!open_all(gguf, path, err)) {
        gguf_close(gguf);
        return false;
    }
    return true;
}
