/* What a conversion will write, before it writes anything: one item a record of the file, in file
 * order. --dry-run prints it, conversion_run carries it out, and a file that is run without
 * conversion (virtual_model.h) makes its weights by it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/threads.h"
#include "engine/model/conversion_rules.h"
#include "engine/model/source.h"
#include "format/error.h"
#include "format/model_writer.h"

struct conversion_item {
    enum tensor_role role;
    uint32_t layer, expert;        /* MODEL_FILE_NO_LAYER, MODEL_FILE_NO_EXPERT */
    enum dtype type, down_type;    /* down_type: slabs only */
    uint64_t rows, cols;           /* slabs: as tensor_record has them */
    uint64_t down_offset;          /* slabs only */
    uint64_t bytes;                /* raw, of the matrix or slab */
    uint64_t source_bytes;         /* that it is made from */
    const struct arch_weight *row; /* matrices; NULL: a slab */
    enum arch_ffn_kind kind;       /* slabs */
    enum type_choice_reason reason, down_reason;
};

struct conversion_plan {
    const struct source *source;
    struct conversion_rules rules; /* what it points at must outlive the plan */
    const char *type_name;         /* for the metadata: the mix, or "kept" */
    struct conversion_item *items;
    uint64_t n_items, capacity;
    uint64_t source_bytes, weight_bytes; /* sums over the items */
};

/* Who works on a conversion and who hears of it; zero-initialised: the calling thread, nobody. */
struct conversion_work {
    struct thread_pool *pool;
    /* Bytes of the source done, of all. From the calling thread; false stops the work. */
    bool (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;
};

/* Reads the heads of tensors only, unless f16 is asked for: then the values of matrices that might
 * not fit are looked at. On failure nothing is left to free. The source must outlive the plan. */
bool conversion_plan_make(struct conversion_plan *plan, const struct source *source,
                          const struct conversion_rules *rules, const struct conversion_work *work,
                          struct error *err);
void conversion_plan_free(struct conversion_plan *plan);

/* The name in the file: "layer.3.attention_q", "layer.3.expert.5", "token_embedding". */
#define CONVERSION_NAME 80
void conversion_item_name(const struct conversion_item *item, char name[CONVERSION_NAME]);

/* Hands every item to the writer as its next record: `data` is the item's matrix or slab, or NULL
 * for a writer that only plans. */
bool conversion_item_write(const struct conversion_item *item, struct model_writer *writer,
                           const void *data, struct error *err);

/* The matrix of a source that part `part` (enum source_part; 0 for a matrix) of the item is made
 * from. */
void conversion_item_source(const struct conversion_plan *plan, const struct conversion_item *item,
                            uint32_t part, struct source_matrix *matrix);
/* Parts of an item: 3 of a slab, 1 of a matrix. */
uint32_t conversion_item_parts(const struct conversion_item *item);

/* Bytes that the rows of this matrix take where they come from. */
uint64_t source_matrix_bytes(const struct source_matrix *matrix);
