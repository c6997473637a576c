/* What op_cost says, against counting by hand: the demo model's bytes from its shapes, the rows and
 * pairs of attention one by one, experts in classes against experts in one. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/moxie.h"
#include "engine/op/backend.h"
#include "engine/op/op_cost.h"
#include "engine/op/op_steps.h"
#include "tests/check.h"

/* models/moxie-tiny.moxie: q8_0 rows of 256 are 256 bytes of quants and 8 scales of 2. */
#define ROW 272.0
#define F32_ROW 1024.0
/* Norm, q k v and output, the norms of heads, norm, router. In lists for one token q, k and v each
 * read the first norm, router and gate/up each the second. */
#define FOLDED_NORMS (3 * F32_ROW)
#define LAYER (F32_ROW + (256 + 128 + 128 + 256) * ROW + 2 * 256 + F32_ROW + 8 * F32_ROW)
#define EXPERT ((512 + 256) * ROW)
#define HEAD (F32_ROW + 2048 * ROW)

static struct moxie_cost cost_of_demo(uint32_t n, uint32_t position)
{
    struct moxie_options options = moxie_options_defaults();
    struct moxie_error err = {0};
    struct moxie_cost cost;
    options.device = "cpu";
    options.threads = 1;
    struct moxie_model *model =
        moxie_open(check_source_path("models/moxie-tiny.moxie"), &options, &err);
    cr_assert_not_null(model, "%s", err.text);
    struct moxie_session_options session_options = moxie_session_defaults();
    session_options.chunk = 64;
    struct moxie_session *session = moxie_session_create(model, &session_options, &err);
    cr_assert_not_null(session, "%s", err.text);
    cr_assert(moxie_eval_cost(session, n, position, NULL, &cost, &err), "%s", err.text);
    moxie_session_destroy(&session);
    moxie_close(&model);
    return cost;
}

Test(op_cost, demo_model_one_token)
{
    struct moxie_cost cost = cost_of_demo(1, 10);
    cr_expect_float_eq(cost.weight_bytes, ROW + 4 * (LAYER + FOLDED_NORMS + 2 * EXPERT) + HEAD,
                       0.5);
    cr_expect_float_eq(cost.weight_bytes, 3120400, 0.5);
    /* A row of k and of v of 128 halves is written, eleven are read. */
    cr_expect_float_eq(cost.cache_bytes, 4 * 12 * 2 * 128 * 2, 0.5);
    double layer = 2.0 * 256 * (256 + 128 + 128 + 256) + 2.0 * 8 * 256 +
                   2 * 2.0 * (512 * 256 + 256 * 256) + 11 * 2 * 2.0 * 256;
    cr_expect_float_eq(cost.operations, 4 * layer + 2.0 * 2048 * 256, 0.5);
    cr_expect_gt(cost.activation_bytes, 4 * 2 * 1024);
    cr_expect_lt(cost.activation_bytes, 400000);
    cr_expect_gt(cost.steps, 4 * 5);
    cr_expect_leq(cost.steps, cost.ops);
}

Test(op_cost, demo_model_chunks)
{
    /* 64 tokens and 40 more: two lists, whose weights are read twice. */
    struct moxie_cost cost = cost_of_demo(104, 0);
    double experts = 8 * (1 - pow(0.75, 64)) + 8 * (1 - pow(0.75, 40));
    double weights = 104 * ROW + 4 * (2 * LAYER + experts * EXPERT) + 2 * HEAD;
    cr_expect_float_eq(cost.weight_bytes, weights, 0.5);
    double cache = (104 + 64 + 104) * 2.0 * 128 * 2; /* 104 rows written; 64 and 104 read */
    cr_expect_float_eq(cost.cache_bytes, 4 * cache, 0.5);
    double token =
        2.0 * 256 * (256 + 128 + 128 + 256) + 2.0 * 8 * 256 + 2 * 2.0 * (512 * 256 + 256 * 256);
    double pairs = 104 * 105 / 2.0;
    cr_expect_float_eq(cost.operations,
                       4 * (104 * token + pairs * 2 * 2.0 * 256) + 2 * 2.0 * 2048 * 256, 0.5);
}

