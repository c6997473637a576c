#include "engine/vk/vk_driver_faults.h"

#include <stdbool.h>
#include <stddef.h>

#include <vulkan/vulkan_core.h>

#include "engine/vk/vk_caps.h"

#define TIER(tier) (1u << VK_TIER_##tier)

enum {
    VENDOR_NVIDIA = 0x10DE,
    VENDOR_INTEL = 0x8086,
    VENDOR_ARM = 0x13B5,
    VENDOR_QUALCOMM = 0x5143
};

/* VK_DRIVER_ID_MESA_HONEYKRISP, which older headers lack. */
#define DRIVER_ID_HONEYKRISP 26

/* Sources are issues of llama.cpp (ggml-org), whose Vulkan back end meets the most drivers. Where
 * an issue names no version that is mended, all versions count. */
static const struct vk_driver_fault faults[] = {
    /* TU102 to TU116; the numbers of Turing's chips lie in two ranges. */
    {VENDOR_NVIDIA, 0x1E02, 0x1FFF, VK_DRIVER_ID_NVIDIA_PROPRIETARY, 0, 0, TIER(cooperative_matrix),
     "the compiler for Turing breaks cooperative matrices in attention (ggml-vulkan switches them "
     "off there)"},
    {VENDOR_NVIDIA, 0x2182, 0x21D1, VK_DRIVER_ID_NVIDIA_PROPRIETARY, 0, 0, TIER(cooperative_matrix),
     "the compiler for Turing breaks cooperative matrices in attention (ggml-vulkan switches them "
     "off there)"},
    /* Lunar Lake */
    {VENDOR_INTEL, 0x64A0, 0x64A0, VK_DRIVER_ID_INTEL_PROPRIETARY_WINDOWS, 0, 0,
     TIER(cooperative_matrix) | TIER(integer_dot),
     "Arc 140V answers with garbage under the Windows driver (llama.cpp #28648)"},
    {VENDOR_ARM, 0, 0, VK_DRIVER_ID_ARM_PROPRIETARY, 0, 0,
     TIER(subgroup_arithmetic) | TIER(float16),
     "Mali fails many checks and gives NaN with subgroups of 16 and half floats (llama.cpp #23241, "
     "#26921, #28637)"},
    {VENDOR_QUALCOMM, 0, 0, VK_DRIVER_ID_QUALCOMM_PROPRIETARY, 0, 0,
     TIER(subgroup_arithmetic) | TIER(float16) | TIER(integer_dot),
     "Adreno's compiler makes gibberish of kernels above the floor (llama.cpp #8965, #16881)"},
    {0, 0, 0, DRIVER_ID_HONEYKRISP, 0, 0, TIER(subgroup_arithmetic),
     "Apple GPUs under Asahi compute wrongly with subgroup arithmetic (llama.cpp #16188, #17106)"},
    {0, 0, 0, VK_DRIVER_ID_MOLTENVK, 0, 0, TIER(float16),
     "MoltenVK gives infinities for the sigmoid of half floats (llama.cpp)"},
};

static bool in_range(uint32_t value, uint32_t first, uint32_t last)
{
    return (first == 0 && last == 0) || (value >= first && value <= last);
}

const struct vk_driver_fault *vk_driver_faults_next(const struct vk_driver_key *key,
                                                    uint32_t *index)
{
    while (*index < sizeof(faults) / sizeof(faults[0])) {
        const struct vk_driver_fault *fault = &faults[(*index)++];
        if ((fault->vendor_id == 0 || fault->vendor_id == key->vendor_id) &&
            (fault->driver_id == 0 || fault->driver_id == key->driver_id) &&
            in_range(key->device_id, fault->first_device, fault->last_device) &&
            in_range(key->driver_version, fault->first_version, fault->last_version)) {
            return fault;
        }
    }
    return NULL;
}
