/* Opening a .moxie file: header, section table, and the sections that are used as they lie. The
 * inside of metadata, index and directory is checked in model_metadata.c and model_index.c. */
#include "format/model_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "format/compress.h"
#include "format/model_tables.h"

const char *model_file_kind_name(uint32_t kind)
{
    switch (kind) {
#define X(NAME, number, name) \
    case number: \
        return name;
        LAYOUT_SECTIONS(X)
#undef X
    default:
        return "unknown";
    }
}

static const uint8_t *section_data(const struct model_file *file,
                                   const struct layout_section *section)
{
    return file->map.data + section->offset;
}

const struct layout_list *model_file_list(const struct model_file *file, enum layout_kind kind,
                                          uint64_t record_bytes, uint64_t most, struct error *err)
{
    const struct layout_section *section = file->tables->by_kind[kind];
    const char *name = model_file_kind_name(kind);
    if (section->stored_bytes < sizeof(struct layout_list)) {
        error_set(err, "%s is damaged: its %s is too short", file->map.path, name);
        return NULL;
    }
    const void *start = section_data(file, section);
    const struct layout_list *list = start;
    uint64_t rest = section->stored_bytes - sizeof(*list);
    if (list->count > most || list->count > rest / record_bytes ||
        list->pool_bytes != rest - list->count * record_bytes) {
        error_set(err, "%s is damaged: the lengths in its %s contradict each other", file->map.path,
                  name);
        return NULL;
    }
    return list;
}

static bool check_header(const struct model_file *file, struct error *err)
{
    const char *path = file->map.path;
    const struct layout_header *header = (const void *)file->map.data;
    uint64_t compared =
        file->map.bytes < sizeof(header->magic) ? file->map.bytes : sizeof(header->magic);
    if (memcmp(header->magic, LAYOUT_MAGIC, compared) != 0) {
        return error_set(
            err, "%s is not a .moxie file; `moxie convert` makes one from a checkpoint", path);
    }
    if (file->map.bytes < sizeof(*header)) {
        return error_set(err, "%s is cut short: not even its header is complete; fetch it again",
                         path);
    }
    if (header->version > LAYOUT_VERSION) {
        return error_set(err,
                         "%s has format version %" PRIu32 ", but this program reads version %d; "
                         "use a newer Moxie",
                         path, header->version, LAYOUT_VERSION);
    }
    if (header->version != LAYOUT_VERSION ||
        header->header_xxh3 != XXH3_64bits(header, sizeof(*header) - sizeof(header->header_xxh3))) {
        return error_set(err, "%s is damaged: the checksum of its header is wrong; fetch it again",
                         path);
    }
    if (header->flags != 0 || header->zero != 0 ||
        header->section_record_bytes != sizeof(struct layout_section)) {
        return error_set(err,
                         "%s uses features of the format that this program does not know; use "
                         "a newer Moxie",
                         path);
    }
    if (header->file_bytes != file->map.bytes) {
        return error_set(
            err, "%s is %s: it has %" PRIu64 " bytes and should have %" PRIu64 "; fetch it again",
            path, file->map.bytes < header->file_bytes ? "cut short" : "too long", file->map.bytes,
            header->file_bytes);
    }
    return true;
}

/* The table itself, still unread. */
static bool check_table(struct model_file *file, struct error *err)
{
    const char *path = file->map.path;
    struct model_file_tables *tables = file->tables;
    const struct layout_header *header = (const void *)file->map.data;
    uint64_t bytes = header->n_sections * (uint64_t)sizeof(struct layout_section);
    const void *table = map_slice(&file->map, header->table_offset, bytes);
    if (header->n_sections == 0 || header->n_sections > LAYOUT_MAX_SECTIONS ||
        header->table_offset % LAYOUT_PAGE != 0 || header->table_offset < LAYOUT_PAGE || !table) {
        return error_set(err, "%s is damaged: its section table lies outside the file", path);
    }
    if (XXH3_64bits(table, bytes) != header->table_xxh3) {
        return error_set(
            err, "%s is damaged: the checksum of its section table is wrong; fetch it again", path);
    }
    tables->header = header;
    tables->sections = table;
    tables->n_sections = header->n_sections;
    return true;
}

static bool check_section(const struct model_file *file, const struct layout_section *section,
                          struct error *err)
{
    const char *path = file->map.path;
    const char *name = model_file_kind_name(section->kind);
    const struct layout_header *header = file->tables->header;
    bool known = section->kind != 0 && section->kind < LAYOUT_KINDS;
    if (!known && section->flags & LAYOUT_MUST_UNDERSTAND) {
        return error_set(err,
                         "%s has a section of kind %" PRIu32
                         " that must be understood, but this program does not know it; use a newer "
                         "Moxie",
                         path, section->kind);
    }
    if ((section->flags & ~(uint32_t)LAYOUT_MUST_UNDERSTAND) != 0 || section->zero != 0 ||
        section->zeros[0] != 0 || section->zeros[1] != 0 ||
        (known && section->codec != CODEC_RAW) ||
        (section->codec == CODEC_RAW && section->raw_bytes != section->stored_bytes)) {
        return error_set(err, "%s is damaged: the record of its %s section makes no sense", path,
                         name);
    }
    if (section->offset % LAYOUT_PAGE != 0 || section->offset < LAYOUT_PAGE ||
        !map_slice(&file->map, section->offset, section->stored_bytes)) {
        return error_set(err, "%s is damaged: its %s section lies outside the file", path, name);
    }
    uint64_t table_end =
        header->table_offset + header->n_sections * (uint64_t)sizeof(struct layout_section);
    uint64_t section_end = section->offset + section->stored_bytes;
    bool apart = section_end <= header->table_offset || section->offset >= table_end;
    if (!apart) {
        return error_set(err, "%s is damaged: its %s section overlaps the section table", path,
                         name);
    }
    return true;
}

