/* Bad checkpoints: each is refused with one sentence that names what is wrong. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/model/source.h"
#include "tests/check.h"
#include "tests/tools/tiny_checkpoint.h"

static void expect_refused(const char *folder, const char *sentence)
{
    struct error err = {""};
    struct source *source = source_open_checkpoint(folder, &err);
    cr_expect_null(source, "accepted, expected: %s", sentence);
    cr_expect(strstr(err.text, sentence), "\"%s\" lacks \"%s\"", err.text, sentence);
    source_close(&source);
}

static void expect_accepted(const char *folder)
{
    struct error err = {""};
    struct source *source = source_open_checkpoint(folder, &err);
    cr_assert(source, "%s", err.text);
    source_close(&source);
}

/* ---- tensors ---- */

struct damage {
    const char *name;   /* of the tensor to change */
    const char *rename; /* what it becomes, or NULL */
    const char *dtype;
    uint64_t shape[2];
    bool dropped;
    const char *sentence[2]; /* both must be there */
};

static void apply(void *context, struct tiny_tensor *tensor)
{
    const struct damage *damage = context;
    if (strcmp(tensor->name, damage->name) != 0) {
        return;
    }
    if (damage->rename) {
        strcpy(tensor->name, damage->rename);
    }
    if (damage->dtype) {
        tensor->dtype = damage->dtype;
    }
    if (damage->shape[0]) {
        tensor->rank = damage->shape[1] ? 2 : 1;
        memcpy(tensor->shape, damage->shape, sizeof(damage->shape));
    }
    tensor->dropped = damage->dropped;
}

#define LAYER1 "model.layers.1."

