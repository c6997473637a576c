#include "engine/run/prediction.h"

#include <assert.h>
#include <math.h>

#include "engine/op/op_steps.h"
#include "engine/run/prediction_internal.h"

/* Sorted experts are measured with 1, 2, 4 ... tokens each; more do not make them faster. */
#define MAX_VECTORS 512

/* Seconds of so many operations of experts that get `tokens` each: an expert's seconds lie between
 * those of the two powers of two around their number, as a part for its weights, which is paid
 * once, and one for every token would. */
static bool experts_seconds(struct prediction *p, const struct op *op, double tokens,
                            double operations, const struct backend_peaks *peaks, double *seconds,
                            struct error *err)
{
    struct prediction_rate low, high;
    tokens = fmax(1, fmin(tokens, MAX_VECTORS));
    double power = floor(log2(tokens) + 1e-9), few = exp2(power), part = tokens / few - 1;
    if (!prediction_find(p, op, (uint32_t)few, peaks, &low, err)) {
        return false;
    }
    high = low;
    if (part > 0.01 && !prediction_find(p, op, 2 * (uint32_t)few, peaks, &high, err)) {
        return false;
    }
    double expert = few * low.operation * (1 - part) + 2 * few * high.operation * part;
    *seconds = operations * expert / tokens;
    return true;
}

/* Of experts whose tokens were counted: some have many, which are fast, and many have few. */
static bool loaded_seconds(struct prediction *p, const struct op *op, const struct op_loads *loads,
                           double operations, const struct backend_peaks *peaks, double *seconds,
                           struct error *err)
{
    double pairs = 0;
    for (uint32_t v = 1; v <= loads->n_tokens; v++) {
        pairs += v * loads->experts[v];
    }
    *seconds = 0;
    for (uint32_t v = 1; v <= loads->n_tokens; v++) {
        double more, part = v * loads->experts[v] / pairs;
        if (part > 0) {
            if (!experts_seconds(p, op, v, operations * part, peaks, &more, err)) {
                return false;
            }
            *seconds += more;
        }
    }
    return true;
}

/* Tokens of each of the experts that n tokens choose evenly. */
static double tokens_of_expert(const struct op *op, uint32_t n)
{
    bool up = op->kind == OP_expert_gate_up;
    uint32_t experts = up ? op->args.expert_gate_up.n_experts : op->args.expert_down.n_experts;
    uint32_t top_k = up ? op->args.expert_gate_up.top_k : op->args.expert_down.top_k;
    return (double)n * top_k / op_cost_experts(experts, 0, top_k, n);
}

static bool seconds_of_op(struct prediction *p, const struct op *op, uint32_t n, uint32_t position,
                          const struct op_loads *loads, const struct backend_peaks *peaks,
                          double resident, double *seconds, struct error *err)
{
    struct op_cost cost = op_cost_of(op, n, position, loads);
    struct prediction_rate rate = {0};
    double memory = (cost.weight_bytes + cost.cache_bytes) / resident +
                    cost.activation_bytes / backend_peaks_read(peaks, cost.activation_bytes);
    bool ok;
    if (prediction_is_sorted(op) && loads) {
        ok = loaded_seconds(p, op, loads, cost.operations, peaks, seconds, err);
    } else if (prediction_is_sorted(op)) {
        ok = experts_seconds(p, op, tokens_of_expert(op, n), cost.operations, peaks, seconds, err);
    } else {
        bool one = op->kind == OP_matmul && op->args.matmul.one_row;
        ok = prediction_find(p, op, one ? 1 : n, peaks, &rate, err);
        *seconds = rate.fixed + cost.operations * rate.operation;
    }
    *seconds = rate.from_memory ? *seconds : fmax(*seconds, memory);
    return ok;
}

bool prediction_of_list(struct prediction *p, const struct op_list *list, uint32_t n,
                        uint32_t position, const struct op_loads *loads,
                        const struct backend_peaks *peaks, double *seconds, double *op_seconds,
                        struct error *err)
{
    uint32_t routers = 0;
    assert(n <= list->max_tokens);
    double resident = backend_peaks_read(peaks, (double)p->resident_bytes);
    *seconds = peaks->submit_seconds + op_list_steps(list, NULL) * peaks->step_seconds;
    for (uint32_t i = 0; i < list->n_ops; i++) {
        double more;
        const struct op *op = &list->ops[i];
        const struct op_loads *of_op = op_loads_at(loads, op, &routers);
        if (!seconds_of_op(p, op, n, position, of_op, peaks, resident, &more, err)) {
            return false;
        }
        *seconds += more;
        if (op_seconds) {
            op_seconds[i] = more;
        }
    }
    return true;
}
