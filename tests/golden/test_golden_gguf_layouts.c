/* GGUF as others write it: layouts of the same model, and files that lie about theirs. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/source_gguf.h"
#include "format/gguf_writer.h"
#include "tests/check.h"
#include "tests/golden/export_source.h"

/* ---- the same model as other writers lay it out ---- */

struct copy {
    /* Names of tensors and keys that are dropped (prefixes, NULL ends). */
    const char *drop[4];
    /* Adds keys and announces tensors; then their data. */
    void (*add)(const struct source *from, struct gguf_writer *writer);
    void (*add_data)(const struct source *from, struct gguf_writer *writer);
};

static bool is_dropped(const struct copy *copy, const char *name, uint64_t bytes)
{
    for (size_t i = 0; i < 4 && copy->drop[i]; i++) {
        size_t length = strlen(copy->drop[i]);
        if (bytes >= length && memcmp(name, copy->drop[i], length) == 0) {
            return true;
        }
    }
    return false;
}

static void copy_pair(const struct gguf_pair *pair, struct gguf_writer *writer)
{
    char key[128];
    const char *text;
    uint64_t bytes, whole;
    double real;
    bool flag;
    snprintf(key, sizeof(key), "%.*s", (int)pair->key_bytes, pair->key);
    if (gguf_value_string(pair, &text, &bytes)) {
        gguf_writer_string(writer, key, text, bytes);
    } else if (gguf_value_u64(pair, 0, &whole)) {
        gguf_writer_u64(writer, key, whole); /* another integer type than before */
    } else if (gguf_value_f64(pair, 0, &real)) {
        gguf_writer_f32(writer, key, (float)real);
    } else if (gguf_value_bool(pair, 0, &flag)) {
        gguf_writer_bool(writer, key, flag);
    }
}

static const char *write_copy(const struct source *from, const struct copy *copy)
{
    const struct gguf *gguf = source_gguf_file(from);
    const char *path = export_source_path("copy.gguf");
    struct gguf_writer writer;
    struct error err = {""};
    cr_assert(gguf_writer_open(&writer, path, &err), "%s", err.text);
    for (uint64_t i = 0; i < gguf->n_pairs; i++) {
        if (!is_dropped(copy, gguf->pairs[i].key, gguf->pairs[i].key_bytes)) {
            copy_pair(&gguf->pairs[i], &writer);
        }
    }
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        const struct gguf_tensor *t = &gguf->tensors[i];
        char name[GGUF_MAX_NAME + 1];
        snprintf(name, sizeof(name), "%.*s", (int)t->name_bytes, t->name);
        if (!is_dropped(copy, t->name, t->name_bytes)) {
            gguf_writer_tensor(&writer, name, t->n_dims, t->dims, t->type);
        }
    }
    if (copy->add) {
        copy->add(from, &writer);
    }
    cr_assert(gguf_writer_begin_data(&writer, &err), "%s", err.text);
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        const struct gguf_tensor *t = &gguf->tensors[i];
        if (!is_dropped(copy, t->name, t->name_bytes)) {
            cr_assert(gguf_writer_data(&writer, t->data, t->bytes, &err), "%s", err.text);
        }
    }
    if (copy->add_data) {
        copy->add_data(from, &writer);
    }
    cr_assert(gguf_writer_commit(&writer, &err), "%s", err.text);
    return path;
}

static const struct gguf_tensor *tensor_of(const struct source *from, const char *pattern,
                                           uint32_t layer)
{
    char name[GGUF_MAX_NAME + 1];
    cr_assert(arch_tensor_name(name, sizeof(name), pattern, 0, layer, 0));
    const struct gguf_tensor *tensor = gguf_find_tensor(source_gguf_file(from), name);
    cr_assert(tensor, "%s", name);
    return tensor;
}

