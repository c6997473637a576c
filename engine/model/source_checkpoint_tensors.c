/* Which tensors of a checkpoint a matrix of ours is made from: names and layouts come from the
 * architecture's table, shapes from config.json. */
#include "engine/model/source_checkpoint.h"

#include <assert.h>
#include <stdio.h>

#define MAX_SUFFIX 16

static const struct safetensors_tensor *find(const struct checkpoint *c, const char *name,
                                             const char *suffix)
{
    char whole[SAFETENSORS_MAX_NAME + MAX_SUFFIX];
    snprintf(whole, sizeof(whole), "%s%s", name, suffix);
    return safetensors_find(&c->tensors, whole);
}

/* The tensor under one name: X itself, with its scales if it is FP8, or, where pairs are known, the
 * pair of X_blocks and X_scales. */
static bool find_named(const struct checkpoint *c, const char *name, bool may_be_pair,
                       struct checkpoint_stored *stored)
{
    *stored = (struct checkpoint_stored){.values = find(c, name, "")};
    if (!stored->values && !may_be_pair) {
        return false;
    }
    if (!stored->values) {
        stored->values = find(c, name, "_blocks");
        stored->scales = find(c, name, "_scales");
        stored->encoding = SOURCE_MXFP4_PAIR;
        return stored->values && stored->scales;
    }
    switch ((uint32_t)stored->values->dtype) {
    case SAFETENSORS_F32:
        stored->encoding = SOURCE_F32;
        break;
    case SAFETENSORS_F16:
        stored->encoding = SOURCE_F16;
        break;
    case SAFETENSORS_BF16:
        stored->encoding = SOURCE_BF16;
        break;
    default: /* FP8; other dtypes are refused by check_dtype */
        stored->encoding = SOURCE_F8_E4M3;
        stored->scales = find(c, name, "_scale_inv");
        stored->scales = stored->scales ? stored->scales : find(c, name, "_scale");
        break;
    }
    return true;
}

bool checkpoint_find(const struct checkpoint *c, const struct checkpoint_place *place,
                     struct checkpoint_stored *stored)
{
    char name[SAFETENSORS_MAX_NAME];
    for (uint32_t i = 0;
         arch_tensor_name(name, sizeof(name), place->pattern, i, place->layer, place->expert);
         i++) {
        if (find_named(c, name, place->input_major, stored)) {
            return true;
        }
    }
    return false;
}

bool checkpoint_has_tensor(const struct checkpoint *checkpoint, const char *pattern)
{
    struct checkpoint_stored stored;
    return checkpoint_find(checkpoint, &(struct checkpoint_place){.pattern = pattern}, &stored);
}

/* ---- views ---- */

static const uint8_t *scale_data(const struct checkpoint *c,
                                 const struct safetensors_tensor *scales)
{
    const float *converted = c->scales[scales - c->tensors.tensors];
    return converted ? (const uint8_t *)converted : scales->data;
}

bool checkpoint_find_tiles(const struct checkpoint *c, const struct safetensors_tensor *scales,
                           uint64_t n_slices, uint64_t rows, uint64_t cols, uint64_t *tile_rows,
                           uint64_t *tile_cols)
{
    const uint64_t sizes[][2] = {{rows, cols}, {c->tile_rows, c->tile_cols}, {1, cols}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t tall = (rows - 1) / sizes[i][0] + 1, wide = (cols - 1) / sizes[i][1] + 1;
        uint64_t across = scales->rank > 1 ? scales->shape[scales->rank - 1] : 1;
        if (scales->elements == tall * wide * (n_slices ? n_slices : 1) &&
            (wide == 1 || across == wide)) {
            *tile_rows = sizes[i][0];
            *tile_cols = sizes[i][1];
            return true;
        }
    }
    return false;
}

