"""The text around a question: what chat_template.jinja renders, spelled out for training."""
from __future__ import annotations

SYSTEM = "You answer questions about drawn shapes."
TOKENS_PER_TILE = 16

TEMPLATE = """{%- if messages[0]['role'] != 'system' -%}
{{ '<|im_start|>system\\n""" + SYSTEM + """<|im_end|>\\n' }}
{%- endif -%}
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}
{{ '<IMG_CONTEXT>\\n' }}
{%- elif part['type'] == 'video' -%}
{{ '<video>\\n' }}
{%- elif part['type'] == 'text' -%}
{{ part['text'] }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}
"""


def prefix(tiles: int) -> str:
    """Everything up to the first question, the image expanded."""
    image = "<img>" + "<IMG_CONTEXT>" * (TOKENS_PER_TILE * tiles) + "</img>\n"
    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{image}"


def asked(question: str) -> str:
    return f"{question}<|im_end|>\n<|im_start|>assistant\n"


def answered(answer: str) -> str:
    return f"{answer}<|im_end|>\n"


NEXT_USER = "<|im_start|>user\n"
