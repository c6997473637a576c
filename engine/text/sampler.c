#include "engine/text/sampler.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define MAX_REPEAT_LAST (1u << 20)

struct candidate {
    float logit;
    uint32_t id;
};

struct sampler {
    struct sampler_options options;
    uint32_t vocabulary;
    uint64_t state;          /* of the random numbers */
    struct candidate *heap;  /* (vocabulary) */
    uint32_t *occurrences;   /* (vocabulary): how often among the last tokens */
    uint32_t *last;          /* (repeat_last): a ring */
    uint32_t n_last, oldest; /* filled entries, and the one to be overwritten next */
};

struct sampler_options sampler_defaults(void)
{
    return (struct sampler_options){.temperature = 0.8f,
                                    .top_k = 40,
                                    .top_p = 0.95f,
                                    .min_p = 0.05f,
                                    .repeat_penalty = 1,
                                    .repeat_last = 64,
                                    .seed = 0};
}

bool sampler_options_check(const struct sampler_options *options, struct error *err)
{
    /* Written so that NaN fails. */
    if (!(options->temperature >= 0) || !isfinite(options->temperature)) {
        return error_set(err, "the temperature is %g; it must be 0 or more", options->temperature);
    }
    if (!(options->top_p >= 0 && options->top_p <= 1)) {
        return error_set(err, "top-p is %g; it must be from 0 to 1", options->top_p);
    }
    if (!(options->min_p >= 0 && options->min_p <= 1)) {
        return error_set(err, "min-p is %g; it must be from 0 to 1", options->min_p);
    }
    if (!(options->repeat_penalty > 0) || !isfinite(options->repeat_penalty)) {
        return error_set(err, "the repeat penalty is %g; it must be above 0 (1 is off)",
                         options->repeat_penalty);
    }
    if (options->repeat_last > MAX_REPEAT_LAST) {
        return error_set(err,
                         "%u last tokens for the repeat penalty are too many; at most %u are "
                         "supported",
                         options->repeat_last, MAX_REPEAT_LAST);
    }
    return true;
}

struct sampler *sampler_create(const struct sampler_options *options, uint32_t vocabulary,
                               struct error *err)
{
    if (!sampler_options_check(options, err)) {
        return NULL;
    }
    assert(vocabulary > 0);
    struct sampler *sampler = calloc(1, sizeof(*sampler));
    if (sampler) {
        sampler->options = *options;
        sampler->vocabulary = vocabulary;
        sampler->state = options->seed;
        sampler->heap = malloc(vocabulary * sizeof(*sampler->heap));
        sampler->occurrences = calloc(vocabulary, sizeof(*sampler->occurrences));
        sampler->last = malloc((options->repeat_last + (size_t)1) * sizeof(*sampler->last));
    }
    if (!sampler || !sampler->heap || !sampler->occurrences || !sampler->last) {
        sampler_destroy(&sampler);
        error_set(err, "out of memory for sampling from %u tokens", vocabulary);
        return NULL;
    }
    return sampler;
}

void sampler_destroy(struct sampler **sampler)
{
    if (*sampler) {
        free((*sampler)->heap);
        free((*sampler)->occurrences);
        free((*sampler)->last);
        free(*sampler);
        *sampler = NULL;
    }
}

void sampler_accept(struct sampler *sampler, uint32_t id)
{
    assert(id < sampler->vocabulary);
    uint32_t room = sampler->options.repeat_last;
    if (room == 0) {
        return;
    }
    if (sampler->n_last == room) {
        sampler->occurrences[sampler->last[sampler->oldest]]--;
    } else {
        sampler->n_last++;
    }
    sampler->last[sampler->oldest] = id;
    sampler->oldest = (sampler->oldest + 1) % room;
    sampler->occurrences[id]++;
}

