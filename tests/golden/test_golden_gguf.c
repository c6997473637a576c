/* GGUF as a source: every family of the golden checkpoints exported and opened again has the same
 * numbers and, bit for bit, the same matrices; layouts that other writers use; files that lie about
 * their model. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/model/gguf_export.h"
#include "engine/model/source_gguf.h"
#include "format/gguf_writer.h"
#include "tests/check.h"
#include "tests/golden/golden.h"
#include "tests/golden/model_copy.h"

static const char *path_of(const char *name)
{
    return check_path(check_temp_dir(), name);
}

static struct source *open_family(const char *family)
{
    char name[256];
    struct error err = {""};
    snprintf(name, sizeof(name), "tests/golden/%s.json", family);
    json_t *reference = golden_json(check_source_path(name));
    json_dump_file(json_object_get(reference, "config"), path_of("config.json"), 0);
    json_decref(reference);
    snprintf(name, sizeof(name), "tests/golden/%s.safetensors", family);
    size_t bytes;
    char *weights = check_read_file(check_source_path(name), &bytes);
    cr_assert(weights && check_write_file(path_of("model.safetensors"), weights, bytes));
    free(weights);
    struct source *source = source_open_checkpoint(check_temp_dir(), &err);
    cr_assert(source, "%s", err.text);
    return source;
}

static const char *export(const struct source *source)
{
    struct error err = {""};
    struct gguf_export_report report;
    const struct gguf_export_options options = {0};
    const char *path = path_of("model.gguf");
    cr_assert(gguf_export_run(source, path, &options, &report, &err), "%s", err.text);
    return path;
}

static struct source *open_gguf(const char *path)
{
    struct error err = {""};
    struct source *source = source_open_gguf(path, &err);
    cr_assert(source, "%s", err.text);
    return source;
}

/* ---- equality ---- */

static void expect_same_numbers(const struct source *a, const struct source *b)
{
    struct hparams x = a->hparams, y = b->hparams;
    /* GGUF tells these in another way, or needs not. */
    x.ffn = x.ffn ? x.ffn : x.expert_ffn;
    y.rope_mscale = x.rope_mscale; /* means mscale_all_dim where that is given */
    y.sparse_step = x.sparse_step;
    if (x.experts == 0) {
        y.router_normalise = x.router_normalise;
    }
    if (x.rope_scaling != ROPE_SCALING_YARN) {
        y.rope_truncate = x.rope_truncate;
    }
    if (x.rope_scaling == ROPE_SCALING_LLAMA3) { /* a tensor there */
        x.rope_scaling = y.rope_scaling;
        x.rope_factor = y.rope_factor;
        x.rope_low_frequency_factor = y.rope_low_frequency_factor;
        x.rope_high_frequency_factor = y.rope_high_frequency_factor;
        x.rope_original_context = y.rope_original_context;
    }
#define X(kind, field, ...) \
    cr_expect_eq(x.field, y.field, "%s: " #field " %g, %g", a->name, (double)x.field, \
                 (double)y.field);
    HPARAMS(X)
#undef X
    cr_expect_eq(memcmp(x.windowed, y.windowed, sizeof(x.windowed)), 0);
    cr_expect_eq(a->tied, b->tied);
}

static void expect_same_matrix(const struct source_matrix *x, const struct source_matrix *y,
                               const char *what)
{
    cr_assert(x->rows == y->rows && x->cols == y->cols, "%s", what);
    float *p = malloc(x->cols * sizeof(float)), *q = malloc(x->cols * sizeof(float));
    for (uint64_t row = 0; row < x->rows; row++) {
        memset(q, 0xA5, x->cols * sizeof(float));
        source_matrix_read(x, row, p);
        source_matrix_read(y, row, q);
        cr_assert(memcmp(p, q, x->cols * sizeof(float)) == 0, "%s, row %d", what, (int)row);
    }
    free(p);
    free(q);
}

