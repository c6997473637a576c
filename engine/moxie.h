/* Moxie: the public interface. A C programmer needs this header and libmoxie, nothing else.
 *
 *     struct moxie_error err;
 *     struct moxie_model *model = moxie_open("model.moxie", NULL, &err);
 *     struct moxie_session *session = model ? moxie_session_create(model, NULL, &err) : NULL;
 *     ...
 *     moxie_eval(session, ids, n, &err);              // a prompt, then one token at a time
 *     const float *logits = moxie_logits(session);    // of the last token
 *     ...
 *     moxie_session_destroy(&session);
 *     moxie_close(&model);
 *
 * tools/example.c is a whole program.
 *
 * Errors. A function that can fail because of the world (a bad file, a missing device, full memory)
 * returns false or NULL and writes one sentence for a person into *err; err may be NULL. Breaking a
 * rule stated here (a NULL where none is allowed, say) is a mistake of the caller and stops the
 * program by an assertion.
 *
 * Threads. A model may be shared by sessions of one thread at a time: calls on a model and on its
 * sessions must not overlap. Different models are independent. Nothing here prints, exits, reads
 * environment variables or installs signal handlers.
 *
 * Memory. What a function allocates is freed by the function named at its declaration. Pointers
 * returned as const belong to the library and live as long as said there. Structs of options may
 * grow at the end: initialise them by moxie_*_defaults.
 */
#ifndef MOXIE_H
#define MOXIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MOXIE_API __attribute__((visibility("default")))

struct moxie_error {
    char text[512]; /* UTF-8, NUL-terminated, one sentence */
};

/* ---- Devices ---- */

enum moxie_device_kind {
    MOXIE_DEVICE_CPU,
    MOXIE_DEVICE_DISCRETE,
    MOXIE_DEVICE_INTEGRATED,
    MOXIE_DEVICE_VIRTUAL,
    MOXIE_DEVICE_SOFTWARE, /* Vulkan computed by the CPU: slow, for tests; never chosen by "auto" */
};

struct moxie_device {
    char id[16]; /* what moxie_options.device takes: "cpu", "vulkan:0", ... */
    char name[256];
    char driver[256];
    enum moxie_device_kind kind;
    bool usable;           /* false: below the floor, and `note` says why */
    char note[256];        /* what it can do beyond the floor, or what is missing */
    uint64_t memory_bytes; /* of its own; RAM for the CPU */
    uint32_t api_version;  /* Vulkan's, packed; 0 for the CPU */
    uint32_t subgroup_size;
};

/* Fills at most `capacity` devices, the CPU first, and returns how many there are. If Vulkan is not
 * to be had, *vulkan_error says why (empty otherwise); it may be NULL. */
MOXIE_API uint32_t moxie_devices(struct moxie_device *devices, uint32_t capacity,
                                 struct moxie_error *vulkan_error);

/* What was tried of one of the sizes that kernels of a GPU have. */
struct moxie_tuned {
    const char *name, *meaning;
    uint32_t before, after;
    double speedup; /* of an operation that tells of it; 1: nothing was better */
};
#define MOXIE_TUNED_ROWS 16
struct moxie_options;
/* Tries other sizes of kernels on the GPU options->device for some seconds and keeps those that are
 * clearly faster in options->cache_folder, where moxie_open finds them. *n rows are filled. Nothing
 * else should use the device meanwhile. */
MOXIE_API bool moxie_tune(const struct moxie_options *options,
                          struct moxie_tuned rows[MOXIE_TUNED_ROWS], uint32_t *n,
                          struct moxie_error *err);

/* ---- Models ---- */

struct moxie_model;

struct moxie_options {
    const char *device; /* "auto" (NULL): a real GPU if there is one, else the CPU; "cpu"; "vulkan":
                           the best Vulkan device, software included; "vulkan:N" */
    uint32_t threads;   /* of the CPU back end; 0 = one per core */
    uint64_t device_memory;   /* bytes that may be taken on the GPU; 0 = what is free */
    const char *cache_folder; /* where compiled kernels and measurements of a GPU are kept from one
                                 start to the next, made if it is missing; NULL: nowhere */
    bool validation; /* Vulkan's validation layer; moxie_validation_messages tells what it said */
    /* Called while weights are being placed, with bytes done and in all; may be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;
    /* The weights are converted while they are placed, in memory, to this type or mix ("q4_k_m", as
     * moxie convert has them); NULL: they are run as they are. */
    const char *type;
    /* How a GPU multiplies weights with the many tokens of a prompt: "f32"; "f16" and "matrix", in
     * 16-bit floats, on matrix units if so; "int8", tokens rounded to int8 beside quantised
     * weights, as the CPU does. NULL: what it is fastest with. Single tokens meet floats, but those
     * of software drivers int8 unless another arithmetic is asked for. */
    const char *arithmetic;
};

