/* The shapes of known families that `moxie synth` makes models of: one table, a row a model.
 *
 * A shape is the part of the model's published config.json that says how large it is and what is
 * computed; the same code reads it that reads a checkpoint's. Sources: the config.json of the
 * repositories named in the rows (huggingface.co). Shapes that begin with "tiny-" are ours, for
 * tests: the same families with as little as shows all their parts.
 */
#pragma once

#include <stdint.h>

struct synthetic_shape {
    const char *name;   /* "qwen3-30b-a3b" */
    const char *source; /* the repository whose config.json this is; "" of tiny shapes */
    const char *config; /* JSON */
    /* Which share of what the router decides by is the same for every token, so that some experts
     * are popular: 0 none, 1 all (synthetic_values.h). */
    double popularity;
};

uint32_t synthetic_shape_count(void);
const struct synthetic_shape *synthetic_shape_at(uint32_t index);
/* By name; NULL if there is none. */
const struct synthetic_shape *synthetic_shape_find(const char *name);
