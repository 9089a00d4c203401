"""Chat templates in the manners that published models use, rendered by transformers' own Jinja environment."""
from __future__ import annotations

from transformers.utils.chat_template_utils import render_jinja_template

TEMPLATES = {
    "chatml with default system": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
        "{{'<|im_start|>' + message['role'] + '\n' + text(message) + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"),
    "namespace and whitespace control": (
        "{%- set ns = namespace(images=0, system='') -%}\n{%- for m in messages -%}\n  {%- if m.role == 'system' -%}\n"
        "    {%- set ns.system = ns.system ~ text(m) -%}\n  {%- endif -%}\n  {%- if m.content is not string -%}\n"
        "    {%- for c in m.content if c.type == 'image' -%}{%- set ns.images = ns.images + 1 -%}{%- endfor -%}\n  {%- endif -%}\n"
        "{%- endfor -%}\n[{{ ns.system }}|{{ ns.images }}]\n"),
    "blocks on lines of their own": (
        "{% for m in messages %}\n    {% if m['role'] == 'user' %}\nUSER: {{ text(m) }}\n    {% elif m['role'] == 'assistant' %}\n"
        "ASSISTANT: {{ text(m) }}{{ eos_token }}\n    {% else %}\nSYSTEM {{ text(m) | trim }}\n    {% endif %}\n{% endfor %}\nEND"),
    "loop variables": (
        "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ '*' if loop.last else ',' }}{{ 'even' if loop.index0 % 2 == 0 }}"
        "{% if not loop.last %};{% endif %}{% endfor %}"),
    "slices, lists and membership": (
        "{% set rest = messages[1:] if messages[0]['role'] == 'system' else messages %}{{ rest | length }}"
        "{{ ' user' if rest[-1]['role'] in ['user', 'tool'] else '' }}{{ messages[::-1][0]['role'] }}{{ (rest | first)['role'] }}"
        "{{ messages | map(attribute='role') | join('+') }}"),
    "string methods and filters": (
        "{% for m in messages %}{{ text(m).strip() | upper }}|{{ text(m).split(' ')[0] }}|{{ 'H' if text(m).startswith('How') }}"
        "|{{ text(m) | replace('e', '3') }}|{{ text(m)[:3] }}|{{ text(m) | length }}\n{% endfor %}"),
    "json": "{{ messages | tojson }}\n{{ messages[0] | tojson(indent=2) }}{{ {'a': none, 'b': [1, 2.5, true], 'c': 'é\"<&>'} | tojson }}",
    "macro": (
        "{% macro turn(role, words) %}<{{ role }}>{{ words | trim }}</{{ role }}>{% endmacro %}"
        "{% for m in messages %}{{ turn(m.role, text(m)) }}{% endfor %}"),
    "defined, none, numbers and defaults": (
        "{{ 'a' if tools is defined }}{{ 'b' if tools is none }}{{ 'c' if nothing is defined }}{{ nothing | default('d') }}"
        "{{ 7 // 2 }}{{ 7 / 2 }}{{ 2 ** 3 }}{{ 7 % 3 }}{{ -1 }}{{ 1.0 }}{{ 'e' if not tools }}{{ 'a' ~ 1 ~ 'b' }}{{ nothing }}"),
    "comments and escapes": (
        "{# a\ncomment #}\n{{ 'a\\nb\\t\\'q\\' \\\\ ' }}{{ \"d'q\" }}\n\n{#- x -#}\n end\n"),
    "inline conditions and chained tests": (
        "{% for m in messages %}{{ 'S' if m.role == 'system' else 'U' if m.role == 'user' else 'A' }}"
        "{% if m.role == 'user' and (loop.index0 > 0 or add_generation_prompt) and not m.role is none %}!{% endif %}{% endfor %}"),
    "dictionaries": (
        "{% set d = {'user': 'Q', 'assistant': 'R'} %}{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}"
        "{% for m in messages %}{{ d.get(m.role, '?') }}{{ d[m.role] if m.role in d else '' }}{% endfor %}"),
    "continue and break": (
        "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.role }}{% endfor %}|"
        "{% for m in messages %}{%- if m.role == 'user' -%}{% break %}{%- endif -%}{{ m.role }}{% endfor %}"),
    "images before words": (
        "{% for m in messages %}{{ m.role | capitalize }}:{% if m.content is string %} {{ m.content }}{% else %}"
        "{% for c in m.content | selectattr('type', 'equalto', 'image') %}<image>{% endfor %}"
        "{% for c in m.content | selectattr('type', 'equalto', 'text') %} {{ c.text }}{% endfor %}{% endif %}\n{% endfor %}"),
}
# What the library does not do as Jinja does: the test says how each is met.
LIMITS = {
    "text before break": (
        "{% for m in messages %}{{ m.role }}{% if m.role == 'user' %}{% break %}{% endif %}{% endfor %}"),
    "text before continue in a branch": (
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.role }}{% continue %}{% endif %}-{% endfor %}"),
    "raw": "{% raw %}{{ not this }}{% endraw %}",
    "none in a sentence": "{{ 'a' ~ none }}",
    "a printed truth value": "{{ true }}",
    "title case beyond ASCII": "{{ 'an école'.title() }}",
}
TEXT = ("{% macro text(m) %}{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}"
        "{% if c.type == 'text' %}{{ c.text }}{% endif %}{% endfor %}{% endif %}{% endmacro %}")

CONVERSATIONS = [
    [{"role": "user", "content": "How many?"}],
    [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?\n"}]},
     {"role": "assistant", "content": "three <b>&\"é\" 图"}, {"role": "user", "content": [{"type": "text", "text": "Sure, e.g. \\n?"}]}],
    [{"role": "user", "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "Compare the two."}]}],
]


def template_cases() -> list[dict[str, object]]:
    cases = []
    for name, source in {**TEMPLATES, **LIMITS}.items():
        template = TEXT + source if "text(" in source else source
        for messages in CONVERSATIONS:
            for add in (True, False):
                rendered, _ = render_jinja_template(
                    [messages], chat_template=template, add_generation_prompt=add, tools=None, documents=None,
                    bos_token="<s>", eos_token="</s>")
                cases.append({"name": name, "template": template, "messages": messages, "generation": add,
                              "rendered": rendered[0], "limit": name in LIMITS})
    return cases
