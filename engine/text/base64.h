/* Base64 (RFC 4648, the alphabet of section 4). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Writes what text[0..length) stands for to out, which has room for 3 bytes for each 4 characters
 * begun. False if there is another character in it, or too few of them. */
bool base64_decode(const char *text, size_t length, char *out, size_t *bytes);
