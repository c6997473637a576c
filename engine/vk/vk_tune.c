/* Finds better sizes of kernels for this device (vk_tuning.h) by trying them, and keeps them.
 *
 * A row of the table is tried with an op that it matters to, in a shape that models have: a product
 * of weights, the experts of a layer, or attention. The op is timed with every value the row
 * allows, one row after the other; a value replaces what was there if it is clearly faster. What
 * products read are weights that no cache holds, as while tokens flow: as many matrices as that
 * takes, one after the other. Every row has its share of TUNE_SECONDS; on a device so slow that it
 * is too short, what has been found by then counts.
 */
#include "engine/vk/vk_internal.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cache_file.h"
#include "engine/vk/vk_kept.h"
#include "engine/vk/vk_probe.h"

#define TUNE_SECONDS 25.0
#define TRIES 3
/* Noise does not change what has been tried on many machines. */
#define CLEARLY 0.97

#define ROWS 2048
#define COLS 2048
#define MOST_TOKENS 1024
#define WEIGHT_BYTES (UINT64_C(256) << 20)
#define WEIGHT_BYTES_SOFTWARE (UINT64_C(4) << 20)

/* Experts have matrices [ROWS, COLS]; software devices try fewer of both, and fewer tokens. */
#define FFN (ROWS / 2)
#define EXPERTS 64
#define TOP_K 8
#define EXPERTS_SOFTWARE 8
#define TOP_K_SOFTWARE 2
#define MOST_PAIRS (MOST_TOKENS * TOP_K)

#define HEADS 32
#define KV_HEADS 4
#define HEAD_DIM 128
#define CONTEXT 4096
#define CONTEXT_SOFTWARE 512

/* The op that tells of a row, and of how many tokens, on software devices fewer; 0: the row is not
 * tried there. Where one kernel is taken up to the value and another beyond, that is the most
 * tokens, and the value is in units of so many of them. Rows that are not here stay: int8 for one
 * vector costs accuracy that only software devices need to pay. */
static const struct subject {
    enum op_kind kind;
    uint32_t tokens, software;
    uint32_t crossover_unit; /* 0: it is none */
} subjects[VK_TUNING_COUNT] = {
    [VK_TUNING_matvec_group] = {OP_matmul, 1, 1, 0},
    [VK_TUNING_matvec_lanes] = {OP_matmul, 1, 1, 0},
    [VK_TUNING_matvec_rows] = {OP_matmul, 1, 1, 0},
    [VK_TUNING_matmul_arithmetic] = {OP_matmul, 512, 0, 0},
    [VK_TUNING_matmul_lane_vectors] = {OP_matmul, 512, 32, 0},
    [VK_TUNING_matmul_tokens] = {OP_matmul, 512, 32, 0},
    [VK_TUNING_expert_few] = {OP_expert_gate_up, 128, 32, 1},
    [VK_TUNING_expert_wide] = {OP_expert_gate_up, MOST_TOKENS, 0, EXPERTS / TOP_K},
    [VK_TUNING_attention_groups] = {OP_attention, 1, 1, 0},
};

/* ---- what is kept ---- */

void vk_tuning_file(const struct vk_backend *backend, struct cache_file *file,
                    struct vk_tuning_key *key)
{
    *key = (struct vk_tuning_key){.identity = backend->device.physical.identity,
                                  .shaders = vk_shaders_hash(),
                                  .rows = VK_TUNING_COUNT};
    *file = (struct cache_file){
        .folder = backend->cache_folder, .name = "tuning", .key = key, .key_bytes = sizeof(*key)};
}

void vk_tuning_load(struct vk_backend *backend)
{
    struct vk_tuning_key key;
    struct cache_file file;
    uint64_t bytes = 0;
    if (!backend->cache_folder) {
        return;
    }
    vk_tuning_file(backend, &file, &key);
    void *kept = cache_file_read(&file, &bytes);
    if (kept) {
        vk_kept_tuning(kept, bytes, &backend->device.physical.caps.tuning);
    }
    free(kept);
}

