#include "engine/cpu/cpu_phase.h"

#include <stdlib.h>
#include <string.h>

#define ALIGN 64

/* Activations that one thread prepares in less time than waking the others would take. */
#define ELEMENTS_PREPARED_ALONE 16384

static uint64_t round_up(uint64_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

bool cpu_phase_init(struct cpu_phase *phase, uint32_t n_threads, uint32_t n_ops,
                    uint64_t rows_scratch)
{
    uint64_t products = (uint64_t)CPU_ITEM_VECTORS * CPU_ITEM_ROWS * sizeof(float);
    *phase = (struct cpu_phase){.capacity = n_ops};
    phase->memory_stride = round_up(products) + round_up(rows_scratch);
    phase->shares = aligned_alloc(ALIGN, round_up(n_ops * sizeof(*phase->shares)));
    phase->preparations = calloc(n_ops, sizeof(*phase->preparations));
    phase->starts = calloc(n_threads + 1, sizeof(*phase->starts));
    phase->memory = aligned_alloc(ALIGN, n_threads * phase->memory_stride);
    return phase->shares && phase->preparations && phase->starts && phase->memory;
}

void cpu_phase_free(struct cpu_phase *phase)
{
    free(phase->shares);
    free(phase->preparations);
    free(phase->starts);
    free(phase->memory);
    *phase = (struct cpu_phase){0};
}

void cpu_phase_add(struct cpu_phase *phase, const struct cpu_share *share, const void *context,
                   uint64_t bytes)
{
    assert(phase->n_shares < phase->capacity && bytes <= CPU_SHARE_CONTEXT_BYTES);
    struct cpu_share *added = &phase->shares[phase->n_shares++];
    *added = *share;
    memcpy(added->context, context, bytes);
}

/* ---- preparing ---- */

/* Bytes of a normed row, so that the next one is as aligned. */
static uint64_t normed_stride(uint64_t cols)
{
    return round_up(cols * sizeof(float));
}

/* Normed rows, then prepared ones. */
uint64_t cpu_prepared_bytes(const struct cpu_dot *dot, const struct cpu_input *input)
{
    uint64_t row = dot->prepared_bytes ? dot->prepared_bytes(input->cols) : 0;
    return input->n * (row + (input->norm ? normed_stride(input->cols) : 0));
}

static bool same_input(const struct cpu_input *a, const struct cpu_input *b)
{
    return a->x == b->x && a->norm == b->norm && a->n == b->n && a->cols == b->cols &&
           (!a->norm || a->epsilon == b->epsilon);
}

/* Where dot's form of the preparation is; it has the rows of the input and does it need not yet
 * have that form. */
static struct cpu_vectors vectors_of(const struct cpu_preparation *p, const struct cpu_dot *dot)
{
    return dot->prepare ? (struct cpu_vectors){p->prepared, p->prepared_stride}
                        : (struct cpu_vectors){p->normed, p->normed_stride};
}

static void want_prepared(struct cpu_preparation *p, const struct cpu_dot *dot, uint8_t *where)
{
    p->dot = dot;
    p->prepared = where;
    p->prepared_stride = dot->prepared_bytes(p->input.cols);
}

struct cpu_vectors cpu_phase_prepare(struct cpu_phase *phase, const struct cpu_dot *dot,
                                     const struct cpu_input *input, void *scratch)
{
    if (!dot->prepare && !input->norm) {
        return (struct cpu_vectors){(const uint8_t *)input->x, input->cols * sizeof(float)};
    }
    for (uint32_t i = 0; i < phase->n_preparations; i++) {
        struct cpu_preparation *p = &phase->preparations[i];
        if (!same_input(&p->input, input)) {
            continue;
        }
        if (dot->prepare && !p->prepared) {
            want_prepared(p, dot, scratch);
        }
        if (!dot->prepare || p->dot->prepare == dot->prepare) {
            return vectors_of(p, dot);
        }
    }
    assert(phase->n_preparations < phase->capacity);
    struct cpu_preparation *p = &phase->preparations[phase->n_preparations++];
    *p = (struct cpu_preparation){.input = *input};
    uint8_t *prepared = scratch;
    if (input->norm) {
        p->normed = scratch;
        p->normed_stride = normed_stride(input->cols);
        prepared += input->n * p->normed_stride;
    }
    if (dot->prepare) {
        want_prepared(p, dot, prepared);
    }
    return vectors_of(p, dot);
}

static void prepare_row(const struct cpu_preparation *p, uint64_t row)
{
    const struct cpu_input *input = &p->input;
    const float *x = input->x + row * input->cols;
    if (p->normed) {
        float *normed = (float *)(void *)(p->normed + row * p->normed_stride);
        cpu_rms_norm_row(x, input->norm, input->epsilon, input->cols, normed);
        x = normed;
    }
    if (p->prepared) {
        p->dot->prepare(x, input->cols, p->prepared + row * p->prepared_stride);
    }
}

/* Rows of all preparations, one after another. */
static void prepare_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct cpu_phase *phase = context;
    const struct cpu_preparation *p = phase->preparations;
    uint64_t first = 0;
    for (uint64_t row = begin; row < end; row++) {
        while (row - first >= p->input.n) {
            first += p->input.n;
            p++;
        }
        prepare_row(p, row - first);
    }
}

