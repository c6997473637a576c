/* Published templates: texts written down by hand, the renderings of Jinja for many conversations
 * (tests/reference/chat_template_vectors.py), and what damage to a template does.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <jansson.h>

#include "engine/text/chat_template_internal.h"
#include "tests/check.h"
#include "tests/text/template_file.h"

static json_t *load_expected(void)
{
    json_t *file = json_load_file(check_source_path("tests/text/chat_template_real.json"), 0, NULL);
    cr_assert(file);
    return file;
}

/* ---- against Jinja ------------------------------------------------------------------------ */

static void check_result(const char *where, const json_t *expected, bool ok, const char *text,
                         size_t bytes, const struct error *err)
{
    const char *wanted = json_string_value(json_object_get(expected, "text"));
    const char *raised = json_string_value(json_object_get(expected, "raised"));
    const char *hash = json_string_value(json_object_get(expected, "hash"));
    if (json_object_get(expected, "fails")) {
        cr_expect(!ok, "%s: should fail, not give %s", where, text);
        return;
    }
    if (raised) {
        cr_expect(!ok, "%s: should raise \"%s\"", where, raised);
        cr_expect(!strncmp(err->text, raised, sizeof(err->text) - 4), "%s: %s", where, err->text);
        return;
    }
    cr_expect(ok, "%s: %s", where, err->text);
    if (ok && wanted) {
        cr_expect(strcmp(text, wanted) == 0, "%s gives\n%s\nnot\n%s", where, text, wanted);
    } else if (ok) {
        char own[20];
        snprintf(own, sizeof(own), "%016" PRIx64, template_file_hash(text, bytes));
        cr_expect(hash && strcmp(hash, own) == 0, "%s differs: %s", where, text);
        cr_expect_eq(bytes, (size_t)json_integer_value(json_object_get(expected, "bytes")));
    }
}

static void check_template(const char *name, const char *source, json_t *results,
                           const json_t *conversations)
{
    struct error err = {{0}};
    struct chat_template *template = chat_template_create(source, strlen(source), &err);
    cr_expect(template, "%s: %s", name, err.text);
    const char *key;
    json_t *expected;
    json_object_foreach(results, key, expected)
    {
        char where[200], *text = NULL;
        size_t bytes = 0;
        snprintf(where, sizeof(where), "%s, %s", name, key);
        const json_t *variables = json_object_get(conversations, key);
        bool ok = template && chat_template_render_at(template, variables, &template_file_time,
                                                      &text, &bytes, &err);
        check_result(where, expected, ok, text, bytes, &err);
        free(text);
    }
    chat_template_destroy(&template);
}

Test(chat_template_real, renders_every_conversation_as_jinja)
{
    json_t *file = load_expected(), *results;
    const char *name;
    size_t n = 0;
    json_object_foreach(json_object_get(file, "expected"), name, results)
    {
        char *source = template_file_read(name);
        if (source) {
            check_template(name, source, results, json_object_get(file, "conversations"));
            n++;
        }
        free(source);
    }
    cr_assert_eq(json_object_size(json_object_get(file, "expected")), 20);
    json_decref(file);
    if (n == 0) {
        cr_skip("the reference templates are not here");
    }
    cr_assert_eq(n, 20);
}

/* ---- golden texts ------------------------------------------------------------------------- */

#define CHATML \
    "<|im_start|>system\nYou are a helpful " \
    "assistant.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n" \
    "<|im_start|>assistant\nHi there!<|im_end|>\n<|im_start|>user\nHow are you?<|im_end|>\n" \
    "<|im_start|>assistant\n"
#define DEEPSEEK_BOS "<\uFF5Cbegin\u2581of\u2581sentence\uFF5C>"
#define DEEPSEEK_EOS "<\uFF5Cend\u2581of\u2581sentence\uFF5C>"
#define DEEPSEEK_USER "<\uFF5CUser\uFF5C>"
#define DEEPSEEK_ASSISTANT "<\uFF5CAssistant\uFF5C>"
#define FOLDER "reference/chat_templates/"
#define HEADER(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
#define GRANITE(role, text) "<|start_of_role|>" role "<|end_of_role|>" text "<|end_of_text|>\n"

