/* GGUF files, also in two parts: open, read everything, and run as a model without conversion. The
 * mutator knows where counts, lengths, types and texts lie, and moves the data along when the head
 * grows. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer_gguf.h"
#include "format/gguf.h"
#include "tests/fuzz/fuzz.h"

static void touch(const void *data, uint64_t bytes)
{
    static volatile uint8_t sink;
    const uint8_t *p = data;
    for (uint64_t i = 0; i < bytes; i++) {
        sink = (uint8_t)(sink + p[i]);
    }
}

static void read_pair(const struct gguf_pair *pair)
{
    const char *text;
    uint64_t bytes, whole;
    int64_t number;
    double real;
    bool flag;
    touch(pair->key, pair->key_bytes);
    touch(pair->value, pair->value_bytes);
    for (struct gguf_strings walk = gguf_strings(pair); gguf_next_string(&walk, &text, &bytes);) {
        touch(text, bytes);
    }
    for (uint64_t i = 0; i <= pair->count && i < 300; i++) {
        gguf_value_u64(pair, i, &whole);
        gguf_value_i64(pair, i, &number);
        gguf_value_f64(pair, i, &real);
        gguf_value_bool(pair, i, &flag);
    }
    gguf_value_string(pair, &text, &bytes);
}

static bool use_tokenizer(const struct gguf *gguf)
{
    void *section;
    uint64_t bytes;
    struct error err = {""};
    if (!tokenizer_gguf_pack(gguf, &section, &bytes, &err)) {
        assert(err.text[0]);
        return false;
    }
    bool ok = fuzz_tokenizer_use(section, bytes);
    free(section);
    return ok;
}

static bool run(const uint8_t *data, size_t bytes)
{
    struct fuzz_part parts[FUZZ_MAX_PARTS];
    uint32_t n = fuzz_parts(data, bytes, parts);
    const char *path = NULL;
    while (n-- > 0) { /* the first last, for its path */
        char name[64] = "model.gguf";
        if (n > 0 || parts[0].bytes != bytes) {
            snprintf(name, sizeof(name), "model-%05" PRIu32 "-of-00002.gguf", n + 1);
        }
        path = fuzz_file_write("", name, data + parts[n].at, parts[n].bytes);
    }
    struct gguf gguf;
    struct error err = {""};
    gguf_is_file(path);
    if (!gguf_open(&gguf, path, &err)) {
        assert(err.text[0]);
        return false;
    }
    for (uint64_t i = 0; i < gguf.n_pairs; i++) {
        read_pair(&gguf.pairs[i]);
    }
    for (uint64_t i = 0; i < gguf.n_tensors; i++) {
        char type[24];
        touch(gguf.tensors[i].name, gguf.tensors[i].name_bytes);
        touch(gguf.tensors[i].data, gguf.tensors[i].bytes);
        gguf_type_name(gguf.tensors[i].type, type);
    }
    bool has_tokenizer = tokenizer_gguf_has(&gguf), words = has_tokenizer && use_tokenizer(&gguf);
    bool only_words = words && gguf.n_tensors == 0;
    gguf_close(&gguf);
    if (only_words) {
        return true;
    }
    err.text[0] = 0;
    struct source *source = source_open_gguf(path, &err);
    assert(source || err.text[0]);
    return fuzz_source_use(source);
}

/* ---- mutation ---- */

#define MAX_SPOTS 8192

struct spots {
    struct spot {
        uint32_t at;
        uint8_t bytes; /* of the number; 0: the length of a text, which follows */
    } list[MAX_SPOTS];
    uint32_t n;
    struct {
        uint32_t begin, end;
    } pairs[512];
    uint32_t n_pairs;
    uint64_t head; /* bytes of the head */
};

struct walk {
    const uint8_t *data;
    uint64_t bytes, at;
    struct spots *spots;
    bool ok;
};

static uint64_t number(struct walk *walk, uint8_t bytes)
{
    uint64_t value = 0;
    walk->ok = walk->ok && walk->bytes - walk->at >= bytes;
    if (walk->ok) {
        memcpy(&value, walk->data + walk->at, bytes);
        if (walk->spots->n < MAX_SPOTS) {
            walk->spots->list[walk->spots->n++] = (struct spot){(uint32_t)walk->at, bytes};
        }
        walk->at += bytes;
    }
    return value;
}

static void text(struct walk *walk)
{
    uint64_t length = number(walk, 8);
    walk->ok = walk->ok && length <= walk->bytes - walk->at;
    if (walk->ok) {
        walk->spots->list[walk->spots->n - 1].bytes = 0;
        walk->at += length;
    }
}

static void value(struct walk *walk, uint64_t type)
{
    static const uint8_t sizes[] = {
#define X(NAME, id, name, bytes) [GGUF_##NAME] = bytes,
        GGUF_VALUES(X)
#undef X
    };
    uint64_t count = 1;
    if (type == GGUF_ARRAY) {
        type = number(walk, 4);
        count = number(walk, 8);
    }
    walk->ok = walk->ok && type < sizeof(sizes) && (sizes[type] || type == GGUF_STRING);
    for (uint64_t i = 0; walk->ok && i < count; i++) {
        if (type == GGUF_STRING) {
            text(walk);
        } else {
            number(walk, sizes[type]);
        }
    }
}

