/* The op checks: every op on a back end, against a naive computation in double.
 *
 * A check (check_<op>.c, one per row of OPS) makes many cases. A case is one op with random inputs.
 * Every tensor lies in a buffer of its own between two guard zones: of bytes 0xFF (NaN in every
 * float type) around inputs, of 0x7F around and in outputs. After the run inputs and guards must be
 * unchanged, outputs equal to the expected values within a tolerance, and output rows of tokens
 * that the step does not have must still be 0x7F. Nothing here knows of Criterion.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/op/backend.h"
#include "engine/op/op.h"
#include "checks/check_random.h"

struct check_device {
    struct backend *backend;
    const char *name;
    /* Hears of failures, one sentence each, at most CHECK_MAX_REPORTS of a device; may be NULL. */
    void (*report)(void *context, const char *sentence);
    void *report_context;
    bool int8_activations; /* quantised weights meet activations rounded to int8 */
    /* The same, and f16 with weights other than f32 and bf16, where a list is made for more than
     * OP_FEW_TOKENS: by GPUs that have faster arithmetic for products with many vectors. */
    bool int8_products, float16_products;
    uint32_t fewest_tokens; /* cases with fewer are left out */
    uint32_t most_tokens;   /* and with more; 0: none are */
    uint64_t types;         /* bits 1 << enum dtype: cases of others are left out; 0: none are */
    bool gpu;               /* sine, exponential and f16 rounding are the driver's */
    uint32_t one_case_in;   /* 1 runs all cases; more picks one of so many, for slow devices */
    bool no_patterns; /* without check_patterns_* and check_extremes_*, which one_case_in does not
                         thin out */
    double deadline;  /* of CLOCK_MONOTONIC, in seconds: no case begins later; 0: none */
    uint32_t n_seen, n_open; /* cases of the op so far, and those of them that may be picked */
    uint32_t n_cases, n_failed;
};

#define CHECK_MAX_REPORTS 20

#define X(name, ...) void check_##name(struct check_device *device);
OPS(X)
#undef X
/* The check of an op; false if a case of it has failed. */
bool check_run_op(struct check_device *device, enum op_kind kind);

/* Tensors of the op, and room for slabs. */
#define CHECK_MAX_MEMORIES (OP_MAX_TENSORS + 1)
#define CHECK_SLABS OP_MAX_TENSORS

struct check_memory {
    struct buffer buffer;
    uint64_t bytes;
    uint8_t *before, *after; /* guard, data, guard */
    bool written;            /* by the op: then the check compares it */
};

struct check_case {
    struct check_device *device;
    enum op_kind kind;
    enum dtype dtype;
    uint32_t n_tokens, max_tokens;
    enum check_fill fill;
    struct check_random random;
    uint64_t seed;
    char shape[160];
    bool failed;
    struct op_list list;
    struct tensor tensors[OP_MAX_TENSORS];
    struct check_memory memories[CHECK_MAX_MEMORIES];
    float *floats[64]; /* freed at the end */
    uint32_t n_floats;
};

/* Starts a case; false if this device skips it. The shape text is for the report. The list's
 * max_tokens is n_tokens or, for chunks, sometimes more. */
bool check_begin(struct check_case *c, struct check_device *device, enum op_kind kind,
                 enum dtype dtype, uint32_t n_tokens, const char *shape, ...)
    __attribute__((format(printf, 6, 7)));
/* The same for a case that no device skips. */
void check_begin_always(struct check_case *c, struct check_device *device, enum op_kind kind,
                        enum dtype dtype, uint32_t n_tokens, const char *shape);
void check_end(struct check_case *c);

/* True in half of the cases; then the report says so. */
bool check_sometimes(struct check_case *c, const char *what);

/* Memory that lives until check_end. */
float *check_alloc(struct check_case *c, uint64_t n);

/* Tensor `index` is this data, copied to the back end now. */
void check_input(struct check_case *c, uint32_t index, enum dtype dtype, uint64_t rows,
                 uint64_t cols, const void *data, uint64_t bytes);
/* The same, one row of `cols` 32-bit numbers per token; rows of tokens that the list may have but
 * the step has not are 0xFF. */
void check_input_tokens(struct check_case *c, uint32_t index, enum dtype dtype, uint64_t cols,
                        const void *data);