/* system "You are a helpful assistant.", user "Hello", assistant "Hi there!", user "How are you?"
 */
static const struct {
    const char *name, *bos, *eos, *text;
    bool no_system, no_thinking;
} golden[] = {
    {"models/moxie-tiny", "", "<|im_end|>", CHATML, .no_system = false},
    {FOLDER "Qwen-Qwen2.5-7B-Instruct.jinja", "", "<|im_end|>", CHATML, .no_system = false},
    {FOLDER "Qwen-Qwen3-0.6B.jinja", "", "<|im_end|>", CHATML, .no_system = false},
    {FOLDER "Qwen3-Coder.jinja", "", "<|im_end|>", CHATML, .no_system = false},
    {FOLDER "Qwen-Qwen3-0.6B.jinja", "", "<|im_end|>", CHATML "<think>\n\n</think>\n\n",
     .no_thinking = true},
    {FOLDER "LFM2-8B-A1B.jinja", "<|startoftext|>", "<|im_end|>", "<|startoftext|>" CHATML,
     .no_system = false},
    {FOLDER "mistralai-Mistral-Nemo-Instruct-2407.jinja", "<s>", "</s>",
     "<s>[INST]Hello[/INST]Hi there!</s>[INST]You are a helpful assistant.\n\nHow are "
     "you?[/INST]",
     .no_system = false},
    {FOLDER "meta-llama-Llama-3.1-8B-Instruct.jinja", "<|begin_of_text|>", "<|eot_id|>",
     "<|begin_of_text|>" HEADER(
         "system") "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul "
                   "2024\n\nYou are a helpful assistant.<|eot_id|>" HEADER(
                       "user") "Hello<|eot_id|>" HEADER("assistant") "Hi "
                                                                     "there!<|eot_id|"
                                                                     ">" HEADER(
                                                                         "user") "Ho"
                                                                                 "w "
                                                                                 "ar"
                                                                                 "e "
                                                                                 "yo"
                                                                                 "u?"
                                                                                 "<|"
                                                                                 "eo"
                                                                                 "t_"
                                                                                 "id"
                                                                                 "|"
                                                                                 ">" HEADER(
                                                                                     "assistant"),
     .no_system = false},
    {FOLDER "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja", DEEPSEEK_BOS, DEEPSEEK_EOS,
     DEEPSEEK_BOS "You are a helpful assistant." DEEPSEEK_USER "Hello" DEEPSEEK_ASSISTANT
                  "Hi there!" DEEPSEEK_EOS DEEPSEEK_USER "How are you?" DEEPSEEK_ASSISTANT
                  "<think>\n",
     .no_system = false},
    {FOLDER "openai-gpt-oss-120b.jinja", "", "<|return|>",
     "<|start|>system<|message|>You are ChatGPT, a large language model trained by "
     "OpenAI.\n"
     "Knowledge cutoff: 2024-06\nCurrent date: 2026-01-15\n\nReasoning: medium\n\n"
     "# Valid channels: analysis, commentary, final. Channel must be included for every "
     "message."
     "<|end|><|start|>developer<|message|># Instructions\n\nYou are a helpful "
     "assistant.\n\n<|end|>"
     "<|start|>user<|message|>Hello<|end|><|start|>assistant<|channel|>final<|message|>Hi "
     "there!"
     "<|end|><|start|>user<|message|>How are you?<|end|><|start|>assistant",
     .no_system = false},
    {FOLDER "ibm-granite-granite-3.3-2B-Instruct.jinja", "<|end_of_text|>", "<|end_of_text|>",
     GRANITE("system", "You are a helpful assistant.") GRANITE("user", "Hello")
         GRANITE("assistant", "Hi there!")
             GRANITE("user", "How are you?") "<|start_of_role|>assistant<|end_of_role|>",
     .no_system = false},
    {FOLDER "ibm-granite-granite-3.3-2B-Instruct.jinja", "<|end_of_text|>", "<|end_of_text|>",
     GRANITE("system", "Knowledge Cutoff Date: April 2024. Today's Date: January 15, 2026. "
                       "You are Granite, developed by IBM. You are a helpful AI assistant.")
         GRANITE("user", "Hello") GRANITE("assistant", "Hi there!")
             GRANITE("user", "How are you?") "<|start_of_role|>assistant<|end_of_role|>",
     .no_system = true},
    {FOLDER "microsoft-Phi-3.5-mini-instruct.jinja", "<s>", "<|endoftext|>",
     "<|system|>\nYou are a helpful "
     "assistant.<|end|>\n<|user|>\nHello<|end|>\n<|assistant|>\n"
     "Hi there!<|end|>\n<|user|>\nHow are you?<|end|>\n<|assistant|>\n",
     .no_system = false},
    {FOLDER "Kimi-K2-Instruct.jinja", "[BOS]", "[EOS]",
     "<|im_system|>system<|im_middle|>You are a helpful assistant.<|im_end|><|im_user|>user"
     "<|im_middle|>Hello<|im_end|><|im_assistant|>assistant<|im_middle|>Hi there!<|im_end|>"
     "<|im_user|>user<|im_middle|>How are "
     "you?<|im_end|><|im_assistant|>assistant<|im_middle|>",
     .no_system = false},
    {FOLDER "GLM-4.6.jinja", "", "<|endoftext|>",
     "[gMASK]<sop><|system|>\nYou are a helpful assistant.<|user|>\nHello<|assistant|>\n"
     "<think></think>\nHi there!<|user|>\nHow are you?<|assistant|>",
     .no_system = false},
    {FOLDER "google-gemma-2-2b-it.jinja", "<bos>", "<eos>",
     "<bos><start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\nHi "
     "there!<end_of_turn>\n"
     "<start_of_turn>user\nHow are you?<end_of_turn>\n<start_of_turn>model\n",
     .no_system = true},
    {FOLDER "HuggingFaceTB-SmolLM3-3B.jinja", "", "<|im_end|>",
     "<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\nReasoning Mode: "
     "/think\n\n"
     "## Custom Instructions\n\nYou are a helpful "
     "assistant.\n\n<|im_end|>\n<|im_start|>user\nHello"
     "<|im_end|>\n<|im_start|>assistant\nHi there!<|im_end|>\n<|im_start|>user\nHow are "
     "you?"
     "<|im_end|>\n<|im_start|>assistant\n",
     .no_system = false},
};

