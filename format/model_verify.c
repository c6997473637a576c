/* Verification of a .moxie file: every byte is read, and is either covered by a checksum or zero.
 */
#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

#include "format/compress.h"
#include "format/model_tables.h"

#define STEP (4u << 20) /* bytes between two reports of progress */

struct verify {
    const struct model_file *file;
    void (*progress)(void *, uint64_t, uint64_t);
    void *context;
    uint64_t done;
    XXH3_state_t *state;
};

static void advance(struct verify *v, uint64_t bytes)
{
    v->done += bytes;
    if (v->progress && bytes > 0) {
        v->progress(v->context, v->done, v->file->map.bytes);
    }
}

static uint64_t hash_range(struct verify *v, uint64_t offset, uint64_t bytes)
{
    XXH3_64bits_reset(v->state);
    while (bytes > 0) {
        uint64_t step = bytes < STEP ? bytes : STEP;
        XXH3_64bits_update(v->state, v->file->map.data + offset, step);
        advance(v, step);
        offset += step;
        bytes -= step;
    }
    return XXH3_64bits_digest(v->state);
}

/* The first byte of [start, end) that is not zero, or end. */
static uint64_t first_nonzero(const uint8_t *data, uint64_t start, uint64_t end)
{
    while (start < end && data[start] == 0) {
        start++;
    }
    return start;
}

static bool check_zeros(struct verify *v, uint64_t start, uint64_t end, const char *what,
                        uint64_t name_bytes, struct error *err)
{
    uint64_t wrong = first_nonzero(v->file->map.data, start, end);
    if (wrong != end) {
        return error_set(err,
                         "%s is damaged: byte %" PRIu64
                         " in the padding before %.*s is not zero; fetch the file again",
                         v->file->map.path, wrong, (int)name_bytes, what);
    }
    advance(v, end - start);
    return true;
}

static bool verify_tensor(struct verify *v, const struct tensor_record *record, struct error *err)
{
    const char *path = v->file->map.path;
    if (hash_range(v, record->offset, record->stored_bytes) != record->xxh3) {
        return error_set(
            err, "%s is damaged: the checksum of tensor %.*s is wrong; fetch the file again", path,
            (int)record->name_bytes, record->name);
    }
    if (record->codec == CODEC_RAW) {
        return true;
    }
    const char *fault = compress_decode(record->codec, compress_split_width(record->type),
                                        v->file->map.data + record->offset, record->stored_bytes,
                                        NULL, record->raw_bytes);
    if (fault) {
        return error_set(err, "%s: tensor %.*s %s; fetch the file again", path,
                         (int)record->name_bytes, record->name, fault);
    }
    return true;
}

static bool verify_weights(struct verify *v, const struct layout_section *section,
                           struct error *err)
{
    uint64_t end = section->offset;
    if (section->xxh3 != 0) {
        return error_set(err, "%s is damaged: its weights section has a checksum of its own",
                         v->file->map.path);
    }
    for (uint64_t i = 0; i < v->file->tables->n_tensors; i++) {
        struct tensor_record record;
        model_file_tensor_at(v->file, i, &record);
        if (!check_zeros(v, end, record.offset, record.name, record.name_bytes, err) ||
            !verify_tensor(v, &record, err)) {
            return false;
        }
        end = record.offset + record.stored_bytes;
    }
    const char *what = "the end of the weights";
    return check_zeros(v, end, section->offset + section->stored_bytes, what, strlen(what), err);
}

static bool verify_section(struct verify *v, const struct layout_section *section,
                           struct error *err)
{
    if (section->kind == LAYOUT_WEIGHTS) {
        return verify_weights(v, section, err);
    }
    if (hash_range(v, section->offset, section->stored_bytes) != section->xxh3) {
        return error_set(err,
                         "%s is damaged: the checksum of its %s section (kind %" PRIu32
                         ") is wrong; fetch the file again",
                         v->file->map.path, model_file_kind_name(section->kind), section->kind);
    }
    return true;
}

/* Header, sections and table in the order of the file. Opening has checked header and table. */
static bool verify_all(struct verify *v, struct error *err)
{
    const struct model_file_tables *tables = v->file->tables;
    const uint64_t table_offset = tables->header->table_offset;
    const uint64_t table_bytes = tables->n_sections * (uint64_t)sizeof(struct layout_section);
    uint64_t end = sizeof(struct layout_header);
    bool table_done = false;
    advance(v, end);
    for (uint32_t i = 0; i <= tables->n_sections; i++) {
        const struct layout_section *section = i < tables->n_sections ? &tables->sections[i] : NULL;
        if (!table_done && (!section || table_offset < section->offset)) {
            if (!check_zeros(v, end, table_offset, "the section table", 17, err)) {
                return false;
            }
            advance(v, table_bytes);
            end = table_offset + table_bytes;
            table_done = true;
        }
        if (!section) {
            break;
        }
        const char *name = model_file_kind_name(section->kind);
        if (!check_zeros(v, end, section->offset, name, strlen(name), err) ||
            !verify_section(v, section, err)) {
            return false;
        }
        end = section->offset + section->stored_bytes;
    }
    return true;
}

bool model_file_verify(const struct model_file *file, void (*progress)(void *, uint64_t, uint64_t),
                       void *context, struct error *err)
{
    struct verify v = {
        .file = file,
        .progress = progress,
        .context = context,
        .state = XXH3_createState(),
    };
    if (!v.state) {
        return error_set(err, "out of memory while verifying %s", file->map.path);
    }
    bool ok = verify_all(&v, err);
    XXH3_freeState(v.state);
    return ok;
}
