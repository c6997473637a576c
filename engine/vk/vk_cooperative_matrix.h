/* Of VK_KHR_cooperative_matrix what we ask and switch on, spelled out: the Vulkan headers of many
 * systems are older than the extension (Vulkan specification, 1.3.255). */
#pragma once

#include "engine/vk/vk_loader.h"

#define VK_COOPERATIVE_MATRIX_EXTENSION "VK_KHR_cooperative_matrix"
#define VK_COOPERATIVE_MATRIX_FEATURES_TYPE ((VkStructureType)1000506000)
#define VK_COOPERATIVE_MATRIX_PROPERTIES_TYPE ((VkStructureType)1000506001)

/* VkComponentTypeKHR and VkScopeKHR. */
enum { VK_COMPONENT_FLOAT16 = 0, VK_COMPONENT_FLOAT32 = 1, VK_SCOPE_SUBGROUP = 3 };

/* VkPhysicalDeviceCooperativeMatrixFeaturesKHR */
struct vk_cooperative_matrix_features {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperative_matrix, robust_buffer_access;
};

/* VkCooperativeMatrixPropertiesKHR: result[m][n] = a[m][k] b[k][n] + c[m][n]. */
struct vk_cooperative_matrix_properties {
    VkStructureType sType;
    void *pNext;
    uint32_t m, n, k;
    int32_t a_type, b_type, c_type, result_type;
    VkBool32 saturating;
    int32_t scope;
};

/* vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR */
typedef VkResult(VKAPI_PTR *vk_get_cooperative_matrix_properties)(
    VkPhysicalDevice device, uint32_t *n, struct vk_cooperative_matrix_properties *properties);
