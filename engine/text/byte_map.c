#include "engine/text/byte_map.h"

#include "engine/text/unicode.h"

#define FIRST_MOVED 0x100u

static bool is_itself(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) ||
           (byte >= 0xAE && byte <= 0xFF);
}

/* Bytes that moved lie in three runs: 0x00-0x20, 0x7F-0xA0, 0xAD. */
static uint32_t character_of(uint8_t byte)
{
    if (is_itself(byte)) {
        return byte;
    }
    return FIRST_MOVED + (byte <= 0x20 ? byte : byte <= 0xA0 ? byte - 0x7Fu + 33u : 67u);
}

size_t byte_map_spell(uint8_t byte, char *out)
{
    return unicode_write(character_of(byte), out);
}

bool byte_map_read(const char *text, size_t bytes, char *out, size_t *written)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes;) {
        uint32_t code;
        int length = unicode_read(text + i, bytes - i, &code);
        if (length <= 0) {
            return false;
        }
        i += (size_t)length;
        uint32_t moved = code - FIRST_MOVED;
        if (code < FIRST_MOVED && is_itself(code)) {
            out[n++] = (char)code;
        } else if (code >= FIRST_MOVED && moved <= 67) {
            out[n++] = (char)(moved <= 0x20 ? moved : moved < 67 ? moved - 33u + 0x7Fu : 0xADu);
        } else {
            return false;
        }
    }
    *written = n;
    return true;
}
