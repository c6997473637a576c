#include "tools/token_json.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

struct candidate {
    uint32_t id;
    float logit;
};

struct waiting {
    json_t *object;    /* all but the text */
    size_t begin, end; /* of its text in the answer */
};

struct token_json {
    const struct moxie_model *model;
    FILE *out;
    uint32_t n_valid;       /* ids below have text; rows of logits beyond are padding */
    uint32_t alternatives;  /* at most n_valid */
    struct candidate *best; /* (alternatives) */
    struct waiting *queue;
    size_t n, capacity;
    size_t end; /* of the text of all tokens */
};

struct token_json *token_json_create(const struct moxie_model *model, uint32_t alternatives,
                                     FILE *out)
{
    struct moxie_model_info info;
    uint32_t bytes;
    moxie_model_info(model, &info);
    uint32_t n = info.vocabulary;
    while (n > 0 && !moxie_token_text(model, n - 1, &bytes)) {
        n--;
    }
    struct token_json *lines = calloc(1, sizeof(*lines));
    if (lines) {
        *lines = (struct token_json){.model = model,
                                     .out = out,
                                     .n_valid = n,
                                     .alternatives = alternatives < n ? alternatives : n};
        lines->best = calloc((size_t)lines->alternatives + 1, sizeof(*lines->best));
        if (!lines->best) {
            token_json_destroy(&lines);
        }
    }
    return lines;
}

void token_json_destroy(struct token_json **lines)
{
    if (*lines) {
        for (size_t i = 0; i < (*lines)->n; i++) {
            json_decref((*lines)->queue[i].object);
        }
        free((*lines)->queue);
        free((*lines)->best);
        free(*lines);
        *lines = NULL;
    }
}

/* The likeliest tokens, ties by id. NaN is no candidate. */
static uint32_t find_best(struct token_json *lines, const float *logits)
{
    uint32_t n = 0;
    for (uint32_t id = 0; id < lines->n_valid && lines->alternatives > 0; id++) {
        bool full = n == lines->alternatives;
        if (isnan(logits[id]) || (full && logits[id] <= lines->best[n - 1].logit)) {
            continue;
        }
        uint32_t at = full ? n - 1 : n++;
        for (; at > 0 && logits[id] > lines->best[at - 1].logit; at--) {
            lines->best[at] = lines->best[at - 1];
        }
        lines->best[at] = (struct candidate){id, logits[id]};
    }
    return n;
}

struct softmax {
    double largest, sum;
};

static struct softmax softmax_of(const float *logits, uint32_t n)
{
    struct softmax softmax = {-INFINITY, 0};
    for (uint32_t id = 0; id < n; id++) {
        softmax.largest = logits[id] > softmax.largest ? (double)logits[id] : softmax.largest;
    }
    for (uint32_t id = 0; id < n; id++) {
        softmax.sum += isnan(logits[id]) ? 0 : exp((double)logits[id] - softmax.largest);
    }
    return softmax;
}

/* JSON has no word for what is no number: 0. */
static double probability(const struct softmax *softmax, float logit)
{
    double p = exp((double)logit - softmax->largest) / softmax->sum;
    return isfinite(p) ? p : 0;
}

/* The text of a token alone; half characters come as U+FFFD. NULL if memory runs out. */
static json_t *text_of(const struct moxie_model *model, uint32_t id)
{
    uint32_t bytes;
    struct moxie_text_stream stream = {0};
    const char *text = moxie_token_bytes(model, id, true, &bytes);
    char *valid = malloc(3 * ((size_t)bytes + 3) + 3);
    if (!valid) {
        return NULL;
    }
    size_t n = moxie_text_push(&stream, text, bytes, valid);
    n += moxie_text_flush(&stream, valid + n);
    json_t *string = json_stringn(valid, n);
    free(valid);
    return string;
}

static json_t *make_object(struct token_json *lines, const float *logits, uint32_t id)
{
    struct softmax softmax = softmax_of(logits, lines->n_valid);
    json_t *top = json_array();
    uint32_t n = find_best(lines, logits);
    for (uint32_t i = 0; i < n; i++) {
        const struct candidate *candidate = &lines->best[i];
        json_array_append_new(top,
                              json_pack("{s:I, s:o, s:f}", "id", (json_int_t)candidate->id, "text",
                                        text_of(lines->model, candidate->id), "probability",
                                        probability(&softmax, candidate->logit)));
    }
    return json_pack("{s:I, s:s, s:f, s:o}", "id", (json_int_t)id, "text", "", "probability",
                     probability(&softmax, logits[id]), "top", top);
}

bool token_json_add(struct token_json *lines, const struct moxie_session *session, uint32_t id,
                    size_t bytes)
{
    if (lines->n == lines->capacity) {
        size_t capacity = 2 * lines->capacity + 8;
        struct waiting *grown = realloc(lines->queue, capacity * sizeof(*grown));
        if (!grown) {
            return false;
        }
        lines->queue = grown;
        lines->capacity = capacity;
    }
    json_t *object = make_object(lines, moxie_logits(session), id);
    if (object) {
        lines->queue[lines->n++] = (struct waiting){object, lines->end, lines->end + bytes};
        lines->end += bytes;
    }
    return object != NULL;
}

void token_json_extend(struct token_json *lines, size_t bytes)
{
    assert(lines->n > 0 || bytes == 0);
    if (bytes > 0) {
        lines->queue[lines->n - 1].end += bytes;
        lines->end += bytes;
    }
}

static void print(struct token_json *lines, const struct waiting *token, const char *text, size_t n)
{
    size_t end = token->end < n ? token->end : n;
    json_object_set_new(token->object, "text",
                        json_stringn(text + token->begin, end - token->begin));
    json_dumpf(token->object, lines->out, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fputc('\n', lines->out);
}

void token_json_print(struct token_json *lines, const char *text, size_t n, bool open, bool end)
{
    size_t done = 0;
    while (done < lines->n && lines->queue[done].end <= n && !(open && done + 1 == lines->n)) {
        done++;
    }
    if (end && done < lines->n && lines->queue[done].begin < n) {
        done++;
    }
    for (size_t i = 0; i < done; i++) {
        print(lines, &lines->queue[i], text, n);
        json_decref(lines->queue[i].object);
    }
    lines->n -= done;
    memmove(lines->queue, lines->queue + done, lines->n * sizeof(*lines->queue));
    fflush(lines->out);
}
