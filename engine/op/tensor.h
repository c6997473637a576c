/* A tensor as ops see it: a name, a shape, and where its bytes are on the back end that runs. */
#pragma once

#include <stdint.h>

#include "format/dtype.h"

#define TENSOR_NAME_BYTES 48

struct tensor {
    char name[TENSOR_NAME_BYTES]; /* "layer 3 attention_q", for people */
    enum dtype dtype;
    uint64_t rows, cols;
    uint64_t bytes;
    uint64_t address; /* on the back end that runs the list; 0 until placed */
};
