#include "tools/ids.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool ids_parse(const char *text, uint32_t **ids, size_t *count, struct error *err)
{
    size_t capacity = strlen(text) / 2 + 1;
    uint32_t *list = malloc(capacity * sizeof(*list));
    *count = 0;
    if (!list) {
        return error_set(err, "not enough memory");
    }
    const char *p = text + strspn(text, " ");
    while (*p) {
        char *end;
        errno = 0;
        unsigned long long value = strtoull(p, &end, 10);
        if (*p < '0' || *p > '9' || errno || value > UINT32_MAX) {
            free(list);
            return error_set(err, "\"%.40s\" is not a list of token ids such as 1,2,3", text);
        }
        list[(*count)++] = (uint32_t)value;
        p = end + strspn(end, " ");
        if (*p == ',') {
            p += 1 + strspn(p + 1, " ");
        } else if (*p) {
            free(list);
            return error_set(err, "\"%.40s\" is not a list of token ids such as 1,2,3", text);
        }
    }
    *ids = list;
    return true;
}
