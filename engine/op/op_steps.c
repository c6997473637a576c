#include "engine/op/op_steps.h"

#include <stdbool.h>

/* Whether an op must wait for one of [first, index). */
static bool must_wait(const struct op_list *list, uint32_t first, uint32_t index)
{
    for (uint32_t i = first; i < index; i++) {
        if (op_depends(&list->ops[index], &list->ops[i])) {
            return true;
        }
    }
    return false;
}

uint32_t op_list_steps(const struct op_list *list, uint32_t *step_of_op)
{
    uint32_t n_steps = list->n_ops > 0, first = 0;
    for (uint32_t i = 0; i < list->n_ops; i++) {
        if (must_wait(list, first, i)) {
            first = i;
            n_steps++;
        }
        if (step_of_op) {
            step_of_op[i] = n_steps - 1;
        }
    }
    return n_steps;
}
