/* Files that attack, lie or are not supported, given to the program itself: every command that
 * reads them ends with one sentence that names the file and the thing; inspect shows what can be
 * shown. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/gguf.h"
#include "format/model_file.h"
#include "tests/check.h"
#include "tests/format/gguf_bytes.h"
#include "tests/format/model_sample.h"
#include "tests/tools/run_program.h"
#include "tests/tools/tiny_checkpoint.h"

/* Status 1, nothing on standard output, one line that holds `part` and the file's name. */
static void expect_sentence(const struct program_run *run, const char *name, const char *part)
{
    cr_expect_eq(run->status, 1, "%s: status %d, not 1: %s", part, run->status, run->err);
    cr_expect(strstr(run->err, part), "\"%s\" does not say \"%s\"", run->err, part);
    cr_expect(strstr(run->err, name), "\"%s\" does not name %s", run->err, name);
    const char *end = strchr(run->err, '\n');
    cr_expect(end && end[1] == 0, "not one line: %s", run->err);
}

/* By everything that would run or change the model. */
static void expect_refused(const char *path, const char *part)
{
    static const char *const commands[] = {
        "complete '%s' hi -n 1 --device cpu",
        "convert '%s' '%s/out.moxie'",
        "export '%s' '%s/out.gguf'",
        "quantize '%s' '%s/out.moxie' --type q4_0",
    };
    const char *name = strrchr(path, '/') + 1;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        char arguments[4200];
        snprintf(arguments, sizeof(arguments), commands[i], path, check_temp_dir());
        expect_sentence(run_moxie(NULL, "%s", arguments), name, part);
    }
    cr_expect(access(check_path(check_temp_dir(), "out.moxie"), F_OK) != 0);
    cr_expect(access(check_path(check_temp_dir(), "out.gguf"), F_OK) != 0);
}

/* ---- GGUF files whose head is an attack ---- */

static void expect_attack_refused(struct gguf_bytes *file, const char *part)
{
    const char *path = gguf_bytes_write(file, "attack.gguf");
    expect_sentence(run_moxie(NULL, "inspect '%s'", path), "attack.gguf", part);
    expect_sentence(run_moxie(NULL, "inspect '%s' --json", path), "attack.gguf", part);
    expect_sentence(run_moxie(NULL, "tokenize '%s' hi", path), "attack.gguf", part);
    expect_sentence(run_moxie(NULL, "quantize '%s' '%s/out.moxie' --type q4_0 --imatrix '%s'",
                              check_source_path("models/moxie-tiny.moxie"), check_temp_dir(), path),
                    "attack.gguf", part);
    expect_refused(path, part);
}

Test(hostile_program, gguf_counts_and_lengths)
{
    struct gguf_bytes file = {0};
    gguf_bytes_header(&file, UINT64_C(1) << 61, 0);
    gguf_bytes_data(&file, 64);
    expect_attack_refused(&file, "tensors, more than it can have");
    gguf_bytes_header(&file, 0, UINT64_MAX / 2);
    gguf_bytes_data(&file, 64);
    expect_attack_refused(&file, "metadata keys, more than it can have");
    gguf_bytes_header(&file, 0, 1);
    gguf_bytes_u64(&file, UINT64_MAX); /* length of a key: plus one it is 0 */
    gguf_bytes_data(&file, 64);
    expect_attack_refused(&file, "a metadata key at byte 32 does not fit");
    gguf_bytes_header(&file, 0, 1);
    gguf_bytes_text(&file, "k");
    gguf_bytes_u32(&file, GGUF_STRING);
    gguf_bytes_u64(&file, 4096); /* a text longer than the file */
    gguf_bytes_data(&file, 64);
    expect_attack_refused(&file, "\"k\"");
    gguf_bytes_header(&file, 0, 1);
    gguf_bytes_text(&file, "k");
    gguf_bytes_u32(&file, GGUF_ARRAY);
    gguf_bytes_u32(&file, GGUF_U64);
    gguf_bytes_u64(&file, (UINT64_C(1) << 61) + 1); /* times 8: 8 */
    gguf_bytes_data(&file, 64);
    expect_attack_refused(&file, "\"k\"");
}

