#include "engine/source_words.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "engine/text/tokenizer_gguf.h"
#include "engine/text/tokenizer_pack.h"
#include "format/gguf.h"

static bool no_tokenizer(const char *path, struct error *err)
{
    return error_set(err, "%s has no tokenizer", path);
}

static bool open_gguf(struct source_words *words, const char *path, struct error *err)
{
    struct gguf gguf;
    if (!gguf_open(&gguf, path, err)) {
        return false;
    }
    bool ok = tokenizer_gguf_has(&gguf)
                  ? tokenizer_gguf_pack(&gguf, &words->owned, &words->bytes, err)
                  : no_tokenizer(path, err);
    words->section = words->owned;
    gguf_close(&gguf);
    return ok;
}

bool source_words_open(struct source_words *words, const char *path, struct error *err)
{
    struct stat status;
    *words = (struct source_words){0};
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        bool ok = tokenizer_pack(path, &words->owned, &words->bytes, err);
        words->section = words->owned;
        return ok;
    }
    if (gguf_is_file(path)) {
        return open_gguf(words, path, err);
    }
    if (!model_file_open(&words->file, path, err)) {
        return false;
    }
    words->file_open = true;
    if (!model_file_tokenizer(&words->file, &words->section, &words->bytes)) {
        source_words_close(words);
        return no_tokenizer(path, err);
    }
    return true;
}

void source_words_close(struct source_words *words)
{
    free(words->owned);
    if (words->file_open) {
        model_file_close(&words->file);
    }
    *words = (struct source_words){0};
}
