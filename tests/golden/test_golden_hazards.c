/* Do the steps of an op list keep apart what must not run side by side? (The validation layer
 * cannot see through buffer addresses.)
 *
 * For the lists of every family, for one token, few and many, with observation and without: the
 * Vulkan back end puts a barrier between two steps (op_list_steps) and the CPU runs a step as one
 * phase, so no two ops of a step may touch overlapping bytes that one of them writes. That is
 * looked for in the bytes that the tensors are bound to, not in their identity. And what OPS says
 * an op reads and writes is true: run one by one on the CPU, an op changes no tensor but those it
 * writes, and tensors it does not name have no influence on what it writes.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/forward.h"
#include "engine/moxie_internal.h"
#include "engine/op/op_steps.h"
#include "tests/check.h"
#include "tests/golden/golden.h"
#include "tests/golden/model_copy.h"

#define CONTEXT 24
#define CHUNK 20

struct count {
    uint32_t ops, steps;
};

/* Ops (dispatches) and steps (barriers: one ends the last step) of the lists for one token, for 8
 * and for a chunk. Before norms, residuals and sums were folded into products they were, for one
 * token and a chunk: qwen3moe_mixed 54/42 and 57/44, mixtral 34/28 and 36/30, qwen2moe 56/43 and
 * 59/45, gptoss 49/40 and 52/43, deepseek_v2_lite 66/49 and 69/51, deepseek_v3 72/55 and 75/57.
 * For one token a layer of experts takes 7 steps, with latent attention 8, or 9 where queries come
 * out of a latent, too (V3); layers whose experts differ in type take one more. Lower them when the
 * lists get shorter. */
struct family {
    char name[32];
    bool mixed; /* experts of several types */
    struct count one, few, chunk;
};

static struct family families[] = {
    {"qwen3moe_mixed", false, {29, 23}, {38, 31}, {44, 37}},
    {"qwen3moe_step", false, {20, 16}, {26, 21}, {30, 25}},
    {"qwen3_tied", false, {19, 15}, {23, 18}, {27, 22}},
    {"llama_scaled", false, {19, 15}, {23, 18}, {27, 22}},
    {"llama_linear", false, {19, 15}, {23, 18}, {27, 22}},
    {"mixtral", false, {21, 17}, {28, 24}, {32, 28}},
    {"qwen2moe", false, {35, 23}, {48, 31}, {54, 37}},
    {"qwen2", false, {19, 15}, {23, 18}, {27, 22}},
    {"olmoe", false, {25, 19}, {32, 26}, {36, 30}},
    {"gptoss", false, {30, 24}, {40, 34}, {46, 40}},
    {"gptoss_mxfp4", false, {21, 17}, {28, 24}, {32, 28}},
    {"deepseek_v2_lite", false, {42, 26}, {53, 34}, {59, 40}},
    {"deepseek_v2", false, {30, 20}, {37, 25}, {43, 31}},
    {"deepseek_v3", false, {45, 29}, {56, 37}, {65, 46}},
    {"deepseek_v3_fp8", false, {30, 20}, {37, 25}, {43, 31}},
    {"olmoe", true, {39, 21}, {44, 26}, {48, 30}},
    {"gptoss", true, {51, 27}, {58, 34}, {64, 40}},
    {"deepseek_v3", true, {59, 31}, {68, 37}, {77, 46}},
};

static bool mix_types(void *context, struct expert_spec *spec)
{
    spec->type = spec->expert % 2 == 1 ? DTYPE_BF16 : DTYPE_F32;
    spec->down_type = spec->expert % 4 >= 2 ? DTYPE_BF16 : DTYPE_F32;
    return true;
}

static struct moxie_model *open_family(const struct family *family)
{
    const struct model_change change = {.slab = mix_types};
    struct error err = {{0}};
    json_t *reference;
    golden_cpu();
    const char *path = golden_family(family->name, "f32", &reference);
    json_decref(reference);
    struct moxie_model *model =
        golden_open(family->mixed ? model_copy(path, "mixed.moxie", &change) : path);
    cr_assert_not_null(model, "%s", err.text);
    return model;
}

/* ---- a forward pass whose tensors lie in one stretch of memory ---- */

struct memory {
    struct forward forward;
    struct buffer buffer;
    uint64_t bytes;
};

