"""Writes what Jinja renders, for tests/text/test_chat_template*.c to compare with. Run by hand:

    python3 tests/reference/chat_template_vectors.py [FOLDER OF REAL TEMPLATES] [MODEL FOLDER ...]

Needs jinja2 (3.1). The environment is set up as Hugging Face transformers does it, except that
lists and dicts may be changed by their methods, as some published templates do. Output:
tests/text/chat_template_vectors.json (one case per statement, filter, test, method, ...), and, if
the folders are given, tests/text/chat_template_real.json (published templates with several
conversations; long results as FNV-1a hash).
"""

import datetime
import json
import os
import sys

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

NOW = datetime.datetime(2026, 1, 15, 12, 34, 56)
HERE = os.path.dirname(os.path.abspath(__file__))


class Generation(jinja2.ext.Extension):
    """{% generation %} renders its body in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("body_of")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def body_of(self, caller):
        return caller()


class Raised(jinja2.exceptions.TemplateError):
    pass


def raise_exception(message):
    raise Raised(message)


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def environment():
    env = jinja2.sandbox.SandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = to_json
    env.filters["from_json"] = json.loads
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


VARIABLES = {
    "messages": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
    ],
    "d": {"b": 2, "a": 1, "items": "key", "C": 3},
    "n": {"x": {"y": {"z": "deep"}}, "empty": {}, "list": [], "none": None},
    "l": [3, 1, 2],
    "s": "Hello, World",
    "u": "déjà 日本 😀",
    "users": [
        {"name": "bob", "age": 30, "a": {"b": 2}},
        {"name": "Alice", "age": 25, "a": {"b": 1}},
        {"name": "carol", "age": 30, "a": {"b": 3}},
    ],
    "t": True, "f": False, "i": 7, "neg": -7, "x": 2.5, "z": None,
}

CASES = r"""
plain text
a {{ 1 }} b
{{ 'a' }}{{ "b" }}{{ 'it''s' }}{{ "q\"q" }}
{{ '\n\t\\\'\"\x41\u00e9\U0001F600\101\q' }}
{{ 'one' 'two' "three" }}
{{ 12 }} {{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 0 }}
{{ 1.5 }} {{ 1e3 }} {{ 1.5e-7 }} {{ 1_0.2_5 }} {{ 100000000000000000.0 }} {{ 123456789012345.0 }} {{ 0.1 + 0.2 }} {{ 1e15 }} {{ 1e16 }} {{ 0.0001 }} {{ 0.00001 }} {{ -0.0 }}
{{ true }} {{ True }} {{ false }} {{ False }} {{ none }} {{ None }}
{{ [1, 'a', 2.0, none, true, [], {}, (1,), (1, 2), ()] }}
{{ {'a': 1, "b": [1], 3: 'x', none: 1.5} }}
{{ ['it\'s', "q\"", 'both\'"', '\n\t\\', 'é', '\x07', '\u200b', '\u3000'] }}
{{ 1, 2 }}
{{ (1) }}{{ (1,) }}{{ () }}
{{ [1, 2, ] }}{{ {'a': 1, } }}
{{ nothing }}|{{ d.nothing }}|{{ l[9] }}|{{ s[99] }}|{{ z.foo }}
{{ [nothing] }}
!{{ nothing.x }}
!{{ d.nothing.x }}
!{{ nothing[0] }}
!{{ nothing() }}
!{{ nothing + 1 }}
!{{ -nothing }}
!{{ nothing < 1 }}
!{{ nothing|tojson }}
{{ nothing == nothing2 }}{{ nothing == 1 }}{{ nothing != none }}{{ nothing in [1] }}{{ 1 in nothing }}
{{ nothing ~ 'x' }}{{ nothing|upper }}{{ nothing|length }}{{ nothing|list }}{{ nothing|join }}
{% for q in nothing %}x{% else %}none{% endfor %}
{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 7 / 2 }} {{ 8 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }}
{{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 1.5 * 2 }} {{ 1 / 3 }} {{ 2 ** 0.5 }} {{ 6.0 // 3 }} {{ -6.0 % 3 }}
{{ true + true }} {{ true * 3 }} {{ -true }} {{ +3 }} {{ - - 3 }}
!{{ 1 / 0 }}
!{{ 1 // 0 }}
!{{ 1 % 0 }}
!{{ 1.0 / 0 }}
!{{ 'x' + 1 }}
!{{ 1 + 'x' }}
!{{ [] + 'x' }}
!{{ 'x' - 'y' }}
!{{ none + 1 }}
{{ 'a' + 'b' }} {{ [1] + [2] }} {{ (1,) + (2,) }} {{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ [1] * 2 }} {{ 'x' * 0 }}{{ 'x' * -1 }}
{{ 'x' ~ 1 ~ none ~ true ~ 1.5 ~ [1] }}
!{{ 1 ~ 2 + 3 }}
{{ 'a' + 'b' ~ 'c' + 'd' }}
{{ 1 < 2 }} {{ 2 <= 2 }} {{ 3 > 4 }} {{ 4 >= 4 }} {{ 1 == 1.0 }} {{ 1 == true }} {{ 'a' != 'b' }} {{ 'a' < 'b' }} {{ 'é' > 'z' }} {{ [1, 2] < [1, 3] }} {{ (1,) == [1] }} {{ [1] == [1.0] }} {{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }} {{ none == false }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1 == 1 }} {{ 3 > 2 > 1 > 0 }} {{ 1 < 2 in [2] }}
!{{ 1 < 'a' }}
!{{ none < 1 }}
!{{ {} < {} }}
{{ 'ell' in s }} {{ 'xyz' not in s }} {{ 1 in l }} {{ 9 not in l }} {{ 'a' in d }} {{ 1 in d }} {{ '' in s }} {{ 2 in (1, 2) }} {{ 1.0 in l }}
!{{ 1 in 'abc' }}
!{{ 'a' in 5 }}
!{{ 'a' in none }}
!{{ [] in {} }}
{{ not true }} {{ not '' }} {{ not not 1 }} {{ not 1 == 2 }} {{ not 'x' in s }}
{{ 0 or 'a' }} {{ 'a' or 'b' }} {{ 0 and 'a' }} {{ 1 and 'b' }} {{ '' or [] or {} or none }} {{ 1 or nothing.x.y }} {{ true or false and false }}
{{ 'a' if true else 'b' }} {{ 'a' if false else 'b' }} {{ 'a' if false }}| {{ 1 if 0 else 2 if 0 else 3 }} {{ ('a' if t) ~ 'b' }}
{{ -3|abs }} {{ (-3)|abs }} {{ -x|abs }} {{ 'a' ~ 'B'|lower }} {{ 'a' + ' b '|trim + 'c' }} {{ 1 + -2|abs * 3 }}
{{ d.a }} {{ d['a'] }} {{ d.b + d['C'] }} {{ n.x.y.z }} {{ n['x']['y'].z }} {{ l[0] }} {{ l[-1] }} {{ s[0] }} {{ s[-1] }} {{ u[0] }}{{ u[5] }}{{ u[-1] }} {{ l.0 }} {{ users.1.name }} {{ (1, 2)[1] }} {{ l[true] }}
{{ d['items'] }} {{ d.items is callable }} {{ d.items()|list }}
!{{ d.items.x.y }}
{{ s[1:3] }} {{ s[:5] }} {{ s[7:] }} {{ s[-5:] }} {{ s[:-7] }} {{ s[::2] }} {{ s[::-1] }} {{ s[5:1:-1] }} {{ s[10:2] }}| {{ s[-100:100] }} {{ s[:] }}
{{ u[1:3] }} {{ u[5:7] }} {{ u[::-1] }} {{ u[-1:] }} {{ u|length }} {{ u[::3] }} {{ u[-3::-2] }}
{{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ l[::2] }} {{ l[5:] }} {{ l[-2:] }} {{ l[2:0:-1] }} {{ l[1:none] }} {{ (1, 2, 3)[1:] }} {{ range(9)[2:8:3]|list }} {{ l[::99] }} {{ l[::-99] }} {{ l[99::-1] }} {{ l[:-99:-1] }}
!{{ l[::0] }}
!{{ l['a':] }}
!{{ z[1:] }}
!{{ i[1:] }}
!{{ d[1:] }}
{{ messages[::-1][0].content }} {{ messages[1:]|length }} {{ messages[-1]['role'] }} {{ messages[0]["role"] == 'system' }}
{% if true %}yes{% endif %}{% if false %}no{% endif %}
{% if 0 %}a{% elif '' %}b{% elif 'x' %}c{% else %}d{% endif %}
{% if 0 %}a{% elif 0 %}b{% else %}d{% endif %}
{% if l|length == 3 and not z %}ok{% endif %}
{% if true: %}colon{% endif %}
{% for i in l %}{{ i }},{% endfor %}
{% for c in 'héy' %}{{ c }}.{% endfor %}
{% for k in d %}{{ k }} {% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }} {% endfor %}
{% for k, v in d|items %}{{ k }}={{ v }} {% endfor %}
{% for k, v in d|dictsort %}{{ k }}={{ v }} {% endfor %}
{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in ['xy', [1, 2]] %}{{ a }}-{{ b }} {% endfor %}
!{% for a, b in [[1]] %}{% endfor %}
!{% for a, b in [[1, 2, 3]] %}{% endfor %}
!{% for a in 5 %}{% endfor %}
!{% for a in none %}{% endfor %}
{% for i in [] %}x{% else %}empty{% endfor %}{% for i in [1] %}x{% else %}empty{% endfor %}
{% for i in range(10) if i % 2 %}{{ i }}{{ loop.index }}{{ loop.last }} {% endfor %}
{% for i in l if i > 9 %}x{% else %}none{% endfor %}
{% for k, v in d.items() if k != 'items' %}{{ k }}{{ v }}{{ '' if loop.last else ',' }}{% endfor %}
{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}
{% for i in l %}[{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }}]{{ loop.previtem is defined }}{{ loop.nextitem is defined }} {% endfor %}
{% for i in l %}{{ loop.cycle('a', 'b') }}{% endfor %}
{% for i in [1, 1, 2, 2, 1] %}{{ loop.changed(i) }} {% endfor %}
{% for i in [1, 2] %}{% for j in [1, 2] %}{{ loop.index }}{{ loop.last }}{% endfor %}{{ loop.index }}{{ loop.depth }}|{% endfor %}
{% for i in l %}{{ loop }}{{ loop|length }} {% endfor %}
{% for i in [1, [2, [3, 4]], 5] recursive %}{{ loop.depth }}:{% if i is iterable %}({{ loop(i) }}){% else %}{{ i }}{% endif %} {% endfor %}
{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for i in range(6) %}{% if i % 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}
{% for i in range(3) %}{% for j in range(3) %}{% if j == 1 %}{% break %}{% endif %}{{ i }}{{ j }} {% endfor %}{% endfor %}
{% set a = 1 %}{{ a }}{% set a = a + 1 %}{{ a }}
{% set a, b = 1, 2 %}{{ b }}{{ a }}{% set (c, e) = 'xy' %}{{ e }}{{ c }}{% set t2 = 1, 2 %}{{ t2 }}
{% set x=1 %}{% for i in [1] %}{% set x=2 %}{% endfor %}{{ x }}
{% set x=0 %}{% for i in [1, 2] %}{{ x }}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}
{% set ns = namespace(x=1) %}{% for i in [1] %}{% set ns.x=2 %}{% endfor %}{{ ns.x }}
{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}{{ ns.c }}{{ ns['a'] }}{{ ns }}{% set ns.c = [1] %}{{ ns.c }}
{% set ns = namespace(a=1, b=2) %}{% set ns.a, ns.b = ns.b, ns.a %}{{ ns.a }}{{ ns.b }}
!{% set d.a = 1 %}
!{% set nothing.a = 1 %}
{% if true %}{% set inner = 5 %}{% endif %}{{ inner }}
{% set block %}a{{ 1 + 1 }}b{% endset %}[{{ block }}]
{% set block | upper | replace('A', 'x') %}abc{% endset %}{{ block }}
{% set x = 1 %}{% set y %}{% set x = 2 %}{{ x }}{% endset %}{{ x }}{{ y }}
{% filter upper %}a{{ 'b' }}c{% endfilter %}
{% filter replace('a', 'b') | upper %}aaa{% endfilter %}
{% set x = 1 %}{% filter lower %}{% set x = 2 %}{{ x }}{% endfilter %}{{ x }}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}
{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% generation %}text {{ 1 }}{% set g = 1 %}{% endgeneration %}{{ g }}
{% raw %}{{ not }} {% if %} {# #}{% endraw %}
a {%- raw -%}  x {{ y }}  {%- endraw -%}  b
{% macro f(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }} {{ f(1, 3) }} {{ f(1, c='y') }} {{ f(b=5, a=4) }} {{ f() }}
{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}
{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, k=3) }}
!{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}
!{% macro f(a) %}{% endmacro %}{{ f(b=2) }}
!{% macro f(a, a2) %}{% endmacro %}{{ f(1, a=1) }}
{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}
{% macro f() %}{{ later }}{% endmacro %}{% set later = 'L' %}{{ f() }}
{% set x = 1 %}{% macro f() %}{{ x }}{% set x = 2 %}{{ x }}{% endmacro %}{{ f() }}{{ x }}
{% macro f() %}{{ i }}{% endmacro %}{% for i in l %}{{ f() }}{% endfor %}|
{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f('a')|upper }}{{ f(f('b')) }}{{ f('c') ~ 'd' }}{{ f }}{{ f is callable }}{{ f.name }}
{% macro f() %}({{ caller() }}){% endmacro %}{% call f() %}body{% endcall %}
{% macro f(x) %}{% for i in x %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(i) f(l) %}<{{ i }}>{% endcall %}
{% macro f() %}{{ caller is defined }}{% endmacro %}{{ f() }}{% call f() %}{% endcall %}
{% macro outer() %}{% macro inner() %}in{% endmacro %}{{ inner() }}{% endmacro %}{{ outer() }}
{% macro f(x) %}{{ x }}{% endmacro %}{{ f(*[1]) }}{{ f(**{'x': 2}) }}
{{ dict(a=1, b=2) }}{{ dict([('a', 1)]) }}{{ dict({'a': 1}, b=3) }}
{{ range(3)|list }} {{ range(1, 4)|list }} {{ range(5, 0, -2)|list }} {{ range(3) }} {{ range(1, 9, 2) }} {{ range(3)|length }} {{ range(3)[1] }} {{ range(0)|list }}
!{{ range(1, 2, 0) }}
!{{ range(10000000) }}
!{{ raise_exception('no way') }}
{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %b %Y') }} {{ strftime_now("%H:%M:%S %A %B %j") }}
{{ 'a' is defined }} {{ q is defined }} {{ q is not defined }} {{ q is undefined }} {{ d.a is defined }} {{ d.q is defined }} {{ not q is defined }}
{{ z is none }} {{ 1 is none }} {{ 1 is not none }} {{ q is none }}
{{ 's' is string }} {{ 1 is string }} {{ d is mapping }} {{ l is mapping }} {{ l is iterable }} {{ 's' is iterable }} {{ 1 is iterable }} {{ d is iterable }} {{ q is iterable }} {{ l is sequence }} {{ 's' is sequence }} {{ d is sequence }} {{ 1 is sequence }} {{ q is sequence }} {{ d.items() is sequence }} {{ (1,) is sequence }} {{ range(2) is sequence }} {{ l|map('upper') is sequence }} {{ l|map('upper') is iterable }}
{{ 1 is number }} {{ 1.5 is number }} {{ true is number }} {{ '1' is number }} {{ 1 is integer }} {{ true is integer }} {{ 1.0 is integer }} {{ 1.0 is float }} {{ 1 is float }} {{ true is boolean }} {{ 1 is boolean }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 0 is false }} {{ q is false }}
{{ 3 is odd }} {{ 4 is odd }} {{ 4 is even }} {{ 6 is divisibleby 3 }} {{ 6 is divisibleby(4) }} {{ 1 is eq 1 }} {{ 1 is equalto 2 }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 1 is le 1 }} {{ 1 is gt 2 }} {{ 2 is ge 2 }} {{ 1 is lessthan 2 }} {{ 1 is greaterthan 0 }} {{ 1 is sameas 1 }} {{ 1 is in [1] }} {{ 'x' is in 'abc' }} {{ 1 is not in [1] }}
{{ 'abc' is lower }} {{ 'aBc' is lower }} {{ 'ABC' is upper }} {{ '123' is upper }} {{ 'é' is lower }}
{{ range is callable }} {{ 1 is callable }} {{ 'trim' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }} {{ 'nope' is test }} {{ 'x' is escaped }}
{{ q is defined and q }} {{ q is not defined or q.x }} {{ 'yes' if 3 is odd else 'no' }} {{ (1 is odd) == true }}
!{{ 1 is nosuchtest }}
!{{ 1|nosuchfilter }}
{% if false %}{{ 1|nosuchfilter }}{{ 1 is nosuchtest }}{% endif %}ok
!{% if true %}{{ 1|nosuchfilter }}{% endif %}
{{ 1 if true else 2|nosuchfilter }}
{{ s|length }} {{ l|count }} {{ d|length }} {{ ''|length }} {{ d.items()|length }}
!{{ 5|length }}
!{{ (l|map('string'))|length }}
{{ '  a b '|trim }}| {{ 'xxaxx'|trim('x') }} {{ '\n a \t'|trim }}| {{ '\u3000a\xa0'|trim }}| {{ 5|trim }}
{{ 'aBc'|upper }} {{ 'ABC É'|lower }} {{ 'straße'|upper }} {{ 'hELLO wORLD'|capitalize }} {{ "hello wORLD it's foo-bar (baz) éa"|title }} {{ ''|title }}| {{ 'a  b'|title }}
{{ 5|string + 'x' }} {{ l|string }} {{ z|string }} {{ true|string }} {{ 'a'|string|length }}
{{ 'aaa'|replace('a', 'b') }} {{ 'aaa'|replace('a', 'b', 2) }} {{ 'abc'|replace('', '-') }} {{ 'abc'|replace('', '-', 2) }} {{ 123|replace(2, 'x') }} {{ 'héé'|replace('é', 'e') }}
{{ [1, 2, 3]|join }} {{ l|join(', ') }} {{ users|join(', ', attribute='name') }} {{ 'abc'|join('-') }} {{ [1, none, 'a', [2]]|join('|') }} {{ []|join(',') }}| {{ d|join(',') }} {{ l|join(d='+') }}
{{ l|first }} {{ l|last }} {{ 'abc'|first }} {{ 'abc'|last }} {{ []|first }}| {{ []|last }}| {{ d|first }} {{ range(5)|last }}
{{ 'abc'|list }} {{ d|list }} {{ d.values()|list }} {{ (1, 2)|list }} {{ d.keys()|list }}
{{ d.items() }} {{ d.keys() }} {{ d.values() }}
{{ 'a<b>&"\''|escape }} {{ 'a<b'|e }} {{ '<b>'|safe }}
{{ q|default('x') }} {{ ''|default('x') }}| {{ ''|default('x', true) }} {{ q|d(5) }} {{ 0|d('z', boolean=true) }} {{ d.q|default('none') }} {{ z|default('x') }} {{ q|default }}|
{{ [3, 1, 2]|sort }} {{ ['b', 'A', 'c']|sort }} {{ ['b', 'A', 'c']|sort(case_sensitive=true) }} {{ [1, 2, 3]|sort(reverse=true) }} {{ users|sort(attribute='name')|map(attribute='name')|list }} {{ users|sort(attribute='age,name')|map(attribute='name')|join(' ') }} {{ users|sort(attribute='a.b')|map(attribute='age')|list }} {{ users|sort(attribute='age', reverse=true)|map(attribute='name')|join(' ') }}
!{{ [1, 'a']|sort }}
{{ d|dictsort }} {{ d|dictsort(true) }} {{ {'x': 2, 'y': 1}|dictsort(by='value') }} {{ {'x': 2, 'y': 1}|dictsort(reverse=true) }}
!{{ d|dictsort(by='nope') }}
{{ [1, 1, 2, 1]|unique|list }} {{ ['a', 'A', 'b']|unique|list }} {{ ['a', 'A']|unique(case_sensitive=true)|list }} {{ users|unique(attribute='age')|map(attribute='name')|list }} {{ [1, 1.0, true]|unique|list }}
{{ ['a', 'b']|map('upper')|list }} {{ users|map(attribute='name')|list }} {{ users|map(attribute='q', default='-')|list }} {{ users|map(attribute='a.b')|list }} {{ ['a b', 'c d']|map('replace', ' ', '_')|join(',') }} {{ [[1, 2], [3]]|map('first')|list }} {{ [[1, 2], [3]]|map(attribute=0)|list }} {{ ['1', '2']|map('int')|sum }}
{{ l|select('odd')|list }} {{ l|reject('odd')|list }} {{ l|select('gt', 1)|list }} {{ [0, 1, '', 'a']|select|list }} {{ [0, 1]|reject|list }} {{ l|select('in', [1, 2])|list }} {{ ['a', 'b']|reject('equalto', 'a')|join(',') }} {{ l|select('==', 2)|list }}
{{ users|selectattr('age', 'equalto', 30)|map(attribute='name')|list }} {{ users|rejectattr('age', 'equalto', 30)|map(attribute='name')|list }} {{ users|selectattr('q', 'defined')|list }} {{ users|selectattr('name')|list|length }} {{ messages|selectattr('role', 'eq', 'user')|map(attribute='content')|first }} {{ users|selectattr('a.b', 'gt', 1)|list|length }}
{% if []|select %}true{% else %}false{% endif %} {% if d.items() %}true{% endif %} {% set g = [1, 2]|map('string') %}{{ g|list }}{{ g|list }}
{{ [1, 2, 3]|sum }} {{ users|sum(attribute='age') }} {{ [1, 2]|sum(start=10) }} {{ [0.5, 1]|sum }} {{ []|sum }}
!{{ ['a']|sum }}
{{ l|min }} {{ l|max }} {{ ['b', 'A']|min }} {{ ['b', 'A']|max(case_sensitive=true) }} {{ (users|max(attribute='age')).name }} {{ (users|min(attribute='age')).name }} {{ []|min }}|
{{ 'abc'|reverse }} {{ l|reverse|list }} {{ u|reverse }}
{{ range(7)|batch(3)|list }} {{ range(4)|batch(3, 'x')|list }} {{ range(7)|slice(3)|list }} {{ range(7)|slice(3, 'x')|list }}
{% for g, items in users|groupby('age') %}{{ g }}:{{ items|map(attribute='name')|join(',') }} {% endfor %}{% for g in users|groupby('age') %}{{ g.grouper }}{{ g.list|length }} {% endfor %}{{ users|groupby('q', default='-')|length }}
{{ 'x'|attr('upper') is callable }} {{ d|attr('a') is defined }} {{ d|attr('keys') is callable }}
{{ '42'|int }} {{ '42.9'|int }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ 3.9|int }} {{ -3.9|int }} {{ true|int }} {{ none|int }} {{ ' 12 '|int }} {{ '0x1F'|int(base=16) }} {{ 'ff'|int(0, 16) }} {{ '101'|int(base=2) }} {{ '1_000'|int }} {{ '-5'|int }} {{ []|int }} {{ ''|int }} {{ '1e3'|int }} {{ '+7'|int }} {{ '--7'|int(3) }}
{{ '1.5'|float }} {{ 'x'|float }} {{ 'x'|float(2.5) }} {{ 3|float }} {{ '1e3'|float }} {{ ' 2 '|float }} {{ none|float }} {{ 'inf'|float }} {{ '-inf'|float }} {{ '0x10'|float }} {{ '1_0.5'|float }}
!{{ q|int }}
!{{ q|float }}
{{ -5|abs }} {{ -2.5|abs }} {{ 3|abs }}
!{{ 'x'|abs }}
{{ 42.55|round }} {{ 42.55|round(1) }} {{ 42.55|round(1, 'floor') }} {{ 42.51|round(1, 'ceil') }} {{ 2.5|round }} {{ 3.5|round }} {{ 42|round }} {{ 2.675|round(2) }} {{ 42.7|round|int }} {{ 1234.5|round(-2) }} {{ -0.4|round }}
{{ 'a\nb\n\nc'|indent }}| {{ 'a\nb'|indent(2) }}| {{ 'a\nb'|indent(2, true) }}| {{ 'a\n\nb'|indent(2, blank=true) }}| {{ 'a\nb\n'|indent(2) }}| {{ 'a\nb'|indent('> ') }}| {{ ''|indent(2, first=true) }}| {{ 'a\n'|indent(2, true, true) }}|
{{ 'ab'|center(7) }}| {{ 'ab'|center(6) }}| {{ 'abc'|center(6) }}| {{ 'abcdef'|center(3) }}|
{{ 'foo bar baz qux'|truncate(9) }} {{ 'foo bar baz qux'|truncate(9, True) }} {{ 'foo bar baz qux'|truncate(11) }} {{ 'foo bar baz qux'|truncate(11, False, '...', 0) }} {{ 'foobarbaz'|truncate(4, false, '.', 0) }}
{{ 'one two  three-four'|wordcount }} {{ ''|wordcount }} {{ 'a_b c1'|wordcount }}
{{ 'a b/c?é&='|urlencode }} {{ {'a b': 'c/d', 'x': 1}|urlencode }}
{{ '%s is %d and %.2f'|format('x', 5, 1.5) }} {{ '%5d|%-5d|%05d|%+d|% d'|format(42, 42, 42, 42, 42) }} {{ '%x %X %o %e %g'|format(255, 255, 8, 1234.5, 0.0001) }} {{ '%%'|format }} {{ '%(a)s-%(b)s'|format(a=1, b='y') }} {{ '%s' % 'v' }} {{ '%s %s' % (1, 2) }} {{ '%r' % 'q' }} {{ '%10s|%-10s|%.2s'|format('abc', 'abc', 'abc') }} {{ '%c%c' % ('a', 66) }} {{ '%s' % none }} {{ '%(a)s' % {'a': 3} }} {{ '%#x' % 255 }} {{ '%d' % 3.7 }}
!{{ '%d' % 'x' }}
!{{ '%s %s' % 1 }}
!{{ '%s' % (1, 2) }}
!{{ '%y' % 1 }}
!{{ 'x' % 1 }}
{{ '{} {}'.format(1, 'a') }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{x}-{y}'.format(x=1, y=2) }} {{ '{{}} {}'.format(1) }} {{ '{:>5}|{:<5}|{:^5}|{:*^7}|{:05d}|{:.2f}|{:,}|{:x}|{:+d}|{:e}|{:%}'.format('a', 'b', 'c', 'd', 42, 3.14159, 1234567, 255, 7, 12345.678, 0.25) }} {{ '{!r} {!s}'.format('q', 'q') }} {{ '{:5}|{:5}'.format(1, 'a') }} {{ '{:.3}'.format('abcdef') }} {{ '{:b} {:o} {:#x} {:_}'.format(5, 8, 255, 1000000) }} {{ '{}'.format(none) }} {{ '{:5}|{}'.format(true, true) }} {{ '{:g} {:.3g} {:n<6}'.format(0.5, 1234.5, 1) }}
!{{ '{}'.format() }}
!{{ '{x}'.format(y=1) }}
!{{ '{'.format(1) }}
!{{ '}'.format(1) }}
!{{ '{:d}'.format('x') }}
{{ {'a': 1.0, 'b': [], 'c': 'é<'} | tojson }}
{{ [1, 2.5, 1e-05, 1e22, true, false, none, 'q"\\/\n\t\r\b\f\x01\x7f', {}, (1, 2), 'é😀'] | tojson }}
{{ 'é😀\x7f' | tojson(ensure_ascii=true) }} {{ {'é': 1}|tojson(true) }}
{{ {'a': [1, {'b': []}], 'c': {}, 'd': {'e': none}} | tojson(indent=2) }}
{{ [1, [2, 3]] | tojson(indent=0) }} {{ {'a': [1]}|tojson(indent='--') }}
{{ {'b': 1, 'a': {'d': 1, 'c': 2}} | tojson(sort_keys=true) }} {{ {'a': [1, 2]}|tojson(separators=(',', ':')) }}
{{ {1: 'a', 2.5: 'b', true: 'c', none: 'd'} | tojson }}
!{{ {(1, 2): 3} | tojson }}
!{{ d.items() | tojson }}
!{{ range | tojson }}
{{ messages|tojson }} {{ d|tojson(indent=4) }} {{ n|tojson }} {{ s|tojson }} {{ x|tojson }} {{ z|tojson }}
{{ '{"a": [1, 2.5, null, true], "b": "x"}'|from_json }} {{ ('[1]'|from_json)[0] + 1 }} {{ '"s"'|from_json }} {{ '5'|from_json }}
!{{ 'nope'|from_json }}
{{ 'a,b,,c'.split(',') }} {{ ' a  b c '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ ' a b  c '.split(none, 1) }} {{ 'abc'.split('x') }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a--b'.split('--') }} {{ 'a b'.split(maxsplit=1) }} {{ 'x'.split(sep='x') }}
{{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b c '.rsplit(none, 1) }} {{ 'a,b'.rsplit(',') }} {{ 'a,b,c'.rsplit(',', 0) }} {{ 'a,b,c'.rsplit(',', 9) }} {{ ' a b  c '.rsplit() }}
!{{ 'a'.split('') }}
{{ 'a</think>b</think>\nc'.split('</think>')[-1].lstrip('\n') }}
{{ '  a '.strip() }}| {{ ' a '.lstrip() }}| {{ ' a '.rstrip() }}| {{ 'xxaxx'.strip('x') }} {{ 'xyaxy'.strip('yx') }} {{ '\n\na\n'.lstrip('\n') }}| {{ 'éaé'.strip('é') }} {{ '日a日'.rstrip('日本') }} {{ 'aaa'.strip('a') }}| {{ ' a'.strip(none) }}
{{ s.startswith('Hell') }} {{ s.startswith('x') }} {{ s.endswith('World') }} {{ s.endswith(('x', 'd')) }} {{ s.startswith('W', 7) }} {{ s.endswith('o', 0, 5) }} {{ s.startswith('') }} {{ s.startswith('', 99) }} {{ s.startswith(('a', 'H')) }}
!{{ s.startswith(1) }}
!{{ s.nosuch() }}
{{ s.find('o') }} {{ s.find('o', 5) }} {{ s.find('zz') }} {{ s.rfind('o') }} {{ s.index('W') }} {{ s.count('l') }} {{ s.count('') }} {{ 'aaaa'.count('aa') }} {{ u.find('日') }} {{ u.rfind('a') }} {{ s.find('') }} {{ s.find('', 99) }} {{ s.find('o', -5) }} {{ s.find('H', 1) }} {{ s.rfind('o', 0, 6) }} {{ ''.find('') }} {{ s.count('o', 5) }} {{ 'ab'.rfind('') }}
!{{ s.index('zz') }}
{{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ "they're bill's".title() }} {{ s.swapcase() }} {{ 'aBC'.capitalize() }} {{ 'ÀÉ'.lower() }} {{ 'ß'.upper() }} {{ 'aB'.casefold() }}
{{ ', '.join(['a', 'b']) }} {{ ''.join('abc') }} {{ '-'.join([]) }}| {{ '-'.join(d) }}
!{{ ','.join([1]) }}
{{ 'a\nb\r\nc\n'.splitlines() }} {{ 'a\nb'.splitlines(true) }} {{ ''.splitlines() }} {{ '\n'.splitlines() }}
{{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.partition('-') }} {{ 'abc'.rpartition('-') }}
{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'abc'.removeprefix('x') }} {{ 'abc'.removesuffix('') }}
{{ 'a'.ljust(3) }}| {{ 'a'.rjust(3) }}| {{ 'a'.center(4) }}| {{ 'a'.center(5, '*') }} {{ 'ab'.center(5, '*') }} {{ '42'.zfill(5) }} {{ '-42'.zfill(5) }} {{ 'a'.rjust(3, 'é') }} {{ 'abc'.ljust(2) }}
{{ 'abc'.isalpha() }} {{ 'ab1'.isalpha() }} {{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ ' \n'.isspace() }} {{ ''.isspace() }} {{ 'ABC'.isupper() }} {{ 'abc'.islower() }} {{ 'aB'.islower() }} {{ 'é'.isalpha() }} {{ 'é'.isascii() }} {{ '1'.isnumeric() }} {{ '1'.isdecimal() }} {{ '-'.isalnum() }} {{ '1'.islower() }}
{{ d.get('a') }} {{ d.get('q') }} {{ d.get('q', 5) }} {{ d.get('q', default=none) if false }}| {{ d.keys()|list }} {{ d.values()|list }} {{ d.items()|list }}
{% set m = {'a': 1} %}{% set _ = m.update({'b': 2}) %}{% set _ = m.update(c=3) %}{{ m }}{{ m.pop('a') }}{{ m }}{{ m.pop('q', 0) }}{{ m.setdefault('k', 9) }}{{ m.setdefault('b', 9) }}{{ m }}{{ m.copy() }}
!{% set m = {} %}{{ m.pop('a') }}
{% set a = [] %}{% set _ = a.append(1) %}{{ '' if a.append(2) }}{{ a }}{{ a.pop(0) }}{{ a }}{{ a.pop() }}{{ a }}{% set _ = a.extend('xyz') %}{% set _ = a.insert(1, 'i') %}{% set _ = a.insert(-1, 'j') %}{% set _ = a.insert(99, 'k') %}{{ a }}{% set _ = a.remove('x') %}{{ a }}{{ a.index('k') }}{{ a.count('i') }}
!{% set a = [] %}{{ a.pop() }}
!{% set a = [] %}{{ a.index(1) }}
{% set a = [1, 2] %}{% set b = a %}{% set _ = b.append(3) %}{{ a }}{{ a == b }}{{ a is sameas b }}{{ a is sameas [1, 2, 3] }}
{% set m = {} %}{% for i in range(40) %}{% set _ = m.update({'k' ~ i: i}) %}{% endfor %}{{ m|length }}{{ m.k0 }}{{ m.k39 }}{{ m['k' ~ 17] }}{% for i in range(38) %}{% set _ = m.pop('k' ~ i) %}{% endfor %}{{ m }}{{ 'k3' in m }}{{ 'k38' in m }}
{{ (1, 2).index(2) }} {{ (1, 1).count(1) }}
{{ {1: 'a'}[1.0] }} {{ {1: 'a'}[true] }} {{ {'1': 'a'}[1] is defined }} {{ {(1, 2): 'p'}[(1, 2)] }} {{ {none: 'n'}[none] }} {{ {0.5: 'h'}[0.5] }}
!{{ {[]: 1} }}
!{{ 5() }}
!{{ 'a'() }}
!{{ none.x.y }}
!{{ s.upper('x') }}
!{{ s|upper('x') }}
!{{ s|replace('x') }}
!{{ s|replace('x', nope=1) }}
{{ messages|map(attribute='role')|join(' ') }} {{ messages|length }}
{{ 'a' ~ ('b' if messages else 'c') ~ messages[0].role }}
{% for m in messages %}{% if loop.first and m.role == 'system' %}[{{ m.content }}]{% else %}{{ m['role'][0] }}:{{ m.content + '\n' }}{% endif %}{% endfor %}
{% set ns = namespace(found=false) %}{% for m in messages[::-1] %}{% if not ns.found and m.role == 'user' %}{% set ns.found = true %}{{ m.content }}{{ loop.index0 }}{% endif %}{% endfor %}
{% set loop_messages = messages[1:] if messages[0].role == 'system' else messages %}{{ loop_messages|length }}
{{ (messages|selectattr('role', 'equalto', 'user')|list)[-1].content }}
{{ messages[0] == messages[0] }}{{ messages[0] == messages[1] }}{{ messages[0] in messages }}
{{ '%s' | format(messages[0]) }}
{{ n.list or 'fallback' }} {{ n.empty or 'fallback' }} {{ n.none or 'fallback' }} {{ n.q or 'fallback' }}
{{ 'é'|upper ~ 'É'|lower }} {{ 'ǆ'.title() }} {{ 'ΑΒΓ'.lower() }}
{{ 9223372036854775807 }} {{ -9223372036854775807 }} {{ 9223372036854775807 == 9223372036854775807.0 }}
{{ 'abc' 'def'|upper }} {{ ['x'][0]|upper }} {{ ('a')|upper }} {{ {'k': 'v'}['k']|upper }} {{ {'k': 'v'}.k }} {{ [1, 2][::-1] }} {{ 'ab'[::-1]|upper }} {{ "x".join(["a", "b"])|upper }}
{{ s|lower|upper|title }} {{ s|replace(',', '')|lower|trim }} {{ (s|upper)[0] }} {{ s.split(', ')[1].upper()[0] }}
{{ [[1, 2], [3, 4]][1][0] }} {{ {'a': {'b': [1, 2]}}.a.b[1] }} {{ [x, i]|sum }} {{ {'a': l|length}['a'] }}
"""

# White space needs exact text: (template, ...) with newlines in it.
SPACE_CASES = [
    "a\n  {% if true %}\nb\n  {% endif %}\nc",
    "a\n  {%- if true %}\nb\n  {%- endif %}\nc",
    "a\n  {% if true -%}\n  b\n  {% endif -%}\n  c",
    "a\n  {%+ if true %}\nb\n  {% endif +%}\nc",
    "  {{ 1 }}\n  {{ 2 }}\n",
    "a\n{{- 1 -}}\nb",
    "a \n {{- 1 -}} \n b",
    "{# c #}\na\n  {# c #}\nb {# c #} c",
    "a {#- c -#} b",
    "a\n\n{#- c #}\n\nb",
    "x\n",
    "x\n\n",
    "\n",
    "",
    "{% if true %}\n\nx\n{% endif %}\n\ny",
    "{{ 1 }}\nx{{ 2 }}\n\ny",
    "a\r\nb\rc\n{{ 'x\r\ny' }}",
    "{% for i in [1,2] %}\n  {{ i }}\n{% endfor %}\nend",
    "{% for i in [1,2] -%}\n  {{ i }}\n{%- endfor %}\nend",
    "\t {% if true %}x{% endif %}\t {% if true %}y{% endif %}",
    "a {% if true %}x{% endif %}",
    "{% if true %}{% if true %}\n  {% endif %}{% endif %}z",
    "  {% set x = 1 %}  \n  {{ x }}",
    "{%- set x = 1 -%}  \n  {{ x }}",
    "a{#\n multi\n line\n#}b",
    "a\n   \n   {%- if true %} b {% endif -%}   \n\n c",
    "{{ 'multi\nline' }}",
    "{{\n  1\n  +\n  2\n}}",
    "{%\n if true\n %}x{%\n endif\n %}",
    "{{ {'a': {'b': 1}}}}",
    "{{ '}}' }}{{ '%}' }}{{ '{{' }}",
    "{ { } } {a} % } { %",
    "\u00a0{% if true %}\n\u3000{%- endif %}x",
    "{% raw %}\n  {{ x }}\n{% endraw %}\ny",
    "  {% raw %}  a  {% endraw %}  b",
    "{#{{ x }}#}{#-#}a{##}",
    "a\n {{+ 1 }}",
    "x {%- macro f() -%}\n  in\n{%- endmacro -%} y {{ f() }}",
    "\v\f{% if true %}x{% endif %}",
    "{% if true %}\r\nx\r\n{% endif %}\r\ny\r\n",
    "{{ '{% raw %}' }}{# {% raw %} #}",
]

BROKEN = [
    "{{", "{{ 1", "{{ }}", "{%", "{% %}", "{% if %}x{% endif %}", "{% if true %}x", "{% endif %}",
    "{% for %}{% endfor %}", "{% for x %}{% endfor %}", "{% for x in l %}", "{% nope %}", "{# x", "{{ 'a }}",
    "{{ 1 + }}", "{{ (1 }}", "{{ 1) }}", "{{ [1 }}", "{{ {'a' 1} }}", "{{ a b }}", "{{ a. }}", "{{ a['x' }}",
    "{{ a| }}", "{{ a is }}", "{{ 'x'|upper( }}", "{% set %}", "{% set 1 = 2 %}", "{% set x %}", "{% set true = 1 %}",
    "{% macro %}{% endmacro %}", "{% macro f(a=1, b) %}{% endmacro %}", "{% macro f( %}{% endmacro %}",
    "{% if true %}{% else %}{% else %}{% endif %}", "{% if true %}{% endfor %}", "{% raw %}x", "{{ ? }}", "{{ 1 $ 2 }}",
    "{% break %}", "{% for x in l %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}",
    "{{ f(a=1, 2) }}", "{{ [1, , 2] }}", "{{ 'x' 5 }}", "{% call x %}{% endcall %}", "{% filter %}{% endfilter %}",
    "{% include 'x' %}", "{{ 1 if }}", "{{ not }}", "{{ 01 }}", "{{ '\\x4' }}", "{{ '\\u12' }}", "{{ (1] }}",
    "{% endmacro %}", "{% with a %}{% endwith %}", "{% set x = 1 y %}", "{% if x = 1 %}{% endif %}", "{{ x = 1 }}",
    "{% for x in [1] if %}{% endfor %}", "{{ {1} }}", "{{ a..b }}", "{{ .a }}", "{% elif x %}", "{{ \"abc }}",
]

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Weather of a city.",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "Name of the city"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
            "days": {"type": "array", "items": {"type": "integer"}, "description": "Which days"}},
            "required": ["city"]}}},
    {"type": "function", "function": {
        "name": "add", "description": "Adds <two> numbers é.",
        "parameters": {"type": "object", "properties": {
            "a": {"type": "number", "description": "first"},
            "b": {"type": ["number", "null"], "description": "second"},
            "o": {"type": "object", "description": "options", "properties": {"deep": {"type": "boolean"}}}},
            "required": ["a", "b"]}}},
]


def call(name, arguments, identity="call12345"):
    return {"role": "assistant", "content": "", "tool_calls": [
        {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}]}


SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
TURNS = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi there!"},
    {"role": "user", "content": "How are you?"},
]
TOOL_TURNS = [
    {"role": "user", "content": "Weather in Rome?"},
    call("get_weather", {"city": "Rome", "days": [1, 2], "unit": "celsius"}),
    {"role": "tool", "name": "get_weather", "tool_call_id": "call12345", "content": "{\"sky\": \"clear\"}"},
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


def conversation(messages, **extra):
    return {**TOKENS, "messages": messages, "add_generation_prompt": True, **extra}


CONVERSATIONS = {
    "golden": conversation([SYSTEM] + TURNS),
    "no system": conversation(TURNS),
    "no generation prompt": conversation([SYSTEM] + TURNS[:2], add_generation_prompt=False),
    "one turn": conversation([{"role": "user", "content": "  Tell me\n\n'a' \"story\"  "}]),
    "tools": conversation([SYSTEM] + TURNS, tools=TOOLS),
    "tool call": conversation([SYSTEM] + TOOL_TURNS, tools=TOOLS),
    "tool call done": conversation(
        [SYSTEM] + TOOL_TURNS + [{"role": "assistant", "content": "It is clear."},
                                 {"role": "user", "content": "Thanks 😀"}], tools=TOOLS),
    "tool call string": conversation(
        [TOOL_TURNS[0], call("get_weather", "{\"city\": \"Rome\"}"), TOOL_TURNS[2]], tools=TOOLS),
    "tools without call": conversation(TURNS[:1], tools=TOOLS),
    "plain tool": conversation([SYSTEM] + TOOL_TURNS[:1] + [call("find", {"what": "é <b>"}), TOOL_TURNS[2]], tools=[
        {"type": "function", "function": {"name": "find", "description": "Finds it.", "parameters": {
            "type": "object", "properties": {"what": {"type": "string", "description": "what"}},
            "required": ["what"]}, "return": {"type": "string", "description": "text"}}}]),
    "thinking off": conversation([SYSTEM] + TURNS, enable_thinking=False, thinking=False),
    "thinking on": conversation([SYSTEM] + TURNS, enable_thinking=True, thinking=True,
                                reasoning_effort="high"),
    "reasoning": conversation([
        SYSTEM, TURNS[0],
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHi there!", "reasoning_content": "hm",
         "thinking": "hm"}, TURNS[2],
        {"role": "assistant", "content": "<think>\nso so\n</think>\n\nFine."}],
        add_generation_prompt=False),
    "parts": conversation([SYSTEM, {"role": "user", "content": [
        {"type": "text", "text": "What is "}, {"type": "text", "text": "this?"}]}]),
    "two users": conversation([TURNS[0], TURNS[2]]),
    "no messages": conversation([]),
    "documents": conversation([TURNS[0]], documents=[{"doc_id": 1, "title": "T", "text": "Some text"}]),
    "date": conversation(TURNS[:1], date_string="1 Feb 2026", builtin_tools=["python", "browser"]),
    "no content": conversation([TURNS[0], {"role": "assistant", "content": None}, TURNS[2]]),
}


def render(env, template, variables):
    """('text', TEXT), ('raised', MESSAGE) or ('fails', WHAT)"""
    try:
        return "text", env.from_string(template).render(**json.loads(json.dumps(variables)))
    except Raised as error:
        return "raised", error.message
    except Exception as error:
        return "fails", type(error).__name__ + ": " + str(error)


def write_vectors(env):
    cases, wrong = [], []
    lines = [line for line in CASES.split("\n") if line]
    templates = [(line.lstrip("!") if line.startswith("!") else line, line.startswith("!")) for line in lines]
    templates += [(text, False) for text in SPACE_CASES] + [(text, True) for text in BROKEN]
    for template, should_fail in templates:
        kind, result = render(env, template, VARIABLES)
        if (kind != "text") != should_fail:
            wrong.append("%r %s: %s" % (template, kind, result))
        case = {"template": template}
        case["fails" if should_fail else "expected"] = True if should_fail else result
        cases.append(case)
    if wrong:
        sys.exit("\n".join(wrong))
    path = os.path.join(HERE, "../text/chat_template_vectors.json")
    with open(path, "w") as out:
        out.write('{"variables": %s,\n"cases": [\n' % json.dumps(VARIABLES, ensure_ascii=False))
        out.write(",\n".join(json.dumps(case, ensure_ascii=False) for case in cases))
        out.write("\n]}\n")
    print("%d cases in %s" % (len(cases), os.path.normpath(path)))


def fnv1a(data):
    result = 0xCBF29CE484222325
    for byte in data:
        result = (result ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return "%016x" % result


def result_of(env, template, variables):
    kind, result = render(env, template, variables)
    if kind == "fails":
        return {"fails": True}
    if kind == "text" and len(result.encode()) > 300:
        return {"hash": fnv1a(result.encode()), "bytes": len(result.encode())}
    return {kind: result}


def write_real(env, folder, models):
    templates = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".jinja"):
            templates["reference/chat_templates/" + name] = open(os.path.join(folder, name), newline="").read()
    for model in models:
        config = json.load(open(os.path.join(model, "tokenizer_config.json")))
        templates["models/" + os.path.basename(os.path.normpath(model))] = config["chat_template"]
    expected = {name: {key: result_of(env, template, variables) for key, variables in CONVERSATIONS.items()}
                for name, template in templates.items()}
    path = os.path.join(HERE, "../text/chat_template_real.json")
    with open(path, "w") as out:
        out.write('{"conversations": {\n')
        out.write(",\n".join("%s: %s" % (json.dumps(key), json.dumps(value, ensure_ascii=False))
                             for key, value in CONVERSATIONS.items()))
        out.write('},\n"expected": {\n')
        out.write(",\n".join("%s: {\n%s}" % (json.dumps(name), ",\n".join(
            "  %s: %s" % (json.dumps(key), json.dumps(value, ensure_ascii=False)) for key, value in results.items()))
            for name, results in expected.items()))
        out.write("}}\n")
    print("%d templates, %d conversations in %s" % (len(expected), len(CONVERSATIONS), os.path.normpath(path)))


def main():
    env = environment()
    write_vectors(env)
    if len(sys.argv) > 1:
        write_real(env, sys.argv[1], sys.argv[2:])


main()
