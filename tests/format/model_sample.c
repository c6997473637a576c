#include "tests/format/model_sample.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "format/quant.h"
#include "tests/check.h"

static void fill_matrix(struct check_random *random, enum dtype dtype, uint8_t *matrix,
                        uint64_t rows, uint64_t cols)
{
    const struct dtype_info *type = dtype_info(dtype);
    float *row = malloc(cols * sizeof(float));
    for (uint64_t r = 0; r < rows; r++) {
        for (uint64_t i = 0; i < cols; i++) {
            row[i] = check_random_float(random, -0.1f, 0.1f) * check_random_float(random, 0, 1);
        }
        quant_encode_matrix_row(type, row, NULL, matrix, rows, cols, r);
    }
    free(row);
}

static void add_matrix(struct sample *sample, struct check_random *random, const char *name,
                       uint32_t role, uint32_t layer, enum dtype type, uint64_t rows, uint64_t cols)
{
    struct sample_tensor *tensor = &sample->tensors[sample->n_tensors++];
    cr_assert_leq(sample->n_tensors, SAMPLE_MAX_TENSORS);
    snprintf(tensor->name, sizeof(tensor->name), "%s", name);
    tensor->matrix = (struct tensor_spec){
        tensor->name, (enum tensor_role)role, layer, type, rows, cols,
    };
    tensor->bytes = dtype_matrix_bytes(dtype_info(type), rows, cols);
    tensor->data = malloc(tensor->bytes);
    fill_matrix(random, type, tensor->data, rows, cols);
}

static void add_expert(struct sample *sample, struct check_random *random, uint32_t layer,
                       uint32_t expert, enum dtype type, enum dtype down_type, uint64_t ffn)
{
    struct sample_tensor *tensor = &sample->tensors[sample->n_tensors++];
    cr_assert_leq(sample->n_tensors, SAMPLE_MAX_TENSORS);
    snprintf(tensor->name, sizeof(tensor->name), "layers.%u.experts.%u", layer, expert);
    tensor->slab = true;
    tensor->expert = (struct expert_spec){
        .name = tensor->name,
        .layer = layer,
        .expert = expert,
        .type = type,
        .down_type = down_type,
        .hidden = 256,
        .ffn = ffn,
    };
    const struct expert_spec *spec = &tensor->expert;
    tensor->bytes = model_writer_slab_bytes(spec);
    tensor->data = calloc(1, tensor->bytes);
    fill_matrix(random, type, tensor->data, 2 * ffn, 256);
    fill_matrix(random, down_type, tensor->data + model_writer_down_offset(spec), 256, ffn);
}

struct sample *sample_new(uint64_t seed)
{
    struct sample *sample = calloc(1, sizeof(*sample));
    struct check_random random = {seed};
    for (size_t i = 0; i < sizeof(sample->tokenizer); i++) {
        sample->tokenizer[i] = (uint8_t)check_random_u64(&random);
    }
    sample->chat_template = "{% for m in messages %}<|im_start|>{{ m.role }}\n\xC3\xA4{% endfor %}";
    add_matrix(sample, &random, "embed", ROLE_TOKEN_EMBEDDING, MODEL_FILE_NO_LAYER, DTYPE_BF16, 50,
               256);
    for (uint32_t t = 0; t < dtype_count(); t++) {
        char name[32];
        const struct dtype_info *type = dtype_at(t);
        snprintf(name, sizeof(name), "matrix.%s", type->name);
        add_matrix(sample, &random, name, 1000 + t, t, type->dtype, 7,
                   3 * (uint64_t)type->block_elements);
    }
    add_matrix(sample, &random, "layers.0.norm", ROLE_FFN_NORM, 0, DTYPE_F32, 1, 256);
    add_expert(sample, &random, 0, 0, DTYPE_F16, DTYPE_F16, 32);
    add_matrix(sample, &random, "layers.2.router", ROLE_ROUTER, 2, DTYPE_F32, 3, 256);
    add_expert(sample, &random, 2, 0, DTYPE_Q4_K, DTYPE_Q6_K, 256);
    add_expert(sample, &random, 2, 1, DTYPE_Q8_0, DTYPE_Q8_0, 32);
    add_expert(sample, &random, 2, 2, DTYPE_Q4_K, DTYPE_Q4_0, 64);
    add_matrix(sample, &random, "layers.1.router", ROLE_ROUTER, 1, DTYPE_F32, 4, 256);
    for (uint32_t e = 0; e < 4; e++) {
        add_expert(sample, &random, 1, e, DTYPE_BF16, DTYPE_BF16, 16);
    }
    add_matrix(sample, &random, "norm", ROLE_OUTPUT_NORM, MODEL_FILE_NO_LAYER, DTYPE_F32, 1, 255);
    return sample;
}

