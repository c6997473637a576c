#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tools/bench.h"
#include "tools/generate.h"
#include "tools/tool.h"

#define MAX_DEVICES 32
const char *bench_test_name(const struct bench_test *test, char text[48])
{
    static const char *const names[] = {[BENCH_PROMPT] = "pp",
                                        [BENCH_ANSWER] = "tg",
                                        [BENCH_BATCH] = "tg",
                                        [BENCH_GENERATE] = "gen"};
    int n = snprintf(text, 48, "%s%" PRIu32, names[test->kind], test->tokens);
    if (test->kind == BENCH_BATCH) {
        n += snprintf(text + n, 48 - (size_t)n, "b%" PRIu32, test->batch);
    }
    if (test->depth > 0) {
        snprintf(text + n, 48 - (size_t)n, "@d%" PRIu32, test->depth);
    }
    return text;
}

uint32_t bench_test_piece(const struct bench_test *test)
{
    uint32_t piece = test->kind == BENCH_BATCH ? test->batch : 1;
    return test->kind == BENCH_PROMPT || piece > test->tokens ? test->tokens : piece;
}

bool bench_go_to(struct moxie_session *session, const uint32_t *ids, uint32_t depth,
                 struct moxie_error *err)
{
    uint32_t position = moxie_position(session);
    if (position > depth) {
        moxie_rewind(session, depth);
        return true;
    }
    return position == depth || moxie_eval(session, ids + position, depth - position, err);
}

const char *bench_setting_type(const struct bench_setting *setting)
{
    return setting->place->type ? setting->place->type : setting->info.type;
}

/* ---- where ---- */

/* The processor's name and the kernel. */
static void describe_cpu(char text[256])
{
    char line[256], name[160] = "CPU";
    struct utsname system;
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "model name : %159[^\n]", name) == 1) {
            break;
        }
    }
    if (file) {
        fclose(file);
    }
    bool known = uname(&system) == 0;
    snprintf(text, 256, "%s, %.32s %.48s", name, known ? system.sysname : "",
             known ? system.release : "");
}

static void describe_device(struct bench_setting *setting)
{
    static struct moxie_device devices[MAX_DEVICES];
    const char *name = setting->info.device;
    setting->backend = "CPU";
    if (strncmp(name, "CPU, ", 5) == 0) {
        const char *threads = strrchr(name, ',');
        sscanf(threads, ", %" SCNu32, &setting->threads);
        describe_cpu(setting->driver);
        return;
    }
    setting->backend = "Vulkan";
    uint32_t n = moxie_devices(devices, MAX_DEVICES, NULL);
    for (uint32_t i = 1; i < n && i < MAX_DEVICES; i++) {
        size_t length = strlen(devices[i].name);
        if (length > 0 && strncmp(devices[i].name, name, length) == 0) {
            snprintf(setting->driver, sizeof(setting->driver), "%s", devices[i].driver);
            return;
        }
    }
}

/* ---- what is read ---- */

static void fill_random(uint32_t *ids, uint32_t n, uint32_t vocabulary)
{
    uint64_t state = 1;
    for (uint32_t i = 0; i < n; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        ids[i] = (uint32_t)((state >> 33) % vocabulary);
    }
}

/* The text's tokens, over and over. False: the model has no tokenizer for it. */
static bool fill_text(const struct moxie_model *model, uint32_t *ids, uint32_t n)
{
    uint32_t *text;
    size_t count;
    if (!moxie_tokenize(model, bench_text, bench_text_bytes, MOXIE_ADD_SPECIAL, &text, &count,
                        NULL)) {
        return false;
    }
    for (uint32_t i = 0; count > 0 && i < n; i++) {
        ids[i] = text[i % count];
    }
    moxie_free(text);
    return count > 0;
}

static uint32_t *make_tokens(const struct bench_options *options, const struct moxie_model *model,
                             struct bench_setting *setting)
{
    uint32_t *ids = calloc(setting->context, sizeof(*ids));
    if (!ids) {
        return NULL;
    }
    setting->random_tokens = options->random || !fill_text(model, ids, setting->context);
    if (setting->random_tokens) {
        fill_random(ids, setting->context, setting->info.vocabulary);
        if (!options->random) {
            bench_note("moxie bench: %s has no tokenizer: random tokens instead of text\n",
                       setting->place->path);
        }
    }
    return ids;
}

/* ---- all tests ---- */

