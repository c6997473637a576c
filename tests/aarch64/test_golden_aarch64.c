/* Whole models on 64-bit ARM: a cross-compiled engine (aarch64_eval.c) under QEMU, on a processor
 * with the dot-product extension and on one without, against the reference of a family and against
 * this machine's CPU.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/golden/golden.h"

#define ROWS 5 /* of logits, of the last positions (aarch64_eval.c) */

static const struct processor {
    const char *cpu, *rung;
} processors[] = {{"max", "neon_dot"}, {"cortex-a72", "neon"}};

/* (ROWS, vocabulary); free it. */
static float *run_arm(const struct processor *processor, const char *model, const uint32_t *ids,
                      size_t n, size_t vocabulary)
{
    char command[2048], device[256] = "", wanted[64];
    const char *folder = check_temp_dir();
    char *ids_path = strdup(check_path(folder, "ids"));
    char *logits_path = strdup(check_path(folder, "logits"));
    cr_assert(check_write_file(ids_path, ids, n * sizeof(*ids)));
    snprintf(command, sizeof(command), "'%s' -cpu %s '%s' '%s' '%s' '%s'", QEMU, processor->cpu,
             EVAL_PROGRAM, model, ids_path, logits_path);
    FILE *run = popen(command, "r");
    bool said = run && fgets(device, sizeof(device), run);
    cr_assert(said && pclose(run) == 0, "%s: %s", command, device);
    snprintf(wanted, sizeof(wanted), "CPU, %s, 2 threads\n", processor->rung);
    cr_expect_str_eq(device, wanted);
    size_t bytes;
    float *logits = (float *)(void *)check_read_file(logits_path, &bytes);
    cr_assert(logits && bytes == ROWS * vocabulary * sizeof(float));
    free(ids_path);
    free(logits_path);
    return logits;
}

/* expected: (ROWS, vocabulary). */
static void check_model(const char *model, const uint32_t *ids, size_t n, const float *expected,
                        size_t vocabulary, double bound)
{
    for (size_t p = 0; p < sizeof(processors) / sizeof(processors[0]); p++) {
        float *logits = run_arm(&processors[p], model, ids, n, vocabulary);
        for (size_t row = 0; row < ROWS; row++) {
            double nmse =
                check_nmse(logits + row * vocabulary, expected + row * vocabulary, vocabulary);
            cr_expect_leq(nmse, bound, "%s, row %zu: NMSE %g", processors[p].rung, row, nmse);
        }
        free(logits);
    }
}

Test(golden_aarch64, a_family_of_floats)
{
    json_t *reference;
    const char *path = golden_family("qwen3moe_mixed", "f32", &reference);
    size_t n, n_logits;
    uint32_t *ids = golden_ids(json_object_get(reference, "ids"), &n);
    float *logits = golden_floats(json_object_get(reference, "logits"), &n_logits);
    size_t vocabulary = n_logits / n;
    check_model(path, ids, n, logits + (n - ROWS) * vocabulary, vocabulary, 1e-8);
    json_decref(reference);
    free(ids);
    free(logits);
}

/* Blocks of int8, with all that this machine's processor can do as the reference: the activations
 * are rounded alike where it has instructions for it. */
Test(golden_aarch64, the_demo_model)
{
    uint32_t ids[24];
    for (uint32_t i = 0; i < 24; i++) {
        ids[i] = 3 + 37 * i;
    }
    struct moxie_model *model = golden_open(golden_demo());
    struct moxie_session *session = golden_session(model, MOXIE_KV_F32, 0);
    uint32_t vocabulary = golden_vocabulary(model);
    float *expected = malloc(ROWS * vocabulary * sizeof(float));
    for (size_t row = 0, done = 0; row < ROWS; row++) {
        size_t count = row == 0 ? 24 - (ROWS - 1) : 1;
        golden_eval(session, ids + done, count);
        memcpy(expected + row * vocabulary, moxie_logits(session), vocabulary * sizeof(float));
        done += count;
    }
    check_model(golden_demo(), ids, 24, expected, vocabulary, 1e-3);
    free(expected);
    moxie_session_destroy(&session);
    moxie_close(&model);
}
