/* The rules that hold the house up: includes point down, file names are unique, every C file is
 * formatted. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/check.h"

/* Which rooms a room may include besides itself. The longest matching row counts. */
static const struct {
    const char *room;
    const char *may[10];
} rooms[] = {
    {"format", {NULL}},
    {"shaders", {NULL}},
    {"engine/base", {"format"}},
    {"engine/op", {"format", "shaders"}},
    {"engine/cpu", {"engine/op", "engine/base", "format", "shaders"}},
    {"engine/vk", {"engine/op", "engine/base", "format", "shaders"}},
    {"engine/text", {"engine/base", "format"}},
    {"engine/model", {"engine/op", "engine/base", "format", "shaders"}},
    {"engine/run", {"engine/op", "engine/base", "format"}},
    {"engine", {"engine", "format", "shaders"}},
    {"checks", {"engine", "format", "shaders"}},
    {"tools", {"checks", "engine", "format"}},
    {"tests", {"tests", "tools", "checks", "engine", "format", "shaders"}},
};
#define N_ROOMS (sizeof(rooms) / sizeof(rooms[0]))

static bool inside(const char *path, const char *room)
{
    size_t n = strlen(room);
    return strncmp(path, room, n) == 0 && (path[n] == '/' || path[n] == 0);
}

static size_t room_of(const char *path)
{
    size_t best = N_ROOMS;
    for (size_t i = 0; i < N_ROOMS; i++) {
        if (inside(path, rooms[i].room) &&
            (best == N_ROOMS || strlen(rooms[i].room) > strlen(rooms[best].room))) {
            best = i;
        }
    }
    return best;
}

/* A room is a whole folder: a row "engine" allows engine/op as well, a row "engine/op" only that.
 */
static bool may_include(const char *from, const char *to)
{
    size_t room = room_of(from);
    if (room == N_ROOMS) {
        return false;
    }
    if (room_of(to) == room) {
        return true;
    }
    for (size_t i = 0; i < 10 && rooms[room].may[i]; i++) {
        if (inside(to, rooms[room].may[i])) {
            return true;
        }
    }
    return false;
}

struct files {
    char paths[2000][256];
    size_t count;
};

static void walk(struct files *files, const char *folder)
{
    char full[512];
    snprintf(full, sizeof(full), "%s", check_source_path(folder));
    DIR *dir = opendir(full);
    cr_assert_not_null(dir, "%s", full);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[256], child[1024];
        struct stat info;
        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(path, sizeof(path), "%.120s/%.120s", folder, entry->d_name);
        snprintf(child, sizeof(child), "%s/%s", full, entry->d_name);
        cr_assert_eq(stat(child, &info), 0);
        if (S_ISDIR(info.st_mode)) {
            walk(files, path);
        } else {
            cr_assert_lt(files->count, 2000);
            strcpy(files->paths[files->count++], path);
        }
    }
    closedir(dir);
}

static struct files *all_files(void)
{
    static const char *const folders[] = {"engine", "format", "shaders",
                                          "checks", "tools",  "tests"};
    static struct files files;
    if (files.count == 0) {
        for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
            walk(&files, folders[i]);
        }
    }
    cr_assert_gt(files.count, 50, "the walk found the tree");
    return &files;
}

static bool has_suffix(const char *path, const char *suffix)
{
    size_t n = strlen(path), m = strlen(suffix);
    return n >= m && strcmp(path + n - m, suffix) == 0;
}

static bool is_c(const char *path)
{
    return has_suffix(path, ".c") || has_suffix(path, ".h");
}

Test(house, the_rule_itself)
{
    cr_assert(may_include("engine/cpu/cpu.c", "engine/op/op.h"));
    cr_assert(may_include("engine/moxie.c", "engine/model/model.h"));
    cr_assert(may_include("tools/chat.c", "engine/moxie.h"));
    cr_assert_not(may_include("engine/cpu/cpu.c", "engine/vk/vk.h"));
    cr_assert_not(may_include("engine/vk/vk.c", "engine/cpu/cpu.h"));
    cr_assert_not(may_include("engine/model/moe.c", "engine/run/schedule.h"));
    cr_assert_not(may_include("engine/text/sampler.c", "engine/op/op.h"));
    cr_assert_not(may_include("format/dtype.c", "engine/base/threads.h"));
    cr_assert_not(may_include("engine/op/op.c", "engine/moxie.h"));
    cr_assert_not(may_include("engine/session.c", "tools/tool.h"));
    cr_assert(may_include("tools/selftest.c", "checks/check_ops.h"));
    cr_assert_not(may_include("checks/check_ops.c", "tools/tool.h"));
    cr_assert_not(may_include("engine/moxie.c", "checks/check_ops.h"));
}

Test(house, includes_point_down)
{
    struct files *files = all_files();
    for (size_t i = 0; i < files->count; i++) {
        const char *path = files->paths[i];
        if (!is_c(path)) {
            continue;
        }
        char *text = check_read_file(check_source_path(path), NULL);
        cr_assert_not_null(text);
        for (char *line = text; (line = strstr(line, "#include \"")); line++) {
            char target[256] = {0};
            sscanf(line, "#include \"%255[^\"]", target);
            if (!strchr(target, '/')) {
                continue; /* made by the build: has no room */
            }
            cr_expect(may_include(path, target), "%s may not include %s", path, target);
        }
        free(text);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(strrchr(*(const char *const *)a, '/'), strrchr(*(const char *const *)b, '/'));
}

Test(house, file_names_are_unique)
{
    struct files *files = all_files();
    const char *paths[2000];
    size_t n = 0;
    for (size_t i = 0; i < files->count; i++) {
        if (!has_suffix(files->paths[i], "/meson.build") &&
            !has_suffix(files->paths[i], "/README.md")) {
            paths[n++] = files->paths[i];
        }
    }
    qsort(paths, n, sizeof(*paths), by_name);
    for (size_t i = 1; i < n; i++) {
        cr_expect_str_neq(strrchr(paths[i - 1], '/'), strrchr(paths[i], '/'), "%s and %s",
                          paths[i - 1], paths[i]);
    }
}

Test(house, only_tools_print_or_exit)
{
    static const char *const forbidden[] = {" printf(", "\tprintf(", " exit(", "getenv(",
                                            " abort("};
    struct files *files = all_files();
    for (size_t i = 0; i < files->count; i++) {
        const char *path = files->paths[i];
        if (!is_c(path) || !(inside(path, "engine") || inside(path, "format"))) {
            continue;
        }
        char *text = check_read_file(check_source_path(path), NULL);
        for (size_t f = 0; f < sizeof(forbidden) / sizeof(forbidden[0]); f++) {
            cr_expect_null(strstr(text, forbidden[f]), "%s contains %s", path, forbidden[f]);
        }
        free(text);
    }
}

Test(house, formatted)
{
    if (system("clang-format --version > /dev/null 2>&1") != 0) {
        cr_skip_test("clang-format is not installed");
    }
    struct files *files = all_files();
    static char command[1 << 20];
    size_t used =
        (size_t)snprintf(command, sizeof(command), "cd '%s' && clang-format --dry-run -Werror",
                         check_source_path("."));
    for (size_t i = 0; i < files->count; i++) {
        if (is_c(files->paths[i])) {
            used +=
                (size_t)snprintf(command + used, sizeof(command) - used, " %s", files->paths[i]);
        }
    }
    cr_assert_lt(used, sizeof(command));
    cr_expect_eq(system(command), 0, "clang-format -i mends it");
}
