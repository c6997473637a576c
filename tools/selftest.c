/* moxie selftest: every op on the user's own device, with every tier and without. */
#include "tools/selftest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/vk/vk.h"
#include "tools/interrupt.h"
#include "tools/tool.h"

#define GPU_ONE_CASE_IN 4
#define SLOW_ONE_CASE_IN 20 /* on processors, software drivers included */
#define QUICK_ONE_CASE_IN 40

struct selftest_options {
    const char *device;
    uint32_t seconds;
    bool quick, json, no_cache;
};

static bool check(const struct selftest_options *options, struct selftest_device *device,
                  struct check_tiers_result *result, struct error *err)
{
    struct progress progress = {.title = device->name, .unit = "ops"};
    bool slow = !device->vulkan || device->software;
    struct check_tiers_request request = {
        .open = selftest_device_open,
        .context = device,
        .has = device->has,
        .one_case_in = options->quick ? QUICK_ONE_CASE_IN
                       : slow         ? SLOW_ONE_CASE_IN
                                      : GPU_ONE_CASE_IN,
        .quick = options->quick,
        .seconds = options->seconds,
        .progress = interrupt_progress,
        .progress_context = &progress,
    };
    bool ok = check_tiers_run(&request, result, err);
    progress_finish(&progress);
    return ok;
}

static const char *verdict_text(const struct selftest_device *device,
                                const struct check_tiers_result *result, char text[640])
{
    char tiers[256];
    if (result->n_failed == 0) {
        snprintf(text, 640, "ok%s", result->n_unreached ? " as far as the time allowed" : "");
    } else if (result->unusable) {
        snprintf(text, 640, "failed: the device cannot be used");
    } else if (result->tiers_off) {
        snprintf(text, 640, "failed: runs without %s",
                 selftest_tiers_text(device, result->tiers_off, tiers));
    } else {
        snprintf(text, 640, "failed: only where tiers are switched off by hand");
    }
    size_t used = strlen(text);
    for (uint32_t i = 0; i < result->n_failures && used < 600; i++) {
        used += (size_t)snprintf(text + used, 640 - used, "%s%s", i ? ", " : " (",
                                 op_name(result->failures[i].kind));
    }
    if (result->n_failures > 0 && used < 639) {
        snprintf(text + used, 640 - used, ")");
    }
    return text;
}

static void print_text(const struct selftest_device *device,
                       const struct check_tiers_result *result)
{
    char tiers[256], verdict[640];
    printf("moxie %s | %s | %s%s%s | %" PRIu32 " check%s, %" PRIu32 " set%s of tiers | %s\n",
           MOXIE_VERSION, device->name, device->driver, device->driver[0] ? " | " : "",
           selftest_tiers_text(device, device->has, tiers), result->n_checks,
           result->n_checks == 1 ? "" : "s", result->n_sets, result->n_sets == 1 ? "" : "s",
           verdict_text(device, result, verdict));
    for (uint32_t i = 0; i < device->n_faults; i++) {
        printf("known fault of this driver: %s\n", device->faults[i]);
    }
    for (uint32_t i = 0; i < result->n_failures; i++) {
        printf("with %s: %s\n", selftest_tiers_text(device, result->failures[i].tiers, tiers),
               result->failures[i].sentence);
    }
}

static json_t *failures_json(const struct selftest_device *device,
                             const struct check_tiers_result *result)
{
    char tiers[256];
    json_t *list = json_array();
    for (uint32_t i = 0; i < result->n_failures; i++) {
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s}", "op", op_name(result->failures[i].kind), "tiers",
                            selftest_tiers_text(device, result->failures[i].tiers, tiers),
                            "sentence", result->failures[i].sentence));
    }
    return list;
}

