/* GGUF files that lie: truncation at every byte, flipped bits, and the list of known attacks. Each
 * is refused with one sentence, or opened with nothing outside the file in reach. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/format/gguf_bytes.h"

/* Touches all that an opened file offers, for the sanitizers to watch. */
static uint64_t touch(const struct gguf *gguf)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < gguf->n_pairs; i++) {
        const struct gguf_pair *pair = &gguf->pairs[i];
        const char *text;
        uint64_t bytes;
        for (struct gguf_strings walk = gguf_strings(pair);
             gguf_next_string(&walk, &text, &bytes);) {
            sum += bytes ? (uint8_t)text[bytes - 1] : 0;
        }
        double real;
        sum += pair->count && gguf_value_f64(pair, pair->count - 1, &real);
        sum += pair->key_bytes ? (uint8_t)pair->key[pair->key_bytes - 1] : 0;
    }
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        const struct gguf_tensor *tensor = &gguf->tensors[i];
        sum += tensor->bytes ? tensor->data[0] + tensor->data[tensor->bytes - 1] : 0;
        cr_assert_leq(tensor->data + tensor->bytes,
                      gguf->files[tensor->file].data + gguf->files[tensor->file].bytes);
    }
    return sum;
}

Test(gguf_damage, truncated_at_every_byte)
{
    for (size_t length = 1; length < 352; length++) {
        struct gguf_bytes file = {0};
        struct gguf gguf;
        struct error err = {""};
        gguf_bytes_example(&file);
        file.bytes = length;
        bool opened = gguf_bytes_open(&file, &gguf, &err);
        /* Only the padding behind the last tensor may be missing. */
        cr_assert_eq(opened, length >= 324, "%zu bytes: %s", length, err.text);
        if (opened) {
            touch(&gguf);
            gguf_close(&gguf);
        } else {
            cr_assert(strstr(err.text, "model.gguf"), "%s", err.text);
        }
    }
}

Test(gguf_damage, flipped_bits)
{
    struct check_random random = {11};
    uint64_t opened = 0, sum = 0;
    for (int i = 0; i < 4000; i++) {
        struct gguf_bytes file = {0};
        struct gguf gguf;
        struct error err = {""};
        gguf_bytes_example(&file);
        uint32_t flips = 1 + check_random_below(&random, 4);
        for (uint32_t f = 0; f < flips; f++) {
            file.data[check_random_below(&random, 260)] ^= 1u << check_random_below(&random, 8);
        }
        if (gguf_bytes_open(&file, &gguf, &err)) {
            opened++;
            sum += touch(&gguf);
            gguf_close(&gguf);
        } else {
            cr_assert(err.text[0]);
        }
    }
    cr_expect_gt(opened, 20);
    cr_expect_gt(sum, 0);
}

/* Every field of 8 bytes of the head, set to every number that overflows something. */
Test(gguf_damage, extreme_numbers_at_every_byte)
{
    static const uint64_t numbers[] = {0,
                                       1,
                                       UINT64_MAX,
                                       INT64_MAX,
                                       (uint64_t)INT64_MAX + 1,
                                       UINT64_C(1) << 32,
                                       UINT32_MAX,
                                       UINT64_MAX - 31,
                                       UINT64_C(1) << 62,
                                       352};
    for (size_t at = 4; at < 252; at++) {
        for (size_t n = 0; n < sizeof(numbers) / sizeof(numbers[0]); n++) {
            for (size_t bytes = 4; bytes <= 8; bytes += 4) {
                struct gguf_bytes file = {0};
                struct gguf gguf;
                struct error err = {""};
                gguf_bytes_example(&file);
                memcpy(file.data + at, &numbers[n], bytes);
                if (gguf_bytes_open(&file, &gguf, &err)) {
                    touch(&gguf);
                    gguf_close(&gguf);
                } else {
                    cr_assert(err.text[0]);
                }
            }
        }
    }
}

Test(gguf_damage, headers)
{
    struct gguf_bytes file = {0};
    gguf_bytes_put(&file, "GGML\3\0\0\0", 8);
    gguf_bytes_refused(&file, "is not a GGUF file");
    static const struct {
        uint32_t version;
        const char *part;
    } versions[] = {
        {0, "version 0"}, {1, "version 1"}, {4, "version 4"}, {0x03000000, "big-endian"}};
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        gguf_bytes_example(&file);
        memcpy(file.data + 4, &versions[i].version, 4);
        gguf_bytes_refused(&file, versions[i].part);
    }
    static const uint64_t counts[] = {INT64_MAX, UINT64_MAX, UINT64_C(1) << 40, 400};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        gguf_bytes_example(&file);
        memcpy(file.data + 8, &counts[i], 8);
        gguf_bytes_refused(&file, "tensors, more than it can have");
        gguf_bytes_example(&file);
        memcpy(file.data + 16, &counts[i], 8);
        gguf_bytes_refused(&file, "metadata keys, more than it can have");
    }
}

