/* The Khronos validation layer, with synchronization validation, has nothing to say: about every
 * kernel, about every op for one token and for many, about transfers with and without staging, and
 * about tearing it all down. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/sampling.h"
#include "engine/vk/vk_internal.h"
#include "tests/check.h"

enum {
    HIDDEN = 64,
    HEADS = 4,
    KV_HEADS = 2,
    HEAD_DIM = 16,
    RANK = 12,
    EXPERTS = 6,
    TOP_K = 2,
    TILE_PAIRS = 32,
    FFN = 32,
    CAPACITY = 40,
    VOCABULARY = 100,
    MOST_TENSORS = 80,
    ONE_PLAN_IN = 11
};

/* A model of one layer with each op in it, whose tensors have buffers of their own. */
struct layer {
    struct backend *backend;
    uint32_t max_tokens, n_tensors;
    struct tensor tensors[MOST_TENSORS];
    struct buffer buffers[MOST_TENSORS];
    struct op_list list;
};

static struct backend *open_validated(bool staging)
{
    struct error err = {{0}};
    struct backend *backend =
        vk_backend_create(&(struct vk_options){.validation = true, .force_staging = staging}, &err);
    if (!backend) {
        cr_skip("%s", err.text);
    }
    return backend;
}

static void expect_silence(struct backend *backend)
{
    char first[1024] = "";
    uint32_t n = vk_backend_validation_messages(backend, first, sizeof(first));
    cr_expect_eq(n, 0, "%u messages, the first: %s", n, first);
}

static struct tensor *make(struct layer *layer, const char *name, enum dtype dtype, uint64_t rows,
                           uint64_t cols, enum buffer_use use)
{
    struct error err = {{0}};
    struct check_random random = {layer->n_tensors + 1};
    cr_assert_lt(layer->n_tensors, MOST_TENSORS);
    struct tensor *tensor = &layer->tensors[layer->n_tensors];
    struct buffer *buffer = &layer->buffers[layer->n_tensors++];
    *tensor = (struct tensor){.dtype = dtype, .rows = rows, .cols = cols};
    strcpy(tensor->name, name);
    tensor->bytes =
        dtype == DTYPE_U32 ? rows * cols * 4 : dtype_matrix_bytes(dtype_info(dtype), rows, cols);
    cr_assert(
        layer->backend->functions->buffer_create(layer->backend, tensor->bytes, use, buffer, &err),
        "%s", err.text);
    tensor->address = buffer->address;
    uint8_t *bytes = malloc(tensor->bytes);
    memset(bytes, dtype == DTYPE_U32 ? 0 : 0x11, tensor->bytes); /* small halves */
    if (dtype == DTYPE_F32) {
        check_fill(&random, CHECK_UNIFORM, (float *)(void *)bytes, tensor->bytes / 4);
    }
    cr_assert(
        layer->backend->functions->write(layer->backend, buffer, 0, bytes, tensor->bytes, &err),
        "%s", err.text);
    free(bytes);
    return tensor;
}

static struct tensor *make_activation(struct layer *layer, const char *name, uint64_t cols)
{
    return make(layer, name, DTYPE_F32, layer->max_tokens, cols, BUFFER_ACTIVATIONS);
}

/* The tensor `parts` of an attention, all zero. */
static struct tensor *make_parts(struct layer *layer, uint32_t dim)
{
    return make(layer, "parts", DTYPE_U32, 1, op_attention_parts(dim), BUFFER_ACTIVATIONS);
}

static struct op *add(struct layer *layer, enum op_kind kind, enum dtype dtype,
                      const struct tensor *const *tensors)
{
    return op_list_add(&layer->list, kind, dtype, tensors);
}

#define TENSORS(...) ((const struct tensor *const[]){__VA_ARGS__})

