/* The Vulkan host side on whatever driver the environment names: devices, buffers of every use with
 * and without staging, the memory limit, and programs that are replayed with other steps. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vk/vk.h"
#include "tests/check.h"
#include "tests/vk/sum_op.h"

static const enum buffer_use uses[] = {BUFFER_WEIGHTS, BUFFER_ACTIVATIONS, BUFFER_STEP,
                                       BUFFER_RESULT};

static struct vk_device_info devices[VK_MAX_DEVICES];
static uint32_t n_devices;

static void list(void)
{
    struct error err = {{0}};
    if (!vk_list_devices(devices, &n_devices, &err)) {
        cr_skip("%s", err.text);
    }
    if (n_devices == 0) {
        cr_skip("no Vulkan device here");
    }
}

TestSuite(vk_host, .init = list);

static struct backend *open_backend(const struct vk_options *options)
{
    struct error err = {{0}};
    struct backend *backend = vk_backend_create(options, &err);
    cr_assert(backend, "%s", err.text);
    return backend;
}

static struct buffer create(struct backend *backend, uint64_t bytes, enum buffer_use use)
{
    struct error err = {{0}};
    struct buffer buffer;
    cr_assert(backend->functions->buffer_create(backend, bytes, use, &buffer, &err), "%s",
              err.text);
    cr_assert_eq(buffer.address % 256, 0);
    cr_assert_neq(buffer.address, 0);
    cr_assert_eq(buffer.bytes, bytes);
    return buffer;
}

static void write_bytes(struct backend *backend, const struct buffer *buffer, uint64_t offset,
                        const void *source, uint64_t bytes)
{
    struct error err = {{0}};
    cr_assert(backend->functions->write(backend, buffer, offset, source, bytes, &err), "%s",
              err.text);
}

static void read_bytes(struct backend *backend, const struct buffer *buffer, uint64_t offset,
                       void *destination, uint64_t bytes)
{
    struct error err = {{0}};
    cr_assert(backend->functions->read(backend, buffer, offset, destination, bytes, &err), "%s",
              err.text);
}

static void fill_random(struct check_random *random, uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)check_random_u64(random);
    }
}

Test(vk_host, devices_are_described)
{
    for (uint32_t i = 0; i < n_devices; i++) {
        const struct vk_device_info *device = &devices[i];
        cr_expect(device->name[0]);
        cr_expect(device->driver[0]);
        cr_expect_eq(device->usable, !device->missing[0]);
        if (device->usable) {
            cr_expect_gt(device->memory_bytes, UINT64_C(1) << 20);
            cr_expect_gt(device->subgroup_size, 0);
            cr_expect_eq(device->subgroup_size & (device->subgroup_size - 1), 0);
        }
    }
}

Test(vk_host, an_index_out_of_range_is_refused)
{
    struct error err = {{0}};
    cr_assert_null(vk_backend_create(&(struct vk_options){.device = n_devices}, &err));
    cr_expect(strstr(err.text, "there is no Vulkan device"), "%s", err.text);
    cr_assert_null(vk_backend_create(&(struct vk_options){.device = UINT32_MAX}, &err));
}

static void check_round_trip(struct backend *backend, uint64_t bytes, enum buffer_use use,
                             struct check_random *random)
{
    uint8_t *expected = malloc(bytes), *got = malloc(bytes);
    fill_random(random, expected, bytes);
    struct buffer buffer = create(backend, bytes, use);
    write_bytes(backend, &buffer, 0, expected, bytes);
    for (int i = 0; i < 4; i++) { /* parts, at any offset */
        uint64_t offset = check_random_u64(random) % bytes;
        uint64_t part = 1 + check_random_u64(random) % (bytes - offset);
        fill_random(random, expected + offset, part);
        write_bytes(backend, &buffer, offset, expected + offset, part);
    }
    read_bytes(backend, &buffer, 0, got, bytes);
    cr_expect_eq(memcmp(got, expected, bytes), 0, "%lu bytes, use %d", bytes, use);
    uint64_t offset = check_random_u64(random) % bytes;
    read_bytes(backend, &buffer, offset, got, bytes - offset);
    cr_expect_eq(memcmp(got, expected + offset, bytes - offset), 0, "from %lu", offset);
    backend->functions->buffer_destroy(backend, &buffer);
    free(expected);
    free(got);
}

Test(vk_host, what_is_written_is_read)
{
    static const uint64_t sizes[] = {1, 3, 4, 255, 256, 257, 4096, 65537, (5 << 20) + 3, 20 << 20};
    struct check_random random = {1};
    for (int staging = 0; staging < 2; staging++) {
        struct backend *backend = open_backend(&(struct vk_options){.force_staging = staging});
        for (size_t u = 0; u < 4; u++) {
            for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                check_round_trip(backend, sizes[i], uses[u], &random);
            }
        }
        struct backend_memory memory;
        backend->functions->memory(backend, &memory);
        cr_expect_eq(memory.used, 0);
        backend->functions->destroy(backend);
    }
}

