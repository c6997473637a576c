/* moxie quantize: a model in fewer bits, from any source that convert takes. */
#include <stdio.h>
#include <string.h>

#include "tools/conversion_request.h"

#define DEFAULT_TYPE "q4_k_m"

/* The synopsis' text with the table of types and mixes. */
static void write_help(char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(
        text, bytes,
        "Stores the weights of SOURCE (a Hugging Face folder, a GGUF file or a .moxie file) in\n"
        "fewer bits. Matrices that already have the type asked for are copied bit for bit.\n\n"
        "types, and mixes of them, with the bits per weight of the experts of a large model:\n");
    for (uint32_t i = 0; i < type_mix_count() && used < bytes; i++) {
        const struct type_mix *mix = type_mix_at(i);
        used += (size_t)snprintf(text + used, bytes - used, "  %-10s %5.2f%s", type_mix_name(mix),
                                 type_mix_bits(mix), i % 4 == 3 ? "\n" : "   ");
    }
}

int tool_quantize(int argc, char **argv)
{
    struct conversion_request request = {
        .tool = "quantize", .type = DEFAULT_TYPE, .compress = "none"};
    char text[2048];
    write_help(text, sizeof(text));
    const struct option rows[] = {
        CONVERSION_OPTIONS(
            &request, "one of the above, or keep: as the source has it (default " DEFAULT_TYPE ")"),
        {"--expert-budget", NULL, OPTION_TEXT, &request.expert_budget, "SIZE",
         "bytes for all experts (12G), or a share of what the type gives (85%); often-used experts "
         "get more bits than rarely used ones; needs --imatrix"},
        {0}};
    const struct usage usage = {
        .synopsis = "moxie quantize SOURCE OUT.moxie [--type T] [--imatrix FILE] [options]",
        .text = text,
        .options = rows,
        .min_arguments = 2,
        .max_arguments = 2,
    };
    return conversion_request_run(&request, &usage, argc, argv);
}