MOXIE_API struct moxie_options moxie_options_defaults(void);

/* Opens a .moxie file, a GGUF file (of a split one the first) or a Hugging Face folder, and places
 * its weights; options may be NULL. Files are mapped and must not change while the model is open.
 */
MOXIE_API struct moxie_model *moxie_open(const char *path, const struct moxie_options *options,
                                         struct moxie_error *err);
/* Sessions of the model must have been destroyed. Sets *model to NULL; NULL is fine. */
MOXIE_API void moxie_close(struct moxie_model **model);

struct moxie_model_info {
    const char *name;         /* as the file says, or "" */
    const char *architecture; /* "qwen3moe", ... */
    const char *device;       /* the name of the device it runs on */
    uint32_t layers, hidden, heads, kv_heads, head_dim;
    uint32_t experts, experts_per_token; /* 0: a dense model */
    uint32_t vocabulary;                 /* rows of logits */
    uint32_t context;                    /* positions the model was trained for */
    uint64_t file_bytes;
    const char *type;      /* of most of its weights, "q4_k" */
    uint64_t parameters;   /* weights, counted */
    uint64_t weight_bytes; /* of all of them, decoded */
};
/* Strings live until moxie_close. */
MOXIE_API void moxie_model_info(const struct moxie_model *model, struct moxie_model_info *info);

/* How many messages the validation layer has sent so far (always 0 without
 * moxie_options.validation); the first is copied to `first`, which may be NULL. */
MOXIE_API uint32_t moxie_validation_messages(const struct moxie_model *model, char *first,
                                             uint32_t first_bytes);

/* ---- Text ---- */

/* Begin and end tokens as the model's tokenizer adds them. */
#define MOXIE_ADD_SPECIAL 1u
/* Text of special tokens ("<|im_end|>") becomes those tokens; never for text of strangers. */
#define MOXIE_PARSE_SPECIAL 2u

/* Ids of a text (bytes long; invalid UTF-8 becomes U+FFFD). *ids is allocated: moxie_free. */
MOXIE_API bool moxie_tokenize(const struct moxie_model *model, const char *text, size_t bytes,
                              uint32_t flags, uint32_t **ids, size_t *count,
                              struct moxie_error *err);
/* The bytes a token adds to the text, possibly part of a character; NULL and 0 if none (special
 * tokens unless show_special). Lives until moxie_close. */
MOXIE_API const char *moxie_token_bytes(const struct moxie_model *model, uint32_t id,
                                        bool show_special, uint32_t *bytes);
/* The token as the vocabulary spells it, for people; NULL if it has no text. Not NUL-terminated. */
MOXIE_API const char *moxie_token_text(const struct moxie_model *model, uint32_t id,
                                       uint32_t *bytes);
/* Whether an answer ends with this token. */
MOXIE_API bool moxie_is_stop(const struct moxie_model *model, uint32_t id);

/* Makes whole characters of token bytes that arrive one token at a time. Zero-initialise. */
struct moxie_text_stream {
    uint8_t held[4];
    uint32_t n_held;
};
/* Writes what is complete to out (room for 3 * (bytes + 3)) and returns its length. */
MOXIE_API size_t moxie_text_push(struct moxie_text_stream *stream, const char *bytes, size_t n,
                                 char *out);
/* At the end: what was held back, as U+FFFD (room for 3). */
MOXIE_API size_t moxie_text_flush(struct moxie_text_stream *stream, char *out);

struct moxie_message {
    const char *role;    /* "system", "user", "assistant" */
    const char *content; /* UTF-8 */
};
/* Renders messages by the model's own chat template (or see moxie_chat_family), with the opening of
 * the assistant's turn if add_generation_prompt. *text is allocated: moxie_free. False if the
 * template refuses the messages. */
MOXIE_API bool moxie_chat_text(struct moxie_model *model, const struct moxie_message *messages,
                               size_t n_messages, bool add_generation_prompt, char **text,
                               size_t *bytes, struct moxie_error *err);
/* The same as token ids, where only the template's own text can become special tokens:
 * special-token text inside a message stays text. *ids is allocated: moxie_free. */
MOXIE_API bool moxie_chat_tokens(struct moxie_model *model, const struct moxie_message *messages,
                                 size_t n_messages, bool add_generation_prompt, uint32_t **ids,
                                 size_t *count, struct moxie_error *err);

