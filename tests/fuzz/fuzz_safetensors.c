/* Safetensors: one file, or an index with up to four shards. An input is the bytes of the file; or
 * the index and the shards a.safetensors, b.safetensors ..., as parts. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "tests/fuzz/fuzz.h"

/* Of what has been opened; closes it. */
static bool use(struct safetensors *st)
{
    static volatile uint8_t sink;
    for (uint64_t i = 0; i < st->n_tensors; i++) {
        const struct safetensors_tensor *tensor = &st->tensors[i];
        char text[SAFETENSORS_SHAPE_TEXT];
        float values[64];
        for (uint64_t b = 0; b < tensor->bytes; b++) {
            sink = (uint8_t)(sink + tensor->data[b]);
        }
        safetensors_shape_text(tensor->shape, tensor->rank, text);
        assert(safetensors_find(st, tensor->name) == tensor);
        if (safetensors_is_float(tensor->dtype)) {
            uint64_t n = tensor->elements < 64 ? tensor->elements : 64;
            safetensors_read(tensor, tensor->elements - n, n, values);
        }
        safetensors_release(st, tensor, 0, tensor->elements);
    }
    safetensors_close(st);
    return true;
}

static bool run(const uint8_t *data, size_t bytes)
{
    struct fuzz_part parts[FUZZ_MAX_PARTS];
    struct safetensors st;
    struct error err = {""};
    uint32_t n = fuzz_parts(data, bytes, parts);
    if (n == 1) {
        const char *path = fuzz_file_write("", "model.safetensors", data, bytes);
        bool opened = safetensors_open(&st, path, &err);
        assert(opened || err.text[0]);
        return opened && use(&st);
    }
    for (uint32_t i = 0; i < FUZZ_MAX_PARTS; i++) {
        char name[] = "a.safetensors";
        name[0] = (char)('a' + i - 1);
        const char *file = i == 0 ? "model.safetensors.index.json" : name;
        if (i < n) {
            fuzz_file_write("shards", file, data + parts[i].at, parts[i].bytes);
        } else {
            fuzz_file_remove("shards", file);
        }
    }
    bool opened = safetensors_open_folder(&st, fuzz_file_folder("shards"), &err);
    assert(opened || err.text[0]);
    return opened && use(&st);
}

/* ---- mutation ---- */

/* The JSON of a file, or its length, or anything. */
static size_t mutate_file(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                          fuzz_change *change)
{
    uint64_t length;
    if (bytes < 8 || fuzz_random_below(random, 16) == 0) {
        return change(data, bytes, room);
    }
    memcpy(&length, data, 8);
    if (fuzz_random_below(random, 24) == 0) {
        length = fuzz_random_trouble(random, length, bytes);
        memcpy(data, &length, 8);
        return bytes;
    }
    if (length > bytes - 8) {
        length = bytes - 8;
    }
    size_t rest = bytes - 8 - (size_t)length;
    uint8_t *copy = malloc(rest + 1);
    memcpy(copy, data + 8 + length, rest);
    length = fuzz_json_mutate(data + 8, (size_t)length, room - 8 - rest, random, change);
    memcpy(data, &length, 8);
    memcpy(data + 8 + length, copy, rest);
    free(copy);
    return 8 + (size_t)length + rest;
}

/* The first of several parts is the index. */
static size_t mutate_part(uint8_t *data, size_t bytes, size_t room, uint32_t part, uint32_t n_parts,
                          struct fuzz_random *random, fuzz_change *change)
{
    return n_parts > 1 && part == 0 ? fuzz_json_mutate(data, bytes, room, random, change)
                                    : mutate_file(data, bytes, room, random, change);
}

static size_t mutate(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                     fuzz_change *change)
{
    return fuzz_parts_mutate(data, bytes, room, random, change, mutate_part);
}

const struct fuzz_target fuzz_safetensors = {"safetensors", run, mutate};
