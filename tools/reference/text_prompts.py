"""Prompts of whole conversations: by transformers' own processor, and by the published chat() of the OpenGVLab layout."""
from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from PIL import Image
from tokenizers import Tokenizer

Turn = dict[str, object]
Size = tuple[int, int]


def image(index: int) -> dict[str, object]:
    return {"type": "image", "image": index}


def text(words: str) -> dict[str, object]:
    return {"type": "text", "text": words}


def user(*parts: object) -> Turn:
    return {"role": "user", "content": list(parts)}


def said(words: str) -> Turn:
    return {"role": "assistant", "content": [text(words)]}


CONVERSATIONS: list[tuple[str, list[Turn], list[Size]]] = [
    ("one image", [user(image(0), text("Describe the image."))], [(300, 200)]),
    ("square", [user(image(0), text("How many shapes?"))], [(448, 448)]),
    ("one pixel", [user(image(0), text("What?"))], [(1, 1)]),
    ("portrait", [user(image(0), text("Zwei große Kreise? 图片 👍🏽"))], [(200, 900)]),
    ("panorama", [user(image(0), text("  spaces  and\nlines\n"))], [(1000, 100)]),
    ("two images", [user(image(0), image(1), text("Compare them."))], [(300, 200), (100, 400)]),
    ("three images", [user(image(0), image(1), image(2), text("Which is largest?"))], [(64, 64), (640, 480), (480, 640)]),
    ("text only", [{"role": "user", "content": [text("Say hello.")]}], []),
    ("text as string", [{"role": "user", "content": "Say hello."}], []),
    ("empty question", [user(image(0), text(""))], [(100, 100)]),
    ("system", [{"role": "system", "content": [text("Answer in one word.")]}, user(image(0), text("Colour?"))], [(120, 90)]),
    ("two turns", [user(image(0), text("How many?")), said("3"), user(text("And which colour is the first?"))], [(512, 300)]),
    ("four turns, a new image later", [
        user(image(0), text("How many?")), said("3"), user(text("Sure?")), said("Yes."), user(image(1), text("And here?"))],
     [(512, 300), (90, 90)]),
    ("the tag as a word", [user(text("Is <image> a tag of HTML?"))], []),
    ("the tag in an answer and a question", [
        user(image(0), text("Which tag?")), said("<image>, or <img src>"), user(text("Not <image>?"))], [(90, 60)]),
    ("markup", [user(image(0), text("Where is <ref>the red circle</ref>? [[1, 2]] <|x|>"))], [(333, 333)]),
]


def packed(ids: Iterable[int]) -> list[object]:
    """Runs of one id as [id, count]."""
    runs = [(k, len(list(g))) for k, g in groupby(ids)]
    return [k if n == 1 else [k, n] for k, n in runs]


def hf_prompts(folder: Path) -> list[dict[str, object]]:
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    if processor.chat_template is None:
        processor.chat_template = processor.tokenizer.chat_template["default"]
    cases = []
    for name, conversation, sizes in CONVERSATIONS:
        pictures = [Image.new("RGB", size) for size in sizes]
        filled = [{**turn, "content": [
            {"type": "image", "image": pictures[part["image"]]} if isinstance(part, dict) and part["type"] == "image" else part
            for part in turn["content"]] if isinstance(turn["content"], list) else turn["content"]} for turn in conversation]
        rendered = processor.apply_chat_template(filled, add_generation_prompt=True, tokenize=False)
        inputs = processor(text=rendered, images=pictures or None)
        ids = inputs["input_ids"]
        cases.append({
            "name": name, "messages": conversation, "sizes": sizes, "rendered": rendered,
            "tiles": len(inputs["pixel_values"]) if pictures else 0, "ids": packed(ids[0] if isinstance(ids[0], list) else ids),
        })
    return cases


# The HF template of the published InternVL 3 models (it has no default system message).
HF_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n'}}{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "{{ '<IMG_CONTEXT>\\n' }}{% elif content['type'] == 'video' %}{{ '<video>\\n' }}{% elif content['type'] == 'text' %}"
    "{{ content['text'] }}{% endif %}{% endfor %}{% endif %}{{'<|im_end|>\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\\n' }}{% endif %}"
)


def added(tokenizer: Tokenizer) -> dict[str, object]:
    listed = json.loads(tokenizer.to_str())["added_tokens"]
    return {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in listed}


