/* Memory of the host used in place: ops read it where it lies, anonymous or a mapped file, from any
 * offset; the measured choice and what is kept of it; and the ring that goes after loading. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/cache_file.h"
#include "engine/vk/vk_internal.h"
#include "tests/check.h"
#include "tests/vk/sum_op.h"

#define DIM 1000

static struct vk_backend *open_backend(struct vk_options options)
{
    struct error err = {{0}};
    struct backend *backend = vk_backend_create(&options, &err);
    if (!backend) {
        cr_skip("%s", err.text);
    }
    return (struct vk_backend *)backend;
}

static void close_backend(struct vk_backend *backend)
{
    char first[1024] = "";
    cr_expect_eq(vk_backend_validation_messages(&backend->base, first, sizeof(first)), 0, "%s",
                 first);
    backend->base.functions->destroy(&backend->base);
}

/* y = a + b with a and b in place at these addresses; y must be what they hold. */
static void check_sum(struct vk_backend *backend, uint64_t a, uint64_t b, const float *values_a,
                      const float *values_b)
{
    struct error err = {{0}};
    const struct backend_functions *functions = backend->base.functions;
    struct buffer step, ones, y;
    uint32_t one[5] = {1, 0, 0, 0, 0};
    float got[DIM], weight = 1;
    memset(got, 0x7F, sizeof(got));
    cr_assert(functions->buffer_create(&backend->base, sizeof(one), BUFFER_STEP, &step, &err));
    cr_assert(functions->buffer_create(&backend->base, sizeof(got), BUFFER_RESULT, &y, &err));
    cr_assert(functions->write(&backend->base, &step, 0, one, sizeof(one), &err));
    cr_assert(
        functions->buffer_create(&backend->base, sizeof(weight), BUFFER_WEIGHTS, &ones, &err));
    cr_assert(functions->write(&backend->base, &ones, 0, &weight, sizeof(weight), &err));
    cr_assert(functions->write(&backend->base, &y, 0, got, sizeof(got), &err));
    struct tensor tensors[5] = {{.address = step.address},
                                {.address = a},
                                {.address = b},
                                {.address = ones.address},
                                {.address = y.address}};
    struct op_list list;
    cr_assert(op_list_init(&list, 1, 1, &err));
    sum_op_add(&list, &tensors[0], &tensors[1], &tensors[2], &tensors[3], &tensors[4], DIM);
    op_list_bind(&list);
    struct program *program = functions->program_create(&backend->base, &list, &err);
    cr_assert(program, "%s", err.text);
    cr_assert(functions->run(&backend->base, program, &err), "%s", err.text);
    cr_assert(functions->read(&backend->base, &y, 0, got, sizeof(got), &err));
    for (uint32_t i = 0; i < DIM; i++) {
        cr_assert_eq(got[i], values_a[i] + values_b[i], "element %u", i);
    }
    functions->program_destroy(&backend->base, program);
    op_list_free(&list);
    functions->buffer_destroy(&backend->base, &step);
    functions->buffer_destroy(&backend->base, &ones);
    functions->buffer_destroy(&backend->base, &y);
}

Test(vk_import, ops_read_it_where_it_lies)
{
    struct vk_backend *backend = open_backend((struct vk_options){.validation = true});
    struct check_random random = {7};
    struct error err = {{0}};
    if (!vk_import_possible(backend)) {
        close_backend(backend);
        cr_skip("no import here");
    }
    /* A file, mapped for reading, whose length is no multiple of a page; and memory of our own. */
    static float file_values[3 * DIM], own_values[3 * DIM];
    check_fill(&random, CHECK_UNIFORM, file_values, 3 * DIM);
    check_fill(&random, CHECK_UNIFORM, own_values, 3 * DIM);
    const char *path = check_path(check_temp_dir(), "weights");
    cr_assert(check_write_file(path, file_values, sizeof(file_values)));
    int descriptor = open(path, O_RDONLY);
    const uint8_t *file = mmap(NULL, sizeof(file_values), PROT_READ, MAP_SHARED, descriptor, 0);
    uint8_t *own = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(file != MAP_FAILED && own != MAP_FAILED);
    memcpy(own + 4096 - 64, own_values, sizeof(own_values)); /* across pages */
    static const uint64_t offsets[] = {0, 16, 64, DIM * 4};
    for (size_t i = 0; i < 4; i++) {
        struct buffer a, b;
        bool of_file = vk_import(backend, file + offsets[i], DIM * 4, &a, &err);
        cr_assert(of_file || backend->device.physical.info.kind != VK_DEVICE_SOFTWARE, "%s",
                  err.text); /* some real drivers refuse files */
        cr_assert(vk_import(backend, own + 4096 - 64 + offsets[i], DIM * 4, &b, &err), "%s",
                  err.text);
        if (of_file) {
            check_sum(backend, a.address, b.address, file_values + offsets[i] / 4,
                      own_values + offsets[i] / 4);
            float got[DIM];
            cr_assert(backend->base.functions->read(&backend->base, &a, 0, got, sizeof(got), &err));
            cr_expect_arr_eq(got, file_values + offsets[i] / 4, sizeof(got));
            backend->base.functions->buffer_destroy(&backend->base, &a);
        }
        own[4096 - 64 + offsets[i]] ^= 1; /* it is the same memory */
        own_values[offsets[i] / 4] = ((float *)(void *)(own + 4096 - 64))[offsets[i] / 4];
        check_sum(backend, b.address, b.address, own_values + offsets[i] / 4,
                  own_values + offsets[i] / 4);
        backend->base.functions->buffer_destroy(&backend->base, &b);
    }
    struct backend_memory memory;
    backend->base.functions->memory(&backend->base, &memory);
    cr_expect_eq(memory.used, 0, "what is imported is not taken");
    munmap((void *)file, sizeof(file_values));
    munmap(own, 65536);
    close(descriptor);
    close_backend(backend);
}

