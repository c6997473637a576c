#include "tools/reasoning.h"

#include <string.h>

struct marker {
    const char *opening, *closing;
};

/* As the chat templates of the families write them. */
static const struct marker markers[] = {
    {"<think>", "</think>"},                       /* Qwen3, DeepSeek, GLM, MiniMax, SmolLM3, ... */
    {"[THINK]", "[/THINK]"},                       /* Magistral */
    {"<|channel>thought", "<channel|>"},           /* Gemma 4 */
    {"<seed:think>", "</seed:think>"},             /* Seed-OSS */
    {"<think:opensource>", "</think:opensource>"}, /* Hunyuan 3 */
};
#define N_MARKERS (sizeof(markers) / sizeof(markers[0]))

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Hands text on; without the white space at its beginning if a marker stood before it. */
static void hand_on(struct reasoning *r, enum reasoning_part part, const char *text, size_t n)
{
    while (r->skip_space && n > 0 && is_space(*text)) {
        text++;
        n--;
    }
    if (n > 0) {
        r->skip_space = false;
        r->text(r->context, part, text, n);
    }
}

static void enter(struct reasoning *r, enum reasoning_state state)
{
    r->state = state;
    r->n_held = 0;
    r->skip_space = true;
}

void reasoning_begin(struct reasoning *r, const char *prompt, size_t n)
{
    enter(r, REASONING_START);
    r->skip_space = false;
    r->channels = false;
    r->closing = NULL;
    while (n > 0 && is_space(prompt[n - 1])) {
        n--;
    }
    for (size_t i = 0; i < N_MARKERS; i++) {
        size_t length = strlen(markers[i].opening);
        if (n >= length && memcmp(prompt + n - length, markers[i].opening, length) == 0) {
            enter(r, REASONING_THINKING);
            r->closing = markers[i].closing;
        }
    }
}

/* What the held beginning of the answer may become: the marker it is, or NULL; *possible if it
 * could still become one. */
static const struct marker *find_opening(const struct reasoning *r, bool *possible)
{
    size_t space = 0;
    while (space < r->n_held && is_space(r->held[space])) {
        space++;
    }
    size_t have = r->n_held - space;
    *possible = have == 0;
    for (size_t i = 0; i < N_MARKERS; i++) {
        size_t length = strlen(markers[i].opening);
        if (memcmp(r->held + space, markers[i].opening, have < length ? have : length) == 0) {
            *possible = true;
            if (have >= length) {
                return &markers[i];
            }
        }
    }
    return NULL;
}

/* Decides what the answer begins with. Returns how many characters it took. */
static size_t push_start(struct reasoning *r, const char *text, size_t n)
{
    for (size_t taken = 0; taken < n; taken++) {
        bool possible = false;
        r->held[r->n_held++] = text[taken];
        const struct marker *marker = find_opening(r, &possible);
        if (marker) {
            enter(r, REASONING_THINKING);
            r->closing = marker->closing;
            return taken + 1;
        }
        if (!possible || r->n_held == sizeof(r->held)) {
            size_t held = r->n_held;
            enter(r, REASONING_ANSWERING);
            r->skip_space = false;
            hand_on(r, REASONING_ANSWER, r->held, held);
            return taken + 1;
        }
    }
    return n;
}

/* Whether the n characters end with the first `length` of the marker. */
static bool ends_with(const char *text, size_t n, const char *marker, size_t length)
{
    return n >= length && memcmp(text + n - length, marker, length) == 0;
}

/* Takes characters of a thought up to its end. `held` is the beginning of the closing marker, as
 * far as it has come. Returns how many characters it took. */
static size_t push_thought(struct reasoning *r, const char *text, size_t n)
{
    if (!r->closing) {
        hand_on(r, REASONING_THOUGHT, text, n);
        return n;
    }
    size_t length = strlen(r->closing);
    for (size_t taken = 0; taken < n; taken++) {
        r->held[r->n_held++] = text[taken];
        if (ends_with(r->held, r->n_held, r->closing, length)) {
            hand_on(r, REASONING_THOUGHT, r->held, r->n_held - length);
            enter(r, REASONING_ANSWERING);
            return taken + 1;
        }
        if (r->n_held == sizeof(r->held) || taken + 1 == n) {
            size_t kept = r->n_held < length ? r->n_held : length - 1;
            while (kept > 0 && !ends_with(r->held, r->n_held, r->closing, kept)) {
                kept--;
            }
            size_t sure = r->n_held - kept;
            hand_on(r, REASONING_THOUGHT, r->held, sure);
            memmove(r->held, r->held + sure, kept);
            r->n_held = kept;
        }
    }
    return n;
}

void reasoning_push(struct reasoning *r, const char *text, size_t n)
{
    size_t taken = 0;
    for (; n > 0; text += taken, n -= taken) {
        taken = n;
        switch (r->state) {
        case REASONING_START:
            taken = push_start(r, text, n);
            break;
        case REASONING_THINKING:
            taken = push_thought(r, text, n);
            break;
        case REASONING_ANSWERING:
            hand_on(r, REASONING_ANSWER, text, n);
            break;
        case REASONING_HEADER:
            taken = 1;
            if (r->n_held < sizeof(r->held)) {
                r->held[r->n_held++] = *text;
            }
            break;
        case REASONING_BETWEEN:
            break;
        }
    }
}

static bool same(const char *name, size_t n, const char *other)
{
    return strlen(other) == n && memcmp(name, other, n) == 0;
}

/* Markers that a vocabulary has as special tokens are markers all the same. */
static bool is_marker(const char *name, size_t n)
{
    for (size_t i = 0; i < N_MARKERS; i++) {
        if (same(name, n, markers[i].closing) ||
            (n <= strlen(markers[i].opening) && memcmp(name, markers[i].opening, n) == 0)) {
            return true;
        }
    }
    return false;
}

void reasoning_push_special(struct reasoning *r, const char *name, size_t n)
{
    static const char thoughts[] = "analysis";
    if ((r->channels || r->state == REASONING_START) && same(name, n, "<|channel|>")) {
        r->channels = true;
        enter(r, REASONING_HEADER);
    } else if (r->state == REASONING_HEADER && same(name, n, "<|message|>")) {
        size_t length = sizeof(thoughts) - 1;
        bool thought = r->n_held >= length && memcmp(r->held, thoughts, length) == 0;
        enter(r, thought ? REASONING_THINKING : REASONING_ANSWERING);
    } else if (r->channels && (same(name, n, "<|end|>") || same(name, n, "<|start|>"))) {
        enter(r, REASONING_BETWEEN);
    } else if ((r->state == REASONING_START || r->state == REASONING_THINKING) && !r->channels &&
               is_marker(name, n)) {
        reasoning_push(r, name, n);
    }
}

void reasoning_end(struct reasoning *r)
{
    if (r->state == REASONING_START) {
        hand_on(r, REASONING_ANSWER, r->held, r->n_held);
    } else if (r->state == REASONING_THINKING) {
        hand_on(r, REASONING_THOUGHT, r->held, r->n_held);
    }
    r->n_held = 0;
}