Test(gguf_damage, values)
{
    struct gguf_bytes file = {0};
    gguf_bytes_header(&file, 0, 1);
    gguf_bytes_text(&file, "k");
    gguf_bytes_u32(&file, GGUF_STRING);
    gguf_bytes_u64(&file, UINT64_MAX);
    gguf_bytes_refused(&file, "\"k\" has a string that ends behind the file");
    gguf_bytes_header(&file, 0, 1);
    gguf_bytes_text(&file, "k");
    gguf_bytes_u32(&file, GGUF_ARRAY);
    gguf_bytes_u32(&file, GGUF_STRING);
    gguf_bytes_u64(&file, UINT64_C(1) << 30);
    gguf_bytes_refused(&file, "\"k\" has an array that is longer than the file");
    gguf_bytes_header(&file, 0, 1);
    gguf_bytes_text(&file, "k");
    gguf_bytes_u32(&file, GGUF_ARRAY);
    gguf_bytes_u32(&file, GGUF_F64);
    gguf_bytes_u64(&file, UINT64_C(1) << 61); /* times 8 is 2^64 */
    gguf_bytes_refused(&file, "\"k\" has an array that is longer than the file");
    gguf_bytes_header(&file, 0, 1);
    gguf_bytes_text(&file, "k");
    gguf_bytes_u32(&file, GGUF_ARRAY);
    gguf_bytes_u32(&file, GGUF_ARRAY);
    gguf_bytes_u64(&file, 1);
    gguf_bytes_data(&file, 64);
    gguf_bytes_refused(&file, "an array of arrays");
    gguf_bytes_header(&file, 0, 1);
    gguf_bytes_text(&file, "k");
    gguf_bytes_u32(&file, 13);
    gguf_bytes_data(&file, 64);
    gguf_bytes_refused(&file, "\"k\" has a value of unknown type");
    gguf_bytes_header(&file, 0, 1);
    gguf_bytes_text(&file, "k");
    gguf_bytes_u32(&file, GGUF_ARRAY);
    gguf_bytes_u32(&file, 99);
    gguf_bytes_data(&file, 64);
    gguf_bytes_refused(&file, "\"k\" is an array of an unknown type");
}

Test(gguf_damage, keys_and_alignment)
{
    struct gguf_bytes file = {0};
    gguf_bytes_header(&file, 0, 3);
    gguf_bytes_pair_u32(&file, "same", 1);
    gguf_bytes_pair_u32(&file, "other", 1);
    gguf_bytes_pair_text(&file, "same", "x");
    gguf_bytes_refused(&file, "key \"same\" occurs twice");
    gguf_bytes_header(&file, 0, 1);
    gguf_bytes_pair_u32(&file, "", 1);
    gguf_bytes_refused(&file, "metadata key number 1 is empty");
    static const char *const bad[] = {"a\xFF", "\xC0\x80", "a\x1B[2J", "\xED\xA0\x80", "\xE2\x82"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        gguf_bytes_header(&file, 0, 1);
        gguf_bytes_pair_u32(&file, bad[i], 1);
        gguf_bytes_refused(&file, "metadata key number 1 is not text");
    }
    static const uint32_t alignments[] = {0, 3, 33};
    for (size_t i = 0; i < sizeof(alignments) / sizeof(alignments[0]); i++) {
        gguf_bytes_header(&file, 0, 1);
        gguf_bytes_pair_u32(&file, "general.alignment", alignments[i]);
        gguf_bytes_refused(&file, "general.alignment is not a power of two");
    }
    gguf_bytes_header(&file, 0, 1);
    gguf_bytes_text(&file, "general.alignment");
    gguf_bytes_u32(&file, GGUF_U64);
    gguf_bytes_u64(&file, 32);
    gguf_bytes_refused(&file, "general.alignment is not a power of two of type u32");
    gguf_bytes_header(&file, 1, 1);
    gguf_bytes_pair_u32(&file, "general.alignment", UINT32_C(1) << 31);
    gguf_bytes_tensor(&file, "a", 1, 1, 0, 0);
    gguf_bytes_data(&file, 64);
    gguf_bytes_refused(&file, "ends behind the end of the file");
}

