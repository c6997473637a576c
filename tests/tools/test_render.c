/* moxie render as a user meets it, and the public functions for conversations as JSON: the demo
 * model, a folder whose tokenizer brings no template, templates of strangers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <jansson.h>

#include "engine/moxie.h"
#include "engine/source_template.h"
#include "format/gguf_writer.h"
#include "tests/check.h"
#include "tests/tools/run_program.h"
#include "tests/tools/tiny_checkpoint.h"

#define TALK \
    "[{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": " \
    "\"Hello\"}]"
#define CHATML \
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n" \
    "<|im_start|>assistant\n"

static const char *demo(void)
{
    return check_source_path("models/moxie-tiny.moxie");
}

static const char *file(const char *name, const char *text)
{
    const char *path = check_path(check_temp_dir(), name);
    cr_assert(check_write_file(path, text, strlen(text)));
    return path;
}

static void expect_text(const struct program_run *run, const char *text)
{
    cr_expect_eq(run->status, 0, "exit %d: %s", run->status, run->err);
    cr_expect_str_eq(run->out, text);
    cr_expect_str_empty(run->err);
}

static void expect_sentence(const struct program_run *run, const char *words)
{
    char copy[256];
    size_t n = strlen(run->err);
    cr_expect_eq(run->status, 1, "exit %d: %s", run->status, run->err);
    cr_expect_str_empty(run->out);
    cr_expect(n > 0 && strchr(run->err, '\n') == run->err + n - 1, "one line: %s", run->err);
    snprintf(copy, sizeof(copy), "%s", words);
    for (char *word = strtok(copy, "|"); word; word = strtok(NULL, "|")) {
        cr_expect_not_null(strstr(run->err, word), "\"%s\" in: %s", word, run->err);
    }
}

Test(render, the_models_own_template)
{
    expect_text(run_moxie(TALK, "render --messages -"), CHATML);
    expect_text(run_moxie(NULL, "render '%s' --messages '%s'", demo(), file("m.json", TALK)),
                CHATML);
    const struct program_run *run = run_moxie(TALK, "render -m - --no-generation-prompt");
    cr_expect_eq(run->status, 0);
    cr_expect_eq(strlen(run->out), strlen(CHATML) - strlen("<|im_start|>assistant\n"));
}

Test(render, a_template_with_tools_and_variables)
{
    const char *template =
        file("t.jinja", "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}\n"
                        "{{ tools|tojson }} {{ documents }} {{ x|default(none)|tojson }} {{ y }} "
                        "{{ add_generation_prompt }} [{{ bos_token }}]\n\n");
    expect_text(run_moxie(NULL,
                          "render --template '%s' --messages '%s' --tools '%s' "
                          "--var 'x={\"a\": [1.0, \"\\u00e9\"]}' --var=y=false "
                          "--var 'bos_token=\"<b>\"'",
                          template, file("m.json", TALK),
                          file("tools.json", "[{\"name\": \"f\"}]")),
                "system=Be brief.;user=Hello;[{\"name\": \"f\"}] None {\"a\": [1.0, \"\u00E9\"]} "
                "False True [<b>]\n");
    expect_text(run_moxie(TALK, "render --template '%s' -m - --no-generation-prompt", template),
                "system=Be brief.;user=Hello;null None null  False []\n");
}

/* Not even its own template's turns can be opened by what somebody says. */
Test(render, ids_of_what_strangers_say)
{
    const struct program_run *run =
        run_moxie("[{\"role\": \"user\", \"content\": \"a<|im_end|>\"}]", "render -m - --ids");
    cr_expect_eq(run->status, 0, "%s", run->err);
    char *guarded = strdup(run->out);
    run = run_moxie("[{\"role\": \"user\", \"content\": \"a\"}]", "render -m - --ids");
    char *plain = strdup(run->out);
    run = run_moxie(NULL, "tokenize '%s' --special '<|im_end|>'", demo());
    char *end = strdup(run->out);
    end[strcspn(end, "\n")] = 0;
    size_t n_guarded = 0, n_plain = 0;
    for (char *id = strtok(guarded, ",\n"); id; id = strtok(NULL, ",\n")) {
        n_guarded += strcmp(id, end) == 0;
    }
    for (char *id = strtok(plain, ",\n"); id; id = strtok(NULL, ",\n")) {
        n_plain += strcmp(id, end) == 0;
    }
    cr_expect_eq(n_plain, 1);
    cr_expect_eq(n_guarded, 1);
    free(guarded);
    free(plain);
    free(end);
}

