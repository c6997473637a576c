/* The tensor index and the expert directory of a .moxie file. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/compress.h"
#include "format/model_tables.h"

static bool tensor_fault(const struct model_file *file, const struct layout_tensor *record,
                         const char *fault, struct error *err)
{
    return error_set(err, "%s is damaged: tensor %.*s %s", file->map.path, (int)record->name_bytes,
                     file->tables->names + record->name_offset, fault);
}

static bool type_unknown(const struct model_file *file, const struct layout_tensor *record,
                         const char *what, uint32_t number, struct error *err)
{
    return error_set(err,
                     "%s: tensor %.*s has %s number %" PRIu32
                     ", which this program does not know; use a newer Moxie",
                     file->map.path, (int)record->name_bytes,
                     file->tables->names + record->name_offset, what, number);
}

/* Shape, and that the raw bytes are what it needs. */
static bool check_shape(const struct model_file *file, const struct layout_tensor *record,
                        struct error *err)
{
    const struct dtype_info *type = dtype_info(record->type);
    bool slab = role_is_slab(record->role);
    const struct dtype_info *down_type = slab ? dtype_info(record->down_type) : NULL;
    if (!type || (slab && !down_type)) {
        return type_unknown(file, record, "type", type ? record->down_type : record->type, err);
    }
    if (record->rows > LAYOUT_MAX_DIMENSION || record->cols > LAYOUT_MAX_DIMENSION ||
        !dtype_matrix_fits(type, record->rows, record->cols)) {
        return tensor_fault(file, record, "has an impossible shape", err);
    }
    uint64_t bytes = dtype_matrix_bytes(type, record->rows, record->cols);
    if (!slab) {
        if (record->down_type != 0 || record->down_offset != 0) {
            return tensor_fault(file, record, "is no expert but has a second matrix", err);
        }
    } else {
        if (record->rows % 2 != 0 ||
            !dtype_matrix_fits(down_type, record->cols, record->rows / 2)) {
            return tensor_fault(file, record, "has an impossible shape", err);
        }
        uint64_t gap = record->down_offset - bytes; /* wraps to something large if it is before */
        if (gap >= LAYOUT_PAGE || record->down_offset % LAYOUT_TENSOR_ALIGN != 0) {
            return tensor_fault(file, record, "has its down matrix at a wrong place", err);
        }
        bytes = record->down_offset + dtype_matrix_bytes(down_type, record->cols, record->rows / 2);
    }
    if (record->raw_bytes != bytes) {
        return tensor_fault(file, record, "has a length that contradicts its shape", err);
    }
    return true;
}

static bool check_place(const struct model_file *file, const struct layout_tensor *record,
                        uint64_t previous_end, struct error *err)
{
    const struct layout_section *weights = file->tables->by_kind[LAYOUT_WEIGHTS];
    uint64_t alignment = role_is_slab(record->role) ? LAYOUT_PAGE : LAYOUT_TENSOR_ALIGN;
    if (record->offset < weights->offset ||
        record->offset - weights->offset > weights->stored_bytes ||
        record->stored_bytes > weights->stored_bytes - (record->offset - weights->offset)) {
        return tensor_fault(file, record, "lies outside the weights", err);
    }
    if (record->offset < previous_end) {
        return tensor_fault(file, record, "overlaps the one before it", err);
    }
    if (record->offset % alignment != 0) {
        return tensor_fault(file, record, "is not aligned", err);
    }
    if (record->codec != CODEC_RAW && record->codec != CODEC_ZSTD &&
        record->codec != CODEC_SPLIT_ZSTD) {
        return type_unknown(file, record, "codec", record->codec, err);
    }
    if (record->codec == CODEC_RAW
            ? record->stored_bytes != record->raw_bytes
            : record->raw_bytes / LAYOUT_MAX_EXPANSION > record->stored_bytes) {
        return tensor_fault(file, record, "has a length that its codec cannot give", err);
    }
    return true;
}

static bool check_tensor(const struct model_file *file, uint64_t number, uint64_t pool_bytes,
                         struct error *err)
{
    const struct layout_tensor *record = &file->tables->tensors[number];
    if (record->name_bytes > LAYOUT_MAX_NAME || record->name_offset > pool_bytes ||
        record->name_bytes > pool_bytes - record->name_offset ||
        !layout_is_name(file->tables->names + record->name_offset, record->name_bytes)) {
        return error_set(err, "%s is damaged: the name of tensor %" PRIu64 " is not a text in it",
                         file->map.path, number);
    }
    bool slab = role_is_slab(record->role);
    uint32_t experts = record->role == ROLE_EXPERT ? LAYOUT_MAX_EXPERTS : 1;
    if (record->zero != 0 ||
        (slab ? record->expert >= experts || record->layer >= LAYOUT_MAX_LAYERS
              : record->expert != MODEL_FILE_NO_EXPERT ||
                    (record->layer >= LAYOUT_MAX_LAYERS && record->layer != MODEL_FILE_NO_LAYER))) {
        return tensor_fault(file, record, "has a layer or expert number that makes no sense", err);
    }
    uint64_t previous_end = number == 0 ? 0 : record[-1].offset + record[-1].stored_bytes;
    return check_shape(file, record, err) && check_place(file, record, previous_end, err);
}

