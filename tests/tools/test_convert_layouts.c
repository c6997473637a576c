/* Layouts of checkpoints: fused and stacked experts, MXFP4 pairs. Every value of the file is
 * compared with what the test works out from the raw tensors. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>

#include "engine/model/conversion.h"
#include "tests/check.h"
#include "tests/tools/layout_check.h"

/* ---- gpt-oss ---- */

#define H 64
#define F 32
#define E 3

static const char gptoss_config[] =
    "{\"architectures\":[\"GptOssForCausalLM\"],\"attention_bias\":true,\"hidden_act\":\"silu\","
    "\"hidden_size\":64,\"num_hidden_layers\":1,\"num_attention_heads\":4,"
    "\"num_key_value_heads\":2,\"head_dim\":16,\"intermediate_size\":32,\"num_local_experts\":3,"
    "\"num_experts_per_tok\":2,\"sliding_window\":17,\"layer_types\":[\"sliding_attention\"],"
    "\"swiglu_limit\":7.0,\"vocab_size\":101,\"max_position_embeddings\":160,"
    "\"rms_norm_eps\":1e-05,\"rope_theta\":150000.0,\"tie_word_embeddings\":false%s}";

static struct raw_checkpoint *gptoss(bool pairs)
{
    struct raw_checkpoint *raw = calloc(1, sizeof(*raw));
    raw->random.state = 11 + pairs;
    raw_checkpoint_add(raw, "model.embed_tokens.weight", "BF16", SHAPE(101, H));
    raw_checkpoint_add(raw, "lm_head.weight", "BF16", SHAPE(101, H));
    raw_checkpoint_add(raw, "model.norm.weight", "BF16", SHAPE(H));
    raw_checkpoint_add(raw, P "input_layernorm.weight", "BF16", SHAPE(H));
    raw_checkpoint_add(raw, P "post_attention_layernorm.weight", "BF16", SHAPE(H));
    static const char *const names[] = {"q", "k", "v", "o"};
    for (uint32_t i = 0; i < 4; i++) {
        char name[64];
        uint64_t rows = i == 0 || i == 3 ? 64 : 32;
        snprintf(name, sizeof(name), P "self_attn.%s_proj.weight", names[i]);
        raw_checkpoint_add(raw, name, "BF16", SHAPE(rows, H));
        snprintf(name, sizeof(name), P "self_attn.%s_proj.bias", names[i]);
        raw_checkpoint_add(raw, name, "BF16", SHAPE(rows));
    }
    raw_checkpoint_add(raw, P "self_attn.sinks", "BF16", SHAPE(4));
    raw_checkpoint_add(raw, P "mlp.router.weight", "BF16", SHAPE(E, H));
    raw_checkpoint_add(raw, P "mlp.router.bias", "BF16", SHAPE(E));
    raw_checkpoint_add(raw, P "mlp.experts.gate_up_proj_bias", "BF16", SHAPE(E, 2 * F));
    raw_checkpoint_add(raw, P "mlp.experts.down_proj_bias", "BF16", SHAPE(E, H));
    if (!pairs) {
        raw_checkpoint_add(raw, P "mlp.experts.gate_up_proj", "BF16", SHAPE(E, H, 2 * F));
        raw_checkpoint_add(raw, P "mlp.experts.down_proj", "BF16", SHAPE(E, F, H));
        return raw;
    }
    raw_checkpoint_add_bytes(raw, P "mlp.experts.gate_up_proj_blocks", 0, 256,
                             SHAPE(E, 2 * F, H / 32, 16));
    raw_checkpoint_add_bytes(raw, P "mlp.experts.gate_up_proj_scales", 100, 150,
                             SHAPE(E, 2 * F, H / 32));
    raw_checkpoint_add_bytes(raw, P "mlp.experts.down_proj_blocks", 0, 256,
                             SHAPE(E, H, F / 32, 16));
    raw_checkpoint_add_bytes(raw, P "mlp.experts.down_proj_scales", 100, 150, SHAPE(E, H, F / 32));
    return raw;
}

