/* Every op on the rungs of 64-bit ARM, as test_ops.c does for the machine that builds. */
#include <criterion/criterion.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu.h"
#include "checks/check_ops.h"

/* An emulated processor takes one case in so many, and no bit patterns, which test_cpu_dot.c tries
 * there; whole models run there too (test_golden_aarch64.c). */
#define ONE_CASE_IN 80

static void print_failure(void *context, const char *sentence)
{
    fprintf(stderr, "%s\n", sentence);
}

static void run_on(uint32_t features)
{
    struct error err;
    cpu_features_set_mask(features);
    bool has = cpu_features() == features;
    struct backend *backend = has ? cpu_backend_create(2, &err) : NULL;
    cpu_features_set_mask(UINT32_MAX);
    if (!has) {
        cr_skip("this processor has not %s", cpu_features_text(features));
    }
    cr_assert_not_null(backend, "%s", err.text);
    struct check_device device = {
        .backend = backend,
        .name = backend->name,
        .report = print_failure,
        .int8_activations = true,
        .one_case_in = ONE_CASE_IN,
        .no_patterns = true,
    };
    for (uint32_t i = 0; i < OP_COUNT; i++) {
        enum op_kind kind = (enum op_kind)i;
        uint32_t before = device.n_cases;
        bool ok = check_run_op(&device, kind);
        cr_expect(ok, "%s on %s", op_name(kind), device.name);
        cr_expect(device.n_cases > before, "%s on %s: no case ran", op_name(kind), device.name);
    }
    backend->functions->destroy(backend);
}

Test(ops_aarch64, neon)
{
    run_on(CPU_NEON);
}

Test(ops_aarch64, neon_dot)
{
    run_on(CPU_NEON | CPU_NEON_DOT);
}