/* A conversation as JSON, in the shape that Hugging Face's apply_chat_template takes; all texts are
 * NUL-terminated. Zero-initialise. */
struct moxie_chat {
    const char *messages; /* [{"role": "user", "content": ...}, ...]: content is a text or a list of
                             parts; tool_calls, tool_call_id, reasoning_content, ... as they come */
    const char *tools;    /* [{"type": "function", "function": {...}}, ...], or NULL */
    const char *variables; /* what else the template knows, {"enable_thinking": false}; or NULL */
    bool add_generation_prompt; /* ends with the opening of the assistant's turn */
};
/* moxie_chat_text and moxie_chat_tokens of such a conversation. False also where a text is not JSON
 * or has another shape. For ids, special-token text anywhere in it stays text. */
MOXIE_API bool moxie_chat_render(struct moxie_model *model, const struct moxie_chat *chat,
                                 char **text, size_t *bytes, struct moxie_error *err);
MOXIE_API bool moxie_chat_render_tokens(struct moxie_model *model, const struct moxie_chat *chat,
                                        uint32_t **ids, size_t *count, struct moxie_error *err);
/* NULL if the model brings a chat template; else the name of the known form of its family that is
 * used instead ("ChatML"), which a person should be told. NULL as well if there is neither. */
MOXIE_API const char *moxie_chat_family(struct moxie_model *model);

/* Frees what a moxie function allocated; NULL is fine. */
MOXIE_API void moxie_free(void *memory);

/* ---- Sessions ---- */

struct moxie_session;

enum moxie_kv_type { MOXIE_KV_F16, MOXIE_KV_F32, MOXIE_KV_Q8_0 };

struct moxie_session_options {
    uint32_t context; /* tokens it can hold; 0 = the model's own, at most 8192 */
    uint32_t chunk;   /* most tokens evaluated at once; 0 = 512, on GPUs up to 2048 where there is
                         memory enough, fewer where there is little */
    enum moxie_kv_type kv_type; /* F16 has half of F32's bytes, Q8_0 half of F16's */
    bool keep_routes;           /* moxie_routes works */
    bool observe;               /* moxie_expert_counts and moxie_save_importance work */
};
MOXIE_API struct moxie_session_options moxie_session_defaults(void);

/* One conversation: a sequence of tokens and what the model remembers of them. Its context and
 * activations are taken here, its op lists at the first eval of their size; options may be NULL. */
MOXIE_API struct moxie_session *moxie_session_create(struct moxie_model *model,
                                                     const struct moxie_session_options *options,
                                                     struct moxie_error *err);
MOXIE_API void moxie_session_destroy(struct moxie_session **session);

MOXIE_API uint32_t moxie_context(const struct moxie_session *session);  /* tokens it can hold */
MOXIE_API uint32_t moxie_position(const struct moxie_session *session); /* tokens it holds */
MOXIE_API uint32_t moxie_chunk(const struct moxie_session *session); /* most it evaluates at once */

/* Appends n >= 1 tokens. False, with the session unchanged, if an id is outside the vocabulary or
 * the context would overflow; false, with the session at some position in between, if the device
 * fails. */
MOXIE_API bool moxie_eval(struct moxie_session *session, const uint32_t *ids, size_t n,
                          struct moxie_error *err);
/* Logits (vocabulary) of the last token of the last eval, valid until the next eval. NULL before
 * the first, and after moxie_rewind and moxie_generate_begin. */
MOXIE_API const float *moxie_logits(const struct moxie_session *session);
/* The id of the largest of them (ties: the lowest id), computed on the device. */
MOXIE_API uint32_t moxie_best(const struct moxie_session *session);
/* Forgets all tokens from `position` on (position <= moxie_position). */
MOXIE_API void moxie_rewind(struct moxie_session *session, uint32_t position);

/* The router's choice in a layer for each token of the last chunk of the last eval, in order: ids
 * and weights (n_tokens, experts_per_token). Returns n_tokens; 0 for a layer without a router.
 * Needs keep_routes; valid until the next eval. While an answer is generated: of the token that was
 * appended last, if any. */
MOXIE_API uint32_t moxie_routes(const struct moxie_session *session, uint32_t layer,
                                const uint32_t **ids, const float **weights);

/* How many tokens the router has sent to each expert of a layer since the session was made, rewound
 * ones included: counts (experts), all zero in a layer without a router. Needs observe. */
MOXIE_API bool moxie_expert_counts(struct moxie_session *session, uint32_t layer, float *counts,
                                   struct moxie_error *err);

