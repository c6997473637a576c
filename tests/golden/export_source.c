#include "tests/golden/export_source.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/gguf_export.h"
#include "engine/model/source_gguf.h"
#include "tests/check.h"
#include "tests/golden/golden.h"

const char *export_source_path(const char *name)
{
    return check_path(check_temp_dir(), name);
}

struct source *export_source_family(const char *family)
{
    char name[256];
    struct error err = {""};
    snprintf(name, sizeof(name), "tests/golden/%s.json", family);
    json_t *reference = golden_json(check_source_path(name));
    json_dump_file(json_object_get(reference, "config"), export_source_path("config.json"), 0);
    json_decref(reference);
    snprintf(name, sizeof(name), "tests/golden/%s.safetensors", family);
    size_t bytes;
    char *weights = check_read_file(check_source_path(name), &bytes);
    cr_assert(weights && check_write_file(export_source_path("model.safetensors"), weights, bytes));
    free(weights);
    struct source *source = source_open_checkpoint(check_temp_dir(), &err);
    cr_assert(source, "%s", err.text);
    return source;
}

const char *export_source_gguf(const struct source *source)
{
    struct error err = {""};
    struct gguf_export_report report;
    const struct gguf_export_options options = {0};
    const char *path = export_source_path("model.gguf");
    cr_assert(gguf_export_run(source, path, &options, &report, &err), "%s", err.text);
    return path;
}

struct source *export_source_open(const char *path)
{
    struct error err = {""};
    struct source *source = source_open_gguf(path, &err);
    cr_assert(source, "%s", err.text);
    return source;
}

void export_source_same_numbers(const struct source *a, const struct source *b)
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

uint64_t export_source_same_weights(const struct source *a, const struct source *b)
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
