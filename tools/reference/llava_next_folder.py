"""A model folder of LLaVA-NeXT as Granite Vision 3.2-2b has it: published numbers, a tiny tokenizer, a template of our own.

The prompt format is Granite Vision's documented one: `<|system|>`, `<|user|>` and `<|assistant|>` headers on lines of their
own, an image as `<image>` before the words, `<|end_of_text|>` behind an answer. The default system text is test data.
"""
from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from text_prompts import added
from tokenizers import Tokenizer

SIDE = 384
# [height, width] of every canvas of at most 10 tiles that the published configuration lists.
PINPOINTS = [
    [SIDE * rows, SIDE * columns]
    for rows, most in ((1, 10), (2, 5), (3, 3), (4, 2), (5, 2), (6, 1), (7, 1), (8, 1), (9, 1), (10, 1))
    for columns in range(1, most + 1)
]
FEATURE_LAYERS = [-24, -20, -12, -1]
SYSTEM = "You look at pictures and answer questions about them."
TEMPLATE = """\
{%- if messages[0]['role'] != 'system' %}{{ '<|system|>\\n""" + SYSTEM + """\\n' }}{% endif %}
{%- for message in messages %}
{%- set words = message['content'] %}
{%- if message['content'] is not string %}
{%- set parts = namespace(images='', words='') %}
{%- for part in message['content'] %}
{%- if part['type'] == 'image' %}{% set parts.images = parts.images + '<image>\\n' %}
{%- elif part['type'] == 'text' %}{% set parts.words = parts.words + part['text'] %}{% endif %}
{%- endfor %}
{%- set words = parts.images + parts.words %}
{%- endif %}
{{- '<|' + message['role'] + '|>\\n' + words }}{{ eos_token if message['role'] == 'assistant' else '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}
"""


def dump(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False, separators=(", ", ": ")) + "\n")


def model_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """Granite Vision 3.2-2b's architecture, with the vocabulary of the tokenizer at hand."""
    end = tokenizer.token_to_id("<|end_of_text|>")
    return {
        "model_type": "llava_next", "architectures": ["LlavaNextForConditionalGeneration"],
        "image_token_index": tokenizer.token_to_id("<image>"), "image_grid_pinpoints": PINPOINTS,
        "vision_feature_layer": FEATURE_LAYERS, "vision_feature_select_strategy": "full", "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True, "tie_word_embeddings": True, "use_image_newline_parameter": True,
        "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "image_size": SIDE,
                          "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "layer_norm_eps": 1e-6,
                          "hidden_act": "gelu_pytorch_tanh"},
        "text_config": {"model_type": "granite", "architectures": ["GraniteForCausalLM"], "hidden_size": 2048,
                        "intermediate_size": 8192, "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 8,
                        "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "vocab_size": tokenizer.get_vocab_size(),
                        "rope_theta": 300000.0, "embedding_multiplier": 12.0, "logits_scaling": 8.0, "residual_multiplier": 0.22,
                        "attention_multiplier": 0.015625, "tie_word_embeddings": True, "bos_token_id": end, "eos_token_id": end,
                        "pad_token_id": end},
    }


def write_folder(folder: Path, tokenizer_json: Path, config: dict[str, Any] | None = None, patch: int = 14) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(tokenizer_json, folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    dump(folder / "config.json", config or model_config(tokenizer))
    square = {"height": SIDE, "width": SIDE}
    dump(folder / "preprocessor_config.json", {
        "image_processor_type": "LlavaNextImageProcessor", "processor_class": "LlavaNextProcessor", "crop_size": square,
        "size": square, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True, "do_pad": True, "do_rescale": True,
        "do_resize": True, "image_grid_pinpoints": PINPOINTS, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        "resample": 3, "rescale_factor": 1 / 255,
    })
    dump(folder / "processor_config.json", {
        "processor_class": "LlavaNextProcessor", "image_token": "<image>", "patch_size": patch,
        "vision_feature_select_strategy": "full", "num_additional_image_tokens": 0,
    })
    end = tokenizer.token_to_id("<|end_of_text|>")
    dump(folder / "generation_config.json", {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end})
    dump(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "processor_class": "LlavaNextProcessor", "added_tokens_decoder": added(tokenizer),
        "bos_token": "<|end_of_text|>", "eos_token": "<|end_of_text|>", "pad_token": "<|end_of_text|>", "model_max_length": 131072,
        "clean_up_tokenization_spaces": False,
    })
    (folder / "chat_template.jinja").write_text(TEMPLATE)
