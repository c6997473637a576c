/* From Oniguruma's pattern syntax to PCRE2's (private to tokenizer_regex.c). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/text/unicode.h"
#include "format/error.h"

/* Appends the PCRE2 pattern to `out`. False, with the construct named, for anything that the two
 * engines read differently and that is not rewritten here. pattern is valid UTF-8. */
bool tokenizer_regex_translate(const char *pattern, size_t bytes, struct unicode_buffer *out,
                               struct error *err);