static struct tensor *add_attention(struct layer *layer, const struct tensor *step,
                                    const struct tensor *x, enum dtype cache)
{
    const uint32_t kv_dim = KV_HEADS * HEAD_DIM, dim = HEADS * HEAD_DIM;
    struct tensor *norm = make(layer, "norm", DTYPE_F32, 1, HIDDEN, BUFFER_WEIGHTS);
    struct tensor *q_weight = make(layer, "q weight", DTYPE_F32, dim, HIDDEN, BUFFER_WEIGHTS);
    struct tensor *frequencies =
        make(layer, "frequencies", DTYPE_F32, 1, HEAD_DIM / 2, BUFFER_WEIGHTS);
    struct tensor *k_cache = make(layer, "k cache", cache, CAPACITY, kv_dim, BUFFER_ACTIVATIONS);
    struct tensor *v_cache = make(layer, "v cache", cache, CAPACITY, kv_dim, BUFFER_ACTIVATIONS);
    struct tensor *normed = make_activation(layer, "normed", HIDDEN);
    struct tensor *q = make_activation(layer, "q", dim);
    struct tensor *rotated = make_activation(layer, "rotated", dim);
    struct tensor *k = make_activation(layer, "k", kv_dim);
    struct tensor *y = make_activation(layer, "attention", dim);
    struct op *op = add(layer, OP_rms_norm, DTYPE_F32, TENSORS(step, x, norm, normed));
    op->args.rms_norm.rows_per_token = 1;
    op->args.rms_norm.dim = HIDDEN;
    op->args.rms_norm.epsilon = 1e-6f;
    op = add(layer, OP_matmul, DTYPE_F32, TENSORS(step, q_weight, normed, NULL, NULL, NULL, q));
    op->args.matmul.rows = dim;
    op->args.matmul.cols = HIDDEN;
    op = add(layer, OP_attention_prepare, cache,
             TENSORS(step, q, k, k, NULL, NULL, frequencies, rotated, k_cache, v_cache));
    op->args.attention_prepare.heads = HEADS;
    op->args.attention_prepare.kv_heads = KV_HEADS;
    op->args.attention_prepare.head_dim = op->args.attention_prepare.n_rotated = HEAD_DIM;
    op->args.attention_prepare.capacity = CAPACITY;
    op->args.attention_prepare.scale = 1;
    struct tensor *sinks = make(layer, "sinks", DTYPE_F32, 1, HEADS, BUFFER_WEIGHTS);
    struct tensor *parts = make_parts(layer, HEAD_DIM);
    op = add(layer, OP_attention, cache, TENSORS(step, rotated, k_cache, v_cache, sinks, parts, y));
    op->args.attention.heads = HEADS;
    op->args.attention.kv_heads = KV_HEADS;
    op->args.attention.head_dim = HEAD_DIM;
    op->args.attention.capacity = CAPACITY;
    op->args.attention.window = 20;
    op->args.attention.scale = 0.25f;
    return y;
}

static void add_head_matmul(struct layer *layer, const struct tensor *step,
                            const struct tensor *const tensors[2], uint32_t rows, uint32_t cols)
{
    struct tensor *weight =
        make(layer, "per head", DTYPE_F32, HEADS * (uint64_t)rows, cols, BUFFER_WEIGHTS);
    struct op *op =
        add(layer, OP_head_matmul, DTYPE_F32, TENSORS(step, weight, tensors[0], tensors[1]));
    op->args.head_matmul = (struct head_matmul_args){.heads = HEADS, .rows = rows, .cols = cols};
}

/* Latent attention: x is the heads' q and the rotary parts at once, and its first columns what is
 * cached. */
static struct tensor *add_latent(struct layer *layer, const struct tensor *step,
                                 const struct tensor *x, enum dtype cache)
{
    struct tensor *latents = make(layer, "latents", cache, CAPACITY, RANK, BUFFER_ACTIVATIONS);
    struct tensor *ropes = make(layer, "ropes", cache, CAPACITY, HEAD_DIM, BUFFER_ACTIVATIONS);
    struct tensor *sums = make(layer, "sums", DTYPE_F32, 1, HEADS * RANK, BUFFER_ACTIVATIONS);
    struct tensor *counts = make(layer, "counts", DTYPE_F32, 1, 1, BUFFER_ACTIVATIONS);
    struct tensor *norm = make(layer, "latent norm", DTYPE_F32, 1, RANK, BUFFER_WEIGHTS);
    struct tensor *frequencies =
        make(layer, "rotary frequencies", DTYPE_F32, 1, HEAD_DIM / 2, BUFFER_WEIGHTS);
    struct tensor *rotated = make_activation(layer, "rotated rope", HEADS * HEAD_DIM);
    struct tensor *absorbed = make_activation(layer, "absorbed q", HEADS * RANK);
    struct tensor *latent = make_activation(layer, "latent sums", HEADS * RANK);
    struct tensor *y = make_activation(layer, "latent attention", HEADS * HEAD_DIM);
    add_head_matmul(layer, step, TENSORS(x, absorbed), RANK, HEAD_DIM);
    struct op *op = add(layer, OP_attention_latent_prepare, cache,
                        TENSORS(step, x, x, x, norm, frequencies, rotated, latents, ropes));
    op->args.attention_latent_prepare.heads = HEADS;
    op->args.attention_latent_prepare.rank = RANK;
    op->args.attention_latent_prepare.rope_dim = HEAD_DIM;
    op->args.attention_latent_prepare.capacity = CAPACITY;
    op->args.attention_latent_prepare.scale = 1;
    struct tensor *parts = make_parts(layer, RANK);
    op = add(layer, OP_attention_latent, cache,
             TENSORS(step, absorbed, rotated, latents, ropes, parts, latent));
    op->args.attention_latent.heads = HEADS;
    op->args.attention_latent.rank = RANK;
    op->args.attention_latent.rope_dim = HEAD_DIM;
    op->args.attention_latent.capacity = CAPACITY;
    op->args.attention_latent.scale = 0.25f;
    op = add(layer, OP_observe, DTYPE_F32, TENSORS(step, latent, NULL, sums, counts));
    op->args.observe.dim = HEADS * RANK;
    op->args.observe.n_groups = op->args.observe.top_k = 1;
    add_head_matmul(layer, step, TENSORS(latent, y), HEAD_DIM, RANK);
    return y;
}

