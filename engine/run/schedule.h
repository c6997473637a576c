/* Runs an op list where its tensors live. Everybody above hands lists to a schedule and does not
 * know how many back ends there are; in this version a list is one stretch on one back end.
 */
#pragma once

#include <stdbool.h>

#include "engine/op/backend.h"
#include "engine/op/op.h"
#include "format/error.h"

struct schedule {
    struct backend *backend;
    struct program *program;
};

/* Binds the list's tensors, all of which have addresses by now, and makes it ready. The list must
 * outlive the schedule. */
bool schedule_create(struct schedule *schedule, struct backend *backend, struct op_list *list,
                     struct error *err);
void schedule_destroy(struct schedule *schedule);

/* Runs the list once; results can be read when it returns. */
bool schedule_run(struct schedule *schedule, struct error *err);

/* The same in two halves, as engine/op/backend.h has them, where the back end can compute while the
 * host goes on; elsewhere use schedule_run. */
bool schedule_can_start(const struct schedule *schedule);
bool schedule_start(struct schedule *schedule, uint64_t *ticket, struct error *err);
bool schedule_finish(struct schedule *schedule, uint64_t ticket, struct error *err);

/* As schedule_run, but slower: seconds[i] gets what op i took. False, with a sentence, where the
 * back end cannot tell. */
bool schedule_profile(struct schedule *schedule, double *seconds, struct error *err);
