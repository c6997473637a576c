#include "tools/conversion_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tool.h"

/* Counts matrices that did not get the type the user can expect. */
static void print_fallbacks(const struct conversion_plan *plan)
{
    struct {
        uint64_t count;
        const struct conversion_item *first;
    } seen[TYPE_N_REASONS][64] = {0};
    for (uint64_t i = 0; i < plan->n_items; i++) {
        const struct conversion_item *item = &plan->items[i];
        for (uint32_t k = 0; k < (item->row ? 1 : 2); k++) {
            enum type_choice_reason reason = k ? item->down_reason : item->reason;
            enum dtype type = k ? item->down_type : item->type;
            if (type_choice_is_fallback(reason) && type < 64) {
                seen[reason][type].first =
                    seen[reason][type].count++ ? seen[reason][type].first : item;
            }
        }
    }
    for (uint32_t reason = 0; reason < TYPE_N_REASONS; reason++) {
        for (uint32_t type = 0; type < 64; type++) {
            if (seen[reason][type].count > 0) {
                char name[CONVERSION_NAME];
                conversion_item_name(seen[reason][type].first, name);
                printf("%" PRIu64 " matrices (the first is %s) are stored as %s: %s\n",
                       seen[reason][type].count, name, dtype_name(type),
                       type_choice_reason_text((enum type_choice_reason)reason));
            }
        }
    }
}

void conversion_report_done(const struct conversion_plan *plan, const char *output,
                            uint64_t file_bytes, double seconds)
{
    char source[32], file[32], rate[32];
    printf("%s: %s %s, %" PRIu32 " layers, %s from %s", output, plan->source->arch->name,
           plan->type_name, plan->source->hparams.layers, bytes_text(file_bytes, file),
           bytes_text(plan->source_bytes, source));
    if (seconds > 1) {
        printf(" in %.0f s (%s/s)", seconds,
               bytes_text((uint64_t)((double)plan->source_bytes / seconds), rate));
    }
    printf("\n");
    print_fallbacks(plan);
    if (plan->source->n_unlisted > 0) {
        printf("%" PRIu64 " tensors of the shards are not in the index and were left out\n",
               plan->source->n_unlisted);
    }
}

/* Whether two items are one line of the plan: all but layer and expert is equal. */
static bool same_line(const struct conversion_item *a, const struct conversion_item *b)
{
    return a->role == b->role && a->type == b->type && a->reason == b->reason &&
           a->rows == b->rows && a->cols == b->cols &&
           (a->row || (a->kind == b->kind && a->down_type == b->down_type &&
                       a->down_reason == b->down_reason));
}

static bool in_layer(const struct conversion_item *item)
{
    return item->layer != MODEL_FILE_NO_LAYER;
}

/* "0-3,7": the layers of the items from `first` on that are one line with it. */
static void print_layers(const struct conversion_plan *plan, uint64_t first)
{
    uint32_t begin = UINT32_MAX, end = 0;
    char text[256] = "";
    size_t used = 0;
    for (uint64_t i = first; i <= plan->n_items; i++) {
        const struct conversion_item *item = i < plan->n_items ? &plan->items[i] : NULL;
        if (item && (!in_layer(item) || !same_line(&plan->items[first], item) ||
                     (begin != UINT32_MAX && item->layer == end))) {
            continue;
        }
        if (item && begin != UINT32_MAX && item->layer == end + 1) {
            end++;
            continue;
        }
        if (begin != UINT32_MAX && used < sizeof(text)) {
            used += (size_t)snprintf(text + used, sizeof(text) - used,
                                     begin == end ? "%s%" PRIu32 : "%s%" PRIu32 "-%" PRIu32,
                                     used ? "," : "", begin, end);
        }
        begin = end = item ? item->layer : 0;
    }
    printf("%-16s", text);
}

static void print_line(const struct conversion_plan *plan, uint64_t first, uint64_t count,
                       uint64_t bytes)
{
    const struct conversion_item *item = &plan->items[first];
    char size[32], types[48];
    const char *role = item->kind == FFN_DENSE && !item->row ? "dense" : role_name(item->role);
    if (item->row) {
        snprintf(types, sizeof(types), "%s", dtype_name(item->type));
    } else {
        snprintf(types, sizeof(types), "%s / %s", dtype_name(item->type),
                 dtype_name(item->down_type));
    }
    printf("%-22s ", role);
    print_layers(plan, first);
    printf(" %6" PRIu64 " x [%" PRIu64 ", %" PRIu64 "] %-15s %10s  %s", count, item->rows,
           item->cols, types, bytes_text(bytes, size), type_choice_reason_text(item->reason));
    if (!item->row && item->down_reason != item->reason) {
        printf(" / %s", type_choice_reason_text(item->down_reason));
    }
    printf("\n");
}

