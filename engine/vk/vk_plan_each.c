/* Every pipeline that the shaders of the table are made into, with the sizes of a common model: for
 * compiling them all without a model. */
#include "engine/vk/vk_ops.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

/* An op with the sizes of a common model (Qwen3-30B-A3B), for compiling without a model. */
static struct op representative_op(enum op_kind kind, enum dtype dtype, uint32_t max_tokens)
{
    struct op op = {.kind = kind,
                    .dtype = dtype,
                    .max_tokens = max_tokens,
                    .tile_pairs = op_expert_tile_pairs(max_tokens, 8, 128, 0)};
    bool many = max_tokens > 1, few = max_tokens <= OP_FEW_TOKENS;
    switch (kind) {
    case OP_embed:
        op.args.embed.rows = 151936, op.args.embed.dim = 2048;
        break;
    case OP_rms_norm:
        op.args.rms_norm.rows_per_token = 1, op.args.rms_norm.dim = 2048;
        break;
    case OP_matmul:
        op.args.matmul.rows = 4096, op.args.matmul.cols = 2048, op.args.matmul.norm = few;
        break;
    case OP_attention_prepare:
        op.args.attention_prepare = (struct attention_prepare_args){
            .heads = 32, .kv_heads = 4, .head_dim = 128, .n_rotated = 128};
        break;
    case OP_attention:
        op.args.attention = (struct attention_args){.heads = 32, .kv_heads = 4, .head_dim = 128};
        break;
    case OP_head_matmul: /* this and the next two as in DeepSeek-V3 */
        op.args.head_matmul = (struct head_matmul_args){.heads = 128, .rows = 512, .cols = 128};
        break;
    case OP_attention_latent_prepare:
        op.args.attention_latent_prepare =
            (struct attention_latent_prepare_args){.heads = 128, .rank = 512, .rope_dim = 64};
        break;
    case OP_attention_latent:
        op.args.attention_latent =
            (struct attention_latent_args){.heads = 128, .rank = 512, .rope_dim = 64};
        break;
    case OP_router:
        op.args.router.rule = (struct router_rule){.n_experts = 128, .top_k = 8};
        break;
    case OP_matmul_router:
        op.max_tokens = 1;
        op.args.matmul_router = (struct matmul_router_args){
            .norm = 1, .cols = 2048, .rule = {.n_experts = 128, .top_k = 8}};
        break;
    case OP_expert_group:
        op.args.expert_group.n_experts = 128;
        break;
    case OP_expert_gate_up:
        op.args.expert_gate_up = (struct expert_gate_up_args){
            .norm = few, .tiles = many, .hidden = 2048, .ffn = 768, .n_experts = 128, .top_k = 8};
        break;
    case OP_expert_down:
        op.args.expert_down = (struct expert_down_args){
            .tiles = many, .hidden = 2048, .ffn = 768, .n_experts = 128, .top_k = 8};
        break;
    case OP_expert_down_sum:
        op.max_tokens = 1;
        op.args.expert_down_sum =
            (struct expert_down_sum_args){.hidden = 2048, .ffn = 768, .n_experts = 128, .top_k = 8};
        break;
    case OP_expert_combine:
        op.args.expert_combine.hidden = 2048;
        break;
    case OP_observe:
        op.args.observe = (struct observe_args){.dim = 2048, .n_groups = 128, .top_k = 8};
        break;
    case OP_argmax:
    case OP_sample:
    case OP_COUNT:
        break;
    }
    return op;
}

static bool same_pipeline(const struct vk_plan *a, const struct vk_plan *b)
{
    return strcmp(a->shader, b->shader) == 0 && a->n_constants == b->n_constants &&
           a->subgroup == b->subgroup &&
           memcmp(a->constants, b->constants, a->n_constants * sizeof(*a->constants)) == 0;
}

