/* Chat templates: a conversation with tools is rendered. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/text/chat_template.h"
#include "tests/fuzz/fuzz.h"

static const char variables[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"},"
    "{\"role\": \"user\", \"content\": \" What is 1 + 2? \"},"
    "{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"type\": \"function\","
    "\"function\": {\"name\": \"add\", \"arguments\": {\"a\": 1, \"b\": 2.5}}}]},"
    "{\"role\": \"tool\", \"content\": \"3\"}],"
    "\"tools\": [{\"name\": \"add\", \"parameters\": {\"a\": \"int\", \"w\": \"\\u00f6 <&>\"}}],"
    "\"add_generation_prompt\": true, \"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}";

static bool run(const uint8_t *data, size_t bytes)
{
    static json_t *values;
    struct error err = {""};
    char *text = NULL;
    size_t length = 0;
    if (!values) {
        values = json_loads(variables, 0, NULL);
        assert(values);
    }
    struct chat_template *template = chat_template_create((const char *)data, bytes, &err);
    if (!template) {
        assert(err.text[0]);
        return false;
    }
    bool ok = chat_template_render(template, values, &text, &length, &err);
    assert(!ok || text[length] == 0);
    assert(ok || err.text[0]);
    free(text);
    chat_template_destroy(&template);
    return ok;
}

/* Copies a piece of the template to another place, now and then; libFuzzer knows the rest. */
static size_t mutate(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                     fuzz_change *change)
{
    if (bytes < 2 || fuzz_random_below(random, 4) != 0) {
        return change(data, bytes, room);
    }
    uint32_t from = fuzz_random_below(random, (uint32_t)bytes);
    uint32_t to = fuzz_random_below(random, (uint32_t)bytes);
    size_t length = 1 + fuzz_random_below(random, 48);
    length = length < bytes - from ? length : bytes - from;
    if (bytes + length > room) {
        return change(data, bytes, room);
    }
    uint8_t piece[48];
    memcpy(piece, data + from, length);
    memmove(data + to + length, data + to, bytes - to);
    memcpy(data + to, piece, length);
    return bytes + length;
}

const struct fuzz_target fuzz_template = {"template", run, mutate};
