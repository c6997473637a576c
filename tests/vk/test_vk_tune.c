/* Sizes of kernels: the table is sound, results do not depend on it, what tuning finds is used by
 * later starts, and nothing that a file may hold instead of it is. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cache_file.h"
#include "engine/vk/vk_internal.h"
#include "tests/check.h"

Test(vk_tune, every_class_is_sound)
{
    static const uint32_t vendors[] = {0x1002, 0x10de, 0x8086, 0x106b, 0, 0x10005};
    for (size_t i = 0; i < sizeof(vendors) / sizeof(vendors[0]); i++) {
        for (int software = 0; software < 2; software++) {
            struct vk_tuning tuning = vk_tuning_of_class(vendors[i], software);
            cr_expect(vk_tuning_valid(&tuning));
        }
    }
}

Test(vk_tune, values_out_of_range_are_found)
{
    for (uint32_t row = 0; row < VK_TUNING_COUNT; row++) {
        const struct vk_tuning_row *limits = &vk_tuning_rows[row];
        const uint32_t wrong[] = {0, 3, limits->largest * 2, limits->largest - 1, UINT32_MAX};
        struct vk_tuning tuning = vk_tuning_of_class(0, false);
        for (uint32_t value = limits->smallest; value <= limits->largest; value *= 2) {
            *vk_tuning_value(&tuning, row) = value;
            cr_expect(vk_tuning_valid(&tuning), "%s %u", limits->name, value);
        }
        for (size_t i = 0; i < 5; i++) {
            *vk_tuning_value(&tuning, row) = wrong[i];
            cr_expect_not(vk_tuning_valid(&tuning), "%s %u", limits->name, wrong[i]);
        }
    }
}

/* ---- results ---- */

enum { ROWS = 77, COLS = 332, TOKENS = 70 };

struct product {
    struct buffer step, weight, x, y;
    float w[ROWS * COLS], v[TOKENS * COLS];
};

static void make(struct vk_backend *backend, struct buffer *buffer, const void *data,
                 uint64_t bytes, enum buffer_use use)
{
    struct error err = {{0}};
    cr_assert(vk_memory_create_buffer(backend, bytes, use, buffer, &err), "%s", err.text);
    cr_assert(vk_transfer_write(backend, buffer, 0, data, bytes, &err), "%s", err.text);
}

/* y = W x for n tokens, planned with the backend's tuning. */
static void check_product(struct vk_backend *backend, struct product *p, uint32_t n_tokens)
{
    static float got[TOKENS * ROWS];
    struct error err = {{0}};
    const struct backend_functions *functions = backend->base.functions;
    uint32_t step[4 + TOKENS] = {n_tokens};
    memset(got, 0x7F, sizeof(got));
    cr_assert(vk_transfer_write(backend, &p->step, 0, step, sizeof(step), &err));
    cr_assert(vk_transfer_write(backend, &p->y, 0, got, sizeof(got), &err));
    struct op op = {.kind = OP_matmul, .dtype = DTYPE_F32, .max_tokens = n_tokens};
    op.args.matmul.step = p->step.address;
    op.args.matmul.weight = p->weight.address;
    op.args.matmul.x = p->x.address;
    op.args.matmul.y = p->y.address;
    op.args.matmul.rows = ROWS;
    op.args.matmul.cols = COLS;
    struct op_list list = {.max_tokens = n_tokens, .n_ops = 1, .ops = &op};
    struct program *program = functions->program_create(&backend->base, &list, &err);
    cr_assert(program, "%s", err.text);
    cr_assert(functions->run(&backend->base, program, &err), "%s", err.text);
    functions->program_destroy(&backend->base, program);
    cr_assert(vk_transfer_read(backend, &p->y, 0, got, sizeof(got), &err));
    for (uint32_t t = 0; t < n_tokens; t++) {
        for (uint32_t r = 0; r < ROWS; r++) {
            double want = 0;
            for (uint32_t c = 0; c < COLS; c++) {
                want += (double)p->w[r * COLS + c] * (double)p->v[t * COLS + c];
            }
            cr_assert_float_eq(got[t * ROWS + r], want, 1e-3, "token %u, row %u", t, r);
        }
    }
}

static struct vk_backend *open_backend(const char *folder)
{
    struct error err = {{0}};
    struct backend *backend = vk_backend_create(
        &(struct vk_options){.cache_folder = folder, .validation = !folder}, &err);
    if (!backend) {
        cr_skip("%s", err.text);
    }
    return (struct vk_backend *)backend;
}

