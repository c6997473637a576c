#include "engine/model/virtual_model.h"

#include <stdlib.h>

#include "engine/base/threads.h"
#include "engine/model/conversion.h"

struct virtual_model {
    struct source *source;
    struct conversion_plan plan;
    struct thread_pool *pool;
};

static bool load_record(void *context, uint64_t record, void *destination, struct error *err)
{
    const struct virtual_model *model = context;
    return conversion_item_make(&model->plan, &model->plan.items[record], model->pool, destination,
                                err);
}

static void close_virtual(void *context)
{
    struct virtual_model *model = context;
    conversion_plan_free(&model->plan);
    source_close(&model->source);
    thread_pool_destroy(&model->pool);
    free(model);
}

bool virtual_model_open(struct model_file *file, struct source *source, const struct type_mix *mix,
                        uint32_t n_threads, struct error *err)
{
    struct conversion_rules rules = {.keep = !mix, .mix = mix};
    struct conversion_options options = {.compress = COMPRESS_NONE};
    struct virtual_model *model = calloc(1, sizeof(*model));
    if (!model) {
        source_close(&source);
        return error_set(err, "not enough memory to open a model");
    }
    model->source = source;
    model->pool = thread_pool_create(n_threads, err);
    if (!model->pool || !conversion_plan_make(&model->plan, source, &rules, NULL, err) ||
        !conversion_open_planned(&model->plan, &options, file, err)) {
        close_virtual(model);
        return false;
    }
    file->origin = (struct model_file_origin){load_record, close_virtual, model};
    return true;
}
