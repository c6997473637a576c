#include "engine/text/chat_template_file.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/text/chat_template.h"
#include "engine/text/json_file.h"
#include "engine/text/unicode.h"
#include "format/map.h"

/* What stands between a tag and the text beside it: a tag takes a line break behind it away, and
 * the blanks before it where it begins a line. */
#define NOTHING "{{ '' }}"

/* A template loses one line break at its end. */
static size_t without_break(const char *text, size_t bytes)
{
    if (bytes > 0 && text[bytes - 1] == '\n') {
        bytes -= bytes > 1 && text[bytes - 2] == '\r' ? 2 : 1;
    }
    return bytes;
}

static bool append(struct unicode_buffer *out, const char *text, struct error *err)
{
    return unicode_buffer_append(out, text, strlen(text), err);
}

bool chat_template_join(const struct chat_template_pair *pair, char **text, uint64_t *bytes,
                        struct error *err)
{
    struct unicode_buffer out = {0};
    bool both = pair->plain && pair->tool_use, ok = true;
    size_t longest =
        pair->plain_bytes > pair->tool_use_bytes ? pair->plain_bytes : pair->tool_use_bytes;
    *text = NULL;
    *bytes = 0;
    if (longest > CHAT_TEMPLATE_MAX_BYTES) { /* before it is copied */
        return error_set(err, "the chat template has %zu bytes, more than the %u that are read",
                         longest, CHAT_TEMPLATE_MAX_BYTES);
    }
    if (both) {
        ok = append(&out, "{% if tools is not defined or tools is none %}" NOTHING, err) &&
             unicode_buffer_append(&out, pair->plain, without_break(pair->plain, pair->plain_bytes),
                                   err) &&
             append(&out, NOTHING "{% else %}" NOTHING, err) &&
             unicode_buffer_append(&out, pair->tool_use,
                                   without_break(pair->tool_use, pair->tool_use_bytes), err) &&
             append(&out, NOTHING "{% endif %}", err);
    } else if (pair->plain) {
        ok = unicode_buffer_append(&out, pair->plain, pair->plain_bytes, err);
    } else {
        return true;
    }
    ok = ok && unicode_buffer_append(&out, "", 1, err);
    if (!ok) {
        unicode_buffer_free(&out);
        return false;
    }
    *text = out.data;
    *bytes = out.bytes - 1;
    return true;
}

/* ---- tokenizer_config.json ---------------------------------------------------------------- */

static const json_t *find_named(const json_t *list, const char *wanted)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name && strcmp(name, wanted) == 0) {
            return json_object_get(entry, "template");
        }
    }
    return NULL;
}

/* NULL where there is none; false if it is no text. */
static bool take(const json_t *value, const char **text, size_t *bytes, struct error *err)
{
    *text = json_string_value(value);
    *bytes = json_string_length(value);
    return !value || json_is_null(value) || *text ||
           error_set(err, "\"chat_template\" in tokenizer_config.json is not a text");
}

static bool read_config(const char *folder, char **text, uint64_t *bytes, struct error *err)
{
    json_t *root;
    struct chat_template_pair pair = {0};
    if (!json_file_load(folder, "tokenizer_config.json", &root, err)) {
        return false;
    }
    const json_t *value = json_object_get(root, "chat_template"), *tool_use = NULL;
    if (json_is_array(value)) {
        tool_use = find_named(value, "tool_use");
        value = find_named(value, "default");
    }
    bool ok = take(value, &pair.plain, &pair.plain_bytes, err) &&
              take(tool_use, &pair.tool_use, &pair.tool_use_bytes, err) &&
              chat_template_join(&pair, text, bytes, err);
    json_decref(root);
    return ok;
}

/* ---- files of their own ------------------------------------------------------------------- */

/* Whether folder/name is there; then it is mapped, unless *ok becomes false. */
static bool map_file(const char *folder, const char *name, struct map *map, bool *ok,
                     struct error *err)
{
    char *path = json_file_path(folder, name, err);
    *ok = path != NULL;
    bool there = path && map_is_there(path);
    if (there) {
        *ok = map_open(map, path, err);
    }
    free(path);
    return there;
}

bool chat_template_read(const char *folder, char **text, uint64_t *bytes, struct error *err)
{
    struct map plain, tool_use;
    bool ok;
    *text = NULL;
    *bytes = 0;
    if (!map_file(folder, "chat_template.jinja", &plain, &ok, err)) {
        return ok && read_config(folder, text, bytes, err);
    }
    if (!ok) {
        return false;
    }
    bool two = map_file(folder, "additional_chat_templates/tool_use.jinja", &tool_use, &ok, err);
    if (ok) {
        const struct chat_template_pair pair = {
            (const char *)plain.data, two ? (const char *)tool_use.data : NULL, (size_t)plain.bytes,
            two ? (size_t)tool_use.bytes : 0};
        struct error inner;
        ok = chat_template_join(&pair, text, bytes, &inner) ||
             error_set(err, "%s: %s", folder, inner.text);
        if (two) {
            map_close(&tool_use);
        }
    }
    map_close(&plain);
    return ok;
}
