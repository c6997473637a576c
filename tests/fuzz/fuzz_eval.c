/* Running a model: what can be opened is evaluated on the CPU, through the public header. Numbers
 * that pass every check must not lead an op astray, whatever the weights are. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/moxie.h"
#include "tests/fuzz/fuzz.h"

#define CONTEXT 9
#define CHUNK 3

static volatile float sink;

/* A prompt in chunks, one token more, and a part of it again. */
static void eval(struct moxie_session *session, uint32_t vocabulary)
{
    struct moxie_error err = {""};
    uint32_t ids[CONTEXT];
    uint32_t room = moxie_context(session) < CONTEXT ? moxie_context(session) : CONTEXT;
    for (uint32_t i = 0; i < CONTEXT; i++) {
        ids[i] = i * 7 % vocabulary;
    }
    ids[1] = vocabulary - 1;
    uint32_t n = room > 7 ? 7 : room;
    bool ok =
        moxie_eval(session, ids, n, &err) && (n == room || moxie_eval(session, ids + n, 1, &err));
    assert(ok || err.text[0]);
    if (!ok) {
        return;
    }
    assert(moxie_best(session) < vocabulary);
    for (uint32_t i = 0; i < vocabulary; i++) {
        sink = moxie_logits(session)[i];
    }
    moxie_rewind(session, n / 2);
    ok = moxie_eval(session, ids, 1, &err);
    assert(ok || err.text[0]);
}

static bool run(const uint8_t *data, size_t bytes)
{
    const char *path = fuzz_file_write("", "model", data, bytes);
    struct moxie_error err = {""};
    struct moxie_options options = moxie_options_defaults();
    options.device = "cpu";
    options.threads = 1;
    struct moxie_model *model = moxie_open(path, &options, &err);
    if (!model) {
        assert(err.text[0]);
        return false;
    }
    struct moxie_model_info info;
    moxie_model_info(model, &info);
    struct moxie_session_options session_options = moxie_session_defaults();
    session_options.context = info.context < CONTEXT ? info.context : CONTEXT;
    session_options.chunk = CHUNK;
    session_options.keep_routes = session_options.observe = true;
    struct moxie_session *session = moxie_session_create(model, &session_options, &err);
    assert(session || err.text[0]);
    bool ok = session != NULL;
    if (ok) {
        eval(session, info.vocabulary);
        moxie_session_destroy(&session);
    }
    moxie_close(&model);
    return ok;
}

static size_t mutate(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                     fuzz_change *change)
{
    bool is_gguf = bytes >= 4 && memcmp(data, "GGUF", 4) == 0;
    return (is_gguf ? &fuzz_gguf : &fuzz_moxie)->mutate(data, bytes, room, random, change);
}

const struct fuzz_target fuzz_eval = {"eval", run, mutate};
