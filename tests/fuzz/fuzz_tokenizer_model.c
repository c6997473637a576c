/* tokenizer.model of SentencePiece, alone, or with tokenizer_config.json and added_tokens.json as
 * further parts: packed into the section of a .moxie file, and used. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer_pack.h"
#include "tests/fuzz/fuzz.h"

static bool run(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"tokenizer.model", "tokenizer_config.json",
                                        "added_tokens.json"};
    struct fuzz_part parts[FUZZ_MAX_PARTS];
    void *section;
    uint64_t section_bytes;
    struct error err = {""};
    uint32_t n = fuzz_parts(data, bytes, parts);
    for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (i < n) {
            fuzz_file_write("pieces", names[i], data + parts[i].at, parts[i].bytes);
        } else {
            fuzz_file_remove("pieces", names[i]);
        }
    }
    if (!tokenizer_pack(fuzz_file_folder("pieces"), &section, &section_bytes, &err)) {
        assert(err.text[0]);
        return false;
    }
    /* What is packed here must be a section that can be opened. */
    bool opened = fuzz_tokenizer_use(section, section_bytes);
    free(section);
    return opened;
}

/* ---- mutation ---- */

/* A base-128 number at data[0..bytes); its length, 0 if it does not end. */
static size_t read_number(const uint8_t *data, size_t bytes, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < bytes && i < 10; i++) {
        *value |= (uint64_t)(data[i] & 0x7F) << (7 * i);
        if (!(data[i] & 0x80)) {
            return i + 1;
        }
    }
    return 0;
}

static size_t write_number(uint8_t out[10], uint64_t value)
{
    size_t n = 0;
    do {
        out[n++] = (uint8_t)((value & 0x7F) | (value > 0x7F ? 0x80 : 0));
        value >>= 7;
    } while (value);
    return n;
}

/* Where the value of a field lies, and where the field begins. */
struct field {
    size_t at, value, bytes; /* bytes of the value; a length stands before it */
    uint32_t kind;
};

static bool next_field(const uint8_t *data, size_t bytes, size_t at, struct field *field)
{
    uint64_t key, length;
    size_t n = read_number(data + at, bytes - at, &key);
    if (n == 0) {
        return false;
    }
    *field = (struct field){at, at + n, 0, (uint32_t)(key & 7)};
    size_t left = bytes - field->value;
    if (field->kind == 0) {
        field->bytes = read_number(data + field->value, left, &length);
        return field->bytes > 0;
    }
    if (field->kind == 2) {
        n = read_number(data + field->value, left, &length);
        field->value += n;
        field->bytes = (size_t)length;
        return n > 0 && length <= left - n;
    }
    field->bytes = field->kind == 1 ? 8 : 4;
    return (field->kind == 1 || field->kind == 5) && field->bytes <= left;
}

/* One field of the message, each as likely. */
static bool choose_field(const uint8_t *data, size_t bytes, struct fuzz_random *random,
                         struct field *chosen)
{
    struct field field;
    uint32_t n = 0;
    for (size_t at = 0; at < bytes && next_field(data, bytes, at, &field);
         at = field.value + field.bytes) {
        if (fuzz_random_below(random, ++n) == 0) {
            *chosen = field;
        }
    }
    return n > 0;
}

/* Replaces [at, at + old) by what is given, if there is room. */
static size_t replace(uint8_t *data, size_t bytes, size_t room, size_t at, size_t old,
                      const uint8_t *with, size_t length)
{
    if (bytes - old + length > room) {
        return bytes;
    }
    memmove(data + at + length, data + at + old, bytes - at - old);
    memcpy(data + at, with, length);
    return bytes - old + length;
}

static size_t mutate_message(uint8_t *data, size_t bytes, size_t room, uint32_t depth,
                             struct fuzz_random *random, fuzz_change *change);

/* Changes a value that has a length, and sets the length right. */
static size_t mutate_value(uint8_t *data, size_t bytes, size_t room, const struct field *field,
                           uint32_t depth, struct fuzz_random *random, fuzz_change *change)
{
    uint8_t number[10], *value = malloc(field->bytes + 64);
    memcpy(value, data + field->value, field->bytes);
    size_t n = depth == 0 && fuzz_random_below(random, 8)
                   ? mutate_message(value, field->bytes, field->bytes + 64, 1, random, change)
                   : change(value, field->bytes, field->bytes + 64);
    uint64_t length;
    size_t key = read_number(data + field->at, field->value - field->at, &length);
    size_t digits = write_number(number, n), old = field->value - field->at - key + field->bytes;
    if (bytes - old + digits + n <= room) {
        size_t at = field->at + key;
        memmove(data + at + digits + n, data + at + old, bytes - at - old);
        memcpy(data + at, number, digits);
        memcpy(data + at + digits, value, n);
        bytes = bytes - old + digits + n;
    }
    free(value);
    return bytes;
}

static size_t mutate_message(uint8_t *data, size_t bytes, size_t room, uint32_t depth,
                             struct fuzz_random *random, fuzz_change *change)
{
    struct field field = {0};
    uint64_t value;
    uint8_t number[10];
    if (fuzz_random_below(random, 12) == 0 || !choose_field(data, bytes, random, &field)) {
        return change(data, bytes, room);
    }
    uint32_t kind = fuzz_random_below(random, 8);
    size_t whole = field.value + field.bytes - field.at;
    if (kind == 0) {
        return replace(data, bytes, room, field.at, whole, number, 0);
    }
    if (kind == 1) {
        uint8_t *copy = malloc(whole);
        memcpy(copy, data + field.at, whole);
        bytes = replace(data, bytes, room, field.at, 0, copy, whole);
        free(copy);
        return bytes;
    }
    if (field.kind == 2) {
        return mutate_value(data, bytes, room, &field, depth, random, change);
    }
    if (field.kind == 0) {
        read_number(data + field.value, field.bytes, &value);
        size_t n = write_number(number, fuzz_random_trouble(random, value, bytes));
        return replace(data, bytes, room, field.value, field.bytes, number, n);
    }
    data[field.value + fuzz_random_below(random, (uint32_t)field.bytes)] =
        (uint8_t)fuzz_random_u64(random);
    return bytes;
}

static size_t mutate_part(uint8_t *data, size_t bytes, size_t room, uint32_t part, uint32_t n_parts,
                          struct fuzz_random *random, fuzz_change *change)
{
    return part == 0 ? mutate_message(data, bytes, room, 0, random, change)
                     : fuzz_json_mutate(data, bytes, room, random, change);
}

static size_t mutate(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                     fuzz_change *change)
{
    return fuzz_parts_mutate(data, bytes, room, random, change, mutate_part);
}

const struct fuzz_target fuzz_tokenizer_model = {"tokenizer_model", run, mutate};
