#include "engine/source_template.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "engine/model/arch.h"
#include "engine/model/hparams_gguf.h"
#include "engine/text/chat_template.h"
#include "engine/text/chat_template_file.h"
#include "engine/text/json_file.h"
#include "format/gguf.h"
#include "format/model_file.h"

static const char *name_of(const struct arch *arch)
{
    return arch ? arch->name : "";
}

static bool keep(struct source_template *found, const char *text, uint64_t bytes, struct error *err)
{
    if (bytes > CHAT_TEMPLATE_MAX_BYTES) {
        return error_set(err,
                         "the chat template has %" PRIu64 " bytes, more than the %u that are read",
                         bytes, CHAT_TEMPLATE_MAX_BYTES);
    }
    found->text = malloc((size_t)bytes + 1);
    if (!found->text) {
        return error_set(err, "not enough memory for the chat template");
    }
    memcpy(found->text, text, (size_t)bytes);
    found->bytes = bytes;
    return true;
}

static bool open_folder(struct source_template *found, const char *folder, struct error *err)
{
    json_t *config;
    if (!json_file_load(folder, "config.json", &config, err)) {
        return false;
    }
    const json_t *list = json_object_get(config, "architectures");
    const char *name = json_string_value(json_array_get(list, 0));
    found->architecture = name_of(name ? arch_find_config(name) : NULL);
    json_decref(config);
    return chat_template_read(folder, &found->text, &found->bytes, err);
}

static bool open_gguf(struct source_template *found, const char *path, struct error *err)
{
    struct gguf gguf;
    struct chat_template_pair pair = {0};
    uint64_t plain_bytes = 0, tool_use_bytes = 0;
    if (!gguf_open(&gguf, path, err)) {
        return false;
    }
    found->architecture = name_of(hparams_find_gguf_arch(&gguf, NULL));
    gguf_value_string(gguf_find_pair(&gguf, "tokenizer.chat_template"), &pair.plain, &plain_bytes);
    gguf_value_string(gguf_find_pair(&gguf, "tokenizer.chat_template.tool_use"), &pair.tool_use,
                      &tool_use_bytes);
    pair.plain_bytes = (size_t)plain_bytes;
    pair.tool_use_bytes = (size_t)tool_use_bytes;
    bool ok = chat_template_join(&pair, &found->text, &found->bytes, err);
    gguf_close(&gguf);
    return ok;
}

static bool open_moxie(struct source_template *found, const char *path, struct error *err)
{
    struct model_file file;
    const char *text;
    uint64_t bytes;
    if (!model_file_open(&file, path, err)) {
        return false;
    }
    if (model_file_get_string(&file, "architecture", &text, &bytes)) {
        found->architecture = name_of(arch_find(text, bytes));
    }
    bool ok = !model_file_chat_template(&file, &text, &bytes) || keep(found, text, bytes, err);
    model_file_close(&file);
    return ok;
}

bool source_template_open(struct source_template *found, const char *path, struct error *err)
{
    struct stat status;
    *found = (struct source_template){.architecture = ""};
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        return open_folder(found, path, err);
    }
    return gguf_is_file(path) ? open_gguf(found, path, err) : open_moxie(found, path, err);
}

void source_template_close(struct source_template *found)
{
    free(found->text);
    found->text = NULL;
}