Test(vk_tune, results_are_the_same_with_every_value)
{
    static struct product p;
    struct vk_backend *backend = open_backend(NULL);
    struct check_random random = {5};
    static float zeros[TOKENS * ROWS];
    check_fill(&random, CHECK_UNIFORM, p.w, ROWS * COLS);
    check_fill(&random, CHECK_UNIFORM, p.v, TOKENS * COLS);
    make(backend, &p.step, zeros, (4 + TOKENS) * 4, BUFFER_STEP);
    make(backend, &p.weight, p.w, sizeof(p.w), BUFFER_WEIGHTS);
    make(backend, &p.x, p.v, sizeof(p.v), BUFFER_ACTIVATIONS);
    make(backend, &p.y, zeros, sizeof(zeros), BUFFER_RESULT);
    struct vk_tuning before = backend->device.physical.caps.tuning;
    for (uint32_t row = 0; row < VK_TUNING_COUNT; row++) {
        const struct vk_tuning_row *limits = &vk_tuning_rows[row];
        /* In short, on slow drivers, the smallest and the largest. */
        uint32_t step = getenv("VK_SHORT") ? limits->largest / limits->smallest : 2;
        step = step < 2 ? 2 : step;
        for (uint32_t value = limits->smallest; value <= limits->largest; value *= step) {
            backend->device.physical.caps.tuning = before;
            *vk_tuning_value(&backend->device.physical.caps.tuning, row) = value;
            check_product(backend, &p, 1);
            check_product(backend, &p, TOKENS);
        }
    }
    struct buffer *buffers[] = {&p.step, &p.weight, &p.x, &p.y};
    for (size_t i = 0; i < 4; i++) {
        vk_memory_destroy_buffer(backend, buffers[i]);
    }
    char first[1024] = "";
    cr_expect_eq(vk_backend_validation_messages(&backend->base, first, sizeof(first)), 0, "%s",
                 first);
    backend->base.functions->destroy(&backend->base);
}

/* ---- what is kept ---- */

static struct vk_tuning tuning_at_start(const char *folder)
{
    struct vk_backend *backend = open_backend(folder);
    struct vk_tuning tuning = backend->device.physical.caps.tuning;
    backend->base.functions->destroy(&backend->base);
    return tuning;
}

Test(vk_tune, what_was_found_is_used_later_if_it_can_be_trusted)
{
    if (getenv("VK_SHORT")) {
        cr_skip("in short: what is kept does not depend on the driver");
    }
    char folder[4000];
    snprintf(folder, sizeof(folder), "%s/cache", check_temp_dir());
    struct error err = {{0}};
    struct vk_tuned tuned[VK_TUNING_COUNT];
    struct vk_backend *backend = open_backend(folder);
    struct vk_tuning of_class = backend->device.physical.caps.tuning;
    cr_assert(vk_backend_tune(&backend->base, tuned, &err), "%s", err.text);
    struct vk_tuning found = backend->device.physical.caps.tuning;
    for (uint32_t row = 0; row < VK_TUNING_COUNT; row++) {
        cr_expect_eq(tuned[row].row, row);
        cr_expect_eq(tuned[row].before, *vk_tuning_value(&of_class, row));
        cr_expect_eq(tuned[row].after, *vk_tuning_value(&found, row));
        cr_expect(tuned[row].speedup >= 1 && isfinite(tuned[row].speedup));
        printf("%s: %u -> %u, x %.2f\n", vk_tuning_rows[row].name, tuned[row].before,
               tuned[row].after, tuned[row].speedup);
    }
    struct backend_memory memory;
    backend->base.functions->memory(&backend->base, &memory);
    cr_expect_eq(memory.used, 0);

    struct cache_file file;
    struct vk_tuning_key key;
    vk_tuning_file(backend, &file, &key);
    for (uint32_t row = 0; row < VK_TUNING_COUNT; row++) { /* other values than a class has */
        struct vk_tuning stored = of_class;
        *vk_tuning_value(&stored, row) = vk_tuning_rows[row].smallest;
        cr_assert(cache_file_write(&file, &stored, sizeof(stored)));
        struct vk_tuning got = tuning_at_start(folder);
        cr_expect_arr_eq(&got, &stored, sizeof(got));
        *vk_tuning_value(&stored, row) = 5;
        cr_assert(cache_file_write(&file, &stored, sizeof(stored)));
        got = tuning_at_start(folder);
        cr_expect_arr_eq(&got, &of_class, sizeof(got));
    }
    uint8_t longer[sizeof(of_class) + 1] = {0};
    memcpy(longer, &of_class, sizeof(of_class));
    cr_assert(cache_file_write(&file, longer, sizeof(longer)));
    struct vk_tuning got = tuning_at_start(folder);
    cr_expect_arr_eq(&got, &of_class, sizeof(got));
    backend->base.functions->destroy(&backend->base);
}

Test(vk_tune, without_a_folder_it_is_refused)
{
    struct error err = {{0}};
    struct vk_tuned tuned[VK_TUNING_COUNT];
    struct vk_backend *backend = open_backend(NULL);
    cr_expect_not(vk_backend_tune(&backend->base, tuned, &err));
    cr_expect(strstr(err.text, "folder"), "%s", err.text);
    backend->base.functions->destroy(&backend->base);
}
