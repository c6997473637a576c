/* Thoughts and answers, in pieces of every size. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tools/reasoning.h"
#include "tools/text_buffer.h"

struct parts {
    struct text_buffer thought, answer;
};

static void take(void *context, enum reasoning_part part, const char *text, size_t n)
{
    struct parts *parts = context;
    cr_assert_gt(n, 0);
    text_buffer_append(part == REASONING_THOUGHT ? &parts->thought : &parts->answer, text, n);
}

/* Special tokens are written {name} in `text`. */
static void expect_parts(const char *prompt, const char *text, const char *thought,
                         const char *answer)
{
    for (size_t piece = 1; piece < 80; piece++) {
        struct parts parts = {0};
        struct reasoning reasoning = {.text = take, .context = &parts};
        reasoning_begin(&reasoning, prompt, strlen(prompt));
        for (const char *at = text; *at;) {
            if (*at == '{') {
                size_t n = strcspn(at, "}");
                reasoning_push_special(&reasoning, at + 1, n - 1);
                at += n + 1;
            } else {
                size_t n = strcspn(at, "{");
                n = n < piece ? n : piece;
                reasoning_push(&reasoning, at, n);
                at += n;
            }
        }
        reasoning_end(&reasoning);
        cr_expect_str_eq(text_buffer_text(&parts.thought), thought, "pieces of %zu of: %s", piece,
                         text);
        cr_expect_str_eq(text_buffer_text(&parts.answer), answer, "pieces of %zu of: %s", piece,
                         text);
        text_buffer_free(&parts.thought);
        text_buffer_free(&parts.answer);
    }
}

Test(reasoning, markers)
{
    expect_parts("", "Hello there.", "", "Hello there.");
    expect_parts("", " Hello\n", "", " Hello\n");
    expect_parts("", "", "", "");
    expect_parts("", " \n ", "", " \n ");
    expect_parts("user\nhi", "<think>\nhm, 2 < 3 </thin </think>\n\nYes.", "hm, 2 < 3 </thin ",
                 "Yes.");
    expect_parts("", "\n<think></think>Yes.", "", "Yes.");
    expect_parts("", "<think>cut off </thi", "cut off </thi", "");
    expect_parts("", "<thinner than paper", "", "<thinner than paper");
    expect_parts("", "<thi", "", "<thi");
    expect_parts("", "Say <think> and </think>.", "", "Say <think> and </think>.");
    expect_parts("", "<think>a</think>b <think>c</think>", "a", "b <think>c</think>");
    expect_parts("", "[THINK]hm[/THINK]Oui.", "hm", "Oui.");
    expect_parts("", "<think>a <<<</</th</think</think>b", "a <<<</</th</think", "b");
}

Test(reasoning, opened_by_the_prompt)
{
    expect_parts("<|im_start|>assistant\n<think>\n", "hm</think>\n\nYes.", "hm", "Yes.");
    expect_parts("<|im_start|>assistant\n<think>", "\n hm", "hm", "");
    expect_parts("<think>\n\n</think>\n\n", "Yes.", "", "Yes.");
    expect_parts("ends with [THINK]", "hm[/THINK]Oui.", "hm", "Oui.");
}

Test(reasoning, markers_that_are_special_tokens)
{
    expect_parts("", "{<think>}\nhm{</think>}\nYes.", "hm", "Yes.");
    expect_parts("", "{<|channel>}thought\nhm{<channel|>}Yes.", "hm", "Yes.");
    expect_parts("", "Yes{</think>}{<think>}, indeed{<s>}.", "", "Yes, indeed.");
    expect_parts("", "{<s>}Yes", "", "Yes");
}

Test(reasoning, channels)
{
    expect_parts("<|start|>assistant",
                 "{<|channel|>}analysis{<|message|>}User says <think>hi.{<|end|>}{<|start|>}"
                 "assistant{<|channel|>}final{<|message|>}Hello!",
                 "User says <think>hi.", "Hello!");
    expect_parts("<|start|>assistant", "{<|channel|>}final{<|message|>}Hello {<|end|>}{<|start|>}x",
                 "", "Hello ");
    expect_parts("<|start|>assistant",
                 "{<|channel|>}commentary{<|message|>}I will look.{<|end|>}{<|start|>}assistant"
                 "{<|channel|>}analysis and a very long name, longer than anything that is held "
                 "back anywhere{<|message|>}hm",
                 "hm", "I will look.");
    /* without a channel these are tokens like any other */
    expect_parts("", "Yes{<|end|>}, and{<|start|>} no", "", "Yes, and no");
    expect_parts("", "Yes{<|channel|>}final{<|message|>}.", "", "Yesfinal.");
}

Test(reasoning, long_white_space_and_long_thoughts)
{
    char text[1000], thought[501];
    memset(text, '\n', 200);
    strcpy(text + 200, "<think>a</think>");
    expect_parts("", text, "", text);
    memset(thought, '<', 500);
    thought[500] = 0;
    snprintf(text, sizeof(text), "<think>%s</think>b", thought);
    expect_parts("", text, thought, "b");
}
