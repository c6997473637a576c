/* Pipelines: a shader and its specialisation constants, compiled when a program first needs them
 * and kept. All share one layout: 128 bytes of push constants and no descriptor sets. */
#include "engine/vk/vk_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool vk_pipelines_init(struct vk_device *device, struct vk_pipelines *pipelines, struct error *err)
{
    const struct vk_functions *vk = &device->instance.vk;
    VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = VK_PUSH_BYTES};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .pushConstantRangeCount = 1,
                                         .pPushConstantRanges = &range};
    VkPipelineCacheCreateInfo cache = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    *pipelines = (struct vk_pipelines){0};
    VkResult result = vk->CreatePipelineLayout(device->handle, &layout, NULL, &pipelines->layout);
    if (!vk_device_check(device, result, "make a pipeline layout", err)) {
        pipelines->layout = VK_NULL_HANDLE;
        return false;
    }
    result = vk->CreatePipelineCache(device->handle, &cache, NULL, &pipelines->cache);
    if (!vk_device_check(device, result, "make a pipeline cache", err)) {
        pipelines->cache = VK_NULL_HANDLE;
        return false;
    }
    return true;
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
    assert(!"no shader has this name");
    return NULL;
}

bool vk_pipeline_compile(struct vk_device *device, const struct vk_pipelines *pipelines,
                         const struct vk_shader *shader, const struct vk_plan *plan,
                         VkPipelineCreateFlags flags, VkPipeline *pipeline, struct error *err)
{
    const struct vk_functions *vk = &device->instance.vk;
    *pipeline = VK_NULL_HANDLE;
    char doing[128];
    snprintf(doing, sizeof(doing), "compile the shader %s", shader->name);
    VkShaderModuleCreateInfo module_info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                            .codeSize = shader->n_bytes,
                                            .pCode = shader->words};
    VkShaderModule module;
    VkResult result = vk->CreateShaderModule(device->handle, &module_info, NULL, &module);
    if (!vk_device_check(device, result, doing, err)) {
        return false;
    }
    VkSpecializationMapEntry entries[VK_MAX_CONSTANTS];
    assert(plan->n_constants <= VK_MAX_CONSTANTS);
    for (uint32_t i = 0; i < plan->n_constants; i++) {
        entries[i] = (VkSpecializationMapEntry){
            .constantID = i, .offset = i * (uint32_t)sizeof(uint32_t), .size = sizeof(uint32_t)};
    }
    VkSpecializationInfo constants = {.mapEntryCount = plan->n_constants,
                                      .pMapEntries = entries,
                                      .dataSize = plan->n_constants * sizeof(uint32_t),
                                      .pData = plan->constants};
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = flags,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = &constants},
        .layout = pipelines->layout};
    result = vk->CreateComputePipelines(device->handle, pipelines->cache, 1, &info, NULL, pipeline);
    vk->DestroyShaderModule(device->handle, module, NULL);
    return vk_device_check(device, result, doing, err);
}

static bool is_pipeline_of(const struct vk_pipeline *pipeline, const struct vk_shader *shader,
                           const struct vk_plan *plan)
{
    return pipeline->shader == shader && pipeline->n_constants == plan->n_constants &&
           memcmp(pipeline->constants, plan->constants, plan->n_constants * sizeof(uint32_t)) == 0;
}

VkPipeline vk_pipelines_get(struct vk_device *device, struct vk_pipelines *pipelines,
                            const struct vk_plan *plan, struct error *err)
{
    const struct vk_shader *shader = vk_shader_find(plan->shader);
    for (uint32_t i = 0; i < pipelines->n; i++) {
        if (is_pipeline_of(&pipelines->table[i], shader, plan)) {
            return pipelines->table[i].handle;
        }
    }
    if (pipelines->n == pipelines->capacity) {
        uint32_t capacity = pipelines->capacity ? pipelines->capacity * 2 : 32;
        struct vk_pipeline *table = realloc(pipelines->table, capacity * sizeof(*pipelines->table));
        if (!table) {
            error_set(err, "not enough memory for the table of pipelines");
            return VK_NULL_HANDLE;
        }
        pipelines->table = table;
        pipelines->capacity = capacity;
    }
    struct vk_pipeline *added = &pipelines->table[pipelines->n];
    *added = (struct vk_pipeline){.shader = shader, .n_constants = plan->n_constants};
    memcpy(added->constants, plan->constants, sizeof(added->constants));
    if (!vk_pipeline_compile(device, pipelines, shader, plan, 0, &added->handle, err)) {
        return VK_NULL_HANDLE;
    }
    pipelines->n++;
    return added->handle;
}
