/* The safetensors reader: good files, and every way a file or an index can lie. */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/f16.h"
#include "format/safetensors.h"
#include "tests/check.h"

static const char *write_raw(const char *name, uint64_t length, const char *header,
                             size_t header_bytes, const void *data, size_t data_bytes)
{
    const char *path = check_path(check_temp_dir(), name);
    char *file = malloc(8 + header_bytes + data_bytes);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, header_bytes);
    if (data_bytes > 0) {
        memcpy(file + 8 + header_bytes, data, data_bytes);
    }
    cr_assert(check_write_file(path, file, 8 + header_bytes + data_bytes));
    free(file);
    return path;
}

static const char *write_file(const char *name, const char *header, const void *data, size_t bytes)
{
    return write_raw(name, strlen(header), header, strlen(header), data, bytes);
}

/* The two-tensor example of the format's description. */
static const char two_header[] =
    "{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[1,3],"
    "\"data_offsets\":[0,12]},\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[12,16]}}";
static const uint8_t two_data[16] = {0, 0, 0x80, 0x3F, 0,    0,    0, 0x40,
                                     0, 0, 0x40, 0x40, 0x80, 0x3F, 0, 0xC0};

Test(safetensors, empty_file_of_no_tensors)
{
    struct safetensors st;
    struct error err = {""};
    cr_assert(safetensors_open(&st, write_file("e", "{}", NULL, 0), &err), "%s", err.text);
    cr_expect_eq(st.n_tensors, 0);
    cr_expect_null(safetensors_find(&st, ""));
    safetensors_close(&st);
}

Test(safetensors, two_tensors)
{
    cr_assert_eq(sizeof(two_header) - 1, 144);
    struct safetensors st;
    struct error err = {""};
    cr_assert(safetensors_open(&st, write_file("two", two_header, two_data, 16), &err), "%s",
              err.text);
    cr_assert_eq(st.n_tensors, 2);
    const struct safetensors_tensor *a = safetensors_find(&st, "a"),
                                    *b = safetensors_find(&st, "b");
    cr_assert(a && b);
    cr_expect_null(safetensors_find(&st, "c"));
    cr_expect_eq(a->dtype, SAFETENSORS_F32);
    cr_expect_eq(a->rank, 2);
    cr_expect_eq(a->shape[0], 1);
    cr_expect_eq(a->shape[1], 3);
    cr_expect_eq(b->rank, 1);
    cr_expect_str_eq(safetensors_dtype_name(b->dtype), "BF16");
    float values[4] = {9, 9, 9, 9};
    safetensors_read(a, 1, 2, values);
    cr_expect_eq(values[0], 2);
    cr_expect_eq(values[1], 3);
    cr_expect_eq(values[2], 9);
    safetensors_read(b, 0, 2, values);
    cr_expect_eq(values[0], 1);
    cr_expect_eq(values[1], -2);
    safetensors_release(&st, a, 0, 3);
    safetensors_read(a, 0, 1, values);
    cr_expect_eq(values[0], 1, "released pages come back");
    safetensors_close(&st);
}

Test(safetensors, random_values_at_odd_addresses)
{
    struct check_random random = {3};
    enum { N = 1000 };
    static uint8_t data[1 + 2 * N + 2 * N + 4 * N];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)check_random_u64(&random);
    }
    char header[512];
    snprintf(header, sizeof(header),
             "{\"f\":{\"dtype\":\"F32\",\"shape\":[10,100],\"data_offsets\":[4001,8001]},"
             "\"x\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},"
             "\"h\":{\"dtype\":\"F16\",\"shape\":[1000,1],\"data_offsets\":[1,2001]},"
             "\"b\":{\"dtype\":\"BF16\",\"shape\":[1000],\"data_offsets\":[2001,4001]},"
             "\"z\":{\"dtype\":\"F64\",\"shape\":[3,0],\"data_offsets\":[8001,8001]}}   ");
    struct safetensors st;
    struct error err = {""};
    cr_assert(safetensors_open(&st, write_file("odd", header, data, sizeof(data)), &err), "%s",
              err.text);
    cr_expect_eq(safetensors_find(&st, "x")->elements, 1);
    cr_expect_eq(safetensors_find(&st, "z")->elements, 0);
    cr_expect_not(safetensors_is_float(safetensors_find(&st, "z")->dtype));
    float values[N];
    for (uint32_t kind = 0; kind < 3; kind++) {
        const char *const names[] = {"h", "b", "f"};
        safetensors_read(safetensors_find(&st, names[kind]), 0, N, values);
        for (uint32_t i = 0; i < N; i++) {
            uint32_t bits = 0;
            const size_t begin[] = {1, 2001, 4001};
            memcpy(&bits, data + begin[kind] + i * (kind == 2 ? 4 : 2), kind == 2 ? 4 : 2);
            uint32_t expected = kind == 0   ? f32_to_bits(f32_from_f16((uint16_t)bits))
                                : kind == 1 ? bits << 16
                                            : bits;
            cr_assert_eq(f32_to_bits(values[i]), expected, "%s[%u]", names[kind], i);
        }
    }
    safetensors_close(&st);
}

