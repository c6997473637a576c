/* Finding better sizes of a GPU's kernels, for moxie.h. */

#include "engine/device.h"
#include "engine/moxie_internal.h"
#include "engine/vk/vk.h"

_Static_assert(MOXIE_TUNED_ROWS >= VK_TUNING_COUNT, "room for every row");

bool moxie_tune(const struct moxie_options *options, struct moxie_tuned rows[MOXIE_TUNED_ROWS],
                uint32_t *n, struct moxie_error *out)
{
    struct error err = {0};
    struct vk_tuned tuned[VK_TUNING_COUNT];
    struct device_request request = {.device = options->device,
                                     .memory_limit = options->device_memory,
                                     .cache_folder = options->cache_folder,
                                     .threads = options->threads,
                                     .validation = options->validation};
    *n = 0;
    struct backend *backend = device_open(&request, &err);
    bool ok = backend && vk_backend_tune(backend, tuned, &err);
    for (uint32_t i = 0; ok && i < VK_TUNING_COUNT; i++) {
        const struct vk_tuning_row *row = &vk_tuning_rows[tuned[i].row];
        rows[(*n)++] = (struct moxie_tuned){.name = row->name,
                                            .meaning = row->meaning,
                                            .before = tuned[i].before,
                                            .after = tuned[i].after,
                                            .speedup = tuned[i].speedup};
    }
    if (backend) {
        backend->functions->destroy(backend);
    }
    return ok || moxie_error_export(out, &err);
}
