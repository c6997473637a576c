/* The argument struct of every op, compiled by C and by GLSL.
 *
 * In C, an ADDRESS is a 64-bit address of the back end that runs the op: a host pointer on the CPU,
 * a buffer device address on Vulkan. In GLSL it is a buffer reference. The addresses come first, in
 * the order of the op's tensors in OPS (engine/op/op.h), then the numbers; at most 128 bytes, which
 * every Vulkan device accepts as push constants.
 *
 * Shapes: t counts the tokens of this evaluation, 0 <= t < n = step.n_tokens; activations are f32,
 * row-major, one row per token unless said otherwise. Weights lie as format/dtype.h says, their
 * type is the op's dtype. Nothing here depends on the position: what changes from token to token is
 * in the step buffer.
 */
#ifndef SHADERS_OP_ARGS_H
#define SHADERS_OP_ARGS_H

#ifdef MOXIE_GLSL
#define ADDRESS(type) type
#define STRUCT(name) name
#define U32 uint
#define F32 float
#else
#include <stdint.h>
#define ADDRESS(type) uint64_t
#define STRUCT(name) struct name
#define U32 uint32_t
#define F32 float
#endif

/* Score functions of the router (before top-k). */
#define ROUTER_SOFTMAX 0
#define ROUTER_SIGMOID 1

/* What a group of experts is worth: its largest selection score (DeepSeek-V2), or the sum of its
 * two largest (DeepSeek-V3). */
#define ROUTER_GROUP_MAX 0
#define ROUTER_GROUP_SUM_OF_2 1

/* Activations between gate/up and down, of both: silu(gate) * up, or as gpt-oss has it
 * (u + 1) * g * sigmoid(alpha * g), g = min(gate, limit), u = clamp(up, -limit, limit). */
#define ACTIVATION_SILU 0
#define ACTIVATION_SWIGLU_CLAMPED 1

/* Most experts a router can choose from, and most it can choose. Bounds shared memory and stacks.
 */
#define ROUTER_MAX_EXPERTS 1024
#define ROUTER_MAX_TOP_K 32

/* y[t] = row token[t] of the table. */
struct embed_args {
    ADDRESS(step_buffer) step;
    ADDRESS(words) table; /* [rows, dim], any dtype */
    ADDRESS(f32s) y;      /* (n, dim) */
    U32 rows, dim;
};

/* y = x / sqrt(mean(x^2) + epsilon) * weight over the last dim (Zhang & Sennrich 2019).
 * last_only: only the last token's rows are read, and written as row 0. */
struct rms_norm_args {
    ADDRESS(step_buffer) step;
    ADDRESS(f32s) x;      /* (n, rows_per_token, dim) */
    ADDRESS(f32s) weight; /* (dim) */
    ADDRESS(f32s) y;      /* (n or 1, rows_per_token, dim) */
    U32 rows_per_token, dim;
    F32 epsilon;
    U32 last_only;
};

/* y[t] = W x[t] + bias + residual[t]. one_row: there is one row of x, residual and y whatever n is
 * (the head).
 *
 * A matmul and the experts' gate/up may have a norm: then x stands for x / sqrt(mean(x^2) +
 * epsilon)
 * * norm, the RMS norm of every row of x (struct rms_norm_args). Shaders take one only in lists
 * made for at most OP_FEW_TOKENS (engine/op/op.h). */
struct matmul_args {
    ADDRESS(step_buffer) step;
    ADDRESS(words) weight;  /* [rows, cols], any dtype */
    ADDRESS(f32s) x;        /* (n or 1, cols) */
    ADDRESS(f32s) norm;     /* (cols) or 0: x is taken as it is */
    ADDRESS(f32s) bias;     /* (rows) or 0 */
    ADDRESS(f32s) residual; /* (n or 1, rows) or 0 */
    ADDRESS(f32s) y;        /* (n or 1, rows) */
    U32 rows, cols;
    U32 one_row;
    F32 epsilon; /* of the norm */
};

/* y[t][h] = W_h x[t][h], W_h being rows [h * rows, (h + 1) * rows) of the weight (the per-head
 * products of latent attention, DeepSeek-AI 2024). */
