/* sample: every filter, ties, infinities and NaN, penalties; the ring of recent tokens and the step
 * of the next list.
 *
 * The expected token comes from sorting and sums in double. A choice that another rounding could
 * turn must be among those that are possible, and on the CPU the one that engine/base/sampling.h
 * makes.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checks/check_ops.h"
#include "engine/base/sampling.h"

/* Sums may be off by so much: of their size, and units of 2^-31 a token. */
#define TOLERANCE 2e-6
#define UNIT 0x1p-31

enum pattern { PLAIN, STEEP, TIES, EQUAL, STRANGE, ALL_NAN, PATTERNS };
static const char *const pattern_names[] = {"plain",  "steep", "ties", "equal", "NaN and infinity",
                                            "all NaN"};

struct setting {
    float temperature;
    uint32_t top_k;
    float top_p, min_p, penalty;
    uint32_t repeat_last;
};

static const struct setting settings[] = {
    {0, 0, 1, 0, 1, 0},
    {0, 5, 0.5f, 0.1f, 1.3f, 5},
    {1, 0, 1, 0, 1, 0},
    {0.7f, 40, 1, 0, 1, 0},
    {1.5f, 1, 1, 0, 1, 0},
    {1, 300, 1, 0, 1, 0},
    {0.8f, 0, 0.9f, 0, 1, 0},
    {2, 0, 0, 0, 1, 0},
    {1, 0, 1, 0.2f, 1, 0},
    {3, 0, 1, 1, 1, 0},
    {0.8f, 40, 0.95f, 0.05f, 1, 0},
    {1.2f, 300, 0.8f, 0.01f, 1.5f, 7},
    {0.9f, 40, 0.9f, 0, 0.7f, 3},
    {1e-3f, 0, 0.99f, 0, 1.1f, 1},
};

struct drawn {
    struct check_case *c;
    const struct setting *setting;
    uint32_t vocabulary, n; /* n: valid ids */
    float *logits;
    struct sampling_state state;
    uint32_t *recent, *occurrences;
    struct step *step;
};

static void make_logits(struct drawn *d, enum pattern pattern)
{
    struct check_random *random = &d->c->random;
    for (uint32_t i = 0; i < d->vocabulary; i++) {
        float *x = &d->logits[i];
        uint32_t chance = check_random_below(random, 9);
        *x *= pattern == STEEP ? 12 : 4;
        if (pattern == TIES) {
            *x = (float)check_random_below(random, 4) - 2;
        } else if (pattern == EQUAL) {
            *x = -3;
        } else if (pattern == ALL_NAN || (pattern == STRANGE && chance == 0)) {
            *x = NAN;
        } else if (pattern == STRANGE && chance < 3) {
            *x = chance == 1 ? -INFINITY : 3e38f * (check_random_below(random, 2) ? 1 : -1);
        } else if (pattern == STRANGE && chance == 3 && check_random_below(random, 9) == 0) {
            *x = INFINITY;
        }
    }
}

static void make_state(struct drawn *d)
{
    const struct setting *s = d->setting;
    struct check_random *random = &d->c->random;
    d->state = (struct sampling_state){
        .seed = {(uint32_t)check_random_u64(random), (uint32_t)check_random_u64(random)},
        .inverse_temperature = s->temperature > 0 ? 1 / s->temperature : 0,
        .top_k = s->top_k,
        .top_p = s->top_p < 1 ? (uint32_t)((double)s->top_p * 0x1p32) : SAMPLING_ALL,
        .min_weight = (uint32_t)ceil((double)s->min_p * 0x1p31),
        .penalty = s->penalty,
        .inverse_penalty = 1 / s->penalty,
        .n_valid = d->n,
        .repeat_last = s->repeat_last,
    };
    uint32_t filled = s->repeat_last ? check_random_below(random, s->repeat_last + 1) : 0;
    for (uint32_t i = 0; i < filled; i++) { /* ids near each other come twice */
        d->recent[i] = check_random_below(random, d->n) / 2;
        d->occurrences[d->recent[i]]++;
    }
    d->state.n_recent = filled;
    d->state.oldest_recent = filled && filled == s->repeat_last ? filled / 2 : filled;
}

/* ---- what may be chosen ---- */

static const double *sorted_values; /* of compare_ids */

