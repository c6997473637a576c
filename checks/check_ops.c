/* Cases: memory with guard zones, running, comparing, reporting. */
#include "checks/check_ops.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "format/f16.h"
#include "format/quant.h"

#define GUARD_BYTES 256 /* keeps the data as aligned as the buffer */
/* Around and behind inputs: NaN, so that what reads it gives itself away. Around and in outputs
 * another pattern, because a NaN computed from inputs often has all its bits set. */
#define POISON_INPUT 0xFF
#define POISON_OUTPUT 0x7F

const uint32_t check_token_counts[4] = {1, 2, 7, 33};
const uint32_t check_lengths[11] = {1, 7, 31, 32, 33, 127, 128, 129, 255, 256, 257};

/* Numbers repeat from run to run: they depend on the op and the case's place only. */
static uint64_t case_seed(enum op_kind kind, uint32_t number)
{
    struct check_random mix = {(uint64_t)kind << 32 | number};
    return check_random_u64(&mix);
}

static void begin(struct check_case *c, struct check_device *device, enum op_kind kind,
                  enum dtype dtype, uint32_t n_tokens, uint32_t number)
{
    uint64_t seed = case_seed(kind, number);
    device->n_cases++;
    *c = (struct check_case){
        .device = device,
        .kind = kind,
        .dtype = dtype,
        .n_tokens = n_tokens,
        .random = {seed},
        .seed = seed,
    };
    c->fill = (enum check_fill)check_random_below(&c->random, CHECK_FILLS);
    c->max_tokens = n_tokens;
    if (n_tokens > 1) {
        c->max_tokens += check_random_below(&c->random, 2) * 3;
    }
    struct error err;
    if (!op_list_init(&c->list, c->max_tokens, 1, &err)) {
        abort();
    }
}

/* Every op has at least so many cases. */
#define FEWEST_CASES 32

/* One of every `one_case_in` neighbouring cases, at random: no type is left out whole. The first is
 * one that every op has. number: among those that the device is open to. */
static bool is_picked(const struct check_device *device, enum op_kind kind, uint32_t number)
{
    uint32_t among = device->one_case_in;
    uint32_t stretch = number / among;
    if (stretch == 0 && among > FEWEST_CASES) {
        among = FEWEST_CASES;
    }
    return case_seed(kind, ~stretch) % among == number % device->one_case_in;
}

static double now_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

bool check_begin(struct check_case *c, struct check_device *device, enum op_kind kind,
                 enum dtype dtype, uint32_t n_tokens, const char *shape, ...)
{
    uint32_t number = device->n_seen++;
    if (n_tokens < device->fewest_tokens ||
        (device->most_tokens > 0 && n_tokens > device->most_tokens) ||
        (device->types && !(device->types >> dtype & 1)) ||
        !is_picked(device, kind, device->n_open++) ||
        (device->deadline > 0 && now_seconds() > device->deadline)) {
        return false;
    }
    begin(c, device, kind, dtype, n_tokens, number);
    va_list arguments;
    va_start(arguments, shape);
    vsnprintf(c->shape, sizeof(c->shape), shape, arguments);
    va_end(arguments);
    return true;
}

void check_begin_always(struct check_case *c, struct check_device *device, enum op_kind kind,
                        enum dtype dtype, uint32_t n_tokens, const char *shape)
{
    begin(c, device, kind, dtype, n_tokens, device->n_seen++);
    snprintf(c->shape, sizeof(c->shape), "%s", shape);
}

bool check_run_op(struct check_device *device, enum op_kind kind)
{
    static void (*const checks[OP_COUNT])(struct check_device *) = {
#define X(name, ...) [OP_##name] = check_##name,
        OPS(X)
#undef X
    };
    uint32_t failed = device->n_failed;
    device->n_seen = device->n_open = 0;
    checks[kind](device);
    return device->n_failed == failed;
}