/* A view of the whole slice, as it is stored. */
static void view(const struct checkpoint *c, const struct checkpoint_place *place,
                 const struct checkpoint_stored *stored, struct source_matrix *matrix)
{
    bool pair = stored->encoding == SOURCE_MXFP4_PAIR;
    bool swap = place->input_major && !pair;
    uint64_t rows = swap ? place->cols : place->rows, cols = swap ? place->rows : place->cols;
    uint64_t slices = place->n_slices ? place->n_slices : 1;
    const struct safetensors_tensor *scales = stored->scales;
    *matrix = source_matrix_whole(
        stored->encoding, NULL,
        stored->values->data + place->slice * (stored->values->bytes / slices), rows, cols);
    if (pair) {
        matrix->scales = scales->data + place->slice * (scales->bytes / slices);
        matrix->scale_row_bytes = cols / MXFP4_BLOCK;
    } else if (scales) {
        bool fits = checkpoint_find_tiles(c, scales, place->n_slices, rows, cols,
                                          &matrix->scale_rows, &matrix->scale_cols);
        assert(fits);
        (void)fits;
        matrix->scales =
            scale_data(c, scales) + place->slice * (scales->elements / slices) * sizeof(float);
        matrix->scale_row_bytes = ((cols - 1) / matrix->scale_cols + 1) * sizeof(float);
    }
}

/* ---- the rows of the table ---- */

/* The keys a dimension comes from, for messages. */
static const char *dim_keys(enum arch_dim dim)
{
    static const char *const keys[] = {
        [DIM_ONE] = "1",
        [DIM_HIDDEN] = "hidden_size",
        [DIM_VOCABULARY] = "vocab_size",
        [DIM_HEAD] = "head_dim",
        [DIM_HEADS] = "num_attention_heads",
        [DIM_Q] = "num_attention_heads * head_dim",
        [DIM_KV] = "num_key_value_heads * head_dim",
        [DIM_EXPERTS] = "num_experts",
        [DIM_EXPERT_FFN] = "moe_intermediate_size",
        [DIM_SHARED_HIDDEN] = "hidden_size",
        [DIM_ROTATED_PAIRS] = "half of the rotated dims",
        [DIM_Q_RANK] = "q_lora_rank",
        [DIM_Q_INPUT] = "q_lora_rank or hidden_size",
        [DIM_KV_RANK] = "kv_lora_rank",
        [DIM_HEADS_NOPE] = "num_attention_heads * qk_nope_head_dim",
        [DIM_HEADS_ROPE] = "num_attention_heads * qk_rope_head_dim",
        [DIM_ROPE] = "qk_rope_head_dim",
        [DIM_NOPE] = "qk_nope_head_dim",
        [DIM_HEADS_KV_RANK] = "num_attention_heads * kv_lora_rank",
        [DIM_HEADS_VALUE] = "num_attention_heads * v_head_dim",
    };
    return (uint32_t)dim < sizeof(keys) / sizeof(keys[0]) && keys[dim] ? keys[dim] : "?";
}

/* The keys of the rows of a tensor of which a part is taken. */
static const char *part_keys(enum arch_part part, enum arch_dim dim)
{
    switch (part) {
    case PART_HEAD_NOPE:
    case PART_HEAD_ROPE:
        return "num_attention_heads * (qk_nope_head_dim + qk_rope_head_dim)";
    case PART_LATENT:
    case PART_LATENT_ROPE:
        return "kv_lora_rank + qk_rope_head_dim";
    case PART_HEAD_KEYS:
    case PART_HEAD_VALUES:
        return "num_attention_heads * (qk_nope_head_dim + v_head_dim)";
    default:
        return dim_keys(dim);
    }
}

struct checkpoint_place checkpoint_row_place(const struct checkpoint *c,
                                             const struct arch_weight *row, uint32_t layer)
{
    const struct hparams *hparams = &c->source.hparams;
    enum arch_part part = row->hf.part;
    struct checkpoint_place place = {
        .pattern = row->hf.name ? row->hf.name : "",
        .layer = layer,
        .is_vector = row->rows == DIM_ONE,
        .rows_keys = part_keys(part, row->rows),
        .cols_keys = part == PART_HEAD_KEYS ? "kv_lora_rank" : dim_keys(row->cols),
    };
    source_part_shape(&c->source, part, arch_dim_value(row->rows, hparams),
                      arch_dim_value(row->cols, hparams), &place.rows, &place.cols);
    return place;
}

bool checkpoint_matrix(const struct source *source, const struct arch_weight *row, uint32_t layer,
                       struct source_matrix *matrix)
{
    const struct checkpoint *c = (const struct checkpoint *)source;
    struct checkpoint_place place = checkpoint_row_place(c, row, layer);
    struct checkpoint_stored stored;
    if (!checkpoint_find(c, &place, &stored)) {
        return false;
    }
    view(c, &place, &stored, matrix);
    source_part_select(source, row->hf.part, arch_dim_value(row->rows, &source->hparams),
                       arch_dim_value(row->cols, &source->hparams), matrix);
    return true;
}

