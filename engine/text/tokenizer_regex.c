#include "engine/text/tokenizer_regex.h"

#include <assert.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "engine/text/tokenizer_regex_syntax.h"
#include "format/tokenizer_section.h"

/* A piece is rarely longer than a word: the first look is short, and grows when a match wants to
 * see more. Steps of backtracking are bounded per look in the same way. */
#define FIRST_WINDOW 64u
#define WINDOW_GROWTH 4u
#define STEPS_PER_BYTE 32u
#define STEPS_FIRST 4096u
#define STEPS_GROWTH 8u
#define STEP_COST 64u /* steps that did not suffice: PCRE2 counts one for a whole inner loop */
/* What all searches in a text may look at, in bytes and steps: real patterns use below 200 a byte.
 */
#define BUDGET_FIXED ((uint64_t)1 << 24)
#define BUDGET_PER_BYTE 4096u

#define JIT_STACK_FIRST (32u << 10)
#define JIT_STACK_MAX (1u << 20)
#define HEAP_LIMIT_KIB (64u << 10)

struct tokenizer_regex {
    pcre2_code *code;
};

struct tokenizer_regex_search {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack; /* NULL where there is no just-in-time compiler */
    uint64_t budget;
};

struct tokenizer_regex *tokenizer_regex_create(const char *pattern, size_t bytes, struct error *err)
{
    if (bytes == 0 || bytes > TOKENIZER_SECTION_MAX_PATTERN_BYTES) {
        error_set(err, "a pre-tokenizer pattern of %zu bytes is not supported; 1 to %u are", bytes,
                  TOKENIZER_SECTION_MAX_PATTERN_BYTES);
        return NULL;
    }
    struct unicode_buffer translated = {0};
    struct tokenizer_regex *regex = calloc(1, sizeof(*regex));
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!regex || !context) {
        error_set(err, "out of memory for a pre-tokenizer pattern");
    } else if (tokenizer_regex_translate(pattern, bytes, &translated, err)) {
        int code = 0;
        PCRE2_SIZE offset = 0;
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        regex->code = pcre2_compile((PCRE2_SPTR)translated.data, translated.bytes,
                                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE |
                                        PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE,
                                    &code, &offset, context);
        if (!regex->code) {
            PCRE2_UCHAR text[160];
            pcre2_get_error_message(code, text, sizeof(text));
            error_set(err, "the pre-tokenizer pattern cannot be compiled: %s", (const char *)text);
        } else {
            /* Without a just-in-time compiler the interpreter does the same, slower. */
            pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
        }
    }
    pcre2_compile_context_free(context);
    unicode_buffer_free(&translated);
    if (regex && !regex->code) {
        tokenizer_regex_destroy(&regex);
    }
    return regex;
}

void tokenizer_regex_destroy(struct tokenizer_regex **regex)
{
    if (*regex) {
        pcre2_code_free((*regex)->code);
        free(*regex);
        *regex = NULL;
    }
}

struct tokenizer_regex_search *tokenizer_regex_search_create(size_t bytes, struct error *err)
{
    struct tokenizer_regex_search *search = calloc(1, sizeof(*search));
    if (search) {
        search->data = pcre2_match_data_create(1, NULL);
        search->context = pcre2_match_context_create(NULL);
        search->budget = BUDGET_FIXED + (uint64_t)BUDGET_PER_BYTE * bytes;
    }
    if (!search || !search->data || !search->context) {
        tokenizer_regex_search_destroy(&search);
        error_set(err, "out of memory for a pattern search");
        return NULL;
    }
    search->stack = pcre2_jit_stack_create(JIT_STACK_FIRST, JIT_STACK_MAX, NULL);
    if (search->stack) {
        pcre2_jit_stack_assign(search->context, NULL, search->stack);
    }
    pcre2_set_heap_limit(search->context, HEAP_LIMIT_KIB);
    return search;
}

void tokenizer_regex_search_destroy(struct tokenizer_regex_search **search)
{
    if (*search) {
        pcre2_match_data_free((*search)->data);
        pcre2_match_context_free((*search)->context);
        pcre2_jit_stack_free((*search)->stack);
        free(*search);
        *search = NULL;
    }
}

static bool pay(struct tokenizer_regex_search *search, uint64_t cost, struct error *err)
{
    if (cost > search->budget) {
        search->budget = 0;
        return error_set(err, "the pre-tokenizer pattern of this model needs too much work on this "
                              "text; shorten the text");
    }
    search->budget -= cost;
    return true;
}

static size_t window_end(const char *text, size_t bytes, size_t from, size_t window)
{
    if (window >= bytes - from) {
        return bytes;
    }
    size_t end = from + window;
    while (end < bytes && ((unsigned char)text[end] & 0xC0) == 0x80) {
        end++;
    }
    return end;
}

/* A window that ends before the text does is searched with PCRE2_PARTIAL_HARD: as soon as anything
 * wants to look past its end, the answer is "partial" and a larger window is needed. Any other
 * answer is what the whole text would have given. */
bool tokenizer_regex_find(const struct tokenizer_regex *regex,
                          struct tokenizer_regex_search *search, const char *text, size_t bytes,
                          size_t from, struct tokenizer_regex_match *match, struct error *err)
{
    size_t window = FIRST_WINDOW;
    uint64_t more_steps = STEPS_FIRST;
    uint32_t options = PCRE2_NO_UTF_CHECK;
    assert(from <= bytes);
    for (;;) {
        size_t end = window_end(text, bytes, from, window);
        uint64_t steps = more_steps + (uint64_t)STEPS_PER_BYTE * (end - from);
        if (!pay(search, FIRST_WINDOW + (end - from), err)) {
            return false;
        }
        pcre2_set_match_limit(search->context, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
        int got = pcre2_match(regex->code, (PCRE2_SPTR)text, end, from,
                              options | (end < bytes ? PCRE2_PARTIAL_HARD : 0), search->data,
                              search->context);
        if (got >= 0) {
            const PCRE2_SIZE *found = pcre2_get_ovector_pointer(search->data);
            *match = (struct tokenizer_regex_match){found[0], found[1], true};
            return true;
        }
        switch (got) {
        case PCRE2_ERROR_NOMATCH:
            if (end == bytes) {
                *match = (struct tokenizer_regex_match){0};
                return true;
            }
            window *= WINDOW_GROWTH;
            break;
        case PCRE2_ERROR_PARTIAL:
            window *= WINDOW_GROWTH;
            break;
        case PCRE2_ERROR_MATCHLIMIT:
            if (!pay(search, STEP_COST * steps, err)) {
                return false;
            }
            more_steps *= STEPS_GROWTH;
            break;
        case PCRE2_ERROR_JIT_STACKLIMIT:
            options |= PCRE2_NO_JIT;
            break;
        default:
            return error_set(err, "the pre-tokenizer pattern failed on this text (PCRE2 error %d)",
                             got);
        }
    }
}
