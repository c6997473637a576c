/* Damaged and hostile files: never a crash, always a sentence. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/model_file.h"
#include "tests/check.h"
#include "tests/format/model_sample.h"

static const char *sample_path;
static struct image sample_image;

static void make_sample(enum compress compress)
{
    sample_path = check_path(check_temp_dir(), "damaged.moxie");
    struct sample *sample = sample_new(8);
    sample_write(sample, sample_path, compress);
    sample_free(sample);
    sample_image = image_read(sample_path);
}

static bool opens(struct error *err)
{
    struct model_file file;
    bool ok = model_file_open(&file, sample_path, err);
    model_file_close(&file);
    return ok;
}

static bool opens_and_verifies(struct error *err)
{
    struct model_file file;
    bool ok = model_file_open(&file, sample_path, err) && model_file_verify(&file, NULL, NULL, err);
    model_file_close(&file);
    return ok;
}

/* ---- truncation ---- */

static void truncate_to(uint64_t bytes)
{
    struct error err = {0};
    struct image cut = {sample_image.data, bytes};
    image_write(&cut, sample_path);
    cr_assert_not(opens(&err), "%zu bytes are enough", (size_t)bytes);
    const char *expected = bytes == 0 ? "is empty" : "cut short";
    cr_assert(strstr(err.text, expected), "%zu bytes: %s", (size_t)bytes, err.text);
}

Test(model_damage, truncation)
{
    make_sample(COMPRESS_NONE);
    struct image *image = &sample_image;
    struct layout_section *sections = (void *)(image->data + image_header(image)->table_offset);
    for (uint32_t i = 0; i < image_header(image)->n_sections; i++) {
        uint64_t start = sections[i].offset, end = start + sections[i].stored_bytes;
        for (int delta = -1; delta <= 1; delta++) {
            truncate_to(start + (uint64_t)delta);
            truncate_to(end + (uint64_t)delta);
        }
    }
    struct check_random random = {1};
    for (int i = 0; i < 200; i++) {
        truncate_to(check_random_u64(&random) % image->bytes);
    }
    for (uint64_t bytes = 0; bytes < 80; bytes++) {
        truncate_to(bytes);
    }
    truncate_to(image_header(image)->table_offset);
    truncate_to(image->bytes - 1);
}

Test(model_damage, bytes_added)
{
    make_sample(COMPRESS_NONE);
    struct error err = {0};
    struct image longer = {calloc(1, sample_image.bytes + 4096), sample_image.bytes + 1};
    memcpy(longer.data, sample_image.data, sample_image.bytes);
    image_write(&longer, sample_path);
    cr_assert_not(opens(&err));
    cr_assert(strstr(err.text, "too long"), "%s", err.text);
    longer.bytes = sample_image.bytes + 4096;
    image_header(&longer)->file_bytes = longer.bytes;
    image_seal(&longer);
    image_write(&longer, sample_path);
    cr_assert_not(opens(&err));
    cr_assert(strstr(err.text, "bytes follow its last section"), "%s", err.text);
    image_free(&longer);
}

/* ---- flipped bits ---- */

/* The file becomes the sample with one bit flipped; the flip before is undone. */
static void flip(uint64_t byte, int bit)
{
    static uint64_t previous;
    uint8_t flipped = sample_image.data[byte] ^ (uint8_t)(1u << bit);
    int file = open(sample_path, O_WRONLY);
    cr_assert_eq(pwrite(file, &sample_image.data[previous], 1, (off_t)previous), 1);
    cr_assert_eq(pwrite(file, &flipped, 1, (off_t)byte), 1);
    close(file);
    previous = byte;
}

static void flip_at_random(enum compress compress)
{
    make_sample(compress);
    struct check_random random = {2};
    for (int i = 0; i < 500; i++) {
        struct error err = {0};
        uint64_t byte = check_random_u64(&random) % sample_image.bytes;
        int bit = (int)check_random_below(&random, 8);
        flip(byte, bit);
        cr_assert_not(opens_and_verifies(&err), "byte %zu bit %d", (size_t)byte, bit);
        cr_assert(strstr(err.text, sample_path), "%s", err.text);
    }
}

Test(model_damage, flips_anywhere)
{
    flip_at_random(COMPRESS_NONE);
}