static void memory_init(struct memory *memory, struct moxie_model *model, bool observe)
{
    const struct forward_options options = {.context = CONTEXT,
                                            .chunk = CHUNK,
                                            .kv_type = DTYPE_F16,
                                            .observe = observe,
                                            .expert_wide = observe ? 16 : 0};
    const struct backend_functions *on = model->backend->functions;
    struct error err = {{0}};
    *memory = (struct memory){0};
    cr_assert(forward_init(&memory->forward, &model->model, &options, &err), "%s", err.text);
    for (uint32_t i = 0; i < memory->forward.n_tensors; i++) {
        memory->bytes += (memory->forward.tensors[i].tensor.bytes + 63) / 64 * 64;
    }
    cr_assert(on->buffer_create(model->backend, memory->bytes, BUFFER_ACTIVATIONS, &memory->buffer,
                                &err));
    uint64_t address = memory->buffer.address;
    for (uint32_t i = 0; i < memory->forward.n_tensors; i++) {
        struct forward_tensor *slot = &memory->forward.tensors[i];
        slot->tensor.address = address;
        address += (slot->tensor.bytes + 63) / 64 * 64;
    }
}

static void memory_free(struct memory *memory, struct moxie_model *model)
{
    model->backend->functions->buffer_destroy(model->backend, &memory->buffer);
    forward_free(&memory->forward);
}

/* ---- overlaps ---- */

struct range {
    uint64_t begin, end;
};

static struct range range_of(const struct op *op, uint32_t i)
{
    uint64_t begin = op->args.addresses[i];
    return (struct range){begin, begin + (op->tensors[i] ? op->tensors[i]->bytes : 0)};
}

/* Whether two ops touch the same bytes and one of them writes there. */
static bool clash(const struct op *a, const struct op *b)
{
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        for (uint32_t j = 0; j < b->n_tensors; j++) {
            struct range x = range_of(a, i), y = range_of(b, j);
            bool writes = op_writes(a->kind, i) || op_writes(b->kind, j);
            if (writes && !op_parts(a->kind, i, b->kind, j) && x.begin < y.end && y.begin < x.end) {
                return true;
            }
        }
    }
    return false;
}

/* Pairs of ops that no step keeps apart and that clash. */
static uint32_t count_hazards(const struct op_list *list, const uint32_t *steps, bool report)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < list->n_ops; i++) {
        for (uint32_t k = i + 1; k < list->n_ops && steps[k] == steps[i]; k++) {
            if (clash(&list->ops[i], &list->ops[k])) {
                n++;
                if (report) {
                    fprintf(stderr, "ops %u (%s) and %u (%s) are in one step and clash\n", i,
                            op_name(list->ops[i].kind), k, op_name(list->ops[k].kind));
                }
            }
        }
    }
    return n;
}

/* Without any one of its steps' borders a list is unsafe: no border is there for nothing, and a
 * missing one is found. */
static void expect_every_border(const struct op_list *list, const uint32_t *steps)
{
    uint32_t *merged = calloc(list->n_ops, sizeof(*merged));
    cr_assert(merged);
    for (uint32_t border = 1; border <= steps[list->n_ops - 1]; border++) {
        for (uint32_t i = 0; i < list->n_ops; i++) {
            merged[i] = steps[i] - (steps[i] >= border);
        }
        cr_expect_gt(count_hazards(list, merged, false), 0, "nothing needs step %u", border);
    }
    free(merged);
}

/* tokens 0: the list of a token that ends by choosing the next one. */
static void write_list(const struct memory *memory, uint32_t tokens, struct op_list *list)
{
    struct error err = {{0}};
    cr_assert(tokens > 0 ? forward_write(&memory->forward, tokens, list, &err)
                         : forward_write_next(&memory->forward, list, &err),
              "%s", err.text);
    op_list_bind(list);
}

/* Products of experts take tiles as wide as the op before them has cut, which have room. */
static void expect_tiles_fit(const struct op_list *list)
{
    for (uint32_t i = 0; i < list->n_ops; i++) {
        const struct op *op = &list->ops[i], *group = op;
        bool up = op->kind == OP_expert_gate_up, down = op->kind == OP_expert_down;
        const struct tensor *tiles = up ? op->tensors[9] : down ? op->tensors[7] : NULL;
        while (tiles && (group->kind != OP_expert_group || group->tensors[4] != tiles)) {
            cr_assert_gt(group, list->ops, "op %u has tiles that nobody has cut", i);
            group--;
        }
        if (tiles) {
            const struct expert_group_args *a = &group->args.expert_group;
            cr_expect_eq(op->tile_pairs, a->tile_pairs);
            cr_expect_geq(tiles->cols, op_expert_tile_words(list->max_tokens, a->top_k,
                                                            a->n_experts, a->tile_pairs));
        }
    }
}

