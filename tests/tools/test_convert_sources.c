/* Other sources than a folder of floats: .moxie files, and any source run without conversion. Mixes
 * of types and patterns. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "engine/model/model.h"
#include "engine/model/virtual_model.h"
#include "format/quant.h"
#include "tests/check.h"
#include "tests/tools/tiny_conversion.h"

static const char *path_of(const char *name)
{
    return check_path(check_temp_dir(), name);
}

/* mix NULL: what the source has. */
static void convert(const char *from, const char *to, const char *mix, enum compress compress)
{
    struct error err = {""};
    struct conversion_rules rules = {.mix = mix ? type_mix_find(mix) : NULL, .keep = !mix};
    cr_assert(tiny_conversion_between(from, to, &rules, compress, NULL, &err), "%s", err.text);
}

static void open_file(struct model_file *file, const char *path)
{
    struct error err = {""};
    cr_assert(model_file_open(file, path, &err), "%s", err.text);
}

static uint8_t *load(const struct model_file *file, const struct tensor_record *record)
{
    struct error err = {""};
    uint8_t *bytes = malloc(record->raw_bytes);
    memset(bytes, 0xA5, record->raw_bytes);
    cr_assert(model_file_load(file, record, bytes, &err), "%s", err.text);
    return bytes;
}

/* Every record of both files: the same role, place, types and bytes. */
static void expect_same_weights(const struct model_file *a, const struct model_file *b)
{
    cr_assert_eq(model_file_n_tensors(a), model_file_n_tensors(b));
    for (uint64_t i = 0; i < model_file_n_tensors(a); i++) {
        struct tensor_record x, y;
        model_file_tensor_at(a, i, &x);
        model_file_tensor_at(b, i, &y);
        cr_assert(x.role == y.role && x.layer == y.layer && x.expert == y.expert);
        cr_assert(x.type == y.type && x.down_type == y.down_type && x.raw_bytes == y.raw_bytes);
        cr_assert(x.rows == y.rows && x.cols == y.cols && x.down_offset == y.down_offset);
        uint8_t *p = load(a, &x), *q = load(b, &y);
        cr_expect(memcmp(p, q, x.raw_bytes) == 0, "%.*s", (int)x.name_bytes, x.name);
        free(p);
        free(q);
    }
}

static struct tiny_checkpoint wide_checkpoint(uint32_t layers)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
    tiny.hidden = 256;
    tiny.expert_ffn = 256;
    tiny.heads = 8;
    tiny.head_dim = 32;
    tiny.layers = layers;
    tiny.sparse_step = 2; /* dense layers, too */
    tiny.ffn = 512;
    return tiny;
}

/* ---- .moxie files ---- */

Test(convert_sources, moxie_files_give_what_the_checkpoint_gives)
{
    struct tiny_checkpoint tiny = wide_checkpoint(4);
    const char *folder = tiny_checkpoint_write(&tiny, "chain");
    static const enum compress how[] = {COMPRESS_NONE, COMPRESS_ZSTD};
    static const char *const mixes[] = {"f32", "q4_k_m", "iq4_xs", "mxfp4_moe", "q2_k"};
    for (uint32_t i = 0; i < 10; i++) {
        struct model_file direct, chained;
        convert(folder, path_of("direct.moxie"), mixes[i / 2], COMPRESS_NONE);
        convert(folder, path_of("bf16.moxie"), "bf16", how[i % 2]);
        convert(path_of("bf16.moxie"), path_of("chained.moxie"), mixes[i / 2], COMPRESS_NONE);
        open_file(&direct, path_of("direct.moxie"));
        open_file(&chained, path_of("chained.moxie"));
        expect_same_weights(&direct, &chained);
        model_file_close(&direct);
        model_file_close(&chained);
    }
}

Test(convert_sources, kept_types_keep_their_bits)
{
    struct tiny_checkpoint tiny = wide_checkpoint(2);
    const char *folder = tiny_checkpoint_write(&tiny, "kept");
    for (uint32_t i = 0; i < dtype_count(); i++) {
        struct model_file first, second, third;
        struct error err = {""};
        convert(folder, path_of("first.moxie"), dtype_at(i)->name, COMPRESS_NONE);
        convert(path_of("first.moxie"), path_of("second.moxie"), NULL, COMPRESS_ZSTD);
        /* The default keeps what is quantised. */
        struct conversion_rules rules = {0};
        cr_assert(tiny_conversion_between(path_of("second.moxie"), path_of("third.moxie"), &rules,
                                          COMPRESS_NONE, NULL, &err),
                  "%s", err.text);
        open_file(&first, path_of("first.moxie"));
        open_file(&second, path_of("second.moxie"));
        open_file(&third, path_of("third.moxie"));
        expect_same_weights(&first, &second);
        if (dtype_at(i)->block_elements > 1) {
            expect_same_weights(&first, &third);
        }
        model_file_close(&first);
        model_file_close(&second);
        model_file_close(&third);
    }
}

