/* moxie bench: how fast a model runs here, how fast it could, and what it should do. */
#include "tools/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/device.h"
#include "tools/tool.h"

#define MAX_MODELS 64

const char *bench_kv_type_name(enum moxie_kv_type type)
{
    static const char *const names[] = {
        [MOXIE_KV_F16] = "f16", [MOXIE_KV_F32] = "f32", [MOXIE_KV_Q8_0] = "q8_0"};
    return names[type];
}

/* The options' texts, before they are understood. */
struct bench_texts {
    const char *prompts, *answers, *depths, *batches, *threads, *devices, *types, *format, *kv_type;
};

/* NULL, or what the text should be. */
static const char *parse_numbers(const char *text, uint32_t least, uint32_t most,
                                 struct bench_numbers *numbers)
{
    static const char list[] = "a list of numbers like 512,2048";
    static char range[80];
    numbers->n = 0;
    for (const char *at = text;; at++) {
        char *end;
        if (*at < '0' || *at > '9') {
            return list;
        }
        if (numbers->n == BENCH_LIST_MAX) {
            snprintf(range, sizeof(range), "a list of at most %d numbers", BENCH_LIST_MAX);
            return range;
        }
        errno = 0;
        unsigned long long value = strtoull(at, &end, 10);
        if (*end != 0 && *end != ',') {
            return list;
        }
        if (errno != 0 || value < least || value > most) {
            snprintf(range, sizeof(range), "a list of numbers from %" PRIu32 " to %" PRIu32, least,
                     most);
            return range;
        }
        numbers->values[numbers->n++] = (uint32_t)value;
        at = end;
        if (*at == 0) {
            return NULL;
        }
    }
}

/* names->names[0] is the copy that all of them lie in: free it, whether this succeeds or not. */
static bool parse_names(const char *text, struct bench_names *names)
{
    char *at = strdup(text);
    *names = (struct bench_names){.names = {at}};
    while (at) {
        char *comma = strchr(at, ',');
        if (comma) {
            *comma = 0;
        }
        if (!*at || names->n == BENCH_LIST_MAX) {
            return false;
        }
        names->names[names->n++] = at;
        at = comma ? comma + 1 : NULL;
    }
    return names->n > 0;
}

static bool parse_format(const char *text, enum bench_format *format)
{
    static const char *const names[] = {
        [BENCH_MD] = "md", [BENCH_CSV] = "csv", [BENCH_JSONL] = "jsonl"};
    for (uint32_t i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *format = (enum bench_format)i;
            return true;
        }
    }
    return false;
}

static bool parse_kv_type(const char *text, enum moxie_kv_type *type)
{
    for (uint32_t i = 0; i < 3; i++) {
        if (strcmp(text, bench_kv_type_name((enum moxie_kv_type)i)) == 0) {
            *type = (enum moxie_kv_type)i;
            return true;
        }
    }
    return false;
}

static int usage_fail(const char *option, const char *value, const char *what)
{
    fprintf(stderr, "moxie bench: %s cannot be \"%s\": it is %s\n", option, value, what);
    return EXIT_USAGE;
}

/* -1 to go on, else the exit code. */
static int understand(const struct bench_texts *texts, struct bench_options *options)
{
    const struct {
        const char *option, *text;
        uint32_t least, most;
        struct bench_numbers *numbers;
    } lists[] = {
        {"-p", texts->prompts, 0, 1u << 24, &options->prompts},
        {"-n", texts->answers, 0, 1u << 24, &options->answers},
        {"-d", texts->depths, 0, 1u << 24, &options->depths},
        {"--batch", texts->batches, 1, 4096, &options->batches},
        {"--threads", texts->threads, 0, 1024, &options->threads},
    };
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        const char *wanted =
            parse_numbers(lists[i].text, lists[i].least, lists[i].most, lists[i].numbers);
        if (wanted) {
            return usage_fail(lists[i].option, lists[i].text, wanted);
        }
    }
    if (!parse_names(texts->devices, &options->devices)) {
        return usage_fail("--device", texts->devices, "a list of devices like cpu,vulkan:0");
    }
    if (!parse_names(texts->types, &options->types)) {
        return usage_fail("--type", texts->types, "a list of types like keep,q8_0,q4_k_m");
    }
    if (!parse_format(texts->format, &options->format)) {
        return usage_fail("-o", texts->format, "md, csv or jsonl");
    }
    if (!parse_kv_type(texts->kv_type, &options->kv_type)) {
        return usage_fail("--kv-type", texts->kv_type, "f16, q8_0 or f32");
    }
    if (options->repetitions < 1 || options->repetitions > BENCH_MAX_REPETITIONS) {
        fprintf(stderr, "moxie bench: -r must be from 1 to %d\n", BENCH_MAX_REPETITIONS);
        return EXIT_USAGE;
    }
    return -1;
}