static bool keep(struct vk_backend *backend)
{
    struct vk_tuning_key key;
    struct cache_file file;
    vk_tuning_file(backend, &file, &key);
    return cache_file_write(&file, &backend->device.physical.caps.tuning, sizeof(struct vk_tuning));
}

/* ---- what is timed ---- */

enum { STEP, WEIGHTS, INPUT, OUTPUT, TABLE, KEYS, VALUES, PARTS, N_BUFFERS };

/* What experts find their way by; all tensors begin at multiples of 16 bytes. */
struct table {
    uint64_t slabs[EXPERTS];
    uint32_t offsets[EXPERTS + 4];
    uint32_t ids[MOST_PAIRS], pairs[MOST_PAIRS];
    uint32_t tiles[1 + EXPERT_TILE_WORDS * MOST_PAIRS];
};

struct trial {
    struct vk_backend *backend;
    struct vk_probe probe;
    struct buffer buffers[N_BUFFERS];
    struct op *ops; /* (n_matrices) the same product of one matrix after the other */
    struct op experts, attention;
    uint32_t n_matrices;
    struct table table;
    bool software;
    double deadline; /* of the row */
};

static bool make_step(struct trial *t, struct error *err)
{
    uint32_t step[4 + MOST_TOKENS] = {0};
    return vk_memory_create_buffer(t->backend, sizeof(step), BUFFER_STEP, &t->buffers[STEP], err) &&
           vk_transfer_write(t->backend, &t->buffers[STEP], 0, step, sizeof(step), err);
}

static bool make_buffers(struct trial *t, uint64_t matrix, struct error *err)
{
    const uint64_t cache = UINT64_C(2) * CONTEXT * KV_HEADS * HEAD_DIM;
    const struct {
        uint64_t bytes;
        uint32_t fill;
    } rows[N_BUFFERS] = {
        [WEIGHTS] = {t->n_matrices * matrix, 0x11111111},
        [INPUT] = {(uint64_t)MOST_TOKENS * COLS * 4, 0x3E800000},
        [OUTPUT] = {(uint64_t)MOST_PAIRS * FFN * 4, 0},
        [TABLE] = {sizeof(struct table), 0},
        [KEYS] = {cache, 0x34003400},
        [VALUES] = {cache, 0x34003400},
        [PARTS] = {4 * op_attention_parts(HEAD_DIM), 0},
    };
    for (uint32_t i = 0; i < N_BUFFERS; i++) {
        enum buffer_use use = i == WEIGHTS || i == TABLE ? BUFFER_WEIGHTS : BUFFER_ACTIVATIONS;
        if (i != STEP &&
            (!vk_memory_create_buffer(t->backend, rows[i].bytes, use, &t->buffers[i], err) ||
             !vk_probe_fill(&t->probe, &t->buffers[i], rows[i].fill, err))) {
            return false;
        }
    }
    return true;
}

static void make_experts(struct trial *t)
{
    uint64_t table = t->buffers[TABLE].address;
    t->experts = (struct op){.kind = OP_expert_gate_up, .dtype = DTYPE_Q4_K};
    t->experts.args.expert_gate_up = (struct expert_gate_up_args){
        .step = t->buffers[STEP].address,
        .slabs = table + offsetof(struct table, slabs),
        .ids = table + offsetof(struct table, ids),
        .x = t->buffers[INPUT].address,
        .offsets = table + offsetof(struct table, offsets),
        .pairs = table + offsetof(struct table, pairs),
        .tiles = table + offsetof(struct table, tiles),
        .h = t->buffers[OUTPUT].address,
        .hidden = COLS,
        .ffn = FFN,
        .n_experts = t->software ? EXPERTS_SOFTWARE : EXPERTS,
        .top_k = t->software ? TOP_K_SOFTWARE : TOP_K,
        .activation = ACTIVATION_SILU,
    };
}

