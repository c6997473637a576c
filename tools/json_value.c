#include "tools/json_value.h"

#include <math.h>
#include <stdlib.h>

#include "tools/inspect.h"

json_t *json_value_text(const char *text, uint64_t bytes)
{
    char *copy = inspect_text(text, bytes);
    json_t *value = copy ? json_stringn(copy, bytes) : NULL;
    free(copy);
    return value;
}

json_t *json_value_whole(uint64_t value)
{
    return value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value);
}

json_t *json_value_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

bool json_value_set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}
