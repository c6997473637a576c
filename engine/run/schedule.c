#include "engine/run/schedule.h"

bool schedule_create(struct schedule *schedule, struct backend *backend, struct op_list *list,
                     struct error *err)
{
    op_list_bind(list);
    schedule->backend = backend;
    schedule->program = backend->functions->program_create(backend, list, err);
    return schedule->program != NULL;
}

void schedule_destroy(struct schedule *schedule)
{
    if (schedule->program) {
        schedule->backend->functions->program_destroy(schedule->backend, schedule->program);
    }
    *schedule = (struct schedule){0};
}

bool schedule_run(struct schedule *schedule, struct error *err)
{
    return schedule->backend->functions->run(schedule->backend, schedule->program, err);
}

bool schedule_can_start(const struct schedule *schedule)
{
    return schedule->backend->functions->start != NULL;
}

bool schedule_start(struct schedule *schedule, uint64_t *ticket, struct error *err)
{
    return schedule->backend->functions->start(schedule->backend, schedule->program, ticket, err);
}

bool schedule_finish(struct schedule *schedule, uint64_t ticket, struct error *err)
{
    return schedule->backend->functions->finish(schedule->backend, schedule->program, ticket, err);
}

bool schedule_profile(struct schedule *schedule, double *seconds, struct error *err)
{
    struct backend *backend = schedule->backend;
    if (!backend->functions->profile) {
        return error_set(err, "%s cannot tell how long single operations take", backend->name);
    }
    return backend->functions->profile(backend, schedule->program, seconds, err);
}