void check_end(struct check_case *c)
{
    struct backend *backend = c->device->backend;
    for (uint32_t i = 0; i < CHECK_MAX_MEMORIES; i++) {
        struct check_memory *memory = &c->memories[i];
        if (memory->before) {
            backend->functions->buffer_destroy(backend, &memory->buffer);
            free(memory->before);
            free(memory->after);
        }
    }
    for (uint32_t i = 0; i < c->n_floats; i++) {
        free(c->floats[i]);
    }
    op_list_free(&c->list);
}

bool check_sometimes(struct check_case *c, const char *what)
{
    size_t used = strlen(c->shape);
    bool yes = check_random_below(&c->random, 2) == 1;
    if (yes) {
        snprintf(c->shape + used, sizeof(c->shape) - used, ", %s", what);
    }
    return yes;
}

float *check_alloc(struct check_case *c, uint64_t n)
{
    assert(c->n_floats < sizeof(c->floats) / sizeof(c->floats[0]));
    float *values = calloc(n + 1, sizeof(float));
    if (!values) {
        abort();
    }
    return c->floats[c->n_floats++] = values;
}

void check_fail(struct check_case *c, const char *format, ...)
{
    if (c->failed) {
        return;
    }
    static const char *const fills[] = {"uniform", "outlier", "signs", "tiny"};
    c->failed = true;
    if (c->device->n_failed++ >= CHECK_MAX_REPORTS || !c->device->report) {
        return;
    }
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    char sentence[1024];
    snprintf(sentence, sizeof(sentence),
             "%s %s on %s: %s, %" PRIu32 " of %" PRIu32 " tokens, %s, seed %016" PRIx64 ": %s",
             op_name(c->kind), dtype_name(c->dtype), c->device->name, c->shape, c->n_tokens,
             c->max_tokens, fills[c->fill], c->seed, text);
    c->device->report(c->device->report_context, sentence);
}

/* Data between guards, in a buffer of its own; poison where the data ends before the memory. */
static void place(struct check_case *c, uint32_t index, const void *data, uint64_t data_bytes,
                  uint64_t bytes, enum buffer_use use)
{
    struct backend *backend = c->device->backend;
    struct check_memory *memory = &c->memories[index];
    struct error err;
    assert(!memory->before);
    memory->bytes = bytes;
    uint64_t all = bytes + 2 * GUARD_BYTES;
    memory->before = malloc(all);
    memory->after = malloc(all);
    if (!memory->before || !memory->after) {
        abort();
    }
    memset(memory->before, memory->written ? POISON_OUTPUT : POISON_INPUT, all);
    if (data) {
        memcpy(memory->before + GUARD_BYTES, data, data_bytes);
    }
    if (!backend->functions->buffer_create(backend, all, use, &memory->buffer, &err) ||
        !backend->functions->write(backend, &memory->buffer, 0, memory->before, all, &err)) {
        check_fail(c, "no memory: %s", err.text);
        return;
    }
    if (memory->buffer.address % GUARD_BYTES != 0) {
        check_fail(c, "buffer address %" PRIx64 " is not aligned to 256", memory->buffer.address);
    }
}

static void describe(struct check_case *c, uint32_t index, enum dtype dtype, uint64_t rows,
                     uint64_t cols)
{
    struct tensor *tensor = &c->tensors[index];
    snprintf(tensor->name, sizeof(tensor->name), "tensor %" PRIu32, index);
    tensor->dtype = dtype;
    tensor->rows = rows;
    tensor->cols = cols;
    tensor->bytes = c->memories[index].bytes;
    tensor->address = c->memories[index].buffer.address + GUARD_BYTES;
}

void check_input(struct check_case *c, uint32_t index, enum dtype dtype, uint64_t rows,
                 uint64_t cols, const void *data, uint64_t bytes)
{
    enum buffer_use use = index == 0 && c->kind != OP_argmax ? BUFFER_STEP : BUFFER_WEIGHTS;
    place(c, index, data, bytes, bytes, use);
    describe(c, index, dtype, rows, cols);
}

void check_input_tokens(struct check_case *c, uint32_t index, enum dtype dtype, uint64_t cols,
                        const void *data)
{
    place(c, index, data, c->n_tokens * cols * sizeof(float), c->max_tokens * cols * sizeof(float),
          BUFFER_ACTIVATIONS);
    describe(c, index, dtype, c->max_tokens, cols);
}

