/* The Vulkan back end as other rooms see it: struct backend_functions, and its beginning and end.
 */
#include "engine/vk/vk_internal.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vk/vk_product.h"

/* Short enough for a desktop to stay usable, far below the seconds after which systems reset a
 * device; thousands of times what a submit costs. */
#define SEGMENT_SECONDS 0.1

static struct vk_backend *of(struct backend *backend)
{
    return (struct vk_backend *)backend;
}

static bool buffer_create(struct backend *backend, uint64_t bytes, enum buffer_use use,
                          struct buffer *buffer, struct error *err)
{
    return vk_device_alive(&of(backend)->device, err) &&
           vk_memory_create_buffer(of(backend), bytes, use, buffer, err);
}

static void buffer_destroy(struct backend *backend, struct buffer *buffer)
{
    vk_memory_destroy_buffer(of(backend), buffer);
}

static bool import_buffer(struct backend *backend, const void *host, uint64_t bytes,
                          struct buffer *buffer, struct error *err)
{
    if (!vk_device_alive(&of(backend)->device, err)) {
        return false;
    }
    if (!vk_import_pays(of(backend))) {
        return error_set(err, "the device %s reads its own memory faster than the host's",
                         of(backend)->base.name);
    }
    return vk_import(of(backend), host, bytes, buffer, err);
}

static bool write_buffer(struct backend *backend, const struct buffer *buffer, uint64_t offset,
                         const void *source, uint64_t bytes, struct error *err)
{
    return vk_device_alive(&of(backend)->device, err) &&
           vk_transfer_write(of(backend), buffer, offset, source, bytes, err);
}

static bool read_buffer(struct backend *backend, const struct buffer *buffer, uint64_t offset,
                        void *destination, uint64_t bytes, struct error *err)
{
    return vk_device_alive(&of(backend)->device, err) &&
           vk_transfer_read(of(backend), buffer, offset, destination, bytes, err);
}

static struct program *program_create(struct backend *backend, const struct op_list *list,
                                      struct error *err)
{
    return vk_device_alive(&of(backend)->device, err) ? vk_program_create(of(backend), list, err)
                                                      : NULL;
}

static void program_destroy(struct backend *backend, struct program *program)
{
    vk_program_destroy(of(backend), program);
}

static bool run(struct backend *backend, struct program *program, struct error *err)
{
    return vk_device_alive(&of(backend)->device, err) && vk_program_run(of(backend), program, err);
}

static bool start(struct backend *backend, struct program *program, uint64_t *ticket,
                  struct error *err)
{
    return vk_device_alive(&of(backend)->device, err) &&
           vk_program_start(of(backend), program, ticket, err);
}

static bool finish(struct backend *backend, struct program *program, uint64_t ticket,
                   struct error *err)
{
    return vk_device_alive(&of(backend)->device, err) &&
           vk_program_finish(of(backend), program, ticket, err);
}

static bool profile(struct backend *backend, struct program *program, double *seconds,
                    struct error *err)
{
    return vk_device_alive(&of(backend)->device, err) &&
           vk_program_profile(of(backend), program, seconds, err);
}

static bool measure_peaks(struct backend *backend, struct backend_peaks *peaks, struct error *err)
{
    return vk_device_alive(&of(backend)->device, err) && vk_peaks(of(backend), peaks, err);
}

static bool measure_peaks_again(struct backend *backend, const struct buffer *buffer,
                                uint64_t bytes, struct backend_peaks *peaks, struct error *err)
{
    return vk_device_alive(&of(backend)->device, err) &&
           vk_peaks_again(of(backend), buffer, bytes, peaks, err);
}

static void read_counts(struct backend *backend, struct backend_counts *counts)
{
    *counts = of(backend)->counts;
}

static void read_memory(struct backend *backend, struct backend_memory *memory)
{
    *memory = (struct backend_memory){.total = of(backend)->device.physical.info.memory_bytes,
                                      .available = vk_memory_available(of(backend)),
                                      .used = of(backend)->memory.used};
}

static void destroy(struct backend *base)
{
    struct vk_backend *backend = of(base);
    vk_commands_settle(backend);
    vk_transfer_free(backend);
    vk_memory_free(backend);
    vk_pipelines_free(&backend->device, &backend->pipelines);
    vk_commands_free(backend);
    vk_device_close(&backend->device);
    free(backend->cache_folder);
    free(backend);
}

static const struct backend_functions functions = {
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .buffer_import = import_buffer,
    .write = write_buffer,
    .read = read_buffer,
    .program_create = program_create,
    .program_destroy = program_destroy,
    .run = run,
    .counts = read_counts,
    .memory = read_memory,
    .destroy = destroy,
    .profile = profile,
    .start = start,
    .finish = finish,
    .peaks = measure_peaks,
    .peaks_again = measure_peaks_again,
};

/* What options->arithmetic asks for. A device that only emulates integer dot products may be asked
 * for them, too. */