struct head_matmul_args {
    ADDRESS(step_buffer) step;
    ADDRESS(words) weight; /* [heads * rows, cols], any dtype */
    ADDRESS(f32s) x;       /* (n, heads, cols) */
    ADDRESS(f32s) y;       /* (n, heads, rows) */
    U32 heads, rows, cols;
};

/* What stands between the products of a layer and its attention, in one: heads of q and k are
 * normed (rms_norm_args) where there are norms, then rotated (rotary position embedding, Su et al.
 * 2021): of half-split pairs (j, j + n_rotated / 2) with angle = (step.position + t) *
 * frequencies[j], (a, b) -> (a cos - b sin, b cos + a sin) * scale; dimensions from n_rotated on
 * stay as they are. q_rotated = q, and row step.position + t of the caches = k[t], v[t], stored as
 * the op's dtype: f32, f16 or q8_0. A cache of q8_0 is a [capacity, kv_heads * head_dim] matrix of
 * format/dtype.h; rows of f32 and f16 follow each other without padding. head_dim is even; for
 * caches of q8_0 a multiple of 32. */
struct attention_prepare_args {
    ADDRESS(step_buffer) step;
    ADDRESS(f32s) q;           /* (n, heads, head_dim) */
    ADDRESS(f32s) k;           /* (n, kv_heads, head_dim) */
    ADDRESS(f32s) v;           /* (n, kv_heads, head_dim) */
    ADDRESS(f32s) q_norm;      /* (head_dim) or 0 */
    ADDRESS(f32s) k_norm;      /* (head_dim) or 0 */
    ADDRESS(f32s) frequencies; /* (n_rotated / 2) */
    ADDRESS(f32s) q_rotated;   /* (n, heads, head_dim) */
    ADDRESS(words) k_cache;    /* (capacity, kv_heads, head_dim) of dtype */
    ADDRESS(words) v_cache;    /* (capacity, kv_heads, head_dim) of dtype */
    U32 heads, kv_heads, head_dim, n_rotated, capacity;
    F32 epsilon; /* of the norms */
    F32 scale;   /* of cos and sin: YaRN's attention factor, else 1 */
};

/* The same for latent attention: row step.position + t of the caches = norm(latent[t]), rotated
 * k_rope[t]; q_rotated = rotated q_rope, head by head. All of the rotary parts is rotated. rank and
 * rope_dim are even; for caches of q8_0 multiples of 32. */
struct attention_latent_prepare_args {
    ADDRESS(step_buffer) step;
    ADDRESS(f32s) q_rope;        /* (n, heads, rope_dim) */
    ADDRESS(f32s) latent;        /* (n, rank) */
    ADDRESS(f32s) k_rope;        /* (n, rope_dim) */
    ADDRESS(f32s) latent_norm;   /* (rank) */
    ADDRESS(f32s) frequencies;   /* (rope_dim / 2) */
    ADDRESS(f32s) q_rotated;     /* (n, heads, rope_dim) */
    ADDRESS(words) latent_cache; /* (capacity, rank) of dtype */
    ADDRESS(words) rope_cache;   /* (capacity, rope_dim) of dtype */
    U32 heads, rank, rope_dim, capacity;
    F32 epsilon; /* of the norm */
    F32 scale;   /* of cos and sin */
};

/* Where few queries see many cache rows, the rows are shared out among several work-groups, and the
 * last one that is done adds up what they found (split-k; Dao et al. 2023, "Flash-Decoding"). What
 * they leave for it is in a tensor `parts` that both attentions have: ATTENTION_MAX_TILES counters,
 * zero before and after every run; then at most ATTENTION_MAX_PARTS parts of dim + 2 floats, dim
 * being head_dim or rank. The CPU has memory of its own for this and leaves the tensor alone. */
#define ATTENTION_MAX_TILES 256
#define ATTENTION_MAX_PARTS 2048