def dump(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def write_hf_folder(folder: Path, tokenizer_json: Path) -> None:
    """The configuration files of a 448-px model in the HF layout, its template as a list of named ones."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    tokenizer.add_special_tokens(["<video>"])
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    ids = {t: tokenizer.token_to_id(t) for t in ("<|im_end|>", "<IMG_CONTEXT>")}
    dump(folder / "config.json", {
        "model_type": "internvl", "image_token_id": ids["<IMG_CONTEXT>"], "image_seq_length": 256, "downsample_ratio": 0.5,
        "vision_config": {"model_type": "internvl_vision", "image_size": [448, 448], "patch_size": [14, 14], "hidden_size": 1024,
                          "num_hidden_layers": 24},
        "text_config": {"model_type": "qwen2", "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14,
                        "num_key_value_heads": 2, "max_position_embeddings": 32768, "vocab_size": tokenizer.get_vocab_size()},
    })
    dump(folder / "preprocessor_config.json", {
        "crop_to_patches": False, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "image_processor_type": "GotOcr2ImageProcessor",
        "min_patches": 1, "max_patches": 12, "resample": 3, "rescale_factor": 1 / 255, "size": {"height": 448, "width": 448},
        "processor_class": "InternVLProcessor",
    })
    dump(folder / "processor_config.json", {"image_seq_length": 256, "processor_class": "InternVLProcessor"})
    dump(folder / "video_preprocessor_config.json", {"video_processor_type": "InternVLVideoProcessor"})
    dump(folder / "generation_config.json", {"eos_token_id": [ids["<|im_end|>"]], "pad_token_id": ids["<|im_end|>"]})
    dump(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "processor_class": "InternVLProcessor", "added_tokens_decoder": added(tokenizer),
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "clean_up_tokenization_spaces": False, "model_max_length": 8192,
        "extra_special_tokens": {"start_image_token": "<img>", "end_image_token": "</img>",
                                 "context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"},
        "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>", "video_token": "<video>",
        "chat_template": [{"name": "default", "template": HF_TEMPLATE}, {"name": "other", "template": "{{ 'no' }}"}],
    })


SYSTEM_1 = "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, 是一个有用无害的人工智能助手。"
SYSTEM_2 = "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
TEMPLATES = {  # system header, system message, user header, assistant header, separator
    "internvl2_5": ("<|im_start|>system\n", SYSTEM_2, "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>\n"),
    "Hermes-2": ("<|im_start|>system\n", SYSTEM_1, "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>"),
    "phi3-chat": ("<|system|>\n", SYSTEM_1, "<|user|>\n", "<|assistant|>\n", "<|end|>"),
}


def write_chat_folder(folder: Path, tokenizer_json: Path, template: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(tokenizer_json, folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    dump(folder / "config.json", {
        "model_type": "internvl_chat", "architectures": ["InternVLChatModel"], "template": template, "downsample_ratio": 0.5,
        "dynamic_image_size": True, "force_image_size": 448, "min_dynamic_patch": 1, "max_dynamic_patch": 12,
        "use_thumbnail": True, "pad2square": False, "ps_version": "v2", "select_layer": -1,
        "llm_config": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 896, "num_hidden_layers": 24,
                       "max_position_embeddings": 32768, "vocab_size": tokenizer.get_vocab_size()},
        "vision_config": {"model_type": "intern_vit_6b", "image_size": 448, "patch_size": 14, "hidden_size": 1024,
                          "num_hidden_layers": 24},
    })
    dump(folder / "preprocessor_config.json", {
        "crop_size": 448, "do_center_crop": True, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
        "resample": 3, "size": 448,
    })
    dump(folder / "tokenizer_config.json", {
        "tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added(tokenizer), "clean_up_tokenization_spaces": False,
        "model_max_length": 8192, **({"bos_token": "<s>"} if template == "phi3-chat" else {}),
    })


def tiles(width: int, height: int, low: int = 1, high: int = 12, side: int = 448) -> int:
    """dynamic_preprocess of the published code: how many tiles, the thumbnail included."""
    grids = {(i, j) for n in range(low, high + 1) for i in range(1, n + 1) for j in range(1, n + 1) if low <= i * j <= high}
    best, difference = (1, 1), float("inf")
    for grid in sorted(grids, key=lambda g: g[0] * g[1]):
        d = abs(width / height - grid[0] / grid[1])
        if d < difference:
            best, difference = grid, d
        elif d == difference and width * height > 0.5 * side * side * grid[0] * grid[1]:
            best = grid
    blocks = best[0] * best[1]
    return blocks + 1 if blocks > 1 else blocks


def question(turn: Turn, numbers: Iterable[int], several: bool) -> str:
    """A message as the model's examples write it: `<image>` alone, or numbered when the conversation has several."""
    parts = turn["content"] if isinstance(turn["content"], list) else [text(str(turn["content"]))]
    count = iter(numbers)
    return "".join(
        (f"Image-{next(count)}: <image>\n" if several else "<image>\n") if p["type"] == "image" else p["text"] for p in parts)


def chat_query(template: str, conversation: list[Turn], sizes: list[Size], per_tile: int = 256, side: int = 448) -> tuple[str, str]:
    """chat() of the published model code, up to the tokenizer: the prompt with `<image>`, and with its images expanded."""
    head, system, ask, answer, separator = TEMPLATES[template]
    turns = [t for t in conversation if t["role"] != "system"]
    message = next((t["content"][0]["text"] for t in conversation if t["role"] == "system"), system)
    rendered = head + message + separator
    seen = 1
    for turn in turns:
        parts = turn["content"] if isinstance(turn["content"], list) else []
        images = sum(p["type"] == "image" for p in parts)
        words = question(turn, range(seen, seen + images), len(sizes) > 1)
        seen += images
        role = ask if turn["role"] == "user" else answer
        rendered += role + words + separator if words else role
    rendered += answer
    query = rendered
    for size in sizes:
        query = query.replace("<image>", "<img>" + "<IMG_CONTEXT>" * (per_tile * tiles(*size, side=side)) + "</img>", 1)
    return rendered, query


def chat_prompts(folder: Path) -> list[dict[str, object]]:
    config = json.loads((folder / "config.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    cases = []
    for name, conversation, sizes in CONVERSATIONS:
        rendered, query = chat_query(config["template"], conversation, sizes)
        cases.append({"name": name, "messages": conversation, "sizes": sizes, "rendered": rendered, "tiles": sum(tiles(*size) for size in sizes),
                      "ids": packed(tokenizer.encode(query).ids)})
    return cases