static void append_message(json_t *messages, const char *role, const char *content)
{
    json_array_append_new(messages, json_pack("{s:s, s:s}", "role", role, "content", content));
}

static void check_golden(size_t i, const char *source)
{
    json_t *messages = json_array();
    if (!golden[i].no_system) {
        append_message(messages, "system", "You are a helpful assistant.");
    }
    append_message(messages, "user", "Hello");
    append_message(messages, "assistant", "Hi there!");
    append_message(messages, "user", "How are you?");
    json_t *variables =
        json_pack("{s:o, s:s, s:s, s:b}", "messages", messages, "bos_token", golden[i].bos,
                  "eos_token", golden[i].eos, "add_generation_prompt", 1);
    if (golden[i].no_thinking) {
        json_object_set_new(variables, "enable_thinking", json_false());
    }
    struct error err = {{0}};
    char *text = NULL;
    size_t bytes;
    struct chat_template *template = chat_template_create(source, strlen(source), &err);
    bool ok = template && chat_template_render_at(template, variables, &template_file_time, &text,
                                                  &bytes, &err);
    cr_expect(ok, "%s: %s", golden[i].name, err.text);
    cr_expect(!ok || strcmp(text, golden[i].text) == 0, "%s gives\n%s\nnot\n%s", golden[i].name,
              text, golden[i].text);
    free(text);
    chat_template_destroy(&template);
    json_decref(variables);
}

