#include "tests/tools/tiny_checkpoint.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "format/f16.h"
#include "tests/check.h"

struct tiny_checkpoint tiny_checkpoint_of(const char *architecture)
{
    struct tiny_checkpoint checkpoint = {
        .architecture = architecture,
        .layers = 2,
        .hidden = 64,
        .heads = 4,
        .kv_heads = 2,
        .head_dim = 16,
        .ffn = 96,
        .sparse_step = 1,
        .vocabulary = TINY_CHECKPOINT_MIN_VOCABULARY,
        .context = 128,
        .dtype = "BF16",
        .shards = 1,
        .seed = 1,
        .config = "",
    };
    if (strcmp(architecture, "Qwen3MoeForCausalLM") == 0) {
        checkpoint.experts = 4;
        checkpoint.experts_per_token = 2;
        checkpoint.expert_ffn = 32;
    }
    return checkpoint;
}

/* ---- values ---- */

static float rounded(const char *dtype, float value)
{
    if (strcmp(dtype, "BF16") == 0) {
        return f32_from_bf16(bf16_from_f32(value));
    }
    if (strcmp(dtype, "F16") == 0) {
        return f32_from_f16(f16_from_f32(value));
    }
    return value;
}

void tiny_checkpoint_values(const struct tiny_checkpoint *checkpoint, const char *name,
                            uint32_t rank, uint64_t rows, uint64_t cols, float *values)
{
    struct check_random random = {checkpoint->seed};
    for (const char *c = name; *c; c++) {
        random.state = (random.state ^ (unsigned char)*c) * UINT64_C(0x100000001B3);
    }
    float scale = sqrtf(3.0f / (float)cols); /* uniform in +-1 has variance 1/3 */
    for (uint64_t i = 0; i < rows * cols; i++) {
        float value = check_random_float(&random, -1, 1);
        value = rank == 1 ? 1 + 0.25f * value : scale * value;
        values[i] = rounded(checkpoint->dtype, value);
    }
}

/* ---- the list of tensors ---- */

struct tensor_list {
    const struct tiny_checkpoint *checkpoint;
    struct tiny_tensor *tensors;
    uint32_t count, capacity;
};

static void add(struct tensor_list *list, uint64_t rows, uint64_t cols, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* rows 0: a vector of cols. */
static void add(struct tensor_list *list, uint64_t rows, uint64_t cols, const char *format, ...)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 64;
        list->tensors = realloc(list->tensors, list->capacity * sizeof(*list->tensors));
        cr_assert(list->tensors);
    }
    struct tiny_tensor *tensor = &list->tensors[list->count];
    *tensor = (struct tiny_tensor){.dtype = list->checkpoint->dtype, .rank = rows ? 2 : 1};
    tensor->shape[0] = rows ? rows : cols;
    tensor->shape[1] = cols;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(tensor->name, sizeof(tensor->name), format, arguments);
    va_end(arguments);
    uint64_t n = (rows ? rows : 1) * cols;
    tensor->values = malloc(n * sizeof(float));
    cr_assert(tensor->values);
    tiny_checkpoint_values(list->checkpoint, tensor->name, tensor->rank, rows ? rows : 1, cols,
                           tensor->values);
    if (list->checkpoint->change) {
        list->checkpoint->change(list->checkpoint->change_context, tensor);
    }
    if (tensor->dropped) {
        free(tensor->values);
    } else {
        list->count++;
    }
}

static void add_ffn(struct tensor_list *list, uint32_t layer)
{
    const struct tiny_checkpoint *c = list->checkpoint;
    if (c->experts == 0 || (layer + 1) % c->sparse_step != 0) {
        add(list, c->ffn, c->hidden, "model.layers.%u.mlp.gate_proj.weight", layer);
        add(list, c->ffn, c->hidden, "model.layers.%u.mlp.up_proj.weight", layer);
        add(list, c->hidden, c->ffn, "model.layers.%u.mlp.down_proj.weight", layer);
        return;
    }
    add(list, c->experts, c->hidden, "model.layers.%u.mlp.gate.weight", layer);
    for (uint32_t e = 0; e < c->experts; e++) {
        char prefix[64];
        snprintf(prefix, sizeof(prefix), "model.layers.%u.mlp.experts.%u", layer, e);
        add(list, c->expert_ffn, c->hidden, "%s.gate_proj.weight", prefix);
        add(list, c->expert_ffn, c->hidden, "%s.up_proj.weight", prefix);
        add(list, c->hidden, c->expert_ffn, "%s.down_proj.weight", prefix);
    }
}

