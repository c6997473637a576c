/* Experts of one layer that differ in type: a file whose experts are stored in f32 or bf16, each
 * matrix by its number, gives the logits and routes of the reference, as the family's weights are
 * exact in bf16. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/check.h"
#include "tests/golden/golden.h"
#include "tests/golden/model_copy.h"

/* Four classes. */
static bool mix_types(void *context, struct expert_spec *spec)
{
    spec->type = spec->expert % 2 == 1 ? DTYPE_BF16 : DTYPE_F32;
    spec->down_type = spec->expert % 4 >= 2 ? DTYPE_BF16 : DTYPE_F32;
    return true;
}

static void check_family(const char *family)
{
    json_t *reference;
    size_t n, n_logits;
    const struct model_change change = {.slab = mix_types};
    golden_device(); /* skip before any work is done */
    struct moxie_model *model =
        golden_open(model_copy(golden_family(family, "f32", &reference), "mixed.moxie", &change));
    uint32_t vocabulary = golden_vocabulary(model);
    uint32_t *ids = golden_ids(json_object_get(reference, "ids"), &n);
    float *logits = golden_floats(json_object_get(reference, "logits"), &n_logits);
    for (size_t part = 1; part < 2 * n; part = part == 1 ? n / 2 + 1 : part * 2) {
        struct moxie_session *session = golden_session(model, MOXIE_KV_F32, 0);
        double worst = 0;
        for (size_t done = 0; done < n; done += part) {
            size_t now = n - done < part ? n - done : part;
            golden_eval(session, ids + done, now);
            double nmse = check_nmse(moxie_logits(session), logits + (done + now - 1) * vocabulary,
                                     vocabulary);
            golden_check_routes(session, json_object_get(reference, "routes"), done, 1e-4, family);
            worst = nmse > worst ? nmse : worst;
        }
        cr_expect_leq(worst, golden_device()->nmse / 100, "%s, %zu at once: NMSE %g", family, part,
                      worst);
        moxie_session_destroy(&session);
    }
    moxie_close(&model);
    json_decref(reference);
    free(ids);
    free(logits);
}

Test(golden_mixed, olmoe)
{
    check_family("olmoe");
}

Test(golden_mixed, biased_experts)
{
    check_family("gptoss");
}

Test(golden_mixed, shared_expert)
{
    check_family("deepseek_v3");
}