Test(model_damage, flips_anywhere_compressed)
{
    flip_at_random(COMPRESS_ZSTD);
}

Test(model_damage, flips_in_header_and_table)
{
    make_sample(COMPRESS_NONE);
    uint64_t table = image_header(&sample_image)->table_offset;
    for (uint64_t bit = 0; bit < 64 * 8; bit++) {
        struct error err = {0};
        flip(bit / 8, (int)(bit % 8));
        cr_assert_not(opens(&err), "header bit %zu", (size_t)bit);
    }
    for (uint64_t byte = table; byte < sample_image.bytes; byte++) {
        struct error err = {0};
        flip(byte, (int)(byte * 3 % 8));
        cr_assert_not(opens(&err));
        cr_assert(strstr(err.text, "section table"), "%s", err.text);
    }
}

/* Sections that opening uses are refused at once, by name; the others, and tensors, by verify. */
Test(model_damage, flips_are_named)
{
    make_sample(COMPRESS_NONE);
    for (uint32_t kind = LAYOUT_METADATA; kind <= LAYOUT_EXPERT_DIRECTORY; kind++) {
        static const char *const names[] = {
            "", "metadata", "tokenizer", "chat template", "tensor index", "expert directory"};
        const struct layout_section *section = image_section(&sample_image, kind);
        struct check_random random = {kind};
        for (int i = 0; i < 40; i++) {
            struct error err = {0};
            flip(section->offset + check_random_u64(&random) % section->stored_bytes, i % 8);
            cr_assert_not(opens(&err));
            cr_assert(strstr(err.text, names[kind]), "%s", err.text);
        }
    }
    const struct layout_tensor *tensors = image_tensors(&sample_image);
    const char *pool = (const char *)(tensors + image_list(&sample_image, 4)->count);
    for (uint64_t t = 0; t < image_list(&sample_image, LAYOUT_TENSOR_INDEX)->count; t++) {
        struct error err = {0};
        char name[64] = "tensor ";
        strncat(name, pool + tensors[t].name_offset, tensors[t].name_bytes);
        flip(tensors[t].offset + tensors[t].stored_bytes * 2 / 3, (int)(t % 8));
        cr_assert(opens(&err), "%s", err.text);
        cr_assert_not(opens_and_verifies(&err));
        cr_assert(strstr(err.text, name), "%s: %s", name, err.text);
    }
}

Test(model_damage, flips_in_padding)
{
    make_sample(COMPRESS_NONE);
    struct image *image = &sample_image;
    const struct layout_tensor *tensors = image_tensors(image);
    uint64_t places[] = {64,
                         4095,
                         tensors[0].offset + tensors[0].stored_bytes,
                         image_section(image, LAYOUT_METADATA)->offset - 1,
                         image_section(image, LAYOUT_TENSOR_INDEX)->offset - 1,
                         image_header(image)->table_offset - 1};
    /* The first tensor is followed by one that is aligned to more than its length. */
    uint64_t count = image_list(image, LAYOUT_TENSOR_INDEX)->count;
    for (uint64_t t = 1; t < count; t++) {
        if (tensors[t].offset > tensors[t - 1].offset + tensors[t - 1].stored_bytes) {
            places[2] = tensors[t].offset - 1;
        }
    }
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct error err = {0};
        cr_assert_eq(image->data[places[i]], 0, "place %zu is no padding", i);
        flip(places[i], 5);
        cr_assert(opens(&err), "%s", err.text);
        cr_assert_not(opens_and_verifies(&err));
        cr_assert(strstr(err.text, "padding"), "%s", err.text);
    }
}

/* ---- hostile tables, all checksums right ---- */

#define HUGE_COUNT (UINT64_C(1) << 63)

