/* moxie devices: what can compute here. */
#include <inttypes.h>
#include <stdio.h>

#include <jansson.h>

#include "engine/moxie.h"
#include "tools/tool.h"

#define MAX_DEVICES 32

static const char *kind_text(enum moxie_device_kind kind)
{
    switch (kind) {
    case MOXIE_DEVICE_CPU:
        return "CPU";
    case MOXIE_DEVICE_DISCRETE:
        return "GPU";
    case MOXIE_DEVICE_INTEGRATED:
        return "integrated GPU";
    case MOXIE_DEVICE_VIRTUAL:
        return "virtual GPU";
    case MOXIE_DEVICE_SOFTWARE:
        return "software";
    }
    return "?";
}

static void print_text(const struct moxie_device *device)
{
    char memory[32];
    printf("%-10s %s (%s, %s)\n", device->id, device->name, kind_text(device->kind),
           bytes_text(device->memory_bytes, memory));
    if (device->driver[0]) {
        printf("           driver %s, Vulkan %u.%u.%u, subgroups of %" PRIu32 "\n", device->driver,
               device->api_version >> 22 & 127, device->api_version >> 12 & 1023,
               device->api_version & 4095, device->subgroup_size);
    }
    printf("           %s%s\n", device->usable ? "" : "cannot be used: ", device->note);
}

static json_t *device_json(const struct moxie_device *device)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:s, s:I, s:i}", "id", device->id, "name",
                     device->name, "driver", device->driver, "kind", kind_text(device->kind),
                     "usable", (int)device->usable, "note", device->note, "memory_bytes",
                     (json_int_t)device->memory_bytes, "subgroup_size", (int)device->subgroup_size);
}

int tool_devices(int argc, char **argv)
{
    bool json = false;
    const struct option options[] = {{"--json", NULL, OPTION_FLAG, &json, NULL, "as JSON"}, {0}};
    const struct usage usage = {
        .synopsis = "moxie devices [--json]",
        .text = "Lists the devices that --device can name, with what each can do.",
        .options = options};
    char **arguments;
    uint32_t n;
    int status = options_parse(&usage, argc, argv, &arguments, &n);
    if (status >= 0) {
        return status;
    }
    static struct moxie_device devices[MAX_DEVICES];
    struct moxie_error vulkan;
    uint32_t found = moxie_devices(devices, MAX_DEVICES, &vulkan);
    json_t *list = json_array();
    for (uint32_t i = 0; i < found && i < MAX_DEVICES; i++) {
        if (json) {
            json_array_append_new(list, device_json(&devices[i]));
        } else {
            print_text(&devices[i]);
        }
    }
    if (json) {
        json_t *all = json_pack("{s:O}", "devices", list);
        json_dumpf(all, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
        printf("\n");
        json_decref(all);
    } else if (vulkan.text[0]) {
        printf("Vulkan: %s\n", vulkan.text);
    }
    json_decref(list);
    return 0;
}
