/* Numbers of models: from config.json in all its spellings, and the checks of every value. */
#include <criterion/criterion.h>

#include <string.h>

#include "engine/model/arch_list.h"
#include "engine/model/hparams.h"
#include "tests/check.h"

/* The smallest good config, with members before the last brace. */
#define BASE \
    "{\"num_hidden_layers\":2,\"hidden_size\":64,\"num_attention_heads\":4,\"vocab_size\":300," \
    "\"max_position_embeddings\":512,\"intermediate_size\":128"
#define MOE ",\"num_experts\":8,\"num_experts_per_tok\":2,\"moe_intermediate_size\":32"

static bool read_config_as(const struct arch *arch, struct hparams *hparams, const char *more,
                           struct error *err)
{
    char text[4096];
    snprintf(text, sizeof(text), BASE "%s}", more);
    json_error_t where;
    json_t *config = json_loads(text, 0, &where);
    cr_assert(config, "%s: %s", text, where.text);
    bool ok = hparams_from_config(hparams, arch, config, "config.json", err);
    json_decref(config);
    return ok;
}

static bool read_config(struct hparams *hparams, const char *more, struct error *err)
{
    return read_config_as(&arch_qwen3moe, hparams, more, err);
}

static struct hparams accept_as(const struct arch *arch, const char *more)
{
    struct hparams hparams;
    struct error err = {""};
    cr_assert(read_config_as(arch, &hparams, more, &err), "%s: %s", more, err.text);
    return hparams;
}

static struct hparams accept(const char *more)
{
    return accept_as(&arch_qwen3moe, more);
}

Test(hparams, defaults_of_old_configs)
{
    struct hparams h = accept("");
    cr_expect_eq(h.kv_heads, 4);
    cr_expect_eq(h.head_dim, 16);
    cr_expect_eq(h.experts, 0);
    cr_expect_eq(h.rope_theta, 10000);
    cr_expect_eq(h.norm_epsilon, 1e-6);
    cr_expect_eq(h.rope_scaling, ROPE_SCALING_NONE);
    h = accept(",\"head_dim\":null,\"num_key_value_heads\":null,\"rope_scaling\":null,"
               "\"sliding_window\":4096,\"use_sliding_window\":false,\"rope_theta\":500000,"
               "\"attention_bias\":null,\"quantization_config\":null,\"layer_types\":null");
    cr_expect_eq(h.kv_heads, 4);
    cr_expect_eq(h.head_dim, 16);
    cr_expect_eq(h.rope_theta, 500000);
    h = accept(",\"head_dim\":128,\"num_key_value_heads\":2,\"rms_norm_eps\":1e-05,"
               "\"layer_types\":[\"full_attention\",\"full_attention\"]");
    cr_expect_eq(h.kv_heads, 2);
    cr_expect_eq(h.head_dim, 128);
    cr_expect_eq(h.norm_epsilon, 1e-5);
}

Test(hparams, rope_in_all_spellings)
{
    struct hparams h = accept(",\"rope_scaling\":{\"rope_type\":\"default\"}");
    cr_expect_eq(h.rope_scaling, ROPE_SCALING_NONE);
    h = accept(",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":1000000.0}");
    cr_expect_eq(h.rope_scaling, ROPE_SCALING_NONE);
    cr_expect_eq(h.rope_theta, 1e6);
    h = accept(",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}");
    cr_expect_eq(h.rope_scaling, ROPE_SCALING_LINEAR);
    cr_expect_eq(h.rope_factor, 4);
    static const char *const names[] = {"rope_scaling", "rope_parameters"};
    for (uint32_t i = 0; i < 2; i++) {
        char more[512];
        snprintf(more, sizeof(more),
                 ",\"%s\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.5,"
                 "\"high_freq_factor\":5.0,\"original_max_position_embeddings\":128}",
                 names[i]);
        h = accept(more);
        cr_expect_eq(h.rope_scaling, ROPE_SCALING_LLAMA3);
        cr_expect_eq(h.rope_factor, 8);
        cr_expect_eq(h.rope_low_frequency_factor, 1.5);
        cr_expect_eq(h.rope_high_frequency_factor, 5);
        cr_expect_eq(h.rope_original_context, 128);
    }
}

