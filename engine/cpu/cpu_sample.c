/* The token that follows (engine/base/sampling.h), and the step of the list that takes it. */
#include "engine/base/sampling.h"
#include "engine/cpu/cpu_internal.h"

void cpu_sample(const struct cpu_run *run, const struct op *op)
{
    const struct sample_args *args = &op->args.sample;
    struct sampling_state *state = cpu_pointer(args->state);
    uint32_t *occurrences = cpu_pointer(args->occurrences);
    struct step *step = cpu_pointer(args->step);
    struct sampling_state bounded = *state;
    if (bounded.n_valid == 0 || bounded.n_valid > args->vocabulary) {
        bounded.n_valid = args->vocabulary;
    }
    uint32_t position = step->position + step->n_tokens;
    uint32_t id = sampling_pick(&bounded, cpu_pointer(args->logits), occurrences, position,
                                (uint32_t *)run->scratch);
    sampling_accept(state, cpu_pointer(args->recent), occurrences, id);
    ((uint32_t *)cpu_pointer(args->chosen))[position % SAMPLE_RESULTS] = id;
    step->n_tokens = 1;
    step->position = position;
    step->tokens[0] = id;
}

uint64_t cpu_sample_scratch(const struct cpu_level *level, const struct op *op)
{
    return SAMPLING_SCRATCH_WORDS(op->args.sample.vocabulary) * sizeof(uint32_t);
}
