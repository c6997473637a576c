/* FP8 with scales in tiles (here of 16 rows and 24 columns) and the parts of latent attention, as
 * DeepSeek-V3 has them. Every value of the file is compared with what the test works out from the
 * raw tensors. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/conversion.h"
#include "format/quant.h"
#include "tests/check.h"
#include "tests/tools/layout_check.h"

#define TALL 16
#define WIDE 24
#define DH 40 /* hidden */
#define HEADS 2
#define NOPE 14
#define ROPE 8
#define VALUE 12
#define Q_RANK 18
#define KV_RANK 20
#define DF 22

static const char deepseek_config[] =
    "{\"architectures\":[\"DeepseekV3ForCausalLM\"],\"attention_bias\":false,"
    "\"hidden_act\":\"silu\",\"hidden_size\":40,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":2,\"intermediate_size\":42,"
    "\"n_routed_experts\":2,\"n_shared_experts\":1,\"num_experts_per_tok\":1,"
    "\"moe_intermediate_size\":22,\"first_k_dense_replace\":1,\"moe_layer_freq\":1,"
    "\"q_lora_rank\":18,\"kv_lora_rank\":20,\"qk_nope_head_dim\":14,\"qk_rope_head_dim\":8,"
    "\"v_head_dim\":12,\"topk_method\":\"noaux_tc\",\"n_group\":1,\"topk_group\":1,"
    "\"scoring_func\":\"sigmoid\",\"norm_topk_prob\":true,\"routed_scaling_factor\":2.0,"
    "\"vocab_size\":83,\"max_position_embeddings\":160,\"rms_norm_eps\":1e-06,"
    "\"rope_theta\":10000.0,\"rope_scaling\":null,\"tie_word_embeddings\":false,"
    "\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\","
    "\"weight_block_size\":[16,24]}%s}";

/* Kinds of scales in turn: tiles in F32, tiles in BF16, one for all, one a row. */
static void add_fp8(struct raw_checkpoint *raw, const char *name, uint64_t rows, uint64_t cols)
{
    char scale[192];
    uint32_t kind = raw->n / 2 % 4;
    raw_checkpoint_add(raw, name, "F8_E4M3", SHAPE(rows, cols));
    snprintf(scale, sizeof(scale), "%s%s", name, kind == 3 ? "_scale" : "_scale_inv");
    uint64_t tall = (rows + TALL - 1) / TALL, wide = (cols + WIDE - 1) / WIDE;
    if (kind == 2) {
        raw_checkpoint_add(raw, scale, "F32", SHAPE(1));
    } else if (kind == 3) {
        raw_checkpoint_add(raw, scale, "F32", SHAPE(rows, 1));
    } else {
        raw_checkpoint_add(raw, scale, kind ? "BF16" : "F32", SHAPE(tall, wide));
    }
}

static float fp8_value(const struct expectation *e, const char *format, uint64_t row, uint64_t col)
{
    char name[128], scale[192];
    snprintf(name, sizeof(name), format, e->layer, e->expert);
    const struct raw_tensor *values = raw_checkpoint_find(e->raw, name);
    const struct raw_tensor *scales = values + 1;
    snprintf(scale, sizeof(scale), "%s_scale", name);
    cr_assert(strncmp(scales->name, scale, strlen(scale)) == 0);
    uint64_t tall = (values->shape[0] + TALL - 1) / TALL;
    uint64_t wide = (values->shape[1] + WIDE - 1) / WIDE;
    uint64_t at = scales->elements == 1             ? 0
                  : scales->elements == tall * wide ? row / TALL * wide + col / WIDE
                                                    : row;
    return raw_checkpoint_value(values, row * values->shape[1] + col) *
           raw_checkpoint_value(scales, at);
}

static void add_ffn(struct raw_checkpoint *raw, const char *prefix, uint64_t width)
{
    char name[128];
    snprintf(name, sizeof(name), "%s.gate_proj.weight", prefix);
    add_fp8(raw, name, width, DH);
    snprintf(name, sizeof(name), "%s.up_proj.weight", prefix);
    add_fp8(raw, name, width, DH);
    snprintf(name, sizeof(name), "%s.down_proj.weight", prefix);
    add_fp8(raw, name, DH, width);
}