/* splitmix64 (Steele et al. 2014), its upper bits as a number in [0, 1). */
static double random_unit(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* e^x for x <= 0 from basic arithmetic alone, so that every machine draws the same token: the C
 * library's may differ in the last bit. x = k ln 2 + r, Taylor series for r, relative error about
 * 1e-15. */
static double exponential(double x)
{
    if (x < -700) {
        return 0;
    }
    double k = floor(x * 0x1.71547652b82fep+0 + 0.5);
    double r = x - k * 0x1.62e42fee00000p-1; /* the upper bits of ln 2: k times it is exact */
    r -= k * 0x1.a39ef35793c76p-33;
    double sum = 1;
    for (int i = 14; i > 0; i--) {
        sum = 1 + sum * r / i;
    }
    return ldexp(sum, (int)k);
}

/* Weight relative to the largest logit; infinities included. */
static double weight_of(float logit, float largest, double temperature)
{
    return logit == largest ? 1 : exponential(((double)logit - (double)largest) / temperature);
}

static bool comes_first(struct candidate a, struct candidate b)
{
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

static void sift_down(struct candidate *heap, uint32_t n, uint32_t at)
{
    struct candidate moving = heap[at];
    for (uint64_t child; (child = 2 * (uint64_t)at + 1) < n; at = (uint32_t)child) {
        if (child + 1 < n && comes_first(heap[child + 1], heap[child])) {
            child++;
        }
        if (!comes_first(heap[child], moving)) {
            break;
        }
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

/* Moves the best of heap[0..n) to heap[n - 1]: called k times, the k best stand at the end of the
 * array, best last, as in heapsort. */
static struct candidate take_best(struct candidate *heap, uint32_t n)
{
    struct candidate best = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = best;
    sift_down(heap, n - 1, 0);
    return best;
}

/* Positive logits are divided by the penalty, negative ones multiplied (Keskar et al. 2019). */
static float penalized(const struct sampler *sampler, float logit, uint32_t id)
{
    if (isnan(logit)) {
        return -INFINITY;
    }
    if (sampler->options.repeat_penalty == 1 || sampler->occurrences[id] == 0) {
        return logit;
    }
    return logit > 0 ? logit / sampler->options.repeat_penalty
                     : logit * sampler->options.repeat_penalty;
}

/* Leaves the k candidates that top-k, top-p and min-p let pass in order at the end of heap[0..n),
 * best last. Returns k >= 1. */
static uint32_t filter(const struct sampler *sampler, uint32_t n)
{
    const struct sampler_options *options = &sampler->options;
    struct candidate *heap = sampler->heap;
    uint32_t most = options->top_k > 0 && options->top_k < n ? options->top_k : n;
    for (uint32_t i = n / 2; i-- > 0;) {
        sift_down(heap, n, i);
    }
    float largest = heap[0].logit;
    uint32_t taken = 0;
    if (options->top_k > 0) {
        for (; taken < most; taken++) {
            take_best(heap, n - taken);
        }
    }
    if (options->top_p >= 1 && options->min_p <= 0) {
        return most;
    }
    /* Without top-k only as many are put in order as the other two let pass. */
    double total = 0, sum = 0;
    for (uint32_t i = options->top_k > 0 ? n - most : 0; i < n; i++) {
        total += weight_of(heap[i].logit, largest, 1);
    }
    uint32_t kept = 0;
    while (kept < most) {
        struct candidate next = kept < taken ? heap[n - 1 - kept] : take_best(heap, n - kept);
        double weight = weight_of(next.logit, largest, 1);
        if (kept > 0 && weight < (double)options->min_p) {
            break;
        }
        kept++;
        sum += weight;
        if (options->top_p < 1 && sum >= (double)options->top_p * total) {
            break;
        }
    }
    return kept;
}

/* Draws from heap[first..n) by weights at the temperature. */
static uint32_t draw(struct sampler *sampler, uint32_t first, uint32_t n, float largest)
{
    double temperature = (double)sampler->options.temperature, total = 0;
    for (uint32_t i = n; i-- > first;) {
        total += weight_of(sampler->heap[i].logit, largest, temperature);
    }
    double left = random_unit(&sampler->state) * total;
    uint32_t last = n - 1; /* the last one with any weight, should rounding leave a remainder */
    for (uint32_t i = n; i-- > first;) {
        double weight = weight_of(sampler->heap[i].logit, largest, temperature);
        if (weight > 0) {
            last = i;
            if (left < weight) {
                break;
            }
            left -= weight;
        }
    }
    return sampler->heap[last].id;
}

uint32_t sampler_pick(struct sampler *sampler, const float *logits, uint32_t n_valid)
{
    uint32_t n = n_valid < sampler->vocabulary ? n_valid : sampler->vocabulary;
    assert(n > 0);
    struct candidate best = {-INFINITY, 0};
    for (uint32_t id = 0; id < n; id++) {
        sampler->heap[id] = (struct candidate){penalized(sampler, logits[id], id), id};
        if (sampler->heap[id].logit > best.logit) {
            best = sampler->heap[id];
        }
    }
    const struct sampler_options *options = &sampler->options;
    if (options->temperature <= 0) {
        return best.id;
    }
    bool unfiltered = options->top_k == 0 && options->top_p >= 1 && options->min_p <= 0;
    uint32_t first = unfiltered ? 0 : n - filter(sampler, n);
    return draw(sampler, first, n, best.logit);
}
