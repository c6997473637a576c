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

/* The experts of one layer. The tensor is the table of slab addresses that the expert ops read, [1,
 * n_experts] 64-bit words; placement makes it and fills it. */
struct expert_set {
    struct tensor slabs;
    struct expert_layer directory;
};
