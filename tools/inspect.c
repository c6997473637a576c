/* moxie inspect: what is in a .moxie or GGUF file, of whatever architecture. Reads no weight. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"
#include "format/model_file.h"
#include "tools/inspect.h"
#include "tools/tool.h"

/* Metadata of more elements than this is cut in the text form. */
#define SHOWN_ELEMENTS 8
#define SHOWN_TEXT 70

static void print_text(const char *text, uint64_t bytes)
{
    char *copy = inspect_printable(text, bytes < SHOWN_TEXT ? bytes : SHOWN_TEXT);
    printf("%s%s", copy ? copy : "", bytes > SHOWN_TEXT ? "..." : "");
    free(copy);
}

static void print_element(const struct model_file *file, const struct metadata_entry *entry,
                          uint64_t index)
{
    const char *text;
    uint64_t bytes;
    switch (entry->type) {
    case METADATA_U64:
    case METADATA_U64_ARRAY:
        printf("%" PRIu64, inspect_u64(entry, index));
        return;
    case METADATA_I64:
        printf("%" PRId64, (int64_t)inspect_u64(entry, index));
        return;
    case METADATA_F64:
    case METADATA_F64_ARRAY:
        printf("%.9g", inspect_f64(entry, index));
        return;
    case METADATA_BOOL:
        printf("%s", inspect_bool(entry) ? "true" : "false");
        return;
    case METADATA_STRING:
        print_text(entry->value, entry->count);
        return;
    case METADATA_STRING_ARRAY:
        model_file_string_at(file, entry, index, &text, &bytes);
        print_text(text, bytes);
        return;
    }
}

static void print_metadata(const struct model_file *file)
{
    printf("\nmetadata\n");
    for (uint64_t i = 0; i < model_file_n_metadata(file); i++) {
        struct metadata_entry entry;
        model_file_metadata_at(file, i, &entry);
        printf("  %-34.*s ", (int)entry.key_bytes, entry.key);
        bool is_list = inspect_is_array(entry.type);
        uint64_t shown = is_list ? entry.count : 1;
        shown = shown < SHOWN_ELEMENTS ? shown : SHOWN_ELEMENTS;
        for (uint64_t e = 0; e < shown; e++) {
            printf("%s", e ? ", " : "");
            print_element(file, &entry, e);
        }
        if (is_list && shown < entry.count) {
            printf(", ... (%" PRIu64 ")", entry.count);
        }
        printf("\n");
    }
}

static void print_types(const struct inspect_summary *summary)
{
    char text[32];
    printf("\ntypes\n");
    for (uint32_t i = 0; i < dtype_count(); i++) {
        if (summary->weights[i] > 0) {
            printf("  %-6s %14" PRIu64 " weights  %s\n", dtype_at(i)->name, summary->weights[i],
                   bytes_text(summary->bytes[i], text));
        }
    }
}

static void print_experts(const struct model_file *file)
{
    uint32_t n = model_file_n_expert_layers(file);
    printf("\nexperts\n");
    for (uint32_t i = 0; i < n; i++) {
        struct expert_layer layer;
        char slab[32], stride[32];
        model_file_expert_layer_at(file, i, &layer);
        printf("  layer %-4" PRIu32 " %4" PRIu32 " x ", layer.layer, layer.n_experts);
        printf("%s", layer.slab_bytes ? bytes_text(layer.slab_bytes, slab) : "(sizes differ)");
        if (layer.stride) {
            printf(", one every %s", bytes_text(layer.stride, stride));
        }
        printf(", from byte %" PRIu64 "\n", layer.base);
    }
}

