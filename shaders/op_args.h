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
#define U32 uint
#define F32 float
#else
#include <stdint.h>
#define ADDRESS(type) uint64_t
#define U32 uint32_t
#define F32 float
#endif

/* Score functions of the router (before top-k). */
#define ROUTER_SOFTMAX 0

/* Activations between gate/up and down. */
#define ACTIVATION_SILU 0

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

/* y[t] = W x[t]. one_row: there is one row of x and y whatever n is (the head). */
struct matmul_args {
    ADDRESS(step_buffer) step;
    ADDRESS(words) weight; /* [rows, cols], any dtype */
    ADDRESS(f32s) x;       /* (n or 1, cols) */
    ADDRESS(f32s) y;       /* (n or 1, rows) */
    U32 rows, cols;
    U32 one_row;
};

/* y = a + b */
struct add_args {
    ADDRESS(step_buffer) step;
    ADDRESS(f32s) a; /* (n, dim) */
    ADDRESS(f32s) b; /* (n, dim) */
    ADDRESS(f32s) y; /* (n, dim) */
    U32 dim;
};

/* Rotary position embedding (Su et al. 2021), half-split pairs (j, j + n_rotated/2):
 * angle = (step.position + t) * frequencies[j]; (a, b) -> (a cos - b sin, b cos + a sin) * scale.
 * Dims from n_rotated on are copied. */
struct rope_args {
    ADDRESS(step_buffer) step;
    ADDRESS(f32s) x;           /* (n, heads, head_dim) */
    ADDRESS(f32s) frequencies; /* (n_rotated / 2) */
    ADDRESS(f32s) y;           /* (n, heads, head_dim) */
    U32 heads, head_dim, n_rotated;
    F32 scale; /* of cos and sin: YaRN's attention factor, else 1 */
};

/* Row step.position + t of the caches = k[t], v[t], stored as the op's dtype (f32 or f16).
 * kv_dim is even. */
struct kv_store_args {
    ADDRESS(step_buffer) step;
    ADDRESS(f32s) k;        /* (n, kv_dim) */
    ADDRESS(f32s) v;        /* (n, kv_dim) */
    ADDRESS(words) k_cache; /* (capacity, kv_dim) of dtype, rows not padded */
    ADDRESS(words) v_cache; /* (capacity, kv_dim) of dtype */
    U32 kv_dim, capacity;
};

/* Causal attention: token t sees cache rows 0 .. step.position + t.
 * y[t][h] = sum_j softmax_j(q[t][h] . k[j][h'] * scale) v[j][h'], h' = h / (heads / kv_heads)
 * (Vaswani et al. 2017; grouped queries, Ainslie et al. 2023). The op's dtype is the caches'. */
struct attention_args {
    ADDRESS(step_buffer) step;
    ADDRESS(f32s) q;        /* (n, heads, head_dim) */
    ADDRESS(words) k_cache; /* (capacity, kv_heads, head_dim) of dtype */
    ADDRESS(words) v_cache; /* (capacity, kv_heads, head_dim) of dtype */
    ADDRESS(f32s) y;        /* (n, heads, head_dim) */
    U32 heads, kv_heads, head_dim, capacity;
    F32 scale;
};

/* Logits = weight x; probabilities by `score` over all experts; the top_k largest (ties: the lower
 * expert first), in descending order; if normalise, divided by their sum; times scale.
 * Source: Qwen3-MoE, Mixtral (Jiang et al. 2024). A NaN logit counts as minus infinity. */
struct router_args {
    ADDRESS(step_buffer) step;
    ADDRESS(f32s) x;       /* (n, hidden) */
    ADDRESS(f32s) weight;  /* (n_experts, hidden) f32, rows not padded */
    ADDRESS(u32s) ids;     /* (n, top_k) */
    ADDRESS(f32s) weights; /* (n, top_k) */
    U32 hidden, n_experts, top_k;
    U32 score, normalise;
    F32 scale;
};

/* Sorts the n * top_k (token, slot) pairs by expert, stably, so that a grouped matrix product can
 * read each expert once. pair = token * top_k + slot. */
struct expert_group_args {
    ADDRESS(step_buffer) step;
    ADDRESS(u32s) ids;     /* (n, top_k) */
    ADDRESS(u32s) offsets; /* (n_experts + 1): pairs of expert e are [offsets[e], offsets[e + 1]) */
    ADDRESS(u32s) pairs;   /* (n * top_k) */
    U32 n_experts, top_k;
};

/* For every pair: h[pair] = activation(gate x[t]) * (up x[t]), t = pair / top_k (SwiGLU, Shazeer
 * 2020). The slab of expert ids[pair] begins with the gate/up matrix, [2 ffn, hidden], rows
 * interleaved gate 0, up 0, gate 1, ... Lists made for one token have no offsets and pairs (address
 * 0) and need none. */
struct expert_gate_up_args {
    ADDRESS(step_buffer) step;
    ADDRESS(addresses) slabs; /* (n_experts) 64-bit addresses; 0 = not here, never chosen */
    ADDRESS(u32s) ids;        /* (n, top_k) */
    ADDRESS(f32s) x;          /* (n, hidden) */
    ADDRESS(u32s) offsets;    /* (n_experts + 1) or 0 */
    ADDRESS(u32s) pairs;      /* (n * top_k) or 0 */
    ADDRESS(f32s) h;          /* (n * top_k, ffn) */
    U32 hidden, ffn, n_experts, top_k;
    U32 activation;
};

/* For every pair: parts[pair] = down h[pair]; the down matrix, [hidden, ffn], lies down_offset
 * bytes into the slab of expert ids[pair]. */
struct expert_down_args {
    ADDRESS(step_buffer) step;
    ADDRESS(addresses) slabs; /* (n_experts) */
    ADDRESS(u32s) ids;        /* (n, top_k) */
    ADDRESS(f32s) h;          /* (n * top_k, ffn) */
    ADDRESS(u32s) offsets;    /* (n_experts + 1) or 0 */
    ADDRESS(u32s) pairs;      /* (n * top_k) or 0 */
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

/* id = index of the largest of x (ties: the lowest index; NaN is never chosen unless all are NaN,
 * then 0). */
struct argmax_args {
    ADDRESS(f32s) x;  /* (1, dim) */
    ADDRESS(u32s) id; /* (1) */
    U32 dim;
};

#endif
