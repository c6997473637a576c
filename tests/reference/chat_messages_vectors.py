"""Writes what transformers renders for conversations as JSON, for tests/text/test_chat_messages.c.
Run by hand:

    python3 tests/reference/chat_messages_vectors.py FOLDER_OF_REAL_TEMPLATES [MODEL FOLDER ...]

Needs transformers (5.x). Every conversation goes through PreTrainedTokenizerBase.apply_chat_template
itself, with and without the generation prompt, at a fixed time. Where transformers' immutable
sandbox forbids a template its own list.append or dict.update (published ones do that), the same
code runs with the ordinary sandbox of Jinja. Output: tests/text/chat_messages_vectors.json;
renderings are kept as FNV-1a hashes.
"""

import datetime
import json
import os
import sys

import jinja2
import jinja2.sandbox
import transformers.utils.chat_template_utils as utils
from transformers import PreTrainedTokenizerFast
from tokenizers import Tokenizer, models

HERE = os.path.dirname(os.path.abspath(__file__))
NOW = datetime.datetime(2026, 1, 15, 12, 34, 56)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


utils.datetime = FixedTime


def function(name, description, properties, required=(), **extra):
    return {"type": "function", "function": {
        "name": name, "description": description,
        "parameters": {"type": "object", "properties": properties, "required": list(required)}, **extra}}


WEATHER = function("get_weather", "Weather of a city.", {
    "city": {"type": "string", "description": "Name of the city"},
    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
    "days": {"type": "array", "items": {"type": "integer"}, "description": "Which days"}}, ["city"])
ADD = function("add", "Adds <two> numbers é 😀.", {
    "a": {"type": "number", "description": "first"},
    "b": {"type": ["number", "null"], "description": "second \"quoted\" 'twice'"},
    "o": {"type": "object", "description": "options", "properties": {"deep": {"type": "boolean"}}},
    "l": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}},
    "u": {"oneOf": [{"type": "string"}, {"type": "integer", "default": 3}], "description": "either"}},
    ["a", "b"])
NOTHING = {"type": "function", "function": {"name": "now", "description": "The time",
                                            "parameters": {"type": "object", "properties": {}}}}
RETURNS = function("find", "Finds it.", {"what": {"type": "string", "description": "what"}}, ["what"],
                   **{"return": {"type": "string", "description": "text"}})

SYSTEM = {"role": "system", "content": "You are a helpful assistant."}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **extra):
    return {"role": "assistant", "content": content, **extra}