static void expect_same_copy(const char *family, const struct copy *copy)
{
    struct source *source = export_source_family(family);
    struct source *a = export_source_open(export_source_gguf(source));
    struct source *b = export_source_open(write_copy(a, copy));
    export_source_same_numbers(a, b);
    export_source_same_weights(a, b);
    source_close(&source);
    source_close(&a);
    source_close(&b);
}

/* Gate and up of all experts in one tensor. */
static void announce_merged(const struct source *from, struct gguf_writer *writer)
{
    const struct hparams *h = &from->hparams;
    for (uint32_t layer = 0; layer < h->layers; layer++) {
        const struct gguf_tensor *gate = tensor_of(from, "blk.%.ffn_gate_exps.weight", layer);
        char name[64];
        snprintf(name, sizeof(name), "blk.%u.ffn_gate_up_exps.weight", layer);
        gguf_writer_tensor(writer, name, 3, (uint64_t[]){h->hidden, 2 * h->expert_ffn, h->experts},
                           gate->type);
    }
}

static void write_merged(const struct source *from, struct gguf_writer *writer)
{
    const struct hparams *h = &from->hparams;
    struct error err = {""};
    for (uint32_t layer = 0; layer < h->layers; layer++) {
        const struct gguf_tensor *gate = tensor_of(from, "blk.%.ffn_gate_exps.weight", layer);
        const struct gguf_tensor *up = tensor_of(from, "blk.%.ffn_up_exps.weight", layer);
        uint64_t slice = gate->bytes / h->experts;
        for (uint32_t e = 0; e < h->experts; e++) {
            cr_assert(gguf_writer_data(writer, gate->data + e * slice, slice, &err));
            cr_assert(gguf_writer_data(writer, up->data + e * slice, slice, &err));
        }
    }
}

Test(golden_gguf_layouts, merged_gate_and_up)
{
    static const char *const gates[] = {"blk.0.ffn_gate_exps.", "blk.1.ffn_gate_exps.",
                                        "blk.0.ffn_up_exps.", "blk.1.ffn_up_exps."};
    struct copy copy = {.add = announce_merged, .add_data = write_merged};
    memcpy(copy.drop, gates, sizeof(gates));
    expect_same_copy("mixtral", &copy);
}

/* One tensor an expert, as the first Mixtral files. */
static void announce_separate(const struct source *from, struct gguf_writer *writer)
{
    const struct hparams *h = &from->hparams;
    const struct gguf_tensor *down = tensor_of(from, "blk.%.ffn_down_exps.weight", 1);
    for (uint32_t e = 0; e < h->experts; e++) {
        char name[64];
        snprintf(name, sizeof(name), "blk.1.ffn_gate.%u.weight", e);
        gguf_writer_tensor(writer, name, 2, (uint64_t[]){h->hidden, h->expert_ffn}, down->type);
        snprintf(name, sizeof(name), "blk.1.ffn_up.%u.weight", e);
        gguf_writer_tensor(writer, name, 2, (uint64_t[]){h->hidden, h->expert_ffn}, down->type);
        snprintf(name, sizeof(name), "blk.1.ffn_down.%u.weight", e);
        gguf_writer_tensor(writer, name, 2, (uint64_t[]){h->expert_ffn, h->hidden}, down->type);
    }
}

static void write_separate(const struct source *from, struct gguf_writer *writer)
{
    static const char *const names[] = {"blk.%.ffn_gate_exps.weight", "blk.%.ffn_up_exps.weight",
                                        "blk.%.ffn_down_exps.weight"};
    const struct hparams *h = &from->hparams;
    struct error err = {""};
    for (uint32_t e = 0; e < h->experts; e++) {
        for (int part = 0; part < 3; part++) {
            const struct gguf_tensor *t = tensor_of(from, names[part], 1);
            uint64_t slice = t->bytes / h->experts;
            cr_assert(gguf_writer_data(writer, t->data + e * slice, slice, &err));
        }
    }
}

