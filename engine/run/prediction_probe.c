#include "engine/run/prediction_internal.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "engine/op/op_steps.h"

/* Short runs follow one another for so long before something else has its turn. */
#define TURN_SECONDS 0.004
#define MOST_RUNS 10000
/* Before these, one run is not timed: in a model they find code, tables and activations in caches.
 * A long run with few tokens reads weights from memory, whatever was there before. */
#define SHORT_SECONDS 0.001

double prediction_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static bool run(struct prediction *p, struct prediction_probe *probe, uint32_t runs,
                struct error *err)
{
    bool ok = true;
    double begin = prediction_now();
    for (uint32_t i = 0; ok && i < runs; i++) {
        ok = p->backend->functions->run(p->backend, probe->program, err);
    }
    probe->last = (prediction_now() - begin) / runs;
    return ok;
}

static bool set_step(struct prediction *p, const struct prediction_probe *probe, struct error *err)
{
    struct step step = {.n_tokens = probe->tokens, .position = probe->position};
    return p->backend->functions->write(p->backend, &p->buffers[PREDICTION_STEP], 0, &step,
                                        sizeof(step), err);
}

bool prediction_probe_create(struct prediction *p, struct prediction_probe *probe, uint32_t tokens,
                             uint32_t position, struct error *err)
{
    probe->tokens = tokens;
    probe->position = position;
    op_list_bind(&probe->list);
    probe->program = p->backend->functions->program_create(p->backend, &probe->list, err);
    /* The first time is slow, with fresh memory and code. */
    return probe->program && set_step(p, probe, err) && run(p, probe, 1, err) &&
           run(p, probe, 1, err);
}

void prediction_probe_destroy(struct prediction *p, struct prediction_probe *probe)
{
    p->backend->functions->program_destroy(p->backend, probe->program);
    op_list_free(&probe->list);
    if (probe->tables.bytes > 0) {
        p->backend->functions->buffer_destroy(p->backend, &probe->tables);
    }
    free(probe->tensors);
    *probe = (struct prediction_probe){0};
}

bool prediction_probe_run(struct prediction *p, struct prediction_probe *probe, struct error *err)
{
    double runs = fmin(fmax(1, floor(TURN_SECONDS / fmax(probe->last, 1e-9))), MOST_RUNS);
    bool warm = probe->last < SHORT_SECONDS || probe->tokens >= PREDICTION_MANY_TOKENS;
    if (!set_step(p, probe, err) || (warm && !run(p, probe, 1, err)) ||
        !run(p, probe, (uint32_t)runs, err)) {
        return false;
    }
    probe->runs += runs;
    probe->seconds += runs * probe->last;
    return true;
}

double prediction_probe_seconds(const struct prediction_probe *probe,
                                const struct backend_peaks *peaks)
{
    double whole = probe->seconds / probe->runs;
    double waiting =
        op_list_steps(&probe->list, NULL) * peaks->step_seconds + peaks->submit_seconds;
    return fmax(whole - waiting, whole / 10);
}
