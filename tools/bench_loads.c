#include <stdio.h>

#include "tools/bench.h"

/* Evaluations of several tokens that an average is taken of. */
#define EVALUATIONS 16

struct moxie_loads *bench_loads_of(struct bench_counter *c, const struct bench_test *test)
{
    struct moxie_model_info info;
    struct moxie_error err = {0};
    struct moxie_loads *loads = NULL;
    uint32_t piece = bench_test_piece(test), evaluations = test->tokens / piece;
    moxie_model_info(c->model, &info);
    if (c->failed || piece < 2 || evaluations == 0 || info.experts < 2) {
        return NULL;
    }
    evaluations = evaluations < EVALUATIONS ? evaluations : EVALUATIONS;
    if (!c->session) {
        c->options.keep_routes = true;
        c->session = moxie_session_create(c->model, &c->options, &err);
    }
    if (c->session && bench_go_to(c->session, c->ids, test->depth, &err)) {
        loads = moxie_loads_count(c->session, c->ids + test->depth, (size_t)evaluations * piece,
                                  piece, &err);
    }
    if (!loads) {
        c->failed = true;
        bench_note("moxie bench: bytes per token and predictions take experts as chosen evenly, as "
                   "their choices could not be counted: %s\n",
                   err.text);
    }
    return loads;
}

void bench_counter_end(struct bench_counter *c)
{
    moxie_session_destroy(&c->session);
}
