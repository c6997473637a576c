/* Every op on every back end that this machine has, one Criterion test each, so that a missing
 * device is seen as skipped. A check must exist for every row of OPS: this file does not link
 * otherwise.
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu.h"
#include "engine/vk/vk.h"
#include "engine/vk/vk_caps.h"
#include "checks/check_ops.h"

/* Bit patterns of the types are all tried everywhere; of their shapes, a device takes one in so
 * many. An expert op has ten cases in a row of a type with one token; of nine or more, one in five
 * always takes one. SwiftShader, which takes a fifth of a second to compile a kernel for a shape,
 * is there for subgroups of four lanes and for the want of 8 and 16 bit words, which a kernel meets
 * in any shape. */
enum {
    CPU_ONE_CASE_IN = 5,
    LAVAPIPE_ONE_CASE_IN = 5,
    SWIFTSHADER_ONE_CASE_IN = 27,
    PRODUCTS_ONE_CASE_IN = 9
};

/* OPS_THINNER=n takes one in n of those that are left: under sanitizers, which look for what any
 * case shows. */
static uint32_t thinner(uint32_t one_case_in)
{
    const char *text = getenv("OPS_THINNER");
    return one_case_in * (text ? (uint32_t)strtoul(text, NULL, 10) : 1);
}

static void print_failure(void *context, const char *sentence)
{
    fprintf(stderr, "%s\n", sentence);
}

/* Those of the bits 1 << kind. */
static void run_checks_of(struct check_device *device, uint32_t kinds)
{
    device->report = print_failure;
    for (uint32_t i = 0; i < OP_COUNT; i++) {
        enum op_kind kind = (enum op_kind)i;
        if (!(kinds >> i & 1)) {
            continue;
        }
        uint32_t before = device->n_cases, failed = device->n_failed;
        bool ok = check_run_op(device, kind);
        cr_expect(device->n_cases > before, "%s: no case ran", op_name(kind));
        cr_expect(ok, "%s on %s: %u of %u cases failed", op_name(kind), device->name,
                  device->n_failed - failed, device->n_cases - before);
    }
    device->backend->functions->destroy(device->backend);
}

static void run_checks(struct check_device *device)
{
    run_checks_of(device, UINT32_MAX);
}

static void run_on_cpu(uint32_t features)
{
    struct error err;
    cpu_features_set_mask(features);
    if (cpu_features() != features) {
        cr_skip("this processor has not %s", cpu_features_text(features));
    }
    struct backend *backend = cpu_backend_create(2, &err);
    cr_assert_not_null(backend, "%s", err.text);
    struct check_device device = {
        .backend = backend,
        .name = backend->name,
        .int8_activations = features != 0,
        .one_case_in = thinner(CPU_ONE_CASE_IN),
    };
    run_checks(&device);
}

Test(ops, cpu_plain)
{
    run_on_cpu(0);
}

Test(ops, cpu_avx2)
{
    run_on_cpu(CPU_AVX2);
}

Test(ops, cpu_avx512)
{
    run_on_cpu(CPU_AVX2 | CPU_AVX512);
}

Test(ops, cpu_avx512_vnni)
{
    run_on_cpu(CPU_AVX2 | CPU_AVX512 | CPU_AVX512_VNNI);
}

/* Every usable device that is software and whose name holds `name`, or that is not software if
 * `name` is NULL. Software drivers are slow and take one case in some. */
static void run_on_vulkan(const char *name, uint32_t one_case_in)
{
    struct vk_device_info devices[VK_MAX_DEVICES];
    struct error err;
    uint32_t n = 0, n_run = 0;
    if (!vk_list_devices(devices, &n, &err)) {
        cr_skip("%s", err.text);
    }
    for (uint32_t i = 0; i < n; i++) {
        bool software = devices[i].kind == VK_DEVICE_SOFTWARE;
        bool wanted = name ? strstr(devices[i].name, name) != NULL : !software;
        if (!wanted || !devices[i].usable) {
            continue;
        }
        /* With the sizes of kernels that GPUs have: they use more of the kernels than those that
         * suit a software device. */
        struct vk_tuning tuning = vk_tuning_of_class(devices[i].vendor_id, false);
        tuning.matmul_arithmetic = 1;
        struct vk_options options = {.device = i, .tuning = &tuning};
        struct backend *backend = vk_backend_create(&options, &err);
        cr_assert_not_null(backend, "%s", err.text);
        struct check_device device = {
            .backend = backend,
            .name = devices[i].name,
            .gpu = true,
            .one_case_in = thinner(one_case_in),
        };
        run_checks(&device);
        n_run++;
    }
    if (n_run == 0) {
        cr_skip("no usable Vulkan device: %s", name ? name : "not software");
    }
}

/* Products with many vectors on lavapipe, in the arithmetic of a tier. */
static void run_products(uint32_t arithmetic, struct check_device device)
{
    struct vk_device_info devices[VK_MAX_DEVICES];
    struct error err;
    uint32_t n = 0, i = 0;
    if (!vk_list_devices(devices, &n, &err)) {
        cr_skip("%s", err.text);
    }
    while (i < n && !strstr(devices[i].name, "llvmpipe")) {
        i++;
    }
    if (i == n) {
        cr_skip("lavapipe is not installed");
    }
    struct vk_tuning tuning = vk_tuning_of_class(devices[i].vendor_id, false);
    tuning.matmul_arithmetic = arithmetic;
    struct vk_options options = {.device = i, .tuning = &tuning, .tiers_forced = VK_ALL_TIERS};
    struct backend *backend = vk_backend_create(&options, &err);
    cr_assert_not_null(backend, "%s", err.text);
    device.backend = backend;
    device.name = devices[i].name;
    device.gpu = true;
    device.fewest_tokens = OP_FEW_TOKENS + 1;
    device.no_patterns = true;
    run_checks_of(&device, 1u << OP_matmul | 1u << OP_head_matmul | 1u << OP_expert_gate_up |
                               1u << OP_expert_down);
}

Test(ops, vulkan_lavapipe)
{
    run_on_vulkan("llvmpipe", LAVAPIPE_ONE_CASE_IN);
}

Test(ops, vulkan_swiftshader)
{
    run_on_vulkan("SwiftShader", SWIFTSHADER_ONE_CASE_IN);
}

Test(ops, vulkan_gpu)
{
    run_on_vulkan(NULL, 1);
}

Test(ops, products_float16)
{
    run_products(2, (struct check_device){.float16_products = true,
                                          .one_case_in = thinner(PRODUCTS_ONE_CASE_IN)});
}

Test(ops, products_integer_dot)
{
    run_products(4, (struct check_device){
                        .int8_products = true,
                        .types = ~(1ull << DTYPE_F16 | 1ull << DTYPE_F32 | 1ull << DTYPE_BF16),
                        .one_case_in = thinner(PRODUCTS_ONE_CASE_IN)});
}

/* All of it but the matrices themselves. Of two types, so that there is nothing to thin out. */
Test(ops, products_emulated_matrices)
{
    run_products(8, (struct check_device){.float16_products = true,
                                          .types = 1ull << DTYPE_Q8_0 | 1ull << DTYPE_Q4_K,
                                          .one_case_in = 6});
}
