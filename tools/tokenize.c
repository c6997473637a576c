/* moxie tokenize: text to token ids, or back. Only the file's tokenizer is read, no weight. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/source_words.h"
#include "engine/text/tokenizer.h"
#include "tools/ids.h"
#include "tools/tool.h"

struct tokenize {
    bool json, add_special, special;
    const char *decode, *text;
};

/* The token's own text as JSON; bytes that are not UTF-8 become U+FFFD. */
static json_t *token_json(const struct tokenizer *tokenizer, uint32_t id)
{
    uint32_t bytes = 0;
    const char *text = tokenizer_token_text(tokenizer, id, &bytes);
    struct text_stream stream = {0};
    char *valid = malloc(3 * ((size_t)bytes + 3) + 3);
    if (!valid) {
        return NULL;
    }
    size_t n = text_stream_push(&stream, text, bytes, valid);
    n += text_stream_flush(&stream, valid + n);
    json_t *string = json_stringn(valid, n);
    free(valid);
    return string;
}

static void print_ids(const struct tokenizer *tokenizer, const struct token_list *list, bool json)
{
    if (!json) {
        for (size_t i = 0; i < list->count; i++) {
            printf("%s%" PRIu32, i ? "," : "", list->ids[i]);
        }
        printf("\n");
        return;
    }
    json_t *ids = json_array(), *tokens = json_array();
    for (size_t i = 0; i < list->count; i++) {
        json_array_append_new(ids, json_integer(list->ids[i]));
        json_array_append_new(tokens, token_json(tokenizer, list->ids[i]));
    }
    json_t *all = json_pack("{s:o, s:o}", "ids", ids, "tokens", tokens);
    json_dumpf(all, stdout, JSON_COMPACT);
    printf("\n");
    json_decref(all);
}

static int print_text(const struct tokenizer *tokenizer, const struct tokenize *t)
{
    struct error err;
    uint32_t *ids;
    size_t n, bytes;
    if (!ids_parse(t->decode, &ids, &n, &err)) {
        return tool_fail("tokenize", err.text);
    }
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= tokenizer_vocabulary(tokenizer)) {
            error_set(&err, "token id %" PRIu32 " is outside the vocabulary of %" PRIu32, ids[i],
                      tokenizer_vocabulary(tokenizer));
            free(ids);
            return tool_fail("tokenize", err.text);
        }
    }
    char *text;
    bool ok = tokenizer_decode(tokenizer, ids, n, &text, &bytes, &err);
    free(ids);
    if (!ok) {
        return tool_fail("tokenize", err.text);
    }
    fwrite(text, 1, bytes, stdout);
    printf("\n");
    free(text);
    return 0;
}

static int tokenize(const struct source_words *words, const struct tokenize *t)
{
    struct error err;
    struct token_list list = {0};
    int status = 0;
    struct tokenizer *tokenizer = tokenizer_create(words->section, words->bytes, &err);
    if (!tokenizer) {
        return tool_fail("tokenize", err.text);
    }
    uint32_t flags =
        (t->add_special ? TOKENIZER_ADD_SPECIAL : 0) | (t->special ? TOKENIZER_PARSE_SPECIAL : 0);
    if (t->decode) {
        status = print_text(tokenizer, t);
    } else if (tokenizer_encode(tokenizer, t->text, strlen(t->text), flags, &list, &err)) {
        print_ids(tokenizer, &list, t->json);
    } else {
        status = tool_fail("tokenize", err.text);
    }
    token_list_free(&list);
    tokenizer_destroy(&tokenizer);
    return status;
}

int tool_tokenize(int argc, char **argv)
{
    struct tokenize t = {0};
    const struct option options[] = {
        {"--json", NULL, OPTION_FLAG, &t.json, NULL, "{\"ids\":[...],\"tokens\":[...]}"},
        {"--add-special", NULL, OPTION_FLAG, &t.add_special, NULL,
         "add begin and end tokens as the model's tokenizer does"},
        {"--special", NULL, OPTION_FLAG, &t.special, NULL,
         "text of special tokens such as <|im_end|> becomes those tokens"},
        {"--decode", NULL, OPTION_TEXT, &t.decode, "IDS", "ids (1,2,3) to text instead"},
        {0}};
    const struct usage usage = {
        .synopsis = "moxie tokenize MODEL \"text\" [options], or moxie tokenize MODEL --decode IDS",
        .text = "Prints the token ids of a text, or the text of token ids. MODEL is a .moxie file, "
                "a GGUF\n"
                "file (also one with nothing but a vocabulary) or a Hugging Face folder.",
        .options = options,
        .min_arguments = 1,
        .max_arguments = 2};
    char **arguments;
    uint32_t n;
    int status = options_parse(&usage, argc, argv, &arguments, &n);
    if (status >= 0) {
        return status;
    }
    if ((n == 2) == (t.decode != NULL)) {
        fprintf(stderr, "moxie tokenize: %s\nusage: %s\n",
                t.decode ? "--decode takes no text" : "a text is missing", usage.synopsis);
        return EXIT_USAGE;
    }
    t.text = n == 2 ? arguments[1] : NULL;
    struct error err;
    struct source_words words;
    if (!source_words_open(&words, arguments[0], &err)) {
        return tool_fail("tokenize", err.text);
    }
    status = tokenize(&words, &t);
    source_words_close(&words);
    return status;
}
