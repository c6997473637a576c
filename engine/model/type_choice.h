/* Which type a weight is stored in when a file of some type or mix of types is asked for.
 *
 * A mix has one type for most matrices and others for those that matter more; the usual ones carry
 * the names and follow the rules of llama.cpp's quantiser, so that a file is as large and as good
 * as its users expect.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/hparams.h"
#include "format/dtype.h"
#include "format/roles.h"

/* A row of the table of mixes; every dtype is also one, by its name. */
struct type_mix;

/* By name ("q4_k_m", "q8_0", ...); NULL if there is none. */
const struct type_mix *type_mix_find(const char *name);
const char *type_mix_name(const struct type_mix *mix);
/* All of them, by index. */
uint32_t type_mix_count(void);
const struct type_mix *type_mix_at(uint32_t index);
/* Bits per weight of the experts of a large model (48 layers, rows of whole blocks), to compare
 * mixes by. */
double type_mix_bits(const struct type_mix *mix);
/* "f32, f16, ..., q4_k_m, ...", cut to fit, for messages. */
void type_mix_names(char *names, uint32_t names_bytes);
/* The type of matrices without a rule. */
enum dtype type_mix_type(const struct type_mix *mix);

/* What is known about a matrix, or about all matrices that must share a type (the gates and ups of
 * an expert, or of a layer's experts). */
struct type_query {
    const struct hparams *hparams;
    enum tensor_role role; /* ROLE_EXPERT, also of a dense layer; ROLE_SHARED_EXPERT */
    bool routed;           /* experts that a router chooses */
    bool down;             /* of an expert: down, else gate and up */
    uint32_t layer;
    bool is_head; /* makes the logits: the output matrix, or an embedding that serves as one */
    bool has_importance;
    uint64_t cols;
    bool exceeds_f16;       /* a finite value would become infinity in f16 */
    bool any_f32, any_bf16; /* what the source stores; neither: f16, or something quantised */
};

/* Why the type is what it is. */
enum type_choice_reason {
    TYPE_AS_ASKED,    /* the type of the mix */
    TYPE_BY_RULE,     /* a rule of the mix */
    TYPE_BY_PATTERN,  /* --tensor */
    TYPE_BY_EXPERT,   /* chosen for this expert */
    TYPE_KEPT,        /* the source's, bit for bit */
    TYPE_SENSITIVE,   /* norms, routers, biases: f32 whatever is asked */
    TYPE_FOR_COLUMNS, /* the row length is not a whole number of blocks */
    TYPE_FOR_RANGE,   /* values too large for f16 */
    TYPE_FOR_SCALES,  /* FP8 with scales, kept in the nearest type there is */
    TYPE_FOR_SHARING, /* gate and up of the source differ in type */
    TYPE_N_REASONS
};
/* For people: "asked for", "rule of the mix", ... */
const char *type_choice_reason_text(enum type_choice_reason reason);
/* Whether it is not what the user can expect from the type asked for. */
bool type_choice_is_fallback(enum type_choice_reason reason);

enum dtype type_mix_choose(const struct type_mix *mix, const struct type_query *query,
                           enum type_choice_reason *reason);
/* `wanted`, or what takes its place where it cannot be: a row that is not a whole number of blocks
 * falls back to a type of blocks of 32 with about as many bits, then to the half float nearest to
 * the source; f16 that would overflow stays bf16 if it is, else becomes f32. Changes *reason then.
 */
enum dtype type_choice_fit(enum dtype wanted, const struct type_query *query,
                           enum type_choice_reason *reason);
