/* What is behind the public interface. Private to engine/moxie*.c and engine/session*.c. */
#pragma once

#include "engine/model/model.h"
#include "engine/moxie.h"
#include "engine/op/backend.h"
#include "engine/run/placement.h"
#include "engine/text/chat_template.h"
#include "engine/text/sampler.h"
#include "engine/text/tokenizer.h"

struct moxie_model {
    struct model_file file;
    struct model model;
    struct backend *backend;
    struct placement *placement;
    uint64_t weight_bytes;
    struct tokenizer *tokenizer;         /* NULL if the file has none */
    struct chat_template *chat_template; /* made at the first use */
    const char *chat_family; /* NULL, or the family's form that chat_template is instead */
    char *name;
    uint32_t n_sessions;
};

/* Ids that may be chosen: rows of the logits that the tokenizer has a token for. */
uint32_t session_n_valid(const struct moxie_model *model);
struct sampler_options session_sampler_options(const struct moxie_sampling *sampling);

/* Bytes that a session with default options takes (session.c). */
uint64_t session_default_bytes(const struct moxie_model *model);

/* Copies the sentence to the caller's struct (may be NULL); returns false. */
bool moxie_error_export(struct moxie_error *out, const struct error *err);