Test(hostile_program, gguf_tensors_larger_than_the_file)
{
    struct gguf_bytes file = {0};
    gguf_bytes_header(&file, 1, 0);
    gguf_bytes_tensor(&file, "exabyte", UINT64_C(1) << 58, 1, 0, 0);
    gguf_bytes_data(&file, 64);
    expect_attack_refused(&file, "\"exabyte\"");
    gguf_bytes_header(&file, 1, 0);
    gguf_bytes_tensor(&file, "product", UINT64_C(1) << 32, UINT64_C(1) << 32, 0, 0);
    gguf_bytes_data(&file, 64);
    expect_attack_refused(&file, "\"product\"");
    gguf_bytes_header(&file, 1, 0);
    gguf_bytes_tensor(&file, "behind", 8, 1, 0, UINT64_MAX - 31);
    gguf_bytes_data(&file, 64);
    expect_attack_refused(&file, "\"behind\"");
    gguf_bytes_header(&file, 2, 0);
    gguf_bytes_tensor(&file, "twice", 8, 1, 0, 0);
    gguf_bytes_tensor(&file, "twice", 8, 1, 0, 32);
    gguf_bytes_data(&file, 64);
    expect_attack_refused(&file, "\"twice\" occurs twice");
}

/* Four dims whose product is a small number modulo 2^64, and more dims than there may be. */
Test(hostile_program, gguf_dims)
{
    for (uint32_t n_dims = 4; n_dims <= 5; n_dims++) {
        struct gguf_bytes file = {0};
        gguf_bytes_header(&file, 1, 0);
        gguf_bytes_text(&file, "dims");
        gguf_bytes_u32(&file, n_dims == 4 ? 4 : UINT32_MAX);
        for (uint32_t i = 0; i < n_dims; i++) {
            gguf_bytes_u64(&file, UINT64_C(1) << 16);
        }
        gguf_bytes_u32(&file, 0);
        gguf_bytes_u64(&file, 0);
        gguf_bytes_data(&file, 64);
        expect_attack_refused(&file, "\"dims\"");
    }
}

/* ---- GGUF files of models that are not possible or not supported ---- */

struct gguf_lie {
    const char *key; /* whose value is set, */
    uint32_t value;
    const char *text;   /* or whose text becomes this (as long as it was), */
    const char *tensor; /* or a tensor whose name becomes text, or type becomes value */
    const char *part;   /* of the sentence */
};

/* The demo model as GGUF with one lie in it. */
static const char *lying_gguf(const char *good, const struct gguf_lie *lie)
{
    struct gguf gguf;
    struct error err;
    size_t bytes;
    char *data = check_read_file(good, &bytes);
    cr_assert(gguf_open(&gguf, good, &err), "%s", err.text);
    const uint8_t *start = gguf.files[0].data;
    if (lie->key) {
        const struct gguf_pair *pair = gguf_find_pair(&gguf, lie->key);
        cr_assert(pair, "%s", lie->key);
        size_t at = (size_t)(pair->value - start);
        memcpy(data + at + (lie->text ? 8 : 0), lie->text ? lie->text : (const void *)&lie->value,
               lie->text ? strlen(lie->text) : 4);
    } else {
        const struct gguf_tensor *tensor = gguf_find_tensor(&gguf, lie->tensor);
        cr_assert(tensor, "%s", lie->tensor);
        size_t at = (size_t)((const uint8_t *)tensor->name - start);
        if (lie->text) {
            memcpy(data + at, lie->text, strlen(lie->text));
        } else {
            memcpy(data + at + tensor->name_bytes + 4 + 8 * (size_t)tensor->n_dims, &lie->value, 4);
        }
    }
    gguf_close(&gguf);
    const char *path = check_path(check_temp_dir(), "lie.gguf");
    cr_assert(check_write_file(path, data, bytes));
    free(data);
    return path;
}

