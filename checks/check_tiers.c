#include "checks/check_tiers.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MAX_SETS 34

struct runner {
    const struct check_tiers_request *request;
    struct check_tiers_result *result;
    uint64_t done, total; /* ops */
    double deadline;      /* of everything */
    struct error *err;
};

static double now_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

struct heard {
    char sentence[512];
};

static void hear(void *context, const char *sentence)
{
    struct heard *heard = context;
    if (!heard->sentence[0]) {
        snprintf(heard->sentence, sizeof(heard->sentence), "%s", sentence);
    }
}

static bool open_device(const struct runner *r, uint32_t tiers_off, struct check_device *device)
{
    *device = (struct check_device){.one_case_in = r->request->one_case_in,
                                    .no_patterns = r->request->quick};
    return r->request->open(r->request->context, tiers_off, device, r->err);
}

static void close_device(struct check_device *device)
{
    device->backend->functions->destroy(device->backend);
}

static void note_failure(struct runner *r, enum op_kind kind, uint32_t tiers_off,
                         const struct heard *heard)
{
    struct check_tiers_result *result = r->result;
    if (result->n_failures < CHECK_TIERS_MAX_FAILURES) {
        uint32_t i = result->n_failures++;
        result->failures[i].kind = kind;
        result->failures[i].tiers = r->request->has & ~tiers_off;
        memcpy(result->failures[i].sentence, heard->sentence, sizeof(heard->sentence));
    }
}

/* All ops with these tiers off, within so many seconds; failed[kind] becomes true for those that
 * fail. False if the device cannot be opened, or is to stop. */
static bool run_set(struct runner *r, uint32_t tiers_off, double seconds, bool failed[OP_COUNT])
{
    struct check_device device;
    double started = now_seconds();
    bool going = true;
    if (!open_device(r, tiers_off, &device)) {
        return false;
    }
    device.no_patterns = device.no_patterns || (tiers_off != 0 && tiers_off != r->request->has);
    for (uint32_t kind = 0; going && kind < OP_COUNT; kind++) {
        struct heard heard = {""};
        device.report = hear;
        device.report_context = &heard;
        device.deadline = started + seconds * (kind + 1) / OP_COUNT;
        uint32_t failures = device.n_failed, cases = device.n_cases;
        if (!check_run_op(&device, (enum op_kind)kind)) {
            failed[kind] = true;
            note_failure(r, (enum op_kind)kind, tiers_off, &heard);
            device.n_failed = failures + 1; /* so that later ops are still heard */
            r->result->n_failed++;
        }
        r->result->n_unreached += tiers_off == 0 && device.n_cases == cases;
        r->done++;
        going = !r->request->progress ||
                r->request->progress(r->request->progress_context, r->done, r->total);
    }
    r->result->n_checks += device.n_cases;
    r->result->n_sets++;
    close_device(&device);
    return going || error_set(r->err, "stopped");
}

/* Whether an op passes with these tiers off; *passes is valid if true is returned. */
static bool try_op(struct runner *r, enum op_kind kind, uint32_t tiers_off, bool *passes)
{
    struct check_device device;
    if (!open_device(r, tiers_off, &device)) {
        return false;
    }
    *passes = check_run_op(&device, kind);
    r->result->n_checks += device.n_cases;
    close_device(&device);
    return true;
}

/* Adds to tiers_off what makes the op pass. */
static bool blame(struct runner *r, enum op_kind kind)
{
    struct check_tiers_result *result = r->result;
    uint32_t has = r->request->has;
    bool passes = false;
    if (result->tiers_off && !try_op(r, kind, result->tiers_off, &passes)) {
        return false;
    }
    for (uint32_t tier = 0; !passes && tier < 32; tier++) {
        uint32_t off = result->tiers_off | 1u << tier;
        if (!(has >> tier & 1) || off == result->tiers_off) {
            continue;
        }
        if (!try_op(r, kind, off, &passes)) {
            return false;
        }
        result->tiers_off = passes ? off : result->tiers_off;
    }
    if (!passes && has) {
        if (!try_op(r, kind, has, &passes)) {
            return false;
        }
        result->tiers_off = passes ? has : result->tiers_off;
    }
    result->unusable = result->unusable || !passes;
    return true;
}

/* The sets beyond "all tiers": each tier off, and all off where that is another set. */
static uint32_t list_sets(uint32_t has, uint32_t sets[MAX_SETS])
{
    uint32_t n = 0;
    for (uint32_t tier = 0; tier < 32; tier++) {
        if (has >> tier & 1) {
            sets[n++] = 1u << tier;
        }
    }
    if (n > 1) {
        sets[n++] = has;
    }
    return n;
}

bool check_tiers_run(const struct check_tiers_request *request, struct check_tiers_result *result,
                     struct error *err)
{
    uint32_t sets[MAX_SETS], n = request->quick ? 0 : list_sets(request->has, sets);
    bool failed[OP_COUNT] = {false}, elsewhere[OP_COUNT] = {false};
    *result = (struct check_tiers_result){0};
    struct runner r = {.request = request,
                       .result = result,
                       .total = (n + 1) * (uint64_t)OP_COUNT,
                       .deadline = now_seconds() + request->seconds,
                       .err = err};
    if (!run_set(&r, 0, n > 0 ? request->seconds / 2 : request->seconds, failed)) {
        return false;
    }
    for (uint32_t kind = 0; kind < OP_COUNT; kind++) {
        if (failed[kind] && !blame(&r, (enum op_kind)kind)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        double left = r.deadline - now_seconds();
        if (!run_set(&r, sets[i], left / (n - i), elsewhere)) {
            return false;
        }
    }
    return true;
}