static float gptoss_gate(const struct expectation *e, uint64_t row, uint64_t col)
{
    return layout_check_value(e, "model.layers.%u.mlp.experts.gate_up_proj",
                              (e->expert * H + col) * 2 * F + 2 * row);
}
static float gptoss_up(const struct expectation *e, uint64_t row, uint64_t col)
{
    return layout_check_value(e, "model.layers.%u.mlp.experts.gate_up_proj",
                              (e->expert * H + col) * 2 * F + 2 * row + 1);
}
static float gptoss_down(const struct expectation *e, uint64_t row, uint64_t col)
{
    return layout_check_value(e, "model.layers.%u.mlp.experts.down_proj",
                              (e->expert * F + col) * H + row);
}
static float gptoss_gate_bias(const struct expectation *e, uint64_t row, uint64_t col)
{
    return layout_check_value(e, "model.layers.%u.mlp.experts.gate_up_proj_bias",
                              row * 2 * F + 2 * col);
}
static float gptoss_up_bias(const struct expectation *e, uint64_t row, uint64_t col)
{
    return layout_check_value(e, "model.layers.%u.mlp.experts.gate_up_proj_bias",
                              row * 2 * F + 2 * col + 1);
}
static float gptoss_down_bias(const struct expectation *e, uint64_t row, uint64_t col)
{
    return layout_check_value(e, "model.layers.%u.mlp.experts.down_proj_bias", row * H + col);
}
static float gptoss_sinks(const struct expectation *e, uint64_t row, uint64_t col)
{
    return layout_check_value(e, "model.layers.%u.self_attn.sinks", col);
}

Test(convert_layouts, fused_input_major_pairs)
{
    struct raw_checkpoint *raw = gptoss(false);
    const char *folder = raw_checkpoint_write(raw, "fused", layout_check_config(gptoss_config, ""));
    static float (*const ffn[3])(const struct expectation *, uint64_t,
                                 uint64_t) = {gptoss_gate, gptoss_up, gptoss_down};
    static const char *const mixes[] = {"f32", "bf16", NULL};
    for (uint32_t i = 0; i < 3; i++) {
        struct model_file file;
        layout_check_convert(&file, folder, mixes[i]);
        layout_check_experts(&file, raw, 0, E, ffn);
        layout_check_matrix(&file, raw, ROLE_EXPERT_GATE_BIAS, 0, E, F, gptoss_gate_bias);
        layout_check_matrix(&file, raw, ROLE_EXPERT_UP_BIAS, 0, E, F, gptoss_up_bias);
        layout_check_matrix(&file, raw, ROLE_EXPERT_DOWN_BIAS, 0, E, H, gptoss_down_bias);
        layout_check_matrix(&file, raw, ROLE_ATTENTION_SINKS, 0, 1, 4, gptoss_sinks);
        model_file_close(&file);
    }
    raw_checkpoint_free(raw);
}

