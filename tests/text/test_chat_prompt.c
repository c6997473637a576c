/* Prompts of chats: the forms of families whose models bring no template, written out by hand; and
 * that text of strangers never becomes a special token, however a template joins it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <criterion/criterion.h>
#include <jansson.h>

#include "engine/text/chat_messages.h"
#include "engine/text/chat_prompt.h"
#include "engine/text/chat_template_family.h"
#include "tests/check.h"
#include "tests/text/tokenizer_fixture.h"

/* ---- forms of families -------------------------------------------------------------------- */

#define CONVERSATION \
    "[{\"role\": \"system\", \"content\": \"You are a helpful assistant.\"}," \
    "{\"role\": \"user\", \"content\": \"Hello\"}," \
    "{\"role\": \"assistant\", \"content\": [{\"type\": \"text\", \"text\": \"Hi \"}, " \
    "{\"type\": \"text\", \"text\": \"there!\"}]}," \
    "{\"role\": \"user\", \"content\": [\"How are\", \" you?\"]}]"
#define BAR "\uFF5C"

/* The texts are those of published templates and model cards for this conversation. `token` is in
 * the vocabulary; the begin and end tokens are <s> and </s>. %s stands for the date. */
static const struct {
    const char *architecture, *token, *name, *text;
} forms[] = {
    {"qwen3moe", "<|im_start|>", "ChatML",
     "<|im_start|>system\nYou are a helpful "
     "assistant.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
     "<|im_start|>assistant\nHi there!<|im_end|>\n<|im_start|>user\nHow are you?<|im_end|>\n"
     "<|im_start|>assistant\n"},
    {"mixtral", "<x>", "Mixtral",
     "<s> [INST] You are a helpful assistant.\n\nHello [/INST] Hi there!</s> [INST] How are you? "
     "[/INST]"},
    {"llama", "<|start_header_id|>", "Llama 3",
     "<s><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful assistant.<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\nHi there!<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nHow are you?<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"llama", "<x>", "Llama 2",
     "<s>[INST] <<SYS>>\nYou are a helpful assistant.\n<</SYS>>\n\nHello [/INST] Hi there! </s>"
     "<s>[INST] How are you? [/INST]"},
    {"olmoe", "<x>", "Tulu",
     "<s><|system|>\nYou are a helpful assistant.\n<|user|>\nHello\n<|assistant|>\nHi there!</s>\n"
     "<|user|>\nHow are you?\n<|assistant|>\n"},
    {"gpt-oss", "<|start|>", "harmony",
     "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
     "Knowledge cutoff: 2024-06\nCurrent date: %s\n\nReasoning: medium\n\n"
     "# Valid channels: analysis, commentary, final. Channel must be included for every message."
     "<|end|><|start|>developer<|message|># Instructions\n\nYou are a helpful assistant.\n\n<|end|>"
     "<|start|>user<|message|>Hello<|end|><|start|>assistant<|channel|>final<|message|>Hi there!"
     "<|end|><|start|>user<|message|>How are you?<|end|><|start|>assistant"},
    {"deepseek2", "<" BAR "User" BAR ">", "DeepSeek-V3",
     "<s>You are a helpful assistant.<" BAR "User" BAR ">Hello<" BAR "Assistant" BAR
     ">Hi there!</s><" BAR "User" BAR ">How are you?<" BAR "Assistant" BAR ">"},
    {"deepseek2", "<x>", "DeepSeek-V2",
     "<s>You are a helpful assistant.\n\nUser: Hello\n\nAssistant: Hi there!</s>User: How are "
     "you?\n\nAssistant:"},
    {"deepseek3", "<x>", "DeepSeek-V3",
     "<s>You are a helpful assistant.<" BAR "User" BAR ">Hello<" BAR "Assistant" BAR
     ">Hi there!</s><" BAR "User" BAR ">How are you?<" BAR "Assistant" BAR ">"},
};
#define N_FORMS (sizeof(forms) / sizeof(forms[0]))

#define CONFIG "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}"

/* All bytes as tokens (tokenizer_deepseek.json), with <s>, </s> and another special token. */
static void open_tokenizer(struct tokenizer_fixture *fixture, const char *token)
{
    json_t *json = json_load_file(check_source_path("tests/text/tokenizer_deepseek.json"), 0, NULL);
    cr_assert(json);
    const char *const texts[] = {"<s>", "</s>", token};
    for (int i = 0; i < 3; i++) {
        json_array_append_new(json_object_get(json, "added_tokens"),
                              json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", 1000 + i,
                                        "content", texts[i], "special", 1, "normalized", 0,
                                        "lstrip", 0, "rstrip", 0, "single_word", 0));
    }
    char *text = json_dumps(json, 0);
    tokenizer_fixture_text(fixture, text, CONFIG);
    free(text);
    json_decref(json);
}

