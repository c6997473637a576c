/* Words of the tokenizer's keys that reading and writing share (private to tokenizer_gguf*.c). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* tokenizer.ggml.token_type */
enum tokenizer_gguf_type {
    TOKENIZER_GGUF_NORMAL = 1,
    TOKENIZER_GGUF_UNKNOWN = 2,
    TOKENIZER_GGUF_CONTROL = 3,
    TOKENIZER_GGUF_USER_DEFINED = 4,
    TOKENIZER_GGUF_UNUSED = 5,
    TOKENIZER_GGUF_BYTE = 6,
};

/* Whether a text is one that ends generation in every model that has it as a token. */
bool tokenizer_gguf_is_stop_text(const char *text, size_t bytes);
