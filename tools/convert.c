/* moxie convert: a Hugging Face folder to a .moxie file. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/threads.h"
#include "engine/model/conversion.h"
#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_pack.h"
#include "tools/tool.h"

struct request {
    const char *folder, *output;
    const char *type, *compress, *name;
    uint32_t threads;
};

/* Set by Ctrl-C: the conversion stops at the next stretch and removes its temporary file. */
static volatile sig_atomic_t stopped;

static void stop(int signal_number)
{
    stopped = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = stop, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    /* A file size limit (ulimit -f) shall be an error of write, not the end of the program. */
    signal(SIGXFSZ, SIG_IGN);
}

static bool go_on(void *context, uint64_t done, uint64_t total)
{
    progress_update(context, done, total);
    return !stopped;
}

static bool find_compress(const char *name, enum compress *compress)
{
    static const struct {
        const char *name;
        enum compress compress;
    } table[] = {{"none", COMPRESS_NONE}, {"zstd", COMPRESS_ZSTD}, {"auto", COMPRESS_AUTO}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i].name, name) == 0) {
            *compress = table[i].compress;
            return true;
        }
    }
    return false;
}

/* Every token must have a row in the embedding; rows without a token are padding. */
static bool check_tokenizer(const struct request *request, const struct checkpoint *checkpoint,
                            const void *section, uint64_t bytes, struct error *err)
{
    struct tokenizer *tokenizer = tokenizer_create(section, bytes, err);
    if (!tokenizer) {
        return false;
    }
    uint32_t tokens = tokenizer_vocabulary(tokenizer);
    tokenizer_destroy(&tokenizer);
    return tokens <= checkpoint->hparams.vocabulary ||
           error_set(err,
                     "%s: the tokenizer has %" PRIu32 " tokens, vocab_size in config.json is "
                     "%" PRIu32,
                     request->folder, tokens, checkpoint->hparams.vocabulary);
}

static void print_report(const struct request *request, const struct checkpoint *checkpoint,
                         const struct conversion_report *report)
{
    static const char *const reasons[TYPE_N_REASONS] = {
        [TYPE_FOR_COLUMNS] = "because their rows are not a whole number of blocks",
        [TYPE_FOR_RANGE] = "because they have values that are too large for f16",
    };
    char source[32], file[32];
    printf("%s: %s %s, %" PRIu32 " layers, %s from %s\n", request->output, checkpoint->arch->name,
           request->type, checkpoint->hparams.layers, bytes_text(report->file_bytes, file),
           bytes_text(report->source_bytes, source));
    for (uint32_t i = 0; i < report->n_fallbacks; i++) {
        const struct conversion_fallback *fallback = &report->fallbacks[i];
        printf("%" PRIu64 " matrices (the first is %s) are stored as %s, %s\n", fallback->count,
               fallback->first, dtype_name(fallback->given), reasons[fallback->reason]);
    }
    if (checkpoint->tensors.n_unlisted > 0) {
        printf("%" PRIu64 " tensors of the shards are not in the index and were left out\n",
               checkpoint->tensors.n_unlisted);
    }
}

static bool convert(const struct request *request, struct conversion_options *options,
                    const struct checkpoint *checkpoint, struct error *err)
{
    void *section = NULL;
    char *chat_template = NULL;
    struct progress progress = {.title = request->output};
    struct conversion_report report;
    bool ok =
        tokenizer_pack(request->folder, &section, &options->tokenizer_bytes, err) &&
        check_tokenizer(request, checkpoint, section, options->tokenizer_bytes, err) &&
        chat_template_read(request->folder, &chat_template, &options->chat_template_bytes, err);
    if (ok) {
        options->tokenizer = section;
        options->chat_template = chat_template;
        options->progress = go_on;
        options->progress_context = &progress;
        ok = conversion_run(checkpoint, request->output, options, &report, err);
        progress_finish(&progress);
    }
    if (ok) {
        print_report(request, checkpoint, &report);
    }
    free(section);
    free(chat_template);
    return ok;
}

static int run(const struct request *request, struct conversion_options *options)
{
    struct error err;
    struct checkpoint checkpoint;
    if (!checkpoint_open(&checkpoint, request->folder, &err)) {
        return tool_fail("convert", err.text);
    }
    options->pool = thread_pool_create(request->threads, &err);
    bool ok = options->pool && convert(request, options, &checkpoint, &err);
    thread_pool_destroy(&options->pool);
    checkpoint_close(&checkpoint);
    return ok ? 0 : tool_fail("convert", err.text);
}

static int usage_fail(const char *what, const char *value, const char *choices)
{
    fprintf(stderr, "moxie convert: %s cannot be \"%s\"; it is one of %s\n", what, value, choices);
    return EXIT_USAGE;
}

int tool_convert(int argc, char **argv)
{
    struct request request = {.type = "q8_0", .compress = "none"};
    const struct option rows[] = {
        {"--type", "-t", OPTION_TEXT, &request.type, "TYPE",
         "f32, f16, bf16, q8_0, q4_0, q4_k or q6_k (default q8_0)"},
        {"--compress", NULL, OPTION_TEXT, &request.compress, "HOW",
         "none, zstd, or auto: only where it saves enough (default none)"},
        {"--name", NULL, OPTION_TEXT, &request.name, "NAME",
         "name of the model (default: the folder's)"},
        {"--threads", NULL, OPTION_U32, &request.threads, "N", "threads (default: all cores)"},
        {0}};
    const struct usage usage = {
        .synopsis = "moxie convert HF_DIR OUT.moxie [options]",
        .text = "Converts a Hugging Face folder (config.json, tokenizer.json, safetensors) to one\n"
                ".moxie file. OUT.moxie is replaced only when the conversion has succeeded.",
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
    request.folder = arguments[0];
    request.output = arguments[1];
    const struct dtype_info *type = dtype_find(request.type);
    if (!type) {
        return usage_fail("--type", request.type, "f32, f16, bf16, q8_0, q4_0, q4_k, q6_k");
    }
    struct conversion_options options = {
        .type = type->dtype,
        .name = request.name,
        .converter = "moxie " MOXIE_VERSION,
    };
    if (!find_compress(request.compress, &options.compress)) {
        return usage_fail("--compress", request.compress, "none, zstd, auto");
    }
    catch_signals();
    return run(&request, &options);
}