/* The table of expert slabs, gate/up and down in one F32 matrix each. */
static struct tensor *make_slabs(struct layer *layer)
{
    struct error err = {{0}};
    struct tensor *slabs = make(layer, "slabs", DTYPE_U32, EXPERTS, 2, BUFFER_WEIGHTS);
    struct buffer *table = &layer->buffers[layer->n_tensors - 1];
    uint64_t addresses[EXPERTS];
    for (int i = 0; i < EXPERTS; i++) {
        addresses[i] = make(layer, "expert", DTYPE_F32, 3 * FFN, HIDDEN, BUFFER_WEIGHTS)->address;
    }
    cr_assert(layer->backend->functions->write(layer->backend, table, 0, addresses,
                                               sizeof(addresses), &err));
    return slabs;
}

static struct tensor *add_down_sum(struct layer *layer, const struct tensor *step,
                                   const struct tensor *const tensors[5])
{
    struct tensor *y = make_activation(layer, "moe and more", HIDDEN);
    struct op *op =
        add(layer, OP_expert_down_sum, DTYPE_F32,
            TENSORS(step, tensors[0], tensors[1], tensors[2], tensors[3], NULL, tensors[4], y));
    op->args.expert_down_sum.hidden = HIDDEN;
    op->args.expert_down_sum.ffn = FFN;
    op->args.expert_down_sum.n_experts = EXPERTS;
    op->args.expert_down_sum.top_k = TOP_K;
    op->args.expert_down_sum.down_offset = 2 * FFN * HIDDEN * 4;
    return y;
}