static void add_deepseek_layer(struct raw_checkpoint *raw, uint32_t layer)
{
    char prefix[64], name[128];
    snprintf(prefix, sizeof(prefix), "model.layers.%u", layer);
    const struct {
        const char *name;
        uint64_t rows, cols;
    } tensors[] = {
        {"q_a_proj", Q_RANK, DH},
        {"q_b_proj", HEADS * (NOPE + ROPE), Q_RANK},
        {"kv_a_proj_with_mqa", KV_RANK + ROPE, DH},
        {"kv_b_proj", HEADS * (NOPE + VALUE), KV_RANK},
        {"o_proj", DH, HEADS * VALUE},
    };
    for (uint32_t i = 0; i < sizeof(tensors) / sizeof(tensors[0]); i++) {
        snprintf(name, sizeof(name), "%s.self_attn.%s.weight", prefix, tensors[i].name);
        add_fp8(raw, name, tensors[i].rows, tensors[i].cols);
    }
    static const struct {
        const char *name;
        uint64_t cols;
    } norms[] = {{"input_layernorm", DH},
                 {"post_attention_layernorm", DH},
                 {"self_attn.q_a_layernorm", Q_RANK},
                 {"self_attn.kv_a_layernorm", KV_RANK}};
    for (uint32_t i = 0; i < sizeof(norms) / sizeof(norms[0]); i++) {
        snprintf(name, sizeof(name), "%s.%s.weight", prefix, norms[i].name);
        raw_checkpoint_add(raw, name, "F16", SHAPE(norms[i].cols));
    }
}

static struct raw_checkpoint *deepseek(void)
{
    struct raw_checkpoint *raw = calloc(1, sizeof(*raw));
    raw->random.state = 5;
    for (uint32_t layer = 0; layer < 2; layer++) {
        add_deepseek_layer(raw, layer);
    }
    add_ffn(raw, "model.layers.0.mlp", 42);
    add_ffn(raw, "model.layers.1.mlp.experts.0", DF);
    add_ffn(raw, "model.layers.1.mlp.experts.1", DF);
    add_ffn(raw, "model.layers.1.mlp.shared_experts", DF);
    raw_checkpoint_add(raw, "model.layers.1.mlp.gate.weight", "BF16", SHAPE(2, DH));
    raw_checkpoint_add(raw, "model.layers.1.mlp.gate.e_score_correction_bias", "F32", SHAPE(2));
    raw_checkpoint_add(raw, "model.embed_tokens.weight", "BF16", SHAPE(83, DH));
    raw_checkpoint_add(raw, "lm_head.weight", "BF16", SHAPE(83, DH));
    raw_checkpoint_add(raw, "model.norm.weight", "BF16", SHAPE(DH));
    /* The layer for multi-token prediction is no part of the model. */
    raw_checkpoint_add(raw, "model.layers.2.eh_proj.weight", "BF16", SHAPE(3, 5));
    return raw;
}

