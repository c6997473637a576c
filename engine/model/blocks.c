/* The two ops that every block is made of. */
#include "engine/model/blocks.h"

void block_norm(const struct forward *f, const struct tensor *x, const struct weight *weight,
                const struct tensor *y, uint32_t rows, uint32_t dim, bool last_only,
                struct op_list *list)
{
    struct op *op = op_list_add(list, OP_rms_norm, DTYPE_F32,
                                (const struct tensor *[]){f->step, x, &weight->tensor, y});
    op->args.rms_norm.rows_per_token = rows;
    op->args.rms_norm.dim = dim;
    op->args.rms_norm.epsilon = (float)f->model->hparams.norm_epsilon;
    op->args.rms_norm.last_only = last_only;
}

void block_matmul(const struct forward *f, const struct weight *weight, const struct tensor *x,
                  const struct tensor *y, bool one_row, struct op_list *list)
{
    struct op *op = op_list_add(list, OP_matmul, weight->tensor.dtype,
                                (const struct tensor *[]){f->step, &weight->tensor, x, y});
    op->args.matmul.rows = (uint32_t)weight->tensor.rows;
    op->args.matmul.cols = (uint32_t)weight->tensor.cols;
    op->args.matmul.one_row = one_row;
}