/* Changes a copy of the image in `change`, seals it, and expects a refusal that says `because`. */
#define REFUSE(because, ...) \
    do { \
        struct image hostile = image_copy(&sample_image); \
        struct image *image = &hostile; \
        __VA_ARGS__; \
        image_seal(image); \
        expect_refusal(image, because, #__VA_ARGS__); \
        image_free(&hostile); \
    } while (0)

static void expect_refusal(const struct image *image, const char *because, const char *change)
{
    struct error err = {0};
    image_write(image, sample_path);
    cr_expect_not(opens(&err), "opened after %s", change);
    cr_expect(strstr(err.text, because), "after %s: \"%s\" does not say \"%s\"", change, err.text,
              because);
}

/* The first record of a kind of tensor: a matrix, a slab of layer 1, of layer 2. */
static struct layout_tensor *matrix_of(struct image *image)
{
    return image_tensors(image);
}

static struct layout_tensor *slab_of(struct image *image, uint32_t layer, uint32_t expert)
{
    struct layout_tensor *tensors = image_tensors(image);
    for (uint64_t i = 0; i < image_list(image, LAYOUT_TENSOR_INDEX)->count; i++) {
        if (tensors[i].role == ROLE_EXPERT && tensors[i].layer == layer &&
            tensors[i].expert == expert) {
            return &tensors[i];
        }
    }
    cr_assert_fail("no such slab");
    return NULL;
}

/* The helper must be able to leave a file alone. */
Test(model_damage, sealing_changes_nothing)
{
    make_sample(COMPRESS_ZSTD);
    struct image copy = image_copy(&sample_image);
    image_seal(&copy);
    cr_assert_arr_eq(copy.data, sample_image.data, copy.bytes);
    image_free(&copy);
}

Test(model_damage, hostile_header)
{
    make_sample(COMPRESS_NONE);
    REFUSE("header", image_header(image)->version = 0);
    REFUSE("does not know", image_header(image)->flags = 1);
    REFUSE("does not know", image_header(image)->zero = 1);
    REFUSE("does not know", image_header(image)->section_record_bytes = 72);
    REFUSE("cut short", image_header(image)->file_bytes = UINT64_MAX);
    REFUSE("too long", image_header(image)->file_bytes = 64);
    REFUSE("section table", image_header(image)->n_sections = 0);
    REFUSE("section table", image_header(image)->n_sections = UINT32_MAX);
    REFUSE("section table", image_header(image)->n_sections = 1025);
    REFUSE("section table", image_header(image)->n_sections += 1);
    REFUSE("section table", image_header(image)->table_offset = UINT64_MAX & ~UINT64_C(4095));
    REFUSE("section table", image_header(image)->table_offset = 0);
    REFUSE("section table", image_header(image)->table_offset += 64);
    REFUSE("section table", image_header(image)->table_offset = image->bytes);
}

Test(model_damage, hostile_sections)
{
    make_sample(COMPRESS_NONE);
    REFUSE("outside", image_section(image, 1)->offset = UINT64_MAX & ~UINT64_C(4095));
    REFUSE("outside", image_section(image, 1)->offset = HUGE_COUNT);
    REFUSE("outside", image_section(image, 7)->offset = 0);
    REFUSE("outside", image_section(image, 4)->offset += 64);
    REFUSE("outside",
           image_section(image, 2)->raw_bytes = image_section(image, 2)->stored_bytes = UINT64_MAX);
    REFUSE("makes no sense", image_section(image, 2)->stored_bytes = UINT64_MAX);
    REFUSE("makes no sense", image_section(image, 2)->flags = 2);
    REFUSE("makes no sense", image_section(image, 2)->codec = 1);
    REFUSE("makes no sense", image_section(image, 2)->zero = 1);
    REFUSE("makes no sense", image_section(image, 2)->zeros[1] = 1);
    REFUSE("overlaps", image_section(image, 2)->offset = image_section(image, 1)->offset);
    REFUSE("overlaps", image_section(image, 5)->offset = image_section(image, 4)->offset);
    REFUSE("overlaps the section table",
           image_section(image, 3)->offset = image_header(image)->table_offset);
    REFUSE("overlaps", image_section(image, 7)->raw_bytes = image_section(image, 7)->stored_bytes =
                           image->bytes - 4096);
    REFUSE("two metadata", image_section(image, 2)->kind = 1);
    REFUSE("has no metadata", image_section(image, 1)->kind = 99);
    REFUSE("has no tensor index", image_section(image, 4)->kind = 99);
    REFUSE("has no expert directory", image_section(image, 5)->kind = 0);
    REFUSE("has no weights", image_section(image, 7)->kind = UINT32_MAX);
    REFUSE("must be understood", image_section(image, 2)->flags = 1;
           image_section(image, 2)->kind = 99);
}

/* Sections that nobody knows are skipped, and verified all the same. */
Test(model_damage, unknown_sections)
{
    make_sample(COMPRESS_NONE);
    struct error err = {0};
    struct image *image = &sample_image;
    image_section(image, LAYOUT_CHAT_TEMPLATE)->kind = LAYOUT_USAGE;
    image_section(image, LAYOUT_TOKENIZER)->kind = 77777;
    image_section(image, 77777)->codec = 5;
    image_section(image, 77777)->raw_bytes = 1;
    image_seal(image);
    image_write(image, sample_path);
    cr_assert(opens_and_verifies(&err), "%s", err.text);
    flip(image_section(image, 77777)->offset + 100, 1);
    cr_assert(opens(&err), "%s", err.text);
    cr_assert_not(opens_and_verifies(&err));
    cr_assert(strstr(err.text, "kind 77777"), "%s", err.text);
    flip(image_section(image, LAYOUT_USAGE)->offset, 1);
    cr_assert_not(opens_and_verifies(&err));
    cr_assert(strstr(err.text, "usage statistics"), "%s", err.text);
}

static struct layout_metadata *key_of(struct image *image, uint32_t type)
{
    struct layout_metadata *records = image_metadata(image);
    for (uint64_t i = 0; i < image_list(image, LAYOUT_METADATA)->count; i++) {
        if (records[i].type == type && records[i].count > 0) {
            return &records[i];
        }
    }
    cr_assert_fail("no such key");
    return NULL;
}

static uint64_t *string_ends(struct image *image)
{
    struct layout_list *list = image_list(image, LAYOUT_METADATA);
    uint8_t *pool = (uint8_t *)(image_metadata(image) + list->count);
    return (void *)(pool + key_of(image, METADATA_STRING_ARRAY)->value);
}

static void swap_keys(struct image *image)
{
    struct layout_metadata *records = image_metadata(image), first = records[0];
    records[0] = records[1];
    records[1] = first;
}

Test(model_damage, hostile_metadata)
{
    make_sample(COMPRESS_NONE);
    REFUSE("contradict", image_list(image, 1)->count = HUGE_COUNT);
    REFUSE("contradict", image_list(image, 1)->count = UINT64_MAX);
    REFUSE("contradict", image_list(image, 1)->count += 1);
    REFUSE("contradict", image_list(image, 1)->count = (UINT64_C(1) << 59) + 1);
    REFUSE("contradict", image_list(image, 1)->pool_bytes = UINT64_MAX);
    REFUSE("contradict", image_list(image, 1)->pool_bytes -= 1);
    REFUSE("too short",
           image_section(image, 1)->raw_bytes = image_section(image, 1)->stored_bytes = 15);
    REFUSE("contradict",
           image_section(image, 1)->raw_bytes = image_section(image, 1)->stored_bytes -= 1);
    REFUSE("is not a text", image_metadata(image)[3].key_offset = UINT64_MAX);
    REFUSE("is not a text", image_metadata(image)[3].key_offset = image_list(image, 1)->pool_bytes);
    REFUSE("is not a text", image_metadata(image)[3].key_bytes = UINT32_MAX);
    REFUSE("is not a text", image_metadata(image)[3].key_bytes = 0);
    REFUSE("is not a text", image_metadata(image)[3].key_bytes = 256);
    REFUSE("is not a text", string_ends(image)[0] = 0;
           image_metadata(image)[0].key_offset = key_of(image, METADATA_STRING_ARRAY)->value);
    REFUSE("not in order", swap_keys(image));
    REFUSE("not in order",
           image_metadata(image)[1].key_offset = image_metadata(image)[0].key_offset;
           image_metadata(image)[1].key_bytes = image_metadata(image)[0].key_bytes);
    REFUSE("makes no sense", image_metadata(image)[2].type = 0);
    REFUSE("makes no sense", image_metadata(image)[2].type = 9);
    REFUSE("makes no sense", image_metadata(image)[2].type = UINT32_MAX);
    REFUSE("makes no sense", key_of(image, METADATA_U64)->count = 2);
    REFUSE("makes no sense", key_of(image, METADATA_BOOL)->value = 2);
    REFUSE("makes no sense", key_of(image, METADATA_STRING)->value = UINT64_MAX);
    REFUSE("makes no sense", key_of(image, METADATA_STRING)->count = UINT64_MAX);
    REFUSE("makes no sense", key_of(image, METADATA_STRING)->count = HUGE_COUNT);
    REFUSE("makes no sense", key_of(image, METADATA_U64_ARRAY)->count = UINT64_MAX);
    REFUSE("makes no sense", key_of(image, METADATA_U64_ARRAY)->count = UINT64_C(1) << 61);
    REFUSE("makes no sense", key_of(image, METADATA_U64_ARRAY)->value += 4);
    REFUSE("makes no sense", key_of(image, METADATA_F64_ARRAY)->value = UINT64_MAX & ~7ull);
    REFUSE("makes no sense", key_of(image, METADATA_STRING_ARRAY)->count = UINT64_MAX);
    REFUSE("makes no sense", key_of(image, METADATA_STRING_ARRAY)->count = HUGE_COUNT);
    REFUSE("makes no sense", string_ends(image)[3] = image_list(image, 1)->pool_bytes + 1);
    REFUSE("makes no sense", string_ends(image)[0] = UINT64_MAX);
    REFUSE("makes no sense", string_ends(image)[2] = string_ends(image)[1] - 1);
}

Test(model_damage, hostile_index)
{
    make_sample(COMPRESS_NONE);
    REFUSE("contradict", image_list(image, 4)->count = HUGE_COUNT);
    REFUSE("contradict", image_list(image, 4)->count -= 1);
    REFUSE("contradict", image_list(image, 4)->pool_bytes += 1);
    REFUSE("is not a text", matrix_of(image)->name_offset = UINT64_MAX);
    REFUSE("is not a text", matrix_of(image)->name_bytes = 513);
    REFUSE("is not a text", matrix_of(image)->name_bytes = 0);
    REFUSE("is not a text", matrix_of(image)->name_offset = image_list(image, 4)->pool_bytes - 1;
           matrix_of(image)->name_bytes = 2);
    REFUSE("is there twice", matrix_of(image)[1].name_offset = matrix_of(image)[0].name_offset;
           matrix_of(image)[1].name_bytes = matrix_of(image)[0].name_bytes);
    REFUSE("role and layer of another", matrix_of(image)[1].role = matrix_of(image)[0].role;
           matrix_of(image)[1].layer = matrix_of(image)[0].layer);
    REFUSE("lies outside the weights", matrix_of(image)->offset = 0);
    REFUSE("lies outside the weights", matrix_of(image)->offset = UINT64_MAX & ~63ull);
    REFUSE("lies outside the weights", matrix_of(image)->offset = image_section(image, 1)->offset);
    REFUSE("lies outside the weights", matrix_of(image)->stored_bytes = UINT64_MAX);
    REFUSE("lies outside the weights", matrix_of(image)->stored_bytes = HUGE_COUNT);
    REFUSE("is not aligned", matrix_of(image)[1].offset += 16;
           matrix_of(image)[0].offset = matrix_of(image)[0].offset);
    REFUSE("is not aligned", slab_of(image, 0, 0)->offset += 64);
    REFUSE("overlaps", matrix_of(image)[1].offset = matrix_of(image)[0].offset);
    REFUSE("overlaps", matrix_of(image)[1].offset -= 64);
    REFUSE("codec number 3", matrix_of(image)->codec = 3);
    REFUSE("its codec cannot give", matrix_of(image)->stored_bytes -= 1);
    REFUSE("its codec cannot give", matrix_of(image)->codec = 1; matrix_of(image)->stored_bytes = 0;
           matrix_of(image)->rows *= 2; matrix_of(image)->raw_bytes *= 2);
    REFUSE("makes no sense", matrix_of(image)->zero = 1);
    REFUSE("makes no sense", matrix_of(image)->expert = 0);
    REFUSE("makes no sense", matrix_of(image)->layer = 65536);
    REFUSE("makes no sense", slab_of(image, 1, 2)->layer = UINT32_MAX);
    REFUSE("makes no sense", slab_of(image, 1, 2)->expert = UINT32_MAX);
}

Test(model_damage, hostile_shapes)
{
    make_sample(COMPRESS_NONE);
    REFUSE("type number 40", matrix_of(image)->type = 40);
    REFUSE("type number 1000", matrix_of(image)->type = DTYPE_U32);
    REFUSE("type number 99", slab_of(image, 1, 0)->down_type = 99);
    REFUSE("impossible shape", matrix_of(image)->rows = 0);
    REFUSE("impossible shape", matrix_of(image)->cols = 0);
    REFUSE("impossible shape", matrix_of(image)->rows = HUGE_COUNT);
    REFUSE("impossible shape", matrix_of(image)->cols = UINT64_MAX);
    REFUSE("impossible shape", matrix_of(image)->rows = UINT64_C(1) << 31);
    REFUSE("impossible shape", slab_of(image, 2, 0)->cols = 255);
    REFUSE("impossible shape", slab_of(image, 2, 0)->rows = 511);
    REFUSE("impossible shape", slab_of(image, 2, 0)->rows = 2 * 128);
    REFUSE("contradicts its shape", matrix_of(image)->rows += 1);
    REFUSE("contradicts its shape", matrix_of(image)->raw_bytes += 1);
    REFUSE("contradicts its shape", matrix_of(image)->raw_bytes = UINT64_MAX);
    REFUSE("contradicts its shape", slab_of(image, 2, 0)->raw_bytes -= 64);
    REFUSE("contradicts its shape", slab_of(image, 2, 0)->down_type = DTYPE_Q8_0);
    REFUSE("contradicts its shape", slab_of(image, 2, 0)->down_offset += 64);
    REFUSE("down matrix at a wrong place", slab_of(image, 2, 0)->down_offset -= 64);
    REFUSE("down matrix at a wrong place", slab_of(image, 2, 0)->down_offset += 4096);
    REFUSE("down matrix at a wrong place", slab_of(image, 2, 0)->down_offset += 16);
    REFUSE("down matrix at a wrong place", slab_of(image, 2, 0)->down_offset = UINT64_MAX);
    REFUSE("down matrix at a wrong place", slab_of(image, 2, 0)->down_offset = HUGE_COUNT);
    REFUSE("second matrix", matrix_of(image)->down_offset = 64);
    REFUSE("second matrix", matrix_of(image)->down_type = DTYPE_Q8_0);
}

static void swap_experts(struct image *image)
{
    uint32_t second = slab_of(image, 1, 2)->expert;
    struct layout_tensor *a = slab_of(image, 1, 1), *b = slab_of(image, 1, 2);
    b->expert = a->expert;
    a->expert = second;
}

static void swap_layers(struct image *image)
{
    struct layout_expert_layer *layers = image_layers(image), first = layers[0];
    layers[0] = layers[1];
    layers[1] = first;
}

static void drop_layer(struct image *image)
{
    struct layout_section *section = image_section(image, LAYOUT_EXPERT_DIRECTORY);
    image_list(image, LAYOUT_EXPERT_DIRECTORY)->count--;
    section->stored_bytes -= sizeof(struct layout_expert_layer);
    section->raw_bytes = section->stored_bytes;
}

Test(model_damage, hostile_directory)
{
    make_sample(COMPRESS_NONE);
    REFUSE("contradict", image_list(image, 5)->count = HUGE_COUNT);
    REFUSE("contradict", image_list(image, 5)->count += 1);
    REFUSE("has a pool", image_list(image, 5)->count -= 1; image_list(image, 5)->pool_bytes += 48);
    REFUSE("number of experts", image_layers(image)[1].n_experts = 0);
    REFUSE("number of experts", image_layers(image)[1].n_experts = UINT32_MAX);
    REFUSE("number of experts", image_layers(image)[1].n_experts = 65537);
    REFUSE("number of experts", image_layers(image)[1].first_record = UINT64_MAX);
    REFUSE("number of experts", image_layers(image)[1].first_record = HUGE_COUNT);
    REFUSE("number of experts", image_layers(image)[1].zero = 1);
    REFUSE("wrong base", image_layers(image)[1].base += 4096);
    REFUSE("wrong base", image_layers(image)[1].first_record += 1);
    REFUSE("in order", image_layers(image)[1].n_experts = 5);
    REFUSE("in order", swap_experts(image));
    REFUSE("in order", slab_of(image, 1, 3)->layer = 2);
    REFUSE("in order", slab_of(image, 1, 3)->expert = 7);
    REFUSE("is not in order", swap_layers(image));
    REFUSE("is not in order", image_layers(image)[1] = image_layers(image)[0]);
    REFUSE("wrong slab size", image_layers(image)[1].slab_bytes += 4096;
           image_layers(image)[1].stride = 0);
    REFUSE("wrong slab size", image_layers(image)[2].slab_bytes = slab_of(image, 2, 0)->raw_bytes);
    REFUSE("wrong stride", image_layers(image)[1].stride += 4096);
    REFUSE("wrong stride", image_layers(image)[1].stride = 4096);
    REFUSE("wrong stride", image_layers(image)[1].stride = UINT64_MAX);
    REFUSE("wrong stride", image_layers(image)[0].stride += 4096);
    REFUSE("wrong stride", image_layers(image)[2].stride =
                               slab_of(image, 2, 1)->offset - slab_of(image, 2, 0)->offset);
    REFUSE("experts are missing", image_layers(image)[1].n_experts = 3);
    REFUSE("experts are missing", drop_layer(image));
}

/* Compressed tensors whose record is right but whose frame is not: load and verify say so. */
Test(model_damage, hostile_frames)
{
    make_sample(COMPRESS_ZSTD);
    struct error err = {0};
    struct check_random random = {9};
    for (int round = 0; round < 400; round++) {
        struct image copy = image_copy(&sample_image);
        struct layout_tensor *record = matrix_of(&copy);
        cr_assert_neq(record->codec, CODEC_RAW);
        if (round % 4 == 0) {
            record->stored_bytes -= 1 + check_random_below(&random, 100);
        } else if (round % 4 == 1) {
            record->rows += 1 + round;
            record->raw_bytes += 512 * (1 + (uint64_t)round);
        } else if (round % 4 == 2) {
            record->codec = record->codec == CODEC_ZSTD ? CODEC_SPLIT_ZSTD : CODEC_ZSTD;
            copy.data[record->offset + check_random_below(&random, 12)] ^= 0x55;
        } else {
            copy.data[record->offset + check_random_u64(&random) % record->stored_bytes] ^= 0x81;
        }
        image_seal(&copy);
        image_write(&copy, sample_path);
        struct model_file file;
        struct tensor_record found;
        cr_assert(model_file_open(&file, sample_path, &err), "%s", err.text);
        model_file_tensor_at(&file, 0, &found);
        uint8_t *out = malloc(found.raw_bytes);
        bool loaded = model_file_load(&file, &found, out, &err);
        cr_assert(!loaded || round % 4 > 1);
        cr_assert(loaded || strstr(err.text, "tensor embed is damaged"), "%s", err.text);
        /* The checksum fits: verify must decode, and come to the same verdict. */
        cr_assert_eq(model_file_verify(&file, NULL, NULL, &err), loaded);
        free(out);
        model_file_close(&file);
        image_free(&copy);
    }
}

/* Random bytes over the small sections, checksums right: anything but a crash. What still opens can
 * be walked. */
Test(model_damage, random_tables)
{
    make_sample(COMPRESS_NONE);
    struct check_random random = {10};
    int opened = 0;
    for (int round = 0; round < 1500; round++) {
        struct image copy = image_copy(&sample_image);
        static const uint32_t kinds[] = {LAYOUT_METADATA, LAYOUT_TENSOR_INDEX,
                                         LAYOUT_EXPERT_DIRECTORY};
        struct layout_section *section = image_section(&copy, kinds[round % 3]);
        uint8_t *at =
            copy.data + section->offset + check_random_u64(&random) % section->stored_bytes;
        *at = check_random_below(&random, 2) ? (uint8_t)check_random_u64(&random) : 0xFF;
        image_seal(&copy);
        image_update(&copy, sample_path);
        struct error err = {0};
        struct model_file file;
        if (model_file_open(&file, sample_path, &err)) {
            opened++;
            for (uint64_t i = 0; i < model_file_n_metadata(&file); i++) {
                struct metadata_entry entry;
                model_file_metadata_at(&file, i, &entry);
                for (uint64_t k = 0; entry.type == METADATA_STRING_ARRAY && k < entry.count; k++) {
                    const char *text;
                    uint64_t bytes;
                    model_file_string_at(&file, &entry, k, &text, &bytes);
                    cr_assert(text + bytes <= (const char *)file.map.data + file.map.bytes);
                }
            }
            model_file_verify(&file, NULL, NULL, &err);
        } else {
            cr_assert(strstr(err.text, sample_path), "%s", err.text);
        }
        model_file_close(&file);
        image_free(&copy);
    }
    cr_assert(opened > 0 && opened < 1500);
}