/* Returns how many ops and steps it has. */
static struct count check_list(const struct memory *memory, uint32_t tokens)
{
    struct op_list list;
    write_list(memory, tokens, &list);
    uint32_t *steps = calloc(list.n_ops, sizeof(*steps));
    cr_assert(steps);
    uint32_t n_steps = op_list_steps(&list, steps);
    cr_expect_eq(steps[0], 0);
    cr_expect_eq(steps[list.n_ops - 1], n_steps - 1);
    for (uint32_t i = 1; i < list.n_ops; i++) {
        cr_expect(steps[i] == steps[i - 1] || steps[i] == steps[i - 1] + 1);
    }
    cr_expect_eq(count_hazards(&list, steps, true), 0);
    expect_every_border(&list, steps);
    expect_tiles_fit(&list);
    struct count count = {list.n_ops, n_steps};
    free(steps);
    op_list_free(&list);
    return count;
}

static void expect_count(const struct family *family, const char *what, struct count count,
                         struct count expected)
{
    cr_expect(count.ops == expected.ops && count.steps == expected.steps,
              "%s, %s: %u ops in %u steps, should be %u in %u", family->name, what, count.ops,
              count.steps, expected.ops, expected.steps);
}

ParameterizedTestParameters(golden_hazards, steps_keep_apart)
{
    return cr_make_param_array(struct family, families, sizeof(families) / sizeof(families[0]));
}

ParameterizedTest(struct family *family, golden_hazards, steps_keep_apart)
{
    struct moxie_model *model = open_family(family);
    for (int observe = 0; observe < 2; observe++) {
        struct memory memory;
        memory_init(&memory, model, observe);
        struct count one = check_list(&memory, 1), few = check_list(&memory, 8);
        struct count chunk = check_list(&memory, CHUNK), next = check_list(&memory, 0);
        if (!observe) {
            expect_count(family, "one token", one, family->one);
            expect_count(family, "one that is chosen", next, family->one);
            expect_count(family, "8 tokens", few, family->few);
            expect_count(family, "a chunk", chunk, family->chunk);
        }
        memory_free(&memory, model);
    }
    moxie_close(&model);
}

/* ---- what ops read and write ---- */

struct bytes {
    uint8_t *before, *after, *again;
};

static uint8_t *data_of(const struct memory *memory)
{
    return (uint8_t *)(uintptr_t)memory->buffer.address;
}

/* Whether the op has this tensor, and (if `written`) writes it. */
static bool names(const struct op *op, const struct tensor *tensor, bool written)
{
    for (uint32_t i = 0; i < op->n_tensors; i++) {
        if (op->tensors[i] == tensor && (!written || op_writes(op->kind, i))) {
            return true;
        }
    }
    return false;
}

static void run_op(struct moxie_model *model, const struct op_list *list, uint32_t index)
{
    struct error err = {{0}};
    struct op_list one = *list;
    one.ops = &list->ops[index];
    one.n_ops = 1;
    struct program *program = model->backend->functions->program_create(model->backend, &one, &err);
    cr_assert(program, "%s", err.text);
    cr_assert(model->backend->functions->run(model->backend, program, &err));
    model->backend->functions->program_destroy(model->backend, program);
}

static void check_op_is_honest(const struct memory *memory, const struct op_list *list,
                               uint32_t index, const struct bytes *bytes)
{
    const struct op *op = &list->ops[index];
    const struct forward *f = &memory->forward;
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        const struct tensor *tensor = &f->tensors[i].tensor;
        uint64_t at = tensor->address - memory->buffer.address;
        bool written = names(op, tensor, true);
        cr_expect(written || !memcmp(bytes->before + at, bytes->after + at, tensor->bytes),
                  "op %u, %s, writes %s", index, op_name(op->kind), tensor->name);
        cr_expect(!written || !memcmp(bytes->after + at, bytes->again + at, tensor->bytes),
                  "op %u, %s: %s depends on a tensor the op does not name", index,
                  op_name(op->kind), tensor->name);
    }
}

