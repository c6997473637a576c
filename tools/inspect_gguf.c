/* moxie inspect of a GGUF file: everything its heads tell, whether it can be run or not. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/source.h"
#include "tools/inspect.h"
#include "tools/inspect_gguf.h"
#include "tools/tool.h"

#define SHOWN_ELEMENTS 8
#define SHOWN_TEXT 70

static void count_type(struct inspect_gguf_summary *summary, const struct gguf_tensor *tensor)
{
    uint64_t weights = tensor->dims[0] * tensor->dims[1] * tensor->dims[2] * tensor->dims[3];
    uint32_t i = 0;
    while (i < summary->n_types && summary->types[i].type != tensor->type) {
        i++;
    }
    summary->weights += weights;
    summary->bytes += tensor->bytes;
    if (i == INSPECT_GGUF_MAX_TYPES) {
        return;
    }
    summary->n_types += i == summary->n_types;
    summary->types[i].type = tensor->type;
    summary->types[i].weights += weights;
    summary->types[i].bytes += tensor->bytes;
    summary->types[i].tensors++;
}

static void summarise(const struct gguf *gguf, const char *path,
                      struct inspect_gguf_summary *summary)
{
    *summary = (struct inspect_gguf_summary){0};
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        count_type(summary, &gguf->tensors[i]);
    }
    for (uint32_t i = 0; i < gguf->n_files; i++) {
        summary->file_bytes += gguf->files[i].bytes;
    }
    struct source *source = source_open_gguf(path, &summary->why_not);
    summary->runs = source != NULL;
    source_close(&source);
}

static void print_text(const char *text, uint64_t bytes, bool all)
{
    uint64_t shown = all || bytes < SHOWN_TEXT ? bytes : SHOWN_TEXT;
    char *copy = inspect_printable(text, shown);
    printf("%s%s", copy ? copy : "", bytes > shown ? "..." : "");
    free(copy);
}

static void print_number(const struct gguf_pair *pair, uint64_t index)
{
    uint64_t whole;
    int64_t number;
    double real;
    bool flag;
    if (gguf_value_u64(pair, index, &whole)) {
        printf("%" PRIu64, whole);
    } else if (gguf_value_i64(pair, index, &number)) {
        printf("%" PRId64, number);
    } else if (gguf_value_f64(pair, index, &real)) {
        printf(pair->type == GGUF_F32 ? "%.7g" : "%.16g", real);
    } else if (gguf_value_bool(pair, index, &flag)) {
        printf("%s", flag ? "true" : "false");
    }
}

static void print_pair(const struct gguf_pair *pair, bool all)
{
    char type[16];
    snprintf(type, sizeof(type), "%s%s", gguf_value_name(pair->type), pair->is_array ? "[]" : "");
    printf("  %-42.*s %-9s ", pair->key_bytes < 200 ? (int)pair->key_bytes : 200, pair->key, type);
    struct gguf_strings walk = gguf_strings(pair);
    uint64_t shown = all || pair->count < SHOWN_ELEMENTS ? pair->count : SHOWN_ELEMENTS;
    for (uint64_t i = 0; i < shown; i++) {
        const char *text;
        uint64_t bytes;
        printf("%s", i ? ", " : "");
        if (gguf_next_string(&walk, &text, &bytes)) {
            print_text(text, bytes, all);
        } else {
            print_number(pair, i);
        }
    }
    if (shown < pair->count) {
        printf(", ... (%" PRIu64 ")", pair->count);
    }
    printf("\n");
}

static void print_tensors(const struct gguf *gguf)
{
    printf("\ntensors\n  %-36s %-10s %-26s %14s%s\n", "name", "type", "shape", "bytes",
           gguf->n_files > 1 ? " part" : "");
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        const struct gguf_tensor *tensor = &gguf->tensors[i];
        char shape[96], type[24], part[16] = "";
        int used = 0;
        for (uint32_t d = tensor->n_dims ? tensor->n_dims : 1; d-- > 0;) {
            used += snprintf(shape + used, sizeof(shape) - (size_t)used, "%" PRIu64 "%s",
                             tensor->dims[d], d ? " x " : "");
        }
        if (gguf->n_files > 1) {
            snprintf(part, sizeof(part), " %" PRIu32, tensor->file + 1);
        }
        printf("  %-36.*s %-10s %-26s %14" PRIu64 "%s\n", (int)tensor->name_bytes, tensor->name,
               gguf_type_name(tensor->type, type), shape, tensor->bytes, part);
    }
}

static void print_heading(const struct gguf *gguf, const struct inspect_gguf_summary *summary)
{
    char text[32];
    printf("%s: %s, GGUF version %" PRIu32, gguf->files[0].path,
           bytes_text(summary->file_bytes, text), gguf->version);
    if (gguf->n_files > 1) {
        printf(", in %" PRIu32 " files", gguf->n_files);
    }
    printf("\n\n");
    static const char *const keys[][2] = {{"name", "general.name"},
                                          {"architecture", "general.architecture"}};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const char *value;
        uint64_t bytes;
        printf("%-14s ", keys[i][0]);
        if (gguf_value_string(gguf_find_pair(gguf, keys[i][1]), &value, &bytes)) {
            print_text(value, bytes, false);
        } else {
            printf("(not told)");
        }
        printf("\n");
    }
    printf("%-14s %" PRIu64 " in %" PRIu64 " tensors\n", "weights", summary->weights,
           gguf->n_tensors);
    if (summary->weights > 0) {
        printf("%-14s %.3f\n", "bits a weight",
               (double)summary->bytes * 8 / (double)summary->weights);
    }
    printf("%-14s %s%s\n", "runs here",
           summary->runs ? "yes" : "no: ", summary->runs ? "" : summary->why_not.text);
}

static void print_all(const struct gguf *gguf, const struct inspect_gguf_summary *summary, bool all)
{
    print_heading(gguf, summary);
    printf("\ntypes\n");
    for (uint32_t i = 0; i < summary->n_types; i++) {
        char type[24], text[32];
        printf("  %-10s %6" PRIu64 " tensors %14" PRIu64 " weights  %s\n",
               gguf_type_name(summary->types[i].type, type), summary->types[i].tensors,
               summary->types[i].weights, bytes_text(summary->types[i].bytes, text));
    }
    printf("\nmetadata\n");
    for (uint64_t i = 0; i < gguf->n_pairs; i++) {
        print_pair(&gguf->pairs[i], all);
    }
    print_tensors(gguf);
}

int inspect_gguf(const char *path, bool json, bool all)
{
    struct error err;
    struct gguf gguf;
    if (!gguf_open(&gguf, path, &err)) {
        return tool_fail("inspect", err.text);
    }
    struct inspect_gguf_summary summary;
    summarise(&gguf, path, &summary);
    bool ok = true;
    if (json) {
        ok = inspect_gguf_print_json(&gguf, &summary, all);
    } else {
        print_all(&gguf, &summary, all);
    }
    gguf_close(&gguf);
    ok = fflush(stdout) == 0 && ok;
    return ok ? 0 : tool_fail("inspect", "the output could not be written");
}