/* Causal attention: the token at position i sees cache rows j <= i; with a window only those with
 * i - window < j. y[t][h] = sum_j p_j v[j][h'], p = softmax_j(q[t][h] . k[j][h'] * scale), h' = h /
 * (heads / kv_heads) (Vaswani et al. 2017; grouped queries, Ainslie et al. 2023; windows, Beltagy
 * et al. 2020). sinks: one more logit a head, not scaled, whose probability is dropped (gpt-oss;
 * Xiao et al. 2023). Rows that no token sees are not read. The op's dtype is the caches'. */
struct attention_args {
    ADDRESS(step_buffer) step;
    ADDRESS(f32s) q;        /* (n, heads, head_dim) */
    ADDRESS(words) k_cache; /* (capacity, kv_heads, head_dim) of dtype */
    ADDRESS(words) v_cache; /* (capacity, kv_heads, head_dim) of dtype */
    ADDRESS(f32s) sinks;    /* (heads) or 0 */
    ADDRESS(parts_words) parts;
    ADDRESS(f32s) y; /* (n, heads, head_dim) */
    U32 heads, kv_heads, head_dim, capacity;
    U32 window; /* 0: none */
    F32 scale;
};

/* Most dimensions of a latent and of the rotary key beside it. Bounds shared memory. */
#define ATTENTION_LATENT_MAX_RANK 1024
#define ATTENTION_LATENT_MAX_ROPE 256

/* Latent attention in absorbed form (DeepSeek-AI 2024): all heads share one cached latent and one
 * rotary key a position. y[t][h] = sum_j p_j latent[j], p = softmax_j((q[t][h] . latent[j] +
 * q_rope[t][h] . k_rope[j]) * scale) over j <= step.position + t. The op's dtype is the caches'. */
struct attention_latent_args {
    ADDRESS(step_buffer) step;
    ADDRESS(f32s) q;             /* (n, heads, rank): already through the key's up-projection */
    ADDRESS(f32s) q_rope;        /* (n, heads, rope_dim) */
    ADDRESS(words) latent_cache; /* (capacity, rank) of dtype */
    ADDRESS(words) rope_cache;   /* (capacity, rope_dim) of dtype */
    ADDRESS(parts_words) parts;
    ADDRESS(f32s) y; /* (n, heads, rank) */
    U32 heads, rank, rope_dim, capacity;
    F32 scale;
};

/* Of the logits that a matmul made, NaN counting as minus infinity: probabilities by `score` over
 * all experts; selection score = probability + correction (NaN again minus infinity). With n_groups
 * > 1 only the experts of the top_groups best groups remain (groups are n_experts / n_groups
 * neighbours, worth `group_score`; ties: the lower group first). The top_k largest selection scores
 * of those are chosen (ties: the lower expert first), in descending order. Weights are the
 * probabilities, without the correction; if normalise, divided by their sum + 1e-20; times scale.
 * Without a correction experts are compared by their logits, which are ordered as the probabilities
 * are but do not round to equal ones. If no logit is a number, the weights are NaN: a broken model
 * shows itself. One expert with ROUTER_SIGMOID is the gate of a shared expert.
 * Sources: Qwen3-MoE, Mixtral (Jiang et al. 2024), DeepSeek-V2 and V3 (DeepSeek-AI 2024), gpt-oss.
 */
struct router_rule {
    U32 n_experts, top_k;
    U32 score, normalise;
    F32 scale;
    U32 n_groups, top_groups, group_score;
};

struct router_args {
    ADDRESS(step_buffer) step;
    ADDRESS(f32s) logits;     /* (n, n_experts) */
    ADDRESS(f32s) correction; /* (n_experts) or 0 */
    ADDRESS(u32s) ids;        /* (n, top_k) */
    ADDRESS(f32s) weights;    /* (n, top_k) */
    STRUCT(router_rule) rule;
};

/* matmul and router in one, for one token: logits = W x + bias, x maybe normed as in matmul_args,
 * and from them ids and weights. Of the work-groups that make the logits the last one that is done
 * makes the choice; `arrived` counts them and is zero before and after every run. The CPU leaves it
 * alone.
 */
