#include "format/error.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Drops a UTF-8 character that the end of the buffer cut in two. */
static void trim_cut_character(char *text, size_t length)
{
    size_t start = length;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xC0) == 0x80) {
        start--;
    }
    if (start == 0) {
        return;
    }
    unsigned char lead = (unsigned char)text[start - 1];
    size_t needed = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (length - (start - 1) < needed) {
        text[start - 1] = 0;
    }
}

/* Names out of a stranger's file end up in sentences, and sentences on terminals: control
 * characters (C0, DEL, and C1 as UTF-8 writes it) must not get there. */
static void replace_controls(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        if (*p < 0x20 || *p == 0x7F) {
            *p = '?';
        } else if (*p == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0) {
            p[0] = p[1] = '?';
        }
    }
}

bool error_set(struct error *err, const char *format, ...)
{
    if (!err) {
        return false;
    }
    char text[sizeof(err->text)]; /* the arguments may point into err->text */
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (length < 0) {
        strcpy(text, "an error without a text");
    } else if ((size_t)length >= sizeof(text)) {
        trim_cut_character(text, sizeof(text) - 1);
    }
    replace_controls(text);
    strcpy(err->text, text);
    return false;
}
