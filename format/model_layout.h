/* The records of a .moxie file as they lie on disk; format/README.md says what each field means.
 * Shared by the reader and the writer. They are used in place: the file is little-endian, and so is
 * every machine this builds for. */
#pragma once

#include <assert.h>
#include <stdint.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, ".moxie files are used in place");

#define LAYOUT_MAGIC "\x89MOXIE\r\n" /* 8 bytes without the terminator */
#define LAYOUT_VERSION 1
#define LAYOUT_PAGE 4096       /* sections, slabs and the section table start at multiples */
#define LAYOUT_TENSOR_ALIGN 64 /* matrices; down within a slab */
#define LAYOUT_MAX_SECTIONS 1024
#define LAYOUT_MAX_METADATA (UINT64_C(1) << 20)
#define LAYOUT_MAX_KEY 255
#define LAYOUT_MAX_TENSORS (UINT64_C(1) << 24)
#define LAYOUT_MAX_NAME 512
#define LAYOUT_MAX_DIMENSION INT32_MAX
#define LAYOUT_MAX_LAYERS 65536
#define LAYOUT_MAX_EXPERTS 65536
/* Of a Zstandard frame: 4 bytes repeat one byte 128 Ki times. */
#define LAYOUT_MAX_EXPANSION 32768
#define LAYOUT_WINDOW_LOG 27

/* X(NAME, number, "name for people") */
#define LAYOUT_SECTIONS(X) \
    X(METADATA, 1, "metadata") \
    X(TOKENIZER, 2, "tokenizer") \
    X(CHAT_TEMPLATE, 3, "chat template") \
    X(TENSOR_INDEX, 4, "tensor index") \
    X(EXPERT_DIRECTORY, 5, "expert directory") \
    X(USAGE, 6, "usage statistics") \
    X(WEIGHTS, 7, "weights")

enum layout_kind {
#define X(NAME, number, name) LAYOUT_##NAME = number,
    LAYOUT_SECTIONS(X)
#undef X
        LAYOUT_KINDS = 8, /* one more than the last */
};

enum layout_section_flags {
    LAYOUT_MUST_UNDERSTAND = 1,
};

struct layout_header {
    uint8_t magic[8];
    uint32_t version;
    uint32_t flags;
    uint64_t file_bytes;
    uint64_t table_offset;
    uint32_t n_sections;
    uint32_t section_record_bytes;
    uint64_t table_xxh3;
    uint64_t zero;
    uint64_t header_xxh3; /* of all bytes before */
};

struct layout_section {
    uint32_t kind;
    uint32_t flags;
    uint32_t codec;
    uint32_t zero;
    uint64_t offset;
    uint64_t stored_bytes;
    uint64_t raw_bytes;
    uint64_t xxh3;
    uint64_t zeros[2];
};

/* The first 16 bytes of metadata, tensor index and expert directory; records follow. */
struct layout_list {
    uint64_t count;
    uint64_t pool_bytes;
};

struct layout_metadata {
    uint64_t key_offset;
    uint32_t key_bytes;
    uint32_t type;
    uint64_t value;
    uint64_t count;
};

struct layout_tensor {
    uint64_t name_offset;
    uint32_t name_bytes;
    uint32_t role;
    uint32_t layer;
    uint32_t expert;
    uint32_t type;
    uint32_t down_type;
    uint64_t rows;
    uint64_t cols;
    uint64_t down_offset;
    uint32_t codec;
    uint32_t zero;
    uint64_t offset;
    uint64_t stored_bytes;
    uint64_t raw_bytes;
    uint64_t xxh3;
};

struct layout_expert_layer {
    uint32_t layer;
    uint32_t n_experts;
    uint64_t first_record;
    uint64_t base;
    uint64_t slab_bytes;
    uint64_t stride;
    uint64_t zero;
};

static_assert(sizeof(struct layout_header) == 64, "as specified");
static_assert(sizeof(struct layout_section) == 64, "as specified");
static_assert(sizeof(struct layout_list) == 16, "as specified");
static_assert(sizeof(struct layout_metadata) == 32, "as specified");
static_assert(sizeof(struct layout_tensor) == 96, "as specified");
static_assert(sizeof(struct layout_expert_layer) == 48, "as specified");

/* alignment is a power of two; value is far from the end of the range. */
static inline uint64_t layout_align(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

/* The rule of metadata keys and tensor names. */
static inline int layout_is_name(const char *text, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++) {
        if (text[i] < 0x21 || text[i] > 0x7E) {
            return 0;
        }
    }
    return bytes > 0;
}
