/* Weights used in place on a Vulkan device and weights copied to it: the same logits, bit for bit,
 * and less memory taken. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cache_file.h"
#include "engine/moxie_internal.h"
#include "engine/vk/vk_internal.h"
#include "tests/check.h"
#include "tests/golden/golden.h"

static const char *folder(void)
{
    static char name[4000];
    snprintf(name, sizeof(name), "%s/cache", check_temp_dir());
    return name;
}

/* What an earlier start would have found out. */
static void choose(const struct vk_identity *identity, uint8_t pays)
{
    struct cache_file file = {
        .folder = folder(), .name = "import", .key = identity, .key_bytes = sizeof(*identity)};
    cr_assert(cache_file_write(&file, &pays, 1));
}

/* Logits of a prompt and of the tokens after it (free them); *taken: bytes that the model's buffers
 * take. */
static float *evaluate(uint64_t *taken, size_t *n)
{
    struct moxie_error err;
    struct moxie_options options = moxie_options_defaults();
    options.device = golden_device()->id;
    options.cache_folder = folder();
    struct moxie_model *model = moxie_open(golden_demo(), &options, &err);
    cr_assert(model, "%s", err.text);
    struct backend_memory memory;
    model->backend->functions->memory(model->backend, &memory);
    *taken = memory.used;
    struct moxie_model_info info;
    moxie_model_info(model, &info);
    struct moxie_session *session = golden_session(model, MOXIE_KV_F16, 64);
    enum { EVALUATIONS = 4 };
    float *logits = malloc((size_t)EVALUATIONS * info.vocabulary * sizeof(float));
    uint32_t ids[40];
    for (uint32_t i = 0; i < 40; i++) {
        ids[i] = (i * 37 + 11) % info.vocabulary;
    }
    for (uint32_t i = 0; i < EVALUATIONS; i++) {
        uint32_t best = i ? moxie_best(session) : 0;
        golden_eval(session, i ? &best : ids, i ? 1 : 40);
        memcpy(logits + (size_t)i * info.vocabulary, moxie_logits(session),
               info.vocabulary * sizeof(float));
    }
    *n = (size_t)EVALUATIONS * info.vocabulary;
    moxie_session_destroy(&session);
    moxie_close(&model);
    return logits;
}

Test(golden_import, the_same_logits_in_place)
{
    struct error err = {{0}};
    golden_vulkan();
    uint32_t index = (uint32_t)atoi(strchr(golden_device()->id, ':') + 1);
    struct backend *backend = vk_backend_create(&(struct vk_options){.device = index}, &err);
    cr_assert(backend, "%s", err.text);
    struct vk_physical physical = ((struct vk_backend *)backend)->device.physical;
    bool possible = physical.unified && vk_import_possible((struct vk_backend *)backend);
    backend->functions->destroy(backend);
    if (!possible) {
        cr_skip("no import here");
    }
    uint64_t taken[2];
    size_t n[2];
    float *logits[2];
    for (uint8_t pays = 0; pays < 2; pays++) {
        choose(&physical.identity, pays);
        logits[pays] = evaluate(&taken[pays], &n[pays]);
    }
    cr_assert_eq(n[0], n[1]);
    cr_expect_arr_eq(logits[0], logits[1], n[0] * sizeof(float));
    cr_expect_gt(taken[0], taken[1] + (UINT64_C(4) << 20), "%lu and %lu bytes", taken[0], taken[1]);
    free(logits[0]);
    free(logits[1]);
}