static uint64_t expect_same_ffn(const struct source *a, const struct source *b,
                                enum arch_ffn_kind kind, uint32_t layer)
{
    uint32_t experts = kind == FFN_SHARED ? 1 : source_experts(a, layer);
    char what[64];
    for (uint32_t expert = 0; expert < experts; expert++) {
        for (uint32_t part = 0; part < SOURCE_PARTS; part++) {
            struct source_matrix x, y;
            a->functions->ffn(a, kind, layer, expert, part, &x);
            b->functions->ffn(b, kind, layer, expert, part, &y);
            snprintf(what, sizeof(what), "layer %u expert %u part %u", layer, expert, part);
            expect_same_matrix(&x, &y, what);
        }
    }
    return (uint64_t)experts * SOURCE_PARTS;
}

/* Returns how many matrices were compared. */
static uint64_t expect_same_weights(const struct source *a, const struct source *b)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < a->arch->n_weights; i++) {
        const struct arch_weight *row = &a->arch->weights[i];
        uint32_t layers = row->flags & WEIGHT_PER_LAYER ? a->hparams.layers : 1;
        for (uint32_t layer = 0; layer < layers; layer++) {
            struct source_matrix x, y;
            if (!source_has(a, row, layer) || !a->functions->matrix(a, row, layer, &x)) {
                continue;
            }
            cr_assert(source_has(b, row, layer) && b->functions->matrix(b, row, layer, &y), "%s",
                      role_name(row->role));
            expect_same_matrix(&x, &y, role_name(row->role));
            n++;
        }
    }
    for (uint32_t layer = 0; layer < a->hparams.layers; layer++) {
        n += expect_same_ffn(a, b, source_ffn_kind(a, layer), layer);
        n += source_has_shared(a, layer) ? expect_same_ffn(a, b, FFN_SHARED, layer) : 0;
    }
    return n;
}

static void round_trip(const char *family)
{
    struct source *a = open_family(family);
    struct source *b = open_gguf(export(a));
    cr_expect_str_eq(a->arch->gguf_name, b->arch->gguf_name);
    expect_same_numbers(a, b);
    cr_expect_gt(expect_same_weights(a, b), 10);
    source_close(&a);
    source_close(&b);
}

Test(golden_gguf, llama)
{
    round_trip("llama_linear");
}
Test(golden_gguf, qwen2)
{
    round_trip("qwen2");
}
Test(golden_gguf, qwen3)
{
    round_trip("qwen3_tied");
}
Test(golden_gguf, mixtral)
{
    round_trip("mixtral");
}
Test(golden_gguf, olmoe)
{
    round_trip("olmoe");
}
Test(golden_gguf, gptoss)
{
    round_trip("gptoss");
}
Test(golden_gguf, gptoss_mxfp4)
{
    round_trip("gptoss_mxfp4");
}
Test(golden_gguf, deepseek_v2)
{
    round_trip("deepseek_v2");
}
Test(golden_gguf, deepseek_v2_lite)
{
    round_trip("deepseek_v2_lite");
}
Test(golden_gguf, deepseek_v3)
{
    round_trip("deepseek_v3");
}
Test(golden_gguf, deepseek_v3_fp8)
{
    round_trip("deepseek_v3_fp8");
}

/* llama3 scaling becomes a tensor of divisors: 1 for the first pair, the factor for the last. */
Test(golden_gguf, llama3_scaling)
{
    round_trip("llama_scaled");
    struct source *source = open_gguf(path_of("model.gguf"));
    const struct gguf_tensor *divisors =
        gguf_find_tensor(source_gguf_file(source), "rope_freqs.weight");
    cr_assert(divisors && divisors->dims[0] == source->hparams.rope_dim / 2);
    float first, last;
    memcpy(&first, divisors->data, sizeof(first));
    memcpy(&last, divisors->data + divisors->bytes - sizeof(last), sizeof(last));
    cr_expect_eq(first, 1);
    cr_expect_eq(last, 8);
    source_close(&source);
}