Test(hostile_program, gguf_models_that_cannot_be)
{
    static const struct gguf_lie lies[] = {
        {.key = "qwen3moe.expert_used_count", .value = 9, .part = "num_experts_per_tok is 9"},
        {.key = "qwen3moe.expert_used_count", .value = 0, .part = "num_experts_per_tok is 0"},
        {.key = "qwen3moe.expert_count", .value = 0, .part = "no tensor \"blk.0.ffn_gate.weight\""},
        {.key = "qwen3moe.attention.head_count_kv", .value = 3, .part = "num_key_value_heads 3"},
        {.key = "qwen3moe.embedding_length", .value = 0, .part = "hidden_size is 0"},
        {.key = "qwen3moe.block_count", .value = UINT32_MAX, .part = "4294967295"},
        {.key = "qwen3moe.block_count", .value = 3, .part = "has no place"},
        {.key = "general.architecture", .text = "qwen9moe", .part = "qwen9moe"},
        {.tensor = "blk.3.ffn_norm.weight",
         .text = "blk.3.ffn_nurm",
         .part = "no tensor \"blk.3.ffn_norm.weight\""},
        {.tensor = "blk.3.ffn_down_exps.weight",
         .value = 199,
         .part = "\"blk.3.ffn_down_exps.weight\" has type type 199"},
        {.tensor = "blk.3.ffn_down_exps.weight",
         .value = 24,
         .part = "\"blk.3.ffn_down_exps.weight\""},
    };
    const char *good = check_path(check_temp_dir(), "good.gguf");
    const struct program_run *run =
        run_moxie(NULL, "export '%s' '%s'", check_source_path("models/moxie-tiny.moxie"), good);
    cr_assert_eq(run->status, 0, "%s", run->err);
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        const char *path = lying_gguf(good, &lies[i]);
        expect_refused(path, lies[i].part);
        run = run_moxie(NULL, "inspect '%s'", path);
        cr_expect_eq(run->status, 0, "%s: %s", lies[i].part, run->err);
        cr_expect(strstr(run->out, "runs here      no: "), "%s", run->out);
        cr_expect(strstr(run->out, lies[i].part), "\"%s\" is not in %s", lies[i].part, run->out);
        cr_expect(strstr(run->out, "\n  blk.3.ffn_gate_exps.weight "), "%s", run->out);
    }
}

/* ---- .moxie files ---- */

/* The demo model with another value behind a key, checksums right. */
static const char *lying_moxie(const char *key, const char *text, uint64_t value)
{
    const char *good = check_source_path("models/moxie-tiny.moxie");
    struct image image = image_read(good);
    struct model_file file;
    struct error err;
    bool found = false;
    cr_assert(model_file_open(&file, good, &err), "%s", err.text);
    for (uint64_t i = 0; i < model_file_n_metadata(&file); i++) {
        struct metadata_entry entry;
        model_file_metadata_at(&file, i, &entry);
        if (entry.key_bytes == strlen(key) && memcmp(entry.key, key, entry.key_bytes) == 0) {
            uint8_t *at = image.data + ((const uint8_t *)entry.value - file.map.data);
            memcpy(at, text ? text : (const void *)&value, text ? strlen(text) : 8);
            found = true;
        }
    }
    cr_assert(found, "no key %s", key);
    model_file_close(&file);
    image_seal(&image);
    const char *path = check_path(check_temp_dir(), "lie.moxie");
    image_write(&image, path);
    image_free(&image);
    return path;
}

Test(hostile_program, moxie_models_that_cannot_be)
{
    static const struct {
        const char *key, *text;
        uint64_t value;
        const char *part;
    } lies[] = {
        {"architecture", "qwen9moe", 0, "qwen9moe"},
        {"model.experts_per_token", NULL, 9, "num_experts_per_tok is 9"},
        {"model.experts", NULL, 0, "has a router, which"},
        {"model.experts", NULL, 16, "tensor layer.0.router"},
        {"model.layers", NULL, UINT64_C(1) << 40, "model.layers"},
        {"model.kv_heads", NULL, 3, "num_key_value_heads 3"},
        {"model.vocabulary", NULL, 7, "token_embedding"},
    };
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        const char *path = lying_moxie(lies[i].key, lies[i].text, lies[i].value);
        expect_sentence(run_moxie(NULL, "complete '%s' hi -n 1 --device cpu", path), "lie.moxie",
                        lies[i].part);
        expect_sentence(run_moxie(NULL, "export '%s' '%s/out.gguf'", path, check_temp_dir()),
                        "lie.moxie", lies[i].part);
        const struct program_run *run = run_moxie(NULL, "inspect '%s'", path);
        cr_expect_eq(run->status, 0, "%s: %s", lies[i].key, run->err);
        cr_expect(strstr(run->out, "\ntensors\n"), "%s", run->out);
        run = run_moxie(NULL, "verify '%s'", path);
        cr_expect_eq(run->status, 0, "%s: %s", lies[i].key, run->err);
    }
}