Test(op_cost, windows)
{
    struct check_random random = {1};
    struct tensor tensor = {0};
    for (uint32_t i = 0; i < 2000; i++) {
        uint32_t n = 1 + check_random_below(&random, 20);
        uint32_t position = check_random_below(&random, 30);
        uint32_t window = check_random_below(&random, 24);
        double pairs = 0, rows = 0;
        for (uint32_t row = 0; row < position + n; row++) {
            uint32_t seen = 0;
            for (uint32_t at = position; at < position + n; at++) {
                seen += row <= at && (window == 0 || row + window > at);
            }
            pairs += seen;
            rows += seen > 0;
        }
        struct op op = {.kind = OP_attention,
                        .dtype = DTYPE_F16,
                        .max_tokens = n,
                        .n_tensors = 7,
                        .tensors = {&tensor, &tensor, &tensor, &tensor, NULL, &tensor, &tensor}};
        op.args.attention.heads = 6;
        op.args.attention.kv_heads = 2;
        op.args.attention.head_dim = 10;
        op.args.attention.window = window;
        struct op_cost cost = op_cost_of(&op, n, position, NULL);
        cr_assert_float_eq(cost.operations, pairs * 6 * 10 * 4, 0.5, "%u tokens at %u, window %u",
                           n, position, window);
        cr_assert_float_eq(cost.cache_bytes, rows * 2 * 10 * 2 * 2, 0.5,
                           "%u tokens at %u, window %u", n, position, window);
    }
}

static struct op_cost cost_of_experts(uint32_t here, uint32_t n)
{
    struct tensor tensor = {0};
    struct op op = {.kind = OP_expert_down,
                    .dtype = DTYPE_Q4_K,
                    .max_tokens = n,
                    .n_tensors = 9,
                    .experts_here = here};
    for (uint32_t i = 0; i < 9; i++) {
        op.tensors[i] = &tensor;
    }
    op.args.expert_down.hidden = 24;
    op.args.expert_down.ffn = 512;
    op.args.expert_down.n_experts = 8;
    op.args.expert_down.top_k = 3;
    return op_cost_of(&op, n, 0, NULL);
}

Test(op_cost, classes_of_experts_share_the_work)
{
    for (uint32_t n = 1; n < 9; n++) {
        struct op_cost all = cost_of_experts(0, n);
        struct op_cost three = cost_of_experts(3, n), five = cost_of_experts(5, n);
        cr_expect_float_eq(three.weight_bytes + five.weight_bytes, all.weight_bytes,
                           1e-6 * all.weight_bytes);
        cr_expect_float_eq(three.operations + five.operations, all.operations,
                           1e-6 * all.operations);
        cr_expect_float_eq(all.operations, n * 3 * 2.0 * 24 * 512, 0.5);
    }
    /* One token: exactly the three it takes; q4_k blocks of 256 are 144 bytes; a bias is f32. */
    cr_expect_float_eq(cost_of_experts(0, 1).weight_bytes, 3 * 24 * (2 * 144 + 4), 1e-6);
    cr_expect_float_eq(cost_of_experts(0, 2).weight_bytes, 8 * (1 - 25 / 64.0) * 24 * (2 * 144 + 4),
                       1e-6);
}

Test(op_cost, counted_experts)
{
    /* Six of eight experts get nothing, one five tokens, one four: three a token are nine. */
    const double experts[] = {6, 0, 0, 0, 1, 1};
    struct op_loads loads[2] = {{5, NULL}, {5, experts}};
    struct tensor tensor = {0};
    struct op op = {.kind = OP_expert_down, .dtype = DTYPE_Q4_K, .max_tokens = 5, .n_tensors = 9};
    for (uint32_t i = 0; i < 9; i++) {
        op.tensors[i] = &tensor;
    }
    op.args.expert_down.hidden = 24;
    op.args.expert_down.ffn = 512;
    op.args.expert_down.n_experts = 8;
    op.args.expert_down.top_k = 3;
    double expert = 24 * (2 * 144 + 4);
    cr_expect_float_eq(op_cost_of(&op, 5, 0, &loads[1]).weight_bytes, 2 * expert, 1e-6);
    op.experts_here = 4;
    cr_expect_float_eq(op_cost_of(&op, 5, 0, &loads[1]).weight_bytes, 2 * expert / 2, 1e-6);
    /* The second router's loads hold for what follows it; a mixture of one has none. */
    struct op router = {.kind = OP_router}, single = {.kind = OP_router};
    router.args.router.rule.n_experts = 8;
    single.args.router.rule.n_experts = 1;
    uint32_t routers = 0;
    cr_expect_null(op_loads_at(loads, &op, &routers));
    cr_expect_eq(op_loads_at(loads, &router, &routers), &loads[0]);
    cr_expect_eq(op_loads_at(loads, &op, &routers), &loads[0]);
    cr_expect_null(op_loads_at(loads, &single, &routers));
    cr_expect_eq(op_loads_at(loads, &router, &routers), &loads[1]);
    cr_expect_eq(op_loads_at(loads, &op, &routers), &loads[1]);
    cr_expect_null(op_loads_at(NULL, &op, &routers));
}