/* Runs an op twice, the second time with other bytes in all tensors that it does not name. */
static void try_op(struct moxie_model *model, const struct memory *memory,
                   const struct op_list *list, uint32_t index, const struct bytes *bytes)
{
    const struct forward *f = &memory->forward;
    uint8_t *data = data_of(memory);
    memcpy(bytes->before, data, memory->bytes);
    run_op(model, list, index);
    memcpy(bytes->after, data, memory->bytes);
    memcpy(data, bytes->before, memory->bytes);
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        const struct tensor *tensor = &f->tensors[i].tensor;
        if (!names(&list->ops[index], tensor, false)) {
            memset(data + (tensor->address - memory->buffer.address), 0xFF, tensor->bytes);
        }
    }
    run_op(model, list, index);
    memcpy(bytes->again, data, memory->bytes);
    check_op_is_honest(memory, list, index, bytes);
    memcpy(data, bytes->after, memory->bytes);
}

static void write_step(const struct memory *memory, uint32_t n, uint32_t position)
{
    struct step *step = (struct step *)(uintptr_t)memory->forward.step->address;
    step->n_tokens = n;
    step->position = position;
    for (uint32_t i = 0; i < n; i++) {
        step->tokens[i] = 3 + i * 5 % 11;
    }
}

static void begin_memory(const struct memory *memory)
{
    memset(data_of(memory), 0, memory->bytes);
    for (uint32_t i = 0; i < memory->forward.n_tensors; i++) {
        const struct forward_tensor *slot = &memory->forward.tensors[i];
        if (slot->initial) {
            memcpy((void *)(uintptr_t)slot->tensor.address, slot->initial, slot->tensor.bytes);
        }
    }
}

/* Runs an op and marks in `touched` which numbers of the tensor it writes: none that are marked. */
static void mark_written(struct moxie_model *model, const struct memory *memory,
                         const struct op_list *list, uint32_t index, const struct tensor *tensor,
                         uint8_t *touched)
{
    const struct op *op = &list->ops[index];
    uint8_t *data = data_of(memory) + (tensor->address - memory->buffer.address);
    memset(data, 0xFF, tensor->bytes);
    run_op(model, list, index);
    for (uint64_t i = 0; i < tensor->bytes; i += sizeof(float)) {
        bool written = memcmp(data + i, "\xFF\xFF\xFF\xFF", sizeof(float)) != 0;
        cr_assert(!written || !touched[i], "op %u, %s: another op of its step has written %s too",
                  index, op_name(op->kind), tensor->name);
        touched[i] = touched[i] || written;
    }
}

/* Ops of a step that write the same tensor in parts write parts that are apart; together they write
 * some of it. */
static void check_parts(struct moxie_model *model, const struct memory *memory,
                        const struct op_list *list, uint32_t index, uint8_t *touched)
{
    uint32_t i = list->ops[index].n_tensors - 1, end = index + 1, n = 0;
    const struct tensor *tensor = list->ops[index].tensors[i];
    enum op_kind kind = list->ops[index].kind;
    if (!op_parts(kind, i, kind, i) || (index > 0 && list->ops[index - 1].kind == kind &&
                                        list->ops[index - 1].tensors[i] == tensor)) {
        return;
    }
    while (end < list->n_ops && list->ops[end].kind == kind &&
           list->ops[end].tensors[i] == tensor) {
        end++;
    }
    memset(touched, 0, tensor->bytes);
    for (uint32_t k = index; k < end; k++) {
        mark_written(model, memory, list, k, tensor, touched);
    }
    for (uint64_t k = 0; k < tensor->bytes; k++) {
        n += touched[k];
    }
    cr_expect_gt(n, 0);
}

ParameterizedTestParameters(golden_hazards, ops_are_honest)
{
    return cr_make_param_array(struct family, families, sizeof(families) / sizeof(families[0]));
}

ParameterizedTest(struct family *family, golden_hazards, ops_are_honest)
{
    static const uint32_t counts[] = {CHUNK, 1, 2, 0}; /* as write_list has them */
    struct moxie_model *model = open_family(family);
    struct memory memory;
    memory_init(&memory, model, family->mixed);
    struct bytes bytes = {malloc(memory.bytes), malloc(memory.bytes), malloc(memory.bytes)};
    cr_assert(bytes.before && bytes.after && bytes.again);
    begin_memory(&memory);
    for (uint32_t i = 0, position = 0; i < 4; position += counts[i++]) {
        struct op_list list;
        write_list(&memory, counts[i], &list);
        write_step(&memory, counts[i] > 0 ? counts[i] : 1, position);
        for (uint32_t k = 0; k < list.n_ops; k++) {
            check_parts(model, &memory, &list, k, bytes.before);
            try_op(model, &memory, &list, k, &bytes);
        }
        op_list_free(&list);
    }
    free(bytes.before);
    free(bytes.after);
    free(bytes.again);
    memory_free(&memory, model);
    moxie_close(&model);
}
