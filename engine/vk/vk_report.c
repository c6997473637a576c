/* Compiles every shader for a device, and tells what became of it: registers, spills, code size.
 *
 * Works on drivers that compile without hardware, so that a change can be tried on generations of
 * GPUs nobody here owns.
 */
#include "engine/vk/vk_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vk/vk_probe.h"

struct report {
    struct vk_device device;
    struct vk_pipelines pipelines;
    FILE *out;
    int n_compiled, n_failed;
    struct error *err; /* the first failure's */
};

static void print_statistic(FILE *out, const VkPipelineExecutableStatisticKHR *statistic)
{
    switch (statistic->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
        fprintf(out, ", %s %s", statistic->name, statistic->value.b32 ? "yes" : "no");
        break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
        fprintf(out, ", %s %" PRId64, statistic->name, statistic->value.i64);
        break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
        fprintf(out, ", %s %" PRIu64, statistic->name, statistic->value.u64);
        break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR:
        fprintf(out, ", %s %g", statistic->name, statistic->value.f64);
        break;
    default:
        break;
    }
}

/* A compute pipeline has one executable on the drivers we know; others are left out. */
static void print_statistics(struct report *report, VkPipeline pipeline)
{
    const struct vk_functions *vk = &report->device.instance.vk;
    VkDevice device = report->device.handle;
    if (!vk->GetPipelineExecutablePropertiesKHR || !vk->GetPipelineExecutableStatisticsKHR) {
        return;
    }
    VkPipelineInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = pipeline};
    uint32_t n = 1;
    VkPipelineExecutablePropertiesKHR properties = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR};
    if (vk->GetPipelineExecutablePropertiesKHR(device, &info, &n, &properties) < 0 || n == 0) {
        return;
    }
    fprintf(report->out, ": subgroup %" PRIu32, properties.subgroupSize);
    VkPipelineExecutableInfoKHR executable = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, .pipeline = pipeline};
    VkPipelineExecutableStatisticKHR statistics[32];
    memset(statistics, 0, sizeof(statistics));
    for (uint32_t i = 0; i < 32; i++) {
        statistics[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    }
    n = 32;
    if (vk->GetPipelineExecutableStatisticsKHR(device, &executable, &n, statistics) >= 0) {
        for (uint32_t i = 0; i < n; i++) {
            if (!strcasestr(statistics[i].name, "hash")) {
                print_statistic(report->out, &statistics[i]);
            }
        }
    }
}

static void compile_one(struct report *report, const struct vk_shader *shader,
                        const struct vk_plan *plan)
{
    bool statistics = report->device.instance.vk.GetPipelineExecutableStatisticsKHR;
    VkPipeline pipeline;
    fprintf(report->out, "%s", shader->name);
    if (plan->n_constants) {
        fprintf(report->out, " (");
        for (uint32_t i = 0; i < plan->n_constants; i++) {
            fprintf(report->out, "%s%" PRIu32, i ? " " : "", plan->constants[i]);
        }
        fprintf(report->out, ")");
    }
    if (!vk_pipeline_compile(&report->device, &report->pipelines, shader, plan,
                             statistics ? VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR : 0,
                             &pipeline, report->n_failed ? NULL : report->err)) {
        fprintf(report->out, ": does not compile\n");
        report->n_failed++;
        return;
    }
    print_statistics(report, pipeline);
    fprintf(report->out, "\n");
    report->device.instance.vk.DestroyPipeline(report->device.handle, pipeline, NULL);
    report->n_compiled++;
}

static void compile_plan(void *context, const struct vk_plan *plan)
{
    compile_one(context, vk_shader_find(plan->shader), plan);
}

static void compile_probes(struct report *report)
{
    for (uint32_t i = 0; i < PROBE_KERNELS; i++) {
        if (vk_probe_has(&report->device.physical.caps, (enum vk_probe_kernel)i)) {
            compile_one(report, &vk_probe_shaders[i], &(struct vk_plan){0});
        }
    }
}

int vk_compile_all(uint32_t device, FILE *out, struct error *err)
{
    struct report *report = calloc(1, sizeof(*report));
    if (!report) {
        error_set(err, "not enough memory to compile shaders");
        return -1;
    }
    report->out = out;
    report->err = err;
    int n = -1;
    if (vk_device_open(&report->device, device, false, VK_TO_COMPILE, err)) {
        if (vk_pipelines_init(&report->device, &report->pipelines, NULL, err)) {
            fprintf(out, "%s, %s\n", report->device.physical.info.name,
                    report->device.physical.info.driver);
            vk_plan_each(&report->device.physical.caps, compile_plan, report);
            compile_probes(report);
            n = report->n_failed ? -1 : report->n_compiled;
        }
        vk_pipelines_free(&report->device, &report->pipelines);
        vk_device_close(&report->device);
    }
    free(report);
    return n;
}
