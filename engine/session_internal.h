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

struct moxie_session {
    struct moxie_model *model;
    struct forward forward;
    struct buffer *buffers; /* one per tensor of forward */
    uint32_t n_buffers;
    struct session_plan plans[FORWARD_LISTS];
    struct step *step;
    uint32_t position, last_tokens;
    float *logits; /* (vocabulary) */
    bool has_logits;
    uint32_t best;
    struct prediction *prediction; /* made at the first use (session_measure.c) */
    uint32_t *route_ids;           /* (layers, chunk, top_k), if keep_routes */
    float *route_weights;          /* the same */
};

/* The smallest list that takes n tokens, made at its first use. */
struct session_plan *session_plan_for(struct moxie_session *session, uint32_t n, struct error *err);

/* Whether these tokens can be appended. */
bool session_check_tokens(const struct moxie_session *session, const uint32_t *ids, size_t n,
                          struct error *err);

/* Appends at most a chunk of tokens; op_seconds, if not NULL, gets what each op of its list took.
 */
bool session_eval_chunk(struct moxie_session *session, const uint32_t *ids, uint32_t n,
                        double *op_seconds, struct error *err);

/* Fetches what the last chunk left for the caller: logits and routes. */
bool session_read_results(struct moxie_session *session, struct error *err);

/* Of a chunk (counted from 0) of an evaluation of n tokens: loads, one per router that chooses
 * among several experts; NULL where `loads` is NULL. */
const struct op_loads *session_loads_of(const struct moxie_session *session,
                                        const struct moxie_loads *loads, uint32_t n,
                                        uint32_t chunk);