void sample_free(struct sample *sample)
{
    for (uint32_t i = 0; i < sample->n_tensors; i++) {
        free(sample->tensors[i].data);
    }
    free(sample);
}

static bool add_metadata(struct model_writer *w, struct error *err)
{
    static const uint64_t numbers[] = {0, 1, UINT64_MAX, 42};
    static const double reals[] = {0.5, -1e300, 3.25};
    static const char *const texts[] = {"one", "", "three \xE2\x82\xAC"};
    static const uint64_t lengths[] = {3, 0, 9};
    return model_writer_u64(w, "zebra.count", 7, err) &&
           model_writer_u64(w, "llama.context_length", UINT64_MAX, err) &&
           model_writer_i64(w, "a.negative", -3, err) &&
           model_writer_i64(w, "a.positive", 3, err) &&
           model_writer_f64(w, "llama.rope.theta", 1e6, err) &&
           model_writer_bool(w, "yes", true, err) && model_writer_bool(w, "no", false, err) &&
           model_writer_string(w, "general.name", "Sm\xC3\xA4ll", 6, err) &&
           model_writer_string(w, "general.name.long", "", 0, err) &&
           model_writer_u64_array(w, "list.u64", numbers, 4, err) &&
           model_writer_u64_array(w, "list.empty", NULL, 0, err) &&
           model_writer_f64_array(w, "list.f64", reals, 3, err) &&
           model_writer_string_array(w, "list.text", texts, lengths, 3, err) &&
           model_writer_string_array(w, "list.text.empty", NULL, NULL, 0, err);
}

bool sample_try_write(const struct sample *sample, const char *path, enum compress compress,
                      struct error *err)
{
    struct model_writer *w = model_writer_open(path, compress, err);
    if (!w) {
        return false;
    }
    bool ok =
        add_metadata(w, err) &&
        model_writer_tokenizer(w, sample->tokenizer, sizeof(sample->tokenizer), err) &&
        model_writer_chat_template(w, sample->chat_template, strlen(sample->chat_template), err);
    for (uint32_t i = 0; i < sample->n_tensors && ok; i++) {
        const struct sample_tensor *tensor = &sample->tensors[i];
        ok = tensor->slab ? model_writer_expert(w, &tensor->expert, tensor->data, err)
                          : model_writer_tensor(w, &tensor->matrix, tensor->data, err);
    }
    if (!ok) {
        model_writer_abort(w);
        return false;
    }
    return model_writer_finish(w, err);
}

void sample_write(const struct sample *sample, const char *path, enum compress compress)
{
    struct error err = {0};
    cr_assert(sample_try_write(sample, path, compress, &err), "%s", err.text);
}

struct image image_read(const char *path)
{
    struct image image = {0};
    size_t bytes = 0;
    image.data = (uint8_t *)check_read_file(path, &bytes);
    cr_assert(image.data, "%s", path);
    image.bytes = bytes;
    return image;
}

struct image image_copy(const struct image *image)
{
    struct image copy = {malloc(image->bytes), image->bytes};
    memcpy(copy.data, image->data, image->bytes);
    return copy;
}

