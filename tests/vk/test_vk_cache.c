/* What is kept from one start to the next: handed back to the driver if it is undamaged and of this
 * device, and never the reason for a failed start. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vk/vk_internal.h"
#include "tests/check.h"

static struct vk_functions real;
static size_t handed_over; /* bytes, to the last pipeline cache that was made */
static size_t handed_out;  /* bytes, by the driver when it was last asked */
static bool refuse_data;

static VkResult VKAPI_PTR note_cache(VkDevice device, const VkPipelineCacheCreateInfo *info,
                                     const VkAllocationCallbacks *callbacks, VkPipelineCache *cache)
{
    handed_over = info->initialDataSize;
    if (refuse_data && info->initialDataSize > 0) {
        return VK_ERROR_INITIALIZATION_FAILED;
    }
    return real.CreatePipelineCache(device, info, callbacks, cache);
}

static VkResult VKAPI_PTR note_data(VkDevice device, VkPipelineCache cache, size_t *bytes,
                                    void *data)
{
    VkResult result = real.GetPipelineCacheData(device, cache, bytes, data);
    handed_out = *bytes;
    return result;
}

static void replace(struct vk_functions *vk)
{
    if (vk->CreatePipelineCache && vk->CreatePipelineCache != note_cache) {
        real = *vk;
        vk->CreatePipelineCache = note_cache;
        vk->GetPipelineCacheData = note_data;
    }
}

static const char *folder;

/* Makes a back end, compiles `n_sizes` variants of a kernel and destroys it. */
static void start(uint32_t n_sizes)
{
    struct error err = {{0}};
    vk_loader_set_hooks(NULL, replace);
    struct backend *backend = vk_backend_create(&(struct vk_options){.cache_folder = folder}, &err);
    if (!backend) {
        cr_skip("%s", err.text);
    }
    struct vk_backend *inside = (struct vk_backend *)backend;
    struct vk_plan plans[4];
    VkPipeline pipelines[4];
    for (uint32_t i = 0; i < n_sizes; i++) {
        plans[i] = (struct vk_plan){.shader = "rms_norm",
                                    .groups = {1, 1, 1},
                                    .n_constants = 1,
                                    .constants = {UINT32_C(16) << i}};
    }
    cr_assert(
        vk_pipelines_get(&inside->device, &inside->pipelines, plans, n_sizes, pipelines, &err),
        "%s", err.text);
    for (uint32_t i = 0; i < n_sizes; i++) {
        for (uint32_t j = 0; j < i; j++) {
            cr_expect_neq(pipelines[i], pipelines[j]);
        }
        cr_expect_neq(pipelines[i], VK_NULL_HANDLE);
    }
    backend->functions->destroy(backend);
}

/* Lavapipe of Mesa 26 hands out 20 bytes, less than Vulkan's own header. */
static void need_data(void)
{
    if (handed_out < sizeof(VkPipelineCacheHeaderVersionOne)) {
        cr_skip("the driver's caches hold nothing");
    }
}

/* The one file whose name begins like that. */
static bool find_file(const char *prefix, char *path, size_t bytes)
{
    DIR *dir = opendir(folder);
    bool found = false;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0) {
            cr_expect_not(found, "two files: %s", entry->d_name);
            snprintf(path, bytes, "%s/%s", folder, entry->d_name);
            found = true;
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

static void make_folder(void)
{
    static char name[4096];
    snprintf(name, sizeof(name), "%s/cache", check_temp_dir());
    folder = name;
}

TestSuite(vk_cache, .init = make_folder);

Test(vk_cache, pipelines_are_kept)
{
    char path[8192];
    start(1);
    cr_expect_eq(handed_over, 0, "there was nothing");
    need_data();
    cr_assert(find_file("pipelines-", path, sizeof(path)));
    start(4);
    cr_expect_gt(handed_over, 0);
    start(4);
    cr_expect_gt(handed_over, 0);
    refuse_data = true; /* a driver that does not like them */
    start(4);
    cr_expect_eq(handed_over, 0);
}

Test(vk_cache, no_folder_keeps_nothing)
{
    folder = NULL;
    start(2);
    start(2);
    cr_expect_eq(handed_over, 0);
}

Test(vk_cache, a_folder_that_cannot_be_is_no_error)
{
    cr_assert(check_write_file(folder, "a file", 6));
    start(2);
    start(2);
    cr_expect_eq(handed_over, 0);
    folder = "/proc/no-such-place/moxie";
    start(1);
    cr_expect_eq(handed_over, 0);
}

Test(vk_cache, damaged_files_are_not_handed_over)
{
    char path[8192];
    size_t bytes;
    struct check_random random = {3};
    start(2);
    need_data();
    cr_assert(find_file("pipelines-", path, sizeof(path)));
    char *content = check_read_file(path, &bytes);
    for (int i = 0; i < 24; i++) {
        size_t n = bytes;
        char *damaged = malloc(bytes + 1);
        memcpy(damaged, content, bytes);
        damaged[bytes] = 0;
        if (i % 3 == 0) {
            n = check_random_u64(&random) % bytes;
        } else if (i % 3 == 1) {
            damaged[check_random_u64(&random) % bytes] ^=
                (char)(1 + check_random_below(&random, 255));
        } else {
            n = bytes + 1;
        }
        cr_assert(check_write_file(path, damaged, n));
        start(0);
        cr_expect_eq(handed_over, 0, "%zu of %zu bytes", n, bytes);
        free(damaged);
    }
    cr_assert(check_write_file(path, content, bytes));
    start(0);
    cr_expect_gt(handed_over, 0, "undamaged again");
    free(content);
}

Test(vk_cache, vulkans_own_header_must_fit)
{
    struct check_random random = {4};
    struct vk_identity identity = {.vendor_id = 0x1002, .device_id = 0x73bf};
    VkPipelineCacheHeaderVersionOne header = {.headerSize = sizeof(header),
                                              .headerVersion = VK_PIPELINE_CACHE_HEADER_VERSION_ONE,
                                              .vendorID = 0x1002,
                                              .deviceID = 0x73bf};
    uint8_t data[sizeof(header) + 100] = {0};
    for (uint32_t i = 0; i < VK_UUID_SIZE; i++) {
        identity.pipeline_cache[i] = header.pipelineCacheUUID[i] =
            (uint8_t)check_random_u64(&random);
    }
    memcpy(data, &header, sizeof(header));
    cr_expect(vk_pipeline_cache_fits(&identity, data, sizeof(data)));
    cr_expect(vk_pipeline_cache_fits(&identity, data, sizeof(header)));
    for (size_t n = 0; n < sizeof(header); n++) {
        cr_expect_not(vk_pipeline_cache_fits(&identity, data, n), "%zu bytes", n);
    }
    for (size_t i = 4; i < sizeof(header); i++) { /* all but the size are to be equal */
        data[i] ^= 0x40;
        cr_expect_not(vk_pipeline_cache_fits(&identity, data, sizeof(data)), "byte %zu", i);
        data[i] ^= 0x40;
    }
    static const uint32_t sizes[] = {0, 31, sizeof(data) + 1, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        memcpy(data, &sizes[i], 4);
        cr_expect_not(vk_pipeline_cache_fits(&identity, data, sizeof(data)), "size %u", sizes[i]);
    }
}
