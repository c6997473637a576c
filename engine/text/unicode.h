/* What the tokenizer needs to know about Unicode: reading UTF-8 that may be broken, a few classes
 * of characters, and composition (NFC). Tables come from utf8proc.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/error.h"

#define UNICODE_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */
#define UNICODE_REPLACEMENT_BYTES 3

/* Looks at the first character of text[0..n), n >= 1. Returns its length (1..4) and sets *code;
 * 0 if all n bytes are the start of a longer character; -k if the first k bytes are an
 * ill-formed "maximal subpart" (The Unicode Standard, section 3.9), which U+FFFD replaces. */
int unicode_read(const char *text, size_t n, uint32_t *code);

/* The character before or at a position in valid UTF-8. The position is inside the text. */
uint32_t unicode_before(const char *text, size_t position);
uint32_t unicode_at(const char *text, size_t bytes, size_t position, size_t *length);

/* Writes 1..4 bytes. */
size_t unicode_write(uint32_t code, char *out);

bool unicode_is_valid(const char *text, size_t bytes);

/* White_Space; letters, marks, decimal digits, connectors and joiners (UTS #18, \w). */
bool unicode_is_space(uint32_t code);
bool unicode_is_word(uint32_t code);

/* Bytes that grow. Zero-initialise before first use. */
struct unicode_buffer {
    char *data;
    size_t bytes, capacity;
};
void unicode_buffer_free(struct unicode_buffer *buffer);
bool unicode_buffer_reserve(struct unicode_buffer *buffer, size_t more, struct error *err);
bool unicode_buffer_append(struct unicode_buffer *buffer, const char *text, size_t bytes,
                           struct error *err);

/* Appends text with U+FFFD for each maximal subpart of an ill-formed sequence. */
bool unicode_repair(const char *text, size_t bytes, struct unicode_buffer *out, struct error *err);

/* Appends the canonical composition of valid UTF-8 (UAX #15), in linear time for any text. */
bool unicode_compose(const char *text, size_t bytes, struct unicode_buffer *out, struct error *err);