Test(vk_host, staging_goes_through_the_queue_and_visible_memory_does_not)
{
    if (devices[0].kind != VK_DEVICE_SOFTWARE) {
        cr_skip("only known of software devices");
    }
    for (int staging = 0; staging < 2; staging++) {
        struct backend *backend = open_backend(&(struct vk_options){.force_staging = staging});
        struct buffer buffer = create(backend, 1000, BUFFER_WEIGHTS);
        write_bytes(backend, &buffer, 0, "x", 1);
        struct backend_counts counts;
        backend->functions->counts(backend, &counts);
        cr_expect_eq(counts.submits, (uint64_t)staging);
        backend->functions->buffer_destroy(backend, &buffer);
        backend->functions->destroy(backend);
    }
}

#define MANY 3000

/* Every buffer holds its own pattern; what is freed and cut again must not touch the others. */
static void check_many(struct backend *backend, struct check_random *random)
{
    static struct buffer buffers[MANY];
    static uint8_t patterns[MANY][4096], got[4096];
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < MANY; i++) {
            if (!buffers[i].address) {
                uint64_t bytes = 1 + check_random_below(random, 4096);
                buffers[i] = create(backend, bytes, uses[i % 2]);
                fill_random(random, patterns[i], bytes);
                write_bytes(backend, &buffers[i], 0, patterns[i], bytes);
            }
        }
        for (uint32_t i = 0; i < MANY; i++) {
            memset(got, 0xAA, sizeof(got));
            read_bytes(backend, &buffers[i], 0, got, buffers[i].bytes);
            cr_assert_eq(memcmp(got, patterns[i], buffers[i].bytes), 0, "buffer %u", i);
        }
        for (uint32_t i = 0; i < MANY; i++) {
            if (round == 2 || check_random_below(random, 2)) {
                backend->functions->buffer_destroy(backend, &buffers[i]);
            }
        }
    }
    struct backend_memory memory;
    backend->functions->memory(backend, &memory);
    cr_expect_eq(memory.used, 0);
}

Test(vk_host, thousands_of_small_buffers)
{
    struct check_random random = {2};
    for (int staging = 0; staging < 2; staging++) {
        struct backend *backend = open_backend(&(struct vk_options){.force_staging = staging});
        check_many(backend, &random);
        backend->functions->destroy(backend);
    }
}

Test(vk_host, large_buffers)
{
    static const uint64_t sizes[] = {UINT64_C(130) << 20, UINT64_C(50) << 20, UINT64_C(70) << 20};
    for (int staging = 0; staging < 2; staging++) {
        struct backend *backend = open_backend(&(struct vk_options){.force_staging = staging});
        struct buffer buffers[3];
        for (uint64_t i = 0; i < 3; i++) {
            buffers[i] = create(backend, sizes[i], BUFFER_WEIGHTS);
            for (uint64_t part = 0; part < 8; part++) {
                uint64_t mark = i * 1000 + part;
                write_bytes(backend, &buffers[i], sizes[i] / 8 * part + 8, &mark, sizeof(mark));
            }
        }
        for (uint64_t i = 0; i < 3; i++) {
            for (uint64_t part = 0; part < 8; part++) {
                uint64_t mark = 0;
                read_bytes(backend, &buffers[i], sizes[i] / 8 * part + 8, &mark, sizeof(mark));
                cr_expect_eq(mark, i * 1000 + part);
            }
            backend->functions->buffer_destroy(backend, &buffers[i]);
        }
        backend->functions->destroy(backend);
    }
}

Test(vk_host, the_memory_limit_holds)
{
    struct backend *backend = open_backend(&(struct vk_options){.memory_limit = 8 << 20});
    struct backend_memory memory;
    backend->functions->memory(backend, &memory);
    cr_expect_eq(memory.used, 0);
    cr_expect_eq(memory.available, 8 << 20);
    cr_expect_eq(memory.total, devices[0].memory_bytes);
    struct buffer first = create(backend, 5 << 20, BUFFER_WEIGHTS), second;
    struct error err = {{0}};
    cr_assert_not(backend->functions->buffer_create(backend, (3 << 20) + 1, BUFFER_ACTIVATIONS,
                                                    &second, &err));
    cr_expect(strstr(err.text, "--vram"), "%s", err.text);
    cr_expect(strstr(err.text, "5.0 MiB of 8.0 MiB"), "%s", err.text);
    backend->functions->memory(backend, &memory);
    cr_expect_eq(memory.used, 5 << 20);
    cr_expect_eq(memory.available, 3 << 20);
    second = create(backend, 3 << 20, BUFFER_ACTIVATIONS); /* to the last byte */
    backend->functions->memory(backend, &memory);
    cr_expect_eq(memory.available, 0);
    backend->functions->buffer_destroy(backend, &first);
    first = create(backend, 1, BUFFER_STEP);
    backend->functions->buffer_destroy(backend, &first);
    backend->functions->buffer_destroy(backend, &second);
    backend->functions->destroy(backend);
}

