/* What the small files of the cache folder say, looked at without a device. The container
 * (engine/base/cache_file.h) has been checked; its content is no more trusted than that of any
 * file.
 *
 * All return false, and leave the result alone, unless the data are what this version writes.
 */
#pragma once

#include "engine/vk/vk.h"

/* Little-endian u32: tiers_off, unusable (0 or 1), n_checks. */
#define VK_KEPT_VERDICT_WORDS 3
bool vk_kept_verdict(const void *data, uint64_t bytes, struct vk_verdict *verdict);

/* A struct vk_tuning, every value of which its row allows. */
bool vk_kept_tuning(const void *data, uint64_t bytes, struct vk_tuning *tuning);

/* A byte, 0 or 1: whether the device reads imported memory of the host as fast as its own. */
bool vk_kept_import(const void *data, uint64_t bytes, bool *pays);
