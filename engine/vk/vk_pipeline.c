/* Pipelines: a shader and its specialisation constants, compiled when a program first needs them
 * and kept. All share one layout: 128 bytes of push constants and no descriptor sets.
 *
 * Compiling is what a first start waits for, so the new pipelines of a program are compiled side by
 * side: drivers allow it, and synchronise the one cache they share themselves. */
#include "engine/vk/vk_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/threads.h"

bool vk_pipelines_init(struct vk_device *device, struct vk_pipelines *pipelines,
                       const char *cache_folder, struct error *err)
{
    const struct vk_functions *vk = &device->instance.vk;
    VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = VK_PUSH_BYTES};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .pushConstantRangeCount = 1,
                                         .pPushConstantRanges = &range};
    *pipelines = (struct vk_pipelines){.cache_folder = cache_folder};
    VkResult result = vk->CreatePipelineLayout(device->handle, &layout, NULL, &pipelines->layout);
    if (!vk_device_check(device, result, "make a pipeline layout", err)) {
        pipelines->layout = VK_NULL_HANDLE;
        return false;
    }
    result = vk_pipeline_cache_create(device, cache_folder, &pipelines->cache);
    return vk_device_check(device, result, "make a pipeline cache", err);
}

void vk_pipelines_free(struct vk_device *device, struct vk_pipelines *pipelines)
{
    const struct vk_functions *vk = &device->instance.vk;
    for (uint32_t i = 0; i < pipelines->n; i++) {
        vk->DestroyPipeline(device->handle, pipelines->table[i].handle, NULL);
    }
    free(pipelines->table);
    vk->DestroyPipelineCache(device->handle, pipelines->cache, NULL);
    vk->DestroyPipelineLayout(device->handle, pipelines->layout, NULL);
    *pipelines = (struct vk_pipelines){0};
}

const struct vk_shader *vk_shader_find(const char *name)
{
    for (uint32_t i = 0; i < vk_n_shaders; i++) {
        if (strcmp(vk_shaders[i].name, name) == 0) {
            return &vk_shaders[i];
        }
    }
    uint32_t n;
    const struct vk_shader *archived = vk_archive_shaders(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(archived[i].name, name) == 0) {
            return &archived[i];
        }
    }
    assert(!"no shader has this name");
    return NULL;
}

/* Touches nothing that another thread may touch. */
static VkResult compile(const struct vk_device *device, const struct vk_pipelines *pipelines,
                        const struct vk_pipeline *wanted, VkPipelineCreateFlags flags,
                        VkPipeline *pipeline)
{
    const struct vk_functions *vk = &device->instance.vk;
    *pipeline = VK_NULL_HANDLE;
    VkShaderModuleCreateInfo module_info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                            .codeSize = wanted->shader->n_bytes,
                                            .pCode = wanted->shader->words};
    VkShaderModule module;
    VkResult result = vk->CreateShaderModule(device->handle, &module_info, NULL, &module);
    if (result != VK_SUCCESS) {
        return result;
    }
    VkSpecializationMapEntry entries[VK_MAX_CONSTANTS];
    assert(wanted->n_constants <= VK_MAX_CONSTANTS);
    for (uint32_t i = 0; i < wanted->n_constants; i++) {
        entries[i] = (VkSpecializationMapEntry){
            .constantID = i, .offset = i * (uint32_t)sizeof(uint32_t), .size = sizeof(uint32_t)};
    }
    VkSpecializationInfo constants = {.mapEntryCount = wanted->n_constants,
                                      .pMapEntries = entries,
                                      .dataSize = wanted->n_constants * sizeof(uint32_t),
                                      .pData = wanted->constants};
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = wanted->subgroup};
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = flags,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .pNext = wanted->subgroup ? &subgroup : NULL,
                  .flags = wanted->subgroup
                               ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT
                               : 0,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = &constants},
        .layout = pipelines->layout};
    result = vk->CreateComputePipelines(device->handle, pipelines->cache, 1, &info, NULL, pipeline);
    vk->DestroyShaderModule(device->handle, module, NULL);
    if (result != VK_SUCCESS) {
        *pipeline = VK_NULL_HANDLE;
    }
    return result;
}

static bool check_compiled(struct vk_device *device, const struct vk_shader *shader,
                           VkResult result, struct error *err)
{
    char doing[128];
    snprintf(doing, sizeof(doing), "compile the shader %s", shader->name);
    return vk_device_check(device, result, doing, err);
}