static int compare_ids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    double p = sorted_values[x], q = sorted_values[y];
    return p != q ? (p < q) - (p > q) : (x > y) - (x < y);
}

static double weight_of(double value, double largest, double temperature)
{
    return value == largest ? 1 : exp((value - largest) / temperature);
}

static double value_of(const struct drawn *d, uint32_t id)
{
    float logit = isnan(d->logits[id]) ? -INFINITY : d->logits[id];
    if (d->occurrences[id] > 0) {
        logit *= logit > 0 ? 1 / d->setting->penalty : d->setting->penalty;
    }
    return (double)logit;
}

/* How many of the sorted ids survive, if sums and weights are off by `slack` of their size. */
static uint32_t survivors(const struct drawn *d, const double *values, const uint32_t *order,
                          double slack)
{
    uint32_t k = d->setting->top_k, most = k > 0 && k < d->n ? k : d->n, kept = 0;
    double total = 0, sum = 0, largest = values[order[0]];
    double unit = slack > 0 ? UNIT : slack < 0 ? -UNIT : 0;
    for (uint32_t i = 0; i < most; i++) {
        total += weight_of(values[order[i]], largest, 1);
    }
    double enough = (double)d->setting->top_p * total * (1 + slack) + most * unit;
    for (; kept < most; kept++) {
        double weight = weight_of(values[order[kept]], largest, 1);
        bool small = weight * (1 + slack) + unit < (double)d->setting->min_p;
        if (kept > 0 && (small || (d->setting->top_p < 1 && sum >= enough))) {
            break;
        }
        sum += weight;
    }
    return kept;
}

/* Whether a random number points at `id` among the first `kept`, or so near that rounding may have
 * turned the choice. */
static bool is_drawn(const struct drawn *d, const double *values, const uint32_t *order,
                     uint32_t kept, uint32_t position, uint32_t id)
{
    double largest = values[order[0]], total = 0, before = 0, own = 0;
    for (uint32_t i = 0; i < kept; i++) {
        double weight = weight_of(values[order[i]], largest, (double)d->setting->temperature);
        total += weight;
        before += order[i] < id ? weight : 0;
        own += order[i] == id ? weight : 0;
    }
    double at = sampling_random(d->state.seed, position) * 0x1p-32 * total;
    /* A small temperature makes more of the rounding of a difference of logits. */
    double slack = TOLERANCE * total + kept * UNIT + (d->setting->temperature < 0.1f ? 1e-3 : 0);
    return own > 0 && at >= before - slack && at <= before + own + slack;
}

static bool is_right(const struct drawn *d, uint32_t position, uint32_t id)
{
    double *values = calloc(d->n, sizeof(*values));
    uint32_t *order = calloc(d->n, sizeof(*order));
    if (!values || !order) {
        abort();
    }
    for (uint32_t i = 0; i < d->n; i++) {
        values[i] = value_of(d, i);
        order[i] = i;
    }
    sorted_values = values;
    qsort(order, d->n, sizeof(*order), compare_ids);
    uint32_t rank = 0;
    while (rank < d->n && order[rank] != id) {
        rank++;
    }
    bool right = rank == 0;
    if (d->setting->temperature > 0) {
        uint32_t sure = survivors(d, values, order, -TOLERANCE);
        uint32_t possible = survivors(d, values, order, TOLERANCE);
        right =
            rank < possible && (sure != possible || is_drawn(d, values, order, sure, position, id));
    }
    free(values);
    free(order);
    return right;
}

/* ---- the case ---- */

static void place(struct drawn *d, uint32_t room, uint32_t position)
{
    struct check_case *c = d->c;
    uint64_t step_bytes = sizeof(struct step) + 4 * sizeof(uint32_t);
    d->step = (struct step *)(void *)check_alloc(c, step_bytes / sizeof(float));
    *d->step = (struct step){.n_tokens = 3, .position = position - 3, .reserved = {7, 8}};
    check_output(c, 0, DTYPE_U32, 1, step_bytes / 4, d->step, step_bytes);
    check_input(c, 1, DTYPE_F32, 1, d->vocabulary, d->logits, d->vocabulary * sizeof(float));
    check_output(c, 2, DTYPE_U32, 1, sizeof(d->state) / 4, &d->state, sizeof(d->state));
    check_output(c, 3, DTYPE_U32, 1, room, d->recent, room * sizeof(uint32_t));
    check_output(c, 4, DTYPE_U32, 1, d->vocabulary, d->occurrences,
                 d->vocabulary * sizeof(uint32_t));
    check_output(c, 5, DTYPE_U32, 1, SAMPLE_RESULTS, NULL, SAMPLE_RESULTS * sizeof(uint32_t));
    check_op(c)->args.sample.vocabulary = d->vocabulary;
}