/* Measures every test, the smallest depth first so that what the session holds is kept.
 */
static bool run_tests(struct bench *b)
{
    const struct bench_options *o = b->options;
    for (uint32_t d = 0; d < o->depths.n; d++) {
        struct bench_test test = {.depth = o->depths.values[d], .kind = BENCH_PROMPT};
        for (uint32_t i = 0; i < o->prompts.n; i++) {
            test.tokens = o->prompts.values[i];
            if (test.tokens > 0 && !bench_measure(b, &test)) {
                return false;
            }
        }
        for (uint32_t i = 0; i < o->answers.n; i++) {
            for (uint32_t k = 0; k < o->batches.n; k++) {
                test.tokens = o->answers.values[i];
                test.batch = o->batches.values[k];
                test.kind = test.batch > 1 ? BENCH_BATCH : BENCH_ANSWER;
                if (test.tokens > 0 && test.batch > test.tokens) {
                    bench_note("moxie bench: an answer of %" PRIu32 " tokens (-n) has no %" PRIu32
                               " at a time (--batch): left out\n",
                               test.tokens, test.batch);
                } else if (test.tokens > 0 && !bench_measure(b, &test)) {
                    return false;
                }
            }
            test.kind = BENCH_GENERATE;
            if (o->sample && test.tokens > 0 && !bench_measure(b, &test)) {
                return false;
            }
        }
    }
    return true;
}

uint32_t bench_largest(const struct bench_numbers *numbers)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < numbers->n; i++) {
        most = numbers->values[i] > most ? numbers->values[i] : most;
    }
    return most;
}

static struct moxie_model *open_place(const struct bench_options *options,
                                      const struct bench_place *place)
{
    struct engine_flags flags = {.model = moxie_options_defaults()};
    flags.model.device = place->device;
    flags.model.threads = place->threads;
    flags.model.device_memory = options->device_memory;
    flags.model.arithmetic = options->arithmetic;
    flags.model.type = place->type;
    return open_model("bench", place->path, &flags);
}

static bool run_session(struct bench *b, struct moxie_model *model, struct bench_setting *setting)
{
    const struct bench_options *o = b->options;
    uint32_t most = bench_largest(&o->prompts) > bench_largest(&o->answers)
                        ? bench_largest(&o->prompts)
                        : bench_largest(&o->answers);
    struct moxie_session_options options = moxie_session_defaults();
    if (o->ops && bench_largest(&o->batches) > most) {
        most = bench_largest(&o->batches);
    }
    setting->context = bench_largest(&o->depths) + most + 1 + o->sample;
    options.context = setting->context;
    options.chunk = o->chunk;
    options.kv_type = o->kv_type;
    uint32_t *ids = make_tokens(o, model, setting);
    b->ids = ids;
    b->counter = (struct bench_counter){.model = model, .options = options, .ids = ids};
    b->session = ids ? moxie_session_create(model, &options, &b->err) : NULL;
    if (!ids) {
        snprintf(b->err.text, sizeof(b->err.text), "not enough memory for the tokens");
    }
    if (b->session) {
        setting->chunk = b->counter.options.chunk = moxie_chunk(b->session);
    }
    bool ok =
        b->session &&
        (o->ops ? bench_ops(o, setting, b->peaks, b->session, &b->counter, &b->err) : run_tests(b));
    bench_counter_end(&b->counter);
    moxie_session_destroy(&b->session);
    free(ids);
    if (ok && !o->ops) {
        bench_output_end(o, setting, b->peaks);
    }
    return ok;
}

bool bench_run(const struct bench_options *options, const struct bench_place *place)
{
    const struct bench_peaks *peaks = bench_peaks_of(options, place->device, place->threads);
    struct moxie_model *model = open_place(options, place);
    if (!model) {
        return false;
    }
    if (peaks->failure.text[0]) {
        bench_note("moxie bench: no peaks of %s: %s\n", place->device, peaks->failure.text);
    }
    struct bench_setting setting = {.place = place,
                                    .kv_type = bench_kv_type_name(options->kv_type)};
    moxie_model_info(model, &setting.info);
    describe_device(&setting);
    struct bench b = {.options = options, .setting = &setting, .peaks = peaks, .now = peaks->peaks};
    bool ok = run_session(&b, model, &setting);
    close_model("bench", &model);
    bench_notes_print();
    if (!ok) {
        tool_fail("bench", b.err.text);
    }
    return ok;
}