/* ---- feed-forward networks ---- */

struct checkpoint_place checkpoint_ffn_place(const struct checkpoint *c, const struct arch_ffn *ffn,
                                             enum arch_ffn_kind kind, uint32_t layer,
                                             uint32_t expert, uint32_t part)
{
    static const char *const widths[FFN_KINDS] = {
        [FFN_ROUTED] = "moe_intermediate_size",
        [FFN_DENSE] = "intermediate_size",
        [FFN_SHARED] = "shared_expert_intermediate_size",
    };
    uint64_t hidden = c->source.hparams.hidden, width = source_ffn_width(&c->source, kind);
    bool fused = ffn->layout == FFN_FUSED || ffn->layout == FFN_FUSED_PAIRS;
    bool down = part == SOURCE_DOWN;
    const char *const names[SOURCE_PARTS] = {ffn->gate, fused ? ffn->gate : ffn->up, ffn->down};
    struct checkpoint_place place = {
        .pattern = names[part],
        .layer = layer,
        .expert = expert,
        .rows = down    ? hidden
                : fused ? 2 * width
                        : width,
        .cols = down ? width : hidden,
        .input_major = ffn->layout == FFN_FUSED_PAIRS,
        .rows_keys = down ? "hidden_size" : widths[kind],
        .cols_keys = down ? widths[kind] : "hidden_size",
    };
    if (ffn->layout != FFN_SEPARATE && kind == FFN_ROUTED) {
        place.n_slices = c->source.hparams.experts;
        place.slice = expert;
    }
    return place;
}

const struct arch_ffn *checkpoint_find_layout(const struct checkpoint *c, enum arch_ffn_kind kind,
                                              uint32_t layer)
{
    const struct arch_ffn *layouts = c->source.arch->hf_ffn[kind];
    for (uint32_t i = 0; i < ARCH_FFN_LAYOUTS && layouts[i].layout != FFN_NONE; i++) {
        struct checkpoint_place place =
            checkpoint_ffn_place(c, &layouts[i], kind, layer, 0, SOURCE_GATE);
        struct checkpoint_stored stored;
        if (checkpoint_find(c, &place, &stored)) {
            return &layouts[i];
        }
    }
    return &layouts[0];
}

/* Gate or up out of a tensor that holds both. */
static void select_half(const struct arch_ffn *ffn, uint64_t width, bool up,
                        struct source_matrix *matrix)
{
    matrix->rows = matrix->group_rows = width;
    if (ffn->layout == FFN_FUSED) {
        matrix->first_row = up ? width : 0;
    } else if (matrix->encoding == SOURCE_MXFP4_PAIR) {
        matrix->first_row = up;
        matrix->row_step = 2;
    } else { /* stored [hidden, 2 width] */
        matrix->cols = matrix->stored_rows;
        matrix->transposed = true;
        matrix->first_col = up;
        matrix->col_step = 2;
    }
}

void checkpoint_ffn(const struct source *source, enum arch_ffn_kind kind, uint32_t layer,
                    uint32_t expert, uint32_t part, struct source_matrix *matrix)
{
    const struct checkpoint *c = (const struct checkpoint *)source;
    const struct arch_ffn *ffn = checkpoint_find_layout(c, kind, layer);
    struct checkpoint_place place = checkpoint_ffn_place(c, ffn, kind, layer, expert, part);
    struct checkpoint_stored stored;
    bool found = checkpoint_find(c, &place, &stored);
    assert(found);
    (void)found;
    view(c, &place, &stored, matrix);
    bool fused = ffn->layout == FFN_FUSED || ffn->layout == FFN_FUSED_PAIRS;
    if (fused && part != SOURCE_DOWN) {
        select_half(ffn, source_ffn_width(source, kind), part == SOURCE_UP, matrix);
    } else if (place.input_major && stored.encoding != SOURCE_MXFP4_PAIR) {
        matrix->rows = matrix->group_rows = place.rows;
        matrix->cols = place.cols;
        matrix->transposed = true;
    }
}
