/* What can be wrong with a machine, simulated by replacing Vulkan functions: no loader, no driver,
 * a device below the floor, little memory, every function that can fail failing in turn, a lost
 * device. Each must end in one sentence, with nothing left behind; and a GPU with memory of its own
 * is played on a driver that has none. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vk/vk_internal.h"
#include "tests/check.h"
#include "tests/vk/sum_op.h"

/* ---- functions that count their calls, and fail at the one we choose ---- */

/* X(name, parameters, arguments, what it makes (+1) or not (0)) */
#define FALLIBLE(X) \
    X(CreateCommandPool, \
      (VkDevice a, const VkCommandPoolCreateInfo *b, const VkAllocationCallbacks *c, \
       VkCommandPool *d), \
      (a, b, c, d), 1) \
    X(CreateSemaphore, \
      (VkDevice a, const VkSemaphoreCreateInfo *b, const VkAllocationCallbacks *c, \
       VkSemaphore *d), \
      (a, b, c, d), 1) \
    X(CreatePipelineLayout, \
      (VkDevice a, const VkPipelineLayoutCreateInfo *b, const VkAllocationCallbacks *c, \
       VkPipelineLayout *d), \
      (a, b, c, d), 1) \
    X(CreatePipelineCache, \
      (VkDevice a, const VkPipelineCacheCreateInfo *b, const VkAllocationCallbacks *c, \
       VkPipelineCache *d), \
      (a, b, c, d), 1) \
    X(CreateBuffer, \
      (VkDevice a, const VkBufferCreateInfo *b, const VkAllocationCallbacks *c, VkBuffer *d), \
      (a, b, c, d), 1) \
    X(AllocateMemory, \
      (VkDevice a, const VkMemoryAllocateInfo *b, const VkAllocationCallbacks *c, \
       VkDeviceMemory *d), \
      (a, b, c, d), 1) \
    X(CreateShaderModule, \
      (VkDevice a, const VkShaderModuleCreateInfo *b, const VkAllocationCallbacks *c, \
       VkShaderModule *d), \
      (a, b, c, d), 1) \
    X(CreateComputePipelines, \
      (VkDevice a, VkPipelineCache b, uint32_t c, const VkComputePipelineCreateInfo *d, \
       const VkAllocationCallbacks *e, VkPipeline *f), \
      (a, b, c, d, e, f), 1) \
    X(BindBufferMemory, (VkDevice a, VkBuffer b, VkDeviceMemory c, VkDeviceSize d), (a, b, c, d), \
      0) \
    X(MapMemory, \
      (VkDevice a, VkDeviceMemory b, VkDeviceSize c, VkDeviceSize d, VkMemoryMapFlags e, \
       void **f), \
      (a, b, c, d, e, f), 0) \
    X(AllocateCommandBuffers, \
      (VkDevice a, const VkCommandBufferAllocateInfo *b, VkCommandBuffer *c), (a, b, c), 0) \
    X(BeginCommandBuffer, (VkCommandBuffer a, const VkCommandBufferBeginInfo *b), (a, b), 0) \
    X(EndCommandBuffer, (VkCommandBuffer a), (a), 0) \
    X(QueueSubmit, (VkQueue a, uint32_t b, const VkSubmitInfo *c, VkFence d), (a, b, c, d), 0) \
    X(WaitSemaphores, (VkDevice a, const VkSemaphoreWaitInfo *b, uint64_t c), (a, b, c), 0)

#define DESTROYING(X) \
    X(DestroyCommandPool, VkCommandPool) \
    X(DestroySemaphore, VkSemaphore) \
    X(DestroyPipelineLayout, VkPipelineLayout) \
    X(DestroyPipelineCache, VkPipelineCache) \
    X(DestroyBuffer, VkBuffer) \
    X(FreeMemory, VkDeviceMemory) \
    X(DestroyShaderModule, VkShaderModule) \
    X(DestroyPipeline, VkPipeline)

static struct vk_functions real;
static int calls, failing_call = -1, living;
static VkResult failure;
static const char *failed_name;

