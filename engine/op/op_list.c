#include "engine/op/op.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool op_list_init(struct op_list *list, uint32_t max_tokens, uint32_t capacity, struct error *err)
{
    *list = (struct op_list){.max_tokens = max_tokens, .capacity = capacity};
    list->ops = calloc(capacity, sizeof(struct op));
    if (!list->ops) {
        return error_set(err, "not enough memory for a list of %" PRIu32 " ops", capacity);
    }
    return true;
}

void op_list_free(struct op_list *list)
{
    free(list->ops);
    *list = (struct op_list){0};
}

struct op *op_list_add(struct op_list *list, enum op_kind kind, enum dtype dtype,
                       const struct tensor *const *tensors)
{
    assert(list->n_ops < list->capacity);
    struct op *op = &list->ops[list->n_ops++];
    op->kind = kind;
    op->dtype = dtype;
    op->max_tokens = list->max_tokens;
    op->n_tensors = (uint32_t)strlen(op_access(kind));
    for (uint32_t i = 0; i < op->n_tensors; i++) {
        assert(tensors[i] || op_access(kind)[i] == 'R');
        op->tensors[i] = tensors[i];
    }
    return op;
}

void op_list_bind(struct op_list *list)
{
    for (uint32_t n = 0; n < list->n_ops; n++) {
        struct op *op = &list->ops[n];
        for (uint32_t i = 0; i < op->n_tensors; i++) {
            assert(!op->tensors[i] || op->tensors[i]->address);
            op->args.addresses[i] = op->tensors[i] ? op->tensors[i]->address : 0;
        }
    }
}

static void print_tensors(const struct op *op, bool written, FILE *out)
{
    const char *separator = "";
    for (uint32_t i = 0; i < op->n_tensors; i++) {
        const struct tensor *tensor = op->tensors[i];
        if (tensor && op_writes(op->kind, i) == written) {
            fprintf(out, "%s%s %s [%" PRIu64 ", %" PRIu64 "]", separator, tensor->name,
                    dtype_name(tensor->dtype), tensor->rows, tensor->cols);
            separator = ", ";
        }
    }
}

void op_list_print(const struct op_list *list, FILE *out)
{
    for (uint32_t n = 0; n < list->n_ops; n++) {
        const struct op *op = &list->ops[n];
        fprintf(out, "%4" PRIu32 "  %-24s %-5s ", n, op_name(op->kind), dtype_name(op->dtype));
        print_tensors(op, false, out);
        fprintf(out, " -> ");
        print_tensors(op, true, out);
        fprintf(out, "\n");
    }
}
