/* Layouts of checkpoints: fused and stacked experts, FP8 with scales in tiles, MXFP4 pairs, the
 * parts of latent attention. Every value of the file is compared with what the test works out from
 * the raw tensors. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/conversion.h"
#include "format/quant.h"
#include "tests/check.h"
#include "tests/tools/raw_checkpoint.h"

static const char *output_path(void)
{
    return check_path(check_temp_dir(), "out.moxie");
}

static void convert_open(struct model_file *file, const char *folder, const char *mix)
{
    struct error err = {""};
    struct conversion_rules rules = {.mix = mix ? type_mix_find(mix) : NULL, .keep = !mix};
    struct conversion_options options = {.compress = COMPRESS_NONE};
    struct conversion_plan plan;
    struct source *source = source_open(folder, &err);
    cr_assert(source, "%s", err.text);
    cr_assert(conversion_plan_make(&plan, source, &rules, NULL, &err), "%s", err.text);
    cr_assert(conversion_run(&plan, output_path(), &options, NULL, NULL, &err), "%s", err.text);
    conversion_plan_free(&plan);
    source_close(&source);
    cr_assert(model_file_open(file, output_path(), &err), "%s", err.text);
    cr_assert(model_file_verify(file, NULL, NULL, &err), "%s", err.text);
}

static void expect_refused(const char *folder, const char *sentence)
{
    struct error err = {""};
    struct source *source = source_open(folder, &err);
    cr_expect_null(source);
    cr_expect(strstr(err.text, sentence), "\"%s\" lacks \"%s\"", err.text, sentence);
    source_close(&source);
}

/* What element (row, col) of a matrix should be. */
struct expectation {
    const struct raw_checkpoint *raw;
    uint32_t layer, expert;
    float (*value)(const struct expectation *e, uint64_t row, uint64_t col);
};

static float named_value(const struct expectation *e, const char *format, uint64_t index)
{
    char name[128];
    snprintf(name, sizeof(name), format, e->layer, e->expert);
    return raw_checkpoint_value(raw_checkpoint_find(e->raw, name), index);
}

/* Every element of rows first, first + step, ... of a matrix. Returns how many differ from 0. */
static void compare(const struct expectation *e, enum dtype type, const uint8_t *matrix,
                    uint64_t matrix_rows, uint64_t cols, uint64_t rows, uint64_t first,
                    uint64_t step)
{
    float *values = malloc(cols * sizeof(float));
    uint64_t wrong = 0, different = 0;
    for (uint64_t row = 0; row < rows; row++) {
        quant_decode_matrix_row(dtype_info(type), matrix, matrix_rows, cols, first + row * step,
                                values);
        for (uint64_t col = 0; col < cols; col++) {
            float expected = e->value(e, row, col);
            wrong += memcmp(&values[col], &expected, sizeof(expected)) != 0 &&
                     !(values[col] == 0 && expected == 0);
            different += expected != values[0];
        }
    }
    cr_expect_eq(wrong, 0, "%ju of %ju values", (uintmax_t)wrong, (uintmax_t)(rows * cols));
    cr_expect_gt(different, rows * cols / 4);
    free(values);
}

static uint8_t *load(const struct model_file *file, const struct tensor_record *record)
{
    struct error err = {""};
    uint8_t *bytes = malloc(record->raw_bytes);
    memset(bytes, 0xA5, record->raw_bytes);
    cr_assert(model_file_load(file, record, bytes, &err), "%s", err.text);
    return bytes;
}

static void compare_matrix(const struct model_file *file, const struct raw_checkpoint *raw,
                           uint32_t role, uint32_t layer, uint64_t rows, uint64_t cols,
                           float (*value)(const struct expectation *, uint64_t, uint64_t))
{
    struct expectation e = {raw, layer, 0, value};
    struct tensor_record record;
    cr_assert(model_file_find_tensor(file, role, layer, &record), "role %u", role);
    cr_expect(record.rows == rows && record.cols == cols, "role %u", role);
    uint8_t *matrix = load(file, &record);
    compare(&e, record.type, matrix, rows, cols, rows, 0, 1);
    free(matrix);
}

static void compare_slab(const struct model_file *file, const struct raw_checkpoint *raw,
                         const struct tensor_record *record, uint32_t expert,
                         float (*const value[3])(const struct expectation *, uint64_t, uint64_t))
{
    uint8_t *slab = load(file, record);
    uint64_t ffn = record->rows / 2, hidden = record->cols;
    for (uint32_t part = 0; part < 2; part++) {
        struct expectation e = {raw, record->layer, expert, value[part]};
        compare(&e, record->type, slab, 2 * ffn, hidden, ffn, part, 2);
    }
    struct expectation e = {raw, record->layer, expert, value[2]};
    compare(&e, record->down_type, slab + record->down_offset, hidden, ffn, hidden, 0, 1);
    free(slab);
}