/* Rotary rows: first the even members of the stored pairs, then the odd ones. */
static uint64_t unpaired(uint64_t i)
{
    return i < ROPE / 2 ? 2 * i : 2 * (i - ROPE / 2) + 1;
}
#define ATTENTION "model.layers.%u.self_attn."
static float q_nope(const struct expectation *e, uint64_t row, uint64_t col)
{
    return fp8_value(e, ATTENTION "q_b_proj.weight", row / NOPE * (NOPE + ROPE) + row % NOPE, col);
}
static float q_rope(const struct expectation *e, uint64_t row, uint64_t col)
{
    return fp8_value(e, ATTENTION "q_b_proj.weight",
                     row / ROPE * (NOPE + ROPE) + NOPE + unpaired(row % ROPE), col);
}
static float kv_a(const struct expectation *e, uint64_t row, uint64_t col)
{
    return fp8_value(e, ATTENTION "kv_a_proj_with_mqa.weight", row, col);
}
static float k_rope(const struct expectation *e, uint64_t row, uint64_t col)
{
    return fp8_value(e, ATTENTION "kv_a_proj_with_mqa.weight", KV_RANK + unpaired(row), col);
}
static float k_b(const struct expectation *e, uint64_t row, uint64_t col)
{
    return fp8_value(e, ATTENTION "kv_b_proj.weight", row / KV_RANK * (NOPE + VALUE) + col,
                     row % KV_RANK);
}
static float v_b(const struct expectation *e, uint64_t row, uint64_t col)
{
    return fp8_value(e, ATTENTION "kv_b_proj.weight",
                     row / VALUE * (NOPE + VALUE) + NOPE + row % VALUE, col);
}
static float o_proj(const struct expectation *e, uint64_t row, uint64_t col)
{
    return fp8_value(e, ATTENTION "o_proj.weight", row, col);
}
#define FFN_VALUES(kind, prefix) \
    static float kind##_gate(const struct expectation *e, uint64_t row, uint64_t col) \
    { \
        return fp8_value(e, prefix ".gate_proj.weight", row, col); \
    } \
    static float kind##_up(const struct expectation *e, uint64_t row, uint64_t col) \
    { \
        return fp8_value(e, prefix ".up_proj.weight", row, col); \
    } \
    static float kind##_down(const struct expectation *e, uint64_t row, uint64_t col) \
    { \
        return fp8_value(e, prefix ".down_proj.weight", row, col); \
    } \
    static float (*const kind##_ffn[3])(const struct expectation *, uint64_t, \
                                        uint64_t) = {kind##_gate, kind##_up, kind##_down}
FFN_VALUES(dense, "model.layers.%u.mlp");
FFN_VALUES(routed, "model.layers.%u.mlp.experts.%u");
FFN_VALUES(shared, "model.layers.%u.mlp.shared_experts");

Test(convert_fp8, fp8_tiles_and_latent_attention)
{
    struct raw_checkpoint *raw = deepseek();
    struct model_file file;
    layout_check_convert(
        &file, raw_checkpoint_write(raw, "fp8", layout_check_config(deepseek_config, "")), "f32");
    for (uint32_t layer = 0; layer < 2; layer++) {
        layout_check_matrix(&file, raw, ROLE_LATENT_Q_NOPE, layer, HEADS * NOPE, Q_RANK, q_nope);
        layout_check_matrix(&file, raw, ROLE_LATENT_Q_ROPE, layer, HEADS * ROPE, Q_RANK, q_rope);
        layout_check_matrix(&file, raw, ROLE_LATENT_KV_A, layer, KV_RANK, DH, kv_a);
        layout_check_matrix(&file, raw, ROLE_LATENT_K_ROPE, layer, ROPE, DH, k_rope);
        layout_check_matrix(&file, raw, ROLE_LATENT_K_B, layer, HEADS * KV_RANK, NOPE, k_b);
        layout_check_matrix(&file, raw, ROLE_LATENT_V_B, layer, HEADS * VALUE, KV_RANK, v_b);
        layout_check_matrix(&file, raw, ROLE_ATTENTION_OUTPUT, layer, DH, HEADS * VALUE, o_proj);
    }
    layout_check_experts(&file, raw, 0, 1, dense_ffn);
    layout_check_experts(&file, raw, 1, 2, routed_ffn);
    struct tensor_record record;
    cr_assert(model_file_find_tensor(&file, ROLE_SHARED_EXPERT, 1, &record));
    layout_check_slab(&file, raw, &record, 0, shared_ffn);
    model_file_close(&file);
    raw_checkpoint_free(raw);
}

/* Tiles of 128, if nothing is said of them. */
Test(convert_fp8, fp8_without_a_method)
{
    struct raw_checkpoint *raw = calloc(1, sizeof(*raw));
    raw->random.state = 9;
    raw_checkpoint_add(raw, "model.embed_tokens.weight", "F8_E4M3", SHAPE(131, 260));
    raw_checkpoint_add(raw, "model.embed_tokens.weight_scale_inv", "F32", SHAPE(2, 3));
    raw_checkpoint_add(raw, "model.norm.weight", "BF16", SHAPE(260));
    raw_checkpoint_add(raw, P "input_layernorm.weight", "BF16", SHAPE(260));
    raw_checkpoint_add(raw, P "post_attention_layernorm.weight", "BF16", SHAPE(260));
    raw_checkpoint_add(raw, P "self_attn.q_proj.weight", "BF16", SHAPE(16, 260));
    raw_checkpoint_add(raw, P "self_attn.k_proj.weight", "BF16", SHAPE(16, 260));
    raw_checkpoint_add(raw, P "self_attn.v_proj.weight", "BF16", SHAPE(16, 260));
    raw_checkpoint_add(raw, P "self_attn.o_proj.weight", "BF16", SHAPE(260, 16));
    raw_checkpoint_add(raw, P "mlp.gate_proj.weight", "BF16", SHAPE(8, 260));
    raw_checkpoint_add(raw, P "mlp.up_proj.weight", "BF16", SHAPE(8, 260));
    raw_checkpoint_add(raw, P "mlp.down_proj.weight", "BF16", SHAPE(260, 8));
    struct model_file file;
    struct tensor_record record;
    layout_check_convert(
        &file,
        raw_checkpoint_write(raw, "plain",
                             "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":260,"
                             "\"num_hidden_layers\":1,\"num_attention_heads\":1,\"head_dim\":16,"
                             "\"intermediate_size\":8,\"vocab_size\":131,"
                             "\"max_position_embeddings\":64,\"tie_word_embeddings\":true}"),
        "f32");
    cr_assert(model_file_find_tensor(&file, ROLE_TOKEN_EMBEDDING, MODEL_FILE_NO_LAYER, &record));
    uint8_t *matrix = layout_check_load(&file, &record);
    const struct raw_tensor *values = raw_checkpoint_find(raw, "model.embed_tokens.weight");
    for (uint64_t row = 0; row < 131; row++) {
        float decoded[260];
        quant_decode_matrix_row(dtype_info(record.type), matrix, 131, 260, row, decoded);
        for (uint64_t col = 0; col < 260; col++) {
            float expected = raw_checkpoint_value(values, row * 260 + col) *
                             raw_checkpoint_value(values + 1, row / 128 * 3 + col / 128);
            cr_assert_eq(decoded[col], expected, "%ju %ju", (uintmax_t)row, (uintmax_t)col);
        }
    }
    free(matrix);
    model_file_close(&file);
    raw_checkpoint_free(raw);
}

Test(convert_fp8, fp8_kept_is_bf16)
{
    struct raw_checkpoint *raw = deepseek();
    struct model_file file;
    layout_check_convert(
        &file, raw_checkpoint_write(raw, "kept", layout_check_config(deepseek_config, "")), NULL);
    struct tensor_record record;
    cr_assert(model_file_find_tensor(&file, ROLE_LATENT_V_B, 0, &record));
    cr_expect_eq(record.type, DTYPE_BF16);
    uint8_t *matrix = layout_check_load(&file, &record);
    struct expectation e = {raw, 0, 0, NULL};
    for (uint64_t row = 0; row < record.rows; row++) {
        float values[KV_RANK];
        quant_decode_matrix_row(dtype_info(DTYPE_BF16), matrix, record.rows, record.cols, row,
                                values);
        for (uint64_t col = 0; col < record.cols; col++) {
            float expected = v_b(&e, row, col), error = values[col] - expected;
            cr_expect_leq(error * error, expected * expected / 65536);
        }
    }
    free(matrix);
    model_file_close(&file);
    raw_checkpoint_free(raw);
}

Test(convert_fp8, scales_that_do_not_suit)
{
    static const struct {
        const char *dtype;
        uint64_t shape[3];
        const char *sentence;
    } cases[] = {
        {"F32", {3, 2}, "do not suit"},
        {"F32", {2, 3}, "do not suit"},
        {"F32", {2}, "do not suit"},
        {"U8", {1}, "have dtype U8"},
        {"F8_E4M3", {1}, "have dtype F8_E4M3"},
    };
    for (uint32_t i = 0; i <= sizeof(cases) / sizeof(cases[0]); i++) {
        struct raw_checkpoint *raw = deepseek();
        const char *name = "model.layers.0.self_attn.q_a_proj.weight";
        const struct raw_tensor *values = raw_checkpoint_find(raw, name);
        struct raw_tensor *scales = &raw->tensors[values - raw->tensors + 1];
        char scale_name[128], folder[32];
        strcpy(scale_name, scales->name);
        free(scales->bytes);
        *scales = raw->tensors[--raw->n]; /* the last one takes its place */
        bool missing = i == sizeof(cases) / sizeof(cases[0]);
        if (!missing && strcmp(cases[i].dtype, "U8") == 0) {
            raw_checkpoint_add_bytes(raw, scale_name, 0, 256, cases[i].shape);
        } else if (!missing) {
            raw_checkpoint_add(raw, scale_name, cases[i].dtype, cases[i].shape);
        }
        snprintf(folder, sizeof(folder), "scales%u", i);
        layout_check_refused(
            raw_checkpoint_write(raw, folder, layout_check_config(deepseek_config, "")),
            missing ? "there is no \"model.layers.0.self_attn.q_a_proj.weight_scale_inv"
                    : cases[i].sentence);
        raw_checkpoint_free(raw);
    }
}
