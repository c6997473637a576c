/* A copy of a .moxie file of f32 with something changed, for tests of what a model's file may and
 * may not say. */
#pragma once

#include <stdbool.h>

#include "format/model_file.h"
#include "format/model_writer.h"

struct model_change {
    /* Each may be NULL. `context` is theirs. */
    /* False leaves the key out; the value may be changed (of numbers, whose kind is known). */
    bool (*number)(void *context, const char *key, double *value);
    /* False leaves the tensor out; role, layer, rows and cols may be changed (then its values are
     * those of another matrix, as far as they reach, and zeros). */
    bool (*tensor)(void *context, struct tensor_spec *spec);
    /* The same for slabs; types may be changed, and values stay. */
    bool (*slab)(void *context, struct expert_spec *spec);
    /* Writes more before the end. */
    void (*more)(void *context, struct model_writer *writer);
    void *context;
};

/* Returns the path of the copy, check_temp_dir()/name. Any mistake fails the test. */
const char *model_copy(const char *path, const char *name, const struct model_change *change);