static struct tensor *add_experts(struct layer *layer, const struct tensor *step,
                                  const struct tensor *x)
{
    const uint32_t n = layer->max_tokens;
    const bool many = n > 1;
    struct tensor *norm = make(layer, "ffn norm", DTYPE_F32, 1, HIDDEN, BUFFER_WEIGHTS);
    struct tensor *logits = make_activation(layer, "router logits", EXPERTS);
    struct tensor *router = make(layer, "router", DTYPE_F32, EXPERTS, HIDDEN, BUFFER_WEIGHTS);
    struct tensor *slabs = make_slabs(layer);
    struct tensor *ids = make(layer, "ids", DTYPE_U32, n, TOP_K, BUFFER_ACTIVATIONS);
    struct tensor *weights = make_activation(layer, "weights", TOP_K);
    struct tensor *offsets = make(layer, "offsets", DTYPE_U32, 1, EXPERTS + 1, BUFFER_ACTIVATIONS);
    struct tensor *pairs = make(layer, "pairs", DTYPE_U32, n, TOP_K, BUFFER_ACTIVATIONS);
    struct tensor *tiles =
        make(layer, "tiles", DTYPE_U32, 1,
             (uint32_t)op_expert_tile_words(n, TOP_K, EXPERTS, TILE_PAIRS), BUFFER_ACTIVATIONS);
    struct tensor *h = make_activation(layer, "h", TOP_K * FFN);
    struct tensor *parts = make_activation(layer, "parts", TOP_K * HIDDEN);
    struct tensor *y = make_activation(layer, "moe", HIDDEN);
    struct op *op = add(layer, OP_matmul, DTYPE_F32,
                        TENSORS(step, router, x, many ? NULL : norm, NULL, NULL, logits));
    op->args.matmul.rows = EXPERTS;
    op->args.matmul.cols = HIDDEN;
    op->args.matmul.epsilon = 1e-6f;
    op = add(layer, OP_router, DTYPE_F32, TENSORS(step, logits, NULL, ids, weights));
    op->args.router.rule.n_experts = EXPERTS;
    op->args.router.rule.top_k = TOP_K;
    op->args.router.rule.scale = 1;
    if (!many) {
        struct tensor *arrived = make(layer, "arrived", DTYPE_U32, 1, 1, BUFFER_ACTIVATIONS);
        op = add(layer, OP_matmul_router, DTYPE_F32,
                 TENSORS(step, router, x, norm, NULL, NULL, logits, arrived, ids, weights));
        op->args.matmul_router.cols = HIDDEN;
        op->args.matmul_router.epsilon = 1e-6f;
        op->args.matmul_router.rule =
            (struct router_rule){.n_experts = EXPERTS, .top_k = TOP_K, .scale = 1};
    }
    op = add(layer, OP_expert_group, DTYPE_F32, TENSORS(step, ids, offsets, pairs, tiles));
    op->args.expert_group.n_experts = EXPERTS;
    op->args.expert_group.top_k = TOP_K;
    op->args.expert_group.tile_pairs = TILE_PAIRS;
    op = add(layer, OP_expert_gate_up, DTYPE_F32,
             TENSORS(step, slabs, ids, x, many ? NULL : norm, many ? offsets : NULL,
                     many ? pairs : NULL, NULL, NULL, many ? tiles : NULL, h));
    op->tile_pairs = TILE_PAIRS;
    op->args.expert_gate_up.epsilon = 1e-6f;
    op->args.expert_gate_up.hidden = HIDDEN;
    op->args.expert_gate_up.ffn = FFN;
    op->args.expert_gate_up.n_experts = EXPERTS;
    op->args.expert_gate_up.top_k = TOP_K;
    op = add(layer, OP_expert_down, DTYPE_F32,
             TENSORS(step, slabs, ids, h, many ? offsets : NULL, many ? pairs : NULL, NULL,
                     many ? tiles : NULL, parts));
    op->tile_pairs = TILE_PAIRS;
    op->args.expert_down.hidden = HIDDEN;
    op->args.expert_down.ffn = FFN;
    op->args.expert_down.n_experts = EXPERTS;
    op->args.expert_down.top_k = TOP_K;
    op->args.expert_down.down_offset = 2 * FFN * HIDDEN * 4;
    op = add(layer, OP_expert_combine, DTYPE_F32, TENSORS(step, parts, weights, x, y));
    op->args.expert_combine.hidden = HIDDEN;
    op->args.expert_combine.top_k = TOP_K;
    return many ? y : add_down_sum(layer, step, TENSORS(slabs, ids, h, weights, y));
}

/* Its settings are all zero: greedy. */
static void add_sample(struct layer *layer, const struct tensor *step, const struct tensor *logits)
{
    const struct tensor *state =
        make(layer, "sampling", DTYPE_U32, 1, sizeof(struct sampling_state) / 4, BUFFER_STEP);
    const struct tensor *recent = make(layer, "recent", DTYPE_U32, 1, 1, BUFFER_STEP);
    const struct tensor *occurrences =
        make(layer, "occurrences", DTYPE_U32, 1, VOCABULARY, BUFFER_ACTIVATIONS);
    const struct tensor *chosen =
        make(layer, "chosen", DTYPE_U32, 1, SAMPLE_RESULTS, BUFFER_RESULT);
    add(layer, OP_sample, DTYPE_F32, TENSORS(step, logits, state, recent, occurrences, chosen))
        ->args.sample.vocabulary = VOCABULARY;
}