/* Writes the activation statistics that the session has collected since it was made: for every
 * matrix, of experts for each, how large its inputs were column by column, which quantisation can
 * use (an "imatrix" file, GGUF, as llama.cpp's). The last three are noted in the file: the text's
 * name, and that it was read in `chunks` pieces of chunk_tokens. Needs observe. */
MOXIE_API bool moxie_save_importance(struct moxie_session *session, const char *path,
                                     const char *text_name, uint32_t chunks, uint32_t chunk_tokens,
                                     struct moxie_error *err);

struct moxie_memory {
    uint64_t weights;          /* bytes on the device, or used in place from the mapped file */
    uint64_t context;          /* keys and values of all positions */
    uint64_t activations;      /* everything else of the session */
    uint64_t device_available; /* bytes free on the device now */
};
MOXIE_API void moxie_memory_report(const struct moxie_session *session,
                                   struct moxie_memory *memory);

struct moxie_counts { /* on Vulkan, since the model was opened */
    uint64_t submits, dispatches, barriers;
};
MOXIE_API void moxie_counts(const struct moxie_session *session, struct moxie_counts *counts);

/* Writes the op list for one token (chunk false) or for a chunk of a prompt, one line an op. */
MOXIE_API void moxie_print_ops(const struct moxie_session *session, bool chunk, FILE *out);

/* ---- Measuring ---- */

/* What a device can do at most, measured. Rates are per second; 0: it cannot, or it has no such
 * thing. */
#define MOXIE_READ_SIZES 8
struct moxie_peaks {
    uint32_t n_read; /* read bandwidth by buffer size, ascending: caches first, memory last */
    struct {
        uint64_t bytes;
        double bytes_per_second;
    } read[MOXIE_READ_SIZES];
    double dispatch_seconds; /* an empty dispatch after another; on the CPU an empty phase */
    double step_seconds;     /* a dispatch that depends on the one before (barrier) */
    double submit_seconds;   /* submit to the host's seeing it done, empty */
    double host_read;        /* bytes of host memory read by shaders */
    double copy_pageable[2], copy_pinned[2],
        copy_imported[2];                       /* bytes to the device, and from it */
    double matrix_f32, matrix_f16, matrix_int8; /* operations (a multiply-add is two) */
};
/* Measures the device that options name (device, threads, cache_folder), for some seconds.
 * `device`, if not NULL, gets its name. False also where a device cannot be measured. */
MOXIE_API bool moxie_device_peaks(const struct moxie_options *options, struct moxie_peaks *peaks,
                                  char device[128], struct moxie_error *err);
/* Bytes per second that are read out of a buffer of this size, between the sizes measured. */
MOXIE_API double moxie_peaks_read(const struct moxie_peaks *peaks, double bytes);

/* How the experts of every layer share the tokens of an evaluation: real tokens agree more than an
 * even choice would have it, so that fewer experts are read, by more tokens each. */
struct moxie_loads;
/* Appends n tokens, at_a_time of them an evaluation (n is a multiple of it), and counts; what it
 * returns is about one such evaluation, on average, in sessions with the same chunk. Needs
 * keep_routes. Freed by moxie_loads_free. */
MOXIE_API struct moxie_loads *moxie_loads_count(struct moxie_session *session, const uint32_t *ids,
                                                size_t n, uint32_t at_a_time,
                                                struct moxie_error *err);
/* Sets *loads to NULL; NULL is fine. */
MOXIE_API void moxie_loads_free(struct moxie_loads **loads);

/* What an evaluation must move and compute at least: every byte once, of experts those that are
 * chosen. */
struct moxie_cost {
    double weight_bytes;     /* of weights read */
    double cache_bytes;      /* of the context read and written */
    double activation_bytes; /* the rest */
    double operations;       /* of products (a multiply-add is two) */
    uint32_t ops, steps;     /* in the op lists; steps must wait for each other */
};
/* Of n >= 1 tokens of which the first is at `position`; position + n must fit the context. loads:
 * counted for n tokens; NULL: as many experts as an even choice is expected to take. Nothing is
 * evaluated. */
MOXIE_API bool moxie_eval_cost(struct moxie_session *session, uint32_t n, uint32_t position,
                               const struct moxie_loads *loads, struct moxie_cost *cost,
                               struct moxie_error *err);
/* Measures again, in turns and for about so many seconds, what changes while a machine is used:
 * reading as much as the model has, a dependent step, and the operations that the last prediction
 * was made of. peaks: the device's, measured before. Predictions from now on are about the average,
 * interruptions included; fresh: of what is measured from this call on. Between evaluations only.
 */
