/* Finds better sizes of kernels for this device (vk_tuning.h) by trying them, and keeps them.
 *
 * A row of the table is tried with a product of weights, in a shape that models have, if it matters
 * to one; other rows stay as they are. The product is timed with every value the row allows, one
 * row after the other; a value replaces what was there if it is clearly faster. What is read are
 * weights that no cache holds, as while tokens flow: as many matrices as that takes, one after the
 * other.
 */
#include "engine/vk/vk_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cache_file.h"
#include "engine/vk/vk_probe.h"

#define TRIES 3
/* Noise does not change what has been tried on many machines. */
#define CLEARLY 0.97

#define ROWS 2048
#define COLS 2048
#define MOST_TOKENS 512
#define WEIGHT_BYTES (UINT64_C(256) << 20)
#define WEIGHT_BYTES_SOFTWARE (UINT64_C(4) << 20)

/* How many tokens the product has that tells of a row, on software devices fewer; 0: none does. */
static const struct subject {
    uint32_t tokens, software;
} subjects[VK_TUNING_COUNT] = {
    [VK_TUNING_matvec_group] = {1, 1},
    [VK_TUNING_matvec_lanes] = {1, 1},
    [VK_TUNING_matmul_tokens] = {512, 32},
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
    struct vk_tuning tuning;
    uint64_t bytes = 0;
    if (!backend->cache_folder) {
        return;
    }
    vk_tuning_file(backend, &file, &key);
    void *kept = cache_file_read(&file, &bytes);
    if (kept && bytes == sizeof(tuning)) {
        memcpy(&tuning, kept, sizeof(tuning));
        if (vk_tuning_valid(&tuning)) {
            backend->device.physical.caps.tuning = tuning;
        }
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

struct trial {
    struct vk_backend *backend;
    struct vk_probe probe;
    struct buffer step, weights, x, y;
    struct op *ops; /* (n_matrices) the same op on one matrix after the other */
    uint32_t n_matrices;
    bool software;
};

static bool make_step(struct trial *t, struct error *err)
{
    uint32_t step[4 + MOST_TOKENS] = {0};
    return vk_memory_create_buffer(t->backend, sizeof(step), BUFFER_STEP, &t->step, err) &&
           vk_transfer_write(t->backend, &t->step, 0, step, sizeof(step), err);
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
        !vk_memory_create_buffer(backend, t->n_matrices * matrix, BUFFER_WEIGHTS, &t->weights,
                                 err) ||
        !vk_memory_create_buffer(backend, (uint64_t)MOST_TOKENS * COLS * 4, BUFFER_ACTIVATIONS,
                                 &t->x, err) ||
        !vk_memory_create_buffer(backend, (uint64_t)MOST_TOKENS * ROWS * 4, BUFFER_ACTIVATIONS,
                                 &t->y, err) ||
        !vk_probe_fill(&t->probe, &t->weights, 0x11111111, err) ||
        !vk_probe_fill(&t->probe, &t->x, 0x3E800000, err)) {
        return false;
    }
    for (uint32_t i = 0; i < t->n_matrices; i++) {
        struct op *op = &t->ops[i];
        op->kind = OP_matmul;
        op->dtype = DTYPE_Q4_K;
        op->args.matmul.step = t->step.address;
        op->args.matmul.weight = t->weights.address + i * matrix;
        op->args.matmul.x = t->x.address;
        op->args.matmul.y = t->y.address;
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
    vk_memory_destroy_buffer(t->backend, &t->step);
    vk_memory_destroy_buffer(t->backend, &t->weights);
    vk_memory_destroy_buffer(t->backend, &t->x);
    vk_memory_destroy_buffer(t->backend, &t->y);
    free(t->ops);
}

/* Seconds of the op over all matrices (for many tokens: over one) with these sizes of kernels. */
static bool time_op(struct trial *t, const struct vk_tuning *tuning, uint32_t n_tokens,
                    double *seconds, struct error *err)
{
    struct vk_backend *backend = t->backend;
    struct vk_caps caps = backend->device.physical.caps;
    struct vk_plan plan = {0};
    VkPipeline pipeline;
    caps.tuning = *tuning;
    uint32_t n = n_tokens > 1 ? 1 : t->n_matrices;
    for (uint32_t i = 0; i < n; i++) {
        t->ops[i].max_tokens = n_tokens;
    }
    vk_plan_op(&t->ops[0], &caps, &plan);
    return vk_transfer_write(backend, &t->step, 0, &n_tokens, sizeof(n_tokens), err) &&
           vk_pipelines_get(&backend->device, &backend->pipelines, &plan, 1, &pipeline, err) &&
           vk_probe_ops(&t->probe, pipeline, &plan, t->ops, n, seconds, err);
}

/* ---- trying ---- */

/* Times what there is and one other value in turns; the best of each. */
static bool compare(struct trial *t, const struct vk_tuning pair[2], uint32_t n_tokens,
                    double best[2], struct error *err)
{
    best[0] = best[1] = (double)INFINITY;
    for (uint32_t i = 0; i < 2 * TRIES; i++) {
        double seconds;
        if (!time_op(t, &pair[i % 2], n_tokens, &seconds, err)) {
            return false;
        }
        best[i % 2] = fmin(best[i % 2], seconds);
    }
    return true;
}

static bool tune_row(struct trial *t, uint32_t row, struct vk_tuned *tuned, struct error *err)
{
    struct vk_tuning *tuning = &t->backend->device.physical.caps.tuning;
    const struct vk_tuning_row *limits = &vk_tuning_rows[row];
    uint32_t n_tokens = t->software ? subjects[row].software : subjects[row].tokens;
    *tuned = (struct vk_tuned){.row = row, .before = *vk_tuning_value(tuning, row), .speedup = 1};
    for (uint32_t value = limits->smallest; n_tokens > 0 && value <= limits->largest; value *= 2) {
        struct vk_tuning pair[2] = {*tuning, *tuning};
        double best[2];
        if (value == *vk_tuning_value(tuning, row)) {
            continue;
        }
        *vk_tuning_value(&pair[1], row) = value;
        if (!compare(t, pair, n_tokens, best, err)) {
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
    for (uint32_t row = 0; ok && row < VK_TUNING_COUNT; row++) {
        ok = tune_row(&trial, row, &tuned[row], err);
    }
    free_trial(&trial);
    return ok && (keep(backend) ||
                  error_set(err, "what was found cannot be kept: no file can be written to %s",
                            backend->cache_folder));
}
