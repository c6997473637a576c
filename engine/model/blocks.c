/* The ops that blocks are made of. */
#include "engine/model/blocks.h"

void block_norm(const struct forward *f, const struct tensor *x, const struct weight *weight,
                const struct tensor *y, bool last_only, struct op_list *list)
{
    struct op *op = op_list_add(list, OP_rms_norm, DTYPE_F32,
                                (const struct tensor *[]){f->step, x, &weight->tensor, y});
    op->args.rms_norm.rows_per_token = 1;
    op->args.rms_norm.dim = (uint32_t)weight->tensor.cols;
    op->args.rms_norm.epsilon = (float)f->model->hparams.norm_epsilon;
    op->args.rms_norm.last_only = last_only;
}

struct block_input block_normed(const struct forward *f, const struct tensor *x,
                                const struct weight *weight, const struct tensor *normed,
                                struct op_list *list)
{
    if (list->max_tokens <= OP_FEW_TOKENS && !f->options.observe) {
        return (struct block_input){x, &weight->tensor, (float)f->model->hparams.norm_epsilon};
    }
    block_norm(f, x, weight, normed, false, list);
    return block_plain(normed);
}

struct op *block_matmul(const struct forward *f, const struct weight *weight,
                        const struct weight *bias, struct block_input x,
                        const struct tensor *residual, const struct tensor *y, struct op_list *list)
{
    struct op *op =
        op_list_add(list, OP_matmul, weight->tensor.dtype,
                    (const struct tensor *[]){f->step, &weight->tensor, x.x, x.norm,
                                              bias ? weight_tensor(bias) : NULL, residual, y});
    op->args.matmul.rows = (uint32_t)weight->tensor.rows;
    op->args.matmul.cols = (uint32_t)weight->tensor.cols;
    op->args.matmul.epsilon = x.epsilon;
    return op;
}
