/* What the files of the Vulkan back end share.
 *
 *     vk_loader    the function table                vk_memory    slabs and buffers
 *     vk_instance  instance, validation messages     vk_transfer  writes and reads, staging ring
 *     vk_physical  what a device is and can do       vk_pipeline  shaders made ready, on demand
 *     vk_pipeline_cache  what of these is kept for the next start
 *     vk_device    the device we run on, results     vk_command   submits, waiting, clock
 *     vk_pack      vectors packed for products       vk_archive   shaders kept packed
 *     vk_program   op lists, recorded                vk_segments  where they are cut
 *     vk_import    the host's memory, in place       vk_probe     kernels that measure
 *     vk_peaks     how fast the device is            vk_tune      better sizes of kernels, tried
 *     vk           struct backend_functions          vk_report    vk_compile_all
 *     vk_verdict   which tiers are used (vk_driver_faults: known faults; vk_kept: files read)
 *
 * And what needs no device:
 *
 *     vk_caps      limits and tiers                  vk_tuning    sizes of kernels
 *     vk_ops       how each op is dispatched         vk_plan      what plans are put together from
 *     vk_product   products among them               vk_plan_each  the plans of every shader
 *     vk_attention  how attention is cut up          vk_matrix    cooperative matrices that suit
 *
 * Order: everything we submit goes to one queue. Every command buffer ends with a barrier that
 * makes its writes visible to whatever comes after it, and to the host; so a submit needs to wait
 * for no other, and the host waits for a value of one timeline semaphore.
 *
 * Functions that return bool leave a sentence in err when they fail and clean up what they made.
 */
#pragma once

#include "engine/base/cache_file.h"
#include "engine/vk/vk.h"
#include "engine/vk/vk_caps.h"
#include "engine/vk/vk_loader.h"
#include "engine/vk/vk_ops.h"

#define VK_ADDRESS_ALIGN 256
#define VK_PUSH_BYTES 128

/* ---- vk_instance ---- */

struct vk_messages {
    uint32_t n;
    char first[1024];
};

/* Must not move while it lives: the validation layer holds the address of `messages`. */
struct vk_instance {
    struct vk_functions vk; /* device functions too, once there is a device */
    VkInstance handle;
    VkDebugUtilsMessengerEXT messenger;
    struct vk_messages messages;
};

/* A machine without any driver has an instance (handle NULL) without devices. */
bool vk_instance_create(struct vk_instance *instance, bool validation, struct error *err);
void vk_instance_destroy(struct vk_instance *instance);
bool vk_instance_devices(struct vk_instance *instance, VkPhysicalDevice devices[VK_MAX_DEVICES],
                         uint32_t *n, struct error *err);

/* ---- vk_physical ---- */

/* What files of the cache are tied to: this device with this version of this driver. No padding. */
struct vk_identity {
    uint32_t vendor_id, device_id, driver_version, api_version;
    uint8_t pipeline_cache[VK_UUID_SIZE], device[VK_UUID_SIZE], driver[VK_UUID_SIZE];
};

struct vk_physical {
    VkPhysicalDevice handle;
    struct vk_device_info info;
    struct vk_identity identity;
    uint32_t driver_id; /* VkDriverId */
    struct vk_caps caps;
    VkPhysicalDeviceMemoryProperties memory;
    uint64_t import_align;         /* of host memory, address and length; 0: cannot be imported */
    uint64_t max_allocation;       /* bytes of one allocation, and of one buffer */
    uint32_t queue_family;         /* the one we submit to */
    uint32_t timestamp_bits;       /* of its clock; 0: it has none */
    double timestamp_seconds;      /* of one tick */
    struct vk_matrix_shape matrix; /* of cooperative matrices, or 16 x 16 x 16 */
    uint32_t matrix_subgroup;
    bool unified; /* host and device share their memory */
    bool integer_dot_extension, executable_properties_extension, subgroup_size_extension;
    VkPhysicalDeviceFeatures features;
    VkPhysicalDeviceVulkan11Features features11;
    VkPhysicalDeviceVulkan12Features features12;
};

