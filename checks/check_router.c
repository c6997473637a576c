/* router: random logits, and whole numbers, for ties and NaN. Each shape meets all kinds of scores,
 * corrections and groups. And known answers: the published rules on one vector of logits.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checks/check_ops.h"

struct shape {
    uint32_t n_experts, top_k;
    uint32_t n_groups, top_groups;
};

enum pattern { RANDOM, WHOLE, ALL_EQUAL, SOME_NAN, FEW_NUMBERS, ALL_NAN, PATTERNS };
static const char *const pattern_names[] = {"random",   "whole numbers", "all equal",
                                            "some NaN", "few numbers",   "all NaN"};

/* The inputs of a case. */
struct inputs {
    const float *logits;
    const float *correction; /* or NULL */
};

/* What should be known of a token's experts, in double. */
struct expert {
    double logit, probability;
    double score; /* what experts are compared by */
    uint32_t id;
    bool dropped;
};

struct group {
    double score;
    uint32_t id;
};

static float *make_logits(struct check_case *c, const struct shape *shape, enum pattern pattern)
{
    uint64_t n = (uint64_t)c->n_tokens * shape->n_experts;
    float *logits = check_alloc(c, n);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t token = i / shape->n_experts, expert = i % shape->n_experts;
        float value = check_random_float(&c->random, -6, 6);
        bool number = pattern == SOME_NAN      ? expert % 3 != 0
                      : pattern == FEW_NUMBERS ? expert == shape->n_experts - 1
                                               : pattern != ALL_NAN;
        logits[i] = pattern == RANDOM      ? value
                    : pattern == ALL_EQUAL ? (float)token - 1
                                           : roundf(value);
        logits[i] = number ? logits[i] : NAN;
    }
    check_input_tokens(c, 1, DTYPE_F32, shape->n_experts, logits);
    return logits;
}

/* Corrections: quarters, the same for all where all shall be equal. A NaN among them where there
 * are some. */
static float *make_correction(struct check_case *c, const struct shape *shape, enum pattern pattern)
{
    float *values = check_alloc(c, shape->n_experts);
    for (uint32_t e = 0; e < shape->n_experts; e++) {
        values[e] = pattern == RANDOM ? check_random_float(&c->random, -1, 1)
                    : pattern == ALL_EQUAL
                        ? 0.25f
                        : 0.25f * (float)check_random_below(&c->random, 5) - 0.5f;
        if (pattern == SOME_NAN && e % 7 == 2) {
            values[e] = NAN;
        }
    }
    check_input(c, 2, DTYPE_F32, 1, shape->n_experts, values, shape->n_experts * sizeof(float));
    return values;
}

static double number_or_lowest(double value)
{
    return isnan(value) ? -INFINITY : value;
}

static int descending(double a, double b, uint32_t a_id, uint32_t b_id)
{
    if (a != b) {
        return a > b ? -1 : 1;
    }
    return a_id < b_id ? -1 : 1;
}

static int by_score(const void *left, const void *right)
{
    const struct expert *a = left, *b = right;
    if (a->dropped != b->dropped) {
        return a->dropped ? 1 : -1;
    }
    return descending(a->score, b->score, a->id, b->id);
}

static int by_group_score(const void *left, const void *right)
{
    const struct group *a = left, *b = right;
    return descending(a->score, b->score, a->id, b->id);
}

static int by_value(const void *left, const void *right)
{
    return descending(*(const double *)left, *(const double *)right, 0, 0);
}

/* Logits, probabilities and scores of a token. Returns the largest size of a logit. */
static double make_experts(const struct router_rule *rule, const float *logits,
                           const float *correction, struct expert *experts)
{
    double largest = 0, maximum = -INFINITY, sum = 0;
    for (uint32_t e = 0; e < rule->n_experts; e++) {
        double logit = (double)logits[e];
        largest = isnan(logit) ? largest : fmax(largest, fabs(logit));
        experts[e] = (struct expert){.id = e, .logit = number_or_lowest(logit)};
        maximum = fmax(maximum, experts[e].logit);
    }
    for (uint32_t e = 0; e < rule->n_experts; e++) {
        sum += exp(experts[e].logit - maximum);
    }
    for (uint32_t e = 0; e < rule->n_experts; e++) {
        struct expert *expert = &experts[e];
        expert->probability = maximum == -INFINITY            ? NAN
                              : rule->score == ROUTER_SIGMOID ? 1 / (1 + exp(-expert->logit))
                                                              : exp(expert->logit - maximum) / sum;
        double corrected = expert->probability + (correction ? (double)correction[e] : 0);
        expert->score = correction ? number_or_lowest(corrected) : expert->logit;
    }
    return largest;
}

