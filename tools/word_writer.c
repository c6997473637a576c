#include "tools/word_writer.h"

#include <string.h>

/* Characters of two bytes are Latin, Greek, Cyrillic, Hebrew, Arabic and the like (below U+0800).
 */
static bool is_letter(unsigned char first)
{
    return (first >= '0' && first <= '9') || ((first | 0x20) >= 'a' && (first | 0x20) <= 'z') ||
           first == '\'' || (first >= 0xC2 && first <= 0xDF);
}

static uint32_t bytes_following(unsigned char first)
{
    return first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : first >= 0xC2 ? 1 : 0;
}

/* C0 but for line feed and tab, DEL, and C1, which is C2 80 to C2 9F. */
static size_t control_length(const char *text, size_t n)
{
    unsigned char first = (unsigned char)text[0];
    if ((first < 0x20 && first != '\n' && first != '\t') || first == 0x7F) {
        return 1;
    }
    return first == 0xC2 && n > 1 && (unsigned char)text[1] < 0xA0 ? 2 : 0;
}

static void write_out(struct word_writer *w, size_t n)
{
    for (size_t at = 0, length; at < n; at += length) {
        size_t control = w->terminal ? control_length(w->held + at, n - at) : 0;
        length = control ? control : 1;
        if (control) {
            fputs("\xEF\xBF\xBD", w->out);
        } else {
            fputc(w->held[at], w->out);
        }
    }
    if (n > 0) {
        w->last = w->held[n - 1];
    }
    w->n_held -= n;
    memmove(w->held, w->held + n, w->n_held);
}

void word_writer_push(struct word_writer *w, const char *text, size_t n)
{
    size_t safe = 0; /* what may be written of the held text */
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)text[i];
        bool continues = w->following > 0 && byte >= 0x80 && byte < 0xC0;
        if (!continues) {
            w->letter = is_letter(byte);
            w->following = bytes_following(byte);
        } else {
            w->following--;
        }
        w->held[w->n_held++] = text[i];
        if ((!w->letter && w->following == 0) ||
            (w->n_held == sizeof(w->held) && w->following == 0)) {
            safe = w->n_held;
        }
        if (w->n_held == sizeof(w->held)) {
            write_out(w, safe ? safe : w->n_held);
            safe = 0;
        }
    }
    write_out(w, safe);
    if (n > 0) {
        fflush(w->out);
    }
}

void word_writer_end(struct word_writer *w)
{
    write_out(w, w->n_held);
    w->following = 0;
    fflush(w->out);
}
