#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer.h"
#include "tools/inspect.h"

/* Length of the well-formed UTF-8 character that starts the text (RFC 3629), 0 if none does. */
static uint32_t character_bytes(const unsigned char *text, uint64_t bytes)
{
    unsigned char first = text[0];
    if (first < 0x80) {
        return 1;
    }
    uint32_t n = first >= 0xC2 && first <= 0xDF   ? 2
                 : first >= 0xE0 && first <= 0xEF ? 3
                 : first >= 0xF0 && first <= 0xF4 ? 4
                                                  : 0;
    if (n == 0 || n > bytes) {
        return 0;
    }
    /* The second byte excludes overlong forms, surrogates, and what lies above U+10FFFF. */
    unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (text[1] < low || text[1] > high) {
        return 0;
    }
    for (uint32_t i = 2; i < n; i++) {
        if (text[i] < 0x80 || text[i] > 0xBF) {
            return 0;
        }
    }
    return n;
}

char *inspect_text(const char *text, uint64_t bytes)
{
    char *copy = malloc(bytes + 1);
    if (!copy) {
        return NULL;
    }
    for (uint64_t i = 0; i < bytes;) {
        uint32_t n = text[i] ? character_bytes((const unsigned char *)text + i, bytes - i) : 0;
        if (n == 0) {
            copy[i++] = '?';
            continue;
        }
        memcpy(copy + i, text + i, n);
        i += n;
    }
    copy[bytes] = 0;
    return copy;
}

char *inspect_printable(const char *text, uint64_t bytes)
{
    char *copy = inspect_text(text, bytes);
    for (char *p = copy; p && *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7F) {
            *p = '?';
        } else if ((unsigned char)p[0] == 0xC2 && (unsigned char)p[1] < 0xA0) { /* C1 */
            p[0] = p[1] = '?';
        }
    }
    return copy;
}

static void count(struct inspect_summary *summary, enum dtype type, uint64_t rows, uint64_t cols)
{
    for (uint32_t i = 0; i < dtype_count() && i < INSPECT_MAX_TYPES; i++) {
        if (dtype_at(i)->dtype == type) {
            summary->weights[i] += rows * cols;
            summary->bytes[i] += dtype_matrix_bytes(dtype_at(i), rows, cols);
            summary->all_weights += rows * cols;
        }
    }
}

void inspect_summarise(const struct model_file *file, struct inspect_summary *summary)
{
    *summary = (struct inspect_summary){0};
    for (uint64_t i = 0; i < model_file_n_tensors(file); i++) {
        struct tensor_record record;
        model_file_tensor_at(file, i, &record);
        count(summary, record.type, record.rows, record.cols);
        if (role_is_slab(record.role)) {
            count(summary, record.down_type, record.cols, record.rows / 2);
        }
        summary->stored_bytes += record.stored_bytes;
        summary->raw_bytes += record.raw_bytes;
    }
    const char *text;
    const void *section;
    if (model_file_chat_template(file, &text, &summary->chat_template_bytes)) {
        summary->chat_template_bytes += summary->chat_template_bytes == 0;
    }
    if (model_file_tokenizer(file, &section, &summary->tokenizer_bytes)) {
        struct tokenizer *tokenizer = tokenizer_create(section, summary->tokenizer_bytes, NULL);
        if (tokenizer) {
            summary->tokens = tokenizer_vocabulary(tokenizer);
            tokenizer_destroy(&tokenizer);
        }
    }
}

double inspect_bits(uint64_t bytes, const struct inspect_summary *summary)
{
    return summary->all_weights ? (double)bytes * 8 / (double)summary->all_weights : 0;
}

/* Values lie in a mapped file at any address. */
uint64_t inspect_u64(const struct metadata_entry *entry, uint64_t index)
{
    uint64_t value;
    memcpy(&value, (const char *)entry->value + index * sizeof(value), sizeof(value));
    return value;
}

double inspect_f64(const struct metadata_entry *entry, uint64_t index)
{
    double value;
    memcpy(&value, (const char *)entry->value + index * sizeof(value), sizeof(value));
    return value;
}

bool inspect_bool(const struct metadata_entry *entry)
{
    return *(const uint8_t *)entry->value != 0;
}

bool inspect_is_array(enum metadata_type type)
{
    return type == METADATA_U64_ARRAY || type == METADATA_F64_ARRAY ||
           type == METADATA_STRING_ARRAY;
}

const char *inspect_codec(enum codec codec)
{
    switch (codec) {
    case CODEC_RAW:
        return "raw";
    case CODEC_ZSTD:
        return "zstd";
    case CODEC_SPLIT_ZSTD:
        return "split+zstd";
    }
    return "?";
}

const char *inspect_role(uint32_t role, char text[16])
{
    const char *name = role_name(role);
    if (name) {
        return name;
    }
    snprintf(text, 16, "role %u", role);
    return text;
}
