/* Steps of the CPU back end: one list of matrix products that do not wait for one another, in one
 * phase, with activations that some of them share. Results are those of every op alone, bit by bit,
 * and for any number of threads.
 */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "engine/cpu/cpu.h"
#include "engine/op/op_steps.h"
#include "checks/check_ops.h"

#define N_MATMULS 11 /* more than threads */
#define N_OPS (N_MATMULS + 1)
#define COLS 256
#define MAX_ROWS 200
#define N_EXPERTS 5
#define TOP_K 2
#define FFN 64
#define MAX_TOKENS 150 /* more than an item's vectors */

static const enum dtype types[] = {DTYPE_Q4_K, DTYPE_Q8_0,  DTYPE_F32, DTYPE_Q6_K,
                                   DTYPE_BF16, DTYPE_MXFP4, DTYPE_F16};
#define N_TYPES (sizeof(types) / sizeof(types[0]))

/* The list and everything it reads and writes, in host memory as the CPU takes it. */
struct sample {
    uint32_t n_tokens;
    struct op_list list;
    struct tensor tensors[64];
    uint32_t n_tensors;
    void *memories[64];
    struct tensor *outputs[N_OPS];
    uint64_t slabs[N_EXPERTS];
};

static struct tensor *add_tensor(struct sample *s, enum dtype dtype, uint64_t rows, uint64_t cols,
                                 uint64_t bytes, const void *data)
{
    uint64_t aligned = (bytes + 63) / 64 * 64;
    void *memory = aligned_alloc(64, aligned);
    cr_assert(memory && s->n_tensors < 64);
    memset(memory, 0x7F, aligned);
    if (data) {
        memcpy(memory, data, bytes);
    }
    struct tensor *tensor = &s->tensors[s->n_tensors];
    s->memories[s->n_tensors++] = memory;
    *tensor = (struct tensor){
        .dtype = dtype, .rows = rows, .cols = cols, .bytes = bytes, .address = (uintptr_t)memory};
    return tensor;
}

static struct tensor *add_floats(struct sample *s, struct check_random *random, uint64_t rows,
                                 uint64_t cols)
{
    struct tensor *tensor = add_tensor(s, DTYPE_F32, rows, cols, rows * cols * sizeof(float), NULL);
    float *values = (float *)(uintptr_t)tensor->address;
    for (uint64_t i = 0; i < rows * cols; i++) {
        values[i] = (float)check_random_below(random, 2001) / 1000 - 1;
    }
    return tensor;
}

static struct tensor *add_weights(struct sample *s, struct check_random *random, enum dtype dtype,
                                  uint64_t rows, uint64_t cols)
{
    const struct dtype_info *type = dtype_info(dtype);
    uint64_t bytes = dtype_matrix_bytes(type, rows, cols);
    uint8_t *matrix = malloc(bytes);
    float *values = malloc(rows * cols * sizeof(float));
    cr_assert(matrix && values);
    check_random_matrix(random, CHECK_UNIFORM, type, rows, cols, matrix, values);
    struct tensor *tensor = add_tensor(s, dtype, rows, cols, bytes, matrix);
    free(matrix);
    free(values);
    return tensor;
}

/* Matmuls of two inputs, with and without the same norm; types and rows of all kinds. */
static void add_matmuls(struct sample *s, struct check_random *random, const struct tensor *step,
                        struct tensor *const x[2], struct tensor *norm)
{
    for (uint32_t i = 0; i < N_MATMULS; i++) {
        uint32_t rows = 1 + i * (MAX_ROWS - 1) / (N_MATMULS - 1);
        enum dtype dtype = types[i % N_TYPES];
        struct tensor *weight = add_weights(s, random, dtype, rows, COLS);
        struct tensor *bias = i % 4 == 1 ? add_floats(s, random, 1, rows) : NULL;
        struct tensor *residual = i % 5 == 2 ? add_floats(s, random, s->n_tokens, rows) : NULL;
        struct tensor *y = add_tensor(s, DTYPE_F32, s->n_tokens, rows,
                                      (uint64_t)s->n_tokens * rows * sizeof(float), NULL);
        struct op *op =
            op_list_add(&s->list, OP_matmul, dtype,
                        (const struct tensor *[]){step, weight, x[i % 3 == 2], i % 2 ? norm : NULL,
                                                  bias, residual, y});
        op->args.matmul.rows = rows;
        op->args.matmul.cols = COLS;
        op->args.matmul.epsilon = i % 4 == 3 ? 1e-3f : 1e-5f;
        s->outputs[i] = y;
    }
}

