/* Text to token ids and back, exactly as the model's tokenizer.json (or GGUF file) says.
 *
 * Works on the tokenizer section of a .moxie file in place (format/README.md), which must outlive
 * the tokenizer. A tokenizer is read-only after creation: any number of threads may use it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/error.h"

struct tokenizer;

#define TOKEN_NONE UINT32_MAX

enum tokenizer_flags {
    TOKENIZER_ADD_SPECIAL = 1 << 0,   /* BOS and EOS as the model's post-processor adds them */
    TOKENIZER_PARSE_SPECIAL = 1 << 1, /* text of special tokens becomes those tokens; without it,
                                         only added tokens that are not special are recognised */
    TOKENIZER_CONTINUE = 1 << 2,      /* the text follows an added token: it is not the beginning,
                                         where some tokenizers put a space */
};

/* The section is untrusted: every offset and id in it is checked here, once. */
struct tokenizer *tokenizer_create(const void *section, uint64_t bytes, struct error *err);
void tokenizer_destroy(struct tokenizer **tokenizer);

uint32_t tokenizer_vocabulary(const struct tokenizer *tokenizer); /* highest id + 1 */
uint32_t tokenizer_bos(const struct tokenizer *tokenizer);        /* or TOKEN_NONE */
uint32_t tokenizer_eos(const struct tokenizer *tokenizer);        /* or TOKEN_NONE */
/* Whether generation ends after this token (the union of all eos ids of the checkpoint). */
bool tokenizer_is_stop(const struct tokenizer *tokenizer, uint32_t id);
bool tokenizer_is_special(const struct tokenizer *tokenizer, uint32_t id);

/* Grows as needed; free with token_list_free. Zero-initialise before first use. */
struct token_list {
    uint32_t *ids;
    size_t count, capacity;
};
void token_list_free(struct token_list *list);
bool token_list_append(struct token_list *list, uint32_t id, struct error *err);

/* Appends the ids of `text`. Invalid UTF-8 is replaced by U+FFFD per maximal subpart. Time is
 * O(n log n) for any text. False only if memory runs out or a regex limit is hit. */
bool tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t bytes,
                      uint32_t flags, struct token_list *list, struct error *err);

/* The token's string as the vocabulary spells it (byte-mapped, e.g. "Ġthe"), for people; NULL if
 * the id has none. Not NUL-terminated. */
const char *tokenizer_token_text(const struct tokenizer *tokenizer, uint32_t id, uint32_t *bytes);

/* The bytes this token adds to the text: possibly part of a character. Unknown ids and, unless
 * show_special, special tokens add nothing. *bytes is set; the result is owned by the tokenizer. */
const char *tokenizer_token_bytes(const struct tokenizer *tokenizer, uint32_t id, bool show_special,
                                  uint32_t *bytes);

/* The text of ids that do not continue another text: as tokenizer_token_bytes and a stream give it,
 * less the space that the tokenizer of some models puts at the start of every text; and where
 * tokens stand for single bytes, each byte of a run of them that is not UTF-8 is a U+FFFD. Special
 * tokens are shown. *text is allocated (free it), not terminated. */
bool tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count,
                      char **text, size_t *bytes, struct error *err);

/* Streaming: push tokens' bytes, take out only whole characters. At most 3 bytes are held back; an
 * invalid sequence comes out as U+FFFD per maximal subpart. Zero-initialise before first use. */
struct text_stream {
    uint8_t held[4];
    uint32_t n_held;
};
/* Writes at most 3 * (bytes + 3) bytes to out and returns how many. */
size_t text_stream_push(struct text_stream *stream, const char *bytes_in, size_t n, char *out);
/* What is held back at the end comes out as U+FFFD: at most 3 bytes. */
size_t text_stream_flush(struct text_stream *stream, char *out);