/* Options that contradict each other: -1, or the exit code. */
static int check_sense(const struct bench_options *options, bool has_model)
{
    const char *what = NULL;
    if (options->peaks && options->no_peaks) {
        what = "--peaks and --no-peaks exclude each other";
    } else if ((has_model || !(options->peaks || options->tune)) &&
               bench_largest(&options->prompts) == 0 && bench_largest(&options->answers) == 0) {
        what = "nothing is left to measure: give -p or -n a length";
    }
    if (what) {
        fprintf(stderr, "moxie bench: %s\n", what);
    }
    return what ? EXIT_USAGE : -1;
}

/* A GPU computes alone: another number of threads would be the same test again. */
static bool threads_matter(const char *device)
{
    struct error err;
    bool vulkan = false;
    uint32_t index;
    return !device_find(device, &vulkan, &index, &err) || !vulkan;
}

static uint32_t thread_counts(const struct bench_options *options, const char *device)
{
    return options->threads.n == 1 || threads_matter(device) ? options->threads.n : 1;
}

static int peaks_of_all(const struct bench_options *options)
{
    for (uint32_t d = 0; d < options->devices.n; d++) {
        uint32_t n_threads = thread_counts(options, options->devices.names[d]);
        for (uint32_t t = 0; t < n_threads; t++) {
            const struct bench_peaks *peaks =
                bench_peaks_of(options, options->devices.names[d], options->threads.values[t]);
            if (!peaks->known) {
                return tool_fail("bench", peaks->failure.text);
            }
            bench_peaks_print(options, peaks);
        }
    }
    return 0;
}

/* Each device once; what is not a GPU has nothing to tune and is refused. */
static int tune_all(const struct bench_options *options)
{
    for (uint32_t d = 0; d < options->devices.n; d++) {
        /* Where programs read the output, its rows are results alone. */
        FILE *report = options->format == BENCH_MD ? stdout : stderr;
        int status = tune_device("bench", options->devices.names[d], report);
        if (status != 0) {
            return status;
        }
        fprintf(report, "\n");
    }
    return 0;
}

/* All combinations; one that fails does not keep the others from running. */
static int run_all(const struct bench_options *options, char **models, uint32_t n_models)
{
    int status = 0;
    for (uint32_t m = 0; m < n_models; m++) {
        for (uint32_t y = 0; y < options->types.n; y++) {
            for (uint32_t d = 0; d < options->devices.n; d++) {
                uint32_t n_threads = thread_counts(options, options->devices.names[d]);
                for (uint32_t t = 0; t < n_threads; t++) {
                    const char *type = options->types.names[y];
                    struct bench_place place = {
                        .path = models[m],
                        .type = strcmp(type, "keep") == 0 ? NULL : type,
                        .device = options->devices.names[d],
                        .threads = options->threads.values[t],
                    };
                    if (!bench_run(options, &place)) {
                        status = EXIT_FAILED;
                    }
                }
            }
        }
    }
    return status;
}

static int bench(const struct bench_options *options, char **models, uint32_t n_models)
{
    char *demo = (char *)demo_model_path();
    int status = options->tune ? tune_all(options) : 0;
    if (status == 0 && options->peaks) {
        status = peaks_of_all(options);
    }
    if (status != 0) {
        return status;
    }
    if ((options->tune || options->peaks) && n_models == 0) {
        return 0;
    }
    if (n_models == 0) {
        models = &demo;
        n_models = 1;
        if (!demo) {
            return tool_fail("bench", "the demo model is not beside the program: name a model");
        }
    }
    return run_all(options, models, n_models);
}

