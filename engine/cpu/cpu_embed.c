/* Row token[t] of the table, decoded. */
#include "engine/cpu/cpu_internal.h"
#include "format/quant.h"

struct embed_loop {
    struct cpu_matrix table;
    const uint32_t *tokens;
    float *y;
};

static void embed_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct embed_loop *loop = context;
    const struct quant *quant = quant_of(loop->table.type->dtype);
    for (uint64_t t = begin; t < end; t++) {
        const uint8_t *planes[DTYPE_MAX_PLANES] = {0};
        assert(loop->tokens[t] < loop->table.rows);
        cpu_matrix_row(&loop->table, loop->tokens[t], planes);
        quant->decode_row(planes, loop->table.cols, loop->y + t * loop->table.cols);
    }
}

void cpu_embed(const struct cpu_run *run, const struct op *op)
{
    const struct embed_args *args = &op->args.embed;
    const struct step *step = cpu_step(op, args->step);
    struct embed_loop loop = {
        .table = cpu_matrix_of(op->dtype, cpu_pointer(args->table), args->rows, args->dim),
        .tokens = step->tokens,
        .y = cpu_pointer(args->y),
    };
    thread_pool_for(run->pool, step->n_tokens, 4, embed_range, &loop);
}

uint64_t cpu_embed_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
