#include "engine/text/json_file.h"

#include <stdlib.h>

#include "engine/text/json_values.h"
#include "format/map.h"

#define MAX_BYTES (UINT64_C(256) << 20)
/* The largest real tokenizer.json has two million. */
#define MAX_VALUES 8000000

char *json_file_path(const char *folder, const char *name, struct error *err)
{
    char *path;
    if (asprintf(&path, "%s/%s", folder, name) < 0) {
        error_set(err, "out of memory while opening %s", name);
        return NULL;
    }
    return path;
}

static bool load(const char *path, json_t **root, struct error *err)
{
    struct map map;
    if (!map_open(&map, path, err)) {
        return false;
    }
    if (map.bytes > MAX_BYTES) {
        map_close(&map);
        return error_set(err, "%s is larger than 256 MiB; is it the right file?", path);
    }
    if (json_values_most((const char *)map.data, map.bytes) > MAX_VALUES) {
        map_close(&map);
        return error_set(err, "%s has more than %d values; is it the right file?", path,
                         MAX_VALUES);
    }
    json_error_t error;
    const size_t flags = JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES;
    *root = json_loadb((const char *)map.data, (size_t)map.bytes, flags, &error);
    if (!*root && json_error_code(&error) == json_error_numeric_overflow) {
        /* Many a tokenizer_config.json has a "model_max_length" of 10^30. */
        *root = json_loadb((const char *)map.data, (size_t)map.bytes,
                           flags | JSON_DECODE_INT_AS_REAL, &error);
    }
    map_close(&map);
    if (!*root) {
        return error_set(err, "%s is not valid JSON: %s in line %d", path, error.text, error.line);
    }
    if (!json_is_object(*root)) {
        json_decref(*root);
        *root = NULL;
        return error_set(err, "%s does not hold a JSON object", path);
    }
    return true;
}

bool json_file_load(const char *folder, const char *name, json_t **root, struct error *err)
{
    *root = NULL;
    char *path = json_file_path(folder, name, err);
    if (!path) {
        return false;
    }
    bool ok = !map_is_there(path) || load(path, root, err);
    free(path);
    return ok;
}
