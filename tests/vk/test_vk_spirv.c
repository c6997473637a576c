/* The SPIR-V of every shader in the table is valid for Vulkan 1.2 (spirv-val), and asks for nothing
 * that a device of its tier may lack. */
#include <criterion/criterion.h>
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "engine/vk/vk_ops.h"
#include "engine/vk/vk_probe.h"
#include "tests/check.h"

#define SPIRV_MAGIC 0x07230203
#define SPIRV_OP_CAPABILITY 17

/* SPIR-V specification, section 3.31. */
#define CAPABILITY_SHADER 1
#define CAPABILITY_PHYSICAL_STORAGE_BUFFER_ADDRESSES 5347
/* SPV_KHR_integer_dot_product. */
#define CAPABILITY_DOT_PRODUCT_INPUT_4X8_BIT_PACKED 6018
#define CAPABILITY_DOT_PRODUCT 6019
#define CAPABILITY_FLOAT16 9
#define CAPABILITY_INT64 11
#define CAPABILITY_GROUP_NON_UNIFORM 61
#define CAPABILITY_GROUP_NON_UNIFORM_BALLOT 64
#define CAPABILITY_GROUP_NON_UNIFORM_SHUFFLE 65
/* SPV_KHR_cooperative_matrix, and what its matrices are loaded by. */
#define CAPABILITY_COOPERATIVE_MATRIX 6022
#define CAPABILITY_VULKAN_MEMORY_MODEL 5345

/* Tiers of which one must be there for a capability; none: the floor has it. */
static const struct {
    uint32_t capability, tier;
} capabilities[] = {
    {CAPABILITY_SHADER, 0},
    {CAPABILITY_PHYSICAL_STORAGE_BUFFER_ADDRESSES, 0},
    {CAPABILITY_FLOAT16, 1u << VK_TIER_float16 | 1u << VK_TIER_cooperative_matrix},
    {CAPABILITY_INT64, 1u << VK_TIER_int64},
    {CAPABILITY_GROUP_NON_UNIFORM,
     1u << VK_TIER_cooperative_matrix | 1u << VK_TIER_subgroup_arithmetic},
    {CAPABILITY_GROUP_NON_UNIFORM_BALLOT, 1u << VK_TIER_eight_lanes},
    {CAPABILITY_GROUP_NON_UNIFORM_SHUFFLE, 1u << VK_TIER_subgroup_arithmetic},
    {CAPABILITY_COOPERATIVE_MATRIX, 1u << VK_TIER_cooperative_matrix},
    {CAPABILITY_VULKAN_MEMORY_MODEL, 1u << VK_TIER_cooperative_matrix},
    {CAPABILITY_DOT_PRODUCT_INPUT_4X8_BIT_PACKED, 1u << VK_TIER_integer_dot},
    {CAPABILITY_DOT_PRODUCT, 1u << VK_TIER_integer_dot},
};

static bool may_need(const struct vk_shader *shader, uint32_t capability)
{
    for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
        if (capabilities[i].capability == capability) {
            return !capabilities[i].tier || (shader->tiers & capabilities[i].tier);
        }
    }
    return false;
}

static void expect_its_capabilities(const struct vk_shader *shader)
{
    size_t n_words = shader->n_bytes / 4;
    cr_assert_gt(n_words, 5, "%s", shader->name);
    cr_assert_eq(shader->words[0], SPIRV_MAGIC, "%s", shader->name);
    for (size_t i = 5; i < n_words && (shader->words[i] & 0xFFFF) == SPIRV_OP_CAPABILITY;) {
        uint32_t capability = shader->words[i + 1];
        cr_expect(may_need(shader, capability),
                  "%s needs capability %u, which its tier does not have", shader->name, capability);
        i += shader->words[i] >> 16;
    }
}

Test(vk_spirv, nothing_above_the_tier)
{
    cr_assert_gt(vk_n_shaders, 0);
    for (uint32_t i = 0; i < vk_n_shaders; i++) {
        expect_its_capabilities(&vk_shaders[i]);
    }
}

/* (Their words are compared with their sources by tests/reference/cooperative_matrix.py.) */
Test(vk_spirv, the_archive_is_whole)
{
    uint32_t n;
    const struct vk_shader *shaders = vk_archive_shaders(&n);
    cr_assert_eq(n, 4 * 14, "four kernels, all types that f16 holds");
    for (uint32_t i = 0; i < n; i++) {
        expect_its_capabilities(&shaders[i]);
        cr_expect(strstr(shaders[i].name, "_cooperative_matrix"));
    }
}

Test(vk_spirv, names_are_unique)
{
    for (uint32_t i = 0; i < vk_n_shaders; i++) {
        for (uint32_t j = 0; j < i; j++) {
            cr_expect_str_neq(vk_shaders[i].name, vk_shaders[j].name);
        }
    }
}

/* Exit code of spirv-val on these bytes. */
static int validate(const char *program, const char *name, const void *words, size_t bytes)
{
    extern char **environ;
    char file[128];
    snprintf(file, sizeof(file), "%s.spv", name);
    const char *path = check_path(check_temp_dir(), file);
    cr_assert(check_write_file(path, words, bytes));
    char *arguments[] = {(char *)program, "--target-env", "vulkan1.2", (char *)path, NULL};
    pid_t process;
    int status;
    cr_assert_eq(posix_spawn(&process, program, NULL, NULL, arguments, environ), 0);
    while (waitpid(process, &status, 0) < 0) {
        cr_assert_eq(errno, EINTR);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(vk_spirv, every_shader_is_valid)
{
    const char *program = getenv("SPIRV_VAL");
    if (!program) {
        cr_skip("spirv-val is not installed");
    }
    for (uint32_t i = 0; i < vk_n_shaders; i++) {
        const struct vk_shader *shader = &vk_shaders[i];
        cr_expect_eq(validate(program, shader->name, shader->words, shader->n_bytes), 0, "%s",
                     shader->name);
    }
    for (uint32_t i = 0; i < PROBE_KERNELS; i++) {
        const struct vk_shader *shader = &vk_probe_shaders[i];
        cr_expect_eq(validate(program, shader->name, shader->words, shader->n_bytes), 0, "%s",
                     shader->name);
    }
    /* It would find a fault: the last instruction cut off. */
    cr_expect_neq(validate(program, "cut", vk_shaders[0].words, vk_shaders[0].n_bytes - 4), 0);
}
