#include "engine/vk/vk_segments.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* Ops of the segments of the first run. With 512 tokens and a slow integrated GPU, eight ops of a
 * large model stay below half a second; a token has them all in one or two. */
#define FIRST_OPS_MANY 8
#define FIRST_OPS_ONE 256

/* A run of few tokens in a list made for many tells little about a run of many: a guess falls
 * slowly and rises at once. */
#define FALL 0.75
/* What "clearly" means: of the limit, for the longest segment; and for cutting anew into fewer. */
#define TOO_LONG 1.5
#define ROOM 0.75

bool vk_segments_init(struct vk_segments *segments, uint32_t n_ops, double limit, bool many_tokens,
                      struct error *err)
{
    assert(n_ops > 0 && limit > 0);
    *segments = (struct vk_segments){.n_ops = n_ops,
                                     .limit = limit,
                                     .guess = calloc(n_ops, sizeof(*segments->guess)),
                                     .may_cut = calloc(n_ops, sizeof(*segments->may_cut)),
                                     .ends = calloc(n_ops, sizeof(*segments->ends))};
    if (!segments->guess || !segments->may_cut || !segments->ends) {
        vk_segments_free(segments);
        return error_set(err, "not enough memory for a program of %u ops", n_ops);
    }
    for (uint32_t i = 0; i < n_ops && isfinite(limit); i++) {
        segments->guess[i] = limit / (many_tokens ? FIRST_OPS_MANY : FIRST_OPS_ONE);
    }
    return true;
}

void vk_segments_free(struct vk_segments *segments)
{
    free(segments->guess);
    free(segments->may_cut);
    free(segments->ends);
    *segments = (struct vk_segments){0};
}

/* Cuts before the step with which a segment would exceed the limit; writes ends if not NULL. */
static uint32_t cut(const struct vk_segments *segments, double limit, uint32_t *ends)
{
    uint32_t n = 0;
    double sum = 0;
    for (uint32_t i = 0; i < segments->n_ops;) {
        uint32_t next = i;
        double step = 0;
        do {
            step += segments->guess[next++];
        } while (next < segments->n_ops && !segments->may_cut[next]);
        /* A little more than the limit: sums of rounded numbers. */
        if (i > 0 && sum + step > limit * (1 + 1e-9)) {
            if (ends) {
                ends[n] = i;
            }
            n++;
            sum = 0;
        }
        sum += step;
        i = next;
    }
    if (ends) {
        ends[n] = segments->n_ops;
    }
    return n + 1;
}

void vk_segments_cut(struct vk_segments *segments)
{
    segments->n = cut(segments, segments->limit, segments->ends);
}

bool vk_segments_learn(struct vk_segments *segments, const double *seconds)
{
    bool too_long = false;
    uint32_t first = 0;
    for (uint32_t s = 0; s < segments->n; s++) {
        double sum = 0;
        uint32_t end = segments->ends[s];
        bool divisible = false;
        for (uint32_t i = first; i < end; i++) {
            sum += segments->guess[i];
            divisible |= i > first && segments->may_cut[i];
        }
        for (uint32_t i = first; i < end; i++) {
            double share = sum > 0 ? segments->guess[i] / sum : 1.0 / (end - first);
            segments->guess[i] = fmax(seconds[s] * share, segments->guess[i] * FALL);
        }
        too_long |= divisible && seconds[s] > segments->limit * TOO_LONG;
        first = end;
    }
    if (!too_long && cut(segments, segments->limit * ROOM, NULL) >= segments->n) {
        return false;
    }
    vk_segments_cut(segments);
    return true;
}
