/* The character maps that SentencePiece compiles into its models (private to the tokenizer).
 *
 * A map is what `precompiled_charsmap` holds: u32 bytes of a trie; the trie, an array of u32 units
 * in the manner of Darts-clone's double array; then texts, each ended by a NUL. A unit has its
 * label in bits 0-7 and 31, bit 8 says that a leaf follows, and its offset is bits 10-31, shifted
 * by 8 if bit 9 is set; a leaf's bits 0-30 are the position of a text. Maps come from files:
 * nothing in them is trusted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/text/unicode.h"
#include "format/error.h"

/* Whether it has the parts that it must have, and its texts are UTF-8. */
bool tokenizer_charsmap_check(const char *map, size_t bytes);

/* What becomes of the text at a position. */
struct tokenizer_charsmap_found {
    const char *text; /* NULL: nothing is known about it */
    size_t bytes;
    size_t taken; /* how many bytes of the text it replaces */
};

/* Looks up what text[0..bytes), valid UTF-8, begins with: the longest key, or with `shortest` the
 * shortest one. Keys longer than 256 bytes are not found. The map has passed the check. */
struct tokenizer_charsmap_found tokenizer_charsmap_find(const char *map, size_t map_bytes,
                                                        const char *text, size_t bytes,
                                                        bool shortest);

/* The length of the first grapheme cluster (UAX #29) of valid UTF-8, bytes >= 1. */
size_t tokenizer_charsmap_cluster(const char *text, size_t bytes);
