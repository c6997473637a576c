/* Activation statistics: read, and as weights for the model of a seed of the GGUF target. */
#include <assert.h>
#include <stdlib.h>

#include "engine/model/importance.h"
#include "engine/model/importance_weights.h"
#include "tests/fuzz/fuzz.h"

static volatile float sink;

static void use_matrix(struct importance_weights *weights, enum tensor_role role, uint32_t layer,
                       uint32_t expert, uint32_t part, uint64_t columns)
{
    const float *values = importance_weights_of(weights, role, layer, expert, part);
    for (uint64_t i = 0; values && i < columns; i++) {
        sink += values[i];
    }
}

static bool use(const struct importance *importance, const struct source *source)
{
    const struct hparams *h = &source->hparams;
    struct importance_weights weights;
    struct error err = {""};
    if (!importance_weights_make(&weights, importance, source, &err)) {
        assert(err.text[0]);
        return false;
    }
    for (uint32_t layer = 0; layer < h->layers; layer++) {
        const float *counts;
        for (uint32_t expert = 0; expert < h->experts; expert++) {
            use_matrix(&weights, ROLE_EXPERT, layer, expert, SOURCE_GATE, h->hidden);
            use_matrix(&weights, ROLE_EXPERT, layer, expert, SOURCE_DOWN, h->expert_ffn);
        }
        use_matrix(&weights, ROLE_ATTENTION_Q, layer, 0, 0, h->hidden);
        if (importance_weights_usage(&weights, layer, &counts)) {
            sink += counts[h->experts - 1];
        }
    }
    importance_weights_free(&weights);
    return true;
}

static bool run(const uint8_t *data, size_t bytes)
{
    static struct source *source;
    struct importance importance;
    struct error err = {""};
    if (!source) {
        source = source_open_gguf(SOURCE_ROOT "/tests/fuzz/gguf/qwen3moe.gguf", &err);
        assert(source);
    }
    const char *path = fuzz_file_write("", "statistics.gguf", data, bytes);
    if (!importance_read(&importance, path, &err)) {
        assert(err.text[0]);
        return false;
    }
    bool ok = use(&importance, source);
    importance_free(&importance);
    return ok;
}

static size_t mutate(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                     fuzz_change *change)
{
    return fuzz_gguf.mutate(data, bytes, room, random, change);
}

const struct fuzz_target fuzz_imatrix = {"imatrix", run, mutate};
