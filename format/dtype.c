#include "format/dtype.h"

#include <stddef.h>
#include <string.h>

static const struct dtype_info infos[] = {
#define N_PLANES(...) (sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))
#define X(NAME, id, text, elements, bytes, ...) \
    {.name = text, \
     .dtype = DTYPE_##NAME, \
     .block_elements = elements, \
     .ggml_block_bytes = bytes, \
     .n_planes = N_PLANES(__VA_ARGS__), \
     .plane_bytes = {__VA_ARGS__}},
    DTYPES(X)
#undef X
#undef N_PLANES
};

uint32_t dtype_count(void)
{
    return sizeof(infos) / sizeof(infos[0]);
}

const struct dtype_info *dtype_at(uint32_t index)
{
    return &infos[index];
}

const struct dtype_info *dtype_info(uint32_t id)
{
    for (uint32_t i = 0; i < dtype_count(); i++) {
        if ((uint32_t)infos[i].dtype == id) {
            return &infos[i];
        }
    }
    return NULL;
}

const struct dtype_info *dtype_find(const char *name)
{
    for (uint32_t i = 0; i < dtype_count(); i++) {
        if (strcmp(infos[i].name, name) == 0) {
            return &infos[i];
        }
    }
    return NULL;
}

const char *dtype_name(uint32_t id)
{
    if (id == DTYPE_U32) {
        return "u32";
    }
    const struct dtype_info *type = dtype_info(id);
    return type ? type->name : "?";
}

uint64_t dtype_row_stride(const struct dtype_info *type, uint32_t plane, uint64_t cols)
{
    uint64_t bytes = cols / type->block_elements * type->plane_bytes[plane];
    return (bytes + DTYPE_ROW_ALIGN - 1) / DTYPE_ROW_ALIGN * DTYPE_ROW_ALIGN;
}

uint64_t dtype_plane_offset(const struct dtype_info *type, uint32_t plane, uint64_t rows,
                            uint64_t cols)
{
    uint64_t offset = 0;
    for (uint32_t p = 0; p < plane; p++) {
        offset += rows * dtype_row_stride(type, p, cols);
    }
    return offset;
}

uint64_t dtype_matrix_bytes(const struct dtype_info *type, uint64_t rows, uint64_t cols)
{
    return dtype_plane_offset(type, type->n_planes, rows, cols);
}

bool dtype_matrix_fits(const struct dtype_info *type, uint64_t rows, uint64_t cols)
{
    const uint64_t limit = UINT64_C(1) << 62;
    if (rows == 0 || cols == 0 || cols % type->block_elements != 0 || cols > limit / 64) {
        return false;
    }
    return rows <= limit / dtype_matrix_bytes(type, 1, cols);
}