/* ---- checkpoints ---- */

static void expect_folder_refused(const char *folder, const char *part)
{
    const char *output = check_path(check_temp_dir(), "out.moxie");
    expect_sentence(run_moxie(NULL, "convert '%s' '%s'", folder, output), folder, part);
    expect_sentence(run_moxie(NULL, "complete '%s' hi -n 1 --device cpu", folder), folder, part);
    cr_expect(access(output, F_OK) != 0);
}

Test(hostile_program, configs_that_cannot_be)
{
    static const struct {
        const char *family, *config, *part;
    } cases[] = {
        {"Qwen3MoeForCausalLM", ",\"num_experts_per_tok\":5", "num_experts_per_tok is 5"},
        {"Qwen3MoeForCausalLM", ",\"num_experts_per_tok\":0", "num_experts_per_tok is 0"},
        {"Qwen3MoeForCausalLM", ",\"num_experts\":0", "num_experts"},
        {"Qwen3MoeForCausalLM", ",\"n_group\":3,\"topk_group\":1", "not a multiple of n_group 3"},
        {"Qwen3MoeForCausalLM", ",\"n_group\":2,\"topk_group\":3", "topk_group is 3"},
        {"Qwen3MoeForCausalLM", ",\"num_hidden_layers\":3", "model.layers.2."},
        {"Qwen3MoeForCausalLM", ",\"num_hidden_layers\":1", "model.layers.1."},
        {"Qwen3MoeForCausalLM", ",\"hidden_act\":\"gelu\"", "hidden_act is \"gelu\""},
        {"LlamaForCausalLM", ",\"num_experts\":4", "num_experts is 4"},
        {"LlamaForCausalLM", ",\"architectures\":[\"NobodyForCausalLM\"]", "NobodyForCausalLM"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tiny_checkpoint tiny = tiny_checkpoint_of(cases[i].family);
        char name[32];
        snprintf(name, sizeof(name), "config%zu", i);
        tiny.config = cases[i].config;
        expect_folder_refused(tiny_checkpoint_write(&tiny, name), cases[i].part);
    }
}

/* Every JSON file of a folder, nested deeper than any stack. */
Test(hostile_program, json_that_nests)
{
    static const char *const names[] = {"config.json", "model.safetensors.index.json",
                                        "tokenizer.json", "tokenizer_config.json"};
    size_t depth = 500000;
    char *text = malloc(2 * depth);
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    memcpy(text, "{\"a\":", 5);
    memset(text + 2 * depth - 5, ' ', 4);
    text[2 * depth - 1] = '}';
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct tiny_checkpoint tiny = tiny_checkpoint_of("LlamaForCausalLM");
        char name[32];
        snprintf(name, sizeof(name), "nest%zu", i);
        tiny.shards = 2;
        const char *folder = tiny_checkpoint_write(&tiny, name);
        cr_assert(check_write_file(check_path(folder, names[i]), text, 2 * depth));
        expect_folder_refused(folder, names[i]);
    }
    struct tiny_checkpoint tiny = tiny_checkpoint_of("LlamaForCausalLM");
    const char *folder = tiny_checkpoint_write(&tiny, "nest");
    const char *path = check_path(folder, "model.safetensors");
    uint64_t length = 2 * depth;
    FILE *file = fopen(path, "wb");
    cr_assert(file && fwrite(&length, 8, 1, file) == 1 && fwrite(text, length, 1, file) == 1);
    fclose(file);
    expect_folder_refused(folder, "model.safetensors");
    free(text);
}

/* Small values by the million take a hundred times their text in memory. */
Test(hostile_program, json_that_swells)
{
    size_t bytes = 2 * 8000100;
    char *text = malloc(bytes);
    for (size_t i = 0; i < bytes; i++) {
        text[i] = i % 2 ? ',' : '0';
    }
    memcpy(text, "{\"a\":[", 6);
    memcpy(text + bytes - 3, "0]}", 3);
    struct tiny_checkpoint tiny = tiny_checkpoint_of("LlamaForCausalLM");
    const char *folder = tiny_checkpoint_write(&tiny, "swell");
    cr_assert(check_write_file(check_path(folder, "tokenizer.json"), text, bytes));
    expect_folder_refused(folder, "tokenizer.json has more than 8000000 values");
    free(text);
}