/* What the op has left, given the token it chose. */
static void compare(struct drawn *d, uint32_t room, uint32_t position)
{
    struct check_case *c = d->c;
    uint32_t expected[SAMPLE_RESULTS];
    const uint32_t *chosen = check_result(c, 5);
    uint32_t id = chosen[position % SAMPLE_RESULTS];
    if (id >= d->n || !is_right(d, position, id)) {
        check_fail(c, "chose %u", id);
        return;
    }
    if (!c->device->gpu) {
        uint32_t *scratch = (uint32_t *)(void *)check_alloc(c, SAMPLING_SCRATCH_WORDS(d->n));
        uint32_t wanted = sampling_pick(&d->state, d->logits, d->occurrences, position, scratch);
        if (id != wanted) {
            check_fail(c, "chose %u instead of %u", id, wanted);
        }
    }
    memset(expected, 0x7F, sizeof(expected));
    expected[position % SAMPLE_RESULTS] = id;
    check_compare_u32(c, 5, expected, SAMPLE_RESULTS);
    d->step->n_tokens = 1;
    d->step->position = position;
    d->step->tokens[0] = id;
    check_compare_u32(c, 0, (const uint32_t *)d->step, sizeof(*d->step) / 4 + 4);
    if (d->state.repeat_last > 0) {
        uint32_t at = d->state.oldest_recent;
        if (d->state.n_recent == d->state.repeat_last) {
            d->occurrences[d->recent[at]] -= 1;
        } else {
            d->state.n_recent++;
        }
        d->recent[at] = id;
        d->occurrences[id] += 1;
        d->state.oldest_recent = at + 1 == d->state.repeat_last ? 0 : at + 1;
    }
    check_compare_u32(c, 2, (const uint32_t *)&d->state, sizeof(d->state) / 4);
    check_compare_u32(c, 3, d->recent, room);
    check_compare_u32(c, 4, d->occurrences, d->vocabulary);
}

static void check_one(struct check_device *device, uint32_t vocabulary, enum pattern pattern,
                      uint32_t setting)
{
    struct check_case c;
    const struct setting *s = &settings[setting];
    if (!check_begin(&c, device, OP_sample, DTYPE_F32, 1,
                     "%u, %s, temperature %g, top-k %u, top-p %g, min-p %g, penalty %g of %u",
                     vocabulary, pattern_names[pattern], (double)s->temperature, s->top_k,
                     (double)s->top_p, (double)s->min_p, (double)s->penalty, s->repeat_last)) {
        return;
    }
    uint32_t room = s->repeat_last + 2;
    uint32_t position = 3 + check_random_below(&c.random, 100000);
    struct drawn d = {.c = &c, .setting = s, .vocabulary = vocabulary};
    d.n = check_sometimes(&c, "padded") ? vocabulary - vocabulary / 8 : vocabulary;
    d.logits = check_alloc(&c, vocabulary);
    d.recent = (uint32_t *)(void *)check_alloc(&c, room);
    d.occurrences = (uint32_t *)(void *)check_alloc(&c, vocabulary);
    check_fill(&c.random, c.fill == CHECK_TINY ? CHECK_UNIFORM : c.fill, d.logits, vocabulary);
    make_logits(&d, pattern);
    make_state(&d);
    place(&d, room, position);
    if (check_run(&c)) {
        compare(&d, room, position);
    }
    check_end(&c);
}

void check_sample(struct check_device *device)
{
    static const uint32_t vocabularies[] = {1, 7, 255, 256, 257, 4099};
    uint32_t n_settings = sizeof(settings) / sizeof(settings[0]);
    for (uint32_t s = 0; s < n_settings; s++) {
        for (uint32_t p = 0; p < PATTERNS; p++) {
            for (uint32_t v = 0; v < 6; v++) {
                check_one(device, vocabularies[v], (enum pattern)p, s);
            }
        }
    }
    check_one(device, 151936, PLAIN, 10);
    check_one(device, 151936, PLAIN, 6);
}