static void one_tensor(struct gguf_bytes *file, const char *name, uint64_t cols, uint64_t rows,
                       uint32_t type, uint64_t offset, const char *part)
{
    gguf_bytes_header(file, 1, 0);
    gguf_bytes_tensor(file, name, cols, rows, type, offset);
    gguf_bytes_data(file, 256);
    gguf_bytes_refused(file, part);
}

Test(gguf_damage, tensors)
{
    struct gguf_bytes file = {0};
    one_tensor(&file, "a", UINT64_C(1) << 32, UINT64_C(1) << 32, 0, 0, "impossible shape");
    one_tensor(&file, "a", UINT64_MAX, 1, 0, 0, "impossible shape");
    one_tensor(&file, "a", INT64_MAX, 1, 0, 0, "impossible size");
    one_tensor(&file, "a", UINT64_C(1) << 60, 1, 0, 0, "ends behind the end"); /* exabytes */
    one_tensor(&file, "a", 33, 1, 2, 0, "not a whole number of blocks");
    one_tensor(&file, "a", 8, 1, 0, 4, "not aligned");
    one_tensor(&file, "a", 8, 1, 0, 32, "leaves a gap");
    one_tensor(&file, "a", 8, 1, 0, UINT64_MAX - 31, "leaves a gap");
    one_tensor(&file, "a", 65, 1, 0, 0, "ends behind the end");
    one_tensor(&file, "", 8, 1, 0, 0, "tensor number 1 is empty");
    char name[65];
    memset(name, 'n', 64);
    name[64] = 0;
    one_tensor(&file, name, 8, 1, 0, 0, "longer than 63 bytes");
    name[63] = 0;
    one_tensor(&file, name, 8, 1, 0, 32, "leaves a gap"); /* 63 are allowed */
    one_tensor(&file, "a\n", 8, 1, 0, 0, "is not text");
    gguf_bytes_header(&file, 1, 0);
    gguf_bytes_tensor(&file, "a", 8, 1, 0, 0);
    file.data[file.bytes - 4 - 8 - 16 - 4] = 5; /* n_dims */
    gguf_bytes_data(&file, 256);
    gguf_bytes_refused(&file, "more than 4 dimensions");
}

Test(gguf_damage, several_tensors)
{
    struct gguf_bytes file = {0};
    gguf_bytes_header(&file, 2, 0);
    gguf_bytes_tensor(&file, "a", 8, 2, 0, 0);
    gguf_bytes_tensor(&file, "b", 8, 2, 0, 32);
    gguf_bytes_data(&file, 256);
    gguf_bytes_refused(&file, "\"b\" overlaps");
    gguf_bytes_header(&file, 2, 0);
    gguf_bytes_tensor(&file, "a", 8, 2, 0, 0);
    gguf_bytes_tensor(&file, "a", 8, 2, 0, 64);
    gguf_bytes_data(&file, 256);
    gguf_bytes_refused(&file, "\"a\" occurs twice");
    /* Behind a type of unknown size: not before it either. */
    gguf_bytes_header(&file, 3, 0);
    gguf_bytes_tensor(&file, "a", 8, 2, 0, 0);
    gguf_bytes_tensor(&file, "b", 8, 2, 999, 64);
    gguf_bytes_tensor(&file, "c", 8, 2, 0, 32);
    gguf_bytes_data(&file, 256);
    gguf_bytes_refused(&file, "\"c\" overlaps");
}

Test(gguf_damage, what_is_not_a_file)
{
    struct gguf gguf;
    struct error err = {""};
    cr_expect(!gguf_open(&gguf, check_temp_dir(), &err) && strstr(err.text, "folder"));
    cr_expect(!gguf_open(&gguf, check_path(check_temp_dir(), "absent.gguf"), &err) &&
              strstr(err.text, "does not exist"));
    cr_expect(!gguf_is_file(check_path(check_temp_dir(), "absent.gguf")));
    cr_expect(!gguf_is_file(check_temp_dir()));
    const char *piece = check_path(check_temp_dir(), "m.gguf-split-b");
    cr_assert(check_write_file(piece, "abcdefgh", 8));
    cr_expect(!gguf_open(&gguf, piece, &err) && strstr(err.text, "join the pieces"), "%s",
              err.text);
}
