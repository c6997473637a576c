/* One sentence for a person, cut without breaking a character; slices of a mapping. */
#include <criterion/criterion.h>
#include <string.h>

#include "format/error.h"
#include "format/map.h"
#include "tests/check.h"

Test(error, sentence)
{
    struct error err = {0};
    cr_assert_not(error_set(&err, "%s has %d faults", "file", 3));
    cr_assert_str_eq(err.text, "file has 3 faults");
    error_set(&err, "outer: %s", err.text);
    cr_assert_str_eq(err.text, "outer: file has 3 faults");
    cr_assert_not(error_set(NULL, "nobody listens to %d", 1));
}

Test(error, control_characters)
{
    struct error err;
    error_set(&err, "tensor %s",
              "a\x1B[2Jb\n\x7F\xC2\x9B"
              "31m \xC3\xA4\xC2\xA0");
    cr_assert_str_eq(err.text, "tensor a?[2Jb????31m \xC3\xA4\xC2\xA0");
}

Test(error, cut_between_characters)
{
    static const char *const characters[] = {"x", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
    for (size_t width = 1; width <= 4; width++) {
        for (int shift = 0; shift < 4; shift++) {
            char text[2000] = "";
            memset(text, '.', (size_t)shift);
            for (int i = 0; i < 400; i++) {
                strcat(text, characters[width - 1]);
            }
            struct error err;
            error_set(&err, "%s", text);
            size_t length = strlen(err.text), all = (size_t)shift + 400 * width;
            if (all < sizeof(err.text)) {
                cr_assert_eq(length, all);
                continue;
            }
            cr_assert_eq((length - (size_t)shift) % width, 0);
            cr_assert(length < sizeof(err.text) && length > sizeof(err.text) - 1 - width);
            cr_assert_arr_eq(err.text, text, length);
        }
    }
}

Test(map, slices)
{
    const char *path = check_path(check_temp_dir(), "ten");
    check_write_file(path, "0123456789", 10);
    struct map map;
    struct error err = {0};
    cr_assert(map_open(&map, path, &err), "%s", err.text);
    cr_assert_eq(map.bytes, 10);
    cr_assert_str_eq(map.path, path);
    cr_assert_eq(map_slice(&map, 0, 10), map.data);
    cr_assert_eq(map_slice(&map, 9, 1), map.data + 9);
    cr_assert_eq(map_slice(&map, 10, 0), map.data + 10);
    cr_assert_null(map_slice(&map, 10, 1));
    cr_assert_null(map_slice(&map, 11, 0));
    cr_assert_null(map_slice(&map, 1, 10));
    cr_assert_null(map_slice(&map, 5, UINT64_MAX));
    cr_assert_null(map_slice(&map, UINT64_MAX, 5));
    cr_assert_null(map_slice(&map, UINT64_MAX, UINT64_MAX));
    map_close(&map);
    cr_assert(map.data == NULL && map.path == NULL);
}
