/* Which tiers a device is used with: masked off, known faults, the verdict of a selftest. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vk/vk_driver_faults.h"
#include "engine/vk/vk_internal.h"
#include "tests/check.h"

static const char *folder(void)
{
    return check_temp_dir();
}

static struct vk_tiers tiers_of_first(void)
{
    struct vk_tiers tiers;
    if (!vk_tiers_of(0, &tiers)) {
        cr_skip("there is no Vulkan device");
    }
    return tiers;
}

/* The tiers that a back end made like that would use. */
static uint32_t used_tiers(const struct vk_options *options)
{
    struct error err;
    struct backend *backend = vk_backend_create(options, &err);
    cr_assert(backend, "%s", err.text);
    const struct vk_caps *caps = &((struct vk_backend *)backend)->device.physical.caps;
    uint32_t used = 0;
#define X(tier, name) used |= caps->tier ? 1u << VK_TIER_##tier : 0;
    VK_TIERS(X)
#undef X
    backend->functions->destroy(backend);
    return used;
}

Test(vk_verdict, tiers_can_be_masked_off)
{
    struct vk_tiers tiers = tiers_of_first();
    cr_expect_eq(used_tiers(&(struct vk_options){0}), tiers.has);
    cr_expect_eq(used_tiers(&(struct vk_options){.tiers_off = VK_ALL_TIERS}), 0);
    for (uint32_t tier = 0; tier < VK_N_TIERS; tier++) {
        cr_expect_eq(used_tiers(&(struct vk_options){.tiers_off = 1u << tier}),
                     tiers.has & ~(1u << tier), "%s", vk_tier_name(tier));
    }
    cr_expect_null(vk_tier_name(VK_N_TIERS));
}

Test(vk_verdict, a_verdict_is_kept_and_heeded)
{
    struct vk_tiers tiers = tiers_of_first();
    struct vk_verdict verdict;
    cr_expect_not(vk_verdict_read(0, folder(), &verdict), "none yet");
    cr_expect_not(vk_verdict_read(0, NULL, &verdict), "nowhere");
    cr_expect_not(vk_verdict_write(99, folder(), &verdict), "no such device");
    uint32_t off = tiers.has & -tiers.has; /* the lowest it has */
    cr_assert(vk_verdict_write(0, folder(), &(struct vk_verdict){off, false, 77}));
    cr_assert(vk_verdict_read(0, folder(), &verdict));
    cr_expect_eq(verdict.tiers_off, off);
    cr_expect_eq(verdict.n_checks, 77);
    cr_expect_eq(used_tiers(&(struct vk_options){.cache_folder = folder()}), tiers.has & ~off);
    cr_expect_eq(used_tiers(&(struct vk_options){0}), tiers.has, "without a folder");
}

Test(vk_verdict, an_unusable_device_is_refused)
{
    struct error err;
    tiers_of_first();
    cr_assert(vk_verdict_write(0, folder(), &(struct vk_verdict){.unusable = true}));
    cr_expect_null(vk_backend_create(&(struct vk_options){.cache_folder = folder()}, &err));
    cr_expect(strstr(err.text, "selftest"), "%s", err.text);
    cr_assert(vk_verdict_write(0, folder(), &(struct vk_verdict){0}));
    used_tiers(&(struct vk_options){.cache_folder = folder()});
}

static const char *verdict_path(void)
{
    static char path[512];
    DIR *dir = opendir(folder());
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (strncmp(entry->d_name, "verdict", 7) == 0) {
            snprintf(path, sizeof(path), "%s/%s", folder(), entry->d_name);
        }
    }
    closedir(dir);
    return path;
}

/* Cut off anywhere, or with any byte changed, it is as if there were none. */
Test(vk_verdict, a_damaged_file_says_nothing)
{
    tiers_of_first();
    struct vk_verdict verdict;
    cr_assert(vk_verdict_write(0, folder(), &(struct vk_verdict){.unusable = true}));
    size_t bytes;
    char *data = check_read_file(verdict_path(), &bytes);
    cr_assert(data);
    for (size_t i = 0; i < bytes; i += i + 8 < bytes ? 7 : 1) {
        data[i] ^= 0x10;
        cr_assert(check_write_file(verdict_path(), data, bytes));
        cr_expect_not(vk_verdict_read(0, folder(), &verdict), "byte %zu changed", i);
        data[i] ^= 0x10;
    }
    for (size_t length = 0; length < bytes; length += 9) {
        cr_assert(check_write_file(verdict_path(), data, length));
        cr_expect_not(vk_verdict_read(0, folder(), &verdict), "%zu bytes", length);
    }
    cr_assert(check_write_file(verdict_path(), data, bytes));
    cr_expect(vk_verdict_read(0, folder(), &verdict), "undamaged");
    free(data);
}

static uint32_t faults_of(const struct vk_driver_key *key)
{
    const struct vk_driver_fault *fault;
    uint32_t index = 0, off = 0;
    while ((fault = vk_driver_faults_next(key, &index))) {
        off |= fault->tiers_off;
        cr_expect_gt(strlen(fault->what), 20);
    }
    return off;
}

Test(vk_verdict, known_faults_are_found_by_vendor_device_and_driver)
{
    const uint32_t matrix = 1u << VK_TIER_cooperative_matrix;
    struct vk_driver_key turing = {0x10DE, 0x1F08, VK_DRIVER_ID_NVIDIA_PROPRIETARY, 1};
    struct vk_driver_key ampere = {0x10DE, 0x2504, VK_DRIVER_ID_NVIDIA_PROPRIETARY, 1};
    struct vk_driver_key nvk = {0x10DE, 0x1F08, VK_DRIVER_ID_MESA_NVK, 1};
    struct vk_driver_key other = {0x1002, 0x1F08, VK_DRIVER_ID_MESA_RADV, 1};
    struct vk_driver_key mali = {0x13B5, 0xA8670000, VK_DRIVER_ID_ARM_PROPRIETARY, 1};
    cr_expect_eq(faults_of(&turing), matrix);
    cr_expect_eq(faults_of(&ampere), 0);
    cr_expect_eq(faults_of(&nvk), 0);
    cr_expect_eq(faults_of(&other), 0);
    cr_expect(faults_of(&mali) & 1u << VK_TIER_subgroup_arithmetic);
}
