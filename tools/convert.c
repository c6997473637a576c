/* moxie convert: a Hugging Face folder, a GGUF file or another .moxie file to a .moxie file. */
#include "tools/conversion_request.h"

int tool_convert(int argc, char **argv)
{
    struct conversion_request request = {.tool = "convert", .compress = "none"};
    const struct option rows[] = {
        CONVERSION_OPTIONS(
            &request,
            "f32, f16, bf16, q8_0, q6_k, q5_k_m, q4_k_m, q4_0, mxfp4_moe, ..., or keep: as the "
            "source has it (default: keep if it is quantised, else q8_0)"),
        {0}};
    const struct usage usage = {
        .synopsis = "moxie convert SOURCE OUT.moxie [options]",
        .text =
            "Converts a Hugging Face folder (config.json, tokenizer.json, safetensors), a GGUF\n"
            "file or a .moxie file to one .moxie file. OUT.moxie is replaced only when the\n"
            "conversion has succeeded.",
        .options = rows,
        .min_arguments = 2,
        .max_arguments = 2,
    };
    return conversion_request_run(&request, &usage, argc, argv);
}