static void print_json(const struct selftest_device *device,
                       const struct check_tiers_result *result)
{
    char has[256], off[256];
    json_t *faults = json_array();
    for (uint32_t i = 0; i < device->n_faults; i++) {
        json_array_append_new(faults, json_string(device->faults[i]));
    }
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:o, s:o}", "version", MOXIE_VERSION,
        "device", device->name, "driver", device->driver, "tiers",
        selftest_tiers_text(device, device->has, has), "tiers_off",
        selftest_tiers_text(device, result->tiers_off, off), "ok", (int)(result->n_failed == 0),
        "usable", (int)!result->unusable, "checks", (json_int_t)result->n_checks, "sets",
        (json_int_t)result->n_sets, "failed", (json_int_t)result->n_failed, "failures",
        failures_json(device, result), "known_faults", faults);
    char *text = json_dumps(object, JSON_COMPACT);
    printf("%s\n", text ? text : "{}");
    free(text);
    json_decref(object);
}

/* A shorter run acquits nothing of what a longer one found. */
static void keep_verdict(const struct selftest_device *device,
                         const struct check_tiers_result *result)
{
    char path[CACHE_FOLDER_BYTES], tiers[256];
    const char *folder = cache_folder(path);
    struct vk_verdict verdict = {result->tiers_off, result->unusable, result->n_checks}, before;
    if (vk_verdict_read(device->index, folder, &before) && before.n_checks > verdict.n_checks) {
        uint32_t more = before.tiers_off & ~verdict.tiers_off;
        if (more || (before.unusable && !verdict.unusable)) {
            fprintf(stderr,
                    "moxie selftest: %s stays unused: an earlier run with %" PRIu32 " checks found "
                    "it to be wrong, and only one of as many can tell otherwise\n",
                    before.unusable ? device->name : selftest_tiers_text(device, more, tiers),
                    before.n_checks);
        }
        verdict.tiers_off |= before.tiers_off;
        verdict.unusable = verdict.unusable || before.unusable;
        verdict.n_checks = before.n_checks;
    }
    vk_verdict_write(device->index, folder, &verdict);
}

static int run(const struct selftest_options *options)
{
    struct error err;
    struct selftest_device device;
    struct check_tiers_result result;
    if (!selftest_device_find(options->device, &device, &err) ||
        !check(options, &device, &result, &err)) {
        return tool_fail("selftest", err.text);
    }
    if (result.n_checks == 0) {
        return tool_fail("selftest",
                         "no time was left for a single check: give it more (--seconds)");
    }
    if (device.vulkan && !options->no_cache) {
        keep_verdict(&device, &result);
    }
    if (options->json) {
        print_json(&device, &result);
    } else {
        print_text(&device, &result);
    }
    return result.n_failed == 0 ? 0 : EXIT_FAILED;
}

int tool_selftest(int argc, char **argv)
{
    struct selftest_options options = {.seconds = 110};
    const struct option rows[] = {
        {"--device", "-d", OPTION_TEXT, &options.device, "D",
         "auto, cpu, vulkan or vulkan:N (default auto: a real GPU, else the CPU)"},
        {"--quick", NULL, OPTION_FLAG, &options.quick, NULL,
         "a few checks with all tiers only, as at the first start on a GPU"},
        {"--seconds", NULL, OPTION_U32, &options.seconds, "N", "about so long at most (110)"},
        {"--json", NULL, OPTION_FLAG, &options.json, NULL, "one JSON object"},
        {"--no-cache", NULL, OPTION_FLAG, &options.no_cache, NULL, "the verdict is not kept"},
        {0}};
    const struct usage usage = {
        .synopsis = "moxie selftest [--device D] [--quick] [--json]",
        .text =
            "Checks every operation on the device and its driver against plain arithmetic: with\n"
            "all it can do (its tiers), with each tier switched off, and with none. Prints one "
            "line\n"
            "to paste into a report, and what failed below it. The verdict is kept: a tier that\n"
            "computes wrongly is not used again until the driver or this program changes. Exit\n"
            "code 1 if anything failed.",
        .options = rows,
    };
    char **arguments;
    uint32_t n_arguments;
    int status = options_parse(&usage, argc, argv, &arguments, &n_arguments);
    if (status >= 0) {
        return status;
    }
    interrupt_catch();
    return run(&options);
}
