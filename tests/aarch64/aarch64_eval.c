/* The engine on 64-bit ARM, without the libraries that tokenizers, templates and conversions need:
 *
 *     aarch64_eval MODEL IDS LOGITS
 *
 * evaluates the token ids of a file (u32), all but the last four at once and these one by one, and
 * writes the logits after each of these five evaluations to a file (f32, five rows). Prints the
 * device, or why it failed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/model/source.h"
#include "engine/moxie.h"
#include "engine/run/prediction.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

/* ---- what is not linked, as far as it is called; a call of anything else ends the program ---- */

bool source_is_foreign(const char *path)
{
    return false;
}

struct tokenizer *tokenizer_create(const void *section, uint64_t bytes, struct error *err)
{
    static char nothing;
    return (struct tokenizer *)&nothing;
}

void tokenizer_destroy(struct tokenizer **tokenizer)
{
}

void chat_template_destroy(struct chat_template **template)
{
}

void prediction_destroy(struct prediction **prediction)
{
}

/* ---- the program ---- */

#define SINGLE 4
#define MOST_IDS 4096

static bool evaluate(struct moxie_session *session, const uint32_t *ids, size_t n,
                     size_t vocabulary, FILE *out, struct moxie_error *err)
{
    for (size_t done = 0; done < n;) {
        size_t count = done == 0 ? n - SINGLE : 1;
        if (!moxie_eval(session, ids + done, count, err) ||
            fwrite(moxie_logits(session), sizeof(float), vocabulary, out) != vocabulary) {
            return false;
        }
        done += count;
    }
    return true;
}

int main(int argc, char **argv)
{
    static uint32_t ids[MOST_IDS];
    FILE *in = argc == 4 ? fopen(argv[2], "rb") : NULL;
    FILE *out = argc == 4 ? fopen(argv[3], "wb") : NULL;
    size_t n = in ? fread(ids, sizeof(*ids), MOST_IDS, in) : 0;
    struct moxie_error err = {"no model, no ids or no file for the logits"};
    struct moxie_options options = moxie_options_defaults();
    struct moxie_session_options settings = moxie_session_defaults();
    options.device = "cpu";
    options.threads = 2;
    settings.kv_type = MOXIE_KV_F32;
    struct moxie_model *model = out && n > SINGLE ? moxie_open(argv[1], &options, &err) : NULL;
    struct moxie_session *session = model ? moxie_session_create(model, &settings, &err) : NULL;
    struct moxie_model_info info;
    bool ok = session != NULL;
    if (ok) {
        moxie_model_info(model, &info);
        ok = evaluate(session, ids, n, info.vocabulary, out, &err) && fclose(out) == 0;
    }
    printf("%s\n", ok ? info.device : err.text);
    moxie_session_destroy(&session);
    moxie_close(&model);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