Test(convert_sources, a_file_cannot_become_itself)
{
    struct tiny_checkpoint tiny = wide_checkpoint(1);
    struct error err = {""};
    struct conversion_rules rules = {0};
    convert(tiny_checkpoint_write(&tiny, "self"), path_of("self.moxie"), "q8_0", COMPRESS_NONE);
    cr_expect_not(tiny_conversion_between(path_of("self.moxie"), path_of("self.moxie"), &rules,
                                          COMPRESS_NONE, NULL, &err));
    cr_expect(strstr(err.text, "is part of the source"), "%s", err.text);
}

Test(convert_sources, what_cannot_be_opened)
{
    static const struct {
        const char *bytes, *sentence;
    } cases[] = {{"GGUF", "bad"}, {"MOXI", "is not a .moxie file"}, {"", "is empty"}};
    for (uint32_t i = 0; i < 3; i++) {
        struct error err = {""};
        cr_assert(check_write_file(path_of("bad"), cases[i].bytes, strlen(cases[i].bytes)));
        cr_expect_null(source_open(path_of("bad"), &err));
        cr_expect(strstr(err.text, cases[i].sentence), "%s", err.text);
    }
    struct error err = {""};
    cr_expect_null(source_open(path_of("nowhere"), &err));
    cr_expect(strstr(err.text, "does not exist"), "%s", err.text);
    cr_expect_not(source_is_foreign(path_of("nowhere")));
}

/* ---- without conversion ---- */

Test(convert_sources, virtual_files_are_what_a_conversion_writes)
{
    struct tiny_checkpoint tiny = wide_checkpoint(4);
    const char *folder = tiny_checkpoint_write(&tiny, "virtual");
    convert(folder, path_of("q.moxie"), "q4_k_m", COMPRESS_ZSTD);
    const char *const sources[] = {folder, path_of("q.moxie")};
    for (uint32_t i = 0; i < 2; i++) {
        struct error err = {""};
        struct model_file real, virtual;
        convert(sources[i], path_of("real.moxie"), NULL, COMPRESS_NONE);
        open_file(&real, path_of("real.moxie"));
        struct source *source = source_open(sources[i], &err);
        cr_assert(source, "%s", err.text);
        cr_assert(virtual_model_open(&virtual, source, NULL, 2, &err), "%s", err.text);
        cr_expect_eq(virtual.map.bytes, real.map.bytes);
        expect_same_weights(&virtual, &real);
        struct tensor_record record;
        model_file_tensor_at(&virtual, 0, &record);
        cr_expect_null(model_file_raw(&virtual, &record));
        struct model model;
        cr_assert(model_bind(&model, &virtual, &err), "%s", err.text);
        model_free(&model);
        model_file_close(&virtual);
        model_file_close(&real);
    }
}

/* ---- types ---- */

static enum dtype type_of(const struct model_file *file, uint32_t role, uint32_t layer)
{
    struct tensor_record record;
    cr_assert(model_file_find_tensor(file, role, layer, &record));
    return record.type;
}

static void expert_of(const struct model_file *file, uint32_t layer, uint32_t expert,
                      struct tensor_record *record)
{
    struct expert_layer directory;
    cr_assert(model_file_find_expert_layer(file, layer, &directory));
    model_file_tensor_at(file, directory.first_record + expert, record);
}