static void print_tensors(const struct model_file *file, bool all)
{
    uint64_t hidden = 0;
    printf("\ntensors\n  %-34s %-17s %-12s %-18s %14s %12s %s\n", "name", "role", "type", "shape",
           "offset", "stored", "codec");
    for (uint64_t i = 0; i < model_file_n_tensors(file); i++) {
        struct tensor_record record;
        model_file_tensor_at(file, i, &record);
        bool is_slab = role_is_slab(record.role);
        if (is_slab && !all) {
            hidden++;
            continue;
        }
        char shape[64], type[32], number[16];
        char *name = inspect_printable(record.name, record.name_bytes);
        snprintf(shape, sizeof(shape), "%" PRIu64 " x %" PRIu64, record.rows, record.cols);
        snprintf(type, sizeof(type), "%s%s%s", dtype_name(record.type), is_slab ? "+" : "",
                 is_slab ? dtype_name(record.down_type) : "");
        printf("  %-34s %-17s %-12s %-18s %14" PRIu64 " %12" PRIu64 " %s\n", name ? name : "",
               inspect_role(record.role, number), type, shape, record.offset, record.stored_bytes,
               inspect_codec(record.codec));
        free(name);
    }
    if (hidden > 0) {
        printf("  and %" PRIu64 " experts (--all lists them)\n", hidden);
    }
}

static void print_heading(const struct model_file *file, const struct inspect_summary *summary)
{
    char text[32];
    printf("%s: %s\n\n", file->map.path, bytes_text(file->map.bytes, text));
    static const char *const keys[] = {"name", "architecture"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const char *value;
        uint64_t bytes;
        printf("%-14s ", keys[i]);
        if (model_file_get_string(file, keys[i], &value, &bytes)) {
            print_text(value, bytes);
        } else {
            printf("(not told)");
        }
        printf("\n");
    }
    printf("%-14s %" PRIu64 " in %" PRIu64 " tensors\n", "weights", summary->all_weights,
           model_file_n_tensors(file));
    printf("%-14s %.3f as stored, %.3f in memory\n", "bits a weight",
           inspect_bits(summary->stored_bytes, summary), inspect_bits(summary->raw_bytes, summary));
    if (summary->tokenizer_bytes > 0) {
        printf("%-14s %" PRIu32 " tokens, %s\n", "tokenizer", summary->tokens,
               bytes_text(summary->tokenizer_bytes, text));
    } else {
        printf("%-14s none\n", "tokenizer");
    }
    if (summary->chat_template_bytes > 0) {
        printf("%-14s %" PRIu64 " bytes\n", "chat template", summary->chat_template_bytes);
    } else {
        printf("%-14s none\n", "chat template");
    }
}

static void print_all(const struct model_file *file, const struct inspect_summary *summary,
                      bool all)
{
    print_heading(file, summary);
    print_types(summary);
    print_metadata(file);
    if (model_file_n_expert_layers(file) > 0) {
        print_experts(file);
    }
    print_tensors(file, all);
}

int tool_inspect(int argc, char **argv)
{
    bool json = false, all = false;
    const struct option rows[] = {
        {"--json", NULL, OPTION_FLAG, &json, NULL, "everything as one JSON object"},
        {"--all", NULL, OPTION_FLAG, &all, NULL, "list every expert and every element, too"},
        {0}};
    const struct usage usage = {
        .synopsis = "moxie inspect FILE [options]",
        .text =
            "Shows what is in a .moxie or GGUF file, whether it can be run or not: metadata, "
            "types,\n"
            "experts and tensors. No weight is read; moxie verify checks those of a .moxie file.",
        .options = rows,
        .min_arguments = 1,
        .max_arguments = 1,
    };
    char **arguments;
    uint32_t n_arguments;
    int status = options_parse(&usage, argc, argv, &arguments, &n_arguments);
    if (status >= 0) {
        return status;
    }
    if (gguf_is_file(arguments[0])) {
        return inspect_gguf(arguments[0], json, all);
    }
    struct error err;
    struct model_file file;
    if (!model_file_open(&file, arguments[0], &err)) {
        return tool_fail("inspect", err.text);
    }
    struct inspect_summary summary;
    inspect_summarise(&file, &summary);
    bool ok = true;
    if (json) {
        ok = inspect_print_json(&file, &summary);
    } else {
        print_all(&file, &summary, all);
    }
    model_file_close(&file);
    ok = fflush(stdout) == 0 && ok;
    return ok ? 0 : tool_fail("inspect", "the output could not be written");
}