static bool find_arithmetic(struct vk_options *options, uint32_t *arithmetic, enum vk_tier *tier,
                            struct error *err)
{
    *arithmetic = 0;
    if (!options->arithmetic) {
        return true;
    }
    if (!vk_product_arithmetic(options->arithmetic, arithmetic, tier)) {
        return error_set(err, "there is no arithmetic \"%.32s\": use f32, f16, int8 or matrix",
                         options->arithmetic);
    }
    options->tiers_forced |= *tier == VK_TIER_integer_dot ? 1u << *tier : 0;
    return true;
}

static bool set_arithmetic(struct vk_physical *physical, const char *name, uint32_t arithmetic,
                           enum vk_tier tier, struct error *err)
{
    if (arithmetic && tier != VK_N_TIERS && !vk_caps_has(&physical->caps, tier)) {
        return error_set(err,
                         "%s has no %s (or it is known to fail), which the arithmetic %s needs",
                         physical->info.name, vk_tier_name(tier), name);
    }
    if (arithmetic) {
        struct vk_tuning *tuning = &physical->caps.tuning;
        tuning->matmul_arithmetic = arithmetic;
        tuning->matvec_arithmetic = arithmetic == 4 ? 4 : 1;
    }
    return true;
}

struct backend *vk_backend_create(const struct vk_options *asked, struct error *err)
{
    struct vk_options resolved = *asked, *options = &resolved;
    uint32_t arithmetic;
    enum vk_tier tier;
    if (!find_arithmetic(options, &arithmetic, &tier, err)) {
        return NULL;
    }
    struct vk_backend *backend = calloc(1, sizeof(*backend));
    char *folder = options->cache_folder ? strdup(options->cache_folder) : NULL;
    if (!backend || (options->cache_folder && !folder)) {
        free(backend);
        free(folder);
        error_set(err, "not enough memory for the Vulkan back end");
        return NULL;
    }
    backend->cache_folder = folder;
    if (!vk_device_open(&backend->device, options->device, options->validation, VK_TO_RUN, err)) {
        free(folder);
        free(backend);
        return NULL;
    }
    if (!vk_verdict_apply(&backend->device.physical, options, folder, err)) {
        vk_device_close(&backend->device);
        free(folder);
        free(backend);
        return NULL;
    }
    backend->base.functions = &functions;
    snprintf(backend->base.name, sizeof(backend->base.name), "%.127s",
             backend->device.physical.info.name);
    /* Small experts gain up to there on GPUs; a CPU's caches hold no more. */
    backend->base.chunk = backend->device.physical.info.kind == VK_DEVICE_SOFTWARE ? 512 : 2048;
    backend->memory.limit = options->memory_limit;
    backend->memory.force_staging = options->force_staging;
    backend->no_timestamps = options->no_timestamps;
    if (options->tuning) {
        backend->device.physical.caps.tuning = *options->tuning;
    } else {
        vk_tuning_load(backend);
    }
    backend->base.expert_wide = backend->device.physical.caps.tuning.expert_wide;
    bool software = backend->device.physical.info.kind == VK_DEVICE_SOFTWARE;
    backend->segment_seconds = options->segment_seconds > 0 ? options->segment_seconds
                               : software                   ? (double)INFINITY
                                                            : SEGMENT_SECONDS;
    if (!set_arithmetic(&backend->device.physical, options->arithmetic, arithmetic, tier, err) ||
        !vk_commands_init(backend, err) ||
        !vk_pipelines_init(&backend->device, &backend->pipelines, folder, err)) {
        destroy(&backend->base);
        return NULL;
    }
    return &backend->base;
}

uint32_t vk_backend_validation_messages(struct backend *backend, char *first, uint32_t first_bytes)
{
    if (backend->functions != &functions) {
        return 0;
    }
    const struct vk_messages *messages = &of(backend)->device.instance.messages;
    if (first && first_bytes) {
        snprintf(first, first_bytes, "%s", messages->first);
    }
    return messages->n;
}

bool vk_backend_tune(struct backend *backend, struct vk_tuned tuned[VK_TUNING_COUNT],
                     struct error *err)
{
    if (backend->functions != &functions) {
        return error_set(err, "%s has no sizes of kernels to try: name a Vulkan device",
                         backend->name);
    }
    bool ok = vk_device_alive(&of(backend)->device, err) && vk_tune(of(backend), tuned, err);
    backend->expert_wide = of(backend)->device.physical.caps.tuning.expert_wide;
    return ok;
}

void vk_backend_products(struct backend *backend, bool *float16, bool *int8, bool *int8_vector)
{
    const struct vk_caps *caps = &of(backend)->device.physical.caps;
    assert(backend->functions == &functions);
    *int8 = vk_product_packs(caps, VK_PACK_INT8);
    *int8_vector = vk_product_packs_one(caps);
    *float16 = vk_product_packs(caps, VK_PACK_FLOAT16);
}