static bool fails_now(const char *name)
{
    if (calls++ == failing_call) {
        failed_name = name;
        return true;
    }
    return false;
}

#define X(name, parameters, arguments, makes) \
    static VkResult VKAPI_PTR count_##name parameters \
    { \
        VkResult result = fails_now(#name) ? failure : real.name arguments; \
        living += result == VK_SUCCESS ? makes : 0; \
        return result; \
    }
FALLIBLE(X)
#undef X

#define X(name, type) \
    static void VKAPI_PTR count_##name(VkDevice device, type object, \
                                       const VkAllocationCallbacks *callbacks) \
    { \
        living -= object != VK_NULL_HANDLE; \
        real.name(device, object, callbacks); \
    }
DESTROYING(X)
#undef X

static void replace_counted(struct vk_functions *vk)
{
    if (!vk->CreateBuffer) {
        return; /* not yet found */
    }
    real = *vk;
#define X(name, ...) vk->name = count_##name;
    FALLIBLE(X)
    DESTROYING(X)
#undef X
}

/* ---- a small session that uses everything ---- */

struct session {
    struct backend *backend;
    struct tensor step, a, b, y, ones;
    struct buffer buffers[5];
    struct op_list list;
    struct program *program;
};

static bool make_session(struct session *session, struct error *err)
{
    static const enum buffer_use uses[5] = {BUFFER_STEP, BUFFER_WEIGHTS, BUFFER_ACTIVATIONS,
                                            BUFFER_RESULT, BUFFER_WEIGHTS};
    struct tensor *tensors[5] = {&session->step, &session->a, &session->b, &session->y,
                                 &session->ones};
    uint32_t step[5] = {1, 0, 0, 0, 0};
    float values[8] = {1, 2, 3, 4, 5, 6, 7, 8}, one = 1;
    *session = (struct session){0};
    session->backend = vk_backend_create(&(struct vk_options){.force_staging = true}, err);
    if (!session->backend || !op_list_init(&session->list, 1, 1, err)) {
        return false;
    }
    const struct backend_functions *functions = session->backend->functions;
    for (int i = 0; i < 5; i++) {
        if (!functions->buffer_create(session->backend, 32, uses[i], &session->buffers[i], err)) {
            return false;
        }
        tensors[i]->address = session->buffers[i].address;
    }
    sum_op_add(&session->list, &session->step, &session->a, &session->b, &session->ones,
               &session->y, 8);
    op_list_bind(&session->list);
    session->program = functions->program_create(session->backend, &session->list, err);
    return session->program &&
           functions->write(session->backend, &session->buffers[0], 0, step, sizeof(step), err) &&
           functions->write(session->backend, &session->buffers[1], 0, values, 32, err) &&
           functions->write(session->backend, &session->buffers[2], 0, values, 32, err) &&
           functions->write(session->backend, &session->buffers[4], 0, &one, sizeof(one), err);
}

static bool use_session(struct session *session, struct error *err)
{
    float got[8] = {0}, activations[8] = {0};
    uint64_t tickets[2];
    const struct backend_functions *functions = session->backend->functions;
    if (!functions->run(session->backend, session->program, err) ||
        !functions->start(session->backend, session->program, &tickets[0], err) ||
        !functions->start(session->backend, session->program, &tickets[1], err) ||
        !functions->finish(session->backend, session->program, tickets[0], err) ||
        !functions->finish(session->backend, session->program, tickets[1], err) ||
        !functions->read(session->backend, &session->buffers[3], 0, got, 32, err) ||
        !functions->read(session->backend, &session->buffers[2], 0, activations, 32, err)) {
        return false;
    }
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(got[i], 2 * (i + 1));
        cr_assert_eq(activations[i], i + 1);
    }
    return true;
}