static void compare_experts(const struct model_file *file, const struct raw_checkpoint *raw,
                            uint32_t layer, uint32_t n,
                            float (*const value[3])(const struct expectation *, uint64_t, uint64_t))
{
    struct expert_layer directory;
    cr_assert(model_file_find_expert_layer(file, layer, &directory));
    cr_assert_eq(directory.n_experts, n);
    for (uint32_t expert = 0; expert < n; expert++) {
        struct tensor_record record;
        model_file_tensor_at(file, directory.first_record + expert, &record);
        compare_slab(file, raw, &record, expert, value);
    }
}

#define SHAPE(...) ((const uint64_t[]){__VA_ARGS__, 0})

/* ---- gpt-oss ---- */

#define H 64
#define F 32
#define E 3
#define P "model.layers.0."

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
    return named_value(e, "model.layers.%u.mlp.experts.gate_up_proj",
                       (e->expert * H + col) * 2 * F + 2 * row);
}
static float gptoss_up(const struct expectation *e, uint64_t row, uint64_t col)
{
    return named_value(e, "model.layers.%u.mlp.experts.gate_up_proj",
                       (e->expert * H + col) * 2 * F + 2 * row + 1);
}
static float gptoss_down(const struct expectation *e, uint64_t row, uint64_t col)
{
    return named_value(e, "model.layers.%u.mlp.experts.down_proj", (e->expert * F + col) * H + row);
}
static float gptoss_gate_bias(const struct expectation *e, uint64_t row, uint64_t col)
{
    return named_value(e, "model.layers.%u.mlp.experts.gate_up_proj_bias", row * 2 * F + 2 * col);
}
static float gptoss_up_bias(const struct expectation *e, uint64_t row, uint64_t col)
{
    return named_value(e, "model.layers.%u.mlp.experts.gate_up_proj_bias",
                       row * 2 * F + 2 * col + 1);
}
static float gptoss_down_bias(const struct expectation *e, uint64_t row, uint64_t col)
{
    return named_value(e, "model.layers.%u.mlp.experts.down_proj_bias", row * H + col);
}
static float gptoss_sinks(const struct expectation *e, uint64_t row, uint64_t col)
{
    return named_value(e, "model.layers.%u.self_attn.sinks", col);
}

static const char *config_with(const char *format, const char *more)
{
    static char text[4096];
    snprintf(text, sizeof(text), format, more);
    return text;
}

