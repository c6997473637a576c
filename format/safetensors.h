/* Reading safetensors: one file, or a folder with model.safetensors or the shards that
 * model.safetensors.index.json lists.
 *
 * A file is 8 bytes of header length, a JSON object (name -> dtype, shape, data_offsets), and the
 * tensors, row-major and little-endian, without gaps (the format's own description, and the rules
 * of its reference reader). Files are mapped; nothing but the headers is touched at opening. Every
 * file is untrusted: what is found here has been checked.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/error.h"
#include "format/map.h"

/* X(NAME, bits of an element): every dtype the format defines. The reader knows them all, so that
 * a tensor that cannot be used can be named. */
#define SAFETENSORS_DTYPES(X) \
    X(BOOL, 8) \
    X(U8, 8) \
    X(I8, 8) \
    X(F8_E5M2, 8) \
    X(F8_E4M3, 8) \
    X(F8_E8M0, 8) \
    X(F8_E4M3FNUZ, 8) \
    X(F8_E5M2FNUZ, 8) \
    X(F4, 4) \
    X(F6_E2M3, 6) \
    X(F6_E3M2, 6) \
    X(I16, 16) \
    X(U16, 16) \
    X(F16, 16) \
    X(BF16, 16) \
    X(I32, 32) \
    X(U32, 32) \
    X(F32, 32) \
    X(F64, 64) \
    X(I64, 64) \
    X(U64, 64) \
    X(C64, 64)

enum safetensors_dtype {
#define X(NAME, bits) SAFETENSORS_##NAME,
    SAFETENSORS_DTYPES(X)
#undef X
        SAFETENSORS_N_DTYPES
};
/* "BF16" */
const char *safetensors_dtype_name(enum safetensors_dtype dtype);
/* F32, F16 or BF16: what safetensors_read takes. */
bool safetensors_is_float(enum safetensors_dtype dtype);

#define SAFETENSORS_MAX_RANK 8
#define SAFETENSORS_MAX_NAME 512 /* bytes, without the NUL */

struct safetensors_tensor {
    char *name;
    enum safetensors_dtype dtype;
    uint32_t rank;
    uint64_t shape[SAFETENSORS_MAX_RANK];
    uint64_t elements;
    uint64_t bytes;
    const uint8_t *data; /* in the mapping, not aligned */
    uint32_t file;       /* index into files */
};

struct safetensors {
    struct map *files;
    uint32_t n_files;
    struct safetensors_tensor *tensors; /* sorted by name, names unique */
    uint64_t n_tensors;
    uint64_t n_unlisted; /* tensors in shards that the index does not name: left out */
};

/* On failure nothing is left to close. */
bool safetensors_open(struct safetensors *st, const char *path, struct error *err);
/* model.safetensors if it is there, else the shards of model.safetensors.index.json. */
bool safetensors_open_folder(struct safetensors *st, const char *folder, struct error *err);
void safetensors_close(struct safetensors *st);

/* NULL if there is no tensor of this name. */
const struct safetensors_tensor *safetensors_find(const struct safetensors *st, const char *name);

/* Elements [first, first + n) as floats; all of them must lie inside the tensor and its dtype must
 * be a float. Any number of threads at once. */
void safetensors_read(const struct safetensors_tensor *tensor, uint64_t first, uint64_t n,
                      float *values);

/* Tells the system that elements [first, first + n) are not needed again soon, so that a file
 * larger than memory can be read through. Reading them again is allowed, and slower. */
void safetensors_release(const struct safetensors *st, const struct safetensors_tensor *tensor,
                         uint64_t first, uint64_t n);

/* "[2048, 256]"; returns text. */
#define SAFETENSORS_SHAPE_TEXT (SAFETENSORS_MAX_RANK * 22 + 3)
const char *safetensors_shape_text(const uint64_t *shape, uint32_t rank,
                                   char text[SAFETENSORS_SHAPE_TEXT]);
