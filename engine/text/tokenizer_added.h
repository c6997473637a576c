/* Finding added tokens in a text (private to the tokenizer).
 *
 * As Hugging Face's AddedVocabulary: leftmost, longest of all contents; a match that its flags
 * forbid is passed over as a whole; lstrip and rstrip swallow the white space around it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/text/tokenizer_tables.h"

struct tokenizer_added {
    const char *pool;
    struct tokenizer_matches matches;
    uint32_t starts[257]; /* matches whose first byte is b: [starts[b], starts[b + 1]) */
};
void tokenizer_added_init(struct tokenizer_added *added, const struct tokenizer_tables *tables,
                          struct tokenizer_matches matches);

/* A walk over one text of valid UTF-8: set the first four, zero the rest. */
struct tokenizer_added_walk {
    const struct tokenizer_added *added;
    const char *text;
    size_t bytes;
    bool parse_special; /* else special tokens are passed over */
    size_t searched;    /* the next match begins here or later */
    size_t taken;       /* text before belongs to a match or was given out as a gap */
    size_t spaces_end;  /* end of the white space that an earlier match swallowed */
};

struct tokenizer_added_found {
    size_t gap_begin, gap_end; /* the ordinary text before the match; may be empty */
    bool found;                /* false: the gap is the rest of the text */
    uint32_t id;
};
void tokenizer_added_next(struct tokenizer_added_walk *walk, struct tokenizer_added_found *result);