static void free_session(struct session *session)
{
    if (session->backend) {
        const struct backend_functions *functions = session->backend->functions;
        functions->program_destroy(session->backend, session->program);
        for (int i = 0; i < 5; i++) {
            functions->buffer_destroy(session->backend, &session->buffers[i]);
        }
        struct backend_memory memory;
        functions->memory(session->backend, &memory);
        cr_assert_eq(memory.used, 0);
        functions->destroy(session->backend);
    }
    op_list_free(&session->list);
}

/* Skips where no device can run. */
static void need_device(void)
{
    struct session session;
    struct error err = {{0}};
    bool ok = make_session(&session, &err) && use_session(&session, &err);
    free_session(&session);
    if (!ok) {
        cr_skip("%s", err.text);
    }
}

Test(vk_failures, every_call_that_can_fail_fails_once)
{
    static const VkResult failures[] = {VK_ERROR_OUT_OF_DEVICE_MEMORY, VK_ERROR_OUT_OF_HOST_MEMORY,
                                        VK_ERROR_DEVICE_LOST};
    need_device();
    vk_loader_set_hooks(NULL, replace_counted);
    struct session session;
    struct error err = {{0}};
    cr_assert(make_session(&session, &err) && use_session(&session, &err), "%s", err.text);
    free_session(&session);
    cr_assert_eq(living, 0);
    int all = calls, n_sentences = 0;
    cr_assert_gt(all, 30);
    for (int i = 0; i < 3 * all; i++) {
        calls = 0;
        failing_call = i / 3;
        failure = failures[i % 3];
        err.text[0] = 0;
        bool ok = make_session(&session, &err) && use_session(&session, &err);
        free_session(&session);
        cr_expect_eq(living, 0, "%d objects left after %s failed", living, failed_name);
        /* A large allocation that fails is tried again, smaller. */
        cr_expect(ok || err.text[0], "no sentence after %s failed", failed_name);
        n_sentences += !ok;
    }
    cr_expect_gt(n_sentences, 2 * all);
    failing_call = -1;
}

static bool every_call_fails(struct session *session)
{
    const struct backend_functions *functions = session->backend->functions;
    struct error err[6] = {0};
    struct buffer buffer;
    char byte = 0;
    uint64_t ticket;
    bool ok = functions->run(session->backend, session->program, &err[0]) ||
              functions->buffer_create(session->backend, 10, BUFFER_WEIGHTS, &buffer, &err[1]) ||
              functions->write(session->backend, &session->buffers[0], 0, &byte, 1, &err[2]) ||
              functions->read(session->backend, &session->buffers[3], 0, &byte, 1, &err[3]) ||
              functions->program_create(session->backend, &session->list, &err[4]) ||
              functions->start(session->backend, session->program, &ticket, &err[5]);
    for (int i = 0; i < 6; i++) {
        cr_expect(strstr(err[i].text, "stopped answering"), "call %d: %s", i, err[i].text);
    }
    return !ok;
}

static VkResult VKAPI_PTR lose_on_submit(VkQueue a, uint32_t b, const VkSubmitInfo *c, VkFence d)
{
    return VK_ERROR_DEVICE_LOST;
}

static VkResult VKAPI_PTR lose_on_wait(VkDevice a, const VkSemaphoreWaitInfo *b, uint64_t c)
{
    return VK_ERROR_DEVICE_LOST;
}

Test(vk_failures, a_lost_device_fails_every_later_call)
{
    need_device();
    for (int on_wait = 0; on_wait < 2; on_wait++) {
        struct session session;
        struct error err = {{0}};
        cr_assert(make_session(&session, &err) && use_session(&session, &err), "%s", err.text);
        struct vk_functions *vk = &((struct vk_backend *)session.backend)->device.instance.vk;
        PFN_vkQueueSubmit submit = vk->QueueSubmit;
        PFN_vkWaitSemaphores wait = vk->WaitSemaphores;
        if (on_wait) {
            vk->WaitSemaphores = lose_on_wait;
        } else {
            vk->QueueSubmit = lose_on_submit;
        }
        cr_assert_not(use_session(&session, &err));
        cr_expect(strstr(err.text, "stopped answering"), "%s", err.text);
        vk->QueueSubmit = submit; /* even where the driver would answer again */
        vk->WaitSemaphores = wait;
        cr_expect(every_call_fails(&session));
        free_session(&session);
    }
}