static void make_attention(struct trial *t)
{
    t->attention = (struct op){.kind = OP_attention, .dtype = DTYPE_F16};
    t->attention.args.attention = (struct attention_args){
        .step = t->buffers[STEP].address,
        .q = t->buffers[INPUT].address,
        .k_cache = t->buffers[KEYS].address,
        .v_cache = t->buffers[VALUES].address,
        .parts = t->buffers[PARTS].address,
        .y = t->buffers[OUTPUT].address,
        .heads = HEADS,
        .kv_heads = KV_HEADS,
        .head_dim = HEAD_DIM,
        .capacity = CONTEXT,
        .scale = 0.1f,
    };
}

/* Sorted pairs of n tokens. Real routers have favourites: some experts get twice as many as the
 * mean, others nearly none. */
static bool write_table(struct trial *t, uint32_t n_tokens, struct error *err)
{
    const uint64_t matrix = dtype_matrix_bytes(dtype_info(DTYPE_Q4_K), ROWS, COLS);
    const struct expert_gate_up_args *a = &t->experts.args.expert_gate_up;
    struct table *table = &t->table;
    uint32_t n = 0, step_of_slot = a->n_experts / a->top_k, random = 1, first = 0;
    assert(n_tokens <= MOST_TOKENS);
    for (uint32_t pair = 0; pair < n_tokens * a->top_k; pair++) {
        uint32_t slot = pair % a->top_k;
        if (slot == 0) {
            random = random * 1664525u + 1013904223u;
            uint32_t one = (random >> 24) % step_of_slot, other = (random >> 16) % step_of_slot;
            first = one < other ? one : other;
        }
        table->ids[pair] = first + slot * step_of_slot;
    }
    for (uint32_t e = 0; e < a->n_experts; e++) {
        table->slabs[e] = t->buffers[WEIGHTS].address + e % t->n_matrices * matrix;
        table->offsets[e] = n;
        for (uint32_t pair = 0; pair < n_tokens * a->top_k; pair++) {
            if (table->ids[pair] == e) {
                table->pairs[n++] = pair;
            }
        }
    }
    table->offsets[a->n_experts] = n;
    op_expert_cut(table->offsets, a->n_experts, t->experts.tile_pairs, table->tiles);
    return vk_transfer_write(t->backend, &t->buffers[TABLE], 0, table, sizeof(*table), err);
}

static bool make_trial(struct trial *t, struct vk_backend *backend, struct error *err)
{
    const uint64_t matrix = dtype_matrix_bytes(dtype_info(DTYPE_Q4_K), ROWS, COLS);
    *t = (struct trial){.backend = backend,
                        .software = backend->device.physical.info.kind == VK_DEVICE_SOFTWARE};
    uint64_t bytes = t->software ? WEIGHT_BYTES_SOFTWARE : WEIGHT_BYTES;
    while (bytes > 2 * matrix && bytes > vk_memory_available(backend) / 2) {
        bytes /= 2;
    }
    t->n_matrices = (uint32_t)(bytes / matrix);
    t->ops = calloc(t->n_matrices, sizeof(*t->ops));
    if (!t->ops) {
        return error_set(err, "not enough memory to try kernels");
    }
    if (!vk_probe_init(backend, &t->probe, err) || !make_step(t, err) ||
        !make_buffers(t, matrix, err)) {
        return false;
    }
    make_experts(t);
    make_attention(t);
    for (uint32_t i = 0; i < t->n_matrices; i++) {
        struct op *op = &t->ops[i];
        op->kind = OP_matmul;
        op->dtype = DTYPE_Q4_K;
        op->args.matmul.step = t->buffers[STEP].address;
        op->args.matmul.weight = t->buffers[WEIGHTS].address + i * matrix;
        op->args.matmul.x = t->buffers[INPUT].address;
        op->args.matmul.y = t->buffers[OUTPUT].address;
        op->args.matmul.rows = ROWS;
        op->args.matmul.cols = COLS;
    }
    return true;
}

