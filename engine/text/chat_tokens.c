#include "engine/text/chat_tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/chat_template_internal.h"

/* The noncharacters U+FDD0..U+FDEF never stand for text; one of them is the marker. In UTF-8: EF
 * B7 90..AF. */
#define N_MARKERS 32
#define MARKER_BYTES 3
#define MARKER_PREFIX "\xEF\xB7"
#define MARKER_FIRST 0x90
/* What a template's tojson(ensure_ascii=true), or the text form of a list or dict, makes of it. */
#define ESCAPE_FORMAT "\\u%x"
#define ESCAPE_FIRST 0xFDD0u
#define ESCAPE_BYTES 6

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
                               ? tokenizer_token_text(tokenizer, id, &bytes)
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

static void look_at_text(struct chat_guard *guard, const char *text, size_t bytes)
{
    const char *end = text + bytes;
    for (uint32_t i = 0; i < N_MARKERS; i++) {
        char escape[ESCAPE_BYTES + 1];
        snprintf(escape, sizeof(escape), ESCAPE_FORMAT, ESCAPE_FIRST + i);
        if (memmem(text, bytes, escape, ESCAPE_BYTES)) {
            guard->taken |= 1u << i;
        }
    }
    for (const char *p = text; (p = memmem(p, (size_t)(end - p), MARKER_PREFIX, 2)); p += 2) {
        uint8_t last = p + 2 < end ? (uint8_t)p[2] : 0;
        if (last >= MARKER_FIRST && last < MARKER_FIRST + N_MARKERS) {
            guard->taken |= 1u << (last - MARKER_FIRST);
        }
    }
}

/* Takes note of the markers that texts already contain. */
static void look_at(struct chat_guard *guard, const json_t *value)
{
    const char *key;
    json_t *item;
    if (json_is_string(value)) {
        look_at_text(guard, json_string_value(value), json_string_length(value));
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        look_at(guard, json_array_get(value, i));
    }
    json_object_foreach((json_t *)value, key, item)
    {
        look_at_text(guard, key, strlen(key));
        look_at(guard, item);
    }
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

/* Whether the text ends with the beginning of a special token. */
static bool ends_with_half(const struct chat_guard *guard, const char *text, size_t bytes)
{
    for (uint32_t i = 0; i < guard->n_specials; i++) {
        const struct special *special = &guard->specials[i];
        size_t n = special->bytes - 1 < bytes ? special->bytes - 1 : bytes;
        for (; n > 0; n--) {
            if (text[bytes - n] == special->text[0] &&
                memcmp(text + bytes - n, special->text, n) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* The text with markers, NUL-terminated; free it. */
static char *protect_text(const struct chat_guard *guard, const char *text, size_t n, size_t *used)
{
    char marker[MARKER_BYTES + 1];
    marker_of(guard, marker);
    char *copy = n < SIZE_MAX / 8 ? malloc((n + 1) * (MARKER_BYTES + 1)) : NULL;
    if (!copy) {
        return NULL;
    }
    size_t words = template_space_before(text, n); /* a template may trim the rest */
    size_t half = words > 0 && ends_with_half(guard, text, words) ? words : 0;
    *used = 0;
    for (size_t i = 0; i < n;) {
        bool mark = special_at(guard, text + i, n - i) > 0;
        do { /* one character: its lead byte and what continues it */
            copy[(*used)++] = text[i++];
        } while (i < n && ((uint8_t)text[i] & 0xC0) == 0x80);
        if (mark || i == half) {
            memcpy(copy + *used, marker, MARKER_BYTES);
            *used += MARKER_BYTES;
        }
    }
    copy[*used] = 0;
    return copy;
}

static json_t *protect(const struct chat_guard *guard, const json_t *value);

static json_t *protect_string(const struct chat_guard *guard, const json_t *value)
{
    size_t bytes;
    char *text = protect_text(guard, json_string_value(value), json_string_length(value), &bytes);
    json_t *copy = text ? json_stringn(text, bytes) : NULL;
    free(text);
    return copy;
}

static json_t *protect_list(const struct chat_guard *guard, const json_t *value)
{
    json_t *copy = json_array();
    for (size_t i = 0; copy && i < json_array_size(value); i++) {
        if (json_array_append_new(copy, protect(guard, json_array_get(value, i))) != 0) {
            json_decref(copy);
            return NULL;
        }
    }
    return copy;
}

static json_t *protect_object(const struct chat_guard *guard, const json_t *value)
{
    json_t *copy = json_object(), *item;
    const char *key;
    size_t bytes;
    json_object_foreach((json_t *)value, key, item)
    {
        char *own = copy ? protect_text(guard, key, strlen(key), &bytes) : NULL;
        bool ok = own && json_object_set_new(copy, own, protect(guard, item)) == 0;
        free(own);
        if (!ok) {
            json_decref(copy);
            return NULL;
        }
    }
    return copy;
}

static json_t *protect(const struct chat_guard *guard, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        return protect_string(guard, value);
    case JSON_ARRAY:
        return protect_list(guard, value);
    case JSON_OBJECT:
        return protect_object(guard, value);
    default:
        return json_incref((json_t *)value);
    }
}

json_t *chat_guard_protect(struct chat_guard *guard, const json_t *value, struct error *err)
{
    look_at(guard, value);
    if (guard->taken == UINT32_MAX) {
        error_set(err, "the messages contain every noncharacter from U+FDD0 to U+FDEF");
        return NULL;
    }
    json_t *copy = protect(guard, value);
    if (!copy) {
        error_set(err, "not enough memory for a chat");
    }
    return copy;
}

/* A piece that came out of a message with markers in it: the markers go, the rest is plain text. */
static bool encode_plain(const struct chat_guard *guard, const char *marker, const char *text,
                         size_t bytes, uint32_t flags, struct token_list *list, struct error *err)
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
    bool ok = tokenizer_encode(guard->tokenizer, plain, used, flags, list, err);
    free(plain);
    return ok;
}

/* Makes markers of escaped ones, in place. Returns the new length. */
static size_t unescape(const char *marker, char *text, size_t bytes)
{
    char escape[ESCAPE_BYTES + 1];
    size_t used = 0;
    snprintf(escape, sizeof(escape), ESCAPE_FORMAT,
             ESCAPE_FIRST + (uint8_t)marker[2] - MARKER_FIRST);
    for (size_t i = 0; i < bytes;) {
        if (bytes - i >= ESCAPE_BYTES && memcmp(text + i, escape, ESCAPE_BYTES) == 0) {
            memcpy(text + used, marker, MARKER_BYTES);
            used += MARKER_BYTES;
            i += ESCAPE_BYTES;
        } else {
            text[used++] = text[i++];
        }
    }
    return used;
}

bool chat_guard_encode(const struct chat_guard *guard, char *text, size_t bytes,
                       struct token_list *list, struct error *err)
{
    char marker[MARKER_BYTES + 1];
    marker_of(guard, marker);
    bytes = unescape(marker, text, bytes);
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
        uint32_t go_on = begin > 0 ? TOKENIZER_CONTINUE : 0u;
        if (!tokenizer_encode(guard->tokenizer, text + done, begin - done,
                              done > 0 ? parse | TOKENIZER_CONTINUE : parse, list, err) ||
            !encode_plain(guard, marker, text + begin, end - begin, go_on, list, err)) {
            return false;
        }
        done = end;
    }
    return tokenizer_encode(guard->tokenizer, text + done, bytes - done,
                            done > 0 ? parse | TOKENIZER_CONTINUE : parse, list, err);
}