void check_output(struct check_case *c, uint32_t index, enum dtype dtype, uint64_t rows,
                  uint64_t cols, const void *initial, uint64_t bytes)
{
    c->memories[index].written = true;
    place(c, index, initial, bytes, bytes, BUFFER_ACTIVATIONS);
    describe(c, index, dtype, rows, cols);
}

void check_place_slabs(struct check_case *c, const void *data, uint64_t bytes)
{
    place(c, CHECK_SLABS, data, bytes, bytes, BUFFER_WEIGHTS);
}

uint64_t check_slabs_address(const struct check_case *c)
{
    return c->memories[CHECK_SLABS].buffer.address + GUARD_BYTES;
}

void check_step(struct check_case *c, uint32_t position, const uint32_t *tokens)
{
    uint64_t bytes = sizeof(struct step) + c->n_tokens * sizeof(uint32_t);
    struct step *step = calloc(1, bytes);
    if (!step) {
        abort();
    }
    step->n_tokens = c->n_tokens;
    step->position = position;
    if (tokens) {
        memcpy(step->tokens, tokens, c->n_tokens * sizeof(uint32_t));
    }
    check_input(c, 0, DTYPE_U32, 1, bytes / sizeof(uint32_t), step, bytes);
    free(step);
}

float *check_input_floats(struct check_case *c, uint32_t index, uint64_t rows, uint64_t cols)
{
    float *values = check_alloc(c, rows * cols);
    check_fill(&c->random, c->fill, values, rows * cols);
    check_input(c, index, DTYPE_F32, rows, cols, values, rows * cols * sizeof(float));
    return values;
}

float *check_input_token_floats(struct check_case *c, uint32_t index, uint64_t cols)
{
    float *values = check_alloc(c, c->n_tokens * cols);
    check_fill(&c->random, c->fill, values, c->n_tokens * cols);
    check_input_tokens(c, index, DTYPE_F32, cols, values);
    return values;
}

void check_output_floats(struct check_case *c, uint32_t index, uint64_t rows, uint64_t cols)
{
    check_output(c, index, DTYPE_F32, rows, cols, NULL, rows * cols * sizeof(float));
}

struct op *check_op(struct check_case *c)
{
    const struct tensor *tensors[OP_MAX_TENSORS] = {0};
    for (uint32_t i = 0; i < OP_MAX_TENSORS; i++) {
        tensors[i] = c->memories[i].before ? &c->tensors[i] : NULL;
    }
    return op_list_add(&c->list, c->kind, c->dtype, tensors);
}

static bool read_back(struct check_case *c)
{
    struct backend *backend = c->device->backend;
    struct error err;
    for (uint32_t i = 0; i < CHECK_MAX_MEMORIES; i++) {
        struct check_memory *memory = &c->memories[i];
        uint64_t all = memory->bytes + 2 * GUARD_BYTES;
        if (!memory->before) {
            continue;
        }
        if (!backend->functions->read(backend, &memory->buffer, 0, memory->after, all, &err)) {
            check_fail(c, "cannot read tensor %" PRIu32 ": %s", i, err.text);
            return false;
        }
        uint64_t guarded = memory->written ? GUARD_BYTES : all;
        uint64_t behind = GUARD_BYTES + memory->bytes;
        if (memcmp(memory->before, memory->after, guarded) != 0 ||
            memcmp(memory->before + behind, memory->after + behind, GUARD_BYTES) != 0) {
            check_fail(c, "tensor %" PRIu32 ": %s was written to", i,
                       memory->written ? "the guard zone" : "an input");
            return false;
        }
    }
    return true;
}

bool check_run(struct check_case *c)
{
    struct backend *backend = c->device->backend;
    struct error err;
    if (c->failed) {
        return false;
    }
    op_list_bind(&c->list);
    struct program *program = backend->functions->program_create(backend, &c->list, &err);
    if (!program) {
        check_fail(c, "no program: %s", err.text);
        return false;
    }
    bool ok = backend->functions->run(backend, program, &err);
    backend->functions->program_destroy(backend, program);
    if (!ok) {
        check_fail(c, "run failed: %s", err.text);
        return false;
    }
    return read_back(c);
}