static void add_layer(struct tensor_list *list, uint32_t layer)
{
    const struct tiny_checkpoint *c = list->checkpoint;
    char prefix[64];
    snprintf(prefix, sizeof(prefix), "model.layers.%u", layer);
    uint64_t q = (uint64_t)c->heads * c->head_dim, kv = (uint64_t)c->kv_heads * c->head_dim;
    add(list, 0, c->hidden, "%s.input_layernorm.weight", prefix);
    add(list, q, c->hidden, "%s.self_attn.q_proj.weight", prefix);
    add(list, kv, c->hidden, "%s.self_attn.k_proj.weight", prefix);
    add(list, kv, c->hidden, "%s.self_attn.v_proj.weight", prefix);
    add(list, c->hidden, q, "%s.self_attn.o_proj.weight", prefix);
    if (strncmp(c->architecture, "Qwen3", 5) == 0) {
        add(list, 0, c->head_dim, "%s.self_attn.q_norm.weight", prefix);
        add(list, 0, c->head_dim, "%s.self_attn.k_norm.weight", prefix);
    }
    add(list, 0, c->hidden, "%s.post_attention_layernorm.weight", prefix);
    add_ffn(list, layer);
}

/* ---- files ---- */

static FILE *create(const char *folder, const char *name)
{
    FILE *file = fopen(check_path(folder, name), "wb");
    cr_assert(file, "%s/%s cannot be created", folder, name);
    return file;
}

static void write_text(const char *folder, const char *name, const char *text)
{
    cr_assert(check_write_file(check_path(folder, name), text, strlen(text)));
}

static uint64_t element_bytes(const char *dtype)
{
    const char *digits = dtype + strcspn(dtype, "0123456789");
    uint64_t bits = strtoull(digits, NULL, 10);
    return bits >= 8 ? bits / 8 : 1;
}

static uint64_t tensor_elements(const struct tiny_tensor *tensor)
{
    uint64_t n = 1;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        n *= tensor->shape[i];
    }
    return n;
}

static void write_values(FILE *file, const struct tiny_tensor *tensor)
{
    uint64_t n = tensor_elements(tensor);
    for (uint64_t i = 0; i < n; i++) {
        uint8_t zeros[8] = {0};
        uint16_t half;
        if (strcmp(tensor->dtype, "F32") == 0) {
            fwrite(&tensor->values[i], 4, 1, file);
        } else if (strcmp(tensor->dtype, "BF16") == 0 || strcmp(tensor->dtype, "F16") == 0) {
            half = tensor->dtype[0] == 'B' ? bf16_from_f32(tensor->values[i])
                                           : f16_from_f32(tensor->values[i]);
            fwrite(&half, 2, 1, file);
        } else {
            fwrite(zeros, 1, element_bytes(tensor->dtype), file);
        }
    }
}

static void write_safetensors(const char *folder, const char *name,
                              const struct tiny_tensor *tensors, uint32_t n)
{
    char *header;
    size_t bytes;
    FILE *text = open_memstream(&header, &bytes);
    cr_assert(text);
    fprintf(text, "{\"__metadata__\":{\"format\":\"pt\"}");
    uint64_t begin = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t end = begin + tensor_elements(&tensors[i]) * element_bytes(tensors[i].dtype);
        fprintf(text, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", tensors[i].name, tensors[i].dtype);
        for (uint32_t d = 0; d < tensors[i].rank; d++) {
            fprintf(text, "%s%" PRIu64, d ? "," : "", tensors[i].shape[d]);
        }
        fprintf(text, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, end);
        begin = end;
    }
    fprintf(text, "}");
    fclose(text);
    uint64_t length = bytes;
    FILE *file = create(folder, name);
    fwrite(&length, 8, 1, file);
    fwrite(header, 1, bytes, file);
    for (uint32_t i = 0; i < n; i++) {
        write_values(file, &tensors[i]);
    }
    cr_assert_eq(fclose(file), 0);
    free(header);
}

