#include "engine/cpu/cpu_expert_product.h"

static_assert(sizeof(struct cpu_expert_product) <= CPU_SHARE_CONTEXT_BYTES,
              "a share's context is small");

struct group {
    const uint8_t *slab; /* NULL: nothing is to be done */
    uint32_t expert, n;
    const uint32_t *pairs; /* (n), or NULL: the one pair is `pair` */
    uint32_t pair;
};

static uint64_t count_groups(const struct cpu_expert_groups *groups)
{
    return groups->offsets && groups->pairs ? groups->n_experts : groups->n_pairs;
}

static struct group group_at(const struct cpu_expert_groups *groups, uint64_t index)
{
    struct group group;
    if (groups->offsets && groups->pairs) {
        uint32_t first = groups->offsets[index];
        group = (struct group){
            .expert = (uint32_t)index,
            .n = groups->offsets[index + 1] - first,
            .pairs = groups->pairs + first,
        };
    } else {
        group = (struct group){.expert = groups->ids[index], .n = 1, .pair = (uint32_t)index};
    }
    assert(group.expert < groups->n_experts);
    group.slab = group.n > 0 ? cpu_pointer(groups->slabs[group.expert]) : NULL;
    return group;
}

static uint32_t pair_of(const struct group *group, uint64_t i)
{
    return group->pairs ? group->pairs[i] : group->pair;
}

static struct cpu_matrix matrix_of(const struct cpu_expert_product *product, const uint8_t *slab)
{
    return cpu_matrix_of(product->dtype, slab ? slab + product->slab_offset : NULL,
                         product->matrix_rows * product->rows, product->cols);
}

static uint64_t cost(const void *context, uint64_t index)
{
    const struct cpu_expert_product *product = context;
    struct group group = group_at(&product->groups, index);
    struct cpu_matrix matrix = matrix_of(product, group.slab);
    return group.slab ? cpu_item_cost(&matrix, product->matrix_rows * product->item_rows, group.n)
                      : 0;
}

static void prefetch_group(const struct cpu_expert_product *product, uint64_t index)
{
    if (index < count_groups(&product->groups)) {
        struct group group = group_at(&product->groups, index);
        if (group.slab) {
            struct cpu_matrix matrix = matrix_of(product, group.slab);
            cpu_item_prefetch(&matrix, 0);
        }
    }
}

static void run_item(const struct cpu_level *level, const void *context, uint64_t index,
                     uint64_t block, const struct cpu_item_memory *memory)
{
    const struct cpu_expert_product *product = context;
    struct group group = group_at(&product->groups, index);
    if (!group.slab) {
        return;
    }
    struct cpu_matrix matrix = matrix_of(product, group.slab);
    uint64_t first = block * product->item_rows, end = first + product->item_rows;
    uint64_t each = product->matrix_rows;
    if (end >= product->rows) {
        end = product->rows;
        prefetch_group(product, index + 1);
    }
    for (uint64_t done = 0; done < group.n; done += CPU_ITEM_VECTORS) {
        const uint8_t *x[CPU_ITEM_VECTORS];
        uint64_t n = group.n - done < CPU_ITEM_VECTORS ? group.n - done : CPU_ITEM_VECTORS;
        for (uint64_t i = 0; i < n; i++) {
            uint32_t vector = pair_of(&group, done + i) / product->pairs_per_vector;
            x[i] = product->x.first + vector * product->x.stride;
        }
        cpu_item_multiply(level, &matrix, each * first, each * end, x, n, memory);
        for (uint64_t i = 0; i < n; i++) {
            product->write(product->args, group.expert, pair_of(&group, done + i), first, end,
                           memory->products + i * each * (end - first));
        }
    }
}

void cpu_expert_product_add(const struct cpu_run *run, const struct op *op,
                            struct cpu_expert_product *product, const struct cpu_input *input,
                            uint32_t n)
{
    product->dtype = op->dtype;
    product->x =
        cpu_phase_prepare(run->phase, cpu_dot_of(run->level, op->dtype), input, run->scratch);
    struct cpu_matrix matrix = matrix_of(product, NULL);
    product->item_rows = cpu_item_rows(product->matrix_rows * cpu_matrix_row_bytes(&matrix), n);
    struct cpu_share items = {
        .n_groups = count_groups(&product->groups),
        .n_blocks = (product->rows + product->item_rows - 1) / product->item_rows,
        .cost = cost,
        .run = run_item,
    };
    cpu_phase_add(run->phase, &items, product, sizeof(*product));
}
