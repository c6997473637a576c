/* What convert and quantize share: their options, what they ask of a conversion, and carrying it
 * out. */
#pragma once

#include "engine/model/conversion.h"
#include "engine/model/expert_budget.h"
#include "engine/model/importance_weights.h"
#include "tools/tool.h"

struct conversion_request {
    const char *tool; /* "convert", for messages */
    const char *input, *output;
    /* Values of the options, NULL or 0 where not given. */
    const char *type, *compress, *name, *importance, *expert_budget;
    struct text_list tensors;
    uint32_t threads;
    bool dry_run;
    /* What they mean. */
    struct conversion_rules rules;
    struct conversion_pattern patterns[TEXT_LIST_MAX];
    struct conversion_options options;
    uint64_t budget_bytes; /* 0: none, or a share */
    double budget_share;   /* of what the type gives; 0: none */
};

/* Rows of a table of options. */
#define CONVERSION_OPTIONS(request, type_help) \
    {"--type", "-t", OPTION_TEXT, &(request)->type, "TYPE", type_help}, \
        {"--tensor", \
         NULL, \
         OPTION_LIST, \
         &(request)->tensors, \
         "PATTERN=TYPE", \
         "type of the matrices whose names match, e.g. \"*.expert.*.down=q6_k\"; may be " \
         "repeated, " \
         "the last match counts"}, \
        {"--imatrix", \
         NULL, \
         OPTION_TEXT, \
         &(request)->importance, \
         "FILE", \
         "activation statistics (moxie imatrix, or llama.cpp's): columns that matter are stored " \
         "more exactly"}, \
        {"--dry-run",         NULL, OPTION_FLAG, \
         &(request)->dry_run, NULL, "print what would be written and its size, and write nothing"}, \
        {"--compress", NULL, \
         OPTION_TEXT,  &(request)->compress, \
         "HOW",        "none, zstd, or auto: only where it saves enough (default none)"}, \
        {"--name",         NULL,   OPTION_TEXT, \
         &(request)->name, "NAME", "name of the model (default: the source's)"}, \
    { \
        "--threads", NULL, OPTION_U32, &(request)->threads, "N", "threads (default: all cores)" \
    }

/* From the command line, whose options are the request's and whose two arguments are input and
 * output, to the exit code. */
int conversion_request_run(struct conversion_request *request, const struct usage *usage, int argc,
                           char **argv);
