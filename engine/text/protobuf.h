/* The wire format of Protocol Buffers, as far as a reader of one message needs it.
 *
 * Source: "Encoding", protobuf.dev/programming-guides/encoding. Input is untrusted: a field is
 * returned only if all of it lies inside the message.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum protobuf_kind {
    PROTOBUF_VARINT = 0,
    PROTOBUF_FIXED64 = 1,
    PROTOBUF_BYTES = 2, /* texts, byte arrays, messages */
    PROTOBUF_FIXED32 = 5,
};

/* A message while it is walked. */
struct protobuf {
    const char *data;
    size_t bytes;
    bool damaged; /* set by protobuf_next: what was returned before may still be used */
};

struct protobuf_field {
    uint32_t number;
    enum protobuf_kind kind;
    uint64_t value;   /* of numbers; the bits of fixed ones */
    const char *data; /* of bytes, inside the message */
    size_t bytes;
};

/* Takes the next field; false at the end of the message, or if it is damaged. */
bool protobuf_next(struct protobuf *message, struct protobuf_field *field);

/* The number that a field of kind FIXED32 is as a float. */
float protobuf_float(const struct protobuf_field *field);
