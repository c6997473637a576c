/* The loop over experts and blocks of their rows that gate/up and down share. */
#include <stddef.h>

#include "engine/cpu/cpu_internal.h"

static uint64_t blocks_of(const struct cpu_expert_loop *loop)
{
    return (loop->rows + CPU_ROWS_PER_TASK - 1) / CPU_ROWS_PER_TASK;
}

static struct cpu_expert_task task_of(const struct cpu_expert_loop *loop, uint32_t expert,
                                      uint64_t block)
{
    uint64_t first = block * CPU_ROWS_PER_TASK;
    uint64_t left = loop->rows - first;
    return (struct cpu_expert_task){
        .slab = cpu_pointer(loop->slabs[expert]),
        .expert = expert,
        .first_row = first,
        .end_row = first + (left < CPU_ROWS_PER_TASK ? left : CPU_ROWS_PER_TASK),
    };
}

static void run_by_pair(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct cpu_expert_loop *loop = context;
    uint64_t blocks = blocks_of(loop);
    for (uint64_t i = begin; i < end; i++) {
        uint32_t pair = (uint32_t)(i / blocks);
        assert(loop->ids[pair] < loop->n_experts);
        if (loop->slabs[loop->ids[pair]] == 0) {
            continue;
        }
        struct cpu_expert_task task = task_of(loop, loop->ids[pair], i % blocks);
        task.pair = pair;
        loop->fn(loop->context, &task);
    }
}

static void run_by_expert(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct cpu_expert_loop *loop = context;
    uint64_t blocks = blocks_of(loop);
    for (uint64_t i = begin; i < end; i++) {
        uint32_t expert = (uint32_t)(i / blocks);
        uint32_t first = loop->offsets[expert], last = loop->offsets[expert + 1];
        if (first == last || loop->slabs[expert] == 0) {
            continue;
        }
        struct cpu_expert_task task = task_of(loop, expert, i % blocks);
        for (uint32_t p = first; p < last; p++) {
            task.pair = loop->pairs[p];
            loop->fn(loop->context, &task);
        }
    }
}

void cpu_expert_for(const struct cpu_run *run, const struct cpu_expert_loop *loop)
{
    bool grouped = loop->offsets && loop->pairs;
    uint64_t n = (grouped ? loop->n_experts : loop->n_pairs) * blocks_of(loop);
    thread_pool_for(run->pool, n, 1, grouped ? run_by_expert : run_by_pair, (void *)loop);
}