Test(chat_template_real, golden_texts)
{
    size_t n = 0, count = sizeof(golden) / sizeof(golden[0]);
    for (size_t i = 0; i < count; i++) {
        char *source = template_file_read(golden[i].name);
        if (source) {
            check_golden(i, source);
            n++;
        }
        free(source);
    }
    if (n == 0) {
        cr_skip("the reference templates are not here");
    }
    cr_assert_eq(n, count);
}

/* ---- damage ------------------------------------------------------------------------------- */

/* Exactly `bytes` bytes of memory, so that a checker sees a read behind them. */
static void try_source(const char *source, size_t bytes, const json_t *variables)
{
    char *copy = malloc(bytes + !bytes), *text = NULL;
    size_t text_bytes;
    memcpy(copy, source, bytes);
    struct error err = {{0}};
    struct chat_template *template = chat_template_create(copy, bytes, &err);
    free(copy);
    cr_assert(template || err.text[0]);
    if (template && chat_template_render_at(template, variables, &template_file_time, &text,
                                            &text_bytes, &err)) {
        cr_assert_eq(text[text_bytes], 0);
        free(text);
    }
    chat_template_destroy(&template);
}

Test(chat_template_real, every_truncation_ends_well)
{
    json_t *file = load_expected(), *results;
    const json_t *variables =
        json_object_get(json_object_get(file, "conversations"), "tool call done");
    const char *name;
    size_t n = 0;
    json_object_foreach(json_object_get(file, "expected"), name, results)
    {
        char *source = template_file_read(name);
        for (size_t bytes = 0; source && bytes < strlen(source); bytes++) {
            try_source(source, bytes, variables);
            n++;
        }
        free(source);
    }
    json_decref(file);
    if (n == 0) {
        cr_skip("the reference templates are not here");
    }
    cr_assert_gt(n, 80000);
}

/* Some bytes exchanged, taken out, or copied from elsewhere. */
static size_t damage(struct check_random *random, char *source, size_t bytes)
{
    for (uint32_t i = 0; i < 1 + check_random_below(random, 4) && bytes > 80; i++) {
        size_t at = check_random_below(random, (uint32_t)bytes - 40);
        size_t from = check_random_below(random, (uint32_t)bytes - 40);
        size_t n = 1 + check_random_below(random, 30);
        switch (check_random_below(random, 3)) {
        case 0:
            source[at] = "{}%#()[]'\"|.,:-+*~ \n\\x0"[check_random_below(random, 23)];
            break;
        case 1:
            memmove(source + at, source + at + n, bytes - at - n);
            bytes -= n;
            break;
        default:
            memmove(source + at, source + from, n);
        }
    }
    return bytes;
}

Test(chat_template_real, damaged_templates_end_well)
{
    json_t *file = load_expected(), *vectors, *cases;
    vectors = json_load_file(check_source_path("tests/text/chat_template_vectors.json"), 0, NULL);
    cases = json_object_get(vectors, "cases");
    const json_t *variables = json_object_get(vectors, "variables");
    struct check_random random = {.state = 7};
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_object_get(json_array_get(cases, i), "template");
        for (int round = 0; round < 20; round++) {
            char *source = strdup(json_string_value(one));
            try_source(source, damage(&random, source, strlen(source)), variables);
            free(source);
        }
    }
    const char *name;
    json_t *results;
    variables = json_object_get(json_object_get(file, "conversations"), "tool call");
    json_object_foreach(json_object_get(file, "expected"), name, results)
    {
        char *whole = template_file_read(name);
        for (int round = 0; whole && round < 200; round++) {
            char *source = strdup(whole);
            try_source(source, damage(&random, source, strlen(source)), variables);
            free(source);
        }
        free(whole);
    }
    json_decref(vectors);
    json_decref(file);
}
