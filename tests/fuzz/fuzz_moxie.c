/* .moxie files: open, read everything, verify, bind, and as a source of a conversion. The mutator
 * changes fields of the file's tables and makes the checksums right again. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "format/model_layout.h"
#include "tests/fuzz/fuzz.h"

static bool run(const uint8_t *data, size_t bytes)
{
    const char *path = fuzz_file_write("", "model.moxie", data, bytes);
    struct model_file file;
    struct error err = {""};
    if (!model_file_open(&file, path, &err)) {
        assert(err.text[0]);
        return false;
    }
    bool whole = model_file_verify(&file, NULL, NULL, &err);
    bool bound = fuzz_model_use(&file);
    model_file_close(&file);
    return bound && fuzz_source_use(source_open_moxie(path, &err)) && whole;
}

/* ---- mutation ---- */

static bool inside(uint64_t offset, uint64_t length, uint64_t bytes)
{
    return offset <= bytes && length <= bytes - offset;
}

/* The section table, if it can be reached. */
static struct layout_section *find_table(uint8_t *data, size_t bytes, uint32_t *n)
{
    struct layout_header *header = (void *)data;
    if (bytes < sizeof(*header) || header->table_offset % 8 != 0 || header->n_sections > 64 ||
        !inside(header->table_offset, header->n_sections * sizeof(struct layout_section), bytes)) {
        return NULL;
    }
    *n = header->n_sections;
    return (void *)(data + header->table_offset);
}

static void seal_tensors(uint8_t *data, size_t bytes, const struct layout_section *section)
{
    const struct layout_list *list = (void *)(data + section->offset);
    struct layout_tensor *tensors = (void *)(list + 1);
    uint64_t room = section->stored_bytes < sizeof(*list)
                        ? 0
                        : (section->stored_bytes - sizeof(*list)) / sizeof(*tensors);
    for (uint64_t i = 0; i < room && i < list->count; i++) {
        if (inside(tensors[i].offset, tensors[i].stored_bytes, bytes)) {
            tensors[i].xxh3 = XXH3_64bits(data + tensors[i].offset, tensors[i].stored_bytes);
        }
    }
}

static void seal(uint8_t *data, size_t bytes, bool length_too)
{
    uint32_t n;
    struct layout_header *header = (void *)data;
    struct layout_section *sections = find_table(data, bytes, &n);
    if (!sections) {
        return;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < n; i++) {
            struct layout_section *section = &sections[i];
            if (section->offset % 8 != 0 ||
                !inside(section->offset, section->stored_bytes, bytes)) {
                continue;
            }
            if (pass == 0 && section->kind == LAYOUT_TENSOR_INDEX) {
                seal_tensors(data, bytes, section);
            } else if (pass == 1) {
                section->xxh3 = XXH3_64bits(data + section->offset, section->stored_bytes);
            }
        }
    }
    header->table_xxh3 = XXH3_64bits(sections, n * sizeof(*sections));
    if (length_too) {
        header->file_bytes = bytes;
    }
    header->header_xxh3 = XXH3_64bits(header, sizeof(*header) - sizeof(header->header_xxh3));
}

/* Puts a troublesome number of 4 or 8 bytes into [at, at + length). */
static void change_field(uint8_t *data, size_t bytes, uint64_t at, uint64_t length,
                         struct fuzz_random *random)
{
    uint64_t size = fuzz_random_below(random, 2) ? 4 : 8;
    if (length < size || !inside(at, length, bytes) || length > UINT32_MAX) {
        return;
    }
    at += fuzz_random_below(random, (uint32_t)(length / size)) * size;
    uint64_t value = 0;
    memcpy(&value, data + at, size);
    value = fuzz_random_trouble(random, value, bytes);
    memcpy(data + at, &value, size);
}

static uint64_t record_bytes(uint32_t kind)
{
    switch (kind) {
    case LAYOUT_METADATA:
        return sizeof(struct layout_metadata);
    case LAYOUT_TENSOR_INDEX:
        return sizeof(struct layout_tensor);
    case LAYOUT_EXPERT_DIRECTORY:
        return sizeof(struct layout_expert_layer);
    default:
        return 0;
    }
}

/* A field of a record of a list, or of the list's head; what is no list is changed anywhere. */
static void change_record(uint8_t *data, size_t bytes, const struct layout_section *section,
                          struct fuzz_random *random)
{
    uint64_t record = record_bytes(section->kind), head = sizeof(struct layout_list);
    uint64_t length = section->stored_bytes;
    if (record == 0 || length < head + record || fuzz_random_below(random, 16) == 0) {
        change_field(data, bytes, section->offset, length < head ? length : head, random);
        return;
    }
    const struct layout_list *list = (void *)(data + section->offset);
    uint64_t n = (length - head) / record;
    n = list->count < n && list->count > 0 ? list->count : n;
    uint64_t which = fuzz_random_below(random, (uint32_t)n);
    change_field(data, bytes, section->offset + head + which * record, record, random);
}

/* Bytes of a section; it keeps its length. */
static void change_contents(uint8_t *data, const struct layout_section *section,
                            struct fuzz_random *random, fuzz_change *change)
{
    uint64_t start = 0, length = section->stored_bytes;
    if (length > 64 && fuzz_random_below(random, 2)) {
        start = fuzz_random_below(random, (uint32_t)(length - 32));
        length = 32;
    }
    uint8_t *copy = malloc(length + 1);
    memcpy(copy, data + section->offset + start, length);
    size_t changed = change(copy, length, length);
    memcpy(data + section->offset + start, copy, changed);
    free(copy);
}

static size_t mutate(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                     fuzz_change *change)
{
    uint32_t n, times = 1 + fuzz_random_below(random, 3);
    struct layout_section *sections = find_table(data, bytes, &n);
    if (!sections || n == 0 || fuzz_random_below(random, 16) == 0) {
        bytes = change(data, bytes, room);
        times = 0;
    }
    while (times-- > 0) {
        const struct layout_section *section = &sections[fuzz_random_below(random, n)];
        bool reachable =
            section->offset % 8 == 0 && inside(section->offset, section->stored_bytes, bytes);
        switch (fuzz_random_below(random, 8)) {
        case 0:
            change_field(data, bytes, 8, sizeof(struct layout_header) - 8, random);
            break;
        case 1:
            change_field(data, bytes, (uint64_t)((uint8_t *)section - data), sizeof(*section),
                         random);
            break;
        case 2:
        case 3:
            if (reachable && section->stored_bytes > 0 && section->stored_bytes < UINT32_MAX) {
                change_contents(data, section, random, change);
            }
            break;
        default:
            if (reachable) {
                change_record(data, bytes, section, random);
            }
        }
        sections = find_table(data, bytes, &n);
        if (!sections || n == 0) {
            break;
        }
    }
    if (fuzz_random_below(random, 16) != 0) {
        seal(data, bytes, fuzz_random_below(random, 8) != 0);
    }
    return bytes;
}

const struct fuzz_target fuzz_moxie = {"moxie", run, mutate};
