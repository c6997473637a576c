#include "engine/vk/vk_pack.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PLACE_ALIGN 256

/* The vectors that a product reads: which tensor, how many a token, of how many tokens, how long,
 * and with which norm (address 0: none). */
struct vectors {
    uint32_t tensor, per_token, tokens, cols;
    uint64_t norm;
    float epsilon;
};

static struct vectors vectors_of(const struct op *op)
{
    struct vectors vectors = {.tensor = 3, .per_token = 1, .tokens = op->max_tokens};
    switch (op->kind) {
    case OP_matmul:
        vectors.tensor = 2;
        vectors.tokens = op->args.matmul.one_row ? 1 : op->max_tokens;
        vectors.cols = op->args.matmul.cols;
        vectors.norm = op->args.matmul.norm;
        vectors.epsilon = op->args.matmul.epsilon;
        break;
    case OP_matmul_router:
        vectors.tensor = 2;
        vectors.cols = op->args.matmul_router.cols;
        vectors.norm = op->args.matmul_router.norm;
        vectors.epsilon = op->args.matmul_router.epsilon;
        break;
    case OP_head_matmul:
        vectors.tensor = 2;
        vectors.per_token = op->args.head_matmul.heads;
        vectors.cols = op->args.head_matmul.cols;
        break;
    case OP_expert_gate_up:
        vectors.cols = op->args.expert_gate_up.hidden;
        vectors.norm = op->args.expert_gate_up.norm;
        vectors.epsilon = op->args.expert_gate_up.epsilon;
        break;
    case OP_expert_down:
        vectors.per_token = op->args.expert_down.top_k;
        vectors.cols = op->args.expert_down.ffn;
        break;
    case OP_expert_down_sum:
        vectors.per_token = op->args.expert_down_sum.top_k;
        vectors.cols = op->args.expert_down_sum.ffn;
        break;
    default:
        assert(!"no product that reads packed vectors");
    }
    return vectors;
}

static uint64_t packed_bytes(enum vk_pack_format format, uint64_t vectors, uint64_t cols)
{
    assert(format == VK_PACK_FLOAT16 || format == VK_PACK_INT8);
    return vectors * 16 *
           (format == VK_PACK_INT8 ? PACK_INT8_UNITS(cols) : PACK_FLOAT16_UNITS(cols));
}

/* While the packs of a list are found. */
struct finder {
    struct vk_packs *packs;
    const struct op_list *list;
    bool *good;          /* (packs) its tensor has not been written since */
    uint32_t *last_step; /* (packs) in which it is read */
    uint32_t *holder;    /* (places) the last pack there */
};

static bool finder_init(struct finder *f, struct vk_packs *packs, const struct op_list *list)
{
    *f = (struct finder){.packs = packs,
                         .list = list,
                         .good = calloc(list->n_ops, sizeof(*f->good)),
                         .last_step = calloc(list->n_ops, sizeof(*f->last_step)),
                         .holder = calloc(list->n_ops, sizeof(*f->holder))};
    return f->good && f->last_step && f->holder;
}

static void finder_free(struct finder *f)
{
    free(f->good);
    free(f->last_step);
    free(f->holder);
}

/* A pack of these vectors that is still good, or VK_NO_PACK. */
static uint32_t find_good(const struct finder *f, enum vk_pack_format format, uint64_t x,
                          const struct vectors *vectors)
{
    for (uint32_t i = f->packs->n; i-- > 0;) {
        const struct vk_pack *pack = &f->packs->packs[i];
        if (f->good[i] && pack->format == format && pack->args.x == x &&
            pack->args.cols == vectors->cols &&
            pack->args.vectors_per_token == vectors->per_token &&
            pack->groups[1] >= vectors->tokens && pack->args.norm == vectors->norm &&
            (!vectors->norm || pack->args.epsilon == vectors->epsilon)) {
            return i;
        }
    }
    return VK_NO_PACK;
}

/* A place that nobody reads from this step on, or a new one. */
static uint32_t find_place(struct finder *f, uint32_t step)
{
    struct vk_packs *packs = f->packs;
    for (uint32_t i = 0; i < packs->n_places; i++) {
        if (!f->good[f->holder[i]] && f->last_step[f->holder[i]] < step) {
            return i;
        }
    }
    return packs->n_places++;
}