/* Row `row`, column `col` of an expert's blocks. */
static float pair_value(const struct expectation *e, const char *stem, uint64_t rows, uint64_t cols,
                        uint64_t row, uint64_t col)
{
    static const float values[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    char name[128];
    snprintf(name, sizeof(name), P "mlp.experts.%s_blocks", stem);
    const struct raw_tensor *blocks = raw_checkpoint_find(e->raw, name);
    snprintf(name, sizeof(name), P "mlp.experts.%s_scales", stem);
    const struct raw_tensor *scales = raw_checkpoint_find(e->raw, name);
    uint64_t at = (e->expert * rows + row) * cols + col;
    uint32_t code = blocks->bytes[at / 2] >> (at % 2 ? 4 : 0) & 15;
    float scale = 1;
    for (int i = scales->bytes[at / 32]; i > 127; i--) {
        scale *= 2;
    }
    for (int i = scales->bytes[at / 32]; i < 127; i++) {
        scale /= 2;
    }
    return (code & 8 ? -values[code & 7] : values[code & 7]) * scale;
}
static float pair_gate(const struct expectation *e, uint64_t row, uint64_t col)
{
    return pair_value(e, "gate_up_proj", 2 * F, H, 2 * row, col);
}
static float pair_up(const struct expectation *e, uint64_t row, uint64_t col)
{
    return pair_value(e, "gate_up_proj", 2 * F, H, 2 * row + 1, col);
}
static float pair_down(const struct expectation *e, uint64_t row, uint64_t col)
{
    return pair_value(e, "down_proj", H, F, row, col);
}

Test(convert_layouts, mxfp4_pairs_keep_their_bits)
{
    struct raw_checkpoint *raw = gptoss(true);
    const char *folder = raw_checkpoint_write(
        raw, "pairs",
        layout_check_config(gptoss_config,
                            ",\"quantization_config\":{\"quant_method\":\"mxfp4\"}"));
    static float (*const ffn[3])(const struct expectation *, uint64_t,
                                 uint64_t) = {pair_gate, pair_up, pair_down};
    static const char *const mixes[] = {NULL, "f32", "mxfp4_moe"};
    for (uint32_t i = 0; i < 3; i++) {
        struct model_file file;
        struct expert_layer directory;
        struct tensor_record record;
        layout_check_convert(&file, folder, mixes[i]);
        layout_check_experts(&file, raw, 0, E, ffn);
        cr_assert(model_file_find_expert_layer(&file, 0, &directory));
        model_file_tensor_at(&file, directory.first_record, &record);
        cr_expect_eq(record.type, i == 1 ? DTYPE_F32 : DTYPE_MXFP4);
        cr_assert(model_file_find_tensor(&file, ROLE_ATTENTION_Q, 0, &record));
        cr_expect_eq(record.type, i == 0 ? DTYPE_BF16 : i == 1 ? DTYPE_F32 : DTYPE_Q8_0);
        model_file_close(&file);
    }
    raw_checkpoint_free(raw);
}

Test(convert_layouts, quantisation_methods_that_cannot_be_read)
{
    struct raw_checkpoint *raw = gptoss(false);
    static const struct {
        const char *config, *sentence;
    } cases[] = {
        {",\"quantization_config\":{\"quant_method\":\"gptq\"}", "quant_method gptq"},
        {",\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4}", "quant_method awq"},
        {",\"quantization_config\":{\"bits\":4}", "quant_method (none)"},
        {",\"quantization_config\":7", "quant_method (none)"},
        {",\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e5m2\"}", "fmt e5m2"},
        {",\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[0,4]}",
         "weight_block_size"},
        {",\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[4]}",
         "weight_block_size"},
    };
    for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char name[32];
        snprintf(name, sizeof(name), "method%u", i);
        layout_check_refused(
            raw_checkpoint_write(raw, name, layout_check_config(gptoss_config, cases[i].config)),
            cases[i].sentence);
    }
    raw_checkpoint_free(raw);
}

/* Pairs are what experts may be made of; no other weight is read as one. */
Test(convert_layouts, pairs_in_strange_places)
{
    static const char *const names[] = {P "mlp.experts.gate_up_proj_bias", P "self_attn.sinks",
                                        P "self_attn.q_proj.weight"};
    for (uint32_t i = 0; i < 3; i++) {
        struct raw_checkpoint *raw = gptoss(true);
        const struct raw_tensor *tensor = raw_checkpoint_find(raw, names[i]);
        struct raw_tensor *place = &raw->tensors[tensor - raw->tensors];
        free(place->bytes);
        *place = raw->tensors[--raw->n];
        char name[128], folder[32];
        snprintf(name, sizeof(name), "%s_blocks", names[i]);
        raw_checkpoint_add_bytes(raw, name, 0, 256, SHAPE(1, 16));
        snprintf(name, sizeof(name), "%s_scales", names[i]);
        raw_checkpoint_add_bytes(raw, name, 0, 256, SHAPE(1, 1));
        snprintf(folder, sizeof(folder), "strange%u", i);
        layout_check_refused(
            raw_checkpoint_write(raw, folder, layout_check_config(gptoss_config, "")),
            "has no tensor");
        raw_checkpoint_free(raw);
    }
}

