/* Changes of JSON texts that leave most of them JSON. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

/* Replaces [at, at + old) by `text`; nothing if there is no room. */
static size_t replace(uint8_t *data, size_t bytes, size_t room, size_t at, size_t old,
                      const void *text, size_t length)
{
    if (bytes - old + length > room) {
        return bytes;
    }
    memmove(data + at + length, data + at + old, bytes - at - old);
    memcpy(data + at, text, length);
    return bytes - old + length;
}

/* The end of the value (a scalar or a bracketed whole) that starts at `at`. */
static size_t value_end(const uint8_t *data, size_t bytes, size_t at)
{
    uint32_t depth = 0;
    bool in_text = false;
    for (size_t i = at; i < bytes; i++) {
        uint8_t c = data[i];
        if (in_text) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_text = false;
            }
        } else if (c == '"') {
            in_text = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']' || c == ',' || c == ':') {
            if (depth == 0) {
                return i;
            }
            if ((c == '}' || c == ']') && --depth == 0) {
                return i + 1;
            }
        }
    }
    return bytes;
}

/* A place where a value starts, behind ':' '[' or ','; bytes if none was met. */
static size_t find_value(const uint8_t *data, size_t bytes, struct fuzz_random *random)
{
    size_t start = fuzz_random_below(random, (uint32_t)bytes);
    for (size_t i = 0; i < bytes; i++) {
        size_t at = (start + i) % bytes;
        if ((data[at] == ':' || data[at] == '[' || data[at] == ',') && at + 1 < bytes) {
            return at + 1;
        }
    }
    return bytes;
}

static size_t find_number(const uint8_t *data, size_t bytes, struct fuzz_random *random)
{
    size_t start = fuzz_random_below(random, (uint32_t)bytes);
    for (size_t i = 0; i < bytes; i++) {
        size_t at = (start + i) % bytes;
        if (data[at] >= '0' && data[at] <= '9' && (at == 0 || data[at - 1] < '0') &&
            (at == 0 || data[at - 1] != '.')) {
            return at;
        }
    }
    return bytes;
}

static size_t change_number(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random)
{
    size_t at = find_number(data, bytes, random), end = at;
    if (at == bytes) {
        return bytes;
    }
    while (end < bytes && data[end] >= '0' && data[end] <= '9') {
        end++;
    }
    char text[32];
    uint64_t value = strtoull((const char *)memcpy(memset(text, 0, sizeof(text)), data + at,
                                                   end - at < 20 ? end - at : 20),
                              NULL, 10);
    value = fuzz_random_trouble(random, value, bytes);
    int length = snprintf(text, sizeof(text), "%" PRIu64 "%s", value,
                          fuzz_random_below(random, 32) ? "" : ".5e3");
    return replace(data, bytes, room, at, end - at, text, (size_t)length);
}

static size_t change_value(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random)
{
    static const char *const values[] = {"null", "true", "false", "0",     "-1",      "1e400",
                                         "{}",   "[]",   "\"\"",  "\"a\"", "[[[1]]]", "1.5"};
    size_t at = find_value(data, bytes, random);
    if (at == bytes) {
        return bytes;
    }
    size_t end = value_end(data, bytes, at);
    if (fuzz_random_below(random, 2)) {
        const char *text = values[fuzz_random_below(random, sizeof(values) / sizeof(values[0]))];
        return replace(data, bytes, room, at, end - at, text, strlen(text));
    }
    size_t from = find_value(data, bytes, random), from_end = value_end(data, bytes, from);
    uint8_t *copy = malloc(from_end - from + 1);
    memcpy(copy, data + from, from_end - from);
    bytes = replace(data, bytes, room, at, end - at, copy, from_end - from);
    free(copy);
    return bytes;
}

/* Leaves a member or element out, or has it twice. */
static size_t change_member(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random)
{
    size_t start = fuzz_random_below(random, (uint32_t)bytes);
    while (start < bytes && data[start] != ',') {
        start++;
    }
    if (start == bytes) {
        return bytes;
    }
    size_t end = value_end(data, bytes, start + 1);
    if (end < bytes && data[end] == ':') {
        end = value_end(data, bytes, end + 1);
    }
    size_t length = end - start;
    if (fuzz_random_below(random, 2)) {
        return replace(data, bytes, room, start, length, "", 0);
    }
    uint8_t *copy = malloc(length + 1);
    memcpy(copy, data + start, length);
    bytes = replace(data, bytes, room, start, 0, copy, length);
    free(copy);
    return bytes;
}

static size_t nest(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random)
{
    size_t at = find_value(data, bytes, random);
    size_t depth = (size_t)1 << fuzz_random_below(random, 13);
    uint8_t *text = malloc(2 * depth);
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    bytes = replace(data, bytes, room, at, value_end(data, bytes, at) - at, text, 2 * depth);
    free(text);
    return bytes;
}

size_t fuzz_json_mutate(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                        fuzz_change *change)
{
    if (bytes == 0) {
        return change(data, bytes, room);
    }
    uint32_t kind = fuzz_random_below(random, 64);
    if (kind < 24) {
        return change_number(data, bytes, room, random);
    }
    if (kind < 38) {
        return change_value(data, bytes, room, random);
    }
    if (kind < 50) {
        return change_member(data, bytes, room, random);
    }
    return kind == 63 ? nest(data, bytes, room, random) : change(data, bytes, room);
}

size_t fuzz_json_mutate_some(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                             fuzz_change *change)
{
    uint32_t times = 1 + fuzz_random_below(random, 3);
    while (times-- > 0) {
        bytes = fuzz_json_mutate(data, bytes, room, random, change);
    }
    return bytes;
}