static void expect_refused(const char *path, const char *sentence)
{
    struct safetensors st;
    struct error err = {""};
    cr_expect_not(safetensors_open(&st, path, &err), "%s opened, expected: %s", path, sentence);
    cr_expect(strstr(err.text, sentence), "\"%s\" lacks \"%s\"", err.text, sentence);
    cr_expect(strstr(err.text, path), "\"%s\" does not name the file", err.text);
    cr_expect_null(st.tensors);
    cr_expect_null(st.files);
}

Test(safetensors, lengths_that_lie)
{
    expect_refused(write_raw("h", UINT64_MAX, "{}", 2, NULL, 0), "not a safetensors file");
    expect_refused(write_raw("h", 100000001, "{}", 2, NULL, 0), "not a safetensors file");
    expect_refused(write_raw("h", 100000000, "{}", 2, NULL, 0), "shorter than its header");
    expect_refused(write_raw("h", 3, "{}", 2, NULL, 0), "shorter than its header");
    expect_refused(write_raw("h", 0, "{}", 2, NULL, 0), "no JSON object");
    expect_refused(write_raw("h", 1, "{}", 2, NULL, 0), "not valid JSON");
    const char *path = check_path(check_temp_dir(), "short");
    check_write_file(path, "1234567", 7);
    expect_refused(path, "too short");
    expect_refused(check_path(check_temp_dir(), "absent"), "does not exist");
    expect_refused(check_temp_dir(), "folder");
}

Test(safetensors, truncated_everywhere)
{
    const char *whole = write_file("whole", two_header, two_data, 16);
    size_t bytes;
    char *data = check_read_file(whole, &bytes);
    cr_assert_eq(bytes, 168);
    for (size_t n = 1; n < bytes; n++) {
        struct safetensors st;
        struct error err = {""};
        const char *path = check_path(check_temp_dir(), "cut");
        cr_assert(check_write_file(path, data, n));
        cr_expect_not(safetensors_open(&st, path, &err), "%zu bytes", n);
        cr_expect(err.text[0] != 0);
    }
    free(data);
}

#define T(dtype, shape, begin, end) \
    "{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

