/* Kernels that the build cannot compile everywhere, as SPIR-V in an archive that is part of the
 * program: shaders/cooperative_matrix.zst, whose layout tests/reference/cooperative_matrix.py
 * tells. It is unpacked once, where a device can run them, and stays until the program ends. */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>
#include <zstd.h>

#include "engine/vk/vk_caps.h"
#include "engine/vk/vk_ops.h"

static const unsigned char packed[] = {
#include "shaders/cooperative_matrix.h"
};

#define HEAD_BYTES 128
#define NAME_BYTES 60

static struct {
    uint8_t *bytes;
    struct vk_shader *shaders;
    uint32_t n;
} archive;

/* The shaders that lie in `bytes`, counted, and noted where there is a table. */
static uint32_t list_shaders(const uint8_t *bytes, size_t n_bytes, struct vk_shader *shaders)
{
    uint32_t n = 0, n_code;
    for (size_t at = HEAD_BYTES; at < n_bytes; at += NAME_BYTES + sizeof(n_code) + n_code) {
        memcpy(&n_code, bytes + at + NAME_BYTES, sizeof(n_code));
        assert(n_code % 4 == 0 && at + NAME_BYTES + sizeof(n_code) + n_code <= n_bytes);
        if (shaders) {
            shaders[n] = (struct vk_shader){
                .name = (const char *)bytes + at,
                .words = (const uint32_t *)(const void *)(bytes + at + NAME_BYTES + sizeof(n_code)),
                .n_bytes = n_code,
                .tiers = 1u << VK_TIER_cooperative_matrix};
        }
        n++;
    }
    return n;
}

static void unpack(void)
{
    unsigned long long n_bytes = ZSTD_getFrameContentSize(packed, sizeof(packed));
    assert(n_bytes != ZSTD_CONTENTSIZE_ERROR && n_bytes != ZSTD_CONTENTSIZE_UNKNOWN);
    uint8_t *bytes = malloc((size_t)n_bytes);
    if (!bytes ||
        ZSTD_decompress(bytes, (size_t)n_bytes, packed, sizeof(packed)) != (size_t)n_bytes) {
        free(bytes);
        return;
    }
    uint32_t n = list_shaders(bytes, (size_t)n_bytes, NULL);
    archive.shaders = calloc(n, sizeof(*archive.shaders));
    if (!archive.shaders) {
        free(bytes);
        return;
    }
    archive.bytes = bytes;
    archive.n = list_shaders(bytes, (size_t)n_bytes, archive.shaders);
}

const struct vk_shader *vk_archive_shaders(uint32_t *n)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, unpack);
    *n = archive.n;
    return archive.shaders;
}

uint64_t vk_archive_hash(void)
{
    return XXH3_64bits(packed, sizeof(packed));
}
