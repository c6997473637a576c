/* Which tiers of a device are used: what it has, less the known faults of its driver, less what a
 * selftest found to be wrong, which is kept in the cache folder. */
#include "engine/vk/vk_internal.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/cache_file.h"
#include "engine/vk/vk_driver_faults.h"
#include "engine/vk/vk_kept.h"
#include "engine/vk/vk_matrix.h"

/* A selftest of other shaders, or of another driver, says nothing. */
struct verdict_key {
    struct vk_identity identity;
    uint32_t n_tiers;
    uint64_t shaders;
};

static struct cache_file file_of(const char *folder, const struct vk_identity *identity,
                                 struct verdict_key *key)
{
    memset(key, 0, sizeof(*key)); /* padding, too: it is hashed */
    key->identity = *identity;
    key->n_tiers = VK_N_TIERS;
    key->shaders = vk_shaders_hash();
    return (struct cache_file){
        .folder = folder, .name = "verdict", .key = key, .key_bytes = sizeof(*key)};
}

static bool read_file(const struct vk_identity *identity, const char *folder,
                      struct vk_verdict *verdict)
{
    struct verdict_key key;
    struct cache_file file = file_of(folder, identity, &key);
    uint64_t bytes = 0;
    void *kept = cache_file_read(&file, &bytes);
    bool sound = kept && vk_kept_verdict(kept, bytes, verdict);
    free(kept);
    return sound;
}

static uint32_t tiers_of(const struct vk_caps *caps)
{
    uint32_t tiers = 0;
#define X(tier, name) tiers |= caps->tier ? 1u << VK_TIER_##tier : 0u;
    VK_TIERS(X)
#undef X
    return tiers;
}

static uint32_t find_faults(const struct vk_physical *physical, struct vk_tiers *tiers)
{
    const struct vk_identity *identity = &physical->identity;
    const struct vk_driver_key key = {identity->vendor_id, identity->device_id, physical->driver_id,
                                      identity->driver_version};
    const struct vk_driver_fault *fault;
    uint32_t index = 0, off = 0;
    while ((fault = vk_driver_faults_next(&key, &index))) {
        off |= fault->tiers_off;
        if (tiers && tiers->n_faults < VK_MAX_FAULTS) {
            tiers->faults[tiers->n_faults++] = fault->what;
        }
    }
    return off;
}

bool vk_verdict_apply(struct vk_physical *physical, const struct vk_options *options,
                      const char *folder, struct error *err)
{
    struct vk_verdict verdict = {0};
    if (folder) {
        read_file(&physical->identity, folder, &verdict);
    }
    if (verdict.unusable) {
        return error_set(err,
                         "%s computed wrongly in its selftest with this driver (%s); use --device "
                         "cpu, or update the driver (moxie selftest tells more)",
                         physical->info.name, physical->info.driver);
    }
    if (options->tiers_forced & 1u << VK_TIER_integer_dot) {
        physical->caps.integer_dot = physical->integer_dot_extension;
    }
    physical->caps.emulated_matrices = (options->tiers_forced & 1u << VK_TIER_cooperative_matrix) &&
                                       physical->caps.float16 &&
                                       physical->caps.shared_bytes >= VK_MATRIX_SHARED_BYTES;
    if (physical->caps.emulated_matrices && options->matrix) {
        physical->caps.matrix = *options->matrix;
    }
    uint32_t off = options->tiers_off | verdict.tiers_off | find_faults(physical, NULL);
#define X(tier, name) physical->caps.tier = physical->caps.tier && !(off & 1u << VK_TIER_##tier);
    VK_TIERS(X)
#undef X
    return true;
}

/* ---- by index, for programs ---- */

bool vk_verdict_read(uint32_t device, const char *folder, struct vk_verdict *verdict)
{
    struct vk_physical physical;
    return folder && vk_device_inspect(device, &physical) &&
           read_file(&physical.identity, folder, verdict);
}

bool vk_verdict_write(uint32_t device, const char *folder, const struct vk_verdict *verdict)
{
    struct vk_physical physical;
    struct verdict_key key;
    const uint32_t data[VK_KEPT_VERDICT_WORDS] = {verdict->tiers_off, verdict->unusable,
                                                  verdict->n_checks};
    if (!folder || !vk_device_inspect(device, &physical)) {
        return false;
    }
    struct cache_file file = file_of(folder, &physical.identity, &key);
    return cache_file_write(&file, data, sizeof(data));
}

bool vk_tiers_of(uint32_t device, struct vk_tiers *tiers)
{
    struct vk_physical physical;
    *tiers = (struct vk_tiers){0};
    if (!vk_device_inspect(device, &physical)) {
        return false;
    }
    tiers->faulty = find_faults(&physical, tiers) & tiers_of(&physical.caps);
    tiers->has = tiers_of(&physical.caps) & ~tiers->faulty;
    return true;
}

const char *vk_tier_name(uint32_t tier)
{
    static const char *const names[] = {
#define X(tier, name) name,
        VK_TIERS(X)
#undef X
    };
    return tier < VK_N_TIERS ? names[tier] : NULL;
}
