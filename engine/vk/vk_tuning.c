#include "engine/vk/vk_tuning.h"

#include <assert.h>

const struct vk_tuning_row vk_tuning_rows[VK_TUNING_COUNT] = {
#define X(name, smallest, largest, meaning) {#name, meaning, smallest, largest},
    VK_TUNINGS(X)
#undef X
};

#define ANY_VENDOR 0

/* The first row that fits. */
static const struct {
    uint32_t vendor_id;
    bool software;
    struct vk_tuning tuning;
} classes[] = {
    /* A CPU computes the lanes of a team one after the other: few of them save the sum at the end
     * (lavapipe: 1.8 times as fast with 2 as with 32, SwiftShader 2.2 times with 1). Work-groups
     * that find nothing to do cost more than idle cores (a short answer of the demo model takes 2.7
     * times the processor's time with 256 as with 8). Products with many vectors cost lavapipe a
     * tenth of the time in the registers of eight lanes (q4_0: a twentieth with int8), so that few
     * tokens gain as well. */
    {ANY_VENDOR,
     true,
     {.matvec_group = 128,
      .matvec_lanes = 2,
      .matvec_groups = 1,
      .matvec_rows = 8,
      .matvec_arithmetic = 4,
      .matmul_arithmetic = 4,
      .matmul_lane_vectors = 8,
      .matmul_tokens = 64,
      .expert_few = 8,
      .expert_wide = 64,
      .attention_groups = 8}},
    {ANY_VENDOR,
     false,
     {.matvec_group = 128,
      .matvec_lanes = 32,
      .matvec_groups = 512,
      .matvec_rows = 2,
      .matvec_arithmetic = 1,
      .matmul_arithmetic = 8,
      .matmul_lane_vectors = 4,
      .matmul_tokens = 64,
      .expert_few = 32,
      .expert_wide = 64,
      .attention_groups = 256}},
};

struct vk_tuning vk_tuning_of_class(uint32_t vendor_id, bool software)
{
    uint32_t i = 0;
    while (classes[i].software != software ||
           (classes[i].vendor_id != ANY_VENDOR && classes[i].vendor_id != vendor_id)) {
        i++;
        assert(i < sizeof(classes) / sizeof(classes[0]));
    }
    return classes[i].tuning;
}

uint32_t *vk_tuning_value(struct vk_tuning *tuning, uint32_t row)
{
    uint32_t *const values[VK_TUNING_COUNT] = {
#define X(name, ...) &tuning->name,
        VK_TUNINGS(X)
#undef X
    };
    assert(row < VK_TUNING_COUNT);
    return values[row];
}

bool vk_tuning_valid(const struct vk_tuning *tuning)
{
    struct vk_tuning copy = *tuning;
    for (uint32_t i = 0; i < VK_TUNING_COUNT; i++) {
        uint32_t value = *vk_tuning_value(&copy, i);
        const struct vk_tuning_row *row = &vk_tuning_rows[i];
        if (value < row->smallest || value > row->largest || (value & (value - 1)) != 0) {
            return false;
        }
    }
    return true;
}