MOXIE_API bool moxie_peaks_again(struct moxie_session *session, struct moxie_peaks *peaks,
                                 bool fresh, double seconds, struct moxie_error *err);
/* How long that evaluation would take on a device with these peaks, the session's own; products as
 * the model has them are run on other weights, at the first time, to see how fast they are. */
MOXIE_API bool moxie_eval_predict(struct moxie_session *session, uint32_t n, uint32_t position,
                                  const struct moxie_loads *loads, const struct moxie_peaks *peaks,
                                  double *seconds, struct moxie_error *err);

/* One op of a list: what it took, and what it had to do. */
struct moxie_op_time {
    const char *name, *type; /* "matmul", and the type of what it reads, "q4_k" */
    double seconds;
    double bytes, operations; /* as in moxie_cost, all bytes together */
    double predicted;         /* seconds, as moxie_eval_predict counts them; 0: not asked for */
};
/* Appends tokens as moxie_eval does, only slower, and times every op; at most one chunk of tokens.
 * Fills at most `capacity` times; *count says how many there are. peaks: NULL: predicts nothing.
 * False also where the device cannot time ops. */
MOXIE_API bool moxie_op_times(struct moxie_session *session, const uint32_t *ids, size_t n,
                              const struct moxie_loads *loads, const struct moxie_peaks *peaks,
                              struct moxie_op_time *times, size_t capacity, size_t *count,
                              struct moxie_error *err);

/* ---- Sampling ---- */

struct moxie_sampling {
    float temperature;    /* 0 = greedy */
    uint32_t top_k;       /* 0 = off */
    float top_p;          /* 1 = off */
    float min_p;          /* 0 = off */
    float repeat_penalty; /* 1 = off */
    uint32_t repeat_last; /* how many last tokens are penalised */
    uint64_t seed;        /* the same seed, model and device give the same text; with the position
                             of a token it makes the random number that chooses it */
};
MOXIE_API struct moxie_sampling moxie_sampling_defaults(void);

struct moxie_sampler;
MOXIE_API struct moxie_sampler *moxie_sampler_create(const struct moxie_model *model,
                                                     const struct moxie_sampling *sampling,
                                                     struct moxie_error *err);
MOXIE_API void moxie_sampler_destroy(struct moxie_sampler **sampler);
/* Tells the sampler of a token of the prompt or of the answer (for the repeat penalty). */
MOXIE_API void moxie_sampler_accept(struct moxie_sampler *sampler, uint32_t id);
/* Chooses the next token from the session's logits: the same one at every call until the session
 * holds other tokens, or the sampler knows of others. */
MOXIE_API uint32_t moxie_sample(struct moxie_sampler *sampler, const struct moxie_session *session);

/* An answer, token by token, chosen where the model runs: faster than moxie_eval and moxie_sample
 * with a sampler of the same settings, which choose the same tokens, where nobody asks for logits.
 * A GPU computes the next token while the caller looks at the last one.
 *
 *     moxie_eval(session, ids, n, &err);
 *     moxie_generate_begin(session, &sampling, ids, n, &err);
 *     while (moxie_generate_next(session, &id, &err) && !moxie_is_stop(model, id)) ...
 *     moxie_generate_end(session);
 *
 * Begins after an eval (moxie_logits is not NULL). `last` (n tokens, the newest last; may be NULL
 * if n is 0) is what the repeat penalty begins with; at most as many as the context holds are
 * penalised. Until moxie_generate_end only these functions, moxie_position, moxie_context,
 * moxie_routes and reports may be called for the session, and it has no logits. False if a setting
 * is out of range or an id outside the vocabulary, or if the device fails. */
MOXIE_API bool moxie_generate_begin(struct moxie_session *session,
                                    const struct moxie_sampling *sampling, const uint32_t *last,
                                    size_t n, struct moxie_error *err);
/* Appends the token that it returned before, if any, and chooses the one that follows. False if the
 * context is full (moxie_position equals moxie_context): the session is as it was. False if the
 * device fails, then again at every call, with the same sentence. */
MOXIE_API bool moxie_generate_next(struct moxie_session *session, uint32_t *id,
                                   struct moxie_error *err);
/* The session holds all tokens but the last one returned; what was computed beyond is forgotten.
 * It may go on with moxie_eval of that token, or of others. Without a begin it does nothing. */
MOXIE_API void moxie_generate_end(struct moxie_session *session);

#ifdef __cplusplus
}
#endif

#endif