Test(vk_import, impossible_sizes_are_refused)
{
    struct vk_backend *backend = open_backend((struct vk_options){0});
    if (vk_import_possible(backend)) {
        struct error err = {{0}};
        struct buffer buffer;
        cr_expect_not(vk_import(backend, "x", 0, &buffer, &err));
        cr_expect_not(vk_import(backend, "x", UINT64_MAX, &buffer, &err));
        cr_expect(strstr(err.text, "in one piece"), "%s", err.text);
    }
    close_backend(backend);
}

/* ---- the choice ---- */

static const char *make_folder(void)
{
    static char folder[4000];
    snprintf(folder, sizeof(folder), "%s/cache", check_temp_dir());
    return folder;
}

static struct cache_file choice_of(const struct vk_backend *backend, const char *folder)
{
    return (struct cache_file){.folder = folder,
                               .name = "import",
                               .key = &backend->device.physical.identity,
                               .key_bytes = sizeof(backend->device.physical.identity)};
}

static bool pays(const char *folder, bool staging)
{
    struct vk_backend *backend = open_backend((struct vk_options){
        .cache_folder = folder, .force_staging = staging, .validation = !staging});
    bool answer = vk_import_pays(backend);
    cr_expect_eq(vk_import_pays(backend), answer);
    close_backend(backend);
    return answer;
}

Test(vk_import, the_choice_is_measured_once)
{
    const char *folder = make_folder();
    struct vk_backend *backend = open_backend((struct vk_options){.cache_folder = folder});
    bool possible = vk_import_possible(backend) && backend->device.physical.unified;
    bool answer = vk_import_pays(backend);
    struct cache_file file = choice_of(backend, folder);
    if (!possible) {
        cr_expect_not(answer);
        close_backend(backend);
        cr_skip("no import here");
    }
    uint64_t bytes = 0;
    uint8_t *kept = cache_file_read(&file, &bytes);
    cr_assert(kept && bytes == 1);
    cr_expect_eq(kept[0], answer);
    free(kept);
    for (uint8_t stored = 0; stored < 2; stored++) { /* what is kept is believed */
        cr_assert(cache_file_write(&file, &stored, 1));
        cr_expect_eq(pays(folder, false), stored);
    }
    cr_expect_not(pays(folder, true), "a device with memory of its own");
    cr_assert(cache_file_write(&file, "\2", 1)); /* but not everything */
    pays(folder, false);
    kept = cache_file_read(&file, &bytes);
    cr_assert(kept && bytes == 1 && kept[0] < 2, "measured again");
    free(kept);
    cr_assert(cache_file_write(&file, "\1\1", 2));
    pays(folder, false);
    kept = cache_file_read(&file, &bytes);
    cr_assert(kept && bytes == 1);
    free(kept);
    pays(NULL, false);
    close_backend(backend);
}

/* ---- the ring ---- */

Test(vk_import, the_ring_goes_after_loading_and_comes_back)
{
    struct vk_backend *backend =
        open_backend((struct vk_options){.force_staging = true, .validation = true});
    struct error err = {{0}};
    struct check_random random = {8};
    const struct backend_functions *functions = backend->base.functions;
    struct buffer a;
    float values[DIM], got[DIM];
    cr_assert(functions->buffer_create(&backend->base, sizeof(values), BUFFER_WEIGHTS, &a, &err));
    for (int i = 0; i < 3; i++) {
        check_fill(&random, CHECK_UNIFORM, values, DIM);
        cr_assert(functions->write(&backend->base, &a, 0, values, sizeof(values), &err));
        cr_expect(backend->transfer.staging.handle);
        check_sum(backend, a.address, a.address, values, values);
        cr_expect_not(backend->transfer.staging.handle, "16 MiB kept");
        cr_assert(functions->read(&backend->base, &a, 0, got, sizeof(got), &err));
        cr_expect_arr_eq(got, values, sizeof(got));
    }
    functions->buffer_destroy(&backend->base, &a);
    close_backend(backend);
}
