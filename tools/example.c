/* The smallest useful program on top of engine/moxie.h: asks a model one question and prints the
 * answer.
 *
 *     example MODEL.moxie "What is the capital of France?"
 *
 * Built and run by the tests, so it stays true.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/moxie.h"

#define MAX_ANSWER_TOKENS 200

static bool answer(struct moxie_model *model, struct moxie_session *session, const char *question,
                   struct moxie_error *err)
{
    struct moxie_message message = {"user", question};
    uint32_t *ids;
    size_t n;
    if (!moxie_chat_tokens(model, &message, 1, true, &ids, &n, err)) {
        return false;
    }
    struct moxie_sampling sampling = moxie_sampling_defaults();
    sampling.temperature = 0;
    bool ok =
        moxie_eval(session, ids, n, err) && moxie_generate_begin(session, &sampling, ids, n, err);
    moxie_free(ids);

    struct moxie_text_stream stream = {0};
    for (int i = 0; ok && i < MAX_ANSWER_TOKENS; i++) {
        uint32_t id, bytes;
        ok = moxie_generate_next(session, &id, err);
        if (!ok || moxie_is_stop(model, id)) {
            break;
        }
        const char *text = moxie_token_bytes(model, id, false, &bytes);
        char *out = malloc(3 * ((size_t)bytes + 3));
        if (out) {
            fwrite(out, 1, moxie_text_push(&stream, text, bytes, out), stdout);
            free(out);
        }
    }
    moxie_generate_end(session);
    printf("\n");
    return ok;
}

int main(int argc, char **argv)
{
    struct moxie_error err;
    if (argc != 3) {
        fprintf(stderr, "usage: example MODEL.moxie \"question\"\n");
        return 2;
    }
    struct moxie_model *model = moxie_open(argv[1], NULL, &err);
    struct moxie_session *session = model ? moxie_session_create(model, NULL, &err) : NULL;
    bool ok = session && answer(model, session, argv[2], &err);
    if (!ok) {
        fprintf(stderr, "example: %s\n", err.text);
    }
    moxie_session_destroy(&session);
    moxie_close(&model);
    return ok ? 0 : 1;
}
