/* Small kernels that find out how fast a device is (shaders/peak_*.comp), and how long it takes for
 * them. Used where a choice hangs on it (vk_import) and to tell people (vk_peaks).
 *
 * Work grows until it takes long enough to be timed and never beyond a fraction of a second, so
 * that this ends soon on a device of any speed.
 */
#pragma once

#include "engine/vk/vk_internal.h"
#include "shaders/peak_args.h"

enum vk_probe_kernel { PROBE_READ, PROBE_STEP, PROBE_F32, PROBE_F16, PROBE_INT8, PROBE_KERNELS };

extern const struct vk_shader vk_probe_shaders[PROBE_KERNELS];
/* Whether the device has the tier that a kernel needs. */
bool vk_probe_has(const struct vk_caps *caps, enum vk_probe_kernel kernel);

struct vk_probe {
    struct vk_backend *backend;
    VkPipeline pipelines[PROBE_KERNELS]; /* compiled when first needed */
    VkCommandBuffer commands;
    struct vk_stopwatch stopwatch;
    struct buffer sink; /* what the kernels write */
};

bool vk_probe_init(struct vk_backend *backend, struct vk_probe *probe, struct error *err);
void vk_probe_free(struct vk_probe *probe);

/* Seconds of `count` dispatches of so many work-groups of 64 with these arguments (y is set here),
 * with a barrier after each if `dependent`. */
bool vk_probe_dispatch(struct vk_probe *probe, enum vk_probe_kernel kernel,
                       const struct peak_args *args, uint32_t groups, uint32_t count,
                       bool dependent, double *seconds, struct error *err);
/* Seconds of n ops that have this plan and its pipeline, one after the other. */
bool vk_probe_ops(struct vk_probe *probe, VkPipeline pipeline, const struct vk_plan *plan,
                  const struct op *ops, uint32_t n, double *seconds, struct error *err);
/* Bytes a second of shaders that read [address, address + bytes) again and again; a power of two,
 * at least 4096. */
bool vk_probe_read(struct vk_probe *probe, uint64_t address, uint64_t bytes, double *rate,
                   struct error *err);
/* Operations a second (a multiply-add is two) of PROBE_F32, PROBE_F16 or PROBE_INT8. */
bool vk_probe_compute(struct vk_probe *probe, enum vk_probe_kernel kernel, double *rate,
                      struct error *err);
/* Bytes a second of the device's copies from one buffer to another. */
bool vk_probe_copy(struct vk_probe *probe, const struct buffer *from, const struct buffer *to,
                   uint64_t bytes, double *rate, struct error *err);
/* Fills a buffer with a word: memory that nobody has written may be no memory at all. */
bool vk_probe_fill(struct vk_probe *probe, const struct buffer *buffer, uint32_t word,
                   struct error *err);
/* Seconds from the submit of an empty command buffer to the host's seeing it done. */
bool vk_probe_submit(struct vk_probe *probe, double *seconds, struct error *err);