void image_free(struct image *image)
{
    free(image->data);
    *image = (struct image){0};
}

void image_write(const struct image *image, const char *path)
{
    cr_assert(check_write_file(path, image->data, image->bytes));
}

struct layout_header *image_header(struct image *image)
{
    return (void *)image->data;
}

static struct layout_section *image_table(struct image *image)
{
    return (void *)(image->data + image_header(image)->table_offset);
}

struct layout_section *image_section(struct image *image, uint32_t kind)
{
    for (uint32_t i = 0; i < image_header(image)->n_sections; i++) {
        if (image_table(image)[i].kind == kind) {
            return &image_table(image)[i];
        }
    }
    cr_assert_fail("no section of kind %u", kind);
    return NULL;
}

void *image_contents(struct image *image, uint32_t kind)
{
    return image->data + image_section(image, kind)->offset;
}

struct layout_list *image_list(struct image *image, uint32_t kind)
{
    return image_contents(image, kind);
}

struct layout_tensor *image_tensors(struct image *image)
{
    return (void *)(image_list(image, LAYOUT_TENSOR_INDEX) + 1);
}

struct layout_metadata *image_metadata(struct image *image)
{
    return (void *)(image_list(image, LAYOUT_METADATA) + 1);
}

struct layout_expert_layer *image_layers(struct image *image)
{
    return (void *)(image_list(image, LAYOUT_EXPERT_DIRECTORY) + 1);
}

void image_update(struct image *image, const char *path)
{
    const struct layout_section *weights = image_section(image, LAYOUT_WEIGHTS);
    uint64_t rest = LAYOUT_PAGE + weights->stored_bytes;
    rest = rest < image->bytes ? rest : LAYOUT_PAGE;
    int file = open(path, O_WRONLY);
    struct stat status;
    cr_assert(file >= 0 && fstat(file, &status) == 0 && (uint64_t)status.st_size == image->bytes);
    cr_assert_eq(pwrite(file, image->data, LAYOUT_PAGE, 0), LAYOUT_PAGE);
    cr_assert_eq(pwrite(file, image->data + rest, image->bytes - rest, (off_t)rest),
                 (ssize_t)(image->bytes - rest));
    close(file);
}

/* The tensors' checksums, as far as the index makes sense. */
static void seal_tensors(struct image *image)
{
    const struct layout_header *header = image_header(image);
    for (uint32_t i = 0; i < header->n_sections; i++) {
        const struct layout_section *section = &image_table(image)[i];
        if (section->kind != LAYOUT_TENSOR_INDEX || section->offset >= image->bytes) {
            continue;
        }
        struct layout_tensor *tensors = image_tensors(image);
        for (uint64_t t = 0; t < image_list(image, LAYOUT_TENSOR_INDEX)->count && t < 16; t++) {
            if (tensors[t].offset <= image->bytes &&
                tensors[t].stored_bytes <= image->bytes - tensors[t].offset) {
                tensors[t].xxh3 =
                    XXH3_64bits(image->data + tensors[t].offset, tensors[t].stored_bytes);
            }
        }
    }
}

void image_seal(struct image *image)
{
    struct layout_header *header = image_header(image);
    uint64_t room = image->bytes - header->table_offset;
    if (header->table_offset <= image->bytes && header->n_sections <= room / 64) {
        seal_tensors(image);
        for (uint32_t i = 0; i < header->n_sections; i++) {
            struct layout_section *section = &image_table(image)[i];
            if (section->kind != LAYOUT_WEIGHTS && section->offset <= image->bytes &&
                section->stored_bytes <= image->bytes - section->offset) {
                section->xxh3 = XXH3_64bits(image->data + section->offset, section->stored_bytes);
            }
        }
        header->table_xxh3 = XXH3_64bits(image_table(image), header->n_sections * 64ull);
    }
    header->header_xxh3 = XXH3_64bits(header, 56);
}
