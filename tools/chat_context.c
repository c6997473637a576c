/* From a conversation to the tokens a session holds (chat.h). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/chat.h"

/* A part of the context that is kept free for the answer when turns are dropped: 1 / this. */
#define ANSWER_SHARE 8

/* What templates call their switch: Qwen3, GLM, SmolLM3, Nemotron and Gemma the first, DeepSeek and
 * Granite the second. A template does not see what it does not ask for. */
#define NO_THINKING "{\"enable_thinking\": false, \"thinking\": false}"
#define THINKING "{\"enable_thinking\": true, \"thinking\": true}"
/* gpt-oss takes any word for its effort and knows low, medium and high; Hy3 refuses what is not
 * no_think, low or high. */
#define EFFORT(word) "{\"reasoning_effort\": \"" word "\"}"

static bool render_tokens(struct chat *chat, const struct chat_history *history, bool open,
                          const char *variables, uint32_t **ids, size_t *n, struct moxie_error *err)
{
    json_t *list = chat_history_json(history);
    char *text = list ? json_dumps(list, JSON_COMPACT) : NULL;
    json_decref(list);
    if (!text) {
        snprintf(err->text, sizeof(err->text), "not enough memory for the conversation");
        return false;
    }
    const struct moxie_chat input = {
        .messages = text, .variables = variables, .add_generation_prompt = open};
    bool ok = moxie_chat_render_tokens(chat->generation.model, &input, ids, n, err);
    free(text);
    return ok;
}

bool chat_tokens(struct chat *chat, const struct chat_history *history, bool open, uint32_t **ids,
                 size_t *n, struct moxie_error *err)
{
    const char *variables = chat->no_thinking ? chat->no_thinking : NO_THINKING;
    return render_tokens(chat, history, open, chat->think == THINK_OFF ? variables : NULL, ids, n,
                         err);
}

/* Special tokens have bytes only when they are asked for. */
static bool is_special(const struct moxie_model *model, uint32_t id)
{
    uint32_t plain, shown;
    moxie_token_bytes(model, id, false, &plain);
    moxie_token_bytes(model, id, true, &shown);
    return plain == 0 && shown > 0;
}

static bool is_white(const struct moxie_model *model, uint32_t id)
{
    uint32_t bytes;
    const char *text = moxie_token_bytes(model, id, false, &bytes);
    for (uint32_t i = 0; i < bytes; i++) {
        if (!strchr(" \n\r\t", text[i])) {
            return false;
        }
    }
    return bytes > 0;
}

static void learn_end_of_turn(struct chat *chat, const struct chat_history *turn)
{
    const struct moxie_model *model = chat->generation.model;
    struct moxie_error err;
    uint32_t *ids;
    size_t n;
    if (!chat_tokens(chat, turn, false, &ids, &n, &err)) {
        return; /* the first question will tell */
    }
    for (size_t i = n; i-- > 0 && (is_special(model, ids[i]) || is_white(model, ids[i]));) {
        if (is_special(model, ids[i])) {
            chat->generation.end_of_turn = ids[i];
        }
    }
    moxie_free(ids);
}

void chat_learn_system(struct chat *chat)
{
    static const char *const questions[] = {"a", "1"};
    struct chat_history history = {0};
    uint32_t *ids[2] = {NULL, NULL};
    struct moxie_error err;
    size_t n[2], common = 0;
    const char *system = chat_history_system(&chat->history);
    bool ok = !system || chat_history_add(&history, CHAT_SYSTEM, system, NULL);
    for (int i = 0; ok && i < 2; i++) {
        ok = chat_history_add(&history, CHAT_USER, questions[i], NULL) &&
             chat_tokens(chat, &history, false, &ids[i], &n[i], &err);
        chat_history_undo(&history);
    }
    while (ok && common < n[0] && common < n[1] && ids[0][common] == ids[1][common]) {
        common++;
    }
    if (common > chat->generation.slide_keep) {
        chat->generation.slide_keep = (uint32_t)common;
    }
    moxie_free(ids[0]);
    moxie_free(ids[1]);
    chat_history_free(&history);
}

/* Whether a question becomes something else with one set of variables than with the other; off may
 * be the default. */
static bool has_switch(struct chat *chat, const struct chat_history *question, const char *on,
                       const char *off)
{
    uint32_t *ids_on = NULL, *ids_off = NULL;
    size_t n_on, n_off;
    struct moxie_error err;
    bool differ = render_tokens(chat, question, true, on, &ids_on, &n_on, &err) &&
                  render_tokens(chat, question, true, off, &ids_off, &n_off, &err) &&
                  (n_on != n_off || memcmp(ids_on, ids_off, n_on * sizeof(*ids_on)) != 0);
    moxie_free(ids_on);
    moxie_free(ids_off);
    return differ;
}

