#include "engine/text/base64.h"

#include <stdint.h>

static int value_of(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

bool base64_decode(const char *text, size_t length, char *out, size_t *bytes)
{
    uint32_t bits = 0, n_bits = 0;
    *bytes = 0;
    if (length % 4 != 0) {
        return false;
    }
    for (int pad = 0; pad < 2 && length > 0 && text[length - 1] == '='; pad++) {
        length--;
    }
    for (size_t i = 0; i < length; i++) {
        int value = value_of(text[i]);
        if (value < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)value;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            out[(*bytes)++] = (char)(bits >> n_bits & 0xFF);
        }
    }
    return true;
}
