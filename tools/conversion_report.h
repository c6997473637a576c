/* What convert and quantize tell of a conversion: before it, and when it is done. */
#pragma once

#include "engine/model/conversion.h"
#include "engine/model/expert_budget.h"
#include "engine/model/importance_weights.h"
#include "format/error.h"

/* One line for all items that differ in layer and expert only, and the size of the file. */
bool conversion_report_plan(const struct conversion_plan *plan, const char *output,
                            const struct conversion_options *options, struct error *err);
void conversion_report_done(const struct conversion_plan *plan, const char *output,
                            uint64_t file_bytes, double seconds);

/* What the statistics cover, and what takes the place of those that are missing. */
void conversion_report_importance(const struct importance_weights *weights);
/* How many experts got which types. */
void conversion_report_budget(const struct expert_budget *budget, uint64_t allowed_bytes);
/* On stderr, if matrices that are quantised already will be quantised again. */
void conversion_report_requantised(const struct conversion_plan *plan, const char *tool);