Test(convert_sources, mixes_follow_their_table)
{
    struct tiny_checkpoint tiny = wide_checkpoint(16);
    const char *folder = tiny_checkpoint_write(&tiny, "mixes");
    /* Layers 0, 1 (of 16) and 14, 15 are at the ends; between, every third from 4 on. */
    static const bool more[16] = {1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 1, 1};
    struct model_file file;
    convert(folder, path_of("m.moxie"), "q4_k_m", COMPRESS_NONE);
    open_file(&file, path_of("m.moxie"));
    for (uint32_t layer = 0; layer < 16; layer++) {
        struct tensor_record record;
        cr_expect_eq(type_of(&file, ROLE_ATTENTION_V, layer), more[layer] ? DTYPE_Q6_K : DTYPE_Q4_K,
                     "layer %u", layer);
        cr_expect_eq(type_of(&file, ROLE_ATTENTION_K, layer), DTYPE_Q4_K);
        expert_of(&file, layer, 0, &record);
        cr_expect_eq(record.type, DTYPE_Q4_K);
        cr_expect_eq(record.down_type, more[layer] ? DTYPE_Q6_K : DTYPE_Q4_K, "layer %u", layer);
    }
    cr_expect_eq(type_of(&file, ROLE_OUTPUT, MODEL_FILE_NO_LAYER), DTYPE_Q6_K);
    cr_expect_eq(type_of(&file, ROLE_TOKEN_EMBEDDING, MODEL_FILE_NO_LAYER), DTYPE_Q4_K);
    model_file_close(&file);

    convert(folder, path_of("m.moxie"), "q3_k_m", COMPRESS_NONE);
    open_file(&file, path_of("m.moxie"));
    for (uint32_t layer = 0; layer < 16; layer++) {
        struct tensor_record record;
        cr_expect_eq(type_of(&file, ROLE_ATTENTION_V, layer), layer < 2 ? DTYPE_Q5_K : DTYPE_Q4_K);
        cr_expect_eq(type_of(&file, ROLE_ATTENTION_OUTPUT, layer), DTYPE_Q4_K);
        expert_of(&file, layer, 0, &record);
        cr_expect_eq(record.type, DTYPE_Q3_K);
        cr_expect_eq(record.down_type, layer < 1 ? DTYPE_Q5_K : DTYPE_Q4_K);
    }
    model_file_close(&file);

    convert(folder, path_of("m.moxie"), "mxfp4_moe", COMPRESS_NONE);
    open_file(&file, path_of("m.moxie"));
    for (uint32_t layer = 0; layer < 4; layer++) {
        struct tensor_record record;
        expert_of(&file, layer, 0, &record);
        cr_expect_eq(record.type, layer % 2 ? DTYPE_MXFP4 : DTYPE_Q8_0, "only routed experts");
        cr_expect_eq(record.down_type, layer % 2 ? DTYPE_MXFP4 : DTYPE_Q8_0);
        cr_expect_eq(type_of(&file, ROLE_ATTENTION_V, layer), DTYPE_Q8_0);
    }
    model_file_close(&file);
}

/* Four query heads a key head; and exactly 8 experts. */
Test(convert_sources, mixes_look_at_the_model)
{
    struct tiny_checkpoint tiny = wide_checkpoint(2);
    struct model_file file;
    tiny.kv_heads = 2;
    convert(tiny_checkpoint_write(&tiny, "grouped"), path_of("g.moxie"), "q2_k", COMPRESS_NONE);
    open_file(&file, path_of("g.moxie"));
    cr_expect_eq(type_of(&file, ROLE_ATTENTION_V, 0), DTYPE_Q4_K);
    model_file_close(&file);
    tiny.kv_heads = 4;
    convert(tiny_checkpoint_write(&tiny, "single"), path_of("g.moxie"), "q2_k", COMPRESS_NONE);
    open_file(&file, path_of("g.moxie"));
    cr_expect_eq(type_of(&file, ROLE_ATTENTION_V, 0), DTYPE_Q3_K);
    cr_expect_eq(type_of(&file, ROLE_ATTENTION_K, 0), DTYPE_Q2_K);
    model_file_close(&file);
    tiny.experts = 8;
    convert(tiny_checkpoint_write(&tiny, "eight"), path_of("g.moxie"), "q4_k_m", COMPRESS_NONE);
    open_file(&file, path_of("g.moxie"));
    cr_expect_eq(type_of(&file, ROLE_ATTENTION_V, 0), DTYPE_Q8_0);
    cr_expect_eq(type_of(&file, ROLE_ATTENTION_K, 0), DTYPE_Q8_0);
    cr_expect_eq(type_of(&file, ROLE_ATTENTION_OUTPUT, 0), DTYPE_Q5_K);
    model_file_close(&file);
}

static bool expert_types(void *context, uint32_t layer, uint32_t expert, enum dtype *type,
                         enum dtype *down_type)
{
    *type = DTYPE_Q6_K;
    *down_type = DTYPE_Q3_K;
    return layer == 1 && expert == 2;
}