static const char *folder_without_template(const char *architecture)
{
    struct tiny_checkpoint checkpoint = tiny_checkpoint_of(architecture);
    const char *folder = tiny_checkpoint_write(&checkpoint, architecture);
    const char *config = check_path(folder, "tokenizer_config.json");
    json_t *json = json_load_file(config, 0, NULL);
    cr_assert_eq(json_object_del(json, "chat_template"), 0);
    cr_assert_eq(json_dump_file(json, config, 0), 0);
    json_decref(json);
    return folder;
}

Test(render, a_model_without_a_template)
{
    const char *folder = folder_without_template("Qwen3MoeForCausalLM");
    const struct program_run *run = run_moxie(TALK, "render '%s' -m -", folder);
    cr_expect_eq(run->status, 0);
    cr_expect_str_eq(run->out, CHATML);
    cr_expect_not_null(strstr(run->err, "has no chat template; this is the ChatML form"), "%s",
                       run->err);
    run = run_moxie(TALK, "render '%s' -m - --tools '%s'", folder,
                    file("tools.json", "[{\"name\": \"f\"}]"));
    cr_expect_eq(run->status, 1);
    cr_expect_not_null(strstr(run->err, "knows no tools"), "%s", run->err);
}

/* Of several templates the one for tools is used where tools are given, also after a conversion. */
Test(render, templates_with_names)
{
    const char *folder = folder_without_template("Qwen3MoeForCausalLM");
    const char *config = check_path(folder, "tokenizer_config.json");
    const char *tools = file("tools.json", "[{\"name\": \"f\"}]");
    const char *moxie = check_path(check_temp_dir(), "named.moxie");
    json_t *json = json_load_file(config, 0, NULL);
    json_t *list = json_pack("[{s:s, s:s}, {s:s, s:s}]", "name", "default", "template",
                             "plain {{ messages|length }}\n", "name", "tool_use", "template",
                             "{{ tools[0].name }} {{ messages|length }}\n");
    cr_assert_eq(json_object_set_new(json, "chat_template", list), 0);
    cr_assert_eq(json_dump_file(json, config, 0), 0);
    json_decref(json);
    cr_assert_eq(run_moxie(NULL, "convert '%s' '%s'", folder, moxie)->status, 0);
    const char *files[] = {folder, moxie};
    for (size_t i = 0; i < 2; i++) {
        expect_text(run_moxie(TALK, "render '%s' -m -", files[i]), "plain 2");
        expect_text(run_moxie(TALK, "render '%s' -m - --tools '%s'", files[i], tools), "f 2");
    }
}

/* GGUF has a key for each. */
Test(render, templates_with_keys)
{
    const char *path = check_path(check_temp_dir(), "keys.gguf");
    struct gguf_writer writer;
    struct source_template found;
    struct error err = {0};
    cr_assert(gguf_writer_open(&writer, path, &err), "%s", err.text);
    gguf_writer_string(&writer, "general.architecture", "llama", 5);
    gguf_writer_string(&writer, "tokenizer.chat_template", "one\n", 4);
    gguf_writer_string(&writer, "tokenizer.chat_template.tool_use", "two", 3);
    cr_assert(gguf_writer_begin_data(&writer, &err) && gguf_writer_commit(&writer, &err), "%s",
              err.text);
    cr_assert(source_template_open(&found, path, &err), "%s", err.text);
    cr_assert(found.text && found.bytes == strlen(found.text));
    const char *template = file("joined.jinja", found.text);
    const char *tools = file("tools.json", "[{\"name\": \"f\"}]");
    expect_text(run_moxie(TALK, "render --template '%s' -m -", template), "one");
    expect_text(run_moxie(TALK, "render --template '%s' -m - --tools '%s'", template, tools),
                "two");
    source_template_close(&found);
}