/* Order of (role, layer), and of names. The context is the table. */
static int compare_roles(const void *a, const void *b, void *context)
{
    const struct model_file_tables *tables = context;
    const struct layout_tensor *x = &tables->tensors[*(const uint32_t *)a];
    const struct layout_tensor *y = &tables->tensors[*(const uint32_t *)b];
    if (x->role != y->role) {
        return x->role < y->role ? -1 : 1;
    }
    return x->layer < y->layer ? -1 : x->layer > y->layer;
}

static int compare_names(const void *a, const void *b, void *context)
{
    const struct model_file_tables *tables = context;
    const struct layout_tensor *x = &tables->tensors[*(const uint32_t *)a];
    const struct layout_tensor *y = &tables->tensors[*(const uint32_t *)b];
    uint32_t common = x->name_bytes < y->name_bytes ? x->name_bytes : y->name_bytes;
    int order = memcmp(tables->names + x->name_offset, tables->names + y->name_offset, common);
    return order != 0 ? order : x->name_bytes < y->name_bytes ? -1 : x->name_bytes > y->name_bytes;
}

static bool check_unique_names(const struct model_file *file, uint32_t *numbers, struct error *err)
{
    struct model_file_tables *tables = file->tables;
    for (uint64_t i = 0; i < tables->n_tensors; i++) {
        numbers[i] = (uint32_t)i;
    }
    qsort_r(numbers, tables->n_tensors, sizeof(*numbers), compare_names, tables);
    for (uint64_t i = 1; i < tables->n_tensors; i++) {
        if (compare_names(&numbers[i - 1], &numbers[i], tables) == 0) {
            return tensor_fault(file, &tables->tensors[numbers[i]], "is there twice", err);
        }
    }
    return true;
}

static bool sort_roles(const struct model_file *file, struct error *err)
{
    struct model_file_tables *tables = file->tables;
    for (uint64_t i = 0; i < tables->n_tensors; i++) {
        if (tables->tensors[i].role != ROLE_EXPERT) {
            tables->by_role[tables->n_by_role++] = (uint32_t)i;
        }
    }
    qsort_r(tables->by_role, tables->n_by_role, sizeof(*tables->by_role), compare_roles, tables);
    for (uint64_t i = 1; i < tables->n_by_role; i++) {
        const uint32_t *pair = &tables->by_role[i - 1];
        const struct layout_tensor *second = &tables->tensors[pair[1]];
        if (compare_roles(&pair[0], &pair[1], tables) == 0) {
            return tensor_fault(file, second, "has the role and layer of another one", err);
        }
    }
    return true;
}

bool model_index_open(struct model_file *file, struct error *err)
{
    struct model_file_tables *tables = file->tables;
    const struct layout_list *list = model_file_list(
        file, LAYOUT_TENSOR_INDEX, sizeof(struct layout_tensor), LAYOUT_MAX_TENSORS, err);
    if (!list) {
        return false;
    }
    const void *records = list + 1;
    tables->tensors = records;
    tables->n_tensors = list->count;
    tables->names = (const char *)(tables->tensors + list->count);
    for (uint64_t i = 0; i < list->count; i++) {
        if (!check_tensor(file, i, list->pool_bytes, err)) {
            return false;
        }
    }
    tables->by_role = malloc((list->count + 1) * sizeof(*tables->by_role));
    if (!tables->by_role) {
        return error_set(err, "out of memory while opening %s", file->map.path);
    }
    return check_unique_names(file, tables->by_role, err) && sort_roles(file, err);
}

static bool layer_fault(const struct model_file *file, const struct layout_expert_layer *layer,
                        const char *fault, struct error *err)
{
    return error_set(err, "%s is damaged: layer %" PRIu32 " of its expert directory %s",
                     file->map.path, layer->layer, fault);
}

