/* Every pipeline compiles on six generations of AMD GPUs: Mesa's RADV, up to version 25.2, compiles
 * for a GPU it is told of, without one; those of its time, so Mesa 22 knows five. None may spill a
 * register. What it tells of every shader goes to vk_report_<family>.txt in the folder
 * VK_REPORT_FOLDER names, or in a temporary one. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/vk/vk.h"
#include "engine/vk/vk_caps.h"
#include "engine/vk/vk_ops.h"
#include "tests/check.h"

struct family {
    char name[16], other_name[16]; /* as newer and older versions call it */
};

ParameterizedTestParameters(vk_portability, every_shader_compiles)
{
    static struct family families[] = {{"POLARIS10", ""}, {"VEGA10", ""},        {"NAVI10", ""},
                                       {"NAVI21", ""},    {"NAVI31", "GFX1100"}, {"GFX1201", ""}};
    return cr_make_param_array(struct family, families, 6);
}

/* Whether the driver plays a device of that name: asked in a process of its own, for Mesa 22
 * crashes at a name that it does not know. */
static bool plays(const char *name)
{
    setenv("RADV_FORCE_FAMILY", name, 1);
    pid_t child = name[0] ? fork() : -1;
    if (child == 0) {
        struct vk_device_info devices[VK_MAX_DEVICES];
        uint32_t n = 0;
        _exit(vk_list_devices(devices, &n, NULL) && n == 1 ? 0 : 1);
    }
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* Tiers that the only device has. */
static uint32_t tiers_there(void)
{
    struct vk_device_info devices[VK_MAX_DEVICES];
    uint32_t n = 0, tiers = 0;
    cr_assert(vk_list_devices(devices, &n, NULL) && n == 1);
#define X(tier, name) tiers |= devices[0].tier ? 1u << VK_TIER_##tier : 0u;
    VK_TIERS(X)
#undef X
    return tiers;
}

/* The number after a statistic's name in a line of the report; it must be there. */
static uint64_t statistic(const char *line, const char *name)
{
    const char *found = strstr(line, name);
    cr_assert(found, "no %s in: %s", name, line);
    return strtoull(found + strlen(name), NULL, 10);
}

static void print_summary(const char *family, char *text, uint32_t n_shaders)
{
    uint64_t spilled = 0, most_registers = 0;
    uint32_t n = 0;
    char *rest = text;
    strtok_r(text, "\n", &rest); /* the device */
    for (char *line; (line = strtok_r(NULL, "\n", &rest)); n++) {
        uint64_t registers = statistic(line, ", VGPRs ");
        uint64_t spills = statistic(line, "Spilled SGPRs ") + statistic(line, "Spilled VGPRs ");
        most_registers = registers > most_registers ? registers : most_registers;
        spilled += spills > 0;
        if (spills > 0) {
            printf("%s spills: %s\n", family, line);
        }
    }
    printf("%s: %u pipelines, at most %lu vector registers, %lu with spills\n", family, n,
           most_registers, spilled);
    cr_expect_geq(n, n_shaders);
    cr_expect_eq(spilled, 0);
}

/* Returns how many of a table's shaders the tiers can run, after it has looked for them. */
static uint32_t expect_reported(const struct vk_shader *shaders, uint32_t n, uint32_t tiers,
                                const char *text)
{
    uint32_t n_expected = 0;
    for (uint32_t i = 0; i < n; i++) {
        char line[96];
        if (!(shaders[i].tiers & ~tiers)) {
            n_expected++;
            snprintf(line, sizeof(line), "\n%s (", shaders[i].name);
            cr_expect_not_null(strstr(text, line), "%s is missing", shaders[i].name);
        }
    }
    return n_expected;
}

ParameterizedTest(struct family *family, vk_portability, every_shader_compiles)
{
    const char *folder = getenv("VK_REPORT_FOLDER");
    const char *driver = getenv("VK_ICD_FILENAMES");
    char name[64], *text;
    struct error err = {{0}};
    if (!driver || !strstr(driver, "radeon")) {
        cr_skip("the RADV driver is not installed");
    }
    setenv("MESA_SHADER_CACHE_DISABLE", "true", 1);
    const char *played = plays(family->name) ? family->name : family->other_name;
    if (played == family->other_name && !plays(played)) {
        cr_skip("this driver does not know %s, or plays no devices", family->name);
    }
    snprintf(name, sizeof(name), "vk_report_%s.txt", family->name);
    const char *path = check_path(folder ? folder : check_temp_dir(), name);
    FILE *report = fopen(path, "w");
    cr_assert(report, "%s cannot be written", path);
    int n = vk_compile_all(0, report, &err);
    fclose(report);
    cr_assert_gt(n, 0, "%s: %s", family->name, err.text);
    text = check_read_file(path, NULL);
    cr_assert(text);
    uint32_t tiers = tiers_there(), n_archived;
    const struct vk_shader *archived = vk_archive_shaders(&n_archived);
    uint32_t n_shaders = expect_reported(vk_shaders, vk_n_shaders, tiers, text) +
                         expect_reported(archived, n_archived, tiers, text);
    cr_expect(strcasestr(text, played), "not the family asked for: %.80s", text);
    print_summary(family->name, text, n_shaders);
    free(text);
}
