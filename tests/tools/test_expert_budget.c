/* Types of experts within a size: the size is kept, whatever it is; those used more never have
 * fewer bits when all else is equal; the same input gives the same types; and the plan made from
 * them is what was promised. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/conversion.h"
#include "engine/model/expert_budget.h"
#include "tests/check.h"
#include "tests/tools/tiny_checkpoint.h"

#define EXPERTS 6
#define LAYERS 2

struct bench {
    struct source *source;
    struct importance importance;
    struct importance_weights weights;
    struct conversion_plan plan;
};

/* Every expert the same, so that only its use tells them apart. */
static void make_alike(void *context, struct tiny_tensor *tensor)
{
    const struct tiny_checkpoint *tiny = context;
    char *expert = strstr(tensor->name, ".experts.");
    if (expert) {
        char name[128];
        const char *matrix = strchr(expert + 9, '.');
        snprintf(name, sizeof(name), "model.layers.0.mlp.experts.0%s", matrix);
        tiny_checkpoint_values(tiny, name, 2, tensor->shape[0], tensor->shape[1], tensor->values);
    }
}

static const float usage[LAYERS][EXPERTS] = {{10, 400, 3, 1000, 90, 0}, {50, 50, 1, 700, 2, 20}};

static void add(struct importance *importance, uint32_t layer, const char *part, uint64_t n_counts)
{
    float sums[EXPERTS * 256];
    char name[64];
    struct error err;
    for (uint32_t i = 0; i < EXPERTS * 256; i++) {
        sums[i] = usage[layer][i / 256] * (float)(1 + i % 256 % 7);
    }
    snprintf(name, sizeof(name), "blk.%u.ffn_%s_exps.weight", layer, part);
    cr_assert(importance_add(importance, name, (uint64_t)EXPERTS * 256, n_counts, sums,
                             usage[layer], &err));
}

static void open_bench(struct bench *b, uint32_t ffn, bool alike, uint64_t n_counts)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3MoeForCausalLM");
    struct error err = {""};
    struct importance made = {0};
    tiny.hidden = 256;
    tiny.expert_ffn = ffn;
    tiny.experts = EXPERTS;
    tiny.layers = LAYERS;
    tiny.change = alike ? make_alike : NULL;
    struct tiny_checkpoint values = tiny;
    values.change = NULL;
    tiny.change_context = &values;
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        add(&made, layer, "gate", n_counts);
        add(&made, layer, "up", n_counts);
        if (ffn == 256) {
            add(&made, layer, "down", n_counts);
        }
    }
    cr_assert(importance_write(&made, check_path(check_temp_dir(), "use.gguf"), &err));
    importance_free(&made);
    b->source = source_open(tiny_checkpoint_write(&tiny, "bench"), &err);
    cr_assert(b->source, "%s", err.text);
    cr_assert(importance_read(&b->importance, check_path(check_temp_dir(), "use.gguf"), &err));
    cr_assert(importance_weights_make(&b->weights, &b->importance, b->source, &err), "%s",
              err.text);
    struct conversion_rules rules = {.mix = type_mix_find("q4_k")};
    cr_assert(conversion_plan_make(&b->plan, b->source, &rules, NULL, &err), "%s", err.text);
}

static void close_bench(struct bench *b)
{
    conversion_plan_free(&b->plan);
    importance_weights_free(&b->weights);
    importance_free(&b->importance);
    source_close(&b->source);
}

/* The budget's types as a plan: exactly as many bytes as it says. */
static void check_plan(const struct bench *b, struct expert_budget *budget, uint64_t allowed)
{
    struct error err = {""};
    struct conversion_plan plan;
    struct conversion_rules rules = {
        .mix = type_mix_find("q4_k"), .expert_types = expert_budget_types, .context = budget};
    cr_assert(conversion_plan_make(&plan, b->source, &rules, NULL, &err), "%s", err.text);
    cr_expect_eq(expert_budget_bytes(&plan), budget->bytes);
    cr_expect_leq(budget->bytes, allowed);
    for (uint64_t i = 0; i < plan.n_items; i++) {
        const struct conversion_item *item = &plan.items[i];
        if (!item->row) {
            const struct expert_level *level =
                &budget->levels[budget->chosen[item->layer * EXPERTS + item->expert]];
            cr_expect(item->type == level->type && item->down_type == level->down_type);
        }
    }
    conversion_plan_free(&plan);
}