Test(vk_host, impossible_sizes_are_refused)
{
    struct backend *backend = open_backend(&(struct vk_options){0});
    static const uint64_t sizes[] = {UINT64_MAX, UINT64_MAX - 255, UINT64_C(1) << 62,
                                     UINT64_C(1) << 45};
    for (size_t i = 0; i < 4; i++) {
        struct error err = {{0}};
        struct buffer buffer;
        cr_expect_not(
            backend->functions->buffer_create(backend, sizes[i], BUFFER_WEIGHTS, &buffer, &err));
        cr_expect(strstr(err.text, "in one piece"), "%s", err.text);
    }
    backend->functions->destroy(backend);
}

/* ---- programs ---- */

#define DIM 96
#define ROWS 50
#define TOKENS 5

/* x = table[tokens]; doubled = x + x; tripled = doubled + x, and apart from these: again = table +
 * table of TOKENS rows. */
struct small_model {
    struct backend *backend;
    struct tensor step, table, x, doubled, tripled, again, ones;
    struct buffer buffers[7];
    struct op_list list;
    struct program *program;
    float values[ROWS * DIM];
};

static void place(struct small_model *model, uint32_t index, struct tensor *tensor,
                  const char *name, uint64_t rows, uint64_t cols, enum buffer_use use)
{
    *tensor = (struct tensor){.dtype = DTYPE_F32, .rows = rows, .cols = cols};
    strcpy(tensor->name, name);
    tensor->bytes = rows * cols * 4;
    model->buffers[index] = create(model->backend, tensor->bytes, use);
    tensor->address = model->buffers[index].address;
}

static void add_sum(struct small_model *model, struct tensor *a, struct tensor *b, struct tensor *y)
{
    sum_op_add(&model->list, &model->step, a, b, &model->ones, y, DIM);
}

static void build_model(struct small_model *model, bool staging)
{
    struct error err = {{0}};
    struct check_random random = {3};
    model->backend = open_backend(&(struct vk_options){.force_staging = staging});
    place(model, 0, &model->step, "step", 1, 4 + TOKENS, BUFFER_STEP);
    place(model, 1, &model->table, "table", ROWS, DIM, BUFFER_WEIGHTS);
    place(model, 2, &model->x, "x", TOKENS, DIM, BUFFER_ACTIVATIONS);
    place(model, 3, &model->doubled, "doubled", TOKENS, DIM, BUFFER_ACTIVATIONS);
    place(model, 4, &model->tripled, "tripled", TOKENS, DIM, BUFFER_RESULT);
    place(model, 5, &model->again, "again", TOKENS, DIM, BUFFER_RESULT);
    place(model, 6, &model->ones, "ones", TOKENS, 1, BUFFER_WEIGHTS);
    float ones[TOKENS];
    for (int i = 0; i < TOKENS; i++) {
        ones[i] = 1;
    }
    write_bytes(model->backend, &model->buffers[6], 0, ones, sizeof(ones));
    check_fill(&random, CHECK_UNIFORM, model->values, ROWS * DIM);
    write_bytes(model->backend, &model->buffers[1], 0, model->values, sizeof(model->values));
    cr_assert(op_list_init(&model->list, TOKENS, 8, &err), "%s", err.text);
    struct op *op = op_list_add(&model->list, OP_embed, DTYPE_F32,
                                (const struct tensor *[]){&model->step, &model->table, &model->x});
    op->args.embed.rows = ROWS;
    op->args.embed.dim = DIM;
    add_sum(model, &model->table, &model->table, &model->again);
    add_sum(model, &model->x, &model->x, &model->doubled);       /* after embed */
    add_sum(model, &model->doubled, &model->x, &model->tripled); /* after that */
    op_list_bind(&model->list);
    model->program = model->backend->functions->program_create(model->backend, &model->list, &err);
    cr_assert(model->program, "%s", err.text);
}

