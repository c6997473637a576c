/* config.json: read for every family, and as the folder of a checkpoint: beside the tensors of the
 * reference checkpoint (tests/golden) of the family that it names. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/model/arch.h"
#include "tests/fuzz/fuzz.h"

/* The first row of which the input contains both words. */
static const struct {
    const char *word, *second, *checkpoint;
} checkpoints[] = {
    {"DeepseekV3", "\"fp8\"", "deepseek_v3_fp8"},
    {"DeepseekV3", "", "deepseek_v3"},
    {"DeepseekV2", "group_limited", "deepseek_v2"},
    {"DeepseekV2", "", "deepseek_v2_lite"},
    {"GptOss", "\"mxfp4\"", "gptoss_mxfp4"},
    {"GptOss", "", "gptoss"},
    {"Mixtral", "", "mixtral"},
    {"Olmoe", "", "olmoe"},
    {"Qwen2Moe", "", "qwen2moe"},
    {"Qwen2", "", "qwen2"},
    {"Qwen3Moe", "mlp_only_layers", "qwen3moe_mixed"},
    {"Qwen3", "", "qwen3_tied"},
    {"", "linear", "llama_linear"},
    {"", "", "llama_scaled"},
};

static bool contains(const uint8_t *data, size_t bytes, const char *word)
{
    return memmem(data, bytes, word, strlen(word)) != NULL;
}

static const char *prepare(const uint8_t *data, size_t bytes)
{
    static bool linked[sizeof(checkpoints) / sizeof(checkpoints[0])];
    size_t i = 0;
    while (!contains(data, bytes, checkpoints[i].word) ||
           !contains(data, bytes, checkpoints[i].second)) {
        i++;
    }
    const char *folder = checkpoints[i].checkpoint;
    if (!linked[i]) {
        char path[4096];
        snprintf(path, sizeof(path), SOURCE_ROOT "/tests/golden/%s.safetensors", folder);
        fuzz_file_link(folder, "model.safetensors", path);
        linked[i] = true;
    }
    fuzz_file_write(folder, "config.json", data, bytes);
    return folder;
}

static void read_for_all(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"LlamaForCausalLM",      "Qwen3MoeForCausalLM",
                                        "Qwen2MoeForCausalLM",   "OlmoeForCausalLM",
                                        "MixtralForCausalLM",    "GptOssForCausalLM",
                                        "DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"};
    static struct hparams hparams;
    json_t *config = json_loadb((const char *)data, bytes, 0, NULL);
    for (size_t i = 0; json_is_object(config) && i < sizeof(names) / sizeof(names[0]); i++) {
        const struct arch *arch = arch_find_config(names[i]);
        struct error err = {""};
        assert(arch);
        bool ok = hparams_from_config(&hparams, arch, config, "config.json", &err);
        assert(ok || err.text[0]);
        for (uint32_t w = 0; ok && w < arch->n_weights; w++) {
            arch_dim_value(arch->weights[w].rows, &hparams);
            arch_dim_value(arch->weights[w].cols, &hparams);
        }
    }
    json_decref(config);
}

static bool run(const uint8_t *data, size_t bytes)
{
    struct error err = {""};
    read_for_all(data, bytes);
    const char *folder = fuzz_file_folder(prepare(data, bytes));
    struct source *source = source_open_checkpoint(folder, &err);
    assert(source || err.text[0]);
    return fuzz_source_use(source);
}

const struct fuzz_target fuzz_config = {"config", run, fuzz_json_mutate_some};