static struct vk_pipeline pipeline_of(const struct vk_shader *shader, const struct vk_plan *plan)
{
    struct vk_pipeline pipeline = {
        .shader = shader, .n_constants = plan->n_constants, .subgroup = plan->subgroup};
    memcpy(pipeline.constants, plan->constants, sizeof(pipeline.constants));
    return pipeline;
}

bool vk_pipeline_compile(struct vk_device *device, const struct vk_pipelines *pipelines,
                         const struct vk_shader *shader, const struct vk_plan *plan,
                         VkPipelineCreateFlags flags, VkPipeline *pipeline, struct error *err)
{
    struct vk_pipeline wanted = pipeline_of(shader, plan);
    return check_compiled(device, shader, compile(device, pipelines, &wanted, flags, pipeline),
                          err);
}

static bool is_pipeline_of(const struct vk_pipeline *pipeline, const struct vk_shader *shader,
                           const struct vk_plan *plan)
{
    return pipeline->shader == shader && pipeline->n_constants == plan->n_constants &&
           pipeline->subgroup == plan->subgroup &&
           memcmp(pipeline->constants, plan->constants, plan->n_constants * sizeof(uint32_t)) == 0;
}

/* Its row of the table, added without a handle if there was none. False: no memory. */
static bool row_of(struct vk_pipelines *pipelines, const struct vk_plan *plan, uint32_t *row,
                   struct error *err)
{
    const struct vk_shader *shader = vk_shader_find(plan->shader);
    for (*row = 0; *row < pipelines->n; ++*row) {
        if (is_pipeline_of(&pipelines->table[*row], shader, plan)) {
            return true;
        }
    }
    if (pipelines->n == pipelines->capacity) {
        uint32_t capacity = pipelines->capacity ? pipelines->capacity * 2 : 32;
        struct vk_pipeline *table = realloc(pipelines->table, capacity * sizeof(*pipelines->table));
        if (!table) {
            return error_set(err, "not enough memory for the table of pipelines");
        }
        pipelines->table = table;
        pipelines->capacity = capacity;
    }
    pipelines->table[pipelines->n++] = pipeline_of(shader, plan);
    return true;
}

struct compilation {
    struct vk_device *device;
    struct vk_pipelines *pipelines;
    uint32_t first; /* row that is new */
    VkResult *results;
};

static void compile_rows(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    struct compilation *c = context;
    for (uint64_t i = begin; i < end; i++) {
        struct vk_pipeline *row = &c->pipelines->table[c->first + i];
        c->results[i] = compile(c->device, c->pipelines, row, 0, &row->handle);
    }
}

/* Fills the handles of the rows from `first` on; on failure these rows are gone. */
static bool compile_new(struct vk_device *device, struct vk_pipelines *pipelines, uint32_t first,
                        struct error *err)
{
    uint32_t n = pipelines->n - first;
    struct compilation c = {.device = device,
                            .pipelines = pipelines,
                            .first = first,
                            .results = calloc(n, sizeof(*c.results))};
    if (!c.results) {
        pipelines->n = first;
        return error_set(err, "not enough memory to compile shaders");
    }
    struct thread_pool *pool = n > 1 ? thread_pool_create(0, NULL) : NULL;
    thread_pool_for(pool, n, 1, compile_rows, &c);
    thread_pool_destroy(&pool);
    bool ok = true;
    for (uint32_t i = 0; ok && i < n; i++) {
        ok = check_compiled(device, pipelines->table[first + i].shader, c.results[i], err);
    }
    free(c.results);
    if (!ok) {
        for (uint32_t i = first; i < pipelines->n; i++) {
            device->instance.vk.DestroyPipeline(device->handle, pipelines->table[i].handle, NULL);
        }
        pipelines->n = first;
        return false;
    }
    vk_pipeline_cache_keep(device, pipelines->cache_folder, pipelines->cache);
    return true;
}

bool vk_pipelines_get(struct vk_device *device, struct vk_pipelines *pipelines,
                      const struct vk_plan *plans, uint32_t n, VkPipeline *handles,
                      struct error *err)
{
    uint32_t first = pipelines->n, row;
    for (uint32_t i = 0; i < n; i++) {
        if (!row_of(pipelines, &plans[i], &row, err)) {
            pipelines->n = first;
            return false;
        }
    }
    if (pipelines->n > first && !compile_new(device, pipelines, first, err)) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        row_of(pipelines, &plans[i], &row, NULL); /* all are there by now */
        handles[i] = pipelines->table[row].handle;
    }
    return true;
}