static void free_trial(struct trial *t)
{
    if (t->probe.backend) {
        vk_probe_free(&t->probe);
    }
    for (uint32_t i = 0; i < N_BUFFERS; i++) {
        vk_memory_destroy_buffer(t->backend, &t->buffers[i]);
    }
    free(t->ops);
}

/* The ops that are timed: a product over all matrices, for many tokens over one. */
static struct op *plan_ops(struct trial *t, enum op_kind kind, const struct vk_tuning *tuning,
                           uint32_t n_tokens, uint32_t *n, struct vk_plan *plan)
{
    struct vk_caps caps = t->backend->device.physical.caps;
    const struct expert_gate_up_args *a = &t->experts.args.expert_gate_up;
    struct op *ops = kind == OP_matmul           ? t->ops
                     : kind == OP_expert_gate_up ? &t->experts
                                                 : &t->attention;
    *n = kind == OP_matmul && n_tokens == 1 ? t->n_matrices : 1;
    for (uint32_t i = 0; i < *n; i++) {
        ops[i].max_tokens = n_tokens;
    }
    t->experts.tile_pairs =
        op_expert_tile_pairs(n_tokens, a->top_k, a->n_experts, tuning->expert_wide);
    caps.tuning = *tuning;
    vk_plan_op(&ops[0], &caps, plan);
    return ops;
}

/* Seconds of the op with these sizes of kernels. */
static bool time_op(struct trial *t, enum op_kind kind, const struct vk_tuning *tuning,
                    uint32_t n_tokens, double *seconds, struct error *err)
{
    struct vk_backend *backend = t->backend;
    struct vk_plan plan = {0};
    VkPipeline pipeline;
    uint32_t step[2] = {n_tokens, 0}, n;
    struct op *ops = plan_ops(t, kind, tuning, n_tokens, &n, &plan);
    if (kind == OP_attention) {
        step[1] = (t->software ? CONTEXT_SOFTWARE : CONTEXT) - 1;
    }
    if (kind == OP_expert_gate_up && !write_table(t, n_tokens, err)) {
        return false;
    }
    return vk_transfer_write(backend, &t->buffers[STEP], 0, step, sizeof(step), err) &&
           vk_pipelines_get(&backend->device, &backend->pipelines, &plan, 1, &pipeline, err) &&
           vk_probe_ops(&t->probe, pipeline, &plan, ops, n, seconds, err);
}

/* Whether the two values differ in anything here: what a device has not, no value asks it for. */
static bool same_plans(struct trial *t, enum op_kind kind, const struct vk_tuning pair[2],
                       uint32_t n_tokens)
{
    struct vk_plan plans[2] = {0};
    uint32_t n;
    plan_ops(t, kind, &pair[0], n_tokens, &n, &plans[0]);
    plan_ops(t, kind, &pair[1], n_tokens, &n, &plans[1]);
    return memcmp(&plans[0], &plans[1], sizeof(plans[0])) == 0;
}

/* ---- trying ---- */

/* Times what there is and one other value in turns; the best of each, both infinite if there was
 * not the time for one of each. */
static bool compare(struct trial *t, enum op_kind kind, const struct vk_tuning pair[2],
                    uint32_t n_tokens, double best[2], struct error *err)
{
    best[0] = best[1] = (double)INFINITY;
    for (uint32_t i = 0; i < 2 * TRIES && vk_clock() < t->deadline; i++) {
        double seconds;
        if (!time_op(t, kind, &pair[i % 2], n_tokens, &seconds, err)) {
            return false;
        }
        best[i % 2] = fmin(best[i % 2], seconds);
    }
    if (isinf(best[1])) {
        best[0] = best[1];
    }
    return true;
}

