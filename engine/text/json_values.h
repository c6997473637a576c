/* How many values a JSON text can hold, before it is parsed: a parsed value takes some 150 bytes,
 * a hundred times its text where it is small, so that limiting the text is not enough.
 */
#pragma once

#include <stdint.h>

/* What users write: conversations, tools, results of benchmarks. */
#define JSON_VALUES_MAX 1000000

/* No text of JSON has more values than this. */
static inline uint64_t json_values_most(const char *text, uint64_t bytes)
{
    uint64_t values = 1;
    for (uint64_t i = 0; i < bytes; i++) {
        values += text[i] == ',' || text[i] == '[' || text[i] == '{';
    }
    return values;
}