/* ---- machines without what we need ---- */

Test(vk_failures, no_loader_library)
{
    struct vk_device_info devices[VK_MAX_DEVICES];
    uint32_t n = 99;
    struct error err = {{0}};
    vk_loader_set_hooks("libvulkan-that-is-not-there.so.1", NULL);
    cr_assert_not(vk_list_devices(devices, &n, &err));
    cr_expect_eq(n, 0);
    cr_expect(strstr(err.text, "loader library"), "%s", err.text);
    err.text[0] = 0;
    cr_assert_null(vk_backend_create(&(struct vk_options){0}, &err));
    cr_expect(strstr(err.text, "--device cpu"), "%s", err.text);
    cr_assert_eq(vk_compile_all(0, stdout, &err), -1);

    vk_loader_set_hooks("libm.so.6", NULL); /* a library, but another */
    cr_assert_not(vk_list_devices(devices, &n, &err));
    cr_expect(strstr(err.text, "lacks the function"), "%s", err.text);
}

Test(vk_failures, no_driver)
{
    struct vk_device_info devices[VK_MAX_DEVICES];
    uint32_t n = 99;
    struct error err = {{0}};
    setenv("VK_ICD_FILENAMES", "/nonexistent.json", 1);
    setenv("VK_DRIVER_FILES", "/nonexistent.json", 1);
    if (!vk_list_devices(devices, &n, &err)) {
        cr_skip("%s", err.text); /* no loader */
    }
    cr_expect_eq(n, 0);
    cr_assert_null(vk_backend_create(&(struct vk_options){0}, &err));
    cr_expect(strstr(err.text, "no Vulkan device"), "%s", err.text);
}

static uint32_t fake_api_version;
static bool fake_no_features;
static VkDeviceSize fake_heap_bytes;

static void VKAPI_PTR fake_properties(VkPhysicalDevice device, VkPhysicalDeviceProperties *p)
{
    real.GetPhysicalDeviceProperties(device, p);
    p->apiVersion = fake_api_version ? fake_api_version : p->apiVersion;
}

static void VKAPI_PTR fake_features(VkPhysicalDevice device, VkPhysicalDeviceFeatures2 *features)
{
    real.GetPhysicalDeviceFeatures2(device, features);
    for (VkBaseOutStructure *s = features->pNext; s; s = s->pNext) {
        if (fake_no_features && s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES) {
            ((VkPhysicalDeviceVulkan12Features *)s)->bufferDeviceAddress = VK_FALSE;
            ((VkPhysicalDeviceVulkan12Features *)s)->timelineSemaphore = VK_FALSE;
        }
    }
}

static void VKAPI_PTR fake_memory(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties *p)
{
    real.GetPhysicalDeviceMemoryProperties(device, p);
    for (uint32_t i = 0; fake_heap_bytes && i < p->memoryHeapCount; i++) {
        p->memoryHeaps[i].size = fake_heap_bytes;
    }
}

/* Heaps that are made up have no budget that the driver knows of. */
static VkResult VKAPI_PTR extensions_without_budget(VkPhysicalDevice device, const char *layer,
                                                    uint32_t *n, VkExtensionProperties *list)
{
    VkResult result = real.EnumerateDeviceExtensionProperties(device, layer, n, list);
    for (uint32_t i = 0; list && i < *n; i++) {
        if (strcmp(list[i].extensionName, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME) == 0) {
            list[i].extensionName[0] = 0;
        }
    }
    return result;
}

static void replace_physical(struct vk_functions *vk)
{
    if (vk->CreateDevice && vk->GetPhysicalDeviceProperties != fake_properties) {
        real = *vk;
        vk->GetPhysicalDeviceProperties = fake_properties;
        vk->GetPhysicalDeviceFeatures2 = fake_features;
        vk->GetPhysicalDeviceMemoryProperties = fake_memory;
        vk->EnumerateDeviceExtensionProperties = extensions_without_budget;
    }
}