Test(safetensors, headers_that_lie)
{
    static const struct {
        const char *header, *sentence;
        size_t data_bytes;
    } cases[] = {
        {"[1]", "no JSON object", 0},
        {" {}", "no JSON object", 0},
        {"{}x", "not valid JSON", 0},
        {"{\"a\":\xFF}", "not valid JSON", 0},
        {"{\"\xC3\x28\":" T("\"F32\"", "[1]", "0", "4") "}", "not valid JSON", 4},
        {"{\"a\":" T("\"F32\"", "[1]", "0", "4") ",\"a\":" T("\"F32\"", "[1]", "4", "8") "}",
         "not valid JSON", 8},
        {"{\"a\":1}", "does not have dtype", 0},
        {"{\"a\":{}}", "does not have dtype", 0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"offsets\":[0,4]}}", "data_offsets", 4},
        {"{\"a\":" T("\"F33\"", "[1]", "0", "4") "}", "unknown dtype F33", 4},
        {"{\"a\":" T("32", "[1]", "0", "4") "}", "unknown dtype", 4},
        {"{\"a\":" T("\"F32\"", "1", "0", "4") "}", "impossible shape", 4},
        {"{\"a\":" T("\"F32\"", "[-1]", "0", "4") "}", "impossible shape", 4},
        {"{\"a\":" T("\"F32\"", "[1.0]", "0", "4") "}", "impossible shape", 4},
        {"{\"a\":" T("\"F32\"", "[1e0]", "0", "4") "}", "impossible shape", 4},
        {"{\"a\":" T("\"F32\"", "[\"1\"]", "0", "4") "}", "impossible shape", 4},
        {"{\"a\":" T("\"F32\"", "[4294967296,4294967296]", "0", "4") "}", "impossible shape", 4},
        {"{\"a\":" T("\"F32\"", "[9007199254740992,2048]", "0", "4") "}", "impossible shape", 4},
        {"{\"a\":" T("\"F32\"", "[99999999999999999999]", "0", "4") "}", "not valid JSON", 4},
        {"{\"a\":" T("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", "impossible shape", 4},
        {"{\"a\":" T("\"F32\"", "[2]", "0", "4") "}", "of shape [2] and dtype F32", 4},
        {"{\"a\":" T("\"F4\"", "[3]", "0", "2") "}", "of shape [3] and dtype F4", 2},
        {"{\"a\":" T("\"F32\"", "[1]", "4", "0") "}", "impossible data_offsets", 4},
        {"{\"a\":" T("\"F32\"", "[1]", "-4", "0") "}", "impossible data_offsets", 4},
        {"{\"a\":" T("\"F32\"", "[1]", "0", "4.0") "}", "impossible data_offsets", 4},
        {"{\"a\":" T("\"F32\"", "[1]", "0", "4,8") "}", "impossible data_offsets", 8},
        {"{\"a\":" T("\"F32\"", "[2]", "0", "8") "}", "4 bytes behind the end", 4},
        {"{\"a\":" T("\"F32\"", "[1]", "9007199254740988", "9007199254740992") "}",
         "behind the end", 4},
        {"{\"a\":" T("\"F32\"", "[1]", "4", "8") "}", "unused bytes before", 8},
        {"{\"a\":" T("\"F32\"", "[1]", "0", "4") ",\"b\":" T("\"F32\"", "[1]", "6", "10") "}",
         "unused bytes before", 10},
        {"{\"a\":" T("\"F32\"", "[2]", "0", "8") ",\"b\":" T("\"F32\"", "[1]", "4", "8") "}",
         "overlaps", 8},
        {"{\"a\":" T("\"F32\"", "[1]", "0", "4") ",\"b\":" T("\"F32\"", "[1]", "0", "4") "}",
         "overlaps", 4},
        {"{\"a\":" T("\"F32\"", "[1]", "0", "4") "}", "3 bytes that belong to no tensor", 7},
        {"{}", "1 bytes that belong to no tensor", 1},
        {"{\"__metadata__\":{\"a\":1}}", "__metadata__", 0},
        {"{\"__metadata__\":[]}", "__metadata__", 0},
    };
    static const char zeros[16];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect_refused(write_file("lie", cases[i].header, zeros, cases[i].data_bytes),
                       cases[i].sentence);
    }
}

Test(safetensors, headers_that_are_huge)
{
    size_t n = 4000000;
    char *text = malloc(n);
    memset(text, '[', n);
    memcpy(text, "{\"a\":", 5);
    expect_refused(write_raw("deep", n, text, n, NULL, 0), "more than 2000000 values");
    expect_refused(write_raw("deep", 1000000, text, 1000000, NULL, 0), "not valid JSON");
    memset(text, ',', n);
    text[0] = '{';
    expect_refused(write_raw("wide", n, text, n, NULL, 0), "more than 2000000 values");
    memset(text, 'n', n);
    memcpy(text, "{\"", 2);
    memcpy(text + 1000, "\":{}}", 5);
    expect_refused(write_raw("name", 1005, text, 1005, NULL, 0), "too long");
    free(text);
}

Test(safetensors, damaged_at_random)
{
    struct check_random random = {11};
    const char *whole = write_file("whole", two_header, two_data, 16);
    size_t bytes;
    char *data = check_read_file(whole, &bytes);
    const char *path = check_path(check_temp_dir(), "damaged");
    uint32_t refused = 0;
    for (uint32_t i = 0; i < 3000; i++) {
        char copy[168];
        memcpy(copy, data, bytes);
        for (uint32_t k = 0; k <= i % 3; k++) {
            copy[check_random_below(&random, 152)] = (char)check_random_u64(&random);
        }
        cr_assert(check_write_file(path, copy, bytes));
        struct safetensors st;
        struct error err = {""};
        if (safetensors_open(&st, path, &err)) {
            float values[8];
            for (uint64_t t = 0; t < st.n_tensors; t++) {
                if (safetensors_is_float(st.tensors[t].dtype) && st.tensors[t].elements <= 8) {
                    safetensors_read(&st.tensors[t], 0, st.tensors[t].elements, values);
                }
            }
            safetensors_close(&st);
        } else {
            refused++;
            cr_expect(err.text[0] != 0);
        }
    }
    cr_expect_gt(refused, 1000);
    free(data);
}

