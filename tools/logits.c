/* moxie logits: what the model thinks of given tokens, for tests and debugging. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/generate.h"
#include "tools/ids.h"

struct logits {
    struct engine_flags engine;
    bool all, routes;
    const char *ids;
};

static void print_floats(const float *values, size_t n)
{
    printf("[");
    for (size_t i = 0; i < n; i++) {
        /* JSON has no NaN or infinity. */
        if (isfinite(values[i])) {
            printf("%s%.9g", i ? "," : "", (double)values[i]);
        } else {
            printf("%snull", i ? "," : "");
        }
    }
    printf("]");
}

/* One row of routes: {"experts":[..],"weights":[..]} per position of the last evaluation. */
static void collect_routes(struct moxie_session *session, const struct moxie_model_info *info,
                           uint32_t position, uint32_t *experts, float *weights, size_t n)
{
    for (uint32_t layer = 0; layer < info->layers; layer++) {
        const uint32_t *ids;
        const float *chosen;
        uint32_t tokens = moxie_routes(session, layer, &ids, &chosen);
        size_t at = ((size_t)layer * n + position) * info->experts_per_token;
        size_t count = (size_t)tokens * info->experts_per_token;
        for (size_t i = 0; i < count; i++) {
            experts[at + i] = ids[i];
            weights[at + i] = chosen[i];
        }
    }
}

static void print_routes(const struct moxie_model_info *info, const uint32_t *experts,
                         const float *weights, size_t n)
{
    uint32_t k = info->experts_per_token;
    printf(",\"routes\":[");
    for (uint32_t layer = 0; layer < info->layers; layer++) {
        const uint32_t *ids = experts + (size_t)layer * n * k;
        printf("%s{\"layer\":%" PRIu32 ",\"experts\":[", layer ? "," : "", layer);
        for (size_t t = 0; t < n; t++) {
            for (uint32_t slot = 0; slot < k; slot++) {
                printf("%s%" PRIu32, slot ? "," : t ? ",[" : "[", ids[t * k + slot]);
            }
            printf("]");
        }
        printf("],\"weights\":[");
        for (size_t t = 0; t < n; t++) {
            printf("%s", t ? "," : "");
            print_floats(weights + ((size_t)layer * n + t) * k, k);
        }
        printf("]}");
    }
    printf("]");
}

static int evaluate(const struct logits *l, struct moxie_session *session,
                    const struct moxie_model_info *info, const uint32_t *ids, size_t n)
{
    struct moxie_error err;
    /* One token at a time where every position's logits or routes are wanted: only the last of an
     * evaluation passes the head, and only the last chunk's routes are kept. */
    size_t step = l->all || (l->routes && n > l->engine.session.chunk) ? 1 : n;
    size_t n_routes = l->routes ? n * info->layers * info->experts_per_token : 0;
    uint32_t *experts = calloc(n_routes + 1, sizeof(*experts));
    float *weights = calloc(n_routes + 1, sizeof(*weights));
    int status = experts && weights ? 0 : tool_fail("logits", "not enough memory");
    if (status == 0) {
        printf("{\"logits\":%s", l->all ? "[" : "");
    }
    for (size_t done = 0; status == 0 && done < n; done += step) {
        if (!moxie_eval(session, ids + done, step, &err)) {
            printf("\n");
            status = tool_fail("logits", err.text);
            break;
        }
        if (n_routes) {
            collect_routes(session, info, (uint32_t)done, experts, weights, n);
        }
        if (l->all || done + step == n) {
            printf("%s", l->all && done ? "," : "");
            print_floats(moxie_logits(session), info->vocabulary);
        }
    }
    if (status == 0) {
        printf("%s", l->all ? "]" : "");
        if (n_routes) {
            print_routes(info, experts, weights, n);
        }
        printf("}\n");
    }
    free(experts);
    free(weights);
    return status;
}

static int logits(struct logits *l, const char *path)
{
    struct error err;
    struct moxie_model_info info;
    uint32_t *ids;
    size_t n;
    bool done = false;
    int status = EXIT_FAILED;
    if (!ids_parse(l->ids, &ids, &n, &err)) {
        return tool_fail("logits", err.text);
    }
    if (n == 0) {
        free(ids);
        return tool_fail("logits", "--ids is empty");
    }
    l->engine.session.keep_routes = l->routes;
    l->engine.session.chunk = l->engine.session.chunk ? l->engine.session.chunk : 512;
    struct moxie_session *session = NULL;
    struct moxie_model *model = open_model("logits", path, &l->engine);
    if (model) {
        moxie_model_info(model, &info);
        session = open_session("logits", model, &l->engine, &done);
    }
    if (done) {
        status = 0;
    } else if (session && n > moxie_context(session)) {
        error_set(&err, "%zu ids do not fit the context of %" PRIu32 " tokens", n,
                  moxie_context(session));
        status = tool_fail("logits", err.text);
    } else if (session) {
        status = evaluate(l, session, &info, ids, n);
    }
    moxie_session_destroy(&session);
    close_model("logits", &model);
    free(ids);
    return status;
}

int tool_logits(int argc, char **argv)
{
    struct logits l = {.engine = {.model = moxie_options_defaults(),
                                  .session = moxie_session_defaults(),
                                  .kv_type = "f32"}};
    const struct option options[] = {
        {"--ids", NULL, OPTION_TEXT, &l.ids, "IDS", "token ids: 1,2,3"},
        {"--all", NULL, OPTION_FLAG, &l.all, NULL,
         "one list per position instead of the last only"},
        {"--routes", NULL, OPTION_FLAG, &l.routes, NULL,
         "add the chosen experts and their weights per layer and position"},
        DEVICE_OPTIONS(&l.engine),
        SESSION_OPTIONS(&l.engine),
        {0}};
    const struct usage usage = {
        .synopsis = "moxie logits [MODEL] --ids 1,2,3 [options]",
        .text =
            "Prints {\"logits\":[...]} of the last position. Without MODEL the demo model is used.",
        .options = options,
        .max_arguments = 1};
    char **arguments;
    uint32_t n;
    int status = options_parse(&usage, argc, argv, &arguments, &n);
    if (status >= 0) {
        return status;
    }
    if (!l.ids) {
        fprintf(stderr, "moxie logits: --ids is missing\nusage: %s\n", usage.synopsis);
        return EXIT_USAGE;
    }
    return logits(&l, n ? arguments[0] : NULL);
}