/* ---- Mixtral, fused with all gate rows first ---- */

static const char mixtral_config[] =
    "{\"architectures\":[\"MixtralForCausalLM\"],\"hidden_act\":\"silu\",\"hidden_size\":64,"
    "\"num_hidden_layers\":1,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
    "\"intermediate_size\":32,\"num_local_experts\":3,\"num_experts_per_tok\":2,"
    "\"vocab_size\":101,\"max_position_embeddings\":160,\"rms_norm_eps\":1e-05,"
    "\"rope_theta\":10000.0,\"tie_word_embeddings\":true%s}";

static float fused_gate(const struct expectation *e, uint64_t row, uint64_t col)
{
    return layout_check_value(e, "model.layers.%u.mlp.experts.gate_up_proj",
                              (e->expert * 2 * F + row) * H + col);
}
static float fused_up(const struct expectation *e, uint64_t row, uint64_t col)
{
    return layout_check_value(e, "model.layers.%u.mlp.experts.gate_up_proj",
                              (e->expert * 2 * F + F + row) * H + col);
}
static float fused_down(const struct expectation *e, uint64_t row, uint64_t col)
{
    return layout_check_value(e, "model.layers.%u.mlp.experts.down_proj",
                              (e->expert * H + row) * F + col);
}

Test(convert_layouts, fused_gate_rows_first)
{
    struct raw_checkpoint *raw = calloc(1, sizeof(*raw));
    raw->random.state = 7;
    raw_checkpoint_add(raw, "model.embed_tokens.weight", "BF16", SHAPE(101, H));
    raw_checkpoint_add(raw, "model.norm.weight", "BF16", SHAPE(H));
    raw_checkpoint_add(raw, P "input_layernorm.weight", "BF16", SHAPE(H));
    raw_checkpoint_add(raw, P "post_attention_layernorm.weight", "BF16", SHAPE(H));
    raw_checkpoint_add(raw, P "self_attn.q_proj.weight", "BF16", SHAPE(H, H));
    raw_checkpoint_add(raw, P "self_attn.k_proj.weight", "BF16", SHAPE(H / 2, H));
    raw_checkpoint_add(raw, P "self_attn.v_proj.weight", "BF16", SHAPE(H / 2, H));
    raw_checkpoint_add(raw, P "self_attn.o_proj.weight", "BF16", SHAPE(H, H));
    raw_checkpoint_add(raw, P "mlp.gate.weight", "BF16", SHAPE(E, H));
    raw_checkpoint_add(raw, P "mlp.experts.gate_up_proj", "F16", SHAPE(E, 2 * F, H));
    raw_checkpoint_add(raw, P "mlp.experts.down_proj", "F32", SHAPE(E, H, F));
    static float (*const ffn[3])(const struct expectation *, uint64_t,
                                 uint64_t) = {fused_gate, fused_up, fused_down};
    struct model_file file;
    struct tensor_record record;
    layout_check_convert(
        &file, raw_checkpoint_write(raw, "gates", layout_check_config(mixtral_config, "")), NULL);
    layout_check_experts(&file, raw, 0, E, ffn);
    struct expert_layer directory;
    cr_assert(model_file_find_expert_layer(&file, 0, &directory));
    model_file_tensor_at(&file, directory.first_record, &record);
    cr_expect_eq(record.type, DTYPE_F16, "kept");
    cr_expect_eq(record.down_type, DTYPE_F32, "kept");
    model_file_close(&file);
    raw_checkpoint_free(raw);
}