/* Gate and up of experts beside them, one of which is not there. */
static void add_experts(struct sample *s, struct check_random *random, const struct tensor *step,
                        const struct tensor *x, const struct tensor *norm)
{
    uint32_t ids[MAX_TOKENS * TOP_K];
    for (uint32_t e = 0; e < N_EXPERTS; e++) {
        s->slabs[e] = e == 3 ? 0 : add_weights(s, random, DTYPE_Q4_K, 2 * FFN, COLS)->address;
    }
    for (uint32_t pair = 0; pair < s->n_tokens * TOP_K; pair++) {
        ids[pair] = pair % 2 ? 4 : check_random_below(random, 4);
    }
    struct tensor *slabs = add_tensor(s, DTYPE_U32, 1, 2 * N_EXPERTS, sizeof(s->slabs), s->slabs);
    struct tensor *id_tensor = add_tensor(s, DTYPE_U32, s->n_tokens, TOP_K,
                                          (uint64_t)s->n_tokens * TOP_K * sizeof(*ids), ids);
    struct tensor *h = add_tensor(s, DTYPE_F32, (uint64_t)s->n_tokens * TOP_K, FFN,
                                  (uint64_t)s->n_tokens * TOP_K * FFN * sizeof(float), NULL);
    struct op *op = op_list_add(&s->list, OP_expert_gate_up, DTYPE_Q4_K,
                                (const struct tensor *[]){step, slabs, id_tensor, x, norm, NULL,
                                                          NULL, NULL, NULL, NULL, h});
    op->args.expert_gate_up.hidden = COLS;
    op->args.expert_gate_up.ffn = FFN;
    op->args.expert_gate_up.n_experts = N_EXPERTS;
    op->args.expert_gate_up.top_k = TOP_K;
    op->args.expert_gate_up.activation = ACTIVATION_SILU;
    op->args.expert_gate_up.epsilon = 1e-5f;
    s->outputs[N_MATMULS] = h;
}

static struct sample *sample_create(uint32_t n_tokens)
{
    struct sample *s = calloc(1, sizeof(*s));
    struct check_random random = {n_tokens};
    struct step step = {.n_tokens = n_tokens};
    cr_assert_not_null(s);
    s->n_tokens = n_tokens;
    cr_assert(op_list_init(&s->list, n_tokens, N_OPS, NULL));
    struct tensor *step_tensor = add_tensor(s, DTYPE_U32, 1, 4, sizeof(step), &step);
    struct tensor *x[2] = {add_floats(s, &random, n_tokens, COLS),
                           add_floats(s, &random, n_tokens, COLS)};
    struct tensor *norm = add_floats(s, &random, 1, COLS);
    add_matmuls(s, &random, step_tensor, x, norm);
    add_experts(s, &random, step_tensor, x[0], norm);
    op_list_bind(&s->list);
    cr_assert_eq(op_list_steps(&s->list, NULL), 1);
    return s;
}

static void sample_free(struct sample *s)
{
    for (uint32_t i = 0; i < s->n_tensors; i++) {
        free(s->memories[i]);
    }
    op_list_free(&s->list);
    free(s);
}

static void poison_outputs(struct sample *s)
{
    for (uint32_t i = 0; i < N_OPS; i++) {
        memset((void *)(uintptr_t)s->outputs[i]->address, 0x7F, s->outputs[i]->bytes);
    }
}

static void run_list(struct backend *backend, const struct op_list *list, uint32_t times)
{
    struct error err;
    struct program *program = backend->functions->program_create(backend, list, &err);
    cr_assert_not_null(program, "%s", err.text);
    for (uint32_t i = 0; i < times; i++) {
        cr_assert(backend->functions->run(backend, program, &err));
    }
    backend->functions->program_destroy(backend, program);
}

static struct backend *make_backend(uint32_t n_threads)
{
    struct error err;
    struct backend *backend = cpu_backend_create(n_threads, &err);
    cr_assert_not_null(backend, "%s", err.text);
    return backend;
}

/* What every op writes in a list of its own, on one thread. */
static void run_alone(struct sample *s, void *expected[N_OPS])
{
    struct backend *backend = make_backend(1);
    poison_outputs(s);
    for (uint32_t i = 0; i < N_OPS; i++) {
        struct op_list one = {s->list.max_tokens, 1, 1, &s->list.ops[i]};
        run_list(backend, &one, 1);
        expected[i] = malloc(s->outputs[i]->bytes);
        cr_assert_not_null(expected[i]);
        memcpy(expected[i], (void *)(uintptr_t)s->outputs[i]->address, s->outputs[i]->bytes);
    }
    backend->functions->destroy(backend);
}

static void check_step_of(uint32_t n_tokens)
{
    static const uint32_t threads[] = {1, 2, 3, 7};
    struct sample *s = sample_create(n_tokens);
    void *expected[N_OPS];
    run_alone(s, expected);
    for (size_t t = 0; t < sizeof(threads) / sizeof(threads[0]); t++) {
        struct backend *backend = make_backend(threads[t]);
        poison_outputs(s);
        run_list(backend, &s->list, 3);
        for (uint32_t i = 0; i < N_OPS; i++) {
            cr_expect(memcmp(expected[i], (void *)(uintptr_t)s->outputs[i]->address,
                             s->outputs[i]->bytes) == 0,
                      "op %u of the step, %u tokens, %u threads: not what it is alone", i, n_tokens,
                      threads[t]);
        }
        backend->functions->destroy(backend);
    }
    for (uint32_t i = 0; i < N_OPS; i++) {
        free(expected[i]);
    }
    sample_free(s);
}

Test(cpu_phase, one_token)
{
    check_step_of(1);
}

Test(cpu_phase, a_few_tokens)
{
    check_step_of(3);
}

Test(cpu_phase, many_tokens)
{
    check_step_of(MAX_TOKENS);
}