bool conversion_report_plan(const struct conversion_plan *plan, const char *output,
                            const struct conversion_options *options, struct error *err)
{
    struct model_file file;
    bool *printed = calloc(plan->n_items + 1, sizeof(bool));
    if (!printed) {
        return error_set(err, "not enough memory to print the plan");
    }
    for (uint64_t i = 0; i < plan->n_items; i++) {
        uint64_t count = 0, bytes = 0;
        for (uint64_t k = i; !printed[i] && k < plan->n_items; k++) {
            /* Lines differ between few items; most end here at once. */
            if (!printed[k] && same_line(&plan->items[i], &plan->items[k])) {
                printed[k] = k != i;
                count++;
                bytes += plan->items[k].bytes;
            }
        }
        if (!printed[i]) {
            print_line(plan, i, count, bytes);
        }
    }
    free(printed);
    if (!conversion_open_planned(plan, options, &file, err)) {
        return false;
    }
    char text[32];
    bool exact = options->compress == COMPRESS_NONE;
    printf("%s would have %s%" PRIu64 " bytes (%s)\n", output, exact ? "" : "at most ",
           file.map.bytes, bytes_text(file.map.bytes, text));
    model_file_close(&file);
    return true;
}

/* ---- statistics, budget, warning ---- */

void conversion_report_importance(const struct importance_weights *weights)
{
    const struct importance *importance = weights->importance;
    printf("%s: activations of %" PRIu32 " chunks of %" PRIu32 " tokens", importance->path,
           importance->chunk_count, importance->chunk_size);
    if (weights->n_experts > 0) {
        printf("; of %" PRIu64 " experts %" PRIu64 " were never chosen and %" PRIu64
               " fewer than %d times%s",
               weights->n_experts, weights->n_never, weights->n_rarely, IMPORTANCE_PRIOR,
               weights->n_never + weights->n_rarely ? ": they share their layer's mean" : "");
    }
    printf("\n");
    if (weights->n_without > 0) {
        printf("%" PRIu64 " of %" PRIu64
               " tensors have no statistics (the first is %s) and are quantised without\n",
               weights->n_without, weights->n_matrices, weights->first_without);
    }
}

void conversion_report_budget(const struct expert_budget *budget, uint64_t allowed_bytes)
{
    char bytes[32], allowed[32];
    printf("experts take %" PRIu64 " bytes (%s) of the %" PRIu64 " allowed (%s)\n", budget->bytes,
           bytes_text(budget->bytes, bytes), allowed_bytes, bytes_text(allowed_bytes, allowed));
    for (uint32_t i = 0; i < budget->n_levels; i++) {
        const struct expert_level *level = &budget->levels[i];
        if (level->n_experts > 0) {
            printf("  %6" PRIu64 " experts %s / %s\n", level->n_experts, dtype_name(level->type),
                   dtype_name(level->down_type));
        }
    }
}

void conversion_report_requantised(const struct conversion_plan *plan, const char *tool)
{
    uint64_t n = 0;
    char name[CONVERSION_NAME] = "";
    const char *type = "";
    for (uint64_t i = 0; i < plan->n_items; i++) {
        const struct conversion_item *item = &plan->items[i];
        for (uint32_t part = 0; part < conversion_item_parts(item); part++) {
            struct source_matrix matrix;
            conversion_item_source(plan, item, part, &matrix);
            enum dtype from = source_matrix_exact(&matrix);
            enum dtype to = !item->row && part == SOURCE_DOWN ? item->down_type : item->type;
            if (dtype_info(from)->block_elements > 1 && to != from && n++ == 0) {
                conversion_item_name(item, name);
                type = dtype_name(from);
            }
        }
    }
    if (n > 0) {
        fprintf(stderr,
                "moxie %s: warning: %" PRIu64 " matrices of %s are quantised already (the first, "
                "in %s, is %s) and lose once more; the original weights give a better file\n",
                tool, n, plan->source->name, name, type);
    }
}
