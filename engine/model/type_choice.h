/* Which type a weight is stored in when a file of some type is asked for. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/dtype.h"
#include "format/safetensors.h"

/* What is known about a matrix, or about all matrices that must share a type (the gates and ups of
 * a layer's experts). Zero-initialise, then type_choice_add each tensor. */
struct type_choice {
    bool keep_f32; /* norms and routers: small and sensitive */
    bool is_head;  /* makes the logits: the output matrix, or an embedding that serves as one */
    uint64_t cols;
    bool exceeds_f16; /* a finite value would become infinity in f16 */
    bool any_f32, any_f16, any_bf16;
};
void type_choice_add(struct type_choice *choice, const struct safetensors_tensor *tensor);

/* Why the type is not the one asked for. */
enum type_choice_reason {
    TYPE_AS_RULED,    /* it is, or a rule of the file type says otherwise */
    TYPE_FOR_COLUMNS, /* the row length is not a whole number of blocks */
    TYPE_FOR_RANGE,   /* values too large for f16 */
    TYPE_N_REASONS
};

/* Rules: f32 where keep_f32. Heads of files of 4 bits are q6_k, as in llama.cpp. A row that is not
 * a whole number of blocks falls back to q8_0, then to the half float nearest to the source. f16
 * that would overflow stays bf16 if it is, else becomes f32. */
enum dtype type_choice_make(const struct type_choice *choice, enum dtype asked,
                            enum type_choice_reason *reason);