Test(golden_gguf_layouts, one_tensor_an_expert)
{
    const struct copy copy = {
        .drop = {"blk.1.ffn_gate_exps.", "blk.1.ffn_up_exps.", "blk.1.ffn_down_exps.",
                 "llama.expert_feed_forward_length"},
        .add = announce_separate,
        .add_data = write_separate,
    };
    expect_same_copy("mixtral", &copy);
}

/* Latent attention in the old layout: kv_b in one piece, key_length that of a head. */
static void announce_kv_b(const struct source *from, struct gguf_writer *writer)
{
    const struct hparams *h = &from->hparams;
    uint64_t rows = (uint64_t)h->heads * (h->nope_dim + h->value_dim);
    gguf_writer_u32(writer, "deepseek2.attention.key_length", h->nope_dim + h->rope_dim);
    gguf_writer_u32(writer, "deepseek2.attention.value_length", h->value_dim);
    for (uint32_t layer = 0; layer < h->layers; layer++) {
        char name[64];
        snprintf(name, sizeof(name), "blk.%u.attn_kv_b.weight", layer);
        gguf_writer_tensor(writer, name, 2, (uint64_t[]){h->kv_rank, rows}, DTYPE_F32);
    }
}

static void write_kv_b(const struct source *from, struct gguf_writer *writer)
{
    const struct hparams *h = &from->hparams;
    const struct arch_weight *k_b = NULL, *v_b = NULL;
    struct error err = {""};
    for (uint32_t i = 0; i < from->arch->n_weights; i++) {
        const struct arch_weight *row = &from->arch->weights[i];
        k_b = row->role == ROLE_LATENT_K_B ? row : k_b;
        v_b = row->role == ROLE_LATENT_V_B ? row : v_b;
    }
    float line[4096], column[4096];
    for (uint32_t layer = 0; layer < h->layers; layer++) {
        struct source_matrix k, v;
        cr_assert(from->functions->matrix(from, k_b, layer, &k));
        cr_assert(from->functions->matrix(from, v_b, layer, &v));
        for (uint32_t head = 0; head < h->heads; head++) {
            for (uint32_t i = 0; i < h->nope_dim; i++) {
                for (uint32_t r = 0; r < h->kv_rank; r++) {
                    source_matrix_read(&k, (uint64_t)head * h->kv_rank + r, column);
                    line[r] = column[i];
                }
                cr_assert(gguf_writer_data(writer, line, h->kv_rank * sizeof(float), &err));
            }
            for (uint32_t i = 0; i < h->value_dim; i++) {
                source_matrix_read(&v, (uint64_t)head * h->value_dim + i, line);
                cr_assert(gguf_writer_data(writer, line, h->kv_rank * sizeof(float), &err));
            }
        }
    }
}

Test(golden_gguf_layouts, latent_attention_in_the_old_layout)
{
    /* k_b and v_b of the other layers stay beside kv_b, as some writers leave them. */
    const struct copy copy = {
        .drop = {"deepseek2.attention.key_length", "deepseek2.attention.value_length",
                 "blk.0.attn_k_b.", "blk.0.attn_v_b."},
        .add = announce_kv_b,
        .add_data = write_kv_b,
    };
    expect_same_copy("deepseek_v3", &copy);
}

/* ---- files that lie about their model ---- */

static void put_head_count(const struct source *from, struct gguf_writer *writer)
{
    gguf_writer_u32(writer, "llama.attention.head_count", 7);
}

static void put_top_k(const struct source *from, struct gguf_writer *writer)
{
    gguf_writer_u32(writer, "llama.expert_used_count", 6);
}

static void put_layers(const struct source *from, struct gguf_writer *writer)
{
    gguf_writer_u32(writer, "llama.block_count", 1);
}

static void put_many_layers(const struct source *from, struct gguf_writer *writer)
{
    gguf_writer_u64(writer, "llama.block_count", UINT64_C(1) << 40);
}

/* As many as the number can be, and no width: nothing may walk them all. */
static void put_most_layers(const struct source *from, struct gguf_writer *writer)
{
    gguf_writer_u32(writer, "deepseek2.block_count", UINT32_MAX);
}