/* Tokens 3..9 of an evaluation in chunks of 4, counted by the routes that the session keeps. */
Test(op_cost, loads_of_a_session)
{
    struct moxie_options options = moxie_options_defaults();
    struct moxie_error err = {0};
    const uint32_t ids[] = {5, 900, 17, 33, 1200, 64, 7, 7, 300};
    const uint32_t sizes[] = {4, 2};
    options.device = "cpu";
    options.threads = 1;
    struct moxie_model *model =
        moxie_open(check_source_path("models/moxie-tiny.moxie"), &options, &err);
    cr_assert_not_null(model, "%s", err.text);
    struct moxie_session_options session_options = moxie_session_defaults();
    session_options.chunk = 4;
    session_options.keep_routes = true;
    struct moxie_session *session = moxie_session_create(model, &session_options, &err);
    cr_assert_not_null(session, "%s", err.text);
    cr_assert(moxie_eval(session, ids, 3, &err), "%s", err.text);
    double distinct = 0;
    for (uint32_t chunk = 0, at = 3; chunk < 2; at += sizes[chunk++]) {
        cr_assert(moxie_eval(session, ids + at, sizes[chunk], &err), "%s", err.text);
        for (uint32_t layer = 0; layer < 4; layer++) {
            bool chosen[8] = {false};
            const uint32_t *routes;
            const float *weights;
            cr_assert_eq(moxie_routes(session, layer, &routes, &weights), sizes[chunk]);
            for (uint32_t i = 0; i < 2 * sizes[chunk]; i++) {
                distinct += !chosen[routes[i]];
                chosen[routes[i]] = true;
            }
        }
    }
    moxie_rewind(session, 3);
    struct moxie_loads *loads = moxie_loads_count(session, ids + 3, 6, 6, &err);
    cr_assert_not_null(loads, "%s", err.text);
    cr_expect_eq(moxie_position(session), 9);
    struct moxie_cost cost;
    cr_assert(moxie_eval_cost(session, 6, 3, loads, &cost, &err), "%s", err.text);
    double rest = 6 * ROW + 2 * (4 * LAYER + HEAD);
    cr_expect_float_eq(cost.weight_bytes - distinct * EXPERT, rest + 2 * 4 * FOLDED_NORMS, 0.5);
    moxie_loads_free(&loads);
    /* Three evaluations of two tokens: the average of three. */
    moxie_rewind(session, 3);
    loads = moxie_loads_count(session, ids + 3, 6, 2, &err);
    cr_assert_not_null(loads, "%s", err.text);
    struct moxie_cost even;
    cr_assert(moxie_eval_cost(session, 2, 3, loads, &cost, &err), "%s", err.text);
    cr_assert(moxie_eval_cost(session, 2, 3, NULL, &even, &err), "%s", err.text);
    double chosen = (cost.weight_bytes - even.weight_bytes) / EXPERT + 4 * 8 * (1 - 0.5625);
    cr_expect_float_eq(3 * chosen, round(3 * chosen), 1e-6);
    cr_expect_geq(chosen, 4 * 2 - 1e-6); /* one token takes two, two at most four */
    cr_expect_leq(chosen, 4 * 4 + 1e-6);
    moxie_loads_free(&loads);
    moxie_session_destroy(&session);
    moxie_close(&model);
}

Test(op_cost, bandwidth_between_sizes)
{
    struct backend_peaks peaks = {.n_read = 3, .read = {{1024, 80}, {4096, 40}, {65536, 10}}};
    cr_expect_float_eq(backend_peaks_read(&peaks, 1), 80, 1e-9);
    cr_expect_float_eq(backend_peaks_read(&peaks, 1024), 80, 1e-9);
    cr_expect_float_eq(backend_peaks_read(&peaks, 2048), 60, 1e-9);
    cr_expect_float_eq(backend_peaks_read(&peaks, 4096), 40, 1e-9);
    cr_expect_float_eq(backend_peaks_read(&peaks, 16384), 25, 1e-9);
    cr_expect_float_eq(backend_peaks_read(&peaks, 1e12), 10, 1e-9);
    peaks.n_read = 0;
    cr_expect(isinf(backend_peaks_read(&peaks, 1)));
}

