#include "tools/conversion_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/threads.h"
#include "engine/source_text.h"
#include "tools/conversion_report.h"
#include "tools/disk_space.h"
#include "tools/interrupt.h"

/* ---- what was asked for ---- */

static bool find_compress(const char *name, enum compress *compress)
{
    static const struct {
        const char *name;
        enum compress compress;
    } table[] = {{"none", COMPRESS_NONE}, {"zstd", COMPRESS_ZSTD}, {"auto", COMPRESS_AUTO}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i].name, name) == 0) {
            *compress = table[i].compress;
            return true;
        }
    }
    return false;
}

static bool find_type(const char *name, struct conversion_rules *rules)
{
    if (!name) {
        return true;
    }
    rules->keep = strcmp(name, "keep") == 0;
    rules->mix = rules->keep ? NULL : type_mix_find(name);
    return rules->keep || rules->mix;
}

/* "PATTERN=TYPE"; the list's own text is cut at the last "=". */
static bool find_pattern(char *text, struct conversion_pattern *pattern)
{
    char *equals = strrchr(text, '=');
    const struct dtype_info *type = equals ? dtype_find(equals + 1) : NULL;
    if (!type || equals == text) {
        return false;
    }
    *equals = 0;
    *pattern = (struct conversion_pattern){text, type->dtype};
    return true;
}

static int usage_fail(const struct conversion_request *request, const char *what, const char *value,
                      const char *choices)
{
    fprintf(stderr, "moxie %s: %s cannot be \"%s\"; it is %s\n", request->tool, what, value,
            choices);
    return EXIT_USAGE;
}

/* "12G" or "85%". */
static bool find_budget(struct conversion_request *request)
{
    const char *text = request->expert_budget;
    if (!text) {
        return true;
    }
    char *end;
    double percent = strtod(text, &end);
    if (*text >= '0' && *text <= '9' && strcmp(end, "%") == 0) {
        request->budget_share = percent / 100;
        return percent > 0 && percent < 1000;
    }
    return bytes_parse(text, &request->budget_bytes) && request->budget_bytes > 0;
}

/* -1 to go on, else the exit code. */
static int understand(struct conversion_request *request)
{
    char names[512] = "one of ";
    size_t used = strlen(names);
    if (!find_type(request->type, &request->rules)) {
        type_mix_names(names + used, (uint32_t)(sizeof(names) - used));
        strncat(names, ", keep", sizeof(names) - strlen(names) - 1);
        return usage_fail(request, "--type", request->type, names);
    }
    for (uint32_t i = 0; i < request->tensors.n; i++) {
        /* argv is ours to write to. */
        if (!find_pattern((char *)request->tensors.texts[i], &request->patterns[i])) {
            return usage_fail(request, "--tensor", request->tensors.texts[i],
                              "PATTERN=TYPE, for example \"*.expert.*.down=q6_k\"");
        }
    }
    request->rules.patterns = request->patterns;
    request->rules.n_patterns = request->tensors.n;
    request->options = (struct conversion_options){
        .name = request->name,
        .converter = "moxie " MOXIE_VERSION,
    };
    if (!find_compress(request->compress, &request->options.compress)) {
        return usage_fail(request, "--compress", request->compress, "one of none, zstd, auto");
    }
    if (!find_budget(request)) {
        return usage_fail(request, "--expert-budget", request->expert_budget,
                          "bytes like 12G, or a share of what the type gives like 85%");
    }
    if (request->expert_budget && !request->importance) {
        fprintf(stderr,
                "moxie %s: --expert-budget needs to know how often each expert is used: make "
                "statistics with `moxie imatrix` and name them with --imatrix\n",
                request->tool);
        return EXIT_USAGE;
    }
    return -1;
}

/* ---- what types depend on ---- */

/* Of the rules' functions. */
struct choices {
    struct importance importance;
    struct importance_weights weights;
    struct expert_budget budget;
};

static const float *find_importance(void *context, enum tensor_role role, uint32_t layer,
                                    uint32_t expert, uint32_t part)
{
    struct choices *choices = context;
    return importance_weights_of(&choices->weights, role, layer, expert, part);
}

static bool find_expert_types(void *context, uint32_t layer, uint32_t expert, enum dtype *type,
                              enum dtype *down_type)
{
    struct choices *choices = context;
    return expert_budget_types(&choices->budget, layer, expert, type, down_type);
}