static bool renders(struct chat *chat, const struct chat_history *question, const char *variables)
{
    uint32_t *ids = NULL;
    size_t n;
    struct moxie_error err;
    bool ok = render_tokens(chat, question, true, variables, &ids, &n, &err);
    moxie_free(ids);
    return ok;
}

/* Finds what turns reasoning off, or down, and tells if that is less than was asked for. */
static void learn_switch(struct chat *chat, const struct chat_history *question)
{
    const char *high = EFFORT("high");
    bool any_word = renders(chat, question, EFFORT("-"));
    const char *least = any_word ? EFFORT("low") : EFFORT("no_think");
    if (has_switch(chat, question, THINKING, NO_THINKING) || !renders(chat, question, NULL)) {
        chat->no_thinking = NO_THINKING;
    } else if (has_switch(chat, question, high, least)) {
        chat->no_thinking = least;
        if (any_word) {
            fprintf(stderr, "(the chat template can ask for less reasoning, not for none: what "
                            "comes is hidden)\n");
        }
    } else {
        fprintf(stderr, "(the chat template has no switch for reasoning: if the model reasons, "
                        "that is only hidden)\n");
    }
}

void chat_learn_template(struct chat *chat)
{
    struct chat_history turn = {0};
    const char *family = moxie_chat_family(chat->generation.model);
    if (family) {
        fprintf(stderr, "(the model has no chat template; the one of its family, %s, is used)\n",
                family);
    }
    if (chat_history_add(&turn, CHAT_USER, "a", NULL)) {
        if (chat->think == THINK_OFF) {
            learn_switch(chat, &turn);
        }
        if (chat_history_add(&turn, CHAT_ASSISTANT, "a", NULL)) {
            learn_end_of_turn(chat, &turn);
        }
    }
    chat_history_free(&turn);
    chat_learn_system(chat);
}

/* The conversation's tokens with the answer's after them. */
static bool prompt_tokens(struct chat *chat, const struct chat_history *history,
                          const uint32_t *answer, size_t n_answer, uint32_t **ids, size_t *n,
                          struct moxie_error *err)
{
    uint32_t *prompt;
    if (!chat_tokens(chat, history, true, &prompt, n, err)) {
        return false;
    }
    *ids = malloc((*n + n_answer + 1) * sizeof(**ids));
    if (*ids) {
        memcpy(*ids, prompt, *n * sizeof(**ids));
        if (n_answer > 0) {
            memcpy(*ids + *n, answer, n_answer * sizeof(**ids));
        }
        *n += n_answer;
    } else {
        snprintf(err->text, sizeof(err->text), "not enough memory for the conversation");
    }
    moxie_free(prompt);
    return *ids != NULL;
}

/* Whether it helps to drop turns: what stays in the end, the system message, the last question with
 * what tools said to it and the answer so far, must fit. */
static bool would_fit(struct chat *chat, size_t n_answer, bool *fits, struct moxie_error *err)
{
    const struct chat_history *history = &chat->history;
    size_t question = chat_history_last_question(history);
    struct chat_history rest = {.messages = calloc(history->n + 1, sizeof(*rest.messages))};
    uint32_t *ids;
    size_t n;
    if (!rest.messages) {
        snprintf(err->text, sizeof(err->text), "not enough memory for the conversation");
        return false;
    }
    if (chat_history_system(history)) {
        rest.messages[rest.n++] = history->messages[0];
    }
    for (size_t i = question; i < history->n; i++) {
        rest.messages[rest.n++] = history->messages[i];
    }
    bool ok = chat_tokens(chat, &rest, true, &ids, &n, err);
    free(rest.messages); /* what they point to is the history's */
    if (ok) {
        moxie_free(ids);
        *fits = n + n_answer <= moxie_context(chat->generation.session);
    }
    return ok;
}

bool chat_fit(struct chat *chat, const uint32_t *answer, size_t n_answer, uint32_t **ids, size_t *n,
              struct moxie_error *err)
{
    uint32_t context = moxie_context(chat->generation.session), dropped = 0;
    uint32_t wanted = context - context / ANSWER_SHARE;
    bool fits = true;
    for (;; dropped++) {
        if (!prompt_tokens(chat, &chat->history, answer, n_answer, ids, n, err)) {
            return false;
        }
        if (*n > wanted && dropped == 0 && !would_fit(chat, n_answer, &fits, err)) {
            free(*ids);
            return false;
        }
        if (*n <= wanted || !fits || !chat_history_drop_oldest(&chat->history)) {
            break;
        }
        free(*ids);
    }
    if (dropped > 0) {
        fprintf(stderr,
                "%s(the context of %" PRIu32
                " tokens is full: the oldest %s forgotten; --context N gives more room)\n",
                n_answer ? "\n" : "", context,
                dropped > 1 ? "questions and answers are" : "question and its answer are");
    }
    return true;
}
