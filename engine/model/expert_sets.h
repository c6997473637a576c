/* The experts of a layer as the file has them: which records, of which types, in which classes. */
#pragma once

#include "engine/model/model.h"

/* Fills layer->experts and, where there is one, layer->shared, from the expert directory and the
 * index; has_router and has_shared must be known. Checks every shape. What was made is freed by
 * expert_sets_free, also after a failure. */
bool expert_sets_bind(struct model_layer *layer, const struct hparams *hparams,
                      const struct model_file *file, uint32_t number, struct error *err);
void expert_sets_free(struct model_layer *layer);
