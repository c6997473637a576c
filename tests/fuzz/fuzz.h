/* Fuzzing: what one target is, and what the targets share.
 *
 * A target reads one kind of file the way the program does, all of it. fuzz_main.c makes a
 * libFuzzer program of it (meson setup -Dfuzz=true, README.md); test_fuzz.c runs it over the seeds,
 * and over every input that once failed, in the ordinary test suite. A target fails by crashing: an
 * assert, a sanitizer, too much memory or time. What it reads may be refused; that is no failure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/model/source.h"
#include "format/model_file.h"

/* splitmix64 */
struct fuzz_random {
    uint64_t state;
};
uint64_t fuzz_random_u64(struct fuzz_random *random);
uint32_t fuzz_random_below(struct fuzz_random *random, uint32_t n); /* n > 0 */
/* A number that makes trouble: 0, 1, all ones, powers of two and their neighbours, near `value` or
 * near `bytes`. */
uint64_t fuzz_random_trouble(struct fuzz_random *random, uint64_t value, uint64_t bytes);

/* Changes bytes at random, to at most `room` of them; returns how many there are then. */
typedef size_t fuzz_change(uint8_t *data, size_t bytes, size_t room);

/* Of tests, in place of libFuzzer's: a few bytes changed, cut out or put in. */
size_t fuzz_change_bytes(uint8_t *data, size_t bytes, size_t room);
void fuzz_change_start(uint64_t seed);

struct fuzz_target {
    const char *name; /* of the folder with its seeds */
    /* Whether nothing in it was refused. */
    bool (*run)(const uint8_t *data, size_t bytes);
    /* Changes an input in a way that passes checksums and lengths; `change` for the rest. */
    size_t (*mutate)(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                     fuzz_change *change);
};
extern const struct fuzz_target fuzz_moxie, fuzz_gguf, fuzz_safetensors, fuzz_config, fuzz_imatrix,
    fuzz_tokenizer, fuzz_tokenizer_model, fuzz_template, fuzz_messages, fuzz_eval, fuzz_quant,
    fuzz_cache;

/* ---- for targets ---- */

/* Writes folder/name in a folder of this process that lies in memory where possible; `folder` is ""
 * or one level below. The path lives until the next call. */
const char *fuzz_file_write(const char *folder, const char *name, const void *data, size_t bytes);
void fuzz_file_remove(const char *folder, const char *name);
/* Makes folder/name a link to an existing file. */
const char *fuzz_file_link(const char *folder, const char *name, const char *to);
const char *fuzz_file_folder(const char *folder);
/* Removes everything. */
void fuzz_file_clean(void);

/* Reads everything of an open model that can be read: metadata, index, experts, tokenizer, tensors
 * up to 64 KiB in all; binds it. Whether it can be bound. */
bool fuzz_model_use(const struct model_file *file);
/* Encodes and decodes a short text with the tokenizer of this section; false if it is refused. */
bool fuzz_tokenizer_use(const void *section, uint64_t bytes);
/* The same of a source, which is closed. NULL is fine: false. */
bool fuzz_source_use(struct source *source);

/* An input of several files has a line of "--8<--" between them. Returns how many there are. */
#define FUZZ_MAX_PARTS 5
struct fuzz_part {
    size_t at, bytes;
};
uint32_t fuzz_parts(const uint8_t *data, size_t bytes, struct fuzz_part parts[FUZZ_MAX_PARTS]);
/* Changes one of them by `mutate`. */
typedef size_t fuzz_part_mutate(uint8_t *data, size_t bytes, size_t room, uint32_t part,
                                uint32_t n_parts, struct fuzz_random *random, fuzz_change *change);
size_t fuzz_parts_mutate(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                         fuzz_change *change, fuzz_part_mutate *mutate);

/* Changes a JSON text: a number, a value, a member; or some of these. Returns its length. */
size_t fuzz_json_mutate(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                        fuzz_change *change);
size_t fuzz_json_mutate_some(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                             fuzz_change *change);
