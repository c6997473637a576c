/* Which tiers of a device compute rightly: the checks of all ops with all tiers it has, with each
 * of them masked off, and with none.
 *
 * A tier is blamed for an op that fails with all tiers and not without that one; if no single one
 * is to blame, all are; if the op fails with none, the device cannot be used. Of devices it knows
 * what the caller's function opens, so that tests can give it broken ones.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "checks/check_ops.h"
#include "format/error.h"

struct check_tiers_request {
    /* Makes device->backend, with these tiers masked off, and what checks must know of it (name,
     * gpu, int8_activations). */
    bool (*open)(void *context, uint32_t tiers_off, struct check_device *device, struct error *err);
    void *context;
    uint32_t has;         /* tiers, bits */
    uint32_t one_case_in; /* as of check_device */
    bool quick;           /* all tiers only (and what finds who is to blame), without patterns */
    double seconds;       /* about so long at most; half of it for all tiers */
    /* Ops done of all; false stops. May be NULL. */
    bool (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;
};

#define CHECK_TIERS_MAX_FAILURES 16

struct check_tiers_result {
    uint32_t tiers_off; /* to blame */
    bool unusable;      /* an op fails with no tier */
    uint32_t n_checks, n_sets;
    uint32_t n_failed;    /* ops, once for each set they fail with */
    uint32_t n_unreached; /* ops of which the time allowed no case, with all tiers on */
    /* What failed, and with which tiers on; the first sentence of its check. */
    uint32_t n_failures;
    struct {
        enum op_kind kind;
        uint32_t tiers;
        char sentence[512];
    } failures[CHECK_TIERS_MAX_FAILURES];
};

/* False if the device could not be opened, or progress stopped it. */
bool check_tiers_run(const struct check_tiers_request *request, struct check_tiers_result *result,
                     struct error *err);