static void prepare_all(struct cpu_phase *phase, struct thread_pool *pool)
{
    uint64_t rows = 0, elements = 0;
    for (uint32_t i = 0; i < phase->n_preparations; i++) {
        rows += phase->preparations[i].input.n;
        elements += phase->preparations[i].input.n * phase->preparations[i].input.cols;
    }
    if (elements <= ELEMENTS_PREPARED_ALONE) {
        prepare_range(phase, 0, rows, 0);
    } else {
        thread_pool_for(pool, rows, 1 + rows / 64, prepare_range, phase);
    }
}

/* ---- items ---- */

struct item_loop {
    const struct cpu_phase *phase;
    const struct cpu_level *level;
};

static void item_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct item_loop *loop = context;
    const struct cpu_phase *phase = loop->phase;
    uint8_t *memory = phase->memory + thread * phase->memory_stride;
    struct cpu_item_memory item_memory = {
        .products = (float *)(void *)memory,
        .rows = memory + round_up((uint64_t)CPU_ITEM_VECTORS * CPU_ITEM_ROWS * sizeof(float)),
    };
    for (uint64_t item = begin; item < end; item++) {
        const struct cpu_share *share = phase->shares + phase->n_shares - 1;
        while (item < share->first_item) {
            share--;
        }
        uint64_t index = item - share->first_item;
        share->run(loop->level, share->context, index / share->n_blocks, index % share->n_blocks,
                   &item_memory);
    }
}

static uint64_t total_cost(const struct cpu_phase *phase)
{
    uint64_t sum = 0;
    for (uint32_t s = 0; s < phase->n_shares; s++) {
        const struct cpu_share *share = &phase->shares[s];
        for (uint64_t group = 0; group < share->n_groups; group++) {
            sum += share->cost(share->context, group) * share->n_blocks;
        }
    }
    return sum;
}

/* Cuts the list of items where equal parts of the cost begin. */
static void set_starts(struct cpu_phase *phase, uint32_t n_threads, uint64_t n_items)
{
    uint64_t total = total_cost(phase), before = 0;
    uint32_t thread = 1;
    phase->starts[0] = 0;
    for (uint32_t s = 0; s < phase->n_shares; s++) {
        const struct cpu_share *share = &phase->shares[s];
        for (uint64_t group = 0; group < share->n_groups; group++) {
            uint64_t cost = share->cost(share->context, group);
            uint64_t end = before + cost * share->n_blocks;
            while (thread < n_threads && cost > 0 && total / n_threads * thread < end) {
                uint64_t blocks = (total / n_threads * thread - before) / cost;
                phase->starts[thread++] = share->first_item + group * share->n_blocks + blocks;
            }
            before = end;
        }
    }
    for (; thread <= n_threads; thread++) {
        phase->starts[thread] = n_items;
    }
}

void cpu_phase_run(struct cpu_phase *phase, struct thread_pool *pool, const struct cpu_level *level)
{
    if (phase->n_shares > 0) {
        uint64_t n_items = 0;
        for (uint32_t s = 0; s < phase->n_shares; s++) {
            phase->shares[s].first_item = n_items;
            n_items += phase->shares[s].n_groups * phase->shares[s].n_blocks;
        }
        prepare_all(phase, pool);
        set_starts(phase, thread_pool_size(pool), n_items);
        struct item_loop loop = {phase, level};
        thread_pool_share(pool, phase->starts, item_range, &loop);
    }
    phase->n_shares = phase->n_preparations = 0;
}