Test(convert_layouts, fused_input_major_pairs)
{
    struct raw_checkpoint *raw = gptoss(false);
    const char *folder = raw_checkpoint_write(raw, "fused", config_with(gptoss_config, ""));
    static float (*const ffn[3])(const struct expectation *, uint64_t,
                                 uint64_t) = {gptoss_gate, gptoss_up, gptoss_down};
    static const char *const mixes[] = {"f32", "bf16", NULL};
    for (uint32_t i = 0; i < 3; i++) {
        struct model_file file;
        convert_open(&file, folder, mixes[i]);
        compare_experts(&file, raw, 0, E, ffn);
        compare_matrix(&file, raw, ROLE_EXPERT_GATE_BIAS, 0, E, F, gptoss_gate_bias);
        compare_matrix(&file, raw, ROLE_EXPERT_UP_BIAS, 0, E, F, gptoss_up_bias);
        compare_matrix(&file, raw, ROLE_EXPERT_DOWN_BIAS, 0, E, H, gptoss_down_bias);
        compare_matrix(&file, raw, ROLE_ATTENTION_SINKS, 0, 1, 4, gptoss_sinks);
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
        config_with(gptoss_config, ",\"quantization_config\":{\"quant_method\":\"mxfp4\"}"));
    static float (*const ffn[3])(const struct expectation *, uint64_t,
                                 uint64_t) = {pair_gate, pair_up, pair_down};
    static const char *const mixes[] = {NULL, "f32", "mxfp4_moe"};
    for (uint32_t i = 0; i < 3; i++) {
        struct model_file file;
        struct expert_layer directory;
        struct tensor_record record;
        convert_open(&file, folder, mixes[i]);
        compare_experts(&file, raw, 0, E, ffn);
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
        expect_refused(raw_checkpoint_write(raw, name, config_with(gptoss_config, cases[i].config)),
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
        expect_refused(raw_checkpoint_write(raw, folder, config_with(gptoss_config, "")),
                       "has no tensor");
        raw_checkpoint_free(raw);
    }
}

/* ---- DeepSeek-V3 in FP8, tiles of 16 rows and 24 columns ---- */

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

Test(convert_layouts, fp8_tiles_and_latent_attention)
{
    struct raw_checkpoint *raw = deepseek();
    struct model_file file;
    convert_open(&file, raw_checkpoint_write(raw, "fp8", config_with(deepseek_config, "")), "f32");
    for (uint32_t layer = 0; layer < 2; layer++) {
        compare_matrix(&file, raw, ROLE_LATENT_Q_NOPE, layer, HEADS * NOPE, Q_RANK, q_nope);
        compare_matrix(&file, raw, ROLE_LATENT_Q_ROPE, layer, HEADS * ROPE, Q_RANK, q_rope);
        compare_matrix(&file, raw, ROLE_LATENT_KV_A, layer, KV_RANK, DH, kv_a);
        compare_matrix(&file, raw, ROLE_LATENT_K_ROPE, layer, ROPE, DH, k_rope);
        compare_matrix(&file, raw, ROLE_LATENT_K_B, layer, HEADS * KV_RANK, NOPE, k_b);
        compare_matrix(&file, raw, ROLE_LATENT_V_B, layer, HEADS * VALUE, KV_RANK, v_b);
        compare_matrix(&file, raw, ROLE_ATTENTION_OUTPUT, layer, DH, HEADS * VALUE, o_proj);
    }
    compare_experts(&file, raw, 0, 1, dense_ffn);
    compare_experts(&file, raw, 1, 2, routed_ffn);
    struct tensor_record record;
    cr_assert(model_file_find_tensor(&file, ROLE_SHARED_EXPERT, 1, &record));
    compare_slab(&file, raw, &record, 0, shared_ffn);
    model_file_close(&file);
    raw_checkpoint_free(raw);
}

/* Tiles of 128, if nothing is said of them. */
Test(convert_layouts, fp8_without_a_method)
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
    convert_open(
        &file,
        raw_checkpoint_write(raw, "plain",
                             "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":260,"
                             "\"num_hidden_layers\":1,\"num_attention_heads\":1,\"head_dim\":16,"
                             "\"intermediate_size\":8,\"vocab_size\":131,"
                             "\"max_position_embeddings\":64,\"tie_word_embeddings\":true}"),
        "f32");
    cr_assert(model_file_find_tensor(&file, ROLE_TOKEN_EMBEDDING, MODEL_FILE_NO_LAYER, &record));
    uint8_t *matrix = load(&file, &record);
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

Test(convert_layouts, fp8_kept_is_bf16)
{
    struct raw_checkpoint *raw = deepseek();
    struct model_file file;
    convert_open(&file, raw_checkpoint_write(raw, "kept", config_with(deepseek_config, "")), NULL);
    struct tensor_record record;
    cr_assert(model_file_find_tensor(&file, ROLE_LATENT_V_B, 0, &record));
    cr_expect_eq(record.type, DTYPE_BF16);
    uint8_t *matrix = load(&file, &record);
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

Test(convert_layouts, scales_that_do_not_suit)
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
        expect_refused(raw_checkpoint_write(raw, folder, config_with(deepseek_config, "")),
                       missing ? "there is no \"model.layers.0.self_attn.q_a_proj.weight_scale_inv"
                               : cases[i].sentence);
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
    return named_value(e, "model.layers.%u.mlp.experts.gate_up_proj",
                       (e->expert * 2 * F + row) * H + col);
}
static float fused_up(const struct expectation *e, uint64_t row, uint64_t col)
{
    return named_value(e, "model.layers.%u.mlp.experts.gate_up_proj",
                       (e->expert * 2 * F + F + row) * H + col);
}
static float fused_down(const struct expectation *e, uint64_t row, uint64_t col)
{
    return named_value(e, "model.layers.%u.mlp.experts.down_proj", (e->expert * H + row) * F + col);
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
    convert_open(&file, raw_checkpoint_write(raw, "gates", config_with(mixtral_config, "")), NULL);
    compare_experts(&file, raw, 0, E, ffn);
    struct expert_layer directory;
    cr_assert(model_file_find_expert_layer(&file, 0, &directory));
    model_file_tensor_at(&file, directory.first_record, &record);
    cr_expect_eq(record.type, DTYPE_F16, "kept");
    cr_expect_eq(record.down_type, DTYPE_F32, "kept");
    model_file_close(&file);
    raw_checkpoint_free(raw);
}
