#include "engine/text/protobuf.h"

#include <string.h>

/* Seven bits a byte, lowest first; ten bytes at most, of which the last one has one bit. */
static bool read_varint(struct protobuf *message, uint64_t *value)
{
    *value = 0;
    for (unsigned i = 0; i < 10 && i < message->bytes; i++) {
        uint8_t byte = (uint8_t)message->data[i];
        if (i == 9 && byte > 1) {
            return false;
        }
        *value |= (uint64_t)(byte & 0x7F) << 7 * i;
        if (byte < 0x80) {
            message->data += i + 1;
            message->bytes -= i + 1;
            return true;
        }
    }
    return false;
}

/* Little-endian, `bytes` of them. */
static bool read_fixed(struct protobuf *message, size_t bytes, uint64_t *value)
{
    *value = 0;
    if (message->bytes < bytes) {
        return false;
    }
    for (size_t i = 0; i < bytes; i++) {
        *value |= (uint64_t)(uint8_t)message->data[i] << 8 * i;
    }
    message->data += bytes;
    message->bytes -= bytes;
    return true;
}

static bool read_bytes(struct protobuf *message, struct protobuf_field *field)
{
    uint64_t bytes;
    if (!read_varint(message, &bytes) || bytes > message->bytes) {
        return false;
    }
    field->data = message->data;
    field->bytes = (size_t)bytes;
    message->data += bytes;
    message->bytes -= (size_t)bytes;
    return true;
}

static bool read_value(struct protobuf *message, struct protobuf_field *field)
{
    switch (field->kind) {
    case PROTOBUF_VARINT:
        return read_varint(message, &field->value);
    case PROTOBUF_FIXED64:
        return read_fixed(message, 8, &field->value);
    case PROTOBUF_BYTES:
        return read_bytes(message, field);
    case PROTOBUF_FIXED32:
        return read_fixed(message, 4, &field->value);
    }
    return false; /* groups, which nobody writes any more, and numbers without a meaning */
}

bool protobuf_next(struct protobuf *message, struct protobuf_field *field)
{
    uint64_t tag;
    if (message->bytes == 0 || message->damaged) {
        return false;
    }
    *field = (struct protobuf_field){0};
    if (!read_varint(message, &tag) || tag >> 3 == 0 || tag >> 3 >= UINT32_C(1) << 29) {
        message->damaged = true;
        return false;
    }
    field->number = (uint32_t)(tag >> 3);
    field->kind = (enum protobuf_kind)(tag & 7);
    message->damaged = !read_value(message, field);
    return !message->damaged;
}

float protobuf_float(const struct protobuf_field *field)
{
    uint32_t bits = (uint32_t)field->value;
    float number;
    memcpy(&number, &bits, sizeof(number));
    return number;
}
