#include "tools/complete_output.h"

#include <stdio.h>
#include <stdlib.h>

static void print(struct complete_output *o, bool end)
{
    if (o->lines) {
        token_json_print(o->lines, text_buffer_text(&o->certain), o->certain.n,
                         o->stream.n_held > 0, end);
    } else {
        fwrite(text_buffer_text(&o->certain), 1, o->certain.n, stdout);
        fflush(stdout);
        text_buffer_drop(&o->certain, o->certain.n);
    }
}

bool complete_output_token(struct complete_output *o, uint32_t id)
{
    uint32_t bytes;
    const char *text = moxie_token_bytes(o->model, id, o->show_special, &bytes);
    char *whole = malloc(3 * ((size_t)bytes + 3));
    if (!whole) {
        o->failed = true;
        return false;
    }
    size_t n = moxie_text_push(&o->stream, text, bytes, whole);
    o->failed = o->lines && !token_json_add(o->lines, o->session, id, n);
    o->stopped = !o->failed && stop_strings_push(&o->stops, whole, n, &o->certain);
    free(whole);
    if (!o->stopped) {
        print(o, false);
    }
    o->failed = o->failed || o->certain.failed || o->stops.held.failed;
    return !o->failed && !o->stopped;
}

void complete_output_end(struct complete_output *o)
{
    char tail[4];
    if (!o->stopped) {
        size_t n = moxie_text_flush(&o->stream, tail);
        if (o->lines) {
            token_json_extend(o->lines, n);
        }
        o->stopped = stop_strings_push(&o->stops, tail, n, &o->certain) ||
                     stop_strings_end(&o->stops, &o->certain);
    }
    o->stream.n_held = 0;
    print(o, true);
}

void complete_output_free(struct complete_output *o)
{
    token_json_destroy(&o->lines);
    text_buffer_free(&o->stops.held);
    text_buffer_free(&o->certain);
}