static void expect_refused(const char *missing)
{
    struct vk_device_info devices[VK_MAX_DEVICES];
    uint32_t n;
    struct error err = {{0}};
    cr_assert(vk_list_devices(devices, &n, &err), "%s", err.text);
    cr_assert_gt(n, 0);
    cr_expect_not(devices[0].usable);
    cr_expect_str_eq(devices[0].missing, missing);
    cr_assert_null(vk_backend_create(&(struct vk_options){0}, &err));
    cr_expect(strstr(err.text, missing), "%s", err.text);
    cr_expect(strstr(err.text, devices[0].name), "%s", err.text);
}

Test(vk_failures, a_device_below_the_floor_is_listed_and_refused)
{
    need_device();
    vk_loader_set_hooks(NULL, replace_physical);
    fake_api_version = VK_API_VERSION_1_1;
    expect_refused("Vulkan 1.2");
    fake_api_version = 0;
    fake_no_features = true;
    expect_refused("bufferDeviceAddress, timelineSemaphore");
}

Test(vk_failures, too_little_memory_names_both_sizes)
{
    need_device();
    vk_loader_set_hooks(NULL, replace_physical);
    fake_heap_bytes = 16 << 20;
    struct error err = {{0}};
    struct buffer buffers[2];
    struct backend *backend = vk_backend_create(&(struct vk_options){0}, &err);
    cr_assert(backend, "%s", err.text);
    cr_assert(
        backend->functions->buffer_create(backend, 10 << 20, BUFFER_WEIGHTS, &buffers[0], &err));
    cr_assert_not(
        backend->functions->buffer_create(backend, 7 << 20, BUFFER_WEIGHTS, &buffers[1], &err));
    cr_expect(strstr(err.text, "7.0 MiB more are needed"), "%s", err.text);
    cr_expect(strstr(err.text, "6.0 MiB are free"), "%s", err.text);
    struct backend_memory memory;
    backend->functions->memory(backend, &memory);
    cr_expect_eq(memory.used, 10 << 20);
    cr_expect_eq(memory.total, 16 << 20);
    cr_expect_leq(memory.available, 6 << 20);
    cr_expect_gt(memory.available, 5 << 20);
    backend->functions->buffer_destroy(backend, &buffers[0]);
    cr_assert(
        backend->functions->buffer_create(backend, 15 << 20, BUFFER_ACTIVATIONS, &buffers[0], &err),
        "%s", err.text);
    backend->functions->buffer_destroy(backend, &buffers[0]);
    backend->functions->destroy(backend);
}

/* ---- a GPU with memory of its own, played by a software device ---- */

enum {
    FAKE_LOCAL, /* 64 MiB */
    FAKE_HOST,  /* not cached */
    FAKE_CACHED,
    FAKE_WINDOW, /* device memory the host sees, 2 MiB */
    FAKE_TYPES
};

static uint32_t fake_allocations[FAKE_TYPES];

static void VKAPI_PTR discrete_properties(VkPhysicalDevice device, VkPhysicalDeviceProperties *p)
{
    real.GetPhysicalDeviceProperties(device, p);
    p->deviceType = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
}

static void VKAPI_PTR discrete_memory(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties *p)
{
    const VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    const VkMemoryPropertyFlags host =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    *p = (VkPhysicalDeviceMemoryProperties){
        .memoryTypeCount = FAKE_TYPES,
        .memoryTypes = {[FAKE_LOCAL] = {local, 0},
                        [FAKE_HOST] = {host, 1},
                        [FAKE_CACHED] = {host | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, 1},
                        [FAKE_WINDOW] = {local | host, 2}},
        .memoryHeapCount = 3,
        .memoryHeaps = {{64 << 20, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT},
                        {256 << 20, 0},
                        {2 << 20, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}}};
}

