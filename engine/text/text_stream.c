/* Text that arrives in pieces of bytes, out in whole characters. */
#include "engine/text/tokenizer.h"

#include <string.h>

#include "engine/text/unicode.h"

static size_t put_replacement(char *out)
{
    memcpy(out, UNICODE_REPLACEMENT, UNICODE_REPLACEMENT_BYTES);
    return UNICODE_REPLACEMENT_BYTES;
}

/* Takes one byte; `held` is always the proper start of a character or empty. */
static size_t push_byte(struct text_stream *stream, uint8_t byte, char *out)
{
    size_t written = 0;
    stream->held[stream->n_held++] = byte;
    uint32_t code;
    int length = unicode_read((const char *)stream->held, stream->n_held, &code);
    if (length > 0) {
        memcpy(out, stream->held, stream->n_held);
        written = stream->n_held;
        stream->n_held = 0;
    } else if (length < 0) {
        /* What was held is ill-formed; the new byte may begin another character. */
        bool alone = stream->n_held == 1;
        written = put_replacement(out);
        stream->n_held = 0;
        if (!alone) {
            written += push_byte(stream, byte, out + written);
        }
    }
    return written;
}

size_t text_stream_push(struct text_stream *stream, const char *bytes_in, size_t n, char *out)
{
    size_t written = 0;
    for (size_t i = 0; i < n; i++) {
        written += push_byte(stream, (uint8_t)bytes_in[i], out + written);
    }
    return written;
}

size_t text_stream_flush(struct text_stream *stream, char *out)
{
    if (stream->n_held == 0) {
        return 0;
    }
    stream->n_held = 0;
    return put_replacement(out);
}
