/* Changed seeds given to the program: inspect and verify end with status 0, or 1 and one sentence,
 * and what --json prints is JSON, whatever the file holds. */
#include <criterion/criterion.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tests/check.h"
#include "tests/fuzz/fuzz.h"
#include "tests/tools/run_program.h"

#define CHANGES 12

/* Whether it succeeded. */
static bool run(const char *arguments, const char *path)
{
    const struct program_run *run = run_moxie(NULL, "%s '%s'", arguments, path);
    cr_assert(run->status == 0 || run->status == 1, "%s: status %d: %s", arguments, run->status,
              run->err);
    if (run->status == 1) {
        const char *end = strchr(run->err, '\n');
        cr_expect(end && end[1] == 0 && strstr(run->err, path), "%s: %s", arguments, run->err);
        cr_expect_eq(run->out[0], 0, "%s: %s", arguments, run->out);
    } else if (strstr(arguments, "--json")) {
        json_error_t where;
        json_t *top = json_loads(run->out, JSON_REJECT_DUPLICATES, &where);
        cr_expect(json_is_object(top), "%s", where.text);
        json_decref(top);
    }
    return run->status == 0;
}

/* How many files inspect could show. */
static uint32_t run_changed(const struct fuzz_target *target, const char *seed, size_t bytes)
{
    uint32_t shown = 0;
    size_t room = bytes + 4096;
    uint8_t *data = malloc(room);
    struct fuzz_random random = {bytes};
    fuzz_change_start(bytes);
    for (int i = 0; i < CHANGES; i++) {
        memcpy(data, seed, bytes);
        size_t changed = target->mutate(data, bytes, room, &random, fuzz_change_bytes);
        const char *path = check_path(check_temp_dir(), "changed");
        cr_assert(check_write_file(path, data, changed));
        bool opened = run("inspect --all", path);
        shown += opened;
        cr_expect_eq(run("inspect --json", path), opened);
        run("verify", path);
    }
    free(data);
    return shown;
}

static void run_seeds(const struct fuzz_target *target)
{
    char folder[64];
    snprintf(folder, sizeof(folder), "tests/fuzz/%s", target->name);
    DIR *entries = opendir(check_source_path(folder));
    uint32_t shown = 0;
    cr_assert_not_null(entries, "no folder %s", folder);
    for (const struct dirent *entry; (entry = readdir(entries));) {
        size_t bytes;
        if (entry->d_name[0] == '.') {
            continue;
        }
        char *data = check_read_file(check_path(check_source_path(folder), entry->d_name), &bytes);
        cr_assert_not_null(data);
        shown += run_changed(target, data, bytes);
        free(data);
    }
    closedir(entries);
    cr_expect_gt(shown, 0, "every change of %s is refused: nothing was tested", folder);
}

Test(fuzz_program, moxie)
{
    run_seeds(&fuzz_moxie);
}

Test(fuzz_program, gguf)
{
    run_seeds(&fuzz_gguf);
}
