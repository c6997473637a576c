#include "engine/text/chat_template_family.h"

#include <stddef.h>
#include <string.h>

/* The text of a content: as it is, or its parts joined. Tools would be left out without a word. */
#define TEXT_OF \
    "{%- if tools -%}" \
    "{{- raise_exception('the model has no chat template of its own, and the one of its family " \
    "knows no tools') -}}" \
    "{%- endif -%}" \
    "{%- macro text(content) -%}" \
    "{%- if content is string -%}{{- content -}}" \
    "{%- else -%}{%- for part in content -%}" \
    "{{- part if part is string else part.text -}}" \
    "{%- endfor -%}{%- endif -%}" \
    "{%- endmacro -%}"

/* For forms without a system turn: `system` is what stands before the next user's text. */
#define SYSTEM_BEFORE_USER(pattern) \
    "{%- set ns = namespace(system='') -%}" \
    "{%- for m in messages -%}" \
    "{%- if m.role == 'system' -%}{%- set ns.system = text(m.content) -%}" \
    "{%- elif m.role == 'user' -%}" pattern "{%- set ns.system = '' -%}"

#define CHATML \
    TEXT_OF "{%- for m in messages -%}" \
            "{{- '<|im_start|>' + m.role + '\\n' + text(m.content) + '<|im_end|>\\n' -}}" \
            "{%- endfor -%}" \
            "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"

#define LLAMA_3 \
    TEXT_OF "{{- bos_token -}}" \
            "{%- for m in messages -%}" \
            "{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' -}}" \
            "{{- text(m.content) | trim -}}{{- '<|eot_id|>' -}}" \
            "{%- endfor -%}" \
            "{%- if add_generation_prompt -%}" \
            "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}" \
            "{%- endif -%}"

#define LLAMA_2 \
    TEXT_OF SYSTEM_BEFORE_USER( \
        "{{- bos_token -}}{{- '[INST] ' -}}" \
        "{%- if ns.system -%}{{- '<<SYS>>\\n' + ns.system + '\\n<</SYS>>\\n\\n' -}}{%- endif -%}" \
        "{{- text(m.content) | trim -}}{{- ' [/INST]' -}}") "{%- else -%}{{- ' ' -}}{{- " \
                                                            "text(m.content) | trim -}}{{- ' ' " \
                                                            "-}}{{- eos_token -}}" \
                                                            "{%- endif -%}{%- endfor -%}"

#define MIXTRAL \
    TEXT_OF "{{- bos_token -}}" SYSTEM_BEFORE_USER( \
        "{{- ' [INST] ' -}}" \
        "{%- if ns.system -%}{{- ns.system + '\\n\\n' -}}{%- endif -%}" \
        "{{- text(m.content) -}}{{- ' [/INST]' -}}") "{%- else -%}{{- ' ' -}}{{- text(m.content) " \
                                                     "-}}{{- eos_token -}}" \
                                                     "{%- endif -%}{%- endfor -%}"

#define TULU \
    TEXT_OF "{{- bos_token -}}" \
            "{%- for m in messages -%}" \
            "{{- '<|' + m.role + '|>\\n' + text(m.content) -}}" \
            "{%- if m.role == 'assistant' -%}{{- eos_token -}}{%- endif -%}{{- '\\n' -}}" \
            "{%- endfor -%}" \
            "{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}"

#define HARMONY \
    TEXT_OF "{{- '<|start|>system<|message|>You are ChatGPT, a large language model trained by " \
            "OpenAI.\\nKnowledge cutoff: 2024-06\\nCurrent date: ' -}}" \
            "{{- strftime_now('%Y-%m-%d') + '\\n\\nReasoning: ' -}}" \
            "{{- reasoning_effort | default('medium') -}}" \
            "{{- '\\n\\n# Valid channels: analysis, commentary, final. Channel must be included " \
            "for every message.<|end|>' -}}" \
            "{%- for m in messages -%}" \
            "{%- if m.role == 'system' or m.role == 'developer' -%}" \
            "{{- '<|start|>developer<|message|># Instructions\\n\\n' + text(m.content) -}}" \
            "{{- '\\n\\n' -}}" \
            "{%- elif m.role == 'assistant' -%}" \
            "{{- '<|start|>assistant<|channel|>final<|message|>' + text(m.content) -}}" \
            "{%- else -%}{{- '<|start|>' + m.role + '<|message|>' + text(m.content) -}}" \
            "{%- endif -%}{{- '<|end|>' -}}" \
            "{%- endfor -%}" \
            "{%- if add_generation_prompt -%}{{- '<|start|>assistant' -}}{%- endif -%}"

