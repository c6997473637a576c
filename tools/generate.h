/* What chat, complete, imatrix and logits share: opening a model, the flags of the engine and of
 * sampling, and the loop that prints an answer.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/moxie.h"
#include "tools/tool.h"

struct engine_flags {
    struct moxie_options model;
    struct moxie_session_options session;
    const char *kv_type;
    bool print_ops;
    bool no_cache; /* else open_model says where the cache is */
};

/* Rows of a table of options. */
#define DEVICE_OPTIONS(flags) \
    {"--device",  "-d", \
     OPTION_TEXT, &(flags)->model.device, \
     "D",         "auto, cpu, vulkan or vulkan:N (default auto: a real GPU, else the CPU)"}, \
        {"--threads", "-t", \
         OPTION_U32,  &(flags)->model.threads, \
         "N",         "threads of the CPU (default: one per core)"}, \
        {"--vram",     NULL, \
         OPTION_BYTES, &(flags)->model.device_memory, \
         "BYTES",      "most memory to take on the GPU, e.g. 6G (default: what is free)"}, \
        {"--arithmetic", \
         NULL, \
         OPTION_TEXT, \
         &(flags)->model.arithmetic, \
         "A", \
         "of prompts on a GPU: f32, f16, int8 or matrix (default: what it is fastest with)"}, \
    { \
        "--no-cache", NULL, OPTION_FLAG, &(flags)->no_cache, NULL, \
            "neither use nor keep what an earlier start has compiled for the GPU" \
    }
#define SESSION_OPTIONS(flags) \
    {"--context", "-c", \
     OPTION_U32,  &(flags)->session.context, \
     "N",         "tokens the conversation can hold (default: the model's, at most 8192)"}, \
        {"--chunk", \
         NULL, \
         OPTION_U32, \
         &(flags)->session.chunk, \
         "N", \
         "most tokens of a prompt computed at once (default: 512, on a GPU up to 2048)"}, \
        {"--kv-type", \
         NULL, \
         OPTION_TEXT, \
         &(flags)->kv_type, \
         "T", \
         "keys and values of the context as f16, f32 or q8_0 (default f16; f32 for logits)"}, \
        {"--print-ops",       NULL, OPTION_FLAG, \
         &(flags)->print_ops, NULL, "print the list of operations of one token and exit"}, \
    { \
        "--validation", NULL, OPTION_FLAG, &(flags)->model.validation, NULL, \
            "run Vulkan's validation layer (for developers)" \
    }
#define SAMPLING_OPTIONS(sampling) \
    {"--temp",     NULL, \
     OPTION_FLOAT, &(sampling)->temperature, \
     "T",          "temperature; 0 is greedy (default 0.8)"}, \
        {"--top-k",          NULL, OPTION_U32, \
         &(sampling)->top_k, "K",  "choose among the K likeliest; 0 is off (default 40)"}, \
        {"--top-p",    NULL, \
         OPTION_FLOAT, &(sampling)->top_p, \
         "P",          "choose among the likeliest that sum to P; 1 is off (default 0.95)"}, \
        {"--min-p",    NULL, \
         OPTION_FLOAT, &(sampling)->min_p, \
         "P",          "drop what is less likely than P of the likeliest; 0 is off (default 0.05)"}, \
        {"--repeat-penalty", \
         NULL, \
         OPTION_FLOAT, \
         &(sampling)->repeat_penalty, \
         "R", \
         "make tokens of the last 64 less likely; 1 is off (default 1)"}, \
    { \
        "--seed", NULL, OPTION_U64, &(sampling)->seed, "N", \
            "the same seed gives the same text (default: from the clock)" \
    }

/* A seed from the clock, for when none was given: set before parsing. */
uint64_t seed_from_clock(void);

/* Opens `path`, or the demo model if NULL, with progress on a terminal. NULL after a sentence on
 * stderr. */
struct moxie_model *open_model(const char *tool, const char *path, struct engine_flags *flags);
/* Closes it; tells what the validation layer had to say. NULL is fine. */
void close_model(const char *tool, struct moxie_model **model);
/* Creates the session; with --print-ops prints the list and sets *done. NULL after a sentence, or
 * if *done. */
struct moxie_session *open_session(const char *tool, struct moxie_model *model,
                                   struct engine_flags *flags, bool *done);

/* Of the last prompt and answer, and since the beginning. */
struct generation_counts {
    uint32_t prompt, kept; /* tokens of the prompt; how many of them the session still held */
    uint32_t generated;    /* the stop token not counted */
    double prompt_seconds, answer_seconds;
    uint64_t total_evaluated, total_generated;
};

struct generation {
    struct moxie_model *model;
    struct moxie_session *session;
    struct moxie_sampling sampling;
    bool wants_logits; /* the receiver looks at moxie_logits: the host chooses the tokens */
    struct moxie_sampler *sampler; /* then, of the answer under way */
    uint32_t n_answers;            /* begun; each has a seed of its own */
    uint32_t *tokens;              /* all tokens the session holds, (context) */
    uint32_t n_tokens;
    struct generation_counts counts;
    uint32_t end_of_turn; /* ends an answer like the model's own stop tokens; UINT32_MAX: none */
    bool slide;           /* at the end of the context drop the oldest half instead of stopping */
    uint32_t slide_keep;  /* how many of the first tokens that keeps */
    volatile sig_atomic_t *stop; /* set by Ctrl-C; NULL if nothing interrupts */
};

enum generation_end {
    GENERATION_STOP,        /* the model ended its answer */
    GENERATION_ENOUGH,      /* the receiver wanted no more */
    GENERATION_LENGTH,      /* the limit of -n */
    GENERATION_CONTEXT,     /* the context is full */
    GENERATION_INTERRUPTED, /* *stop */
    GENERATION_FAILED,      /* err says why */
};

struct generation_receiver {
    void *context;
    /* Gets every token but the stop token; with wants_logits, moxie_logits still are those it was
     * chosen from. False: enough. */
    bool (*token)(void *context, uint32_t id);
    /* The context is full: may make the session hold fewer tokens by generation_prompt, which end
     * with all tokens received so far but the last one. May be NULL, or do nothing. False, with
     * err, only if something failed. */
    bool (*make_room)(void *context, struct moxie_error *err);
};

/* Seconds of a clock that only goes forward. */
double clock_seconds(void);

bool generation_init(struct generation *g, struct moxie_model *model, struct moxie_session *session,
                     const struct moxie_sampling *sampling, struct moxie_error *err);
void generation_free(struct generation *g);

/* Makes the session hold exactly these tokens, reusing the longest common beginning. Returns early,
 * with fewer tokens, if *stop is set meanwhile; generation_run then ends at once. */
bool generation_prompt(struct generation *g, const uint32_t *ids, size_t n,
                       struct moxie_error *err);

/* Samples until one of the ends; at most `limit` tokens (UINT32_MAX: no limit). */
enum generation_end generation_run(struct generation *g, uint32_t limit,
                                   const struct generation_receiver *receiver,
                                   struct moxie_error *err);