static json_t *variables_of(const char *messages, const char *tools)
{
    struct error err = {{0}};
    const struct chat_messages chat = {
        .messages = messages, .tools = tools, .add_generation_prompt = true};
    json_t *variables = chat_messages_variables(&chat, &err);
    cr_assert(variables, "%s", err.text);
    return variables;
}

static void today(char *text, size_t bytes)
{
    time_t now = time(NULL);
    strftime(text, bytes, "%Y-%m-%d", localtime(&now));
}

/* Renders; on another day than it was before once more. */
static void check_form(size_t i, const struct chat_template *template,
                       const struct tokenizer *tokenizer, const json_t *variables)
{
    char before[20] = "", after[20], wanted[2048], *text = NULL;
    size_t bytes;
    struct error err = {{0}};
    do {
        free(text);
        today(before, sizeof(before));
        cr_assert(chat_prompt_text(template, tokenizer, variables, &text, &bytes, &err), "%s: %s",
                  forms[i].name, err.text);
        today(after, sizeof(after));
    } while (strcmp(before, after) != 0);
    const char *date = strstr(forms[i].text, "%s");
    size_t head = date ? (size_t)(date - forms[i].text) : strlen(forms[i].text);
    snprintf(wanted, sizeof(wanted), "%.*s%s%s", (int)head, forms[i].text, date ? before : "",
             date ? date + 2 : "");
    cr_expect_str_eq(text, wanted, "%s gives\n%s\nnot\n%s", forms[i].name, text, wanted);
    free(text);
}

Test(chat_prompt, forms_of_families)
{
    for (size_t i = 0; i < N_FORMS; i++) {
        struct tokenizer_fixture fixture;
        struct error err = {{0}};
        open_tokenizer(&fixture, forms[i].token);
        const struct chat_template_family *family =
            chat_template_family_find(forms[i].architecture, fixture.tokenizer);
        cr_assert(family, "%s", forms[i].name);
        cr_expect_str_eq(family->name, forms[i].name);
        struct chat_template *template =
            chat_template_create(family->text, strlen(family->text), &err);
        cr_assert(template, "%s: %s", family->name, err.text);
        json_t *variables = variables_of(CONVERSATION, NULL);
        check_form(i, template, fixture.tokenizer, variables);
        json_decref(variables);
        char *text = NULL;
        size_t bytes;
        variables = variables_of(CONVERSATION, "[{\"name\": \"f\"}]");
        cr_expect(!chat_prompt_text(template, fixture.tokenizer, variables, &text, &bytes, &err));
        cr_expect_not_null(strstr(err.text, "knows no tools"), "%s", err.text);
        json_decref(variables);
        chat_template_destroy(&template);
        tokenizer_fixture_free(&fixture);
    }
}

Test(chat_prompt, families_without_a_form)
{
    struct tokenizer_fixture fixture;
    open_tokenizer(&fixture, "<x>");
    cr_expect_null(chat_template_family_find("qwen3moe", fixture.tokenizer));
    cr_expect_null(chat_template_family_find("gpt-oss", fixture.tokenizer));
    cr_expect_null(chat_template_family_find("banana", fixture.tokenizer));
    cr_expect_null(chat_template_family_find("llama", NULL));
    cr_expect_not_null(chat_template_family_find("mixtral", NULL));
    tokenizer_fixture_free(&fixture);
}

/* ---- text of strangers -------------------------------------------------------------------- */

/* Joins what it gets in the ways that published templates do. */
static const char joining[] =
    "{{ bos_token }}{% for m in messages %}<|x|>{{ m.role }}:"
    "{% if m.content is string %}{{ m.content | trim }}"
    "{% else %}{% for p in m.content %}{{ p.text | trim }}{% endfor %}{% endif %}"
    "{% for c in m.tool_calls or [] %}{{ c.name ~ c.arguments | tojson }}"
    "{% for k, v in c.arguments | items %}{{ k }}{{ v }}{% endfor %}{% endfor %}{{ eos_token }}"
    "{% endfor %}{{ tools | tojson }}{{ x }}{{ x | tojson(ensure_ascii=true) }}"
    "{{ messages[1] }}{{ [x] }}<|x|>";

static void append_random(struct check_random *random, json_t *parts, bool object)
{
    static const char *const pieces[] = {
        "<|x|>",        "<s>",   "</s>",    "<|",     "x|>", "<",   "|",      ">",  "s>",
        "</",           "/",     " ",       "a",      "\n",  "<|x", "\u00E9", "|>", "\u3000",
        "\xEF\xB7\x90", "<</s>", "\\ufdd0", "\\ufdd1"};
    char text[256] = "";
    for (uint32_t n = check_random_below(random, 8); n > 0; n--) {
        strcat(text, pieces[check_random_below(random, sizeof(pieces) / sizeof(pieces[0]))]);
    }
    json_array_append_new(parts, object ? json_pack("{s:s, s:s}", "type", "text", "text", text)
                                        : json_string(text));
}

