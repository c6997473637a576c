/* GGUF files made byte by byte, good and bad ones, without our own writer. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/error.h"
#include "format/gguf.h"

struct gguf_bytes {
    uint8_t *data;
    size_t bytes, room;
};
void gguf_bytes_put(struct gguf_bytes *file, const void *data, size_t bytes);
void gguf_bytes_u32(struct gguf_bytes *file, uint32_t value);
void gguf_bytes_u64(struct gguf_bytes *file, uint64_t value);
void gguf_bytes_text(struct gguf_bytes *file, const char *text); /* length and bytes */
/* Magic, version 3, counts. */
void gguf_bytes_header(struct gguf_bytes *file, uint64_t n_tensors, uint64_t n_pairs);
void gguf_bytes_pair_u32(struct gguf_bytes *file, const char *key, uint32_t value);
void gguf_bytes_pair_text(struct gguf_bytes *file, const char *key, const char *text);
/* A tensor's record with two dims. */
void gguf_bytes_tensor(struct gguf_bytes *file, const char *name, uint64_t cols, uint64_t rows,
                       uint32_t type, uint64_t offset);
/* Zeros up to a multiple of 32, then n bytes counting up from 1. */
void gguf_bytes_data(struct gguf_bytes *file, size_t n);

/* The example of the format's description that the reference material works through: 352 bytes. */
void gguf_bytes_example(struct gguf_bytes *file);

/* Writes the bytes, frees them, and opens the file; the path lives until the program ends. */
const char *gguf_bytes_write(struct gguf_bytes *file, const char *name);
bool gguf_bytes_open(struct gguf_bytes *file, struct gguf *gguf, struct error *err);
/* Asserts that the file is refused with a sentence that contains `part` and names the file. */
void gguf_bytes_refused(struct gguf_bytes *file, const char *part);