/* Tensor `index` is written: all 0x7F, or as `initial` says. */
void check_output(struct check_case *c, uint32_t index, enum dtype dtype, uint64_t rows,
                  uint64_t cols, const void *initial, uint64_t bytes);

/* Memory that is not a tensor of the op: the experts' slabs. */
void check_place_slabs(struct check_case *c, const void *data, uint64_t bytes);
uint64_t check_slabs_address(const struct check_case *c);

/* The step buffer, tensor 0. tokens may be NULL. */
void check_step(struct check_case *c, uint32_t position, const uint32_t *tokens);
/* rows x cols floats filled as the case's fill says. Returns them. */
float *check_input_floats(struct check_case *c, uint32_t index, uint64_t rows, uint64_t cols);
float *check_input_token_floats(struct check_case *c, uint32_t index, uint64_t cols);
void check_output_floats(struct check_case *c, uint32_t index, uint64_t rows, uint64_t cols);
/* In half of the cases tensor `index` becomes the weight of a norm of x (rows, cols), which the op
 * is to take with epsilon CHECK_EPSILON. Returns what the weights meet: the normed rows, or x. */
#define CHECK_EPSILON 1e-3f
const float *check_sometimes_normed(struct check_case *c, uint32_t index, const float *x,
                                    uint64_t rows, uint64_t cols);
/* A weight matrix of the case's dtype. Returns its values, decoded. */
float *check_input_weights(struct check_case *c, uint32_t index, uint64_t rows, uint64_t cols);

/* Random bytes that are a matrix of `dtype`: filled and encoded for float types, any codes with
 * sensible scales for block types. `values` (rows x cols) gets what they decode to. */
void check_random_matrix(struct check_random *random, enum check_fill fill,
                         const struct dtype_info *type, uint64_t rows, uint64_t cols,
                         uint8_t *matrix, float *values);

/* A cache of the case's dtype with rows [first, end) filled; the others are 0xFF. Returns the
 * values, (end, dim), 0 before `first`. */
float *check_input_cache(struct check_case *c, uint32_t index, uint64_t first, uint64_t end,
                         uint64_t capacity, uint64_t dim);

/* A cache of the case's dtype that is written. */
void check_output_cache(struct check_case *c, uint32_t index, uint64_t capacity, uint64_t dim);
/* The tensor `parts` of an attention over values of `dim`: its counters 0, all else 0xFF. */
void check_output_parts(struct check_case *c, uint32_t index, uint32_t dim);
/* Rows [position, position + n_tokens) of that cache hold these values (n_tokens, dim), rounded as
 * format/ does; on GPUs, and where the op has `computed` them, within one step of that and a little
 * of the row's largest. All other rows are as they were. */
void check_compare_cache(struct check_case *c, uint32_t index, const float *expected,
                         uint64_t position, uint64_t capacity, uint64_t dim, bool computed);

/* The scales of a block type: their plane, how many f16 numbers start each block's bytes there
 * (none: they are one e8m0 number), and the binary exponent that brings the values near 1. */
struct check_scales {
    uint32_t plane, n_halves;
    int exponent;
};
struct check_scales check_scales_of(enum dtype dtype);
/* Sensible scales of one block, where its bytes in that plane begin. */
void check_random_scales(struct check_random *random, const struct check_scales *scales,
                         uint8_t *bytes);

/* Every bit pattern of every field of every type, through the two ways in which kernels read
 * weights: whole rows and tiles, and products with one vector (check_patterns.c). No device skips
 * them. */
void check_patterns_embed(struct check_device *device);
void check_patterns_matmul(struct check_device *device);
/* The largest sums of every type that the device is open to, of one vector, few or many; not where
 * sums are made of f16. No device skips it. */
void check_extremes_matmul(struct check_device *device);

/* 0 .. n-1 in random order. */
void check_shuffle(struct check_random *random, uint32_t *values, uint32_t n);

/* The op, once all tensors are there: fill in its numbers, then check_run. */
struct op *check_op(struct check_case *c);
/* Runs it; false if it failed or touched what it must not. */
bool check_run(struct check_case *c);

/* What tensor `index` holds after the run. */
const void *check_result(const struct check_case *c, uint32_t index);

