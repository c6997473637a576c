/* What a model asks to have placed: engine/model fills these from a file, engine/run gives every
 * one of them an address on a back end. Neither knows the other.
 */
#pragma once

#include "engine/op/tensor.h"
#include "format/model_file.h"

/* A matrix of the file. */
struct weight {
    struct tensor tensor; /* address set by placement */
    struct tensor_record record;
};

/* Experts of a layer whose matrices agree in type, which one pair of expert ops computes. The
 * tensor is the table of slab addresses that those ops read, [1, n_experts] 64-bit words, 0 for
 * experts of other classes; placement makes it and fills it. */
struct expert_class {
    struct tensor slabs;
    enum dtype type, down_type; /* of gate and up, and of down */
    uint32_t down_offset;       /* bytes into a slab */
    uint32_t n_members;         /* experts of this class */
};

/* The experts of one layer: records first_record, first_record + 1 ... of the file. Every one of
 * them belongs to one class. */
struct expert_set {
    uint64_t first_record;
    uint32_t n_experts, n_classes;
    struct expert_class *classes; /* (n_classes) */
};

static inline bool expert_class_has(const struct expert_class *class,
                                    const struct tensor_record *record)
{
    return class->type == record->type && class->down_type == record->down_type &&
           class->down_offset == record->down_offset;
}
