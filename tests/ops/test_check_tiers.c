/* Whom check_tiers blames: the CPU's plain C, made to fail at some ops where some tiers are on. */
#include <criterion/criterion.h>

#include <string.h>

#include "checks/check_tiers.h"
#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu.h"

enum { TIER_A = 1, TIER_B = 2, TIER_C = 4, ALL = 7 };

/* Here it matters which ops run, not how many of their cases. */
enum { ONE_CASE_IN = 400 };

/* An op fails while all of these tiers are on. */
struct fault {
    enum op_kind kind;
    uint32_t tiers;
};

static struct {
    const struct fault *faults;
    uint32_t n_faults;
    uint32_t on;
    const struct backend_functions *real;
    struct backend_functions broken;
    enum op_kind kind; /* of the program that was made last */
    uint32_t n_open;
} device;

static struct program *note_kind(struct backend *backend, const struct op_list *list,
                                 struct error *err)
{
    device.kind = list->ops[0].kind;
    return device.real->program_create(backend, list, err);
}

static bool run_or_fail(struct backend *backend, struct program *program, struct error *err)
{
    for (uint32_t i = 0; i < device.n_faults; i++) {
        const struct fault *fault = &device.faults[i];
        if (fault->kind == device.kind && (fault->tiers & device.on) == fault->tiers) {
            return error_set(err, "broken on purpose");
        }
    }
    return device.real->run(backend, program, err);
}

static void count_close(struct backend *backend)
{
    device.n_open--;
    device.real->destroy(backend);
}

static bool open_device(void *context, uint32_t tiers_off, struct check_device *checked,
                        struct error *err)
{
    cpu_features_set_mask(0);
    cr_assert_eq(device.n_open, 0, "one at a time");
    checked->backend = cpu_backend_create(1, err);
    checked->name = "fake";
    checked->no_patterns = true;
    if (!checked->backend) {
        return false;
    }
    device.n_open++;
    device.on = ALL & ~tiers_off;
    device.real = checked->backend->functions;
    device.broken = *device.real;
    device.broken.program_create = note_kind;
    device.broken.run = run_or_fail;
    device.broken.destroy = count_close;
    checked->backend->functions = &device.broken;
    return true;
}

static struct check_tiers_result check(const struct fault *faults, uint32_t n_faults, bool quick)
{
    struct check_tiers_result result;
    struct error err;
    const struct check_tiers_request request = {.open = open_device,
                                                .has = ALL,
                                                .one_case_in = ONE_CASE_IN,
                                                .quick = quick,
                                                .seconds = 1000};
    device.faults = faults;
    device.n_faults = n_faults;
    cr_assert(check_tiers_run(&request, &result, &err), "%s", err.text);
    cr_expect_eq(device.n_open, 0);
    cr_expect_eq(result.n_unreached, 0);
    cr_expect_geq(result.n_checks, OP_COUNT);
    return result;
}

Test(check_tiers, a_sound_device_passes)
{
    struct check_tiers_result result = check(NULL, 0, false);
    cr_expect_eq(result.tiers_off, 0);
    cr_expect_not(result.unusable);
    cr_expect_eq(result.n_failed, 0);
    cr_expect_eq(result.n_sets, 5, "all, each of three off, none");
}

Test(check_tiers, one_tier_is_blamed)
{
    const struct fault faults[] = {{OP_rms_norm, TIER_B}};
    struct check_tiers_result result = check(faults, 1, true);
    cr_expect_eq(result.tiers_off, TIER_B);
    cr_expect_not(result.unusable);
    cr_expect_eq(result.n_sets, 1);
    cr_assert_eq(result.n_failures, 1);
    cr_expect_eq(result.failures[0].kind, OP_rms_norm);
    cr_expect_eq(result.failures[0].tiers, ALL);
    cr_expect(strstr(result.failures[0].sentence, "broken on purpose"), "%s",
              result.failures[0].sentence);
}

Test(check_tiers, two_ops_may_need_two_tiers_off)
{
    const struct fault faults[] = {{OP_embed, TIER_A}, {OP_rms_norm, TIER_C}, {OP_argmax, TIER_A}};
    struct check_tiers_result result = check(faults, 3, true);
    cr_expect_eq(result.tiers_off, TIER_A | TIER_C);
    cr_expect_not(result.unusable);
    cr_expect_eq(result.n_failed, 3);
}

Test(check_tiers, where_no_single_one_is_to_blame_all_are)
{
    const struct fault faults[] = {{OP_embed, TIER_A}, {OP_embed, TIER_B}};
    struct check_tiers_result result = check(faults, 2, true);
    cr_expect_eq(result.tiers_off, ALL);
    cr_expect_not(result.unusable);
}

Test(check_tiers, without_a_floor_a_device_is_unusable)
{
    const struct fault faults[] = {{OP_embed, 0}, {OP_rms_norm, TIER_B}};
    struct check_tiers_result result = check(faults, 2, true);
    cr_expect(result.unusable);
}

/* The kernel that replaces one of a tier may be the wrong one. */
Test(check_tiers, sets_without_a_tier_are_checked_too)
{
    const struct fault faults[] = {{OP_rms_norm, TIER_A}};
    struct check_tiers_result result = check(faults, 1, false);
    cr_expect_eq(result.tiers_off, TIER_A);
    cr_expect_eq(result.n_failed, 3, "with all, without B, without C");
}

static bool stop(void *context, uint64_t done, uint64_t total)
{
    cr_expect_eq(total, OP_COUNT);
    return done < 3;
}

Test(check_tiers, it_can_be_stopped)
{
    struct check_tiers_result result;
    struct error err;
    const struct check_tiers_request request = {.open = open_device,
                                                .has = ALL,
                                                .one_case_in = ONE_CASE_IN,
                                                .quick = true,
                                                .seconds = 1000,
                                                .progress = stop};
    cr_expect_not(check_tiers_run(&request, &result, &err));
    cr_expect_eq(device.n_open, 0);
}

Test(check_tiers, time_is_bounded)
{
    struct check_tiers_result result;
    struct error err;
    const struct check_tiers_request request = {.open = open_device,
                                                .has = ALL,
                                                .one_case_in = ONE_CASE_IN,
                                                .quick = true,
                                                .seconds = 1e-9};
    cr_assert(check_tiers_run(&request, &result, &err));
    cr_expect_eq(result.n_unreached, OP_COUNT);
}