void vk_physical_inspect(const struct vk_functions *vk, VkInstance instance,
                         VkPhysicalDevice handle, struct vk_physical *physical);

/* ---- vk_device ---- */

struct vk_device {
    struct vk_instance instance;
    struct vk_physical physical;
    VkDevice handle;
    VkQueue queue;
    bool lost; /* then every call fails */
};

/* What a device is opened for: compiling needs less of it than running. */
enum vk_purpose { VK_TO_RUN, VK_TO_COMPILE };

bool vk_device_open(struct vk_device *device, uint32_t index, bool validation,
                    enum vk_purpose purpose, struct error *err);
/* The facts of a device that could be opened, without opening it. */
bool vk_device_inspect(uint32_t index, struct vk_physical *physical);
/* Everything submitted must have ended. */
void vk_device_close(struct vk_device *device);

/* True if the device still answers. */
bool vk_device_alive(const struct vk_device *device, struct error *err);
/* True if result is VK_SUCCESS; else the sentence says what we were doing ("allocate memory"). */
bool vk_device_check(struct vk_device *device, VkResult result, const char *doing,
                     struct error *err);

/* ---- vk_memory ---- */

struct vk_range {
    uint64_t offset, bytes;
};

/* One allocation with one buffer over it, from which buffers of one use are cut. Offsets count
 * from the first aligned address. */
struct vk_slab {
    VkDeviceMemory memory;
    VkBuffer handle;
    enum buffer_use use;
    uint32_t heap;
    uint64_t address;   /* of offset 0, aligned */
    uint64_t start;     /* of offset 0 in the VkBuffer */
    uint64_t bytes;     /* from offset 0 on */
    uint64_t allocated; /* from the device */
    uint8_t *mapped;    /* offset 0, NULL where the host does not look */
    uint32_t n_buffers;
    bool imported;         /* the host's memory, one buffer, not in the list of slabs */
    struct vk_range *free; /* sorted by offset, never adjacent */
    uint32_t n_free, free_capacity;
};

struct vk_memory {
    struct vk_slab **slabs;
    uint32_t n_slabs, capacity;
    uint64_t limit; /* 0: none */
    uint64_t used;  /* by buffers */
    bool force_staging;
};

struct vk_backend;

bool vk_memory_create_buffer(struct vk_backend *backend, uint64_t bytes, enum buffer_use use,
                             struct buffer *buffer, struct error *err);
void vk_memory_destroy_buffer(struct vk_backend *backend, struct buffer *buffer);
/* Bytes that may still be taken from the heap of device memory. */
uint64_t vk_memory_available(const struct vk_backend *backend);
/* Frees all slabs. */
void vk_memory_free(struct vk_backend *backend);

/* Allocates, binds and (if wanted) maps a buffer of exactly `bytes` of a memory type that suits the
 * use. `slab->free` stays empty. */
bool vk_memory_allocate(struct vk_backend *backend, uint64_t bytes, enum buffer_use use, bool map,
                        struct vk_slab *slab, struct error *err);
void vk_memory_release(struct vk_backend *backend, struct vk_slab *slab);

/* ---- vk_import ---- */

/* Whether memory of the host can be imported at all here. */
bool vk_import_possible(const struct vk_backend *backend);
/* Makes a buffer of `bytes` at `host`, in place; to be destroyed as others are. The pages it begins
 * and ends in are imported whole. */
bool vk_import(struct vk_backend *backend, const void *host, uint64_t bytes, struct buffer *buffer,
               struct error *err);
/* Whether weights should be imported rather than copied: the device has no memory of its own, and
 * its shaders read imported memory as fast as any (measured once, kept in the cache). */
bool vk_import_pays(struct vk_backend *backend);

/* ---- vk_transfer ---- */

#define VK_STAGING_SEGMENTS 4
#define VK_STAGING_SEGMENT_BYTES (UINT64_C(4) << 20)

/* The ring of host-visible segments that transfers to and from invisible memory go through. Made
 * when the first such transfer comes. */
struct vk_transfer {
    struct vk_slab staging;
    VkCommandBuffer commands[VK_STAGING_SEGMENTS];
    uint64_t values[VK_STAGING_SEGMENTS]; /* of the timeline, when the segment is free again */
    uint32_t next;
};