#define BAR "\xEF\xBD\x9C" /* U+FF5C */
#define DEEPSEEK_USER "<" BAR "User" BAR ">"
#define DEEPSEEK_ASSISTANT "<" BAR "Assistant" BAR ">"

#define DEEPSEEK_3 \
    TEXT_OF "{{- bos_token -}}" \
            "{%- for m in messages -%}" \
            "{%- if m.role == 'user' -%}{{- '" DEEPSEEK_USER "' + text(m.content) -}}" \
            "{%- elif m.role == 'assistant' -%}" \
            "{{- '" DEEPSEEK_ASSISTANT "' + text(m.content) -}}{{- eos_token -}}" \
            "{%- else -%}{{- text(m.content) -}}{%- endif -%}" \
            "{%- endfor -%}" \
            "{%- if add_generation_prompt -%}{{- '" DEEPSEEK_ASSISTANT "' -}}{%- endif -%}"

#define DEEPSEEK_2 \
    TEXT_OF "{{- bos_token -}}" \
            "{%- for m in messages -%}" \
            "{%- if m.role == 'user' -%}{{- 'User: ' + text(m.content) + '\\n\\n' -}}" \
            "{%- elif m.role == 'assistant' -%}" \
            "{{- 'Assistant: ' + text(m.content) -}}{{- eos_token -}}" \
            "{%- else -%}{{- text(m.content) + '\\n\\n' -}}{%- endif -%}" \
            "{%- endfor -%}" \
            "{%- if add_generation_prompt -%}{{- 'Assistant:' -}}{%- endif -%}"

static const struct chat_template_family families[] = {
    {"qwen3moe", "<|im_start|>", "ChatML", CHATML},
    {"qwen3", "<|im_start|>", "ChatML", CHATML},
    {"qwen2moe", "<|im_start|>", "ChatML", CHATML},
    {"qwen2", "<|im_start|>", "ChatML", CHATML},
    {"mixtral", "<|im_start|>", "ChatML", CHATML},
    {"mixtral", NULL, "Mixtral", MIXTRAL},
    {"llama", "<|start_header_id|>", "Llama 3", LLAMA_3},
    {"llama", "<|im_start|>", "ChatML", CHATML},
    {"llama", "<s>", "Llama 2", LLAMA_2},
    {"olmoe", NULL, "Tulu", TULU},
    {"gpt-oss", "<|start|>", "harmony", HARMONY},
    {"deepseek2", DEEPSEEK_USER, "DeepSeek-V3", DEEPSEEK_3},
    {"deepseek2", NULL, "DeepSeek-V2", DEEPSEEK_2},
    {"deepseek3", NULL, "DeepSeek-V3", DEEPSEEK_3},
};

static bool has_token(const struct tokenizer *tokenizer, const char *text)
{
    struct token_list list = {0};
    bool one =
        tokenizer &&
        tokenizer_encode(tokenizer, text, strlen(text), TOKENIZER_PARSE_SPECIAL, &list, NULL) &&
        list.count == 1;
    token_list_free(&list);
    return one;
}

const struct chat_template_family *chat_template_family_find(const char *architecture,
                                                             const struct tokenizer *tokenizer)
{
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        const struct chat_template_family *family = &families[i];
        if (strcmp(family->architecture, architecture) == 0 &&
            (!family->token || has_token(tokenizer, family->token))) {
            return family;
        }
    }
    return NULL;
}