struct matmul_router_args {
    ADDRESS(step_buffer) step;
    ADDRESS(words) weight;        /* [n_experts, cols], any dtype */
    ADDRESS(f32s) x;              /* (1, cols) */
    ADDRESS(f32s) norm;           /* (cols) or 0, as in matmul_args */
    ADDRESS(f32s) bias;           /* (n_experts) or 0 */
    ADDRESS(f32s) correction;     /* (n_experts) or 0 */
    ADDRESS(parts_words) logits;  /* (1, n_experts) f32 */
    ADDRESS(parts_words) arrived; /* (1) */
    ADDRESS(u32s) ids;            /* (1, top_k) */
    ADDRESS(f32s) weights;        /* (1, top_k) */
    U32 cols;
    F32 epsilon; /* of the norm */
    STRUCT(router_rule) rule;
};

/* What is told of a tile of pairs: its expert, its first pair in the sorted list, how many it has.
 */
#define EXPERT_TILE_WORDS 3

/* Sorts the n * top_k (token, slot) pairs by expert, stably, so that a grouped matrix product can
 * read each expert once. pair = token * top_k + slot. Every expert's pairs are cut into tiles of
 * tile_pairs, the last of them shorter: tiles[0] is the number of tiles, then EXPERT_TILE_WORDS of
 * each, in the order of the pairs. At most op_expert_tiles (engine/op/op.h). */
struct expert_group_args {
    ADDRESS(step_buffer) step;
    ADDRESS(u32s) ids;     /* (n, top_k) */
    ADDRESS(u32s) offsets; /* (n_experts + 1): pairs of expert e are [offsets[e], offsets[e + 1]) */
    ADDRESS(u32s) pairs;   /* (n * top_k) */
    ADDRESS(u32s) tiles;   /* (1 + EXPERT_TILE_WORDS * tiles) */
    U32 n_experts, top_k;
    U32 tile_pairs; /* op_expert_tile_pairs (engine/op/op.h) */
};

/* For every pair whose expert is here (slabs[e] != 0): h[pair] = activation(gate x[t] +
 * gate_bias[e], up x[t] + up_bias[e]), e = ids[pair], t = pair / top_k (SwiGLU, Shazeer 2020). The
 * h of other pairs is left alone: another op of the list computes them (experts of a layer may
 * differ in type). The slab begins with the gate/up matrix, [2 ffn, hidden], rows interleaved gate
 * 0, up 0, gate 1, ... Lists made for one token have no offsets, pairs and tiles (address 0) and
 * need none; the others have been made by an expert_group of the same list. */
struct expert_gate_up_args {
    ADDRESS(step_buffer) step;
    ADDRESS(addresses) slabs; /* (n_experts) 64-bit addresses; 0 = not here */
    ADDRESS(u32s) ids;        /* (n, top_k) */
    ADDRESS(f32s) x;          /* (n, hidden) */
    ADDRESS(f32s) norm;       /* (hidden) or 0, as in matmul_args */
    ADDRESS(u32s) offsets;    /* (n_experts + 1) or 0 */
    ADDRESS(u32s) pairs;      /* (n * top_k) or 0 */
    ADDRESS(f32s) gate_bias;  /* [n_experts, ffn] f32 as in format/dtype.h, or 0; both or neither */
    ADDRESS(f32s) up_bias;    /* [n_experts, ffn] f32, or 0 */
    ADDRESS(u32s) tiles;      /* as expert_group makes them, or 0 */
    ADDRESS(f32s) h;          /* (n * top_k, ffn) */
    U32 hidden, ffn, n_experts, top_k;
    U32 activation;
    F32 limit, alpha; /* of ACTIVATION_SWIGLU_CLAMPED: 7 and 1.702 in gpt-oss */
    F32 epsilon;      /* of the norm */
};

/* For every pair whose expert is here: parts[pair] = down h[pair] + bias[e], e = ids[pair]; other
 * pairs are left alone. The down matrix, [hidden, ffn], lies down_offset bytes into the slab. */