Test(expert_budget, every_size_is_kept)
{
    struct bench b = {0};
    struct error err = {""};
    open_bench(&b, 256, false, EXPERTS);
    uint64_t base = expert_budget_bytes(&b.plan), least = 0, last = 0;
    double error = 0;
    for (uint64_t percent = 60; percent <= 220; percent += 5) {
        struct expert_budget budget, again;
        uint64_t allowed = base * percent / 100;
        if (!expert_budget_make(&budget, &b.plan, &b.weights, allowed, NULL, &err)) {
            cr_assert_eq(last, 0, "%s", err.text);
            cr_expect(strstr(err.text, "too small") && strstr(err.text, "q2_k"), "%s", err.text);
            continue;
        }
        least = least ? least : allowed;
        check_plan(&b, &budget, allowed);
        cr_expect_geq(budget.bytes, last, "%zu %%", (size_t)percent);
        cr_expect(last == 0 || budget.error <= error);
        /* Less is left over than the largest step of one expert. */
        cr_expect(budget.bytes == LAYERS * EXPERTS * budget.levels[budget.n_levels - 1].bytes ||
                  allowed - budget.bytes < budget.levels[budget.n_levels - 1].bytes);
        cr_assert(expert_budget_make(&again, &b.plan, &b.weights, allowed, NULL, &err));
        cr_expect_arr_eq(again.chosen, budget.chosen, LAYERS * EXPERTS);
        last = budget.bytes;
        error = budget.error;
        expert_budget_free(&again);
        expert_budget_free(&budget);
    }
    cr_expect_gt(least, base * 60 / 100);
    cr_expect_gt(last, base);
    close_bench(&b);
}

Test(expert_budget, threads_change_nothing)
{
    struct bench b = {0};
    struct error err = {""};
    struct expert_budget alone, together;
    open_bench(&b, 256, false, EXPERTS);
    struct conversion_work work = {.pool = thread_pool_create(3, &err)};
    uint64_t allowed = expert_budget_bytes(&b.plan);
    cr_assert(expert_budget_make(&alone, &b.plan, &b.weights, allowed, NULL, &err));
    cr_assert(expert_budget_make(&together, &b.plan, &b.weights, allowed, &work, &err));
    cr_expect_arr_eq(alone.chosen, together.chosen, LAYERS * EXPERTS);
    cr_expect_eq(alone.error, together.error);
    expert_budget_free(&alone);
    expert_budget_free(&together);
    thread_pool_destroy(&work.pool);
    close_bench(&b);
}

Test(expert_budget, more_use_never_means_fewer_bits)
{
    struct bench b = {0};
    struct error err = {""};
    struct expert_budget budget;
    open_bench(&b, 256, true, EXPERTS);
    cr_assert(
        expert_budget_make(&budget, &b.plan, &b.weights, expert_budget_bytes(&b.plan), NULL, &err),
        "%s", err.text);
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        uint8_t least = 255, most = 0;
        for (uint32_t i = 0; i < EXPERTS; i++) {
            uint8_t level = budget.chosen[layer * EXPERTS + i];
            least = level < least ? level : least;
            most = level > most ? level : most;
            for (uint32_t k = 0; k < EXPERTS; k++) {
                cr_expect(usage[layer][i] <= usage[layer][k] ||
                              level >= budget.chosen[layer * EXPERTS + k],
                          "layer %u: expert %u, used %g times, has level %u", layer, i,
                          (double)usage[layer][i], level);
            }
        }
        cr_expect_lt(least, most, "layer %u: all experts have the same types", layer);
    }
    expert_budget_free(&budget);
    close_bench(&b);
}

/* Rows of 64: no k type fits, and the ladder is of blocks of 32. */
Test(expert_budget, narrow_experts_have_a_ladder_too)
{
    struct bench b = {0};
    struct error err = {""};
    struct expert_budget budget;
    open_bench(&b, 64, false, EXPERTS);
    cr_assert(
        expert_budget_make(&budget, &b.plan, &b.weights, expert_budget_bytes(&b.plan), NULL, &err),
        "%s", err.text);
    check_plan(&b, &budget, expert_budget_bytes(&b.plan));
    cr_expect_gt(budget.n_levels, 3);
    for (uint32_t i = 0; i < budget.n_levels; i++) {
        cr_expect_eq(dtype_info(budget.levels[i].down_type)->block_elements, 32);
    }
    expert_budget_free(&budget);
    close_bench(&b);
}

Test(expert_budget, use_must_be_known)
{
    struct bench b = {0};
    struct error err = {""};
    struct expert_budget budget;
    open_bench(&b, 256, false, 1); /* one count for all experts together */
    cr_expect_not(expert_budget_make(&budget, &b.plan, &b.weights, 1 << 30, NULL, &err));
    cr_expect(strstr(err.text, "how often each expert") && strstr(err.text, "use.gguf"), "%s",
              err.text);
    close_bench(&b);
}

Test(expert_budget, dense_models_have_nothing_to_budget)
{
    struct tiny_checkpoint tiny = tiny_checkpoint_of("Qwen3ForCausalLM");
    struct error err = {""};
    struct expert_budget budget;
    struct conversion_plan plan;
    struct conversion_rules rules = {.mix = type_mix_find("q8_0")};
    struct importance importance = {0};
    struct importance_weights weights = {.importance = &importance};
    struct source *source = source_open(tiny_checkpoint_write(&tiny, "dense"), &err);
    cr_assert(source && conversion_plan_make(&plan, source, &rules, NULL, &err), "%s", err.text);
    cr_expect_eq(expert_budget_bytes(&plan), 0);
    cr_expect_not(expert_budget_make(&budget, &plan, &weights, 1 << 30, NULL, &err));
    cr_expect(strstr(err.text, "nothing to budget"), "%s", err.text);
    conversion_plan_free(&plan);
    source_close(&source);
}