bool vk_transfer_write(struct vk_backend *backend, const struct buffer *buffer, uint64_t offset,
                       const void *source, uint64_t bytes, struct error *err);
bool vk_transfer_read(struct vk_backend *backend, const struct buffer *buffer, uint64_t offset,
                      void *destination, uint64_t bytes, struct error *err);
/* Gives the ring back, once what is under way has ended. */
void vk_transfer_free(struct vk_backend *backend);

/* ---- vk_pipeline ---- */

struct vk_pipeline {
    const struct vk_shader *shader;
    uint32_t n_constants;
    uint32_t constants[VK_MAX_CONSTANTS];
    uint32_t subgroup; /* as in struct vk_plan */
    VkPipeline handle;
};

struct vk_pipelines {
    VkPipelineLayout layout; /* of all pipelines: push constants, no descriptor sets */
    VkPipelineCache cache;
    const char *cache_folder; /* NULL: nothing is kept from one start to the next */
    struct vk_pipeline *table;
    uint32_t n, capacity;
};

/* The folder's name must outlive the pipelines. */
bool vk_pipelines_init(struct vk_device *device, struct vk_pipelines *pipelines,
                       const char *cache_folder, struct error *err);
void vk_pipelines_free(struct vk_device *device, struct vk_pipelines *pipelines);
/* The pipelines of n plans, those that are new compiled on as many threads as there are cores, and
 * kept. */
bool vk_pipelines_get(struct vk_device *device, struct vk_pipelines *pipelines,
                      const struct vk_plan *plans, uint32_t n, VkPipeline *handles,
                      struct error *err);
/* Compiles without the table; the caller destroys the pipeline. */
bool vk_pipeline_compile(struct vk_device *device, const struct vk_pipelines *pipelines,
                         const struct vk_shader *shader, const struct vk_plan *plan,
                         VkPipelineCreateFlags flags, VkPipeline *pipeline, struct error *err);
/* The shader of the table with this name; there must be one. */
const struct vk_shader *vk_shader_find(const char *name);

/* ---- vk_pipeline_cache ---- */

/* A cache that holds what an earlier start has kept in the folder (may be NULL), as far as it can
 * be trusted. */
VkResult vk_pipeline_cache_create(struct vk_device *device, const char *folder,
                                  VkPipelineCache *cache);
/* Keeps it; a failure costs the next start some time and nothing else. */
void vk_pipeline_cache_keep(struct vk_device *device, const char *folder, VkPipelineCache cache);
/* Of all shaders of ops: what changes when a kernel does. */
uint64_t vk_shaders_hash(void);
/* Whether a driver may be handed these bytes: they begin with the header that Vulkan prescribes,
 * made by this driver for this device. */
bool vk_pipeline_cache_fits(const struct vk_identity *identity, const void *data, uint64_t bytes);

/* ---- vk_verdict ---- */

/* Takes the tiers away that must not be used: asked for, known faults of the driver, the verdict in
 * the folder (NULL: none). False if the verdict is that the device is unusable. */
bool vk_verdict_apply(struct vk_physical *physical, const struct vk_options *options,
                      const char *folder, struct error *err);

/* ---- vk_command ---- */

struct vk_commands {
    VkCommandPool pool;
    VkSemaphore timeline;
    uint64_t submitted; /* last value given out */
};

bool vk_commands_init(struct vk_backend *backend, struct error *err);
void vk_commands_free(struct vk_backend *backend);
/* Starts recording. `once`: it will be submitted once and recorded anew. */
bool vk_commands_begin(struct vk_backend *backend, VkCommandBuffer commands, bool once,
                       struct error *err);
/* Records the barrier that ends every command buffer, and ends it. */
bool vk_commands_end(struct vk_backend *backend, VkCommandBuffer commands, struct error *err);
/* One vkQueueSubmit; *value is what to wait for. */
bool vk_commands_submit(struct vk_backend *backend, VkCommandBuffer commands, uint64_t *value,
                        struct error *err);
