#include "tests/golden/golden.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cpu_features.h"
#include "tests/check.h"

/* ---- the device ---- */

static void choose_cpu(struct golden_device *device)
{
    static const struct {
        const char *name;
        uint32_t needed, mask;
    } levels[] = {
        {"none", 0, 0},
        {"avx2", CPU_AVX2, CPU_AVX2},
        {"avx512", CPU_AVX512, UINT32_MAX},
    };
    const char *level = getenv("GOLDEN_CPU");
    for (size_t i = 0; level && i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strcmp(level, levels[i].name) == 0) {
            if ((cpu_features() & levels[i].needed) != levels[i].needed) {
                cr_skip("this processor has no %s", level);
            }
            cpu_features_set_mask(levels[i].mask);
        }
    }
    *device = (struct golden_device){.id = "cpu", .nmse = 1e-6};
}

static void choose_vulkan(struct golden_device *device, bool software_too)
{
    struct moxie_device devices[17];
    struct moxie_error err;
    uint32_t n = moxie_devices(devices, 17, &err);
    for (uint32_t i = 1; i < n && i < 17; i++) {
        if (devices[i].usable && (software_too || devices[i].kind != MOXIE_DEVICE_SOFTWARE)) {
            *device = (struct golden_device){.vulkan = true, .nmse = 1e-5};
            memcpy(device->id, devices[i].id, sizeof(device->id));
            return;
        }
    }
    cr_skip("there is no such Vulkan device here. %s", err.text);
}

const struct golden_device *golden_device(void)
{
    static struct golden_device device;
    const char *wanted = getenv("GOLDEN_DEVICE");
    if (device.id[0]) {
        return &device;
    }
    if (!wanted || strcmp(wanted, "cpu") == 0) {
        choose_cpu(&device);
    } else {
        choose_vulkan(&device, strcmp(wanted, "gpu") != 0);
    }
    return &device;
}

bool golden_short(void)
{
    return getenv("GOLDEN_SHORT") != NULL;
}

const struct golden_device *golden_vulkan(void)
{
    if (!golden_device()->vulkan) {
        cr_skip("for Vulkan devices");
    }
    return golden_device();
}

const struct golden_device *golden_cpu(void)
{
    if (golden_device()->vulkan) {
        cr_skip("for the CPU");
    }
    return golden_device();
}

/* ---- reference data ---- */

json_t *golden_json(const char *path)
{
    json_error_t where;
    json_t *value = json_load_file(path, 0, &where);
    cr_assert_not_null(value, "%s: %s", path, where.text);
    return value;
}