Test(op_cost, bandwidth_measured_again)
{
    struct backend_peaks peaks = {.n_read = 3, .read = {{1024, 80}, {4096, 40}, {65536, 10}}};
    backend_peaks_set_read(&peaks, 16384, 50);
    cr_expect_float_eq(backend_peaks_read(&peaks, 16384), 50, 1e-9);
    cr_expect_float_eq(peaks.read[0].bytes_per_second, 80, 1e-9); /* a faster memory's */
    cr_expect_float_eq(backend_peaks_read(&peaks, 1e12), 20, 1e-9);
    backend_peaks_set_read(&peaks, 1e12, 5);
    cr_expect_float_eq(backend_peaks_read(&peaks, 1e12), 5, 1e-9);
    cr_expect_float_eq(backend_peaks_read(&peaks, 4096), 80, 1e-9);
}

static struct moxie_session *open_demo(struct moxie_model **model)
{
    struct moxie_options options = moxie_options_defaults();
    struct moxie_error err = {0};
    options.device = "cpu";
    options.threads = 1;
    *model = moxie_open(check_source_path("models/moxie-tiny.moxie"), &options, &err);
    cr_assert(*model, "%s", err.text);
    struct moxie_session *session = moxie_session_create(*model, NULL, &err);
    cr_assert(session, "%s", err.text);
    return session;
}

/* Whatever the peaks said before. */
Test(op_cost, a_session_measures_again)
{
    struct moxie_model *model;
    struct moxie_error err = {0};
    struct moxie_session *session = open_demo(&model);
    struct moxie_peaks peaks = {.n_read = 1, .read = {{1024, 1}}, .step_seconds = 1000};
    cr_assert(moxie_peaks_again(session, &peaks, true, 0, &err), "%s", err.text);
    cr_expect_gt(peaks.read[0].bytes_per_second, 1e6);
    cr_expect_lt(peaks.step_seconds, 1);
    moxie_session_destroy(&session);
    moxie_close(&model);
}

/* Probing in between neither changes what a session holds nor what it answers; a prediction stays
 * as it was until something is measured, and then follows. */
Test(op_cost, predictions_between_evaluations)
{
    static const uint32_t ids[] = {300, 301, 302, 303, 304};
    struct moxie_model *model;
    struct moxie_error err = {0};
    struct moxie_session *session = open_demo(&model);
    struct moxie_model_info info;
    moxie_model_info(model, &info);
    float *expected = malloc(info.vocabulary * sizeof(*expected));
    cr_assert(moxie_eval(session, ids, 4, &err) && moxie_eval(session, ids + 4, 1, &err));
    memcpy(expected, moxie_logits(session), info.vocabulary * sizeof(*expected));
    moxie_rewind(session, 0);

    struct moxie_peaks peaks = {.n_read = 1, .read = {{1024, 1e9}}};
    double first, second, prompt;
    cr_assert(moxie_eval(session, ids, 4, &err), "%s", err.text);
    cr_assert(moxie_eval_predict(session, 1, 600, NULL, &peaks, &first, &err), "%s", err.text);
    cr_assert(moxie_eval_predict(session, 1, 600, NULL, &peaks, &second, &err), "%s", err.text);
    cr_expect_eq(first, second); /* nothing was measured in between */
    cr_expect(first > 1e-7 && first < 10, "%g", first);
    cr_assert(moxie_peaks_again(session, &peaks, true, 0.02, &err), "%s", err.text);
    cr_assert(moxie_eval_predict(session, 1, 600, NULL, &peaks, &second, &err), "%s", err.text);
    cr_expect(first != second && second > 1e-7 && second < 10, "%g", second);
    cr_assert(moxie_eval_predict(session, 64, 0, NULL, &peaks, &prompt, &err), "%s", err.text);
    cr_expect_gt(prompt, 0);
    cr_assert(moxie_peaks_again(session, &peaks, false, 0, &err), "%s", err.text);
    cr_assert(moxie_eval(session, ids + 4, 1, &err), "%s", err.text);
    cr_expect_arr_eq(moxie_logits(session), expected, info.vocabulary * sizeof(*expected));
    free(expected);
    moxie_session_destroy(&session);
    moxie_close(&model);
}
