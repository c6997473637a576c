#include "engine/text/tokenizer_pack.h"

#include <stdlib.h>
#include <unistd.h>

#include "engine/text/json_file.h"
#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_build.h"
#include "engine/text/tokenizer_config.h"
#include "engine/text/tokenizer_json.h"
#include "engine/text/tokenizer_model.h"
#include "engine/text/tokenizer_model_added.h"
#include "format/map.h"

bool tokenizer_pack_parts(struct tokenizer_parts *parts, void **section, uint64_t *bytes,
                          struct error *err)
{
    if (!tokenizer_build(parts, section, bytes, err)) {
        return false;
    }
    struct tokenizer *tokenizer = tokenizer_create(*section, *bytes, err);
    if (!tokenizer) {
        free(*section);
        *section = NULL;
        *bytes = 0;
        return false;
    }
    tokenizer_destroy(&tokenizer);
    return true;
}

/* SentencePiece's own file, where there is no tokenizer.json. */
static bool pack_model(const char *folder, const char *path, void **section, uint64_t *bytes,
                       struct error *err)
{
    struct map map;
    struct tokenizer_parts parts = {0};
    json_t *texts = NULL; /* of added tokens */
    if (!map_open(&map, path, err)) {
        return false;
    }
    struct error inner;
    bool ok = tokenizer_model_read((const char *)map.data, (size_t)map.bytes, &parts, &inner) &&
              tokenizer_model_added_read(folder, &parts, &texts, &inner) &&
              tokenizer_config_read(folder, &parts, &inner) &&
              tokenizer_pack_parts(&parts, section, bytes, &inner);
    tokenizer_parts_free(&parts);
    json_decref(texts);
    map_close(&map);
    return ok || error_set(err, "%s: the tokenizer cannot be used: %s", folder, inner.text);
}

static bool pack(const char *folder, const json_t *root, void **section, uint64_t *bytes,
                 struct error *err)
{
    struct tokenizer_parts parts;
    bool ok = tokenizer_json_read(root, &parts, err) &&
              tokenizer_config_read(folder, &parts, err) &&
              tokenizer_pack_parts(&parts, section, bytes, err);
    tokenizer_parts_free(&parts);
    return ok;
}

bool tokenizer_pack(const char *folder, void **section, uint64_t *bytes, struct error *err)
{
    json_t *root;
    *section = NULL;
    *bytes = 0;
    if (!json_file_load(folder, "tokenizer.json", &root, err)) {
        return false;
    }
    if (!root) {
        char *path = json_file_path(folder, "tokenizer.model", err);
        bool ok = path &&
                  (map_is_there(path) ? pack_model(folder, path, section, bytes, err)
                                      : error_set(err,
                                                  "%s/tokenizer.json does not exist, nor does "
                                                  "tokenizer.model; a checkpoint needs one of them",
                                                  folder));
        free(path);
        return ok;
    }
    struct error inner;
    bool ok = pack(folder, root, section, bytes, &inner);
    json_decref(root);
    return ok || error_set(err, "%s: the tokenizer cannot be used: %s", folder, inner.text);
}