static void put_text_layers(const struct source *from, struct gguf_writer *writer)
{
    gguf_writer_string(writer, "llama.block_count", "two", 3);
}

static void put_per_layer(const struct source *from, struct gguf_writer *writer)
{
    gguf_writer_array(writer, "llama.attention.head_count_kv", GGUF_I32, 2);
    gguf_writer_element_i32(writer, 2);
    gguf_writer_element_i32(writer, 1);
}

static void put_uniform(const struct source *from, struct gguf_writer *writer)
{
    gguf_writer_array(writer, "llama.attention.head_count_kv", GGUF_I32, 2);
    gguf_writer_element_i32(writer, 2);
    gguf_writer_element_i32(writer, 2);
}

static void put_longrope(const struct source *from, struct gguf_writer *writer)
{
    gguf_writer_string(writer, "llama.rope.scaling.type", "longrope", 8);
}

static void put_gating(const struct source *from, struct gguf_writer *writer)
{
    gguf_writer_u32(writer, "llama.expert_gating_func", 4);
}

static void put_softcap(const struct source *from, struct gguf_writer *writer)
{
    gguf_writer_f32(writer, "llama.final_logit_softcapping", 30);
}

static void put_arch(const struct source *from, struct gguf_writer *writer)
{
    gguf_writer_string(writer, "general.architecture", "mamba\xFF", 6);
}

static void put_codebook(const struct source *from, struct gguf_writer *writer)
{
    const struct hparams *h = &from->hparams;
    gguf_writer_tensor(writer, "token_embd.weight", 2, (uint64_t[]){256, h->vocabulary}, 16);
}

static void write_codebook(const struct source *from, struct gguf_writer *writer)
{
    struct error err = {""};
    for (uint32_t i = 0; i < from->hparams.vocabulary; i++) {
        static const uint8_t row[66] = {1};
        cr_assert(gguf_writer_data(writer, row, sizeof(row), &err));
    }
}

static void put_surplus(const struct source *from, struct gguf_writer *writer)
{
    gguf_writer_tensor(writer, "blk.0.attn_q.bias", 1, (uint64_t[]){8}, DTYPE_F32);
}

static void write_surplus(const struct source *from, struct gguf_writer *writer)
{
    static const float values[8] = {1};
    struct error err = {""};
    cr_assert(gguf_writer_data(writer, values, sizeof(values), &err));
}

static void expect_family_refused(const char *family, const struct copy *copy, const char *part)
{
    struct source *source = export_source_family(family);
    struct source *a = export_source_open(export_source_gguf(source));
    struct error err = {""};
    struct source *b = source_open_gguf(write_copy(a, copy), &err);
    cr_assert_null(b, "\"%s\" was expected", part);
    cr_expect(strstr(err.text, part), "\"%s\" does not say \"%s\"", err.text, part);
    cr_expect(strstr(err.text, "copy.gguf"), "\"%s\" does not name the file", err.text);
    source_close(&source);
    source_close(&a);
}

static void expect_refused(const struct copy *copy, const char *part)
{
    expect_family_refused("mixtral", copy, part);
}