/* ---- .moxie files as the source ---- */

static void moxie_round_trip(const char *path)
{
    struct error err = {""};
    struct source *a = source_open_moxie(path, &err);
    cr_assert(a, "%s", err.text);
    struct source *b = open_gguf(export(a));
    expect_same_numbers(a, b);
    cr_expect_gt(expect_same_weights(a, b), 10);
    source_close(&a);
    source_close(&b);
}

Test(golden_gguf, moxie_file)
{
    json_t *reference;
    moxie_round_trip(golden_family("deepseek_v3", "bf16", &reference));
    json_decref(reference);
}

Test(golden_gguf, quantised_moxie_file)
{
    moxie_round_trip(golden_demo());
}

static bool mix_types(void *context, struct expert_spec *spec)
{
    spec->type = spec->expert == 3 ? DTYPE_BF16 : DTYPE_F32;
    return true;
}

Test(golden_gguf, experts_that_differ_in_type_are_refused)
{
    json_t *reference;
    const struct model_change change = {.slab = mix_types};
    const char *path = model_copy(golden_family("mixtral", "f32", &reference), "mixed", &change);
    struct error err = {""};
    struct source *source = source_open_moxie(path, &err);
    cr_assert(source, "%s", err.text);
    struct gguf_export_report report;
    const struct gguf_export_options options = {0};
    cr_expect(!gguf_export_run(source, path_of("refused.gguf"), &options, &report, &err));
    cr_expect(strstr(err.text, "experts of layer 0 have types f32 and bf16"), "%s", err.text);
    source_close(&source);
    json_decref(reference);
}

/* What GGUF cannot express. */
Test(golden_gguf, refused_exports)
{
    static const char *const families[] = {"qwen2moe", "qwen3moe_mixed"};
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        struct source *source = open_family(families[i]);
        struct gguf_export_report report;
        const struct gguf_export_options options = {0};
        struct error err = {""};
        const char *path = path_of("refused.gguf");
        cr_expect(!gguf_export_run(source, path, &options, &report, &err));
        cr_expect(strstr(err.text, "has no experts"), "%s", err.text);
        cr_expect_neq(access(path, F_OK), 0);
        source_close(&source);
    }
    struct source *source = open_family("mixtral");
    struct gguf_export_report report;
    const struct gguf_export_options options = {0};
    struct error err = {""};
    cr_expect(!gguf_export_run(source, path_of("model.safetensors"), &options, &report, &err));
    cr_expect(strstr(err.text, "a file of the model itself"), "%s", err.text);
    source_close(&source);
}

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
    const char *path = path_of("copy.gguf");
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
    struct source *source = open_family(family);
    struct source *a = open_gguf(export(source));
    struct source *b = open_gguf(write_copy(a, copy));
    expect_same_numbers(a, b);
    expect_same_weights(a, b);
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

Test(golden_gguf, merged_gate_and_up)
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

Test(golden_gguf, one_tensor_an_expert)
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

Test(golden_gguf, latent_attention_in_the_old_layout)
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
    struct source *source = open_family(family);
    struct source *a = open_gguf(export(source));
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

Test(golden_gguf, keys_that_lie)
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

Test(golden_gguf, tensors_that_are_not_there_or_too_many)
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
Test(golden_gguf, damaged_heads)
{
    struct source *source = open_family("mixtral");
    size_t bytes;
    char *good = check_read_file(export(source), &bytes);
    struct source *whole = open_gguf(path_of("model.gguf"));
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
        cr_assert(check_write_file(path_of("bad.gguf"), bad, bytes));
        free(bad);
        struct error err = {""};
        struct source *b = source_open_gguf(path_of("bad.gguf"), &err);
        cr_assert(b || err.text[0]);
        if (b) {
            expect_same_weights(b, b);
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