const void *check_result(const struct check_case *c, uint32_t index)
{
    return c->memories[index].after + GUARD_BYTES;
}

void check_unchanged(struct check_case *c, uint32_t index, uint64_t first, uint64_t n)
{
    const struct check_memory *memory = &c->memories[index];
    for (uint64_t i = GUARD_BYTES + first; i < GUARD_BYTES + first + n; i++) {
        if (memory->before[i] != memory->after[i]) {
            check_fail(c, "tensor %" PRIu32 ": byte %" PRIu64 " was written to", index,
                       i - GUARD_BYTES);
            return;
        }
    }
}

static void compare_exactly(struct check_case *c, uint32_t index, const float *got,
                            const float *expected, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        if (!(got[i] == expected[i])) {
            check_fail(c, "tensor %" PRIu32 ": element %" PRIu64 " is %.9g, should be %.9g", index,
                       i, (double)got[i], (double)expected[i]);
            return;
        }
    }
}

/* Largest error relative to what is there: an element's own size, or the RMS of all. */
static double worst_element(const float *got, const float *expected, uint64_t n, uint64_t *where)
{
    double power = 0, worst = -1;
    for (uint64_t i = 0; i < n; i++) {
        power += (double)expected[i] * expected[i];
    }
    double rms = sqrt(power / (double)n);
    for (uint64_t i = 0; i < n; i++) {
        double size = fmax(rms, fabs((double)expected[i]));
        double error = fabs((double)got[i] - expected[i]) / size;
        if (!(error <= worst)) { /* NaN counts as worst */
            worst = error;
            *where = i;
        }
    }
    return worst;
}

void check_compare(struct check_case *c, uint32_t index, const float *expected, uint64_t n,
                   double nmse)
{
    const float *got = check_result(c, index);
    check_unchanged(c, index, n * sizeof(float), c->memories[index].bytes - n * sizeof(float));
    if (nmse == 0) {
        compare_exactly(c, index, got, expected, n);
        return;
    }
    uint64_t where = 0;
    double error = check_nmse(got, expected, n);
    double worst = worst_element(got, expected, n, &where);
    if (!(error <= nmse) || !(worst <= 10 * sqrt(nmse))) {
        check_fail(c,
                   "tensor %" PRIu32 ": NMSE %.3g (at most %.3g), worst is element %" PRIu64
                   ": %.9g, should be %.9g",
                   index, error, nmse, where, (double)got[where], (double)expected[where]);
    }
}

void check_compare_u32(struct check_case *c, uint32_t index, const uint32_t *expected, uint64_t n)
{
    const uint32_t *got = check_result(c, index);
    check_unchanged(c, index, n * sizeof(uint32_t),
                    c->memories[index].bytes - n * sizeof(uint32_t));
    for (uint64_t i = 0; i < n; i++) {
        if (got[i] != expected[i]) {
            check_fail(c,
                       "tensor %" PRIu32 ": element %" PRIu64 " is %" PRIu32 ", should be %" PRIu32,
                       index, i, got[i], expected[i]);
            return;
        }
    }
}

void check_naive_product(const float *w, uint64_t rows, uint64_t cols, const float *x, float *y,
                         float *slack)
{
    for (uint64_t row = 0; row < rows; row++) {
        double sum = 0, variance = 0;
        for (uint64_t block = 0; block < cols; block += 32) {
            double power = 0, largest = 0;
            for (uint64_t i = block; i < cols && i < block + 32; i++) {
                double weight = (double)w[row * cols + i], magnitude = fabs((double)x[i]);
                sum += weight * x[i];
                power += weight * weight;
                largest = magnitude > largest ? magnitude : largest;
            }
            variance += power * (largest / 127) * (largest / 127) / 12;
        }
        y[row] = (float)sum;
        slack[row] = (float)sqrt(variance);
    }
}

/* From this many elements on, the power of all errors is compared too. Where weights lean to one
 * side or one activation outweighs the rest, errors of all rows come from a few roundings: then
 * even the mean may be 4 standard deviations off. */