Test(golden_gguf_layouts, keys_that_lie)
{
    expect_family_refused(
        "deepseek_v3",
        &(struct copy){.drop = {"deepseek2.block_count", "deepseek2.expert_feed", "blk."},
                       .add = put_most_layers},
        "num_hidden_layers is 4294967295");
    expect_refused(&(struct copy){.drop = {"llama.block_count"}}, "no key llama.block_count");
    expect_refused(&(struct copy){.drop = {"general.architecture"}}, "general.architecture");
    expect_refused(&(struct copy){.drop = {"general.architecture"}, .add = put_arch},
                   "is not one of those this version knows (qwen3moe, ");
    expect_refused(&(struct copy){.drop = {"llama.attention.layer_norm"}},
                   "no key llama.attention.layer_norm_rms_epsilon");
    expect_refused(&(struct copy){.drop = {"llama.attention.head_count"}, .add = put_head_count},
                   "has shape");
    expect_refused(&(struct copy){.drop = {"llama.expert_used_count"}, .add = put_top_k},
                   "num_experts_per_tok is 6");
    expect_refused(&(struct copy){.drop = {"llama.block_count"}, .add = put_many_layers},
                   "llama.block_count is not a whole number");
    expect_refused(&(struct copy){.drop = {"llama.block_count"}, .add = put_text_layers},
                   "llama.block_count is not a whole number");
    expect_refused(&(struct copy){.drop = {"llama.attention.head_count_kv"}, .add = put_per_layer},
                   "differs from layer to layer");
    expect_refused(&(struct copy){.add = put_longrope}, "\"longrope\"");
    expect_refused(&(struct copy){.add = put_gating}, "expert_gating_func is 4");
    expect_refused(&(struct copy){.add = put_softcap}, "final_logit_softcapping is 30");
    const struct copy uniform = {.drop = {"llama.attention.head_count_kv"}, .add = put_uniform};
    expect_same_copy("mixtral", &uniform);
}

Test(golden_gguf_layouts, tensors_that_are_not_there_or_too_many)
{
    expect_refused(&(struct copy){.drop = {"blk.1.attn_v."}}, "no tensor \"blk.1.attn_v.weight\"");
    expect_refused(&(struct copy){.drop = {"blk.1.ffn_down_exps."}},
                   "no tensor \"blk.1.ffn_down_exps.weight\"");
    expect_refused(&(struct copy){.drop = {"blk.", "token_embd", "output"}},
                   "has no weights, only a vocabulary");
    expect_refused(&(struct copy){.drop = {"llama.block_count"}, .add = put_layers},
                   "has no place in llama");
    expect_refused(&(struct copy){.add = put_surplus, .add_data = write_surplus},
                   "\"blk.0.attn_q.bias\" has no place");
    expect_refused(
        &(struct copy){.drop = {"token_embd."}, .add = put_codebook, .add_data = write_codebook},
        "\"token_embd.weight\" has type iq2_xxs, which this version cannot run");
}

/* Flipped bits and extreme numbers anywhere in the head of a whole model: refused, or every matrix
 * that it claims to have can be read. */
Test(golden_gguf_layouts, damaged_heads)
{
    struct source *source = export_source_family("mixtral");
    size_t bytes;
    char *good = check_read_file(export_source_gguf(source), &bytes);
    struct source *whole = export_source_open(export_source_path("model.gguf"));
    const struct gguf *gguf = source_gguf_file(whole);
    size_t head = (size_t)(gguf->tensors[0].data - gguf->files[0].data);
    struct check_random random = {7};
    uint32_t opened = 0;
    for (int i = 0; i < 600; i++) {
        char *bad = malloc(bytes);
        memcpy(bad, good, bytes);
        size_t at = check_random_below(&random, (uint32_t)head - 8);
        if (i % 3 == 0) {
            static const uint64_t numbers[] = {0, 1, UINT32_MAX, UINT64_MAX, INT64_MAX};
            memcpy(bad + at, &numbers[i / 3 % 5], i % 2 ? 8 : 4);
        } else {
            bad[at] = (char)(bad[at] ^ 1 << check_random_below(&random, 8));
        }
        cr_assert(check_write_file(export_source_path("bad.gguf"), bad, bytes));
        free(bad);
        struct error err = {""};
        struct source *b = source_open_gguf(export_source_path("bad.gguf"), &err);
        cr_assert(b || err.text[0]);
        if (b) {
            export_source_same_weights(b, b);
            opened++;
        }
        source_close(&b);
    }
    cr_expect_gt(opened, 5);
    cr_expect_lt(opened, 550);
    free(good);
    source_close(&whole);
    source_close(&source);
}