static void free_model(struct small_model *model)
{
    const struct backend_functions *functions = model->backend->functions;
    functions->program_destroy(model->backend, model->program);
    for (int i = 0; i < 7; i++) {
        functions->buffer_destroy(model->backend, &model->buffers[i]);
    }
    op_list_free(&model->list);
    functions->destroy(model->backend);
}

static void run_tokens(struct small_model *model, uint32_t n_tokens, const uint32_t *tokens)
{
    uint32_t step[4 + TOKENS] = {n_tokens, 7, 0, 0};
    struct error err = {{0}};
    memcpy(step + 4, tokens, n_tokens * 4);
    write_bytes(model->backend, &model->buffers[0], 0, step, sizeof(step));
    cr_assert(model->backend->functions->run(model->backend, model->program, &err), "%s", err.text);
}

Test(vk_host, a_program_replayed_with_another_step_gives_other_results)
{
    for (int staging = 0; staging < 2; staging++) {
        static struct small_model model;
        struct check_random random = {4};
        build_model(&model, staging);
        for (uint32_t round = 0; round < 20; round++) {
            uint32_t tokens[TOKENS], n_tokens = 1 + round % TOKENS;
            float poison[TOKENS * DIM], got[TOKENS * DIM];
            for (uint32_t t = 0; t < n_tokens; t++) {
                tokens[t] = check_random_below(&random, ROWS);
            }
            memset(poison, 0x7F, sizeof(poison)); /* 3.4e38 */
            for (uint32_t i = 2; i < 6; i++) {
                write_bytes(model.backend, &model.buffers[i], 0, poison, sizeof(poison));
            }
            run_tokens(&model, n_tokens, tokens);
            read_bytes(model.backend, &model.buffers[4], 0, got, sizeof(got));
            for (uint32_t i = 0; i < TOKENS * DIM; i++) {
                float value =
                    i / DIM < n_tokens ? model.values[tokens[i / DIM] * DIM + i % DIM] : 0;
                cr_assert_eq(got[i], i / DIM < n_tokens ? value + value + value : poison[0],
                             "round %u, element %u", round, i);
            }
        }
        free_model(&model);
    }
}

Test(vk_host, one_submit_a_run_and_only_the_barriers_needed)
{
    static struct small_model model;
    build_model(&model, false);
    struct backend_counts before, after;
    model.backend->functions->counts(model.backend, &before);
    for (uint32_t token = 0; token < 3; token++) {
        run_tokens(&model, 1, &token);
        float got[DIM];
        read_bytes(model.backend, &model.buffers[4], 0, got, sizeof(got));
    }
    model.backend->functions->counts(model.backend, &after);
    cr_expect_eq(after.submits - before.submits, 3);
    cr_expect_eq(after.dispatches - before.dispatches, 3 * 4);
    /* embed, again | doubled | tripled |: two between and the one that ends the program. */
    cr_expect_eq(after.barriers - before.barriers, 3 * 3);
    free_model(&model);
}

Test(vk_host, programs_see_each_others_results)
{
    static struct small_model model;
    build_model(&model, true);
    struct error err = {{0}};
    struct op_list second;
    cr_assert(op_list_init(&second, TOKENS, 1, &err));
    struct op_list first = model.list;
    model.list = second;
    add_sum(&model, &model.tripled, &model.tripled, &model.again);
    op_list_bind(&model.list);
    struct program *program =
        model.backend->functions->program_create(model.backend, &model.list, &err);
    cr_assert(program, "%s", err.text);
    uint32_t tokens[] = {ROWS - 1, 2};
    run_tokens(&model, 2, tokens);
    cr_assert(model.backend->functions->run(model.backend, program, &err), "%s", err.text);
    float got[2 * DIM];
    read_bytes(model.backend, &model.buffers[5], 0, got, sizeof(got));
    for (uint32_t i = 0; i < 2 * DIM; i++) {
        float value = model.values[tokens[i / DIM] * DIM + i % DIM];
        value = value + value + value;
        cr_assert_eq(got[i], value + value, "element %u", i);
    }
    model.backend->functions->program_destroy(model.backend, program);
    op_list_free(&model.list);
    model.list = first;
    free_model(&model);
}

Test(vk_host, two_backends_at_once)
{
    static struct small_model models[2];
    build_model(&models[0], false);
    build_model(&models[1], true);
    uint32_t token = 1;
    float got[2][DIM];
    for (int i = 0; i < 2; i++) {
        run_tokens(&models[i], 1, &token);
        read_bytes(models[i].backend, &models[i].buffers[4], 0, got[i], sizeof(got[i]));
    }
    cr_expect_neq(got[0][0], 0);
    cr_expect_eq(memcmp(got[0], got[1], sizeof(got[0])), 0);
    free_model(&models[0]);
    free_model(&models[1]);
}