static json_t *random_variables(struct check_random *random)
{
    json_t *parts = json_array(), *words = json_array();
    for (int i = 0; i < 6; i++) {
        append_random(random, parts, true);
        append_random(random, words, false);
    }
    const char *w[6];
    for (int i = 0; i < 6; i++) {
        w[i] = json_string_value(json_array_get(words, (size_t)i));
    }
    json_t *variables =
        json_pack("{s:[{s:s, s:s}, {s:s, s:o}, {s:s, s:s, s:[{s:s, s:{s:s}}]}], s:[{s:s}], s:s}",
                  "messages", "role", "user", "content", w[0], "role", "user", "content", parts,
                  "role", "assistant", "content", w[1], "tool_calls", "name", w[2], "arguments",
                  w[3][0] ? w[3] : "k", w[4], "tools", "name", w[5], "x", w[0]);
    cr_assert(variables);
    json_decref(words);
    return variables;
}

/* The ids spell the text, and only the template's own tokens are special. */
static void check_ids(const struct chat_template *template, const struct tokenizer *tokenizer,
                      const json_t *variables, size_t n_special)
{
    struct error err = {{0}};
    struct token_list list = {0};
    char *text = NULL;
    size_t bytes, at = 0, special = 0;
    cr_assert(chat_prompt_text(template, tokenizer, variables, &text, &bytes, &err), "%s",
              err.text);
    cr_assert(chat_prompt_tokens(template, tokenizer, variables, &list, &err), "%s", err.text);
    for (size_t i = 0; i < list.count; i++) {
        uint32_t n;
        const char *piece = tokenizer_token_bytes(tokenizer, list.ids[i], true, &n);
        cr_assert(at + n <= bytes && memcmp(text + at, piece, n) == 0, "at %zu of %s", at, text);
        at += n;
        special += tokenizer_is_special(tokenizer, list.ids[i]);
    }
    cr_expect_eq(at, bytes, "%zu of %zu: %s", at, bytes, text);
    cr_expect_eq(special, n_special, "%zu special tokens in %s", special, text);
    token_list_free(&list);
    free(text);
}

Test(chat_prompt, text_of_strangers_stays_text)
{
    struct tokenizer_fixture fixture;
    struct error err = {{0}};
    struct check_random random = {.state = 5};
    open_tokenizer(&fixture, "<|x|>");
    struct chat_template *template = chat_template_create(joining, strlen(joining), &err);
    cr_assert(template, "%s", err.text);
    for (int round = 0; round < 5000; round++) {
        json_t *variables = random_variables(&random);
        json_t *before = json_deep_copy(variables);
        check_ids(template, fixture.tokenizer, variables, 8);
        cr_expect(json_equal(before, variables), "the caller's variables changed");
        json_decref(before);
        json_decref(variables);
    }
    chat_template_destroy(&template);
    tokenizer_fixture_free(&fixture);
}

Test(chat_prompt, the_callers_own_special_tokens_count)
{
    struct tokenizer_fixture fixture;
    struct error err = {{0}};
    open_tokenizer(&fixture, "<|x|>");
    const char *source = "{{ bos_token }}{{ eos_token }}{{ messages[0].content }}";
    struct chat_template *template = chat_template_create(source, strlen(source), &err);
    json_t *variables = variables_of("[{\"role\": \"user\", \"content\": \"<s>\"}]", NULL);
    json_object_set_new(variables, "bos_token", json_string("<|x|>"));
    check_ids(template, fixture.tokenizer, variables, 2);
    char *text;
    size_t bytes;
    cr_assert(chat_prompt_text(template, fixture.tokenizer, variables, &text, &bytes, &err));
    cr_expect_str_eq(text, "<|x|></s><s>");
    free(text);
    json_decref(variables);
    chat_template_destroy(&template);
    tokenizer_fixture_free(&fixture);
}

Test(chat_prompt, when_every_marker_is_taken)
{
    struct tokenizer_fixture fixture;
    struct error err = {{0}};
    struct token_list list = {0};
    char content[32 * 3 + 1] = "";
    open_tokenizer(&fixture, "<|x|>");
    for (int i = 0; i < 32; i++) {
        const char point[] = {'\xEF', '\xB7', (char)(0x90 + i), 0};
        strcat(content, point);
    }
    json_t *variables = json_pack("{s:s}", "x", content);
    struct chat_template *template = chat_template_create("{{ x }}", 7, &err);
    cr_expect(!chat_prompt_tokens(template, fixture.tokenizer, variables, &list, &err));
    cr_expect_str_eq(err.text, "the messages contain every noncharacter from U+FDD0 to U+FDEF");
    json_decref(variables);
    chat_template_destroy(&template);
    tokenizer_fixture_free(&fixture);
    token_list_free(&list);
}
