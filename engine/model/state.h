/* What a session remembers of the tokens it has seen: a list of states that layers declare.
 *
 * Rewind, save and prefix reuse work on this list, whatever the kinds in it.
 */
#pragma once

#include <stdint.h>

#include "engine/op/tensor.h"

enum state_kind {
    STATE_KV, /* keys and values of every position; rewinding is forgetting the last rows */
};

struct state {
    enum state_kind kind;
    uint32_t layer;
    struct tensor *k_cache, *v_cache; /* (context, kv_heads * head_dim) */
};
