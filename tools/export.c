/* moxie export: any model this program can read to a GGUF file. */
#include <inttypes.h>
#include <stdio.h>

#include "engine/model/gguf_export.h"
#include "engine/source_text.h"
#include "tools/interrupt.h"
#include "tools/tool.h"

static int run(const char *model, const char *output)
{
    struct error err;
    struct source *source = source_open(model, &err);
    if (source && !source_text_attach(source, &err)) {
        source_close(&source);
    }
    if (!source) {
        return tool_fail("export", err.text);
    }
    struct progress progress = {.title = output};
    struct gguf_export_report report;
    const struct gguf_export_options options = {
        .write_tokenizer = source_text_write_gguf,
        .progress = interrupt_progress,
        .progress_context = &progress,
    };
    bool ok = gguf_export_run(source, output, &options, &report, &err);
    progress_finish(&progress);
    if (ok) {
        char text[32];
        printf("%s: %s, %" PRIu64 " tensors, %s\n", output, source->arch->gguf_name,
               report.n_tensors, bytes_text(report.file_bytes, text));
    }
    source_close(&source);
    return ok ? 0 : tool_fail("export", err.text);
}

int tool_export(int argc, char **argv)
{
    const struct option rows[] = {{0}};
    const struct usage usage = {
        .synopsis = "moxie export MODEL OUT.gguf",
        .text =
            "Writes a model (a .moxie file, a Hugging Face folder or a GGUF file) as a GGUF file\n"
            "that llama.cpp loads; the weights are taken over unchanged. OUT.gguf is replaced\n"
            "only when the export has succeeded.",
        .options = rows,
        .min_arguments = 2,
        .max_arguments = 2,
    };
    char **arguments;
    uint32_t n_arguments;
    int status = options_parse(&usage, argc, argv, &arguments, &n_arguments);
    if (status >= 0) {
        return status;
    }
    interrupt_catch();
    return run(arguments[0], arguments[1]);
}