/* The list; returns the tensor of the logits. The step is tensor 0. */
static struct tensor *build_layer(struct layer *layer, enum dtype cache)
{
    struct error err = {{0}};
    cr_assert(op_list_init(&layer->list, layer->max_tokens, OP_COUNT + 5, &err));
    struct tensor *step = make(layer, "step", DTYPE_U32, 1, 4 + layer->max_tokens, BUFFER_STEP);
    struct tensor *table = make(layer, "table", DTYPE_F32, VOCABULARY, HIDDEN, BUFFER_WEIGHTS);
    struct tensor *x = make_activation(layer, "x", HIDDEN);
    struct tensor *logits = make(layer, "logits", DTYPE_F32, 1, VOCABULARY, BUFFER_RESULT);
    struct tensor *id = make(layer, "id", DTYPE_U32, 1, 1, BUFFER_RESULT);
    struct op *op = add(layer, OP_embed, DTYPE_F32, TENSORS(step, table, x));
    op->args.embed.rows = VOCABULARY;
    op->args.embed.dim = HIDDEN;
    struct tensor *attended = add_attention(layer, step, x, cache);
    attended = add_latent(layer, step, attended, cache);
    struct tensor *y = add_experts(layer, step, attended);
    op = add(layer, OP_matmul, DTYPE_F32, TENSORS(step, table, y, NULL, NULL, NULL, logits));
    op->args.matmul.rows = VOCABULARY;
    op->args.matmul.cols = HIDDEN;
    op->args.matmul.one_row = 1;
    op = add(layer, OP_argmax, DTYPE_F32, TENSORS(logits, id));
    op->args.argmax.dim = VOCABULARY;
    add_sample(layer, step, logits);
    op_list_bind(&layer->list);
    return logits;
}

static void expect_every_op(const struct op_list *list)
{
    bool seen[OP_COUNT] = {false};
    for (uint32_t i = 0; i < list->n_ops; i++) {
        seen[list->ops[i].kind] = true;
    }
    for (int kind = 0; kind < OP_COUNT; kind++) {
        bool of_one_token = kind == OP_expert_down_sum || kind == OP_matmul_router;
        cr_expect(seen[kind] || (of_one_token && list->max_tokens > 1), "%s is not in the list",
                  op_name(kind));
    }
}

static void run_layer(struct backend *backend, uint32_t max_tokens, enum dtype cache)
{
    static struct layer layer;
    struct error err = {{0}};
    float logits[VOCABULARY] = {0};
    layer = (struct layer){.backend = backend, .max_tokens = max_tokens};
    const struct tensor *output = build_layer(&layer, cache);
    const struct buffer *result = &layer.buffers[output - layer.tensors];
    expect_every_op(&layer.list);
    struct program *program = backend->functions->program_create(backend, &layer.list, &err);
    cr_assert(program, "%s", err.text);
    for (uint32_t run = 0; run < 3; run++) {
        uint32_t step[4 + 16] = {run == 2 && max_tokens > 1 ? max_tokens - 1 : max_tokens,
                                 run * 10};
        for (uint32_t t = 0; t < max_tokens; t++) {
            step[4 + t] = (run * 7 + t * 3) % VOCABULARY;
        }
        cr_assert(backend->functions->write(backend, &layer.buffers[0], 0, step,
                                            (4 + max_tokens) * 4, &err));
        cr_assert(backend->functions->run(backend, program, &err), "%s", err.text);
        cr_assert(backend->functions->read(backend, result, 0, logits, sizeof(logits), &err));
        cr_expect_neq(logits[run], 0);
    }
    expect_silence(backend);
    backend->functions->program_destroy(backend, program);
    for (uint32_t i = 0; i < layer.n_tensors; i++) {
        backend->functions->buffer_destroy(backend, &layer.buffers[i]);
    }
    op_list_free(&layer.list);
}

/* VK_SHORT: the driver is slow, and another one covers what does not depend on what it lacks. */
static bool in_short(void)
{
    return getenv("VK_SHORT") != NULL;
}

Test(vk_validation, every_op_is_silent)
{
    for (int staging = 0; staging < (in_short() ? 1 : 2); staging++) {
        struct backend *backend = open_validated(staging);
        run_layer(backend, 1, DTYPE_F32);
        run_layer(backend, 1, DTYPE_F16);
        run_layer(backend, 13, DTYPE_F32);
        run_layer(backend, 13, DTYPE_F16);
        expect_silence(backend);
        backend->functions->destroy(backend);
    }
}

struct plans {
    struct vk_plan list[1024];
    uint32_t n;
};

static void add_plan(void *context, const struct vk_plan *plan)
{
    struct plans *plans = context;
    cr_assert_lt(plans->n, sizeof(plans->list) / sizeof(plans->list[0]));
    plans->list[plans->n++] = *plan;
}