#define ENOUGH_FOR_CHANCE 64
#define CHANCE 16

/* Of products of rounded numbers: nmse is what all together may be off by where nothing outweighs
 * the rest. */
static void compare_rounded(struct check_case *c, uint32_t index, const float *expected,
                            const float *slack, uint64_t n, double nmse)
{
    const float *got = check_result(c, index);
    double error = 0, chance = 0, power = 0;
    for (uint64_t i = 0; i < n; i++) {
        power += (double)expected[i] * expected[i] / (double)n;
        chance += (double)slack[i] * slack[i] / (double)n;
    }
    for (uint64_t i = 0; i < n; i++) {
        double difference = fabs((double)got[i] - expected[i]);
        error += difference * difference / (double)n;
        if (!(difference <= 8 * (double)slack[i] + 1e-5 * sqrt(power))) {
            check_fail(c,
                       "tensor %" PRIu32 ": element %" PRIu64
                       " is %.9g, should be %.9g within 8 times %.3g",
                       index, i, (double)got[i], (double)expected[i], (double)slack[i]);
            return;
        }
    }
    if (n >= ENOUGH_FOR_CHANCE && !(error <= CHANCE * chance + 1e-10 * power)) {
        check_fail(c, "tensor %" PRIu32 ": mean square error %.3g, expected %.3g of int8", index,
                   error, chance);
    } else if (n >= ENOUGH_FOR_CHANCE && c->fill == CHECK_UNIFORM && !(error <= nmse * power)) {
        check_fail(c, "tensor %" PRIu32 ": NMSE %.3g (at most %.3g)", index, error / power, nmse);
    }
}

void check_compare_products(struct check_case *c, uint32_t index, const float *expected,
                            const float *slack, uint64_t n)
{
    check_compare_products_within(c, index, expected, slack, n, CHECK_PRODUCTS);
}

/* Where all columns are alike, sums of 16 in f16 are off as much as int8 is, and less elsewhere.
 * Products of two tiny numbers are less than f16 has steps. */
static const float *float16_slack(struct check_case *c, const float *slack, uint64_t n)
{
    float factor = c->dtype == DTYPE_F16 && c->fill == CHECK_TINY ? 16 : 1;
    float *scaled = check_alloc(c, n);
    for (uint64_t i = 0; i < n; i++) {
        scaled[i] = slack[i] * factor;
    }
    return scaled;
}

/* How much larger than the products the terms are that they are the sums of, in power: sums of
 * floats are off by a share of their terms, and where few are compared, nothing makes up for those
 * whose terms cancel out. Uniform terms amount to 254 slacks; half of that is taken. */
static double power_of_terms(const float *expected, const float *slack, uint64_t n)
{
    double power = 0, terms = 0;
    for (uint64_t i = 0; i < n; i++) {
        power += (double)expected[i] * expected[i];
        terms += (127.0 * slack[i]) * (127.0 * slack[i]);
    }
    return power > 0 ? 1 + terms / power : 1;
}

void check_compare_products_within(struct check_case *c, uint32_t index, const float *expected,
                                   const float *slack, uint64_t n, double nmse)
{
    const struct check_device *device = c->device;
    bool many = c->max_tokens > OP_FEW_TOKENS, blocks = dtype_info(c->dtype)->block_elements > 1;
    double smaller = nmse / CHECK_PRODUCTS;
    if (blocks && (device->int8_activations || (many && device->int8_products))) {
        check_unchanged(c, index, n * sizeof(float), c->memories[index].bytes - n * sizeof(float));
        compare_rounded(c, index, expected, slack, n, CHECK_INT8_PRODUCTS * smaller);
    } else if (many && device->float16_products && (blocks || c->dtype == DTYPE_F16)) {
        check_unchanged(c, index, n * sizeof(float), c->memories[index].bytes - n * sizeof(float));
        compare_rounded(c, index, expected, float16_slack(c, slack, n), n,
                        CHECK_FLOAT16_PRODUCTS * smaller);
    } else {
        check_compare(c, index, expected, n, nmse * power_of_terms(expected, slack, n));
    }
}