/* Marks the experts of all but the best groups; false if rounding may choose others. */
static bool drop_groups(const struct router_rule *rule, bool corrected, struct expert *experts,
                        double slack)
{
    struct group groups[ROUTER_MAX_EXPERTS];
    double members[ROUTER_MAX_EXPERTS];
    uint32_t size = rule->n_experts / rule->n_groups, last = rule->top_groups;
    bool sum = rule->group_score == ROUTER_GROUP_SUM_OF_2;
    for (uint32_t g = 0; g < rule->n_groups; g++) {
        for (uint32_t i = 0; i < size; i++) {
            const struct expert *expert = &experts[g * size + i];
            bool by_logit = sum && !corrected;
            members[i] = number_or_lowest(by_logit ? expert->probability : expert->score);
        }
        qsort(members, size, sizeof(members[0]), by_value);
        groups[g] = (struct group){sum && size > 1 ? members[0] + members[1] : members[0], g};
    }
    qsort(groups, rule->n_groups, sizeof(groups[0]), by_group_score);
    for (uint32_t i = last; i < rule->n_groups; i++) {
        for (uint32_t e = 0; e < size; e++) {
            experts[groups[i].id * size + e].dropped = true;
        }
    }
    return last == rule->n_groups || groups[last - 1].score == groups[last].score ||
           groups[last - 1].score - groups[last].score > slack;
}

/* Of two experts that no arithmetic can tell apart the lower must come first. */
static bool same_input(const float *correction, const struct expert *a, const struct expert *b)
{
    bool same = a->logit == b->logit && a->score == b->score;
    return same && (!correction || correction[a->id] == correction[b->id]);
}

/* Chosen experts must be the best ones up to the rounding of scores, in order. */
static bool check_ids(struct check_case *c, const struct router_rule *rule, const float *correction,
                      const struct expert *experts, const uint32_t *ids, double slack)
{
    struct expert sorted[ROUTER_MAX_EXPERTS];
    bool taken[ROUTER_MAX_EXPERTS] = {false};
    memcpy(sorted, experts, rule->n_experts * sizeof(sorted[0]));
    qsort(sorted, rule->n_experts, sizeof(sorted[0]), by_score);
    for (uint32_t slot = 0; slot < rule->top_k; slot++) {
        uint32_t id = ids[slot];
        if (id >= rule->n_experts || taken[id] || experts[id].dropped) {
            check_fail(c, "slot %u has expert %u, no expert, chosen before or of a dropped group",
                       slot, id);
            return false;
        }
        taken[id] = true;
        bool right = id == sorted[slot].id || fabs(experts[id].score - sorted[slot].score) <= slack;
        for (uint32_t e = 0; e < id; e++) {
            bool passed_over = !taken[e] && !experts[e].dropped;
            right = right && !(passed_over && same_input(correction, &experts[e], &experts[id]));
        }
        if (!right) {
            check_fail(c, "slot %u has expert %u (score %.9g), should have %u (score %.9g)", slot,
                       id, experts[id].score, sorted[slot].id, sorted[slot].score);
            return false;
        }
    }
    return true;
}

static void check_weights(struct check_case *c, const struct router_rule *rule,
                          const struct expert *experts, double largest, const uint32_t *ids,
                          const float *weights)
{
    double sum = 1e-20;
    for (uint32_t slot = 0; slot < rule->top_k; slot++) {
        sum += experts[ids[slot]].probability;
    }
    for (uint32_t slot = 0; slot < rule->top_k; slot++) {
        double expected =
            experts[ids[slot]].probability / (rule->normalise ? sum : 1) * (double)rule->scale;
        double slack = 1e-7 + 1e-5 * (1 + largest) * expected;
        if (isnan(expected) ? !isnan(weights[slot])
                            : !(fabs((double)weights[slot] - expected) <= slack)) {
            check_fail(c, "slot %u: weight %.9g, should be %.9g", slot, (double)weights[slot],
                       expected);
            return;
        }
    }
}