static void VKAPI_PTR discrete_requirements(VkDevice device, VkBuffer buffer,
                                            VkMemoryRequirements *requirements)
{
    real.GetBufferMemoryRequirements(device, buffer, requirements);
    requirements->memoryTypeBits = (1 << FAKE_TYPES) - 1;
}

static VkResult VKAPI_PTR discrete_allocate(VkDevice device, const VkMemoryAllocateInfo *info,
                                            const VkAllocationCallbacks *callbacks,
                                            VkDeviceMemory *memory)
{
    VkMemoryAllocateInfo changed = *info;
    fake_allocations[info->memoryTypeIndex]++;
    changed.memoryTypeIndex = 0; /* the one type of a software device */
    return real.AllocateMemory(device, &changed, callbacks, memory);
}

static void replace_with_discrete(struct vk_functions *vk)
{
    if (vk->CreateDevice && vk->GetPhysicalDeviceProperties != discrete_properties) {
        real = *vk;
        vk->GetPhysicalDeviceProperties = discrete_properties;
        vk->GetPhysicalDeviceMemoryProperties = discrete_memory;
        vk->EnumerateDeviceExtensionProperties = extensions_without_budget;
    }
    if (vk->AllocateMemory && vk->AllocateMemory != discrete_allocate) {
        real.AllocateMemory = vk->AllocateMemory;
        real.GetBufferMemoryRequirements = vk->GetBufferMemoryRequirements;
        vk->AllocateMemory = discrete_allocate;
        vk->GetBufferMemoryRequirements = discrete_requirements;
    }
}

Test(vk_failures, memory_types_of_a_discrete_gpu)
{
    struct vk_device_info devices[VK_MAX_DEVICES];
    uint32_t n = 0;
    need_device();
    cr_assert(vk_list_devices(devices, &n, NULL));
    if (devices[0].kind != VK_DEVICE_SOFTWARE) {
        cr_skip("played on software devices only");
    }
    vk_loader_set_hooks(NULL, replace_with_discrete);
    struct error err = {{0}};
    struct backend *backend = vk_backend_create(&(struct vk_options){0}, &err);
    cr_assert(backend, "%s", err.text);
    const struct backend_functions *functions = backend->functions;
    struct buffer weights, result, step, large_step;
    cr_assert(functions->buffer_create(backend, 9 << 20, BUFFER_WEIGHTS, &weights, &err));
    cr_expect_eq(fake_allocations[FAKE_LOCAL], 1);
    cr_assert(functions->buffer_create(backend, 1000, BUFFER_RESULT, &result, &err));
    cr_expect_eq(fake_allocations[FAKE_CACHED], 1);
    cr_assert(functions->buffer_create(backend, 1000, BUFFER_STEP, &step, &err));
    cr_expect_eq(fake_allocations[FAKE_WINDOW], 1);
    cr_assert(functions->buffer_create(backend, 3 << 20, BUFFER_STEP, &large_step, &err));
    cr_expect_eq(fake_allocations[FAKE_HOST], 1); /* the window is too small */
    uint8_t *written = malloc(9 << 20), *got = calloc(1, 9 << 20);
    struct check_random random = {5};
    for (size_t i = 0; i < 9 << 20; i++) {
        written[i] = (uint8_t)check_random_u64(&random);
    }
    cr_assert(functions->write(backend, &weights, 0, written, 9 << 20, &err));
    cr_expect_eq(fake_allocations[FAKE_CACHED], 2); /* the staging ring */
    cr_assert(functions->read(backend, &weights, 0, got, 9 << 20, &err));
    cr_expect_eq(memcmp(written, got, 9 << 20), 0);
    struct backend_counts counts;
    functions->counts(backend, &counts);
    cr_expect_eq(counts.submits, 6); /* 9 MiB through segments of 4 MiB, both ways */
    free(written);
    free(got);
    functions->buffer_destroy(backend, &weights);
    functions->buffer_destroy(backend, &result);
    functions->buffer_destroy(backend, &step);
    functions->buffer_destroy(backend, &large_step);
    functions->destroy(backend);
}
