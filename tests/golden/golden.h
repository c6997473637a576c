/* What the golden tests share: the device they were started for, checkpoints and their conversion,
 * and the comparison of logits and routes with a reference.
 *
 * The environment chooses the device, so that meson can start one program on all of them:
 * GOLDEN_DEVICE is "cpu" (and GOLDEN_CPU "none", "avx2" or "avx512"), "vulkan" (the first usable
 * device of the driver that VK_ICD_FILENAMES names), or "gpu" (a Vulkan device that is no
 * software). Without it the tests run on the CPU with all it can do. GOLDEN_SHORT leaves out what
 * another device or another build covers: for SwiftShader, whose compiler takes most of the time,
 * and for the sanitizers.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/moxie.h"

struct golden_device {
    char id[16]; /* for moxie_options.device */
    bool vulkan;
    double nmse; /* bound for logits of a model that is not quantised */
};

/* Skips the test if the device is not there. */
const struct golden_device *golden_device(void);
/* Skips the test if the device is not a Vulkan device, or is one. */
const struct golden_device *golden_vulkan(void);
const struct golden_device *golden_cpu(void);

/* Whether GOLDEN_SHORT is set. */
bool golden_short(void);

/* Parsed; json_decref it. A file that is not there fails the test. */
json_t *golden_json(const char *path);
/* The numbers of a list, or of a list of lists, one after the other; free it. */
uint32_t *golden_ids(const json_t *list, size_t *n);
float *golden_floats(const json_t *list, size_t *n);

/* Puts the checkpoint of tests/golden/<family> together in check_temp_dir() and converts it.
 * Returns the path of the .moxie file; *reference is the content of <family>.json (json_decref it).
 */
const char *golden_family(const char *family, const char *type, json_t **reference);
/* The demo model's checkpoint, converted to the type; skips the test if the checkpoint is absent.
 */
const char *golden_tiny(const char *type);
/* Its reference; skips the test if it is absent. */
json_t *golden_tiny_reference(void);
/* The shipped demo model; skips the test if it is absent. */
const char *golden_demo(void);

/* On golden_device(), a GPU with floats in all products (test_golden_arithmetic has the others); a
 * failure fails the test. context 0: the model's. */
struct moxie_model *golden_open(const char *path);
struct moxie_session *golden_session(struct moxie_model *model, enum moxie_kv_type kv_type,
                                     uint32_t context);
void golden_eval(struct moxie_session *session, const uint32_t *ids, size_t n);
/* In parts of at most `part` tokens. */
void golden_eval_parts(struct moxie_session *session, const uint32_t *ids, size_t n, size_t part);
uint32_t golden_vocabulary(const struct moxie_model *model);

/* Compares the routes of the last eval, whose first token has position `first`, with a reference's
 * "routes": the same experts, with weights within the bound (relative to weights above one). */
void golden_check_routes(const struct moxie_session *session, const json_t *routes, size_t first,
                         double bound, const char *what);

/* exp of the mean negative log-likelihood of ids[1 ..] given those before. */
double golden_perplexity(struct moxie_model *model, const uint32_t *ids, size_t n);
