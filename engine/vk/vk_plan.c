#include "engine/vk/vk_plan.h"

#include <assert.h>
#include <string.h>

#include "shaders/vk_shader_table.h"

#define TIER_NONE 0u
#define X(tier, name) TIER_##tier = 1u << VK_TIER_##tier,
enum { VK_TIERS(X) };
#undef X
#define X(name, tier) {#name, spirv_##name, sizeof(spirv_##name), TIER_##tier},
const struct vk_shader vk_shaders[] = {VK_SHADERS(X)};
#undef X
const uint32_t vk_n_shaders = sizeof(vk_shaders) / sizeof(vk_shaders[0]);

/* A row of DTYPES that shaders/meson.build does not list does not compile. */
enum {
#define X(NAME) HAS_SHADERS_##NAME,
    VK_WEIGHT_TYPES(X)
#undef X
};
#define X(NAME, ...) _Static_assert(HAS_SHADERS_##NAME >= 0, "");
DTYPES(X)
#undef X

/* The name in one of two tables that is "<kernel>_<type><suffix>", or NULL. */
static const char *find_in(const struct vk_shader *shaders, uint32_t n_shaders, const char *kernel,
                           enum dtype dtype, const char *suffix)
{
    size_t n = strlen(kernel), n_type = strlen(dtype_name(dtype));
    for (uint32_t i = 0; i < n_shaders; i++) {
        const char *name = shaders[i].name;
        if (strncmp(name, kernel, n) == 0 && name[n] == '_' &&
            strncmp(name + n + 1, dtype_name(dtype), n_type) == 0 &&
            strcmp(name + n + 1 + n_type, suffix) == 0) {
            return name;
        }
    }
    return NULL;
}

const char *vk_plan_find(const char *kernel, enum dtype dtype, const char *suffix)
{
    return find_in(vk_shaders, vk_n_shaders, kernel, dtype, suffix);
}

const char *vk_plan_find_archived(const char *kernel, enum dtype dtype, const char *suffix)
{
    uint32_t n;
    const struct vk_shader *shaders = vk_archive_shaders(&n);
    return find_in(shaders, n, kernel, dtype, suffix);
}

const char *vk_plan_variant(const char *kernel, enum dtype dtype)
{
    const char *name = vk_plan_find(kernel, dtype, "");
    assert(name && "no shader for this type");
    return name;
}

void vk_plan_begin(struct vk_plan *plan, const char *shader, uint32_t group_size)
{
    *plan = (struct vk_plan){.shader = shader, .groups = {1, 1, 1}};
    plan->constants[plan->n_constants++] = group_size;
}

void vk_plan_constant(struct vk_plan *plan, uint32_t value)
{
    assert(plan->n_constants < VK_MAX_CONSTANTS);
    plan->constants[plan->n_constants++] = value;
}

bool vk_plan_eight_lanes(const struct vk_caps *caps)
{
    return caps->tuning.matvec_rows >= 8 && caps->eight_lanes && caps->subgroup_arithmetic &&
           caps->int64;
}

uint32_t vk_plan_group_size(const struct vk_caps *caps, uint32_t wanted)
{
    uint32_t limit = caps->max_invocations < caps->max_group_size_x ? caps->max_invocations
                                                                    : caps->max_group_size_x;
    while (wanted > limit) {
        wanted /= 2;
    }
    return wanted;
}

void vk_plan_groups(struct vk_plan *plan, const struct vk_caps *caps, uint32_t x, uint32_t y)
{
    assert(x <= caps->max_groups[0] && y <= caps->max_groups[1]);
    plan->groups[0] = x;
    plan->groups[1] = y;
    plan->groups[2] = 1;
}

void vk_plan_fold(struct vk_plan *plan, const struct vk_caps *caps, uint32_t dimension,
                  uint32_t count)
{
    uint32_t folds = vk_plan_divide_up(count, caps->max_groups[dimension]);
    assert(folds <= caps->max_groups[dimension + 1]);
    plan->groups[dimension] = vk_plan_divide_up(count, folds);
    plan->groups[dimension + 1] = folds;
}

void vk_plan_items(struct vk_plan *plan, const struct vk_caps *caps, const char *shader,
                   uint32_t wanted, uint32_t items, uint32_t tokens)
{
    uint32_t size = vk_plan_group_size(caps, wanted);
    vk_plan_begin(plan, shader, size);
    vk_plan_groups(plan, caps, vk_plan_divide_up(items, size), tokens);
}
