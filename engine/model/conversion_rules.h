/* What the user wants of a conversion: a type or mix, exceptions by name, types of single experts,
 * and activation statistics. Zero-initialised: keep what is quantised, make the rest q8_0. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/type_choice.h"
#include "format/dtype.h"
#include "format/roles.h"

/* "*.expert.*.down=q6_k": a pattern of shell wildcards on the names of matrices, which are those of
 * the file ("layer.3.attention_q"), with ".gate_up" or ".down" after an expert's. */
struct conversion_pattern {
    const char *pattern;
    enum dtype type;
};

struct conversion_rules {
    /* NULL: if any matrix of the source is quantised in blocks, every matrix keeps its type, bit
     * for bit; else q8_0. */
    const struct type_mix *mix;
    /* Every matrix keeps its type, bit for bit (FP8 with scales becomes bf16). */
    bool keep;
    /* The last pattern that matches counts. f32 weights that are small and sensitive stay f32. */
    const struct conversion_pattern *patterns;
    uint32_t n_patterns;
    /* Types for one expert, e.g. by how often it is used; patterns come after it. False: none of
     * its own. May be NULL. */
    bool (*expert_types)(void *context, uint32_t layer, uint32_t expert, enum dtype *type,
                         enum dtype *down_type);
    /* Weights of the squared errors, one a column, valid until the conversion ends; NULL: none.
     * part is an enum source_part for experts. From any number of threads. May be NULL. */
    const float *(*importance)(void *context, enum tensor_role role, uint32_t layer,
                               uint32_t expert, uint32_t part);
    void *context;
};
