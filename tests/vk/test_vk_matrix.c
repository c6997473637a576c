/* Cooperative matrices, without a device: which of those that vendors' drivers list are used, and
 * that the subgroups of a work-group share every tile out without a gap. */
#include <criterion/criterion.h>

#include "engine/vk/vk_cooperative_matrix.h"
#include "engine/vk/vk_matrix.h"

enum { INT8 = 3, INT32 = 5, BFLOAT16 = 1000141000, WORKGROUP = 2 };

static struct vk_cooperative_matrix_properties matrix(uint32_t m, uint32_t n, uint32_t k,
                                                      int32_t in, int32_t out)
{
    return (struct vk_cooperative_matrix_properties){.m = m,
                                                     .n = n,
                                                     .k = k,
                                                     .a_type = in,
                                                     .b_type = in,
                                                     .c_type = out,
                                                     .result_type = out,
                                                     .scope = VK_SCOPE_SUBGROUP};
}

#define LIST(...) \
    (const struct vk_cooperative_matrix_properties[]) \
    { \
        __VA_ARGS__ \
    }
#define FLOAT16(m, n, k) matrix(m, n, k, VK_COMPONENT_FLOAT16, VK_COMPONENT_FLOAT32)

static void expect_choice(const char *vendor, const struct vk_cooperative_matrix_properties *list,
                          uint32_t n_listed, uint32_t m, uint32_t n, uint32_t k)
{
    struct vk_matrix_shape shape = {0};
    cr_expect_eq(vk_matrix_choose(list, n_listed, &shape), m > 0, "%s", vendor);
    cr_expect(shape.m == m && shape.n == n && shape.k == k, "%s: %u x %u x %u", vendor, shape.m,
              shape.n, shape.k);
}

Test(vk_matrix, what_drivers_list)
{
    expect_choice("AMD",
                  LIST(matrix(16, 16, 16, VK_COMPONENT_FLOAT16, VK_COMPONENT_FLOAT16),
                       FLOAT16(16, 16, 16), matrix(16, 16, 16, INT8, INT32)),
                  3, 16, 16, 16);
    expect_choice("NVIDIA", LIST(FLOAT16(16, 8, 8), FLOAT16(16, 8, 16), FLOAT16(16, 16, 16)), 3, 16,
                  16, 16);
    expect_choice("Intel, Arc A", LIST(FLOAT16(8, 8, 16), matrix(8, 8, 32, INT8, INT32)), 2, 8, 8,
                  16);
    expect_choice("Intel, Arc B",
                  LIST(FLOAT16(8, 16, 16), matrix(8, 16, 16, BFLOAT16, VK_COMPONENT_FLOAT32)), 2, 8,
                  16, 16);
    expect_choice("lavapipe", LIST(FLOAT16(8, 8, 8)), 1, 8, 8, 8);
}

/* None that fits, or that does not fit a tile: no such tier, not another sum. */
Test(vk_matrix, what_cannot_be_used)
{
    struct vk_cooperative_matrix_properties of_workgroup = FLOAT16(16, 16, 16);
    of_workgroup.scope = WORKGROUP;
    struct vk_cooperative_matrix_properties saturating = FLOAT16(16, 16, 16);
    saturating.saturating = VK_TRUE;
    expect_choice("nothing", NULL, 0, 0, 0, 0);
    expect_choice("others",
                  LIST(of_workgroup, saturating,
                       matrix(16, 16, 16, VK_COMPONENT_FLOAT16, VK_COMPONENT_FLOAT16),
                       matrix(16, 16, 16, BFLOAT16, VK_COMPONENT_FLOAT32), FLOAT16(4, 16, 16),
                       FLOAT16(32, 16, 16), FLOAT16(16, 32, 16), FLOAT16(16, 16, 64),
                       FLOAT16(24, 16, 16), FLOAT16(0, 0, 0)),
                  10, 0, 0, 0);
}

static bool divides(uint32_t whole, uint32_t parts, uint32_t size)
{
    return parts > 0 && whole % parts == 0 && whole / parts >= size && whole / parts % size == 0;
}

Test(vk_matrix, every_tile_is_shared_out)
{
    for (uint32_t m = 8; m <= 16; m *= 2) {
        for (uint32_t n = 8; n <= 16; n *= 2) {
            for (uint32_t tokens = 16; tokens <= 64; tokens *= 2) {
                for (uint32_t subgroups = 1; subgroups <= tokens / 2; subgroups *= 2) {
                    struct vk_matrix_shape shape = {m, n, 16};
                    struct vk_matrix_share share = vk_matrix_share_tile(&shape, tokens, subgroups);
                    uint32_t matrices = 64 / m * (tokens / n);
                    cr_expect(divides(64, share.down, m) && divides(tokens, share.across, n),
                              "%u x %u of %u, %u subgroups", m, n, tokens, subgroups);
                    cr_expect_eq(share.down * share.across,
                                 subgroups < matrices ? subgroups : matrices, "nobody is idle");
                }
            }
        }
    }
}

/* Four subgroups load less in two rows of two than in one of four. */
Test(vk_matrix, few_loads)
{
    struct vk_matrix_share share =
        vk_matrix_share_tile(&(struct vk_matrix_shape){16, 16, 16}, 64, 4);
    cr_expect(share.down == 2 && share.across == 2);
}
