/* A small .moxie file with something of everything, and what it should contain; and a file image
 * whose fields can be changed and whose checksums can be made right again. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/model_layout.h"
#include "format/model_writer.h"

#define SAMPLE_MAX_TENSORS 64

struct sample_tensor {
    char name[64];
    bool slab;
    struct tensor_spec matrix; /* of a matrix */
    struct expert_spec expert; /* of a slab */
    uint8_t *data;
    uint64_t bytes;
};

/* Layer 0: one expert (dense). Layer 1: four equal experts. Layer 2: three experts of different
 * types. Outside: matrices of every type, odd shapes, roles nobody knows. */
struct sample {
    struct sample_tensor tensors[SAMPLE_MAX_TENSORS];
    uint32_t n_tensors;
    uint8_t tokenizer[5000];
    const char *chat_template;
};

struct sample *sample_new(uint64_t seed);
void sample_free(struct sample *sample);

/* Writes it; asserts that every step succeeds. */
void sample_write(const struct sample *sample, const char *path, enum compress compress);
/* The same with the steps' result: for writing that must fail. */
bool sample_try_write(const struct sample *sample, const char *path, enum compress compress,
                      struct error *err);

struct image {
    uint8_t *data;
    uint64_t bytes;
};

struct image image_read(const char *path);
struct image image_copy(const struct image *image);
void image_free(struct image *image);
void image_write(const struct image *image, const char *path);

struct layout_header *image_header(struct image *image);
struct layout_section *image_section(struct image *image, uint32_t kind);
/* A section's bytes, and its records, which lie after the list's head. */
void *image_contents(struct image *image, uint32_t kind);
struct layout_list *image_list(struct image *image, uint32_t kind);
struct layout_tensor *image_tensors(struct image *image);
struct layout_metadata *image_metadata(struct image *image);
struct layout_expert_layer *image_layers(struct image *image);

/* Writes all but the weights over a file that held the same image. */
void image_update(struct image *image, const char *path);

/* Makes every checksum right again, of sections and tensors whose range makes sense. */
void image_seal(struct image *image);
