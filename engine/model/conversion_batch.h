/* Making the matrices and slabs of some items at once, so that all threads have work even where
 * matrices are small. Private to conversion*.c. */
#pragma once

#include "engine/model/conversion_plan.h"

/* Makes items [first, first + n) of the plan: item first + i at targets[i]. *done counts source
 * bytes, for progress. */
bool conversion_batch_make(const struct conversion_plan *plan, uint64_t first, uint64_t n,
                           uint8_t *const *targets, const struct conversion_work *work,
                           uint64_t *done, struct error *err);
