/* moxie selftest as a program: its line, its JSON, its exit codes. */
#include <criterion/criterion.h>

#include <string.h>

#include <jansson.h>

#include "tests/tools/run_program.h"

Test(selftest_program, the_processor_passes)
{
    const struct program_run *run = run_moxie(NULL, "selftest --device cpu --quick --no-cache");
    cr_assert_eq(run->status, 0, "%s%s", run->out, run->err);
    cr_expect_eq(strncmp(run->out, "moxie ", 6), 0, "%s", run->out);
    cr_expect(strstr(run->out, " checks, 1 set of tiers | ok"), "%s", run->out);
    cr_expect_eq(strchr(run->out, '\n'), run->out + strlen(run->out) - 1, "one line: %s", run->out);
    cr_expect_str_eq(run->err, "", "quiet in a pipe");
}

Test(selftest_program, the_report_as_json)
{
    const struct program_run *run =
        run_moxie(NULL, "selftest --device cpu --quick --no-cache --json");
    cr_assert_eq(run->status, 0, "%s", run->err);
    json_t *report = json_loads(run->out, 0, NULL);
    cr_assert(report, "%s", run->out);
    cr_expect(json_is_true(json_object_get(report, "ok")));
    cr_expect(json_is_true(json_object_get(report, "usable")));
    cr_expect_gt(json_integer_value(json_object_get(report, "checks")), 50);
    cr_expect_eq(json_integer_value(json_object_get(report, "failed")), 0);
    cr_expect_eq(json_array_size(json_object_get(report, "failures")), 0);
    json_decref(report);
}

Test(selftest_program, devices_that_are_not_there)
{
    const struct program_run *run = run_moxie(NULL, "selftest --device nonsense");
    cr_expect_eq(run->status, 1);
    cr_expect(strstr(run->err, "nonsense"), "%s", run->err);
    run = run_moxie(NULL, "selftest --device vulkan:15");
    cr_expect_eq(run->status, 1, "%s", run->out);
    run = run_moxie(NULL, "selftest --no-such-option");
    cr_expect_eq(run->status, 2);
}
