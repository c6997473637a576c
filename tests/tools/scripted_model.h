/* A model that says what a test wants: a folder as of tiny_checkpoint.h whose layers add nothing,
 * so that each token alone decides which one follows.
 *
 * Tokens 0 .. 255 are bytes, 261 is <|im_start|>, 262 <|im_end|> (the EOS token), 263 <|endoftext|>
 * (a stop token of generation_config.json).
 */
#pragma once

#include <stdint.h>

#define SCRIPTED_MODEL_EXTRA 264 /* id of the first extra token */

struct scripted_model {
    const char *chat_template;
    const char *extra[8]; /* texts of more added tokens, ids SCRIPTED_MODEL_EXTRA and so on */
    uint32_t special;     /* bit i: extra[i] is a special token */
    const int *script;    /* each follows the one before it; none twice; -1 at the end */
};

/* Makes check_temp_dir()/name and returns its path. */
const char *scripted_model_write(const struct scripted_model *model, const char *name);
