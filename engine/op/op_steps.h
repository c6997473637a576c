/* The dependent steps of a list: stretches of neighbouring ops that do not need each other, so that
 * a back end may run the ops of a step side by side and has to wait only between steps. The Vulkan
 * back end puts one barrier between two steps, the CPU back end runs a step as one phase.
 */
#pragma once

#include <stdint.h>

#include "engine/op/op.h"

/* In list order, a new step begins at an op that depends (op_depends) on one of the current step.
 * step_of_op[i], if not NULL, is the step of op i: 0 for the first, never falling. Returns how many
 * steps there are. */
uint32_t op_list_steps(const struct op_list *list, uint32_t *step_of_op);