int tool_bench(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "compare") == 0) {
        return bench_compare(argc - 1, argv + 1);
    }
    struct bench_options b = {.repetitions = 5};
    struct bench_texts t = {"512", "128", "0", "1", "0", "auto", "keep", "md", "f16"};
    struct text_list named = {0};
    const struct option options[] = {
        {"-m", "--model", OPTION_LIST, &named, "MODEL", "a model, as without -m; may be repeated"},
        {"-p", "--n-prompt", OPTION_TEXT, &t.prompts, "N,..",
         "lengths of prompts; 0: none (default 512)"},
        {"-n", "--n-gen", OPTION_TEXT, &t.answers, "N,..",
         "lengths of answers, a token at a time; 0: none (default 128)"},
        {"-d", "--n-depth", OPTION_TEXT, &t.depths, "N,..",
         "tokens that the context already holds (default 0)"},
        {"--batch", "-b", OPTION_TEXT, &t.batches, "N,..",
         "answers with so many tokens at a time: 1,2,4 (default 1)"},
        {"--sample", NULL, OPTION_FLAG, &b.sample, NULL,
         "answers also as chat makes them: chosen on the device, the next token on its way"},
        {"-r", "--repetitions", OPTION_U32, &b.repetitions, "N", "of each test (default 5)"},
        {"--device", NULL, OPTION_TEXT, &t.devices, "D,..",
         "auto, cpu, vulkan, vulkan:N (default auto)"},
        {"--threads", "-t", OPTION_TEXT, &t.threads, "N,..",
         "threads of the CPU (default 0: one per core)"},
        {"--type", NULL, OPTION_TEXT, &t.types, "T,..",
         "run the weights as these types or mixes, converted in memory (default keep)"},
        {"--kv-type", NULL, OPTION_TEXT, &t.kv_type, "T", "f16, q8_0 or f32 (default f16)"},
        {"--chunk", "-ub", OPTION_U32, &b.chunk, "N",
         "most tokens of a prompt computed at once (default: what suits the device, 512 to 2048)"},
        {"--vram", NULL, OPTION_BYTES, &b.device_memory, "BYTES",
         "most memory to take on the GPU (default: what is free)"},
        {"--arithmetic", NULL, OPTION_TEXT, &b.arithmetic, "A",
         "of prompts on a GPU: f32, f16, int8 or matrix (default: what it is fastest with)"},
        {"--output", "-o", OPTION_TEXT, &t.format, "F", "md, csv or jsonl (default md)"},
        {"--random", NULL, OPTION_FLAG, &b.random, NULL,
         "random tokens instead of text (routers then choose unlike they do)"},
        {"--peaks", NULL, OPTION_FLAG, &b.peaks, NULL,
         "print what the devices can do at most; without MODEL nothing else"},
        {"--no-peaks", NULL, OPTION_FLAG, &b.no_peaks, NULL,
         "do not measure the devices: no shares, no predicted speed"},
        {"--tune", NULL, OPTION_FLAG, &b.tune, NULL,
         "first find faster sizes of kernels for the GPU and keep them; without MODEL nothing "
         "else"},
        {"--ops", NULL, OPTION_FLAG, &b.ops, NULL,
         "only print where the time goes, by kind of operation: of a token, of so many as --batch "
         "says, of each prompt (at most a chunk)"},
        {"--no-warmup", NULL, OPTION_FLAG, &b.no_warmup, NULL, "count the first evaluation, too"},
        {0}};
    const struct usage usage = {
        .synopsis = "moxie bench [MODEL ...] [options], or moxie bench compare A.jsonl B.jsonl",
        .text = "Measures every combination of models, types, devices and threads: pp512 is a "
                "prompt of 512\ntokens, tg128 an answer of 128, tg128b4 the same with 4 tokens at "
                "a time, gen128 the same\nchosen on the device, @d4096 after 4096 tokens. Text is "
                "read that ships with the program.\nWithout MODEL the demo model is used.",
        .options = options,
        .max_arguments = MAX_MODELS};
    char **models, *all[MAX_MODELS + TEXT_LIST_MAX];
    uint32_t n_models, n_all = 0;
    int status = options_parse(&usage, argc, argv, &models, &n_models);
    if (status < 0) {
        status = understand(&t, &b);
    }
    for (uint32_t i = 0; status < 0 && i < named.n; i++) {
        all[n_all++] = (char *)named.texts[i];
    }
    for (uint32_t i = 0; status < 0 && i < n_models; i++) {
        all[n_all++] = models[i];
    }
    if (status < 0) {
        status = check_sense(&b, n_all > 0);
    }
    if (status < 0) {
        status = bench(&b, all, n_all);
    }
    free(b.devices.names[0]);
    free(b.types.names[0]);
    return status;
}