/* The value up to which one kernel is better and beyond which another: from the smallest on as long
 * as the first wins. What there is has the benefit of the doubt. */
static bool tune_crossover(struct trial *t, uint32_t row, uint32_t most_tokens,
                           struct vk_tuned *tuned, struct error *err)
{
    struct vk_tuning *tuning = &t->backend->device.physical.caps.tuning;
    uint32_t unit = subjects[row].crossover_unit, most = most_tokens / unit;
    uint32_t found = vk_tuning_rows[row].smallest;
    double ratio = 1; /* of the last two that differed in favour of another value */
    while (found < most) {
        struct vk_tuning pair[2] = {*tuning, *tuning};
        double best[2];
        *vk_tuning_value(&pair[0], row) = found;
        *vk_tuning_value(&pair[1], row) = 2 * found;
        if (!compare(t, subjects[row].kind, pair, 2 * found * unit, best, err)) {
            return false;
        }
        if (isinf(best[1])) {
            return true; /* out of time: as it was */
        }
        bool within = 2 * found <= tuned->before;
        bool wins = within ? best[1] * CLEARLY <= best[0] : best[1] < best[0] * CLEARLY;
        if (wins != within) {
            ratio = wins ? best[0] / best[1] : best[1] / best[0];
        }
        if (!wins) {
            break;
        }
        found *= 2;
    }
    if (found == most && tuned->before > most) {
        return true; /* more has not been tried */
    }
    *vk_tuning_value(tuning, row) = found;
    tuned->speedup = found == tuned->before ? 1 : fmax(ratio, 1);
    return true;
}

static bool tune_row(struct trial *t, uint32_t row, struct vk_tuned *tuned, struct error *err)
{
    struct vk_tuning *tuning = &t->backend->device.physical.caps.tuning;
    const struct vk_tuning_row *limits = &vk_tuning_rows[row];
    *tuned = (struct vk_tuned){.row = row, .before = *vk_tuning_value(tuning, row), .speedup = 1};
    uint32_t tokens = t->software ? subjects[row].software : subjects[row].tokens;
    if (tokens > 0 && subjects[row].crossover_unit) {
        bool ok = tune_crossover(t, row, tokens, tuned, err);
        tuned->after = *vk_tuning_value(tuning, row);
        return ok;
    }
    for (uint32_t value = limits->smallest; tokens > 0 && value <= limits->largest; value *= 2) {
        struct vk_tuning pair[2] = {*tuning, *tuning};
        double best[2];
        *vk_tuning_value(&pair[1], row) = value;
        if (same_plans(t, subjects[row].kind, pair, tokens)) {
            continue;
        }
        if (!compare(t, subjects[row].kind, pair, tokens, best, err)) {
            return false;
        }
        if (best[1] < best[0] * CLEARLY) {
            *tuning = pair[1];
            tuned->speedup *= best[0] / best[1];
        }
    }
    tuned->after = *vk_tuning_value(tuning, row);
    tuned->speedup = tuned->after == tuned->before ? 1 : tuned->speedup; /* there and back */
    return true;
}

bool vk_tune(struct vk_backend *backend, struct vk_tuned tuned[VK_TUNING_COUNT], struct error *err)
{
    struct trial trial;
    if (!backend->cache_folder) {
        return error_set(err, "there is no folder to keep what would be found in");
    }
    bool ok = make_trial(&trial, backend, err);
    double start = vk_clock();
    for (uint32_t row = 0; ok && row < VK_TUNING_COUNT; row++) {
        trial.deadline = start + TUNE_SECONDS * (row + 1) / VK_TUNING_COUNT;
        ok = tune_row(&trial, row, &tuned[row], err);
    }
    free_trial(&trial);
    return ok && (keep(backend) ||
                  error_set(err, "what was found cannot be kept: no file can be written to %s",
                            backend->cache_folder));
}