Test(checkpoint, tensors_that_do_not_fit)
{
    static const struct damage cases[] = {
        {.name = LAYER1 "mlp.gate.weight",
         .dropped = true,
         .sentence = {"has no tensor \"" LAYER1 "mlp.gate.weight\"", "model.safetensors"}},
        {.name = LAYER1 "mlp.experts.3.down_proj.weight",
         .dropped = true,
         .sentence = {"has no tensor \"" LAYER1 "mlp.experts.3.down_proj.weight\"", ""}},
        {.name = "model.embed_tokens.weight",
         .dropped = true,
         .sentence = {"has no tensor \"model.embed_tokens.weight\"", ""}},
        {.name = LAYER1 "self_attn.q_proj.weight",
         .shape = {32, 64},
         .sentence = {"\"" LAYER1 "self_attn.q_proj.weight\" has shape [32, 64]",
                      "[64, 64] (num_attention_heads * head_dim, hidden_size)"}},
        {.name = LAYER1 "self_attn.k_proj.weight",
         .shape = {64, 32},
         .sentence = {"has shape [64, 32]",
                      "[32, 64] (num_key_value_heads * head_dim, hidden_size)"}},
        {.name = LAYER1 "self_attn.k_norm.weight",
         .shape = {8},
         .sentence = {"has shape [8]", "[16] (head_dim)"}},
        {.name = LAYER1 "self_attn.k_norm.weight",
         .shape = {16, 1},
         .sentence = {"has shape [16, 1]", "[16] (head_dim)"}},
        {.name = LAYER1 "mlp.experts.2.down_proj.weight",
         .shape = {32, 64},
         .sentence = {"has shape [32, 64]", "[64, 32] (hidden_size, moe_intermediate_size)"}},
        {.name = LAYER1 "mlp.experts.2.up_proj.weight",
         .shape = {2048},
         .sentence = {"has shape [2048]", "[32, 64] (moe_intermediate_size, hidden_size)"}},
        {.name = "model.embed_tokens.weight",
         .shape = {200, 64},
         .sentence = {"has shape [200, 64]", "[264, 64] (vocab_size, hidden_size)"}},
        {.name = LAYER1 "mlp.gate.weight",
         .shape = {2, 64},
         .sentence = {"has shape [2, 64]", "[4, 64] (num_experts, hidden_size)"}},
        {.name = LAYER1 "self_attn.v_proj.weight",
         .dtype = "F8_E4M3",
         .sentence = {"\"" LAYER1 "self_attn.v_proj.weight\" has dtype F8_E4M3", ""}},
        {.name = LAYER1 "self_attn.v_proj.weight", .dtype = "I64", .sentence = {"dtype I64", ""}},
        {.name = "model.norm.weight", .dtype = "F64", .sentence = {"dtype F64", ""}},
        {.name = "model.norm.weight",
         .rename = "model.norms.weight",
         .sentence = {"has no tensor \"model.norm.weight\"", ""}},
        {.name = "lm_head.weight",
         .rename = "lm_head.bias",
         .sentence = {"tie_word_embeddings is false, but there is no lm_head.weight", ""}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
        struct damage damage = cases[i];
        tiny.change = apply;
        tiny.change_context = &damage;
        char name[32];
        snprintf(name, sizeof(name), "tensor%zu", i);
        const char *folder = tiny_checkpoint_write(&tiny, name);
        expect_refused(folder, damage.sentence[0]);
        expect_refused(folder, damage.sentence[1]);
    }
}

/* Surplus: what the config's numbers do not call for. */
Test(checkpoint, tensors_that_have_no_place)
{
    static const struct {
        const char *architecture, *config, *sentence;
    } cases[] = {
        {"Qwen3ForCausalLM", ",\"num_hidden_layers\":1", "\"model.layers.1."},
        {"Qwen3MoeForCausalLM", ",\"num_experts\":3", "has shape [4, 64] where"},
        {"Qwen3MoeForCausalLM", ",\"mlp_only_layers\":[1]", "mlp.gate_proj.weight"},
        {"Qwen3MoeForCausalLM", ",\"decoder_sparse_step\":2", "mlp.gate_proj.weight"},
        {"Qwen3MoeForCausalLM", ",\"num_hidden_layers\":3", "no tensor \"model.layers.2."},
        {"LlamaForCausalLM", ",\"hidden_size\":128,\"head_dim\":16", "[264, 128]"},
        {"LlamaForCausalLM", ",\"intermediate_size\":95", "(intermediate_size, hidden_size)"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tiny_checkpoint tiny = tiny_checkpoint_of(cases[i].architecture);
        tiny.config = cases[i].config;
        char name[32];
        snprintf(name, sizeof(name), "surplus%zu", i);
        expect_refused(tiny_checkpoint_write(&tiny, name), cases[i].sentence);
    }
}

Test(checkpoint, unknown_and_ignored_names)
{
    static const struct {
        const char *architecture, *extra;
        bool accepted;
    } cases[] = {
        {"LlamaForCausalLM", "model.layers.0.self_attn.rotary_emb.inv_freq", true},
        {"LlamaForCausalLM", "model.layers.11.self_attn.rotary_emb.inv_freq", true},
        {"LlamaForCausalLM", "model.layers.x.self_attn.rotary_emb.inv_freq", false},
        {"LlamaForCausalLM", "model.layers..self_attn.rotary_emb.inv_freq", false},
        {"LlamaForCausalLM", "model.layers.0.self_attn.rotary", false},
        {"LlamaForCausalLM", "model.layers.0.self_attn.q_norm.weight", false},
        {"LlamaForCausalLM", "model.layers.2.input_layernorm.weight", false},
        {"Qwen3ForCausalLM", "model.layers.0.self_attn.q_proj.bias", false},
        {"Qwen3ForCausalLM", "lm_head.weigh", false},
        {"Qwen3ForCausalLM", "", false},
        {"Qwen3MoeForCausalLM", "model.layers.0.mlp.experts.4.up_proj.weight", false},
        {"Qwen3MoeForCausalLM", "model.layers.0.mlp.experts.00.up_proj.weight", false},
        {"Qwen3MoeForCausalLM", "model.layers.0.mlp.shared_expert.up_proj.weight", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tiny_checkpoint tiny = tiny_checkpoint_of(cases[i].architecture);
        tiny.extra = cases[i].extra;
        char name[32], sentence[128];
        snprintf(name, sizeof(name), "name%zu", i);
        snprintf(sentence, sizeof(sentence), "\"%s\" has no place in %s with num_hidden_layers 2",
                 tiny.extra, tiny.architecture);
        const char *folder = tiny_checkpoint_write(&tiny, name);
        if (cases[i].accepted) {
            expect_accepted(folder);
        } else {
            expect_refused(folder, sentence);
        }
    }
}

/* ---- the folder ---- */

static void replace(const char *folder, const char *file, const char *text)
{
    cr_assert(check_write_file(check_path(folder, file), text, strlen(text)));
}

Test(checkpoint, folders_that_lack_something)
{
    expect_refused(check_path(check_temp_dir(), "nowhere"), "does not exist");
    replace(check_temp_dir(), "file", "x");
    expect_refused(check_path(check_temp_dir(), "file"), "is not a folder");
    expect_refused(check_temp_dir(), "has no config.json");
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
    tiny.shards = 3;
    const char *folder = tiny_checkpoint_write(&tiny, "shards");
    expect_accepted(folder);
    cr_assert_eq(unlink(check_path(folder, "model-00002-of-00003.safetensors")), 0);
    expect_refused(folder, "model-00002-of-00003.safetensors is missing");
    cr_assert_eq(truncate(check_path(folder, "model-00001-of-00003.safetensors"), 20000), 0);
    expect_refused(folder, "behind the end of the file");
    cr_assert_eq(unlink(check_path(folder, "model.safetensors.index.json")), 0);
    expect_refused(folder, "neither model.safetensors nor");
}

Test(checkpoint, configs_that_are_none)
{
    static const struct {
        const char *config, *sentence;
    } cases[] = {
        {"", "is empty"},
        {"{", "not valid JSON"},
        {"[]", "not a JSON object"},
        {"\xFF", "not valid JSON"},
        {"{}", "does not name an architecture"},
        {"{\"architectures\":\"LlamaForCausalLM\"}", "does not name an architecture"},
        {"{\"architectures\":[]}", "does not name an architecture"},
        {"{\"architectures\":[7]}", "does not name an architecture"},
        {"{\"architectures\":[\"GPT2LMHeadModel\"]}",
         "GPT2LMHeadModel is not one of those this version knows (Qwen3MoeForCausalLM, "},
        {"{\"architectures\":[\"LlamaForCausalLM\"]}", "has no num_hidden_layers"},
    };
    struct tiny_checkpoint tiny = tiny_checkpoint_of("LlamaForCausalLM");
    const char *folder = tiny_checkpoint_write(&tiny, "configs");
    expect_accepted(folder);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        replace(folder, "config.json", cases[i].config);
        expect_refused(folder, cases[i].sentence);
    }
    size_t n = 3000000;
    char *deep = malloc(n + 1);
    memset(deep, '[', n);
    deep[n] = 0;
    replace(folder, "config.json", deep);
    expect_refused(folder, "too large");
    deep[900000] = 0;
    replace(folder, "config.json", deep);
    expect_refused(folder, "not valid JSON");
    free(deep);
    unlink(check_path(folder, "config.json"));
    expect_refused(folder, "has no config.json");
}

/* Python's words for what JSON cannot say, in keys that do not matter and in one that does. */
Test(checkpoint, words_that_are_not_json)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("LlamaForCausalLM");
    tiny.config = ",\"a\":NaN,\"b\":[0.0, Infinity, -Infinity],\"NaN\":\"Infinity \\\" NaN\"";
    expect_accepted(tiny_checkpoint_write(&tiny, "words"));
    tiny.config = ",\"rms_norm_eps\":NaN";
    expect_refused(tiny_checkpoint_write(&tiny, "nan"), "rms_norm_eps is not a number");
    tiny.config = ",\"rope_theta\":Infinity";
    expect_refused(tiny_checkpoint_write(&tiny, "infinity"), "rope_theta is not a number");
}

Test(checkpoint, configs_damaged_at_random)
{
    struct check_random random = {5};
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
    const char *folder = tiny_checkpoint_write(&tiny, "random");
    size_t bytes;
    char *config = check_read_file(check_path(folder, "config.json"), &bytes);
    uint32_t refused = 0;
    for (uint32_t i = 0; i < 2000; i++) {
        char *copy = malloc(bytes);
        memcpy(copy, config, bytes);
        static const char likely[] = "0123456789\",:{}[]-.e";
        for (uint32_t k = 0; k <= i % 4; k++) {
            copy[check_random_below(&random, (uint32_t)bytes)] =
                i % 2 ? likely[check_random_below(&random, sizeof(likely) - 1)]
                      : (char)check_random_u64(&random);
        }
        cr_assert(check_write_file(check_path(folder, "config.json"), copy, bytes));
        free(copy);
        struct error err = {""};
        struct source *source = source_open_checkpoint(folder, &err);
        if (source) {
            source_close(&source);
        } else {
            refused++;
            cr_expect(err.text[0] != 0);
        }
    }
    cr_expect_gt(refused, 500);
    cr_expect_lt(refused, 2000);
    free(config);
}

/* ---- the model's name ---- */

Test(checkpoint, name_is_the_folders)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("LlamaForCausalLM");
    const char *folder = tiny_checkpoint_write(&tiny, "Tiny-1B");
    const char *const paths[] = {folder, check_path(folder, ""), check_path(folder, "."),
                                 check_path(folder, "../Tiny-1B//")};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct error err = {""};
        struct source *source = source_open_checkpoint(paths[i], &err);
        cr_assert(source, "%s", err.text);
        cr_expect_str_eq(source->name, "Tiny-1B");
        source_close(&source);
    }
}
