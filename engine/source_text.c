#include "engine/source_text.h"

#include <inttypes.h>
#include <string.h>

#include "engine/model/source_gguf.h"
#include "engine/text/chat_template_file.h"
#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_gguf.h"
#include "engine/text/tokenizer_pack.h"

/* Every token must have a row in the embedding; rows without a token are padding. */
static bool check_tokenizer(const struct source *source, struct error *err)
{
    struct tokenizer *tokenizer = tokenizer_create(source->tokenizer, source->tokenizer_bytes, err);
    if (!tokenizer) {
        return false;
    }
    uint32_t tokens = tokenizer_vocabulary(tokenizer);
    tokenizer_destroy(&tokenizer);
    return tokens <= source->hparams.vocabulary ||
           error_set(err,
                     "%s: the tokenizer has %" PRIu32 " tokens, the model's numbers tell of "
                     "%" PRIu32 " (vocab_size)",
                     source->path, tokens, source->hparams.vocabulary);
}

static bool attach_folder(struct source *source, struct error *err)
{
    void *section = NULL;
    if (!tokenizer_pack(source->path, &section, &source->tokenizer_bytes, err)) {
        return false;
    }
    source->tokenizer = source->owned_tokenizer = section;
    if (!chat_template_read(source->path, &source->owned_chat_template,
                            &source->chat_template_bytes, err)) {
        return false;
    }
    source->chat_template = source->owned_chat_template;
    return true;
}

/* The template for tools of a GGUF file that has one beside the other. */
static bool attach_gguf_templates(struct source *source, const struct gguf *gguf, struct error *err)
{
    struct chat_template_pair pair = {source->chat_template, NULL,
                                      (size_t)source->chat_template_bytes, 0};
    uint64_t bytes;
    if (source->owned_chat_template ||
        !gguf_value_string(gguf_find_pair(gguf, "tokenizer.chat_template.tool_use"), &pair.tool_use,
                           &bytes)) {
        return true;
    }
    pair.tool_use_bytes = (size_t)bytes;
    if (!chat_template_join(&pair, &source->owned_chat_template, &source->chat_template_bytes,
                            err)) {
        return false;
    }
    source->chat_template = source->owned_chat_template;
    return true;
}

static bool attach_gguf(struct source *source, struct error *err)
{
    const struct gguf *gguf = source_gguf_file(source);
    void *section = NULL;
    if (!attach_gguf_templates(source, gguf, err)) {
        return false;
    }
    if (!tokenizer_gguf_has(gguf)) {
        return true;
    }
    if (!tokenizer_gguf_pack(gguf, &section, &source->tokenizer_bytes, err)) {
        return false;
    }
    source->tokenizer = source->owned_tokenizer = section;
    return true;
}

bool source_text_attach(struct source *source, struct error *err)
{
    if (strcmp(source->format, "safetensors") == 0 && !source->tokenizer &&
        !attach_folder(source, err)) {
        return false;
    }
    if (strcmp(source->format, "gguf") == 0 && !source->tokenizer && !attach_gguf(source, err)) {
        return false;
    }
    return !source->tokenizer || check_tokenizer(source, err);
}

bool source_text_write_gguf(void *context, const struct source *source, struct gguf_writer *writer,
                            struct error *err)
{
    if (!source->tokenizer) {
        gguf_writer_string(writer, "tokenizer.ggml.model", "none", 4);
        return true;
    }
    return tokenizer_gguf_write(source->tokenizer, source->tokenizer_bytes,
                                source->hparams.vocabulary, writer, err);
}
