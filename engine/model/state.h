/* What a session remembers of the tokens it has seen: a list of states that layers declare.
 *
 * Rewind, save and prefix reuse work on this list, whatever the kinds in it.
 */
#pragma once

#include <stdint.h>

#include "engine/op/tensor.h"

/* Of both kinds there is a row for every position; rewinding is forgetting the last rows. */
enum state_kind {
    STATE_KV,     /* caches: keys and values, (context, kv_heads * head_dim) each */
    STATE_LATENT, /* caches: latents (context, kv_rank), rotated keys (context, rope_dim) */
};

struct state {
    enum state_kind kind;
    uint32_t layer;
    struct tensor *caches[2];
};