static bool check_sections(struct model_file *file, struct error *err)
{
    const char *path = file->map.path;
    struct model_file_tables *tables = file->tables;
    uint64_t end =
        tables->header->table_offset + tables->n_sections * (uint64_t)sizeof(struct layout_section);
    uint64_t previous_end = 0;
    for (uint32_t i = 0; i < tables->n_sections; i++) {
        const struct layout_section *section = &tables->sections[i];
        const char *name = model_file_kind_name(section->kind);
        if (!check_section(file, section, err)) {
            return false;
        }
        if (section->offset < previous_end) {
            return error_set(err, "%s is damaged: its %s section overlaps another one", path, name);
        }
        previous_end = section->offset + section->stored_bytes;
        if (section->kind != 0 && section->kind < LAYOUT_KINDS) {
            if (tables->by_kind[section->kind]) {
                return error_set(err, "%s is damaged: it has two %s sections", path, name);
            }
            tables->by_kind[section->kind] = section;
        }
    }
    end = previous_end > end ? previous_end : end;
    if (end != file->map.bytes) {
        return error_set(err, "%s is damaged: bytes follow its last section", path);
    }
    return true;
}

/* The sections that opening uses must be there and whole; the weights are left alone. */
static bool check_contents(const struct model_file *file, struct error *err)
{
    static const bool required[LAYOUT_KINDS] = {
        [LAYOUT_METADATA] = true,
        [LAYOUT_TENSOR_INDEX] = true,
        [LAYOUT_EXPERT_DIRECTORY] = true,
        [LAYOUT_WEIGHTS] = true,
    };
    for (uint32_t kind = 1; kind < LAYOUT_KINDS; kind++) {
        const struct layout_section *section = file->tables->by_kind[kind];
        if (!section && required[kind]) {
            return error_set(err, "%s is damaged: it has no %s section", file->map.path,
                             model_file_kind_name(kind));
        }
        if (!section || kind == LAYOUT_WEIGHTS || kind == LAYOUT_USAGE) {
            continue;
        }
        if (XXH3_64bits(section_data(file, section), section->stored_bytes) != section->xxh3) {
            return error_set(err,
                             "%s is damaged: the checksum of its %s section is wrong; fetch it "
                             "again",
                             file->map.path, model_file_kind_name(kind));
        }
    }
    return true;
}

/* The file is mapped. */
static bool open_mapped(struct model_file *file, const char *path, struct error *err)
{
    file->tables = calloc(1, sizeof(*file->tables));
    if (!file->tables) {
        error_set(err, "out of memory while opening %s", path);
        model_file_close(file);
        return false;
    }
    if (!check_header(file, err) || !check_table(file, err) || !check_sections(file, err) ||
        !check_contents(file, err) || !model_metadata_open(file, err) ||
        !model_index_open(file, err) || !model_directory_open(file, err)) {
        model_file_close(file);
        return false;
    }
    return true;
}

bool model_file_open(struct model_file *file, const char *path, struct error *err)
{
    *file = (struct model_file){0};
    return map_open(&file->map, path, err) && open_mapped(file, path, err);
}

bool model_file_open_descriptor(struct model_file *file, int descriptor, const char *path,
                                struct error *err)
{
    *file = (struct model_file){0};
    return map_open_descriptor(&file->map, descriptor, path, err) && open_mapped(file, path, err);
}

void model_file_close(struct model_file *file)
{
    if (file->origin.close) {
        file->origin.close(file->origin.context);
    }
    if (file->tables) {
        free(file->tables->by_role);
        free(file->tables);
    }
    map_close(&file->map);
    *file = (struct model_file){0};
}

static bool section_bytes(const struct model_file *file, enum layout_kind kind,
                          const void **contents, uint64_t *bytes)
{
    const struct layout_section *section = file->tables->by_kind[kind];
    if (!section) {
        return false;
    }
    *contents = section_data(file, section);
    *bytes = section->stored_bytes;
    return true;
}

bool model_file_tokenizer(const struct model_file *file, const void **section, uint64_t *bytes)
{
    return section_bytes(file, LAYOUT_TOKENIZER, section, bytes);
}

bool model_file_chat_template(const struct model_file *file, const char **text, uint64_t *bytes)
{
    const void *contents;
    if (!section_bytes(file, LAYOUT_CHAT_TEMPLATE, &contents, bytes)) {
        return false;
    }
    *text = contents;
    return true;
}

const void *model_file_raw(const struct model_file *file, const struct tensor_record *record)
{
    return record->codec == CODEC_RAW && !file->origin.load
               ? map_slice(&file->map, record->offset, record->stored_bytes)
               : NULL;
}

/* The number of a record: they lie in the file in their order. */
static uint64_t record_number(const struct model_file *file, const struct tensor_record *record)
{
    uint64_t low = 0, high = file->tables->n_tensors;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (file->tables->tensors[middle].offset <= record->offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

bool model_file_load(const struct model_file *file, const struct tensor_record *record,
                     void *destination, struct error *err)
{
    if (file->origin.load) {
        return file->origin.load(file->origin.context, record_number(file, record), destination,
                                 err);
    }
    const char *fault = compress_decode(record->codec, compress_split_width(record->type),
                                        map_slice(&file->map, record->offset, record->stored_bytes),
                                        record->stored_bytes, destination, record->raw_bytes);
    if (fault) {
        return error_set(err, "%s: tensor %.*s %s; fetch the file again", file->map.path,
                         (int)record->name_bytes, record->name, fault);
    }
    return true;
}
