#include "engine/vk/vk_kept.h"

#include <string.h>

#include "engine/vk/vk_caps.h"

bool vk_kept_verdict(const void *data, uint64_t bytes, struct vk_verdict *verdict)
{
    uint32_t words[VK_KEPT_VERDICT_WORDS];
    if (bytes != sizeof(words)) {
        return false;
    }
    memcpy(words, data, sizeof(words));
    if (words[0] > VK_ALL_TIERS || words[1] > 1) {
        return false;
    }
    *verdict = (struct vk_verdict){words[0], words[1], words[2]};
    return true;
}

bool vk_kept_tuning(const void *data, uint64_t bytes, struct vk_tuning *tuning)
{
    struct vk_tuning kept;
    if (bytes != sizeof(kept)) {
        return false;
    }
    memcpy(&kept, data, sizeof(kept));
    if (!vk_tuning_valid(&kept)) {
        return false;
    }
    *tuning = kept;
    return true;
}

bool vk_kept_import(const void *data, uint64_t bytes, bool *pays)
{
    uint8_t byte;
    if (bytes != sizeof(byte)) {
        return false;
    }
    memcpy(&byte, data, sizeof(byte));
    if (byte > 1) {
        return false;
    }
    *pays = byte;
    return true;
}