uint32_t *golden_ids(const json_t *list, size_t *n)
{
    *n = json_array_size(list);
    cr_assert_gt(*n, 0);
    uint32_t *ids = malloc(*n * sizeof(*ids));
    for (size_t i = 0; i < *n; i++) {
        ids[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    }
    return ids;
}

float *golden_floats(const json_t *list, size_t *n)
{
    size_t rows = json_array_size(list), cols = json_array_size(json_array_get(list, 0));
    bool flat = cols == 0;
    cols = flat ? 1 : cols;
    *n = rows * cols;
    cr_assert_gt(*n, 0);
    float *values = malloc(*n * sizeof(*values));
    for (size_t i = 0; i < *n; i++) {
        const json_t *row = json_array_get(list, i / cols);
        values[i] = (float)json_number_value(flat ? row : json_array_get(row, i % cols));
    }
    return values;
}

/* ---- models ---- */

static void copy_file(const char *from, const char *to)
{
    size_t bytes;
    char *data = check_read_file(from, &bytes);
    cr_assert_not_null(data, "%s", from);
    cr_assert(check_write_file(to, data, bytes));
    free(data);
}

/* Copies tests/golden/<family><rest>.safetensors, if it is there, to model<rest>.safetensors. */
static bool copy_weights(const char *family, const char *rest)
{
    char from[256], to[256];
    snprintf(from, sizeof(from), "tests/golden/%s%s.safetensors", family, rest);
    snprintf(to, sizeof(to), "model%s.safetensors", rest);
    if (access(check_source_path(from), R_OK) != 0) {
        return false;
    }
    copy_file(check_source_path(from), check_path(check_temp_dir(), to));
    return true;
}

static const char *convert(const char *folder, const char *type)
{
    char command[8192], name[64];
    snprintf(name, sizeof(name), "%s.moxie", type);
    const char *path = check_path(check_temp_dir(), name);
    snprintf(command, sizeof(command), "'%s' convert '%s' '%s' --type %s > /dev/null",
             MOXIE_PROGRAM, folder, path, type);
    cr_assert_eq(system(command), 0, "%s", command);
    return path;
}

const char *golden_family(const char *family, const char *type, json_t **reference)
{
    char name[256];
    const char *folder = check_temp_dir();
    snprintf(name, sizeof(name), "tests/golden/%s.json", family);
    *reference = golden_json(check_source_path(name));
    json_dump_file(json_object_get(*reference, "config"), check_path(folder, "config.json"), 0);
    const json_t *index = json_object_get(*reference, "index");
    if (json_is_object(index)) {
        json_dump_file(index, check_path(folder, "model.safetensors.index.json"), 0);
        cr_assert(copy_weights(family, "-00001-of-00002"));
        cr_assert(copy_weights(family, "-00002-of-00002"));
    } else {
        cr_assert(copy_weights(family, ""));
    }
    copy_file(check_source_path("tests/golden/golden_tokenizer.json"),
              check_path(folder, "tokenizer.json"));
    return convert(folder, type);
}

const char *golden_tiny(const char *type)
{
    const char *folder = check_shared_path("models/moxie-tiny");
    if (!folder) {
        cr_skip("the checkpoint of the demo model is not beside this checkout");
    }
    return convert(folder, type);
}

json_t *golden_tiny_reference(void)
{
    const char *path = check_shared_path("models/moxie-tiny/reference.json");
    if (!path) {
        cr_skip("the reference of the demo model is not beside this checkout");
    }
    return golden_json(path);
}

const char *golden_demo(void)
{
    const char *path = check_source_path("models/moxie-tiny.moxie");
    if (access(path, R_OK) != 0) {
        cr_skip("the demo model has not been made");
    }
    return path;
}

/* ---- the engine ---- */

struct moxie_model *golden_open(const char *path)
{
    struct moxie_error err;
    struct moxie_options options = moxie_options_defaults();
    options.device = golden_device()->id;
    options.arithmetic = golden_device()->vulkan ? "f32" : NULL;
    struct moxie_model *model = moxie_open(path, &options, &err);
    cr_assert_not_null(model, "%s", err.text);
    return model;
}

struct moxie_session *golden_session(struct moxie_model *model, enum moxie_kv_type kv_type,
                                     uint32_t context)
{
    struct moxie_error err;
    struct moxie_session_options options = moxie_session_defaults();
    options.kv_type = kv_type;
    options.context = context;
    options.keep_routes = true;
    struct moxie_session *session = moxie_session_create(model, &options, &err);
    cr_assert_not_null(session, "%s", err.text);
    return session;
}

void golden_eval(struct moxie_session *session, const uint32_t *ids, size_t n)
{
    struct moxie_error err;
    cr_assert(moxie_eval(session, ids, n, &err), "%s", err.text);
}

void golden_eval_parts(struct moxie_session *session, const uint32_t *ids, size_t n, size_t part)
{
    for (size_t done = 0; done < n; done += part) {
        golden_eval(session, ids + done, n - done < part ? n - done : part);
    }
}

uint32_t golden_vocabulary(const struct moxie_model *model)
{
    struct moxie_model_info info;
    moxie_model_info(model, &info);
    return info.vocabulary;
}

/* Experts of one token: the same ones with the same weights. Their order is the router's own: by
 * selection score, which is not the weight where a correction is added for the choice. */
static void check_choice(const uint32_t *ids, const float *weights, const json_t *experts,
                         const json_t *expected, double bound, const char *what, size_t position)
{
    size_t top_k = json_array_size(experts);
    for (size_t i = 0; i < top_k; i++) {
        uint32_t id = (uint32_t)json_integer_value(json_array_get(experts, i));
        double weight = json_number_value(json_array_get(expected, i));
        size_t slot = 0;
        while (slot < top_k && ids[slot] != id) {
            slot++;
        }
        cr_expect_lt(slot, top_k, "%s, position %zu: expert %u is not chosen", what, position, id);
        cr_expect(slot == top_k || fabs(weights[slot] - weight) <= bound * fmax(1, weight),
                  "%s, position %zu, expert %u: weight %g, not %g", what, position, id,
                  slot < top_k ? weights[slot] : NAN, weight);
    }
}

void golden_check_routes(const struct moxie_session *session, const json_t *routes, size_t first,
                         double bound, const char *what)
{
    for (size_t i = 0; i < json_array_size(routes); i++) {
        const json_t *route = json_array_get(routes, i);
        const json_t *named = json_object_get(route, "layer");
        uint32_t layer = named ? (uint32_t)json_integer_value(named) : (uint32_t)i;
        const json_t *experts = json_object_get(route, "experts");
        const json_t *expected = json_object_get(route, "weights");
        const uint32_t *ids;
        const float *weights;
        uint32_t n = moxie_routes(session, layer, &ids, &weights);
        cr_assert_gt(n, 0, "layer %u has a router", layer);
        cr_assert_leq(first + n, json_array_size(experts));
        size_t top_k = json_array_size(json_array_get(experts, 0));
        cr_assert_gt(top_k, 0);
        for (size_t t = 0; t < n; t++) {
            check_choice(ids + t * top_k, weights + t * top_k, json_array_get(experts, first + t),
                         json_array_get(expected, first + t), bound, what, first + t);
        }
    }
}

double golden_perplexity(struct moxie_model *model, const uint32_t *ids, size_t n)
{
    uint32_t vocabulary = golden_vocabulary(model);
    struct moxie_session *session = golden_session(model, MOXIE_KV_F16, 0);
    double sum = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        golden_eval(session, &ids[i], 1);
        const float *logits = moxie_logits(session);
        double largest = logits[0], total = 0;
        for (uint32_t v = 1; v < vocabulary; v++) {
            largest = logits[v] > largest ? logits[v] : largest;
        }
        for (uint32_t v = 0; v < vocabulary; v++) {
            total += exp(logits[v] - largest);
        }
        sum += largest + log(total) - logits[ids[i + 1]];
    }
    moxie_session_destroy(&session);
    return exp(sum / (double)(n - 1));
}