Test(hparams, layers_with_routers)
{
    struct hparams h = accept(MOE ",\"norm_topk_prob\":true");
    cr_expect(h.router_normalise);
    cr_expect(hparams_layer_has_router(&h, 0) && hparams_layer_has_router(&h, 1));
    h = accept(MOE ",\"decoder_sparse_step\":2");
    cr_expect_not(h.router_normalise);
    cr_expect(!hparams_layer_has_router(&h, 0) && hparams_layer_has_router(&h, 1));
    h = accept(MOE ",\"mlp_only_layers\":[1,1]");
    cr_expect(hparams_layer_has_router(&h, 0) && !hparams_layer_has_router(&h, 1));
    cr_expect_eq(h.n_dense_layers, 1);
    cr_expect_eq(h.dense_layers[0], 1);
    h = accept(",\"num_local_experts\":4,\"num_experts_per_tok\":4,\"moe_intermediate_size\":1");
    cr_expect_eq(h.experts, 4);
    h = accept("");
    cr_expect_not(hparams_layer_has_router(&h, 1));
}

Test(hparams, what_is_refused)
{
    /* A later key of the same name counts. The sentence must hold the second text. */
    static const struct {
        const char *more, *sentence;
    } cases[] = {
        {",\"num_hidden_layers\":0", "num_hidden_layers is 0"},
        {",\"num_hidden_layers\":513", "num_hidden_layers is 513"},
        {",\"num_hidden_layers\":-1", "num_hidden_layers is not a whole number"},
        {",\"num_hidden_layers\":2.0", "num_hidden_layers is not a whole number"},
        {",\"num_hidden_layers\":\"2\"", "num_hidden_layers is not a whole number"},
        {",\"num_hidden_layers\":4294967298", "num_hidden_layers is not a whole number"},
        {",\"num_hidden_layers\":null", "has no num_hidden_layers"},
        {",\"hidden_size\":62,\"head_dim\":16", "hidden_size is 62, which is not a multiple of 4"},
        {",\"hidden_size\":0", "hidden_size is 0"},
        {",\"hidden_size\":1048580,\"head_dim\":16", "hidden_size is 1048580"},
        {",\"hidden_size\":68,\"num_attention_heads\":5",
         "not a multiple of num_attention_heads 5"},
        {",\"num_attention_heads\":0", "num_attention_heads is 0"},
        {",\"num_attention_heads\":5000,\"head_dim\":2", "num_attention_heads is 5000"},
        {",\"num_key_value_heads\":3", "not a multiple of num_key_value_heads 3"},
        {",\"num_key_value_heads\":8", "num_key_value_heads is 8"},
        {",\"head_dim\":15", "head_dim is 15, which is odd"},
        {",\"head_dim\":258", "head_dim is 258"},
        {",\"head_dim\":-2", "head_dim is not a whole number"},
        {",\"intermediate_size\":0", "intermediate_size is missing or 0"},
        {",\"intermediate_size\":2000000", "intermediate_size is 2000000"},
        {",\"vocab_size\":0", "vocab_size is 0"},
        {",\"vocab_size\":16777217", "vocab_size is 16777217"},
        {",\"max_position_embeddings\":0", "max_position_embeddings is 0"},
        {",\"max_position_embeddings\":134217729", "max_position_embeddings is 134217729"},
        {",\"rms_norm_eps\":-1", "rms_norm_eps is -1"},
        {",\"rms_norm_eps\":2", "rms_norm_eps is 2"},
        {",\"rms_norm_eps\":\"1e-6\"", "rms_norm_eps is not a number"},
        {",\"rope_theta\":0", "rope_theta is 0"},
        {",\"rope_theta\":-10000", "rope_theta is -10000"},
        {",\"rope_theta\":true", "rope_theta is not a number"},
        {",\"hidden_act\":\"gelu\"", "hidden_act is \"gelu\", which this version cannot follow"},
        {",\"attention_bias\":true", "attention_bias is true"},
        {",\"mlp_bias\":true", "mlp_bias is true"},
        {",\"use_sliding_window\":true,\"sliding_window\":4096", "use_sliding_window is true"},
        {",\"layer_types\":[\"full_attention\",\"sliding_attention\"]",
         "sliding_window is missing"},
        {",\"layer_types\":[\"full_attention\"]",
         "layer_types is not a list of num_hidden_layers 2"},
        {",\"layer_types\":[\"full_attention\",5]", "layer_types is 5"},
        {",\"layer_types\":[\"full_attention\",\"linear_attention\"]",
         "layer_types is \"linear_attention\""},
        {",\"partial_rotary_factor\":0.5", "partial_rotary_factor is 0.5"},
        {",\"quantization_config\":{\"quant_method\":\"gptq\"}",
         "quantization_config is {\"quant_m"},
        {",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4}",
         "\"yarn\" lacks rope_scaling.original_max_position_embeddings"},
        {",\"rope_scaling\":{\"type\":\"longrope\"}", "type is \"longrope\""},
        {",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}", "type is \"dynamic\""},
        {",\"rope_parameters\":{\"rope_type\":\"yarn\"}", "\"yarn\" lacks rope_scaling.factor"},
        {",\"rope_scaling\":{\"factor\":2}", "rope_scaling is {\"factor\":2}"},
        {",\"rope_scaling\":\"linear\"", "rope_scaling is \"linear\""},
        {",\"rope_scaling\":{\"type\":7}", "rope_scaling is 7"},
        {",\"rope_scaling\":{\"type\":\"linear\"}", "\"linear\" lacks rope_scaling.factor"},
        {",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}", "rope_scaling.factor is 0"},
        {",\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
         "\"high_freq_factor\":4}",
         "lacks rope_scaling.original_max_position_embeddings"},
        {",\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
         "\"high_freq_factor\":4,\"original_max_position_embeddings\":64}",
         "not above low_freq_factor 4"},
        {MOE ",\"num_experts\":1025", "num_experts is 1025"},
        {MOE ",\"num_experts\":-1", "num_experts is not a whole number"},
        {MOE ",\"num_experts_per_tok\":0", "num_experts_per_tok is 0"},
        {MOE ",\"num_experts_per_tok\":9", "num_experts_per_tok is 9 where 1 to 8"},
        {MOE ",\"num_experts\":64,\"num_experts_per_tok\":33", "is 33 where 1 to 32"},
        {MOE ",\"moe_intermediate_size\":0", "moe_intermediate_size is 0"},
        {MOE ",\"decoder_sparse_step\":0", "decoder_sparse_step is 0"},
        {MOE ",\"norm_topk_prob\":1", "norm_topk_prob is neither true nor false"},
        {MOE ",\"mlp_only_layers\":[2]", "mlp_only_layers"},
        {MOE ",\"mlp_only_layers\":[-1]", "mlp_only_layers"},
        {MOE ",\"mlp_only_layers\":[\"0\"]", "mlp_only_layers"},
        {MOE ",\"mlp_only_layers\":1", "mlp_only_layers is not a list"},
        {MOE ",\"mlp_only_layers\":[0],\"intermediate_size\":0", "intermediate_size is missing"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hparams hparams;
        struct error err = {""};
        cr_expect_not(read_config(&hparams, cases[i].more, &err), "accepted: %s", cases[i].more);
        cr_expect(strstr(err.text, cases[i].sentence), "\"%s\" lacks \"%s\"", err.text,
                  cases[i].sentence);
        cr_expect(strstr(err.text, "config.json"), "\"%s\" does not name the file", err.text);
    }
}

/* ---- families ---- */

#define LATENT \
    ",\"n_routed_experts\":12,\"n_shared_experts\":2,\"num_experts_per_tok\":3," \
    "\"moe_intermediate_size\":14,\"kv_lora_rank\":16,\"qk_nope_head_dim\":10," \
    "\"qk_rope_head_dim\":8,\"v_head_dim\":14"

Test(hparams, families_that_say_little)
{
    struct hparams h =
        accept_as(&arch_mixtral, ",\"num_local_experts\":8,\"num_experts_per_tok\":2,"
                                 "\"sliding_window\":null");
    cr_expect_eq(h.expert_ffn, 128);
    cr_expect(h.router_normalise);
    cr_expect_eq(h.router_score, ROUTER_SOFTMAX);
    cr_expect_eq(h.rope_theta, 1e6);
    cr_expect_not(h.windowed[0] || h.windowed[1]);
    cr_expect_eq(h.rope_dim, 16);
    h = accept_as(&arch_mixtral, ",\"num_local_experts\":8,\"num_experts_per_tok\":2,"
                                 "\"sliding_window\":7");
    cr_expect(h.windowed[0] && h.windowed[1] && !h.windowed[2]);
    cr_expect_eq(h.window, 7);
    h = accept_as(&arch_olmoe, ",\"num_experts\":8,\"num_experts_per_tok\":2,\"clip_qkv\":null");
    cr_expect_eq(h.expert_ffn, 128);
    cr_expect_not(h.router_normalise);
    h = accept_as(&arch_qwen2moe, MOE ",\"shared_expert_intermediate_size\":38,\"qkv_bias\":true,"
                                      "\"sliding_window\":4096,\"use_sliding_window\":false");
    cr_expect_eq(h.shared_ffn, 38);
    cr_expect_eq(h.window, 0);
    cr_expect_not(h.router_normalise);
}

Test(hparams, gpt_oss)
{
    static const char *const base =
        ",\"num_local_experts\":8,\"num_experts_per_tok\":2,\"sliding_window\":9,"
        "\"attention_bias\":true,\"quantization_config\":{\"quant_method\":\"mxfp4\"},"
        "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":32.0,\"beta_fast\":32.0,"
        "\"beta_slow\":1.0,\"truncate\":false,\"original_max_position_embeddings\":4096}";
    struct hparams h = accept_as(&arch_gptoss, base);
    cr_expect_eq(h.rope_theta, 150000);
    cr_expect_eq(h.rope_scaling, ROPE_SCALING_YARN);
    cr_expect_not(h.rope_truncate);
    cr_expect(h.windowed[0] && !h.windowed[1]);
    cr_expect_eq(h.activation_limit, 7);
    cr_expect_eq(h.activation_alpha, 1.702);
    cr_expect(h.router_normalise);
    char more[1024];
    snprintf(more, sizeof(more),
             "%s,\"layer_types\":[\"full_attention\",\"sliding_attention\"],\"swiglu_limit\":5.5",
             base);
    h = accept_as(&arch_gptoss, more);
    cr_expect(!h.windowed[0] && h.windowed[1]);
    cr_expect_eq(h.activation_limit, 5.5);
}

Test(hparams, latent_attention)
{
    struct hparams h =
        accept_as(&arch_deepseek2, LATENT
                  ",\"q_lora_rank\":null,\"topk_method\":\"greedy\",\"n_group\":8,\"topk_group\":3,"
                  "\"first_k_dense_replace\":1,\"moe_layer_freq\":1,\"routed_scaling_factor\":16.0,"
                  "\"scoring_func\":\"softmax\",\"norm_topk_prob\":false,\"head_dim\":8");
    cr_expect_eq(h.q_rank, 0);
    cr_expect_eq(h.head_dim, 18);
    cr_expect_eq(h.kv_heads, 4);
    cr_expect_eq(h.shared_ffn, 28);
    cr_expect_eq(h.router_groups, 1);
    cr_expect_eq(h.router_scale, 16);
    cr_expect_eq(h.router_score, ROUTER_SOFTMAX);
    cr_expect_not(h.router_normalise);
    cr_expect(!hparams_layer_has_router(&h, 0) && hparams_layer_has_router(&h, 1));
    h = accept_as(&arch_deepseek3,
                  LATENT ",\"q_lora_rank\":18,\"topk_method\":\"noaux_tc\",\"n_group\":4,"
                         "\"topk_group\":2,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":40,"
                         "\"beta_fast\":32,\"beta_slow\":1,\"mscale\":1.0,\"mscale_all_dim\":0.5,"
                         "\"original_max_position_embeddings\":4096}");
    cr_expect_eq(h.q_rank, 18);
    cr_expect_eq(h.router_groups, 4);
    cr_expect_eq(h.router_top_groups, 2);
    cr_expect_eq(h.router_score, ROUTER_SIGMOID);
    cr_expect(h.router_normalise);
    cr_expect(h.rope_truncate);
    cr_expect_eq(h.rope_mscale, 1);
    cr_expect_eq(h.rope_mscale_all_dim, 0.5);
    h = accept_as(&arch_deepseek2, LATENT ",\"n_shared_experts\":null,\"n_group\":null");
    cr_expect_eq(h.shared_ffn, 0);
    cr_expect_eq(h.router_groups, 1);
}

Test(hparams, what_families_refuse)
{
    static const struct {
        const struct arch *arch;
        const char *more, *sentence;
    } cases[] = {
        {&arch_llama, MOE, "num_experts is 8, which does not fit LlamaForCausalLM"},
        {&arch_qwen3moe, MOE ",\"shared_expert_intermediate_size\":8", "shared expert of width 8"},
        {&arch_qwen2moe, MOE ",\"qkv_bias\":false", "qkv_bias is false"},
        {&arch_qwen2moe, MOE ",\"shared_expert_intermediate_size\":1048577",
         "shared_expert_intermediate_size is 1048577"},
        {&arch_olmoe, MOE ",\"clip_qkv\":8.0", "clip_qkv is 8"},
        {&arch_olmoe, MOE ",\"attention_bias\":true", "attention_bias is true"},
        {&arch_gptoss, MOE ",\"attention_bias\":false", "attention_bias is false"},
        {&arch_gptoss, MOE ",\"swiglu_limit\":-1", "swiglu_limit is -1"},
        {&arch_mixtral, MOE ",\"qk_rope_head_dim\":8", "but 8 dims rotate"},
        {&arch_mixtral, MOE ",\"v_head_dim\":8", "values have 8"},
        {&arch_deepseek2, LATENT ",\"norm_topk_prob\":true", "norm_topk_prob is true"},
        {&arch_deepseek2, LATENT ",\"scoring_func\":\"relu\"", "scoring_func is \"relu\""},
        {&arch_deepseek2, LATENT ",\"topk_method\":\"best\"", "topk_method is \"best\""},
        {&arch_deepseek2, LATENT ",\"topk_method\":\"noaux_tc\"",
         "topk_method noaux_tc does not go with scoring_func softmax"},
        {&arch_deepseek3, LATENT ",\"topk_method\":\"group_limited_greedy\"",
         "does not go with scoring_func sigmoid"},
        {&arch_deepseek2, LATENT ",\"moe_layer_freq\":2", "moe_layer_freq is 2"},
        {&arch_deepseek3, LATENT ",\"rope_interleave\":false", "rope_interleave is false"},
        {&arch_deepseek3,
         LATENT ",\"sliding_window\":9,\"layer_types\":[\"full_attention\",\"sliding_attention\"]",
         "sliding_window is 9"},
        {&arch_deepseek3, LATENT ",\"n_group\":5", "not a multiple of n_group 5"},
        {&arch_deepseek3, LATENT ",\"n_group\":0", "n_group is 0"},
        {&arch_deepseek3, LATENT ",\"n_group\":4,\"topk_group\":5", "topk_group is 5 where 1 to 4"},
        {&arch_deepseek3, LATENT ",\"n_group\":6,\"topk_group\":1", "leaves 2 experts"},
        {&arch_deepseek3, LATENT ",\"kv_lora_rank\":0", "kv_lora_rank is 0"},
        {&arch_deepseek3, LATENT ",\"kv_lora_rank\":15", "even numbers are needed"},
        {&arch_deepseek3, LATENT ",\"kv_lora_rank\":1026", "kv_lora_rank is 1026"},
        {&arch_deepseek3, LATENT ",\"qk_rope_head_dim\":7", "even numbers are needed"},
        {&arch_deepseek3, LATENT ",\"qk_rope_head_dim\":0", "qk_rope_head_dim is 0"},
        {&arch_deepseek3, LATENT ",\"qk_nope_head_dim\":0", "qk_nope_head_dim is 0"},
        {&arch_deepseek3, LATENT ",\"v_head_dim\":null", "v_head_dim is 0"},
        {&arch_deepseek3, LATENT ",\"n_shared_experts\":100000", "n_shared_experts is 100000"},
        {&arch_deepseek3, LATENT ",\"routed_scaling_factor\":1e9",
         "routed_scaling_factor is 1e+09"},
        {&arch_deepseek3,
         LATENT ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":40,\"beta_fast\":0,"
                "\"original_max_position_embeddings\":4096}",
         "beta_fast is 0"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hparams hparams;
        struct error err = {""};
        cr_expect_not(read_config_as(cases[i].arch, &hparams, cases[i].more, &err), "accepted: %s",
                      cases[i].more);
        cr_expect(strstr(err.text, cases[i].sentence), "\"%s\" lacks \"%s\"", err.text,
                  cases[i].sentence);
    }
}

Test(hparams, names_of_families)
{
    cr_expect_eq(arch_find_config("MixtralForCausalLM"), &arch_mixtral);
    cr_expect_null(arch_find_config("Mixtral"));
    cr_expect_null(arch_find_config(""));
    cr_expect_eq(arch_find_gguf("llama", 5, false), &arch_llama);
    cr_expect_eq(arch_find_gguf("llama", 5, true), &arch_mixtral);
    cr_expect_eq(arch_find_gguf("deepseek2", 9, true), &arch_deepseek2);
    cr_expect_null(arch_find_gguf("deepseek", 8, true));
    cr_expect_eq(arch_find("deepseek3", 9), &arch_deepseek3);
    char names[256];
    arch_gguf_names(names, sizeof(names));
    cr_expect_str_eq(names, "qwen3moe, qwen3, llama, qwen2moe, qwen2, olmoe, gpt-oss, deepseek2");
    cr_expect(arch_tensor_name(names, sizeof(names), "a.%.b|c.#.%", 1, 12, 7));
    cr_expect_str_eq(names, "c.7.12");
    cr_expect(arch_tensor_name(names, sizeof(names), "a.%.b|c.#.%", 0, 12, 7));
    cr_expect_str_eq(names, "a.12.b");
    cr_expect_not(arch_tensor_name(names, sizeof(names), "a.%.b|c.#.%", 2, 12, 7));
    cr_expect_not(arch_tensor_name(names, 4, "a.%.b", 0, 12, 7));
}

/* ---- metadata of a .moxie file ---- */

static const char *write_metadata(void (*put)(struct model_writer *writer))
{
    struct error err = {""};
    const char *path = check_path(check_temp_dir(), "numbers.moxie");
    struct model_writer *writer = model_writer_open(path, COMPRESS_NONE, &err);
    cr_assert(writer, "%s", err.text);
    put(writer);
    float row[4] = {1, 2, 3, 4};
    struct tensor_spec spec = {"x", ROLE_OUTPUT_NORM, MODEL_FILE_NO_LAYER, DTYPE_F32, 1, 4};
    cr_assert(model_writer_tensor(writer, &spec, row, &err), "%s", err.text);
    cr_assert(model_writer_finish(writer, &err), "%s", err.text);
    return path;
}

static bool read_metadata(struct hparams *hparams, const char *path, struct error *err)
{
    struct model_file file;
    cr_assert(model_file_open(&file, path, err), "%s", err->text);
    bool ok = hparams_from_file(hparams, &arch_qwen3moe, &file, err);
    model_file_close(&file);
    return ok;
}

static struct hparams full;

static void put_full(struct model_writer *writer)
{
    struct error err = {""};
    cr_assert(hparams_write(&full, writer, &err), "%s", err.text);
}

Test(hparams, file_gives_back_every_number)
{
    full = accept(
        MOE
        ",\"sliding_window\":5,\"layer_types\":[\"full_attention\","
        "\"sliding_attention\"],\"norm_topk_prob\":true,\"num_key_value_heads\":2,\"head_dim\":30,"
        "\"decoder_sparse_step\":2,\"rope_theta\":12345.5,\"rms_norm_eps\":3e-6,"
        "\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1.25,"
        "\"high_freq_factor\":4.5,\"original_max_position_embeddings\":64}");
    struct hparams back;
    struct error err = {""};
    cr_assert(read_metadata(&back, write_metadata(put_full), &err), "%s", err.text);
#define X(kind, field, ...) cr_expect(back.field == full.field, #field);
    HPARAMS(X)
#undef X
    cr_expect_eq(back.n_dense_layers, 0);
    cr_expect(back.windowed[0] == full.windowed[0] && back.windowed[1] == full.windowed[1]);
}

static void put_few(struct model_writer *writer)
{
    model_writer_u64(writer, "model.layers", 2, NULL);
    model_writer_u64(writer, "model.hidden", 64, NULL);
    model_writer_u64(writer, "model.heads", 4, NULL);
    model_writer_u64(writer, "model.ffn", 100, NULL);
    model_writer_u64(writer, "model.context", 77, NULL);
    model_writer_f64(writer, "model.vocabulary", 300, NULL); /* of the wrong type: not there */
}

static void put_few_and_vocabulary(struct model_writer *writer)
{
    model_writer_u64(writer, "model.layers", 2, NULL);
    model_writer_u64(writer, "model.hidden", 64, NULL);
    model_writer_u64(writer, "model.heads", 4, NULL);
    model_writer_u64(writer, "model.ffn", 100, NULL);
    model_writer_u64(writer, "model.context", 77, NULL);
    model_writer_u64(writer, "model.vocabulary", 300, NULL);
}

static void put_too_large(struct model_writer *writer)
{
    put_few_and_vocabulary(writer);
    model_writer_u64(writer, "model.kv_heads", UINT64_C(1) << 32, NULL);
}

static void put_window(struct model_writer *writer)
{
    put_few_and_vocabulary(writer);
    model_writer_u64(writer, "model.window", 3, NULL);
    model_writer_u64_array(writer, "model.windowed_layers", (const uint64_t[]){1, 2}, 2, NULL);
}

static void put_odd(struct model_writer *writer)
{
    put_few_and_vocabulary(writer);
    model_writer_u64(writer, "model.rope_scaling", 4, NULL);
}

Test(hparams, files_that_lack_or_lie)
{
    struct hparams h;
    struct error err = {""};
    cr_assert(read_metadata(&h, write_metadata(put_few_and_vocabulary), &err), "%s", err.text);
    cr_expect_eq(h.kv_heads, 4);
    cr_expect_eq(h.head_dim, 16);
    cr_expect_eq(h.rope_theta, 10000);
    cr_expect_eq(h.sparse_step, 1);
    cr_expect_not(read_metadata(&h, write_metadata(put_few), &err));
    cr_expect(strstr(err.text, "has no model.vocabulary"), "%s", err.text);
    cr_expect_not(read_metadata(&h, write_metadata(put_too_large), &err));
    cr_expect(strstr(err.text, "model.kv_heads is 4294967296"), "%s", err.text);
    cr_expect_not(read_metadata(&h, write_metadata(put_window), &err));
    cr_expect(strstr(err.text, "model.windowed_layers has layer 2"), "%s", err.text);
    cr_expect_not(read_metadata(&h, write_metadata(put_odd), &err));
    cr_expect(strstr(err.text, "rope_scaling"), "%s", err.text);
}
