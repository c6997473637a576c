#include "tools/selftest.h"

#include <stdio.h>

#include "engine/vk/vk.h"
#include "tools/interrupt.h"
#include "tools/tool.h"

#define ONE_CASE_IN 40 /* a few cases of every type and op */
#define SECONDS 10.0

/* What to do, told once. */
static void tell(const char *tool, const struct selftest_device *device,
                 const struct check_tiers_result *result)
{
    char text[256];
    if (result->unusable) {
        fprintf(stderr,
                "moxie %s: %s computes wrongly with this driver (%s), so it will not be used: "
                "moxie selftest tells what fails; a newer driver may help\n",
                tool, device->name, device->driver);
    } else if (result->tiers_off) {
        fprintf(stderr,
                "moxie %s: %s computes wrongly with %s (driver %s), so it runs without: moxie "
                "selftest tells what fails; a newer driver may help\n",
                tool, device->name, selftest_tiers_text(device, result->tiers_off, text),
                device->driver);
    }
}

void selftest_start(const char *tool, const char *device, const char *cache_folder)
{
    struct selftest_device found;
    struct vk_verdict verdict;
    struct check_tiers_result result;
    struct error err;
    if (!cache_folder || !selftest_device_find(device, &found, &err) || !found.vulkan ||
        found.software || vk_verdict_read(found.index, cache_folder, &verdict)) {
        return;
    }
    struct progress progress = {.title = "first start on this GPU: checking it", .unit = "ops"};
    struct check_tiers_request request = {.open = selftest_device_open,
                                          .context = &found,
                                          .has = found.has,
                                          .one_case_in = ONE_CASE_IN,
                                          .quick = true,
                                          .seconds = SECONDS,
                                          .progress = interrupt_progress,
                                          .progress_context = &progress};
    bool ran = check_tiers_run(&request, &result, &err);
    progress_finish(&progress);
    if (!ran) {
        return; /* opening the model will say why */
    }
    verdict = (struct vk_verdict){result.tiers_off, result.unusable, result.n_checks};
    vk_verdict_write(found.index, cache_folder, &verdict);
    tell(tool, &found, &result);
}