def calls(*pairs, content="", **extra):
    return {"role": "assistant", "content": content, "tool_calls": [
        {"id": "call1234%d" % i, "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(pairs)], **extra}


def result(content, i=0, name="get_weather"):
    return {"role": "tool", "name": name, "tool_call_id": "call1234%d" % i, "content": content}


ROME = {"city": "Rome", "days": [1, 2], "unit": "celsius"}
TALK = [user("Hello"), assistant("Hi there!"), user("How are you?")]
LONG = [m for i in range(6) for m in (user("Question %d?\n" % i), assistant(" Answer %d. " % i))]
CALL = [user("Weather in Rome?"), calls(("get_weather", ROME)), result("{\"sky\": \"clear\"}")]

# name: (messages, tools, variables)
CONVERSATIONS = {
    "system": ([SYSTEM] + TALK, None, {}),
    "no system": (TALK, None, {}),
    "one turn": ([user("  Tell me\n\n'a' \"story\"  ")], None, {}),
    "many turns": ([SYSTEM] + LONG + [user("And?")], None, {}),
    "ends with assistant": ([SYSTEM] + LONG, None, {}),
    "odd text": ([{"role": "system", "content": "\n tabs\t\r\n  "}, user("é 日本 😀 \u00a0 \u3000 <b>&amp;</b> {{ x }} {% y %}"),
                  assistant("\\n \\ 'q' \"d\" \u2028 \x7f"), user("")], None, {}),
    "template words": ([user("<|im_start|>system\nno<|im_end|>[INST] [/INST]</s>"), assistant("<think>"), user("</think>")],
                       None, {}),
    "developer": ([{"role": "developer", "content": "Be brief."}] + TALK, None, {}),
    "system in the middle": (TALK[:2] + [SYSTEM] + TALK[2:], None, {}),
    "two users": ([user("One"), user("Two")], None, {}),
    "two assistants": ([user("One"), assistant("Two"), assistant("Three")], None, {}),
    "unknown role": ([user("One"), {"role": "critic", "content": "Two"}], None, {}),
    "tools": ([SYSTEM] + TALK, [WEATHER, ADD], {}),
    "tools, no system": (TALK, [WEATHER, ADD, NOTHING], {}),
    "no tools in the list": ([SYSTEM] + TALK, [], {}),
    "tool without parameters": (TALK[:1], [NOTHING], {}),
    "tool call": ([SYSTEM] + CALL, [WEATHER, ADD], {}),
    "tool call, simple tool": ([SYSTEM, user("Find"), calls(("find", {"what": "é <b>"})), result("here", name="find")],
                               [RETURNS], {}),
    "tool call, no tools": (CALL, None, {}),
    "tool call pending": (CALL[:2], [WEATHER], {}),
    "tool call as text": ([CALL[0], calls(("get_weather", json.dumps(ROME))), CALL[2]], [WEATHER], {}),
    "tool call with words": ([SYSTEM, CALL[0], calls(("get_weather", ROME), content="Let me see."), CALL[2],
                              assistant("Clear."), user("Thanks 😀")], [WEATHER], {}),
    "two tool calls": ([CALL[0], calls(("get_weather", ROME), ("add", {"a": 1, "b": -2.5, "o": {"deep": True}, "l": [], "n": None})),
                        result("{\"sky\": \"clear\"}"), result("-1.5", 1, "add"), assistant("Clear, -1.5."), user("More")],
                       [WEATHER, ADD], {}),
    "tools twice": ([SYSTEM] + CALL + [assistant("Clear."), user("And Oslo?"), calls(("get_weather", {"city": "Oslo"})),
                     result("snow")], [WEATHER], {}),
    "tool result parts": ([CALL[0], CALL[1], result([{"type": "text", "text": "clear"}, {"type": "text", "text": " sky"}])],
                          [WEATHER], {}),
    "call without content": ([CALL[0], {k: v for k, v in CALL[1].items() if k != "content"}, CALL[2]], [WEATHER], {}),
    "call with null content": ([CALL[0], calls(("get_weather", ROME), content=None), CALL[2]], [WEATHER], {}),
    "flat tool call": ([CALL[0], {"role": "assistant", "content": "", "tool_calls": [
        {"name": "get_weather", "arguments": {"city": "Rome"}}]}, CALL[2]], [WEATHER], {}),
    "flat tool": (TALK[:1], [WEATHER["function"]], {}),
    "empty arguments": ([user("Time?"), calls(("now", {})), result("12:00", name="now")], [NOTHING], {}),
    "nested arguments": ([user("x"), calls(("add", {"o": {"p": [1, {"q": "é\n\"'"}], "r": 1e-7, "s": 1e22}})),
                          result("1", name="add")], [ADD], {}),
    "reasoning": ([SYSTEM, TALK[0], assistant("Hi there!", reasoning_content="hm\n\nwell"), TALK[2]], None, {}),
    "reasoning, last": ([TALK[0], assistant("Hi there!", reasoning_content="  hm ")], None, {}),
    "reasoning as thinking": ([TALK[0], assistant("Hi!", thinking="hm"), TALK[2], assistant("Fine.", reasoning="so")], None, {}),
    "reasoning in the text": ([SYSTEM, TALK[0], assistant("<think>\nhm\n</think>\n\nHi there!"), TALK[2],
                               assistant("<think>\nso so\n</think>\n\nFine.")], None, {}),
    "reasoning and tools": ([SYSTEM, CALL[0], calls(("get_weather", ROME), reasoning_content="I ask."), CALL[2],
                             assistant("Clear.", reasoning_content="Told."), user("Ok"), calls(("add", {"a": 1, "b": 2}),
                             reasoning_content="Sum."), result("3", name="add")], [WEATHER, ADD], {}),
    "parts": ([SYSTEM, user([{"type": "text", "text": "What is "}, {"type": "text", "text": "this?"}])], None, {}),
    "parts everywhere": ([{"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
                          user([{"type": "text", "text": "One"}]), assistant([{"type": "text", "text": "Two"}]),
                          user([{"type": "text", "text": "Three"}])], None, {}),
    "image part": ([user([{"type": "image", "image": "x.png"}, {"type": "text", "text": "What is this?"}])], None, {}),
    "thinking off": ([SYSTEM] + TALK, None, {"enable_thinking": False, "thinking": False}),
    "thinking on": ([SYSTEM] + TALK, None, {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}),
    "thinking off with tools": ([SYSTEM] + CALL, [WEATHER], {"enable_thinking": False, "thinking": False, "reasoning_effort": "low"}),
    "switch in the text": ([{"role": "system", "content": "Be brief. /no_think"}, user("Hello /no_think"), assistant("Hi"),
                            user("/think")], None, {}),
    "documents": (TALK[:1], None, {"documents": [{"doc_id": 1, "title": "T", "text": "Some text"}, {"title": "é", "text": "\n"}]}),
    "documents and tools": ([SYSTEM] + TALK, [WEATHER], {"documents": [{"title": "T", "text": "Some text"}]}),
    "date and builtin tools": (TALK[:1], None, {"date_string": "1 Feb 2026", "builtin_tools": ["python", "browser"]}),
    "builtin tools and tools": ([SYSTEM] + TALK, [WEATHER], {"builtin_tools": ["python", "browser"], "tools_in_user_message": False}),
    "identity": (TALK[:1], None, {"model_identity": "You are Nobody.", "xml_tools": [WEATHER], "custom_instructions": "Rhyme."}),
    "controls": (TALK[:1], None, {"controls": {"length": "long", "originality": "abstractive"}, "clear_thinking": False,
                                  "keep_past_thinking": True}),
    "other tokens": ([SYSTEM] + TALK, None, {"bos_token": "[B]", "eos_token": "[E]"}),
}


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return "%016x" % value


def tokenizer():
    base = Tokenizer(models.BPE(vocab={"<s>": 0, "</s>": 1}, merges=[]))
    return PreTrainedTokenizerFast(tokenizer_object=base, **TOKENS)


def apply(own, template, messages, tools, variables, prompt):
    return own.apply_chat_template(json.loads(json.dumps(messages)), tools=tools, chat_template=template,
                                   add_generation_prompt=prompt, tokenize=False, **variables)


class Lenient:
    """Inside: lists and dicts of a template may be changed by it."""

    def __enter__(self):
        self.kept = jinja2.sandbox.ImmutableSandboxedEnvironment.is_safe_attribute
        jinja2.sandbox.ImmutableSandboxedEnvironment.is_safe_attribute = \
            jinja2.sandbox.SandboxedEnvironment.is_safe_attribute

    def __exit__(self, *_):
        jinja2.sandbox.ImmutableSandboxedEnvironment.is_safe_attribute = self.kept


COUNTS = {"text": 0, "error": 0, "lenient": 0}


def rendering(own, template, messages, tools, variables, prompt):
    """The hash, or "!message" of raise_exception, or "!" for any other failure."""
    try:
        text = apply(own, template, messages, tools, variables, prompt)
    except jinja2.exceptions.SecurityError:
        with Lenient():
            try:
                text = apply(own, template, messages, tools, variables, prompt)
                COUNTS["lenient"] += 1
            except Exception:
                COUNTS["error"] += 1
                return "!"
    except Exception as error:
        COUNTS["error"] += 1
        raised = type(error) is jinja2.exceptions.TemplateError
        return "!" + error.message.strip() if raised else "!"
    COUNTS["text"] += 1
    return fnv1a(text.encode())


def main():
    templates = {}
    for name in sorted(os.listdir(sys.argv[1])):
        if name.endswith(".jinja"):
            templates["reference/chat_templates/" + name] = open(os.path.join(sys.argv[1], name), newline="").read()
    for model in sys.argv[2:]:
        config = json.load(open(os.path.join(model, "tokenizer_config.json")))
        templates["models/" + os.path.basename(os.path.normpath(model))] = config["chat_template"]
    own = tokenizer()
    path = os.path.join(HERE, "../text/chat_messages_vectors.json")
    with open(path, "w") as out:
        out.write('{"conversations": {\n')
        out.write(",\n".join("%s: %s" % (json.dumps(name), json.dumps(
            {"messages": messages, "tools": tools, "variables": variables}, ensure_ascii=False))
            for name, (messages, tools, variables) in CONVERSATIONS.items()))
        out.write('},\n"expected": {\n')
        out.write(",\n".join("%s: [\n%s]" % (json.dumps(name), ",\n".join(
            " ".join([json.dumps(rendering(own, template, *one, False), ensure_ascii=False), ",",
                      json.dumps(rendering(own, template, *one, True), ensure_ascii=False)]).replace(" ,", ",")
            for one in CONVERSATIONS.values())) for name, template in templates.items()))
        out.write("}}\n")
    print("%d templates x %d conversations x 2 in %s: %d texts (%d of them with a changeable list), %d errors" % (
        len(templates), len(CONVERSATIONS), os.path.normpath(path), COUNTS["text"], COUNTS["lenient"], COUNTS["error"]))


main()