static bool read_importance(struct conversion_request *request, const struct source *source,
                            struct choices *choices, struct error *err)
{
    if (!request->importance) {
        return true;
    }
    if (!importance_read(&choices->importance, request->importance, err) ||
        !importance_weights_make(&choices->weights, &choices->importance, source, err)) {
        return false;
    }
    request->rules.importance = find_importance;
    request->rules.context = choices;
    return true;
}

/* The plan with experts' types chosen within the budget, in place of one without. */
static bool apply_budget(struct conversion_request *request, struct choices *choices,
                         struct conversion_plan *plan, const struct conversion_work *work,
                         struct error *err)
{
    if (!request->expert_budget) {
        return true;
    }
    const struct source *source = plan->source;
    uint64_t bytes = request->budget_bytes;
    if (request->budget_share > 0) {
        bytes = (uint64_t)(request->budget_share * (double)expert_budget_bytes(plan));
    }
    if (!expert_budget_make(&choices->budget, plan, &choices->weights, bytes, work, err)) {
        return false;
    }
    request->budget_bytes = bytes;
    request->rules.expert_types = find_expert_types;
    struct conversion_plan chosen;
    if (!conversion_plan_make(&chosen, source, &request->rules, work, err)) {
        return false;
    }
    conversion_plan_free(plan);
    *plan = chosen;
    return expert_budget_bytes(plan) <= bytes ||
           error_set(err, "--tensor makes the experts larger than --expert-budget allows");
}

/* ---- carrying out ---- */

/* What compression leaves is known afterwards only. */
static bool has_room(const struct conversion_request *request, const struct conversion_plan *plan,
                     struct error *err)
{
    struct model_file file;
    if (request->options.compress != COMPRESS_NONE) {
        return true;
    }
    if (!conversion_open_planned(plan, &request->options, &file, err)) {
        return false;
    }
    uint64_t bytes = file.map.bytes;
    model_file_close(&file);
    return disk_space_suffices(request->output, bytes, err);
}

static bool carry_out(const struct conversion_request *request, const struct choices *choices,
                      const struct conversion_plan *plan, struct conversion_work *work,
                      struct error *err)
{
    struct progress progress = {.title = request->output};
    uint64_t file_bytes = 0;
    if (request->importance) {
        conversion_report_importance(&choices->weights);
    }
    if (request->expert_budget) {
        conversion_report_budget(&choices->budget, request->budget_bytes);
    }
    conversion_report_requantised(plan, request->tool);
    if (request->dry_run) {
        return conversion_report_plan(plan, request->output, &request->options, err);
    }
    work->progress_context = &progress;
    bool ok = has_room(request, plan, err) &&
              conversion_run(plan, request->output, &request->options, work, &file_bytes, err);
    progress_finish(&progress);
    if (ok) {
        conversion_report_done(plan, request->output, file_bytes, progress_seconds(&progress));
    }
    return ok;
}

static bool convert(struct conversion_request *request, struct source *source,
                    struct choices *choices, struct thread_pool *pool, struct error *err)
{
    struct progress planning = {.title = "planning"};
    struct conversion_work work = {
        .pool = pool, .progress = interrupt_progress, .progress_context = &planning};
    struct conversion_plan plan;
    if (!source_text_attach(source, err) || !read_importance(request, source, choices, err) ||
        !conversion_plan_make(&plan, source, &request->rules, &work, err)) {
        return false;
    }
    bool ok = apply_budget(request, choices, &plan, &work, err);
    progress_finish(&planning);
    ok = ok && carry_out(request, choices, &plan, &work, err);
    conversion_plan_free(&plan);
    return ok;
}

int conversion_request_run(struct conversion_request *request, const struct usage *usage, int argc,
                           char **argv)
{
    struct error err;
    char **arguments;
    uint32_t n_arguments;
    int status = options_parse(usage, argc, argv, &arguments, &n_arguments);
    if (status < 0) {
        request->input = arguments[0];
        request->output = arguments[1];
        status = understand(request);
    }
    if (status >= 0) {
        return status;
    }
    interrupt_catch();
    struct choices choices = {0};
    struct source *source = source_open(request->input, &err);
    struct thread_pool *pool = source ? thread_pool_create(request->threads, &err) : NULL;
    bool ok = pool && convert(request, source, &choices, pool, &err);
    expert_budget_free(&choices.budget);
    importance_weights_free(&choices.weights);
    importance_free(&choices.importance);
    thread_pool_destroy(&pool);
    source_close(&source);
    return ok ? 0 : tool_fail(request->tool, err.text);
}
