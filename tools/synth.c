/* moxie synth: a model of random weights at the shape of a known one. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/threads.h"
#include "engine/model/conversion.h"
#include "engine/model/gguf_export.h"
#include "engine/model/synthetic_model.h"
#include "engine/source_text.h"
#include "engine/text/tokenizer_synthetic.h"
#include "tools/conversion_report.h"
#include "tools/disk_space.h"
#include "tools/interrupt.h"
#include "tools/tool.h"

struct synth_request {
    const char *shape, *output, *type;
    uint32_t layers, threads;
    uint64_t seed;
    bool dry_run;
};

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static void write_help(char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(
        text, bytes,
        "Writes a model of random weights with the shape of a known one, to measure speed without\n"
        "a download; other engines can run the same .gguf file. Its router prefers some experts\n"
        "and neighbouring tokens share experts, as in trained models; what it says is noise.\n"
        "OUT ends in .moxie or .gguf.\n\nshapes:\n");
    for (uint32_t i = 0; i < synthetic_shape_count() && used < bytes; i++) {
        used += (size_t)snprintf(text + used, bytes - used, "  %-18s%s",
                                 synthetic_shape_at(i)->name, i % 3 == 2 ? "\n" : "");
    }
}

static bool attach_tokenizer(struct source *source, struct error *err)
{
    void *section = NULL;
    uint32_t n_tokens;
    if (!tokenizer_synthetic_pack(source->hparams.vocabulary, &section, &source->tokenizer_bytes,
                                  &n_tokens, err)) {
        return false;
    }
    source->tokenizer = source->owned_tokenizer = section;
    source->chat_template = tokenizer_synthetic_template;
    source->chat_template_bytes = strlen(tokenizer_synthetic_template);
    synthetic_model_set_tokens(source, n_tokens);
    return true;
}

static void report(const char *output, const struct source *source, uint64_t bytes, double seconds)
{
    char size[32], rate[32];
    printf("%s: %s, %" PRIu32 " layer%s, %s", output, source->name, source->hparams.layers,
           source->hparams.layers == 1 ? "" : "s", bytes_text(bytes, size));
    if (seconds > 1) {
        printf(" in %.0f s (%s/s)", seconds, bytes_text((uint64_t)((double)bytes / seconds), rate));
    }
    printf("\n");
}

static bool write_gguf(const struct synth_request *request, struct source *source,
                       struct error *err)
{
    struct progress progress = {.title = request->output};
    struct gguf_export_report done;
    const struct gguf_export_options options = {
        .write_tokenizer = source_text_write_gguf,
        .progress = interrupt_progress,
        .progress_context = &progress,
    };
    bool ok = gguf_export_run(source, request->output, &options, &done, err);
    progress_finish(&progress);
    if (ok) {
        report(request->output, source, done.file_bytes, progress_seconds(&progress));
    }
    return ok;
}

static bool write_moxie(const struct synth_request *request, struct conversion_plan *plan,
                        struct error *err)
{
    struct progress progress = {.title = request->output};
    struct conversion_work work = {.pool = thread_pool_create(request->threads, err),
                                   .progress = interrupt_progress,
                                   .progress_context = &progress};
    const struct conversion_options options = {.compress = COMPRESS_NONE,
                                               .converter = "moxie " MOXIE_VERSION};
    uint64_t bytes = 0;
    bool ok = work.pool && conversion_run(plan, request->output, &options, &work, &bytes, err);
    progress_finish(&progress);
    thread_pool_destroy(&work.pool);
    if (ok) {
        report(request->output, plan->source, bytes, progress_seconds(&progress));
    }
    return ok;
}

static bool run(const struct synth_request *request, struct source *source, bool gguf,
                struct error *err)
{
    struct conversion_rules rules = {.keep = true};
    struct conversion_plan plan;
    if (!attach_tokenizer(source, err) || !conversion_plan_make(&plan, source, &rules, NULL, err)) {
        return false;
    }
    bool ok = true;
    if (request->dry_run && gguf) {
        char size[32];
        printf("%s: %s, %" PRIu32 " layer%s, %" PRIu64 " bytes (%s) of weights\n", request->output,
               source->name, source->hparams.layers, source->hparams.layers == 1 ? "" : "s",
               plan.source_bytes, bytes_text(plan.source_bytes, size));
    } else if (request->dry_run) {
        const struct conversion_options options = {.compress = COMPRESS_NONE};
        ok = conversion_report_plan(&plan, request->output, &options, err);
    } else {
        ok = disk_space_suffices(request->output, plan.source_bytes, err) &&
             (gguf ? write_gguf(request, source, err) : write_moxie(request, &plan, err));
    }
    conversion_plan_free(&plan);
    return ok;
}

/* -1 to go on, else the exit code. */
static int understand(const struct synth_request *request, struct synthetic_options *options,
                      const struct synthetic_shape **shape)
{
    *shape = synthetic_shape_find(request->shape);
    if (!*shape) {
        fprintf(stderr, "moxie synth: no shape is called \"%s\"; --help lists them\n",
                request->shape);
        return EXIT_USAGE;
    }
    options->mix = type_mix_find(request->type);
    if (!options->mix) {
        char names[512];
        type_mix_names(names, sizeof(names));
        fprintf(stderr, "moxie synth: --type cannot be \"%s\"; it is one of %s\n", request->type,
                names);
        return EXIT_USAGE;
    }
    if (!ends_with(request->output, ".gguf") && !ends_with(request->output, ".moxie")) {
        fprintf(stderr, "moxie synth: %s ends neither in .moxie nor in .gguf\n", request->output);
        return EXIT_USAGE;
    }
    if (request->layers > HPARAM_MAX_LAYERS) {
        fprintf(stderr, "moxie synth: --layers must be from 1 to %d\n", HPARAM_MAX_LAYERS);
        return EXIT_USAGE;
    }
    options->layers = request->layers;
    options->seed = request->seed;
    return -1;
}

int tool_synth(int argc, char **argv)
{
    struct synth_request request = {.type = "q4_k_m"};
    char text[2048];
    write_help(text, sizeof(text));
    const struct option rows[] = {
        {"--type", NULL, OPTION_TEXT, &request.type, "T",
         "a type or mix, as `moxie quantize --help` lists them (default q4_k_m)"},
        {"--layers", NULL, OPTION_U32, &request.layers, "N",
         "layers, for a smaller file (default: those of the shape)"},
        {"--seed", NULL, OPTION_U64, &request.seed, "S", "the same seed gives the same file"},
        {"--threads", "-t", OPTION_U32, &request.threads, "N", "threads (default: one per core)"},
        {"--dry-run", NULL, OPTION_FLAG, &request.dry_run, NULL, "only tell how large it will be"},
        {0}};
    const struct usage usage = {
        .synopsis = "moxie synth SHAPE OUT [--type T] [--layers N] [--seed S]",
        .text = text,
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
    request.shape = arguments[0];
    request.output = arguments[1];
    struct synthetic_options options = {0};
    const struct synthetic_shape *shape;
    status = understand(&request, &options, &shape);
    if (status >= 0) {
        return status;
    }
    interrupt_catch();
    struct error err;
    struct source *source = synthetic_model_open(shape, &options, &err);
    bool ok = source && run(&request, source, ends_with(request.output, ".gguf"), &err);
    source_close(&source);
    return ok ? 0 : tool_fail("synth", err.text);
}
