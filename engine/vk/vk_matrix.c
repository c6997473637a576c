#include "engine/vk/vk_matrix.h"

#include "engine/vk/vk_cooperative_matrix.h"

/* Of shaders/lib/tile_group.glsl, and the rows that are handed over at once. */
enum { TILE_ROWS = 64, TILE_PART = 16, TILE_COLUMNS = 32, TILE_FEWEST_TOKENS = 16 };

/* Smaller than 8 would be slower than no matrices. */
static bool is_size(uint32_t size, uint32_t largest)
{
    return size >= 8 && size <= largest && (size & (size - 1)) == 0;
}

static bool fits(const struct vk_cooperative_matrix_properties *p)
{
    return p->scope == VK_SCOPE_SUBGROUP && p->a_type == VK_COMPONENT_FLOAT16 &&
           p->b_type == VK_COMPONENT_FLOAT16 && p->c_type == VK_COMPONENT_FLOAT32 &&
           p->result_type == VK_COMPONENT_FLOAT32 && !p->saturating && is_size(p->m, TILE_PART) &&
           is_size(p->n, TILE_FEWEST_TOKENS) && is_size(p->k, TILE_COLUMNS);
}

bool vk_matrix_choose(const struct vk_cooperative_matrix_properties *list, uint32_t n,
                      struct vk_matrix_shape *shape)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (fits(&list[i]) && list[i].m * list[i].n * list[i].k > most) {
            *shape = (struct vk_matrix_shape){list[i].m, list[i].n, list[i].k};
            most = shape->m * shape->n * shape->k;
        }
    }
    return most > 0;
}

struct vk_matrix_share vk_matrix_share_tile(const struct vk_matrix_shape *shape,
                                            uint32_t tile_tokens, uint32_t n_subgroups)
{
    struct vk_matrix_share best = {1, 1};
    uint32_t best_loads = TILE_ROWS / shape->m + tile_tokens / shape->n;
    for (uint32_t across = 1; across <= n_subgroups && across <= tile_tokens / shape->n;
         across *= 2) {
        uint32_t down = n_subgroups / across;
        if (down > TILE_ROWS / shape->m) {
            down = TILE_ROWS / shape->m;
        }
        uint32_t loads = TILE_ROWS / shape->m / down + tile_tokens / shape->n / across;
        uint32_t busy = down * across, best_busy = best.down * best.across;
        if (busy > best_busy || (busy == best_busy && loads < best_loads)) {
            best = (struct vk_matrix_share){down, across};
            best_loads = loads;
        }
    }
    return best;
}