bool check_router_choice(struct check_case *c, const struct router_rule *rule, const float *logits,
                         const float *correction, const uint32_t *ids, const float *weights)
{
    struct expert experts[ROUTER_MAX_EXPERTS];
    double largest = make_experts(rule, logits, correction, experts);
    const double score_slack = 2e-6; /* logits are compared as they are */
    double slack = correction ? score_slack : 0;
    bool by_logit = !correction && rule->group_score == ROUTER_GROUP_MAX;
    if (rule->n_groups > 1 &&
        !drop_groups(rule, correction != NULL, experts, by_logit ? 0 : score_slack)) {
        return false;
    }
    if (check_ids(c, rule, correction, experts, ids, slack)) {
        check_weights(c, rule, experts, largest, ids, weights);
    }
    return true;
}

static bool check_token(struct check_case *c, const struct router_rule *rule,
                        const struct inputs *in, uint64_t t)
{
    const uint32_t *ids = check_result(c, 3);
    const float *weights = check_result(c, 4);
    return check_router_choice(c, rule, in->logits + t * rule->n_experts, in->correction,
                               ids + t * rule->top_k, weights + t * rule->top_k);
}

static struct router_rule *set_rule(struct check_case *c, const struct shape *shape)
{
    struct router_rule *rule = &check_op(c)->args.router.rule;
    rule->n_experts = shape->n_experts;
    rule->top_k = shape->top_k;
    rule->n_groups = shape->n_groups;
    rule->top_groups = shape->top_groups;
    rule->scale = 1;
    return rule;
}

static void make_outputs(struct check_case *c, const struct shape *shape)
{
    uint64_t bytes = c->max_tokens * shape->top_k * sizeof(uint32_t);
    check_output(c, 3, DTYPE_U32, c->max_tokens, shape->top_k, NULL, bytes);
    check_output(c, 4, DTYPE_F32, c->max_tokens, shape->top_k, NULL, bytes);
}

/* Rows of tokens that the step does not have are as before. */
static void check_rest(struct check_case *c, uint32_t top_k)
{
    uint64_t row_bytes = top_k * sizeof(uint32_t), used = c->n_tokens * row_bytes;
    check_unchanged(c, 3, used, c->max_tokens * row_bytes - used);
    check_unchanged(c, 4, used, c->max_tokens * row_bytes - used);
}

/* Tokens whose groups were checked, and those that rounding left open. */
struct tokens {
    uint32_t checked, open;
};

static void check_one(struct check_device *device, const struct shape *shape, uint32_t n,
                      enum pattern pattern, struct tokens *tokens)
{
    struct check_case c;
    if (!check_begin(&c, device, OP_router, DTYPE_F32, n, "%u of %u experts, %s", shape->top_k,
                     shape->n_experts, pattern_names[pattern])) {
        return;
    }
    struct inputs in;
    check_step(&c, 2, NULL);
    in.logits = make_logits(&c, shape, pattern);
    in.correction = check_sometimes(&c, "corrected") ? make_correction(&c, shape, pattern) : NULL;
    make_outputs(&c, shape);
    struct router_rule *rule = set_rule(&c, shape);
    rule->score = check_sometimes(&c, "sigmoid") ? ROUTER_SIGMOID : ROUTER_SOFTMAX;
    rule->normalise = check_sometimes(&c, "normalised");
    rule->scale = check_sometimes(&c, "scaled") ? 2.5f : 1;
    if (shape->n_groups > 1) {
        rule->group_score =
            check_sometimes(&c, "sum of 2") ? ROUTER_GROUP_SUM_OF_2 : ROUTER_GROUP_MAX;
    }
    if (check_run(&c)) {
        check_rest(&c, shape->top_k);
        for (uint64_t t = 0; t < n; t++) {
            bool checked = check_token(&c, rule, &in, t);
            tokens->checked += checked;
            tokens->open += !checked;
        }
    }
    check_end(&c);
}

/* One vector of logits and what published rules make of it (computed in double, by another
 * program): experts and weights, in the order of their selection scores. */
static const float known_logits[8] = {1, 0.5f, -0.3f, 2, 0.1f, -1.2f, 0.9f, 0.4f};
static const float known_correction[8] = {0, 0.3f, 0, -0.5f, 0, 0, 0.2f, 0};

struct known {
    const char *name;
    uint32_t score, top_k, n_groups, top_groups, group_score;
    bool corrected, normalise;
    float scale;
    uint32_t ids[3];
    float weights[3];
};

