#include "tests/vk/sum_op.h"

struct op *sum_op_add(struct op_list *list, const struct tensor *step, const struct tensor *a,
                      const struct tensor *b, const struct tensor *ones, const struct tensor *y,
                      uint32_t dim)
{
    struct op *op = op_list_add(list, OP_expert_combine, DTYPE_F32,
                                (const struct tensor *[]){step, b, ones, a, y});
    op->args.expert_combine.hidden = dim;
    op->args.expert_combine.top_k = 1;
    return op;
}
