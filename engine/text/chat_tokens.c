#include "engine/text/chat_tokens.h"

#include <stdlib.h>
#include <string.h>

/* The noncharacters U+FDD0..U+FDEF never stand for text; one of them is the marker. In UTF-8: EF
 * B7 90..AF. */
#define N_MARKERS 32
#define MARKER_BYTES 3
#define MARKER_PREFIX "\xEF\xB7"
#define MARKER_FIRST 0x90

struct special {
    const char *text;
    uint32_t bytes;
};

struct chat_guard {
    const struct tokenizer *tokenizer;
    struct special *specials;
    uint32_t n_specials;
    bool begins[256]; /* whether some special token's text begins with this byte */
    uint32_t taken;   /* bit i: some message contains marker i */
};

struct chat_guard *chat_guard_create(const struct tokenizer *tokenizer, struct error *err)
{
    uint32_t n = 0, bytes, vocabulary = tokenizer_vocabulary(tokenizer);
    for (uint32_t id = 0; id < vocabulary; id++) {
        n += tokenizer_is_special(tokenizer, id);
    }
    struct chat_guard *guard = calloc(1, sizeof(*guard));
    if (guard) {
        guard->tokenizer = tokenizer;
        guard->specials = calloc(n + 1, sizeof(*guard->specials));
    }
    if (!guard || !guard->specials) {
        free(guard);
        error_set(err, "not enough memory for a chat");
        return NULL;
    }
    for (uint32_t id = 0; id < vocabulary; id++) {
        const char *text = tokenizer_is_special(tokenizer, id)
                               ? tokenizer_token_bytes(tokenizer, id, true, &bytes)
                               : NULL;
        if (text && bytes > 0) {
            guard->specials[guard->n_specials++] = (struct special){text, bytes};
            guard->begins[(uint8_t)text[0]] = true;
        }
    }
    return guard;
}

void chat_guard_destroy(struct chat_guard **guard)
{
    if (*guard) {
        free((*guard)->specials);
        free(*guard);
        *guard = NULL;
    }
}

bool chat_guard_look(struct chat_guard *guard, const char *content, struct error *err)
{
    for (const char *p = content; (p = strstr(p, MARKER_PREFIX)); p += 2) {
        uint8_t last = (uint8_t)p[2];
        if (last >= MARKER_FIRST && last < MARKER_FIRST + N_MARKERS) {
            guard->taken |= 1u << (last - MARKER_FIRST);
        }
    }
    return guard->taken != UINT32_MAX ||
           error_set(err, "the messages contain every noncharacter from U+FDD0 to U+FDEF");
}

static void marker_of(const struct chat_guard *guard, char marker[MARKER_BYTES + 1])
{
    uint32_t index = 0;
    while (guard->taken >> index & 1) {
        index++;
    }
    memcpy(marker, MARKER_PREFIX, 2);
    marker[2] = (char)(MARKER_FIRST + index);
    marker[3] = 0;
}

/* Bytes of the longest special token whose text stands at p, 0 if none. */
static uint32_t special_at(const struct chat_guard *guard, const char *p, size_t left)
{
    uint32_t longest = 0;
    if (!guard->begins[(uint8_t)*p]) {
        return 0;
    }
    for (uint32_t i = 0; i < guard->n_specials; i++) {
        const struct special *special = &guard->specials[i];
        if (special->bytes > longest && special->bytes <= left &&
            memcmp(special->text, p, special->bytes) == 0) {
            longest = special->bytes;
        }
    }
    return longest;
}

char *chat_guard_protect(const struct chat_guard *guard, const char *content, struct error *err)
{
    size_t n = strlen(content), used = 0;
    char marker[MARKER_BYTES + 1];
    marker_of(guard, marker);
    char *copy = n < SIZE_MAX / 8 ? malloc(n * (MARKER_BYTES + 1) + 1) : NULL;
    if (!copy) {
        error_set(err, "not enough memory for a chat");
        return NULL;
    }
    for (size_t i = 0; i < n;) {
        bool special = special_at(guard, content + i, n - i) > 0;
        do { /* one character: its lead byte and what continues it */
            copy[used++] = content[i++];
        } while (i < n && ((uint8_t)content[i] & 0xC0) == 0x80);
        if (special) {
            memcpy(copy + used, marker, MARKER_BYTES);
            used += MARKER_BYTES;
        }
    }
    copy[used] = 0;
    return copy;
}

/* A piece that came out of a message with markers in it: the markers go, the rest is plain text. */
static bool encode_plain(const struct chat_guard *guard, const char *marker, const char *text,
                         size_t bytes, struct token_list *list, struct error *err)
{
    char *plain = malloc(bytes + 1);
    size_t used = 0;
    if (!plain) {
        return error_set(err, "not enough memory for a chat");
    }
    for (size_t i = 0; i < bytes;) {
        if (bytes - i >= MARKER_BYTES && memcmp(text + i, marker, MARKER_BYTES) == 0) {
            i += MARKER_BYTES;
        } else {
            plain[used++] = text[i++];
        }
    }
    bool ok = tokenizer_encode(guard->tokenizer, plain, used, 0, list, err);
    free(plain);
    return ok;
}

bool chat_guard_encode(const struct chat_guard *guard, const char *text, size_t bytes,
                       struct token_list *list, struct error *err)
{
    char marker[MARKER_BYTES + 1];
    marker_of(guard, marker);
    const uint32_t parse = TOKENIZER_PARSE_SPECIAL;
    size_t done = 0; /* everything before is encoded */
    for (const char *found;
         (found = memmem(text + done, bytes - done, marker, MARKER_BYTES)) != NULL;) {
        /* The piece around the marker: from the end of the special token before it to the next one.
         */
        size_t at = (size_t)(found - text), begin = done, end = at;
        for (size_t i = done; i < at;) {
            uint32_t special = special_at(guard, text + i, bytes - i);
            i += special ? special : 1;
            begin = special ? i : begin;
        }
        while (end < bytes && !special_at(guard, text + end, bytes - end)) {
            end++;
        }
        if (!tokenizer_encode(guard->tokenizer, text + done, begin - done, parse, list, err) ||
            !encode_plain(guard, marker, text + begin, end - begin, list, err)) {
            return false;
        }
        done = end;
    }
    return tokenizer_encode(guard->tokenizer, text + done, bytes - done, parse, list, err);
}
