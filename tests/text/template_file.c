#include "tests/text/template_file.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"

char *template_file_read(const char *name)
{
    size_t n = strlen(name);
    if (n > 6 && strcmp(name + n - 6, ".jinja") == 0) {
        const char *path = check_shared_path(name);
        return path ? check_read_file(path, NULL) : NULL;
    }
    char file[256];
    snprintf(file, sizeof(file), "%s/tokenizer_config.json", name);
    const char *path = check_shared_path(file);
    json_t *config = path ? json_load_file(path, 0, NULL) : NULL;
    const char *text = json_string_value(json_object_get(config, "chat_template"));
    char *copy = text ? strdup(text) : NULL;
    json_decref(config);
    return copy;
}