/* ---- folders ---- */

static void write_index(const char *text)
{
    cr_assert(check_write_file(check_path(check_temp_dir(), "model.safetensors.index.json"), text,
                               strlen(text)));
}

#define ONE(name, value) "{\"" name "\":" T("\"F32\"", "[1]", "0", "4") "}", value, 4

Test(safetensors, shards)
{
    static const float one = 1, two = 2;
    write_file("s1.safetensors", ONE("x", &one));
    write_file("s2.safetensors",
               "{\"y\":" T("\"F32\"", "[1]", "0", "4") ",\"x\":" T("\"F32\"", "[1]", "4", "8") "}",
               (float[]){two, 3}, 8);
    write_index("{\"metadata\":{\"total_size\":8},\"weight_map\":{\"y\":\"s2.safetensors\","
                "\"x\":\"s1.safetensors\"}}");
    struct safetensors st;
    struct error err = {""};
    cr_assert(safetensors_open_folder(&st, check_temp_dir(), &err), "%s", err.text);
    cr_expect_eq(st.n_files, 2);
    cr_expect_eq(st.n_tensors, 2);
    cr_expect_eq(st.n_unlisted, 1, "the second x");
    float value;
    safetensors_read(safetensors_find(&st, "x"), 0, 1, &value);
    cr_expect_eq(value, 1);
    safetensors_read(safetensors_find(&st, "y"), 0, 1, &value);
    cr_expect_eq(value, 2);
    cr_expect_str_eq(st.files[safetensors_find(&st, "y")->file].path,
                     check_path(check_temp_dir(), "s2.safetensors"));
    safetensors_close(&st);

    write_file("model.safetensors", ONE("z", &one));
    cr_assert(safetensors_open_folder(&st, check_temp_dir(), &err), "%s", err.text);
    cr_expect(safetensors_find(&st, "z"), "the single file comes first");
    cr_expect_eq(st.n_tensors, 1);
    safetensors_close(&st);
}

static void expect_folder_refused(const char *sentence)
{
    struct safetensors st;
    struct error err = {""};
    cr_expect_not(safetensors_open_folder(&st, check_temp_dir(), &err), "expected: %s", sentence);
    cr_expect(strstr(err.text, sentence), "\"%s\" lacks \"%s\"", err.text, sentence);
    cr_expect_null(st.files);
    cr_expect_null(st.tensors);
}

Test(safetensors, indexes_that_lie)
{
    static const float one = 1;
    static const struct {
        const char *index, *sentence;
    } cases[] = {
        {"[]", "not a JSON object"},
        {"{", "not valid JSON"},
        {"{}", "has no weight_map"},
        {"{\"weight_map\":{}}", "has no weight_map"},
        {"{\"weight_map\":[\"a\"]}", "has no weight_map"},
        {"{\"weight_map\":{\"x\":1}}", "is not a text"},
        {"{\"weight_map\":{\"x\":\"../../etc/passwd\"}}", "not a file name in the same folder"},
        {"{\"weight_map\":{\"x\":\"/etc/passwd\"}}", "not a file name in the same folder"},
        {"{\"weight_map\":{\"x\":\"a\\\\b\"}}", "not a file name in the same folder"},
        {"{\"weight_map\":{\"x\":\"..\"}}", "not a file name in the same folder"},
        {"{\"weight_map\":{\"x\":\".\"}}", "not a file name in the same folder"},
        {"{\"weight_map\":{\"x\":\"\"}}", "not a file name in the same folder"},
        {"{\"weight_map\":{\"x\":\"gone.safetensors\"}}", "gone.safetensors is missing"},
        {"{\"weight_map\":{\"x\":\"s1.safetensors\",\"y\":\"s1.safetensors\"}}",
         "\"y\" is not in s1.safetensors"},
        {"{\"weight_map\":{\"x\":\"s1.safetensors\",\"x\":\"s2.safetensors\"}}", "not valid JSON"},
    };
    expect_folder_refused("neither model.safetensors nor");
    write_file("s1.safetensors", ONE("x", &one));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        write_index(cases[i].index);
        expect_folder_refused(cases[i].sentence);
    }
}