/* A pack for op `index`, recorded before the op that begins its step. */
static uint32_t add_pack(struct finder *f, uint32_t index, uint32_t begin, uint32_t step,
                         enum vk_pack_format format, const struct vectors *vectors)
{
    struct vk_packs *packs = f->packs;
    const struct op *op = &f->list->ops[index];
    uint32_t i = packs->n, place = find_place(f, step);
    uint64_t bytes =
        packed_bytes(format, (uint64_t)vectors->tokens * vectors->per_token, vectors->cols);
    assert(format == VK_PACK_INT8 ? vectors->cols % 32 == 0 : !vectors->norm);
    packs->n++;
    packs->packs[i] = (struct vk_pack){.op = begin,
                                       .format = format,
                                       .groups = {vectors->per_token, vectors->tokens, 1},
                                       .place = place,
                                       .args = {.step = op->args.addresses[0],
                                                .x = op->args.addresses[vectors->tensor],
                                                .norm = vectors->norm,
                                                .vectors_per_token = vectors->per_token,
                                                .cols = vectors->cols,
                                                .epsilon = vectors->epsilon}};
    f->good[i] = true;
    f->holder[place] = i;
    if (bytes > packs->places[place]) {
        packs->places[place] = bytes;
    }
    return i;
}

/* Packs of what the op writes are good no longer. */
static void forget_written(struct finder *f, const struct op *op)
{
    for (uint32_t t = 0; t < op->n_tensors; t++) {
        uint64_t begin = op->args.addresses[t];
        uint64_t end = begin + (op->tensors[t] ? op->tensors[t]->bytes : 0);
        for (uint32_t i = 0; op_writes(op->kind, t) && i < f->packs->n; i++) {
            const struct pack_args *args = &f->packs->packs[i].args;
            uint64_t x_end = args->x + (uint64_t)f->list->max_tokens * args->vectors_per_token *
                                           args->cols * sizeof(float);
            f->good[i] = f->good[i] && (args->x >= end || begin >= x_end);
        }
    }
}

static void find_packs(struct finder *f, const struct vk_plan *plans, const bool *begins)
{
    uint32_t step = 0, begin = 0;
    for (uint32_t i = 0; i < f->list->n_ops; i++) {
        const struct op *op = &f->list->ops[i];
        if (begins[i] && i > 0) {
            step++;
            begin = i;
        }
        f->packs->of_op[i] = VK_NO_PACK;
        if (plans[i].pack != VK_PACK_NONE) {
            const struct vectors vectors = vectors_of(op);
            uint32_t pack =
                find_good(f, plans[i].pack, op->args.addresses[vectors.tensor], &vectors);
            if (pack == VK_NO_PACK) {
                pack = add_pack(f, i, begin, step, plans[i].pack, &vectors);
            }
            f->last_step[pack] = step;
            f->packs->of_op[i] = pack;
        }
        forget_written(f, op);
    }
}

bool vk_packs_init(struct vk_packs *packs, const struct op_list *list, const struct vk_plan *plans,
                   const bool *begins, struct error *err)
{
    struct finder finder;
    *packs = (struct vk_packs){.packs = calloc(list->n_ops, sizeof(*packs->packs)),
                               .of_op = calloc(list->n_ops, sizeof(*packs->of_op)),
                               .places = calloc(list->n_ops, sizeof(*packs->places))};
    bool ok = finder_init(&finder, packs, list) && packs->packs && packs->of_op && packs->places;
    if (ok) {
        find_packs(&finder, plans, begins);
    }
    finder_free(&finder);
    for (uint32_t i = 0; ok && i < packs->n_places; i++) {
        uint64_t bytes = (packs->places[i] + PLACE_ALIGN - 1) / PLACE_ALIGN * PLACE_ALIGN;
        packs->places[i] = packs->bytes;
        packs->bytes += bytes;
    }
    return ok || error_set(err, "not enough memory for a program of %u ops", list->n_ops);
}

void vk_packs_free(struct vk_packs *packs)
{
    free(packs->packs);
    free(packs->of_op);
    free(packs->places);
    *packs = (struct vk_packs){0};
}

void vk_packs_bind(struct vk_packs *packs, uint64_t address)
{
    for (uint32_t i = 0; i < packs->n; i++) {
        packs->packs[i].args.y = address + packs->places[packs->packs[i].place];
    }
}

void vk_packs_args(const struct vk_packs *packs, const struct op *op, uint32_t index,
                   uint8_t args[OP_MAX_ARGS_BYTES])
{
    uint32_t pack = packs->of_op[index];
    memcpy(args, op->args.bytes, OP_MAX_ARGS_BYTES);
    if (pack != VK_NO_PACK) {
        uint64_t y = packs->packs[pack].args.y;
        memcpy(args + vectors_of(op).tensor * sizeof(y), &y, sizeof(y));
    }
}
