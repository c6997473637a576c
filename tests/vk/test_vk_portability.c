/* Every pipeline compiles on five generations of AMD GPUs: Mesa's RADV compiles for a GPU it is
 * told of, without one. None may spill a register. What it tells of every shader goes to
 * vk_report_<family>.txt in the folder VK_REPORT_FOLDER names, or in a temporary one. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vk/vk.h"
#include "engine/vk/vk_caps.h"
#include "engine/vk/vk_ops.h"
#include "tests/check.h"

struct family {
    char name[16];
};

ParameterizedTestParameters(vk_portability, every_shader_compiles)
{
    static struct family families[] = {
        {"POLARIS10"}, {"VEGA10"}, {"NAVI10"}, {"NAVI21"}, {"GFX1100"}};
    return cr_make_param_array(struct family, families, 5);
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

ParameterizedTest(struct family *family, vk_portability, every_shader_compiles)
{
    const char *folder = getenv("VK_REPORT_FOLDER");
    const char *driver = getenv("VK_ICD_FILENAMES");
    char name[64], *text;
    struct error err = {{0}};
    if (!driver || !strstr(driver, "radeon")) {
        cr_skip("the RADV driver is not installed");
    }
    setenv("RADV_FORCE_FAMILY", family->name, 1);
    setenv("MESA_SHADER_CACHE_DISABLE", "true", 1);
    snprintf(name, sizeof(name), "vk_report_%s.txt", family->name);
    const char *path = check_path(folder ? folder : check_temp_dir(), name);
    FILE *report = fopen(path, "w");
    cr_assert(report, "%s cannot be written", path);
    int n = vk_compile_all(0, report, &err);
    fclose(report);
    cr_assert_gt(n, 0, "%s: %s", family->name, err.text);
    text = check_read_file(path, NULL);
    cr_assert(text);
    uint32_t tiers = tiers_there(), n_shaders = 0;
    for (uint32_t i = 0; i < vk_n_shaders; i++) {
        char line[96];
        if (vk_shaders[i].tiers & ~tiers) {
            continue;
        }
        n_shaders++;
        snprintf(line, sizeof(line), "\n%s (", vk_shaders[i].name);
        cr_expect_not_null(strstr(text, line), "%s is missing", vk_shaders[i].name);
    }
    cr_expect(strcasestr(text, family->name), "not the family asked for: %.80s", text);
    print_summary(family->name, text, n_shaders);
    free(text);
}
