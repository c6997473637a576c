/* What moxie selftest keeps of a device. The driver is loaded in here, too: see no_leaks. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vk/vk.h"
#include "tests/check.h"
#include "tests/tools/run_program.h"

/* A fault that many checks found is not forgotten because few did not find it. */
Test(selftest_verdict, a_short_run_acquits_nothing)
{
    setenv("XDG_CACHE_HOME", check_temp_dir(), 1);
    struct vk_tiers tiers;
    if (!vk_tiers_of(0, &tiers)) {
        cr_skip("there is no Vulkan device here");
    }
    const char *folder = check_path(check_temp_dir(), "moxie");
    uint32_t off = tiers.has & -tiers.has; /* the lowest it has */
    for (uint32_t many = 0; many < 2; many++) {
        struct vk_verdict verdict = {.tiers_off = off, .n_checks = many ? 1000000 : 0};
        cr_assert(vk_verdict_write(0, folder, &verdict));
        const struct program_run *run =
            run_moxie(NULL, "selftest --device vulkan:0 --quick --seconds 1");
        cr_assert_eq(run->status, 0, "%s", run->err);
        cr_assert(vk_verdict_read(0, folder, &verdict));
        cr_expect_eq(verdict.tiers_off, many ? off : 0);
        cr_expect_eq(strstr(run->err, "stays unused") != NULL, many, "%s", run->err);
    }
}
