/* What is behind a session. Private to engine/session*.c. */
#pragma once

#include "engine/model/forward.h"
#include "engine/moxie_internal.h"
#include "engine/op/op_cost.h"
#include "engine/run/prediction.h"
#include "engine/run/schedule.h"

struct session_plan {
    bool ready;
    struct op_list list;
    struct schedule schedule;
};

/* An answer under way (session_generate.c). */
struct session_generation {
    bool active, failed;
    bool ahead;                       /* a choice is queued before the last one is returned */
    struct session_plan choice, next; /* the lists of the first choice, and of all others */
    uint32_t begin;                   /* the position of the first */
    uint32_t n_started, n_taken;      /* choices queued, and returned */
    uint64_t tickets[BACKEND_STARTED];
    /* For the repeat penalty, made at its first use: (context), (vocabulary). */
    uint32_t *recent, *occurrences;
    struct error error; /* if it has failed */
};

struct moxie_session {
    struct moxie_model *model;
    struct forward forward;
    struct buffer *buffers; /* one per tensor of forward */
    uint32_t n_buffers;
    struct session_plan plans[FORWARD_LISTS];
    struct session_generation generation;
    struct step *step;
    uint32_t position, last_tokens;
    float *logits; /* (vocabulary) */
    bool has_logits;
    uint32_t best;
    struct prediction *prediction; /* made at the first use (session_measure.c) */
    uint32_t *route_ids;           /* (layers, chunk, top_k), if keep_routes */
    float *route_weights;          /* the same */
};

/* Tokens of a prompt computed at once that pay on every device. */
#define SESSION_USUAL_CHUNK 512
/* What moxie_session_options.chunk = 0 stands for: SESSION_USUAL_CHUNK, up to `most` (a power of
 * two) where activations for them take little of the `available` bytes that the context leaves,
 * fewer where it leaves too little; at most options->context. options->chunk is not read. */
uint32_t session_chunk_for(const struct model *model, const struct forward_options *options,
                           uint32_t most, uint64_t available);

/* The smallest list that takes n tokens, made at its first use. */
struct session_plan *session_plan_for(struct moxie_session *session, uint32_t n, struct error *err);

/* Whether these tokens can be appended. */
bool session_check_tokens(const struct moxie_session *session, const uint32_t *ids, size_t n,
                          struct error *err);

/* Appends at most a chunk of tokens; op_seconds, if not NULL, gets what each op of its list took.
 */
bool session_eval_chunk(struct moxie_session *session, const uint32_t *ids, uint32_t n,
                        double *op_seconds, struct error *err);

/* Copies into a tensor of forward, and out of it, `offset` bytes from its beginning. */
bool session_write_tensor(struct moxie_session *session, const struct tensor *tensor,
                          const void *source, uint64_t bytes, struct error *err);
bool session_read_tensor(struct moxie_session *session, const struct tensor *tensor,
                         uint64_t offset, void *destination, uint64_t bytes, struct error *err);

/* Fetches the routes of the last chunk, which had n tokens; nothing without keep_routes. */
bool session_read_routes(struct moxie_session *session, uint32_t n, struct error *err);

/* Fetches what the last chunk left for the caller: logits and routes. */
bool session_read_results(struct moxie_session *session, struct error *err);

/* Of a chunk (counted from 0) of an evaluation of n tokens: loads, one per router that chooses
 * among several experts; NULL where `loads` is NULL. */
const struct op_loads *session_loads_of(const struct moxie_session *session,
                                        const struct moxie_loads *loads, uint32_t n,
                                        uint32_t chunk);
