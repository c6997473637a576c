/* A tokenizer for scripts that compare it with another (tokenizer_strings.py, tokenizer_speed.py):
 * reads a folder with tokenizer.json or tokenizer.model, then answers requests on standard input
 * until it ends.
 *
 * A request is a byte, two uint32 and data, little-endian: 'e', flags (enum tokenizer_flags),
 * bytes, a text; answered by a count, the ids, a number of bytes and the text of those ids. 'd', 0,
 * bytes, ids; answered by a number of bytes and their text. 't', times, bytes, a text: answered by
 * the seconds of this thread's CPU time (double) for as many encodings, and the number of ids of
 * one. An error ends the program with a sentence. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_pack.h"

static void fail(const char *sentence)
{
    fprintf(stderr, "tokenizer_driver: %s\n", sentence);
    exit(1);
}

static void take(void *data, size_t bytes)
{
    if (bytes > 0 && fread(data, bytes, 1, stdin) != 1) {
        fail("a request ends early");
    }
}

static void put_number(uint32_t number)
{
    fwrite(&number, sizeof(number), 1, stdout);
}

static void put_text(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count)
{
    struct error err;
    char *text;
    size_t bytes;
    if (!tokenizer_decode(tokenizer, ids, count, &text, &bytes, &err)) {
        fail(err.text);
    }
    put_number((uint32_t)bytes);
    fwrite(text, 1, bytes, stdout);
    free(text);
}

static void encode(const struct tokenizer *tokenizer, const char *text, size_t bytes,
                   uint32_t flags, struct token_list *list)
{
    struct error err;
    list->count = 0;
    if (!tokenizer_encode(tokenizer, text, bytes, flags, list, &err)) {
        fail(err.text);
    }
}

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void answer(const struct tokenizer *tokenizer, char kind, uint32_t number, char *data,
                   uint32_t bytes)
{
    struct token_list list = {0};
    if (kind == 'e') {
        encode(tokenizer, data, bytes, number, &list);
        put_number((uint32_t)list.count);
        fwrite(list.ids, sizeof(*list.ids), list.count, stdout);
        put_text(tokenizer, list.ids, list.count);
    } else if (kind == 'd') {
        put_text(tokenizer, (const uint32_t *)(void *)data, bytes / sizeof(uint32_t));
    } else if (kind == 't') {
        double begin = cpu_seconds();
        for (uint32_t i = 0; i < number; i++) {
            encode(tokenizer, data, bytes, TOKENIZER_PARSE_SPECIAL, &list);
        }
        double seconds = cpu_seconds() - begin;
        fwrite(&seconds, sizeof(seconds), 1, stdout);
        put_number((uint32_t)list.count);
    } else {
        fail("a request is neither e, d nor t");
    }
    token_list_free(&list);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct error err;
    void *section;
    uint64_t section_bytes;
    if (argc != 2) {
        fail("give one folder");
    }
    if (!tokenizer_pack(argv[1], &section, &section_bytes, &err)) {
        fail(err.text);
    }
    struct tokenizer *tokenizer = tokenizer_create(section, section_bytes, &err);
    if (!tokenizer) {
        fail(err.text);
    }
    for (int kind; (kind = getchar()) != EOF;) {
        uint32_t numbers[2];
        take(numbers, sizeof(numbers));
        char *data = malloc((size_t)numbers[1] + 1);
        if (!data) {
            fail("out of memory");
        }
        take(data, numbers[1]);
        answer(tokenizer, (char)kind, numbers[0], data, numbers[1]);
        free(data);
    }
    tokenizer_destroy(&tokenizer);
    free(section);
    return 0;
}
