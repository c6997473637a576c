/* The common language of the rooms: the list of ops.
 *
 * engine/model writes what is computed as a list of ops over tensors; engine/cpu and engine/vk each
 * know how to run every op. OPS is the one list of them. Everything else about an op is found by
 * its name, and forgetting a part does not compile or does not link:
 *
 *     shaders/op_args.h        struct <op>_args: addresses in the order of `tensors`, then numbers
 *     engine/cpu/cpu_<op>.c    cpu_<op>(): plain C, the specification
 *     shaders/<op>.comp        the same per work-group (more files for faster forms)
 *     engine/vk/vk_ops.c       plan_<op>(): which shader and how many work-groups
 *     tests/ops/check_<op>.c   check_<op>(): shapes, fills, tolerance
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/op/tensor.h"
#include "format/error.h"
#include "shaders/op_args.h"

/* X(name, tensors, meaning): one letter a tensor, in the order of the addresses in its argument
 * struct: r = read, w = written, p = written in part. What ops of one kind write of the same p
 * tensor is apart, and the rest is left alone: experts of a layer that differ in type are ops of
 * their own, each for the pairs of its experts. Lower-case tensors must be there; R may be absent
 * (address 0). */
#define OPS(X) \
    X(embed, "rrw", "y = rows of the table, one per token") \
    X(rms_norm, "rrrw", "y = x / rms(x) * weight") \
    X(matmul, "rrrRRRw", "y = weight norm(x) + bias + residual") \
    X(head_matmul, "rrrw", "y = weight x, head by head") \
    X(attention_prepare, "rrrrRRrwww", \
      "q = rotated norm(q); caches[position] = rotated norm(k), v") \
    X(attention_latent_prepare, "rrrrrrwww", \
      "q_rotated = rotated q_rope; caches[position] = norm(latent), rotated k_rope") \
    X(attention, "rrrrRww", "y = softmax(q k) v") \
    X(attention_latent, "rrrrrww", "y = softmax(q latent + q_rope k_rope) latent") \
    X(router, "rrRww", "ids, weights = top-k of the logits of experts") \
    X(matmul_router, "rrrRRRwwww", "ids, weights = top-k of the logits weight norm(x) + bias") \
    X(expert_group, "rrwww", "(token, slot) pairs sorted by expert, and cut into tiles") \
    X(expert_gate_up, "rrrrRRRRRRp", \
      "h = activation(gate norm(x), up norm(x)) of the chosen experts") \
    X(expert_down, "rrrrRRRRp", "parts = down h of the chosen experts") \
    X(expert_combine, "rrrrw", "y = residual + sum of weights * parts") \
    X(expert_down_sum, "rrrrrRrw", "y = residual + sum of weights * down h") \
    X(argmax, "rw", "id = index of the largest") \
    X(observe, "rrRww", "sums += x^2 of the tokens that took each expert") \
    X(sample, "wrwwww", "step, chosen = the next token, drawn from logits")

enum op_kind {
#define X(name, ...) OP_##name,
    OPS(X)
#undef X
        OP_COUNT
};

#define OP_MAX_TENSORS 11
#define OP_MAX_ARGS_BYTES 128
/* Lists for at most so many tokens may fold norms into the products that follow them: few enough
 * that back ends make all products with a piece of the weights at once. */
#define OP_FEW_TOKENS 8

/* Values that change from token to token: written by the host before a run, or by the op `sample`
 * at the end of the run before; read by any op. The same layout in GLSL (shaders/lib/types.glsl).
 */
struct step {
    uint32_t n_tokens;
    uint32_t position; /* of the first token */
    uint32_t reserved[2];
    uint32_t tokens[]; /* (n_tokens) ids */
};

struct op {
    enum op_kind kind;
    enum dtype dtype;    /* of the weights or the cache this op reads; F32 if it has none */
    uint32_t max_tokens; /* the list serves evaluations of 1..max_tokens tokens */
    uint32_t n_tensors;
    uint32_t experts_here; /* expert ops: how many have slabs in their table; 0: all of them */
    uint32_t tile_pairs;   /* expert_gate_up and expert_down with tiles: that expert_group's */
    const struct tensor *tensors[OP_MAX_TENSORS]; /* NULL where absent */
    union {
        uint64_t addresses[OP_MAX_TENSORS]; /* filled from the tensors by op_list_bind */
        uint8_t bytes[OP_MAX_ARGS_BYTES];
#define X(name, ...) struct name##_args name;
        OPS(X)
#undef X
    } args;
};

struct op_list {
    uint32_t max_tokens;
    uint32_t n_ops, capacity;
    struct op *ops;
};

const char *op_name(enum op_kind kind);
/* The access string of OPS. */
const char *op_access(enum op_kind kind);
bool op_writes(enum op_kind kind, uint32_t tensor);
/* Whether two ops that both write this tensor write it in parts that are apart. */
bool op_parts(enum op_kind a, uint32_t tensor_of_a, enum op_kind b, uint32_t tensor_of_b);
/* Bytes of the argument struct. */
uint32_t op_args_bytes(enum op_kind kind);
/* Asserts what shaders/op_args.h asks of the numbers of a router. */
void op_assert_router(const struct router_rule *rule);
/* Elements of 32 bits of the tensor `parts` of an attention (ATTENTION_MAX_TILES zero words first).
 */
uint64_t op_attention_parts(uint32_t dim);

/* Most pairs of a tile that expert_group had better cut in lists for so many tokens: 16, 32, or 64
 * where experts have more than `wide` pairs in the mean (0: not known, OP_EXPERT_WIDE). */
#define OP_EXPERT_WIDE 64
uint32_t op_expert_tile_pairs(uint32_t max_tokens, uint32_t top_k, uint32_t n_experts,
                              uint32_t wide);
/* How many tiles of so many pairs there can be at most. */
uint32_t op_expert_tiles(uint32_t max_tokens, uint32_t top_k, uint32_t n_experts,
                         uint32_t tile_pairs);
/* Cuts the pairs of every expert, sorted, offsets (n_experts + 1), into tiles as struct
 * expert_group_args says. */
void op_expert_cut(const uint32_t *offsets, uint32_t n_experts, uint32_t tile_pairs,
                   uint32_t *tiles);
/* Elements of 32 bits of the tensor `tiles`. */
uint64_t op_expert_tile_words(uint32_t max_tokens, uint32_t top_k, uint32_t n_experts,
                              uint32_t tile_pairs);

/* Memory is the list's own. */
bool op_list_init(struct op_list *list, uint32_t max_tokens, uint32_t capacity, struct error *err);
void op_list_free(struct op_list *list);

/* Appends and returns an op whose numbers the caller fills in. `tensors` follow OPS; asserts that
 * the required ones are there and that there is room. */
struct op *op_list_add(struct op_list *list, enum op_kind kind, enum dtype dtype,
                       const struct tensor *const *tensors);

/* Copies every tensor's address into its op's arguments. Asserts that no required address is 0. */
void op_list_bind(struct op_list *list);

/* True if op `later` must wait for op `earlier`: they touch the same tensor, at least one of them
 * writes it, and they do not write parts of it that are apart. */
bool op_depends(const struct op *later, const struct op *earlier);

/* One line an op: number, name, dtype, then the tensors with their shapes, written ones after "->".
 */
void op_list_print(const struct op_list *list, FILE *out);
