#include "engine/text/tokenizer_pack.h"

#include <stdlib.h>

#include "engine/text/json_file.h"
#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_build.h"
#include "engine/text/tokenizer_config.h"
#include "engine/text/tokenizer_json.h"

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
        return error_set(err, "%s/tokenizer.json does not exist; a checkpoint needs it", folder);
    }
    struct error inner;
    bool ok = pack(folder, root, section, bytes, &inner);
    json_decref(root);
    return ok || error_set(err, "%s: the tokenizer cannot be used: %s", folder, inner.text);
}