struct expert_down_args {
    ADDRESS(step_buffer) step;
    ADDRESS(addresses) slabs; /* (n_experts) */
    ADDRESS(u32s) ids;        /* (n, top_k) */
    ADDRESS(f32s) h;          /* (n * top_k, ffn) */
    ADDRESS(u32s) offsets;    /* (n_experts + 1) or 0 */
    ADDRESS(u32s) pairs;      /* (n * top_k) or 0 */
    ADDRESS(f32s) bias;       /* (n_experts, hidden) rows not padded, or 0 */
    ADDRESS(u32s) tiles;      /* as expert_group makes them, or 0 */
    ADDRESS(f32s) parts;      /* (n * top_k, hidden) */
    U32 hidden, ffn, n_experts, top_k;
    U32 down_offset; /* bytes, a multiple of 16 */
};

/* y[t] = residual[t] + sum over slots, in order, of weights[t][slot] * parts[t * top_k + slot] */
struct expert_combine_args {
    ADDRESS(step_buffer) step;
    ADDRESS(f32s) parts;    /* (n * top_k, hidden) */
    ADDRESS(f32s) weights;  /* (n, top_k) */
    ADDRESS(f32s) residual; /* (n, hidden) */
    ADDRESS(f32s) y;        /* (n, hidden) */
    U32 hidden, top_k;
};

/* expert_down and expert_combine in one, for experts that agree in type: y[t] = residual[t] + sum
 * over slots, in order, of weights[t][slot] * (down h[pair] + bias[e]), pair = t * top_k + slot, e
 * = ids[pair]. Slots whose expert is not here (slabs[e] = 0) add nothing, and their h is not read.
 */
struct expert_down_sum_args {
    ADDRESS(step_buffer) step;
    ADDRESS(addresses) slabs; /* (n_experts) */
    ADDRESS(u32s) ids;        /* (n, top_k) */
    ADDRESS(f32s) h;          /* (n * top_k, ffn) */
    ADDRESS(f32s) weights;    /* (n, top_k) */
    ADDRESS(f32s) bias;       /* (n_experts, hidden) rows not padded, or 0 */
    ADDRESS(f32s) residual;   /* (n, hidden) */
    ADDRESS(f32s) y;          /* (n, hidden) */
    U32 hidden, ffn, n_experts, top_k;
    U32 down_offset; /* bytes, a multiple of 16 */
};

/* id = index of the largest of x (ties: the lowest index; NaN is never chosen unless all are NaN,
 * then 0). */
struct argmax_args {
    ADDRESS(f32s) x;  /* (1, dim) */
    ADDRESS(u32s) id; /* (1) */
    U32 dim;
};

/* The token that follows: with p = step.position + step.n_tokens, the position it will have,
 * id = sampling_pick(state, logits, p) as engine/base/sampling.h defines it, among the first
 * state.n_valid ids (0: all). Then chosen[p % SAMPLE_RESULTS] = id, the step becomes that of a list
 * for this one token (n_tokens 1, position p), and the token is entered among the recent ones. So
 * the next list can run without the host's knowing the id. */
#define SAMPLE_RESULTS 8
struct sample_args {
    ADDRESS(step_written) step;
    ADDRESS(f32s) logits;           /* (1, vocabulary) */
    ADDRESS(sampling_states) state; /* (1) struct sampling_state */
    ADDRESS(u32s) recent;           /* (state.repeat_last), a ring */
    ADDRESS(u32s) occurrences;      /* (vocabulary) of ids among the recent ones */
    ADDRESS(u32s) chosen;           /* (SAMPLE_RESULTS) */
    U32 vocabulary;
};

/* Activation statistics (importance weights of quantisation). For every (token, slot) pair whose
 * group is g = ids[pair]: sums[g][c] += x[row][c]^2 and counts[g] += 1; row is the pair's token, or
 * the pair itself if x_per_pair (the input of down). Without ids every token is one pair of group 0
 * and top_k is 1. Accumulates over runs; a column is added up in the order of the pairs. */
struct observe_args {
    ADDRESS(step_buffer) step;
    ADDRESS(f32s) x;      /* (n, dim), or (n * top_k, dim) if x_per_pair */
    ADDRESS(u32s) ids;    /* (n, top_k) or 0 */
    ADDRESS(f32s) sums;   /* (n_groups, dim), read and written */
    ADDRESS(f32s) counts; /* (n_groups), read and written */
    U32 dim, n_groups, top_k, x_per_pair;
};

#endif