static bool check_expert_layer(const struct model_file *file,
                               const struct layout_expert_layer *layer, struct error *err)
{
    const struct model_file_tables *tables = file->tables;
    if (layer->zero != 0 || layer->n_experts == 0 || layer->n_experts > LAYOUT_MAX_EXPERTS ||
        layer->first_record > tables->n_tensors ||
        layer->n_experts > tables->n_tensors - layer->first_record) {
        return layer_fault(file, layer, "has an impossible number of experts", err);
    }
    const struct layout_tensor *slabs = &tables->tensors[layer->first_record];
    if (layer->base != slabs[0].offset) {
        return layer_fault(file, layer, "has a wrong base", err);
    }
    uint64_t page_bytes = layout_align(slabs[0].raw_bytes, LAYOUT_PAGE);
    if (layer->stride != 0 && (layer->slab_bytes == 0 || layer->stride < page_bytes ||
                               (layer->n_experts == 1 && layer->stride != page_bytes))) {
        return layer_fault(file, layer, "has a wrong stride", err);
    }
    for (uint32_t e = 0; e < layer->n_experts; e++) {
        if (slabs[e].role != ROLE_EXPERT || slabs[e].layer != layer->layer ||
            slabs[e].expert != e) {
            return layer_fault(file, layer, "does not find its experts in order", err);
        }
        if (layer->slab_bytes != 0 && slabs[e].raw_bytes != layer->slab_bytes) {
            return layer_fault(file, layer, "has a wrong slab size", err);
        }
        /* The offsets are inside the file and ascend, so the differences do not wrap. */
        if (layer->stride != 0 &&
            (slabs[e].codec != CODEC_RAW ||
             (e > 0 && slabs[e].offset - slabs[e - 1].offset != layer->stride))) {
            return layer_fault(file, layer, "has a wrong stride", err);
        }
    }
    return true;
}

bool model_directory_open(struct model_file *file, struct error *err)
{
    struct model_file_tables *tables = file->tables;
    const struct layout_list *list = model_file_list(
        file, LAYOUT_EXPERT_DIRECTORY, sizeof(struct layout_expert_layer), LAYOUT_MAX_LAYERS, err);
    if (!list) {
        return false;
    }
    if (list->pool_bytes != 0) {
        return error_set(err, "%s is damaged: its expert directory has a pool", file->map.path);
    }
    const void *records = list + 1;
    tables->expert_layers = records;
    tables->n_expert_layers = (uint32_t)list->count;
    uint64_t in_directory = 0;
    for (uint32_t i = 0; i < tables->n_expert_layers; i++) {
        const struct layout_expert_layer *layer = &tables->expert_layers[i];
        if (i > 0 && layer->layer <= layer[-1].layer) {
            return layer_fault(file, layer, "is not in order", err);
        }
        if (!check_expert_layer(file, layer, err)) {
            return false;
        }
        in_directory += layer->n_experts;
    }
    /* Layers differ, so no slab was counted twice. */
    if (in_directory != tables->n_tensors - tables->n_by_role) {
        return error_set(err, "%s is damaged: experts are missing from its expert directory",
                         file->map.path);
    }
    return true;
}

uint64_t model_file_n_tensors(const struct model_file *file)
{
    return file->tables->n_tensors;
}

void model_file_tensor_at(const struct model_file *file, uint64_t index,
                          struct tensor_record *record)
{
    assert(index < file->tables->n_tensors);
    const struct layout_tensor *stored = &file->tables->tensors[index];
    *record = (struct tensor_record){
        .index = index,
        .name = file->tables->names + stored->name_offset,
        .name_bytes = stored->name_bytes,
        .role = stored->role,
        .layer = stored->layer,
        .expert = stored->expert,
        .type = (enum dtype)stored->type,
        .down_type = (enum dtype)stored->down_type,
        .rows = stored->rows,
        .cols = stored->cols,
        .down_offset = stored->down_offset,
        .codec = (enum codec)stored->codec,
        .offset = stored->offset,
        .stored_bytes = stored->stored_bytes,
        .raw_bytes = stored->raw_bytes,
        .xxh3 = stored->xxh3,
    };
}

bool model_file_find_tensor(const struct model_file *file, uint32_t role, uint32_t layer,
                            struct tensor_record *record)
{
    const struct model_file_tables *tables = file->tables;
    uint64_t low = 0, high = tables->n_by_role;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        const struct layout_tensor *at = &tables->tensors[tables->by_role[middle]];
        if (at->role == role && at->layer == layer) {
            model_file_tensor_at(file, tables->by_role[middle], record);
            return true;
        }
        if (at->role < role || (at->role == role && at->layer < layer)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}

uint32_t model_file_n_expert_layers(const struct model_file *file)
{
    return file->tables->n_expert_layers;
}

void model_file_expert_layer_at(const struct model_file *file, uint32_t index,
                                struct expert_layer *layer)
{
    assert(index < file->tables->n_expert_layers);
    const struct layout_expert_layer *stored = &file->tables->expert_layers[index];
    *layer = (struct expert_layer){
        .layer = stored->layer,
        .n_experts = stored->n_experts,
        .first_record = stored->first_record,
        .base = stored->base,
        .slab_bytes = stored->slab_bytes,
        .stride = stored->stride,
    };
}

bool model_file_find_expert_layer(const struct model_file *file, uint32_t layer,
                                  struct expert_layer *found)
{
    const struct model_file_tables *tables = file->tables;
    uint32_t low = 0, high = tables->n_expert_layers;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (tables->expert_layers[middle].layer == layer) {
            model_file_expert_layer_at(file, middle, found);
            return true;
        }
        if (tables->expert_layers[middle].layer < layer) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}
