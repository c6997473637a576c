/* The spelling of bytes in byte-level vocabularies (GPT-2): every byte has a printable character.
 *
 * Bytes 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF are the character of that number; the other 68, in
 * ascending order, are U+0100, U+0101, ... U+0143. So a space is U+0120, a newline U+010A.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes the character of a byte (1 or 2 bytes of UTF-8) and returns its length. */
size_t byte_map_spell(uint8_t byte, char *out);

/* Turns a spelling back into the bytes it stands for: at most `bytes` of them in `out`. False, with
 * nothing to rely on in `out`, if it holds a character that spells no byte. */
bool byte_map_read(const char *text, size_t bytes, char *out, size_t *written);