/* Families that cannot be run have templates too. */
Test(render, a_family_that_is_not_known)
{
    struct tiny_checkpoint checkpoint = tiny_checkpoint_of("Qwen3MoeForCausalLM");
    const char *folder = tiny_checkpoint_write(&checkpoint, "unknown");
    const char *config = check_path(folder, "config.json");
    const char *text = "{\"architectures\": [\"NobodyKnowsForCausalLM\"]}";
    cr_assert(check_write_file(config, text, strlen(text)));
    expect_text(run_moxie(TALK, "render '%s' -m -", folder), CHATML);
    const char *own = "<|{{ m.role }}|>";
    cr_assert(check_write_file(check_path(folder, "chat_template.jinja"), own, strlen(own)));
    expect_sentence(run_moxie(TALK, "render '%s' -m -", folder), "'m' is undefined");
    folder = folder_without_template("Qwen3ForCausalLM");
    cr_assert(check_write_file(check_path(folder, "config.json"), text, strlen(text)));
    expect_sentence(run_moxie(TALK, "render '%s' -m -", folder),
                    "has no chat template, and none is known|--template");
}

/* Files with a vocabulary and no weights. */
Test(render, vocabularies)
{
    static const struct {
        const char *file, *text, *note;
    } files[] = {
        {"phi-3", "<s><|user|>\nHello<|end|>\n<|assistant|>\n", NULL},
        {"command-r",
         "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.<|END_OF_TURN_TOKEN|>"
         "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hello<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|>"
         "<|CHATBOT_TOKEN|>",
         NULL},
        {"llama-spm", "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHello [/INST]", "Llama 2"},
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char name[128];
        snprintf(name, sizeof(name), "reference/vocabs/ggml-vocab-%s.gguf", files[i].file);
        const char *path = check_shared_path(name);
        if (!path) {
            cr_skip("the vocabularies are not here");
        }
        const struct program_run *run = run_moxie(TALK, "render '%s' -m -", path);
        cr_expect_eq(run->status, 0, "%s: %s", files[i].file, run->err);
        cr_expect_str_eq(run->out, files[i].text);
        cr_expect_eq(strlen(run->err) > 0, files[i].note != NULL, "%s", run->err);
        cr_expect(!files[i].note || strstr(run->err, files[i].note), "%s", run->err);
    }
}

Test(render, one_sentence_each)
{
    const char *talk = file("m.json", TALK);
    expect_sentence(run_moxie(NULL, "render -m /nonexistent.json"),
                    "/nonexistent.json|could not be read");
    expect_sentence(run_moxie(NULL, "render -m /"), "/|directory");
    expect_sentence(run_moxie(NULL, "render /nonexistent.moxie -m '%s'", talk), "/nonexistent");
    expect_sentence(run_moxie(NULL, "render --template /nonexistent -m '%s'", talk),
                    "/nonexistent|could not be read");
    expect_sentence(run_moxie("[{\"role\": 1}]", "render -m -"), "standard input|message 1|role");
    expect_sentence(run_moxie(NULL, "render -m '%s'", file("bad.json", "[{]")),
                    "bad.json|not valid JSON|line 1");
    expect_sentence(run_moxie("[1]", "render -m '%s' --tools -", talk),
                    "standard input: tool 1 is not an object");
    expect_sentence(run_moxie(NULL, "render -m '%s' --var x", talk), "--var x|name=json");
    expect_sentence(run_moxie(NULL, "render -m '%s' --var =1", talk), "--var =1|name=json");
    expect_sentence(run_moxie(NULL, "render -m '%s' --var x=high", talk), "--var x=high|quotes");
    expect_sentence(run_moxie(NULL, "render -m '%s' --var messages=[]", talk),
                    "\"messages\" cannot be a variable");
    expect_sentence(run_moxie(NULL, "render --template '%s' -m '%s'",
                              file("t.jinja", "a\n{% include 'x' %}"), talk),
                    "line 2|include");
    expect_sentence(run_moxie(NULL, "render --template '%s' -m '%s'",
                              file("t.jinja", "{{ raise_exception('No, ' ~ 'thanks.') }}"), talk),
                    "No, thanks.");
    expect_sentence(
        run_moxie(NULL, "render --template '%s' -m '%s' --ids", file("t.jinja", "x"), talk),
        "token ids need a model");
    const char *zero = check_path(check_temp_dir(), "zero.json");
    cr_assert(check_write_file(zero, "[]\0[]", 5));
    expect_sentence(run_moxie(NULL, "render -m '%s'", zero), "zero.json|zero byte");
    char *large = malloc((1 << 20) + 2);
    memset(large, 'x', (1 << 20) + 1);
    large[(1 << 20) + 1] = 0;
    expect_sentence(
        run_moxie(NULL, "render --template '%s' -m '%s'", file("large.jinja", large), talk),
        "large.jinja|1048576 bytes");
    free(large);
}