/* The first n floats of tensor `index` against the expected ones: NMSE at most `nmse`, no element
 * off by more than 10 sqrt(nmse) of its size or the RMS; nmse 0 asks for equal values. What follows
 * must be as it was. */
void check_compare(struct check_case *c, uint32_t index, const float *expected, uint64_t n,
                   double nmse);
void check_compare_u32(struct check_case *c, uint32_t index, const uint32_t *expected, uint64_t n);
/* Bytes [first, first + n) of tensor `index` must be as before the run. */
void check_unchanged(struct check_case *c, uint32_t index, uint64_t first, uint64_t n);

/* Reports the case (once) as failed. */
void check_fail(struct check_case *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* y[r] = row r of w . x, in double; slack[r] is the standard deviation of the error that rounding x
 * to int8 in blocks of 32 brings: each element is off by up to half a step, uniformly. */
void check_naive_product(const float *w, uint64_t rows, uint64_t cols, const float *x, float *y,
                         float *slack);
/* The first n floats of tensor `index`, which are products with the case's weights. Where the
 * device rounds x to int8, no element may be off by more than 8 slack, and all together not by
 * more than chance; elsewhere NMSE CHECK_PRODUCTS as in check_compare, of products and terms. */
#define CHECK_PRODUCTS 1e-11
/* NMSE where x is rounded to int8, and where products are made in f16, of inputs without
 * outliers. */
#define CHECK_INT8_PRODUCTS 3e-4
#define CHECK_FLOAT16_PRODUCTS 1e-5
void check_compare_products(struct check_case *c, uint32_t index, const float *expected,
                            const float *slack, uint64_t n);
/* The same with another NMSE, for what something has made smaller afterwards. */
void check_compare_products_within(struct check_case *c, uint32_t index, const float *expected,
                                   const float *slack, uint64_t n, double nmse);

/* ids and weights, of one token, must be what the rule makes of these logits; correction may be
 * NULL (check_router.c). False, and nothing is checked, if rounding leaves open which groups are
 * right.
 */
bool check_router_choice(struct check_case *c, const struct router_rule *rule, const float *logits,
                         const float *correction, const uint32_t *ids, const float *weights);

extern const uint32_t check_token_counts[4];
/* Awkward lengths: 1, 7, around 32, 128 and 256. */
extern const uint32_t check_lengths[11];

/* Experts of an expert op (check_experts.c): a table of n_experts addresses of which only some are
 * there, in random order in one stretch of memory with 0xFF around each matrix; and the choice that
 * every token made among them and, sometimes, among a few that are not there. */
struct check_experts {
    uint32_t n_experts, top_k;
    uint32_t tile_pairs;  /* of the op, if it is grouped: any that there are kernels for */
    const uint32_t *ids;  /* (n_tokens, top_k), distinct in a token */
    float *const *values; /* (n_experts) decoded matrix, or NULL if address 0 */
};

/* Makes the slabs, each with one rows x cols matrix of the case's dtype `offset` bytes into it, and
 * tensors 1 (addresses), 2 (ids), and the op's offsets and pairs, if `grouped`. `chosen_from`
 * experts are chosen from, >= top_k; sometimes a few of them, or all, are not there. */
void check_experts_make(struct check_case *c, struct check_experts *experts, uint64_t rows,
                        uint64_t cols, uint32_t offset, uint32_t chosen_from, bool grouped);

/* Tensor `index`, `row` floats a pair, filled; NaN where the pair's expert is not here: what reads
 * it gives itself away. Returns them. */
const float *check_input_pairs(struct check_case *c, const struct check_experts *experts,
                               uint32_t index, enum check_fill fill, uint64_t row);

/* Calls check_one for every type and number of tokens over the shapes of expert ops: rows of the
 * result, and columns. */
void check_experts_shapes(struct check_device *device,
                          void (*check_one)(struct check_device *device, enum dtype dtype,
                                            uint32_t rows, uint32_t cols, uint32_t n,
                                            struct check_experts experts, uint32_t chosen_from));

/* check_compare_products for what an expert op made, `row` floats a pair: pairs of experts that are
 * not there must be as they were before, whatever `expected` and `slack` hold for them. */
void check_compare_pairs(struct check_case *c, const struct check_experts *experts, uint32_t index,
                         uint64_t row, float *expected, float *slack, double nmse);