bool vk_commands_wait(struct vk_backend *backend, uint64_t value, struct error *err);
/* Waits for everything, before something it may use is destroyed; even if waiting failed before. */
void vk_commands_settle(struct vk_backend *backend);

/* Seconds of a clock of the host that never goes back. */
double vk_clock(void);

/* n pairs of times of the device's clock. pool is NULL where the device has none that we can read;
 * then start and stop record nothing and there is nothing to read. */
struct vk_stopwatch {
    VkQueryPool pool;
    uint32_t n;
};

bool vk_stopwatch_create(struct vk_backend *backend, struct vk_stopwatch *stopwatch, uint32_t n,
                         struct error *err);
void vk_stopwatch_destroy(struct vk_backend *backend, struct vk_stopwatch *stopwatch);
/* Of compute, or of the work of another stage. */
void vk_stopwatch_start(struct vk_backend *backend, const struct vk_stopwatch *stopwatch,
                        VkCommandBuffer commands, uint32_t index);
void vk_stopwatch_stop(struct vk_backend *backend, const struct vk_stopwatch *stopwatch,
                       VkCommandBuffer commands, uint32_t index);
void vk_stopwatch_start_at(struct vk_backend *backend, const struct vk_stopwatch *stopwatch,
                           VkCommandBuffer commands, uint32_t index, VkPipelineStageFlagBits stage);
void vk_stopwatch_stop_at(struct vk_backend *backend, const struct vk_stopwatch *stopwatch,
                          VkCommandBuffer commands, uint32_t index, VkPipelineStageFlagBits stage);
/* What was recorded between the two, once it has run. */
bool vk_stopwatch_read(struct vk_backend *backend, const struct vk_stopwatch *stopwatch,
                       uint32_t index, double *seconds, struct error *err);

/* ---- vk_program ---- */

/* The barrier between steps: what shaders have written, shaders see. */
void vk_record_barrier(struct vk_backend *backend, VkCommandBuffer commands);

struct program *vk_program_create(struct vk_backend *backend, const struct op_list *list,
                                  struct error *err);
void vk_program_destroy(struct vk_backend *backend, struct program *program);
bool vk_program_run(struct vk_backend *backend, struct program *program, struct error *err);
/* run in two halves (engine/op/backend.h). */
bool vk_program_start(struct vk_backend *backend, struct program *program, uint64_t *ticket,
                      struct error *err);
bool vk_program_finish(struct vk_backend *backend, struct program *program, uint64_t ticket,
                       struct error *err);
/* As run; seconds[i] is what op i took, alone. */
bool vk_program_profile(struct vk_backend *backend, struct program *program, double *seconds,
                        struct error *err);

/* ---- vk_peaks ---- */

bool vk_peaks(struct vk_backend *backend, struct backend_peaks *peaks, struct error *err);
/* As backend_functions.peaks_again has it. */
bool vk_peaks_again(struct vk_backend *backend, const struct buffer *buffer, uint64_t bytes,
                    struct backend_peaks *peaks, struct error *err);

/* ---- vk_tune ---- */

/* Plans with what an earlier vk_tune has found for this device, if there is any to be trusted. */
void vk_tuning_load(struct vk_backend *backend);
/* Where that is kept; the file points at the key. */
struct vk_tuning_key {
    struct vk_identity identity;
    uint64_t shaders, rows;
};
void vk_tuning_file(const struct vk_backend *backend, struct cache_file *file,
                    struct vk_tuning_key *key);
/* vk_backend_tune. */
bool vk_tune(struct vk_backend *backend, struct vk_tuned tuned[VK_TUNING_COUNT], struct error *err);

/* ---- vk ---- */

struct vk_backend {
    struct backend base; /* first: what other rooms hold */
    char *cache_folder;  /* NULL: none */
    struct vk_device device;
    struct vk_memory memory;
    struct vk_transfer transfer;
    struct vk_pipelines pipelines;
    struct vk_commands commands;
    struct backend_counts counts;
    double segment_seconds; /* most of one submit of a program */
    enum { IMPORT_UNKNOWN, IMPORT_PAYS, IMPORT_DOES_NOT } import;
    bool no_timestamps;
};