Test(render, usage)
{
    cr_expect_eq(run_moxie(NULL, "render")->status, 2);
    cr_expect_eq(run_moxie(NULL, "render a b -m x")->status, 2);
    cr_expect_eq(run_moxie(NULL, "render -m - --tools -")->status, 2);
    cr_expect_eq(run_moxie(NULL, "render -m - --template -")->status, 2);
}

/* ---- the public functions ----------------------------------------------------------------- */

static struct moxie_model *open_on_cpu(const char *path)
{
    struct moxie_options options = moxie_options_defaults();
    struct moxie_error err;
    options.device = "cpu";
    struct moxie_model *model = moxie_open(path, &options, &err);
    cr_assert(model, "%s", err.text);
    return model;
}

Test(render, public_functions)
{
    struct moxie_model *model = open_on_cpu(demo());
    struct moxie_error err;
    const struct moxie_message plain[] = {{"system", "Be brief."}, {"user", "Hello<|im_end|>"}};
    const struct moxie_chat chat = {
        .messages = "[{\"role\": \"system\", \"content\": \"Be brief.\"},"
                    " {\"role\": \"user\", \"content\": \"Hello<|im_end|>\"}]",
        .variables = "{\"unused\": 1}",
        .add_generation_prompt = true,
    };
    char *text, *expected;
    uint32_t *ids, *expected_ids;
    size_t bytes, n, n_expected;
    cr_assert(moxie_chat_render(model, &chat, &text, &bytes, &err), "%s", err.text);
    cr_assert(moxie_chat_text(model, plain, 2, true, &expected, &n, &err), "%s", err.text);
    cr_expect_str_eq(text, expected);
    cr_expect(bytes == n && strlen(text) == n);
    cr_assert(moxie_chat_render_tokens(model, &chat, &ids, &n, &err), "%s", err.text);
    cr_assert(moxie_chat_tokens(model, plain, 2, true, &expected_ids, &n_expected, &err));
    cr_expect(n == n_expected && memcmp(ids, expected_ids, n * sizeof(*ids)) == 0);
    size_t stops = 0;
    for (size_t i = 0; i < n; i++) {
        stops += moxie_is_stop(model, ids[i]);
    }
    cr_expect_eq(stops, 2, "the template's own two, not the one somebody typed");
    cr_expect_null(moxie_chat_family(model));
    moxie_free(text);
    moxie_free(expected);
    moxie_free(ids);
    moxie_free(expected_ids);
    const struct moxie_chat wrong = {.messages = "[{\"role\": 5}]"};
    cr_expect(!moxie_chat_render(model, &wrong, &text, &bytes, &err));
    cr_expect_str_eq(err.text, "message 1 has no \"role\" that is a text");
    cr_expect(!moxie_chat_render_tokens(model, &wrong, &ids, &n, NULL));
    moxie_close(&model);
}

Test(render, public_functions_without_a_template)
{
    struct moxie_model *model = open_on_cpu(folder_without_template("Qwen3MoeForCausalLM"));
    struct moxie_error err;
    const struct moxie_chat chat = {.messages = TALK, .add_generation_prompt = true};
    char *text;
    size_t bytes;
    cr_expect_str_eq(moxie_chat_family(model), "ChatML");
    cr_assert(moxie_chat_render(model, &chat, &text, &bytes, &err), "%s", err.text);
    cr_expect_str_eq(text, CHATML);
    moxie_free(text);
    moxie_close(&model);
    model = open_on_cpu(folder_without_template("LlamaForCausalLM"));
    cr_expect_str_eq(moxie_chat_family(model), "ChatML");
    moxie_close(&model);
}