static void shard_name(char name[64], uint32_t shard, uint32_t shards)
{
    snprintf(name, 64, "model-%05u-of-%05u.safetensors", shard + 1, shards);
}

/* Tensor i goes to shard i % shards. */
static void write_shards(const char *folder, const struct tensor_list *list, uint32_t shards)
{
    FILE *index = create(folder, "model.safetensors.index.json");
    fprintf(index, "{\"metadata\":{\"total_size\":0},\"weight_map\":{");
    struct tiny_tensor *part = malloc(list->count * sizeof(*part));
    cr_assert(part);
    for (uint32_t shard = 0; shard < shards; shard++) {
        char name[64];
        uint32_t n = 0;
        shard_name(name, shard, shards);
        for (uint32_t i = shard; i < list->count; i += shards) {
            part[n++] = list->tensors[i];
            fprintf(index, "%s\"%s\":\"%s\"", i ? "," : "", list->tensors[i].name, name);
        }
        write_safetensors(folder, name, part, n);
    }
    free(part);
    fprintf(index, "}}");
    cr_assert_eq(fclose(index), 0);
}

static void write_weights(const struct tiny_checkpoint *checkpoint, const char *folder)
{
    struct tensor_list list = {.checkpoint = checkpoint};
    add(&list, checkpoint->vocabulary, checkpoint->hidden, "model.embed_tokens.weight");
    for (uint32_t layer = 0; layer < checkpoint->layers; layer++) {
        add_layer(&list, layer);
    }
    add(&list, 0, checkpoint->hidden, "model.norm.weight");
    if (!checkpoint->tied) {
        add(&list, checkpoint->vocabulary, checkpoint->hidden, "lm_head.weight");
    }
    if (checkpoint->extra) {
        add(&list, 0, 4, "%s", checkpoint->extra);
    }
    if (checkpoint->shards > 1) {
        write_shards(folder, &list, checkpoint->shards);
    } else {
        write_safetensors(folder, "model.safetensors", list.tensors, list.count);
    }
    for (uint32_t i = 0; i < list.count; i++) {
        free(list.tensors[i].values);
    }
    free(list.tensors);
}

static void write_config(const struct tiny_checkpoint *c, const char *folder)
{
    FILE *file = create(folder, "config.json");
    fprintf(file,
            "{\"architectures\":[\"%s\"],\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-06,"
            "\"rope_theta\":10000.0,\"rope_scaling\":null,\"attention_bias\":false,",
            c->architecture);
    fprintf(file,
            "\"num_hidden_layers\":%u,\"hidden_size\":%u,\"num_attention_heads\":%u,"
            "\"num_key_value_heads\":%u,\"head_dim\":%u,\"intermediate_size\":%u,",
            c->layers, c->hidden, c->heads, c->kv_heads, c->head_dim, c->ffn);
    if (c->experts > 0) {
        fprintf(file,
                "\"num_experts\":%u,\"num_experts_per_tok\":%u,\"norm_topk_prob\":true,"
                "\"moe_intermediate_size\":%u,\"decoder_sparse_step\":%u,",
                c->experts, c->experts_per_token, c->expert_ffn, c->sparse_step);
    }
    fprintf(file, "\"vocab_size\":%u,\"max_position_embeddings\":%u,\"tie_word_embeddings\":%s%s}",
            c->vocabulary, c->context, c->tied ? "true" : "false", c->config);
    cr_assert_eq(fclose(file), 0);
}