static const struct known known_routes[] = {
    {"Mixtral, Qwen3", ROUTER_SOFTMAX, 2, 1, 1, 0, false, true, 1, {3, 0}, {0.731059f, 0.268941f}},
    {"Qwen2-MoE, OLMoE",
     ROUTER_SOFTMAX,
     2,
     0,
     0,
     0,
     false,
     false,
     1,
     {3, 0},
     {0.413844f, 0.152245f}},
    {"GLM-4.5, MiniMax-M2",
     ROUTER_SIGMOID,
     2,
     1,
     1,
     0,
     true,
     true,
     1,
     {1, 6},
     {0.466818f, 0.533182f}},
    {"DeepSeek-V3",
     ROUTER_SIGMOID,
     3,
     4,
     2,
     ROUTER_GROUP_SUM_OF_2,
     true,
     true,
     2.5f,
     {1, 6, 0},
     {0.753777f, 0.860936f, 0.885287f}},
    {"DeepSeek-V2",
     ROUTER_SOFTMAX,
     3,
     4,
     2,
     ROUTER_GROUP_MAX,
     false,
     false,
     16,
     {3, 0, 1},
     {6.621511f, 2.435918f, 1.477459f}},
    {"Llama-4", ROUTER_SIGMOID, 1, 1, 1, 0, false, false, 1, {3}, {0.880797f}},
    {"Switch", ROUTER_SOFTMAX, 1, 1, 1, 0, false, false, 1, {3}, {0.413844f}},
    {"ERNIE", ROUTER_SOFTMAX, 2, 1, 1, 0, true, true, 1, {1, 6}, {0.401312f, 0.598688f}},
    {"SmallThinker", ROUTER_SIGMOID, 2, 1, 1, 0, false, true, 1, {3, 0}, {0.546449f, 0.453551f}},
};

static void check_known(struct check_device *device, const struct known *known, uint32_t n)
{
    const struct shape shape = {8, known->top_k, known->n_groups, known->top_groups};
    float logits[3 * 8];
    struct check_case c;
    if (!check_begin(&c, device, OP_router, DTYPE_F32, n, "%s", known->name)) {
        return;
    }
    for (uint32_t i = 0; i < n * 8; i++) {
        logits[i] = known_logits[i % 8];
    }
    check_step(&c, 0, NULL);
    check_input_tokens(&c, 1, DTYPE_F32, 8, logits);
    if (known->corrected) {
        check_input(&c, 2, DTYPE_F32, 1, 8, known_correction, sizeof(known_correction));
    }
    make_outputs(&c, &shape);
    struct router_rule *rule = set_rule(&c, &shape);
    rule->score = known->score;
    rule->normalise = known->normalise;
    rule->scale = known->scale;
    rule->group_score = known->group_score;
    if (check_run(&c)) {
        check_rest(&c, known->top_k);
        for (uint32_t i = 0; i < n * known->top_k; i++) {
            uint32_t slot = i % known->top_k, id = ((const uint32_t *)check_result(&c, 3))[i];
            float weight = ((const float *)check_result(&c, 4))[i];
            if (id != known->ids[slot] ||
                !(fabsf(weight - known->weights[slot]) <= 1e-6f * fmaxf(known->scale, 1))) {
                check_fail(&c, "slot %u has expert %u: %.9g, should have %u: %.9g", slot, id,
                           (double)weight, known->ids[slot], (double)known->weights[slot]);
            }
        }
    }
    check_end(&c);
}

void check_router(struct check_device *device)
{
    static const struct shape shapes[] = {
        {1, 1, 1, 1},      {2, 2, 0, 0},   {8, 2, 1, 1},   {8, 2, 1, 1},    {60, 4, 1, 1},
        {128, 8, 1, 1},    {128, 8, 1, 1}, {257, 8, 1, 1}, {384, 32, 1, 1}, {1024, 5, 1, 1},
        {256, 8, 8, 4},    {160, 6, 8, 3}, {30, 4, 3, 2},  {64, 6, 64, 6},  {1024, 32, 16, 1},
        {1024, 9, 512, 5}, {12, 12, 4, 4}, {34, 5, 2, 1},
    };
    struct tokens tokens = {0, 0};
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
            for (uint32_t p = 0; p < PATTERNS; p++) {
                check_one(device, &shapes[k], check_token_counts[i], (enum pattern)p, &tokens);
            }
        }
    }
    for (uint32_t k = 0; k < sizeof(known_routes) / sizeof(known_routes[0]); k++) {
        check_known(device, &known_routes[k], 1);
        check_known(device, &known_routes[k], 3);
    }
    if (tokens.open > tokens.checked / 10) {
        fprintf(stderr, "router on %s: rounding leaves %u of %u tokens open\n", device->name,
                tokens.open, tokens.open + tokens.checked);
        device->n_failed++;
    }
}
