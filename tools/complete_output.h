/* Where a completion goes: text on standard output, or JSON lines (token_json.h); up to a stop
 * string.
 */
#pragma once

#include "engine/moxie.h"
#include "tools/stop_strings.h"
#include "tools/text_buffer.h"
#include "tools/token_json.h"

struct complete_output {
    const struct moxie_model *model; /* set these before the first token */
    const struct moxie_session *session;
    bool show_special;
    struct stop_strings stops;
    struct token_json *lines; /* NULL: text */
    struct moxie_text_stream stream;
    struct text_buffer certain; /* JSON: the whole answer; text: what is not printed yet */
    bool stopped;               /* a stop string came */
    bool failed;                /* memory ran out */
};

/* Takes a token; false: enough (stopped or failed). */
bool complete_output_token(struct complete_output *output, uint32_t id);
/* The end of the answer: prints what was held back. */
void complete_output_end(struct complete_output *output);
void complete_output_free(struct complete_output *output);