/* Where everything of the head lies; false where it cannot be followed. */
static bool find_spots(const uint8_t *data, size_t bytes, struct spots *spots)
{
    struct walk walk = {data, bytes, 4, spots, bytes >= 24};
    spots->n = spots->n_pairs = 0;
    number(&walk, 4);
    uint64_t n_tensors = number(&walk, 8), n_pairs = number(&walk, 8);
    for (uint64_t i = 0; walk.ok && i < n_pairs; i++) {
        uint64_t begin = walk.at;
        text(&walk);
        value(&walk, number(&walk, 4));
        if (walk.ok && spots->n_pairs < 512) {
            spots->pairs[spots->n_pairs].begin = (uint32_t)begin;
            spots->pairs[spots->n_pairs++].end = (uint32_t)walk.at;
        }
    }
    for (uint64_t i = 0; walk.ok && i < n_tensors; i++) {
        text(&walk);
        uint64_t dims = number(&walk, 4);
        for (uint64_t d = 0; walk.ok && d < dims && d < 16; d++) {
            number(&walk, 8);
        }
        number(&walk, 4);
        number(&walk, 8);
    }
    spots->head = walk.at;
    return walk.ok && spots->n < MAX_SPOTS;
}

/* Replaces [at, at + old) of the head by `new` and keeps the data behind it aligned to 32. */
static size_t splice(uint8_t *data, size_t bytes, size_t room, uint64_t head, uint64_t at,
                     uint64_t old, const void *new, uint64_t length)
{
    uint64_t new_head = head - old + length;
    uint64_t from = (head + 31) / 32 * 32, to = (new_head + 31) / 32 * 32;
    from = from < bytes ? from : bytes;
    if (to + (bytes - from) > room) {
        return bytes;
    }
    uint8_t *rest = malloc(bytes - from + 1);
    memcpy(rest, data + from, bytes - from);
    memmove(data + at + length, data + at + old, head - at - old);
    memcpy(data + at, new, length);
    memset(data + new_head, 0, to - new_head);
    memcpy(data + to, rest, bytes - from);
    free(rest);
    return to + (bytes - from);
}

static size_t change_text(uint8_t *data, size_t bytes, size_t room, const struct spots *spots,
                          uint64_t at, struct fuzz_random *random, fuzz_change *change)
{
    uint8_t copy[8 + 256];
    uint64_t length;
    memcpy(&length, data + at, 8);
    if (length > 128) {
        return bytes;
    }
    memcpy(copy + 8, data + at + 8, length);
    uint64_t changed = change(copy + 8, length, 256);
    memcpy(copy, &changed, 8);
    return splice(data, bytes, room, spots->head, at, 8 + length, copy, 8 + changed);
}

/* Leaves a pair out, or has it twice, once with another key perhaps. */
static size_t change_pairs(uint8_t *data, size_t bytes, size_t room, const struct spots *spots,
                           struct fuzz_random *random)
{
    uint32_t i = fuzz_random_below(random, spots->n_pairs);
    uint64_t begin = spots->pairs[i].begin, length = spots->pairs[i].end - begin, count;
    memcpy(&count, data + 16, 8);
    if (fuzz_random_below(random, 2)) {
        count--;
        memcpy(data + 16, &count, 8);
        return splice(data, bytes, room, spots->head, begin, length, "", 0);
    }
    uint8_t *copy = malloc(length);
    memcpy(copy, data + begin, length);
    if (fuzz_random_below(random, 4)) {
        copy[8] ^= 1;
    }
    size_t changed = splice(data, bytes, room, spots->head, begin, 0, copy, length);
    free(copy);
    if (changed != bytes) {
        count++;
        memcpy(data + 16, &count, 8);
    }
    return changed;
}

static size_t mutate_file(uint8_t *data, size_t bytes, size_t room, uint32_t part, uint32_t n_parts,
                          struct fuzz_random *random, fuzz_change *change)
{
    static struct spots spots;
    uint32_t times = 1 + fuzz_random_below(random, 3);
    while (times-- > 0) {
        if (!find_spots(data, bytes, &spots) || fuzz_random_below(random, 8) == 0) {
            return change(data, bytes, room);
        }
        const struct spot *spot = &spots.list[fuzz_random_below(random, spots.n)];
        if (spots.n_pairs > 0 && fuzz_random_below(random, 8) == 0) {
            bytes = change_pairs(data, bytes, room, &spots, random);
        } else if (spot->bytes == 0 && fuzz_random_below(random, 4) != 0) {
            bytes = change_text(data, bytes, room, &spots, spot->at, random, change);
        } else {
            uint8_t size = spot->bytes ? spot->bytes : 8;
            uint64_t old = 0;
            memcpy(&old, data + spot->at, size);
            old = fuzz_random_trouble(random, old, bytes);
            memcpy(data + spot->at, &old, size);
        }
    }
    return bytes;
}

static size_t mutate(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                     fuzz_change *change)
{
    return fuzz_parts_mutate(data, bytes, room, random, change, mutate_file);
}

const struct fuzz_target fuzz_gguf = {"gguf", run, mutate};
