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

const struct tm template_file_time = {.tm_year = 126,
                                      .tm_mon = 0,
                                      .tm_mday = 15,
                                      .tm_hour = 12,
                                      .tm_min = 34,
                                      .tm_sec = 56,
                                      .tm_wday = 4,
                                      .tm_yday = 14};

uint64_t template_file_hash(const char *data, size_t bytes)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < bytes; i++) {
        hash = (hash ^ (unsigned char)data[i]) * UINT64_C(0x100000001B3);
    }
    return hash;
}