/* A shader's name without its type: "matmul_q4_k_software" is "matmul_software". */
static void name_kernel(const char *shader, char kernel[64])
{
    snprintf(kernel, 64, "%s", shader);
    for (uint32_t i = 0; i < dtype_count(); i++) {
        char type[32];
        int n = snprintf(type, sizeof(type), "_%s", dtype_name(dtype_at(i)->dtype));
        char *at = strstr(kernel, type);
        if (at && (at[n] == 0 || at[n] == '_')) {
            memmove(at, at + n, strlen(at + n) + 1);
        }
    }
}

/* Drivers take a tenth of a second for each. Every kernel is compiled for some type; and of the
 * others one in a few, so that every type is met. (RADV compiles all of them, and spirv-val reads
 * them: test_vk_portability.c, test_vk_spirv.c.) */
static void thin_out(struct plans *plans)
{
    static char names[sizeof(plans->list) / sizeof(plans->list[0])][64];
    uint32_t n = 0;
    for (uint32_t i = 0; i < plans->n; i++) {
        bool seen = false;
        name_kernel(plans->list[i].shader, names[i]);
        for (uint32_t k = 0; k < i && !seen; k++) {
            seen = strcmp(names[k], names[i]) == 0;
        }
        plans->list[n] = plans->list[i];
        n += !seen || i % ONE_PLAN_IN == 0;
    }
    plans->n = n;
}

/* Some plan is of every shader that the device has all tiers for. */
static void expect_all_planned(const struct vk_caps *caps, const struct plans *plans)
{
    for (uint32_t i = 0; i < vk_n_shaders; i++) {
        bool runs = true, planned = false;
        for (uint32_t tier = 0; tier < VK_N_TIERS; tier++) {
            runs &= !(vk_shaders[i].tiers >> tier & 1) || vk_caps_has(caps, (enum vk_tier)tier);
        }
        for (uint32_t k = 0; runs && !planned && k < plans->n; k++) {
            planned = strcmp(plans->list[k].shader, vk_shaders[i].name) == 0;
        }
        cr_expect(planned || !runs, "no plan has %s", vk_shaders[i].name);
    }
}

Test(vk_validation, every_kernel_is_silent)
{
    struct backend *backend = open_validated(false);
    struct vk_backend *inside = (struct vk_backend *)backend;
    const struct vk_caps *caps = &inside->device.physical.caps;
    static struct plans plans;
    VkPipeline pipelines[sizeof(plans.list) / sizeof(plans.list[0])];
    struct error err = {{0}};
    vk_plan_each(caps, add_plan, &plans);
    expect_all_planned(caps, &plans);
    thin_out(&plans);
    cr_expect(
        vk_pipelines_get(&inside->device, &inside->pipelines, plans.list, plans.n, pipelines, &err),
        "%s", err.text);
    cr_expect_eq(inside->pipelines.n, plans.n);
    expect_silence(backend);
    backend->functions->destroy(backend);
}

Test(vk_validation, a_mistake_is_heard)
{
    struct backend *backend = open_validated(false);
    struct vk_device *device = &((struct vk_backend *)backend)->device;
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, /* of 0 bytes */
                               .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT};
    VkBuffer handle;
    if (device->instance.vk.CreateBuffer(device->handle, &info, NULL, &handle) == VK_SUCCESS) {
        device->instance.vk.DestroyBuffer(device->handle, handle, NULL);
    }
    char first[1024] = "";
    cr_expect_gt(vk_backend_validation_messages(backend, first, sizeof(first)), 0);
    cr_expect(strstr(first, "VUID-VkBufferCreateInfo-size"), "%s", first);
    backend->functions->destroy(backend);
}

/* What the layer finds when the device goes: objects left behind. */
static struct vk_messages *heard;
static uint32_t heard_at_end;
static PFN_vkDestroyInstance real_destroy_instance;

static void VKAPI_PTR note_messages(VkInstance instance, const VkAllocationCallbacks *callbacks)
{
    heard_at_end = heard->n;
    real_destroy_instance(instance, callbacks);
}

Test(vk_validation, nothing_is_left_behind)
{
    struct backend *backend = open_validated(true);
    struct vk_instance *instance = &((struct vk_backend *)backend)->device.instance;
    real_destroy_instance = instance->vk.DestroyInstance;
    instance->vk.DestroyInstance = note_messages;
    heard = &instance->messages;
    run_layer(backend, 13, DTYPE_F16);
    heard_at_end = 99;
    backend->functions->destroy(backend);
    cr_expect_eq(heard_at_end, 0);
}
