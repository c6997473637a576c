#include "engine/text/chat_prompt.h"

#include <stdlib.h>
#include <string.h>

#include "engine/text/chat_tokens.h"

/* Unless the caller's variables have it, as with transformers. */
static bool add_token(json_t *variables, const char *name, const struct tokenizer *tokenizer,
                      uint32_t id)
{
    uint32_t bytes = 0;
    const char *text = NULL;
    if (id != TOKEN_NONE && !json_object_get(variables, name)) {
        text = tokenizer_is_special(tokenizer, id)
                   ? tokenizer_token_text(tokenizer, id, &bytes)
                   : tokenizer_token_bytes(tokenizer, id, true, &bytes);
    }
    return !text || json_object_set_new(variables, name, json_stringn(text, bytes)) == 0;
}

bool chat_prompt_text(const struct chat_template *template, const struct tokenizer *tokenizer,
                      const json_t *variables, char **text, size_t *bytes, struct error *err)
{
    json_t *all = json_copy((json_t *)variables);
    bool ok =
        all && (!tokenizer || (add_token(all, "bos_token", tokenizer, tokenizer_bos(tokenizer)) &&
                               add_token(all, "eos_token", tokenizer, tokenizer_eos(tokenizer))));
    if (!ok) {
        error_set(err, "not enough memory for a chat");
    }
    ok = ok && chat_template_render(template, all, text, bytes, err);
    json_decref(all);
    return ok;
}

/* Everything of the chat guarded, but for special tokens that the caller names by their variables.
 */
static json_t *guarded_variables(struct chat_guard *guard, const json_t *variables,
                                 struct error *err)
{
    static const char suffix[] = "_token";
    json_t *guarded = chat_guard_protect(guard, variables, err), *value;
    const char *key;
    json_object_foreach((json_t *)variables, key, value)
    {
        size_t n = strlen(key), end = sizeof(suffix) - 1;
        if (guarded && n > end && strcmp(key + n - end, suffix) == 0 &&
            json_object_set(guarded, key, value) != 0) {
            error_set(err, "not enough memory for a chat");
            json_decref(guarded);
            return NULL;
        }
    }
    return guarded;
}

bool chat_prompt_tokens(const struct chat_template *template, const struct tokenizer *tokenizer,
                        const json_t *variables, struct token_list *list, struct error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    struct chat_guard *guard = chat_guard_create(tokenizer, err);
    json_t *guarded = guard ? guarded_variables(guard, variables, err) : NULL;
    bool ok = guarded && chat_prompt_text(template, tokenizer, guarded, &text, &bytes, err) &&
              chat_guard_encode(guard, text, bytes, list, err);
    json_decref(guarded);
    free(text);
    chat_guard_destroy(&guard);
    return ok;
}
