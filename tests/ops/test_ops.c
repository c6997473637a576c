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
    SWIFTSHADER_ONE_CASE_IN = 83,
    PRODUCTS_ONE_CASE_IN = 9,
    VECTORS_ONE_CASE_IN = 54,
    EIGHT_LANES_ONE_CASE_IN = 36,
    ATTENTION_ONE_CASE_IN = 37,
    SCALES_ONE_CASE_IN = 8,
    OTHERS_ONE_CASE_IN = 4
};

/* OPS_THINNER=n takes one in n of those that are left, and on GPUs no bit patterns: under
 * sanitizers, which look for what any case shows and do not see what drivers make of kernels. */
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
    device->no_patterns = device->gpu && thinner(1) > 1;
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

Test(ops, cpu_avx_vnni)
{
    run_on_cpu(CPU_AVX2 | CPU_AVX_VNNI);
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
        tuning.matmul_arithmetic = tuning.matvec_arithmetic = 1;
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

/* The number of the device that lavapipe is. */
static uint32_t find_lavapipe(struct vk_device_info devices[VK_MAX_DEVICES])
{
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
    return i;
}

/* Ops of these kinds on lavapipe, with these sizes of kernels. */
static void run_on_lavapipe(const struct vk_options *asked, const struct vk_tuning *tuning,
                            struct check_device device, uint32_t kinds)
{
    struct vk_device_info devices[VK_MAX_DEVICES];
    struct error err;
    struct vk_options options = *asked;
    options.device = find_lavapipe(devices);
    options.tuning = tuning;
    struct backend *backend = vk_backend_create(&options, &err);
    cr_assert_not_null(backend, "%s", err.text);
    device.backend = backend;
    device.name = devices[options.device].name;
    device.gpu = true;
    run_checks_of(&device, kinds);
}

#define PRODUCTS \
    (1u << OP_matmul | 1u << OP_head_matmul | 1u << OP_expert_gate_up | 1u << OP_expert_down)

/* With many vectors, in the arithmetic of a tier. */
static void run_products(uint32_t arithmetic, const struct vk_options *asked,
                         struct check_device device)
{
    struct vk_tuning tuning = vk_tuning_of_class(0, false);
    tuning.matmul_arithmetic = arithmetic;
    device.fewest_tokens = OP_FEW_TOKENS + 1;
    run_on_lavapipe(asked, &tuning, device, PRODUCTS);
}

/* With one vector or few, by kernels for CPUs that play GPUs. */
static void run_vectors(uint32_t arithmetic, const struct vk_options *asked,
                        struct check_device device)
{
    struct vk_tuning tuning = vk_tuning_of_class(0, true);
    tuning.matmul_arithmetic = tuning.matvec_arithmetic = arithmetic; /* lists for more have few */
    device.most_tokens = OP_FEW_TOKENS;
    run_on_lavapipe(asked, &tuning, device,
                    PRODUCTS | 1u << OP_expert_down_sum | 1u << OP_matmul_router);
}

/* With many vectors, by the same. */
static void run_eight_lanes(uint32_t arithmetic, struct check_device device)
{
    struct vk_tuning tuning = vk_tuning_of_class(0, true);
    tuning.matmul_arithmetic = tuning.matvec_arithmetic = arithmetic; /* some read one vector */
    device.fewest_tokens = OP_FEW_TOKENS + 1;
    device.one_case_in = thinner(EIGHT_LANES_ONE_CASE_IN);
    run_on_lavapipe(&(struct vk_options){0}, &tuning, device, PRODUCTS);
}

Test(ops, vulkan_lavapipe)
{
    run_on_vulkan("llvmpipe", LAVAPIPE_ONE_CASE_IN);
}

/* What else has kernels, or small work-groups, on CPUs that play GPUs. */
static void run_others(uint32_t kinds, struct check_device device)
{
    struct vk_tuning tuning = vk_tuning_of_class(0, true);
    device.one_case_in = thinner(device.one_case_in);
    run_on_lavapipe(&(struct vk_options){0}, &tuning, device, kinds);
}

Test(ops, vulkan_lavapipe_eight_lanes)
{
    run_others(1u << OP_attention | 1u << OP_attention_latent,
               (struct check_device){.one_case_in = ATTENTION_ONE_CASE_IN});
    /* So many that every shape is among them: scales of q8_0 that lanes load for each other are
     * more than there are lanes only of few queries with large heads. */
    run_others(1u << OP_attention, (struct check_device){.types = 1ull << DTYPE_Q8_0,
                                                         .most_tokens = 1,
                                                         .one_case_in = SCALES_ONE_CASE_IN});
}

Test(ops, vulkan_lavapipe_eight_lanes_others)
{
    run_others(1u << OP_attention_prepare | 1u << OP_rms_norm | 1u << OP_expert_combine |
                   1u << OP_router | 1u << OP_expert_group | 1u << OP_argmax,
               (struct check_device){.one_case_in = OTHERS_ONE_CASE_IN});
}

Test(ops, vulkan_swiftshader)
{
    run_on_vulkan("SwiftShader", SWIFTSHADER_ONE_CASE_IN);
}

Test(ops, vulkan_gpu)
{
    run_on_vulkan(NULL, 1);
}

static const struct vk_options any_speed = {.tiers_forced = 1u << VK_TIER_integer_dot};

Test(ops, products_vector_float32)
{
    run_vectors(1, &any_speed, (struct check_device){.one_case_in = thinner(VECTORS_ONE_CASE_IN)});
}

Test(ops, products_vector_int8)
{
    run_vectors(4, &any_speed,
                (struct check_device){
                    .int8_activations = true,
                    .types = ~(1ull << DTYPE_F16 | 1ull << DTYPE_F32 | 1ull << DTYPE_BF16),
                    .one_case_in = thinner(VECTORS_ONE_CASE_IN)});
}

Test(ops, products_eight_lanes_float32)
{
    run_eight_lanes(1, (struct check_device){0});
}

Test(ops, products_eight_lanes_int8)
{
    run_eight_lanes(4, (struct check_device){
                           .int8_products = true,
                           .types = ~(1ull << DTYPE_F16 | 1ull << DTYPE_F32 | 1ull << DTYPE_BF16)});
}

Test(ops, products_float16)
{
    run_products(2, &any_speed,
                 (struct check_device){.float16_products = true,
                                       .one_case_in = thinner(PRODUCTS_ONE_CASE_IN)});
}

Test(ops, products_integer_dot)
{
    run_products(4, &any_speed,
                 (struct check_device){
                     .int8_products = true,
                     .types = ~(1ull << DTYPE_F16 | 1ull << DTYPE_F32 | 1ull << DTYPE_BF16),
                     .one_case_in = thinner(PRODUCTS_ONE_CASE_IN)});
}

/* All of it but the matrices themselves, of the shapes that vendors have. Of two types, so that
 * there is nothing to thin out. */
Test(ops, products_emulated_matrices)
{
    static const struct vk_matrix_shape shapes[] = {{16, 16, 16}, {8, 16, 16}, {16, 8, 8}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        run_products(8,
                     &(struct vk_options){.tiers_forced = 1u << VK_TIER_cooperative_matrix,
                                          .matrix = &shapes[i]},
                     (struct check_device){.float16_products = true,
                                           .types = 1ull << DTYPE_Q8_0 | 1ull << DTYPE_Q4_K,
                                           .one_case_in = 18});
    }
}

/* And the matrices: on a lavapipe that has them (Mesa 26). */
Test(ops, products_matrices)
{
    struct vk_device_info devices[VK_MAX_DEVICES];
    if (!devices[find_lavapipe(devices)].cooperative_matrix) {
        cr_skip("this lavapipe has no cooperative matrices");
    }
    run_products(8, &(struct vk_options){0},
                 (struct check_device){.float16_products = true,
                                       .types = ~(1ull << DTYPE_F32 | 1ull << DTYPE_BF16),
                                       .one_case_in = thinner(PRODUCTS_ONE_CASE_IN)});
}