/* Plans that differ in their pipelines. */
struct distinct_plans {
    uint32_t n;
    struct vk_plan plans[1024];
    void (*fn)(void *context, const struct vk_plan *plan); /* hears of each */
    void *context;
};

static void add_plan(struct distinct_plans *distinct, const struct vk_plan *plan)
{
    for (uint32_t i = 0; i < distinct->n; i++) {
        if (same_pipeline(&distinct->plans[i], plan)) {
            return;
        }
    }
    assert(distinct->n < sizeof(distinct->plans) / sizeof(distinct->plans[0]));
    distinct->plans[distinct->n++] = *plan;
    distinct->fn(distinct->context, plan);
}

/* In every arithmetic that the device has; cooperative matrices also emulated. */
static void plan_arithmetics(const struct op *op, const struct vk_caps *caps,
                             struct distinct_plans *distinct)
{
    const struct vk_tuning_row *row = &vk_tuning_rows[VK_TUNING_matmul_arithmetic];
    for (uint32_t most = row->smallest; most <= row->largest; most *= 2) {
        for (int emulated = 0; emulated < 2; emulated++) {
            struct vk_caps tried = *caps;
            struct vk_plan plan = {0};
            tried.tuning.matmul_arithmetic = most;
            tried.emulated_matrices = emulated && caps->float16;
            vk_plan_op(op, &tried, &plan);
            add_plan(distinct, &plan);
        }
    }
}

/* As many vectors as teams of eight lanes and rows take one after the other. */
#define FEW_OF_TEAMS 4

/* And as every class of devices has it. */
static void plan_classes(const struct op *op, const struct vk_caps *caps,
                         struct distinct_plans *distinct)
{
    const struct vk_tuning_row *row = &vk_tuning_rows[VK_TUNING_matvec_arithmetic];
    bool few = op->max_tokens <= OP_FEW_TOKENS && caps->eight_lanes;
    struct vk_caps tried = *caps;
    tried.tuning.matvec_rows = 2;
    tried.tuning.matmul_lane_vectors = 4;
    plan_arithmetics(op, &tried, distinct);
    tried.tuning.matmul_lane_vectors = 8;
    plan_arithmetics(op, &tried, distinct);
    tried.tuning.matvec_rows = 8;
    for (uint32_t most = row->smallest; few && most <= row->largest; most *= 4) {
        struct op fewer = *op; /* which tiles of eight lanes do not take */
        struct vk_plan plan = {0};
        fewer.max_tokens = op->max_tokens > 1 ? FEW_OF_TEAMS : 1;
        tried.tuning.matvec_arithmetic = most;
        vk_plan_op(&fewer, &tried, &plan);
        add_plan(distinct, &plan);
    }
}

uint32_t vk_plan_each(const struct vk_caps *caps,
                      void (*fn)(void *context, const struct vk_plan *plan), void *context)
{
    static const uint32_t counts[] = {1, OP_FEW_TOKENS, 512};
    struct distinct_plans distinct = {.fn = fn, .context = context};
    for (uint32_t kind = 0; kind < OP_COUNT; kind++) {
        bool of_cache = kind == OP_attention_prepare || kind == OP_attention_latent_prepare ||
                        kind == OP_attention || kind == OP_attention_latent;
        for (uint32_t i = 0; i < dtype_count(); i++) {
            enum dtype dtype = dtype_at(i)->dtype;
            if (of_cache && dtype != DTYPE_F32 && dtype != DTYPE_F16 && dtype != DTYPE_Q8_0) {
                continue;
            }
            for (uint32_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
                struct op op = representative_op(kind, dtype, counts[c]);
                plan_classes(&op, caps, &distinct);
            }
        }
    }
    for (uint32_t format = VK_PACK_NONE + 1; format < VK_PACK_FORMATS; format++) {
        struct vk_plan plan;
        vk_plan_pack((enum vk_pack_format)format, caps, &plan);
        add_plan(&distinct, &plan);
    }
    return distinct.n;
}
