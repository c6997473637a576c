#include "tests/tools/raw_checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

static uint64_t element_bytes(const char *dtype)
{
    return strcmp(dtype, "F32") == 0 ? 4 : strstr(dtype, "16") ? 2 : 1;
}

static struct raw_tensor *add(struct raw_checkpoint *checkpoint, const char *name,
                              const char *dtype, const uint64_t *shape)
{
    cr_assert_lt(checkpoint->n, sizeof(checkpoint->tensors) / sizeof(checkpoint->tensors[0]));
    struct raw_tensor *tensor = &checkpoint->tensors[checkpoint->n++];
    *tensor = (struct raw_tensor){.dtype = dtype, .elements = 1};
    snprintf(tensor->name, sizeof(tensor->name), "%s", name);
    for (; shape[tensor->rank]; tensor->rank++) {
        tensor->shape[tensor->rank] = shape[tensor->rank];
        tensor->elements *= shape[tensor->rank];
    }
    tensor->bytes = malloc(tensor->elements * element_bytes(dtype));
    cr_assert(tensor->bytes);
    return tensor;
}

void raw_checkpoint_add(struct raw_checkpoint *checkpoint, const char *name, const char *dtype,
                        const uint64_t *shape)
{
    struct raw_tensor *tensor = add(checkpoint, name, dtype, shape);
    for (uint64_t i = 0; i < tensor->elements; i++) {
        float value = check_random_float(&checkpoint->random, -1, 1);
        uint32_t bits;
        memcpy(&bits, &value, sizeof(bits));
        uint16_t upper = (uint16_t)(bits >> 16); /* as BF16, and some number as F16 */
        if (strcmp(dtype, "F32") == 0) {
            memcpy(tensor->bytes + 4 * i, &value, 4);
        } else if (strcmp(dtype, "BF16") == 0) {
            memcpy(tensor->bytes + 2 * i, &upper, 2);
        } else if (strcmp(dtype, "F16") == 0) {
            upper = (uint16_t)(0x2000u + check_random_below(&checkpoint->random, 0x1C00));
            memcpy(tensor->bytes + 2 * i, &upper, 2);
        } else {
            uint32_t byte = check_random_below(&checkpoint->random, 256);
            tensor->bytes[i] = (uint8_t)((byte & 127) == 127 ? byte - 1 : byte);
        }
    }
}

void raw_checkpoint_add_bytes(struct raw_checkpoint *checkpoint, const char *name, uint32_t low,
                              uint32_t high, const uint64_t *shape)
{
    struct raw_tensor *tensor = add(checkpoint, name, "U8", shape);
    for (uint64_t i = 0; i < tensor->elements; i++) {
        tensor->bytes[i] = (uint8_t)(low + check_random_below(&checkpoint->random, high - low));
    }
}

const struct raw_tensor *raw_checkpoint_find(const struct raw_checkpoint *checkpoint,
                                             const char *name)
{
    for (uint32_t i = 0; i < checkpoint->n; i++) {
        if (strcmp(checkpoint->tensors[i].name, name) == 0) {
            return &checkpoint->tensors[i];
        }
    }
    cr_assert_fail("%s", name);
    return NULL;
}

float raw_checkpoint_value(const struct raw_tensor *tensor, uint64_t i)
{
    cr_assert_lt(i, tensor->elements);
    if (strcmp(tensor->dtype, "F32") == 0) {
        float value;
        memcpy(&value, tensor->bytes + 4 * i, 4);
        return value;
    }
    if (strcmp(tensor->dtype, "BF16") == 0) {
        uint32_t bits = (uint32_t)tensor->bytes[2 * i + 1] << 24 | tensor->bytes[2 * i] << 16;
        float value;
        memcpy(&value, &bits, 4);
        return value;
    }
    if (strcmp(tensor->dtype, "F16") == 0) { /* normal and positive */
        uint32_t bits = (uint32_t)(tensor->bytes[2 * i + 1] << 8 | tensor->bytes[2 * i]);
        return ldexpf((float)(1024 + (bits & 1023)), (int)(bits >> 10) - 25);
    }
    uint32_t byte = tensor->bytes[i]; /* F8_E4M3 */
    int exponent = (int)(byte >> 3 & 15);
    float magnitude =
        exponent ? ldexpf((float)(8 + (byte & 7)), exponent - 10) : ldexpf((float)(byte & 7), -9);
    return byte & 128 ? -magnitude : magnitude;
}

/* Removed at the end; check_temp_dir removes only files. */
static char folders[32][512];
static uint32_t n_folders;

static void remove_folders(void)
{
    for (uint32_t i = 0; i < n_folders; i++) {
        unlink(check_path(folders[i], "config.json"));
        unlink(check_path(folders[i], "model.safetensors"));
        rmdir(folders[i]);
    }
}

static void write_tensors(const struct raw_checkpoint *checkpoint, const char *path)
{
    char *header;
    size_t header_bytes;
    FILE *text = open_memstream(&header, &header_bytes);
    uint64_t begin = 0;
    for (uint32_t i = 0; i < checkpoint->n; i++) {
        const struct raw_tensor *tensor = &checkpoint->tensors[i];
        uint64_t end = begin + tensor->elements * element_bytes(tensor->dtype);
        fprintf(text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "{", tensor->name,
                tensor->dtype);
        for (uint32_t d = 0; d < tensor->rank; d++) {
            fprintf(text, "%s%" PRIu64, d ? "," : "", tensor->shape[d]);
        }
        fprintf(text, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, end);
        begin = end;
    }
    fprintf(text, "}");
    fclose(text);
    uint64_t length = header_bytes;
    FILE *file = fopen(path, "wb");
    cr_assert(file);
    fwrite(&length, 8, 1, file);
    fwrite(header, 1, header_bytes, file);
    for (uint32_t i = 0; i < checkpoint->n; i++) {
        const struct raw_tensor *tensor = &checkpoint->tensors[i];
        fwrite(tensor->bytes, element_bytes(tensor->dtype), tensor->elements, file);
    }
    cr_assert_eq(fclose(file), 0);
    free(header);
}

const char *raw_checkpoint_write(const struct raw_checkpoint *checkpoint, const char *name,
                                 const char *config)
{
    const char *temp = check_temp_dir(); /* removed after our folders */
    if (n_folders == 0) {
        atexit(remove_folders);
    }
    cr_assert(n_folders < sizeof(folders) / sizeof(folders[0]));
    char *folder = folders[n_folders++];
    snprintf(folder, sizeof(folders[0]), "%s/%s", temp, name);
    cr_assert(mkdir(folder, 0755) == 0);
    cr_assert(check_write_file(check_path(folder, "config.json"), config, strlen(config)));
    write_tensors(checkpoint, check_path(folder, "model.safetensors"));
    return folder;
}

void raw_checkpoint_free(struct raw_checkpoint *checkpoint)
{
    for (uint32_t i = 0; i < checkpoint->n; i++) {
        free(checkpoint->tensors[i].bytes);
    }
    free(checkpoint);
}