/* GPT-2's spelling of a byte, as UTF-8 in a JSON string. */
static void put_byte(FILE *file, uint32_t byte)
{
    bool plain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    uint32_t point = byte;
    if (!plain) {
        point = 256 + (byte <= 32 ? byte : byte <= 160 ? byte - 127 + 33 : 67);
    }
    if (point == '"' || point == '\\') {
        fprintf(file, "\\%c", (int)point);
    } else {
        fprintf(file, point < 128 ? "%c" : "\\u%04x", point);
    }
}

static void write_tokenizer(const char *folder)
{
    static const char *const merges[] = {"h e", "l l", "he ll", "hell o", "\\u0120 t"};
    static const char *const merged[] = {"he", "ll", "hell", "hello", "\\u0120t"};
    static const char *const special[] = {"<|im_start|>", "<|im_end|>", "<|endoftext|>"};
    FILE *file = create(folder, "tokenizer.json");
    fprintf(file, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
    for (uint32_t i = 0; i < 3; i++) {
        fprintf(file,
                "%s{\"id\":%u,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,"
                "\"rstrip\":false,\"normalized\":false,\"special\":true}",
                i ? "," : "", TINY_CHECKPOINT_IM_START + i, special[i]);
    }
    fprintf(file, "],\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\","
                  "\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
                  "\"\\\\p{N}| ?[^\\\\s\\\\p{N}]+|\\\\s+\"},\"behavior\":\"Isolated\","
                  "\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                  "\"trim_offsets\":false,\"use_regex\":false}]},\"post_processor\":null,");
    fprintf(file, "\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                  "\"trim_offsets\":false,\"use_regex\":false},\"model\":{\"type\":\"BPE\","
                  "\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":\"\","
                  "\"end_of_word_suffix\":\"\",\"fuse_unk\":false,\"byte_fallback\":false,"
                  "\"ignore_merges\":false,\"vocab\":{");
    for (uint32_t byte = 0; byte < 256; byte++) {
        fprintf(file, "\"");
        put_byte(file, byte);
        fprintf(file, "\":%u,", byte);
    }
    for (uint32_t i = 0; i < 5; i++) {
        fprintf(file, "%s\"%s\":%u", i ? "," : "", merged[i], 256 + i);
    }
    fprintf(file, "},\"merges\":[");
    for (uint32_t i = 0; i < 5; i++) {
        fprintf(file, "%s\"%s\"", i ? "," : "", merges[i]);
    }
    fprintf(file, "]}}");
    cr_assert_eq(fclose(file), 0);
}

/* Folders made, removed at the end; check_temp_dir removes only files. */
static char folders[64][512];
static uint32_t n_folders;

static void remove_folders(void)
{
    for (uint32_t i = 0; i < n_folders; i++) {
        DIR *folder = opendir(folders[i]);
        for (struct dirent *entry; folder && (entry = readdir(folder));) {
            unlinkat(dirfd(folder), entry->d_name, 0);
        }
        if (folder) {
            closedir(folder);
        }
        rmdir(folders[i]);
    }
}

const char *tiny_checkpoint_write(const struct tiny_checkpoint *checkpoint, const char *name)
{
    const char *temp = check_temp_dir();
    if (n_folders == 0) {
        atexit(remove_folders);
    }
    cr_assert(n_folders < sizeof(folders) / sizeof(folders[0]));
    char *folder = folders[n_folders++];
    snprintf(folder, sizeof(folders[0]), "%s/%s", temp, name);
    cr_assert(mkdir(folder, 0755) == 0, "%s cannot be created", folder);
    write_config(checkpoint, folder);
    write_tokenizer(folder);
    write_text(folder, "tokenizer_config.json",
               "{\"bos_token\":null,\"eos_token\":\"<|im_end|>\",\"add_bos_token\":false,"
               "\"chat_template\":\"{%- for message in messages %}{{- '<|im_start|>' + "
               "message.role + '\\\\n' + message.content + '<|im_end|>' + '\\\\n' }}"
               "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\\\n' }}"
               "{%- endif %}\"}");
    write_text(folder, "generation_config.json", "{\"eos_token_id\":[262,263]}");
    write_weights(checkpoint, folder);
    return folder;
}