Test(convert_sources, patterns_and_types_of_single_experts)
{
    struct tiny_checkpoint tiny = wide_checkpoint(2);
    const char *folder = tiny_checkpoint_write(&tiny, "patterns");
    const struct conversion_pattern patterns[] = {
        {"*", DTYPE_Q8_0},
        {"layer.1.expert.*", DTYPE_Q5_K},
        {"*.expert.3.down", DTYPE_IQ4_NL},
        {"output", DTYPE_BF16},
    };
    struct conversion_rules rules = {
        .mix = type_mix_find("q4_k"), .patterns = patterns, .n_patterns = 4};
    struct error err = {""};
    struct model_file file;
    struct tensor_record record;
    cr_assert(
        tiny_conversion_between(folder, path_of("p.moxie"), &rules, COMPRESS_NONE, NULL, &err),
        "%s", err.text);
    open_file(&file, path_of("p.moxie"));
    cr_expect_eq(type_of(&file, ROLE_OUTPUT, MODEL_FILE_NO_LAYER), DTYPE_BF16);
    cr_expect_eq(type_of(&file, ROLE_OUTPUT_NORM, MODEL_FILE_NO_LAYER), DTYPE_F32, "never");
    cr_expect_eq(type_of(&file, ROLE_ROUTER, 1), DTYPE_F32, "never");
    cr_expect_eq(type_of(&file, ROLE_ATTENTION_Q, 0), DTYPE_Q8_0);
    expert_of(&file, 1, 3, &record);
    cr_expect(record.type == DTYPE_Q5_K && record.down_type == DTYPE_IQ4_NL);
    expert_of(&file, 1, 2, &record);
    cr_expect(record.type == DTYPE_Q5_K && record.down_type == DTYPE_Q5_K);
    expert_of(&file, 0, 0, &record);
    cr_expect(record.type == DTYPE_Q8_0 && record.down_type == DTYPE_Q8_0);
    model_file_close(&file);

    rules.expert_types = expert_types;
    rules.n_patterns = 0;
    cr_assert(
        tiny_conversion_between(folder, path_of("p.moxie"), &rules, COMPRESS_NONE, NULL, &err),
        "%s", err.text);
    open_file(&file, path_of("p.moxie"));
    expert_of(&file, 1, 2, &record);
    cr_expect(record.type == DTYPE_Q6_K && record.down_type == DTYPE_Q3_K);
    expert_of(&file, 1, 1, &record);
    cr_expect(record.type == DTYPE_Q4_K && record.down_type == DTYPE_Q4_K);
    model_file_close(&file);

    const struct conversion_pattern nothing = {"layer.1.experts.*", DTYPE_Q8_0};
    rules.patterns = &nothing;
    rules.n_patterns = 1;
    cr_expect_not(
        tiny_conversion_between(folder, path_of("p.moxie"), &rules, COMPRESS_NONE, NULL, &err));
    cr_expect(strstr(err.text, "\"layer.1.experts.*\""), "%s", err.text);
}

static const float *importance(void *context, enum tensor_role role, uint32_t layer,
                               uint32_t expert, uint32_t part)
{
    return role == ROLE_EXPERT && expert == 1 && part == 1 ? context : NULL;
}

/* The statistics reach the matrix they are for, and no other. */
Test(convert_sources, importance_reaches_its_matrix)
{
    struct tiny_checkpoint tiny = wide_checkpoint(2);
    const char *folder = tiny_checkpoint_write(&tiny, "importance");
    float weights[256];
    for (uint32_t i = 0; i < 256; i++) {
        weights[i] = i % 2 ? 100 : 0.01f;
    }
    struct conversion_rules rules = {
        .mix = type_mix_find("q4_k"), .importance = importance, .context = weights};
    struct error err = {""};
    struct model_file plain, weighted;
    convert(folder, path_of("plain.moxie"), "q4_k", COMPRESS_NONE);
    cr_assert(tiny_conversion_between(folder, path_of("weighted.moxie"), &rules, COMPRESS_NONE,
                                      NULL, &err),
              "%s", err.text);
    open_file(&plain, path_of("plain.moxie"));
    open_file(&weighted, path_of("weighted.moxie"));
    for (uint32_t expert = 0; expert < 4; expert++) {
        struct tensor_record a, b;
        expert_of(&plain, 1, expert, &a);
        expert_of(&weighted, 1, expert, &b);
        uint8_t *p = load(&plain, &a), *q = load(&weighted, &b);
        uint32_t rows_that_differ[2] = {0, 0};
        for (uint64_t row = 0; row < a.rows; row++) {
            float x[256], y[256];
            quant_decode_matrix_row(dtype_info(a.type), p, a.rows, a.cols, row, x);
            quant_decode_matrix_row(dtype_info(b.type), q, b.rows, b.cols, row, y);
            rows_that_differ[row % 2] += memcmp(x, y, sizeof(x)) != 0;
        }
        cr_expect_eq(rows_that_differ[0], 0, "gate");
        cr_expect_eq(rows_that_differ[1] > 200, expert == 1, "up: %u", rows_that_differ[1]);
        cr_expect(memcmp(p + a.down_offset, q + a.down_offset, a.raw_bytes - a.down_offset) == 0);
        free(p);
        free(q);
    }
    model_file_close(&plain);
    model_file_close(&weighted);
}
