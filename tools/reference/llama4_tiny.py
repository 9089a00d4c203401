"""A tiny random-weight model of Llama 4's architecture with its real image geometry, and what transformers' own `generate`
makes of it: the goldens of whole runs.

    python tools/reference/llama4_tiny.py [--out test/golden/llama4-tiny] [--checkpoint FOLDER] [--experts 2]

Writes configuration, both programs and goldens; the checkpoint itself is kept only where --checkpoint says. Weights are
numbers that f16 holds, so that storing them so loses nothing. Run from the root.
"""
from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx
import PIL
import torch
import torchvision
import transformers
from PIL import Image, ImageOps
from safetensors.torch import load_file
from text_prompts import added, packed
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoProcessor, Llama4ForConditionalGeneration

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "export"))
from vlm_export import llama4  # noqa: E402

TOKENIZER = Path("test/golden/text/llama3/tokenizer.json")
SOURCES = Path("test/golden/images/sources")
VERSIONS = {"transformers": transformers.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__, "pillow": PIL.__version__}
SIDE, PATCH, STEPS, SEED = 336, 28, 64, 5
ADDED = ["<|header_start|>", "<|header_end|>", "<|image_start|>", "<|image_end|>", "<|tile_x_separator|>", "<|tile_y_separator|>"]
# The documented prompt format: a header line, an empty line, the words, <|eot|>.
TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
{{- '<|header_start|>' + message['role'] + '<|header_end|>\\n\\n' }}
{%- if message['content'] is string %}{{ message['content'] }}
{%- else %}
{%- for part in message['content'] %}
{%- if part['type'] == 'image' %}{{ '<|image|>' }}{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}
{%- endfor %}
{%- endif %}
{{- '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|header_start|>assistant<|header_end|>\\n\\n' }}{% endif %}
"""


def ask(images: list[str], words: str) -> dict[str, Any]:
    content = [*({"type": "image", "image": i} for i in range(len(images))), {"type": "text", "text": words}]
    return {"images": images, "messages": [{"role": "user", "content": content}]}


CASES = {
    "landscape": ask(["landscape.jpg"], "Describe the image."),
    "portrait": ask(["portrait.jpg"], "What is in the picture?"),
    "one pixel": ask(["px1.png"], "What colour?"),
    "thin": ask(["thin-tall.png"], "How many lines are there?"),
    "panorama": ask(["panorama.jpg"], "Read the text from left to right."),
    "square": ask(["square.png"], "Zwei Kreise?"),
    "turned by EXIF": ask(["exif-6.jpg"], "Which side is up?"),
    "grey": ask(["grey.png"], "Is it bright?"),
    "large": ask(["large.jpg"], "Tell me everything."),
    "a little more than a tile": ask(["tile-448.jpg"], "Where is the middle?"),
    "two images": ask(["panorama.jpg", "portrait.jpg"], "Compare them."),
    "text only": ask([], "Say hello."),
}


def dump(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False, separators=(", ", ": ")) + "\n")


def tiny_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """Dense and expert layers in turn, two experts a token, one layer in four without rope; chunks that every answer crosses."""
    eot = tokenizer.token_to_id("<|eot|>")
    return {
        "model_type": "llama4", "architectures": ["Llama4ForConditionalGeneration"], "image_token_index": tokenizer.token_to_id("<|patch|>"),
        "boi_token_index": tokenizer.token_to_id("<|image_start|>"), "eoi_token_index": tokenizer.token_to_id("<|image_end|>"), "tie_word_embeddings": False,
        "vision_config": {"model_type": "llama4_vision_model", "hidden_size": 32, "intermediate_size": 128, "image_size": SIDE, "patch_size": PATCH,
                          "num_attention_heads": 2, "num_hidden_layers": 3, "pixel_shuffle_ratio": 0.5, "projector_input_dim": 48,
                          "projector_output_dim": 48, "vision_output_dim": 48, "rope_theta": 10000},
        "text_config": {"model_type": "llama4_text", "hidden_size": 48, "intermediate_size": 40, "intermediate_size_mlp": 96, "num_hidden_layers": 4,
                        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": tokenizer.get_vocab_size(),
                        "max_position_embeddings": 10485760, "num_experts_per_tok": 2, "num_local_experts": 4, "interleave_moe_layer_step": 2,
                        "attention_chunk_size": 96, "floor_scale": 64, "attn_scale": 0.1, "attn_temperature_tuning": True, "use_qk_norm": True,
                        "rms_norm_eps": 1e-5, "bos_token_id": tokenizer.token_to_id("<|begin_of_text|>"), "eos_token_id": eot, "pad_token_id": eot,
                        "rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 1.0,
                                                                 "original_max_position_embeddings": 8192}},
    }


def write_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    tokenizer.add_special_tokens(ADDED)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    dump(folder / "config.json", tiny_config(tokenizer))
    dump(folder / "preprocessor_config.json", {
        "image_processor_type": "Llama4ImageProcessor", "processor_class": "Llama4Processor", "do_convert_rgb": True, "do_normalize": True,
        "do_rescale": True, "do_resize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "max_patches": 16, "resample": 2,
        "rescale_factor": 1 / 255, "resize_to_max_canvas": False, "size": {"height": SIDE, "width": SIDE},
    })
    dump(folder / "processor_config.json", {
        "processor_class": "Llama4Processor", "patch_size": PATCH, "pixel_shuffle_ratio": 0.5, "image_token": "<|image|>", "fake_image_token": "<|image|>",
        "patch_token": "<|patch|>", "start_of_image_token": "<|image_start|>", "end_of_image_token": "<|image_end|>",
        "tile_x_separator_token": "<|tile_x_separator|>", "tile_y_separator_token": "<|tile_y_separator|>",
    })
    ends = [tokenizer.token_to_id(t) for t in ("<|end_of_text|>", "<|eot|>")]
    dump(folder / "generation_config.json", {"bos_token_id": tokenizer.token_to_id("<|begin_of_text|>"), "eos_token_id": ends, "pad_token_id": ends[1]})
    dump(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "processor_class": "Llama4Processor", "added_tokens_decoder": added(tokenizer),
        "bos_token": "<|begin_of_text|>", "eos_token": "<|eot|>", "pad_token": "<|eot|>", "model_max_length": 10485760, "clean_up_tokenization_spaces": False,
    })
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def fill(model: torch.nn.Module, patch_token: int) -> None:
    """Random weights large enough that answers depend on every part, on numbers that f16 holds."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                value = 1 + 0.2 * noise
            elif p.dim() < 2:
                value = 0.15 * noise
            elif "embed_tokens" in name or "positional" in name:
                value = 0.5 * noise
            else:
                # Experts are kept [expert, in, out], everything else [out, in].
                width = p.shape[-2] if p.dim() == 3 else p[0].numel()
                gain = 2.5 if ("q_proj" in name and "language" in name) or "router" in name else 1.5
                value = noise * gain / math.sqrt(width)
            if "lm_head" in name:
                # Never an answer: the program would put a vision row where the model puts the token's own embedding.
                value[patch_token] = 0
            p.copy_(value.half().float())


def record(processor: Any, model: Any, case: dict[str, Any]) -> dict[str, Any]:
    pictures = []
    for name in case["images"]:
        with Image.open(SOURCES / name) as image:
            pictures.append(ImageOps.exif_transpose(image).convert("RGB"))
    text = processor.apply_chat_template(case["messages"], add_generation_prompt=True, tokenize=False)
    inputs = dict(processor(images=pictures or None, text=text, return_tensors="pt", add_special_tokens=False))
    if pictures:
        # The processor rounds pixels to bf16; the model computes in f32.
        inputs["pixel_values"] = inputs["pixel_values"].float()
    ids = inputs["input_ids"][0].tolist()
    with torch.no_grad():
        out = model.generate(**inputs, max_new_tokens=STEPS, do_sample=False, eos_token_id=None, return_dict_in_generate=True, output_logits=True)
    tokens = out.sequences[0, len(ids):].tolist()
    logits = torch.stack([step[0] for step in out.logits])
    best = logits.topk(2).values
    assert len(tokens) == STEPS
    return {**case, "tiles": len(inputs["pixel_values"]) if pictures else 0, "ids": packed(ids), "tokens": tokens,
            "leastMargin": round(float((best[:, 0] - best[:, 1]).min()), 6),
            "logits": {str(step): [round(v, 6) for v in logits[step].tolist()[::4]] for step in (0, STEPS - 1)}}


def program_cases(model: Any, patch_token: int) -> list[dict[str, Any]]:
    """Prompts of one length on pixels of a formula, for tests of the programs alone: (31 i + 17 case) mod 257 as (k - 128) / 128."""
    cases = []
    for case, tiles in enumerate(([2], [1, 1], [1, 1])):
        ids = [999, 11 + case, 12]
        for n in tiles:
            ids += [20 + case, *[patch_token] * (36 * n), 21]
        ids = ids[:3] + [30] * (2 * (2 - len(tiles))) + ids[3:]
        index = torch.arange(sum(tiles) * 3 * SIDE * SIDE, dtype=torch.int64)
        pixels = (((31 * index + 17 * case) % 257).float() - 128) / 128
        with torch.no_grad():
            out = model.generate(input_ids=torch.tensor([ids]), pixel_values=pixels.view(-1, 3, SIDE, SIDE), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                                 max_new_tokens=STEPS, do_sample=False, eos_token_id=None, return_dict_in_generate=True, output_logits=True)
        cases.append({"tiles": sum(tiles), "ids": packed(ids), "tokens": out.sequences[0, len(ids):].tolist(),
                      "logits": [round(v, 6) for v in out.logits[-1][0].tolist()[::4]]})
    assert len({str(case["tokens"]) for case in cases}) == len(cases)
    return cases


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("test/golden/llama4-tiny"))
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--experts", type=int, default=2, help="experts a token; published models and QEfficient's code have 1")
    args = parser.parse_args()
    torch.set_num_threads(1)
    write_folder(args.out)
    written = json.loads((args.out / "config.json").read_text())
    written["text_config"]["num_experts_per_tok"] = args.experts
    dump(args.out / "config.json", written)
    config = AutoConfig.from_pretrained(args.out)
    model = Llama4ForConditionalGeneration(config).eval()
    fill(model, config.image_token_id)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.checkpoint or Path(scratch)
        model.save_pretrained(folder)
        for file in args.out.iterdir():
            if file.suffix in (".json", ".jinja") and file.name != "goldens.json":
                shutil.copy(file, folder / file.name)
        state = load_file(folder / "model.safetensors")
    for name, program in llama4.export(config, state).items():
        onnx.save(program, args.out / f"{name}.onnx")
    processor = AutoProcessor.from_pretrained(args.out)
    cases: dict[str, Any] = {}
    for name, case in CASES.items():
        cases[name] = record(processor, model, case)
        print(f"{name:26s} {len(set(cases[name]['tokens'])):3d} distinct, {cases[name]['tiles']:2d} tiles, least margin {cases[name]['leastMargin']}")
    assert len({tuple(case["tokens"]) for case in cases.values()}) == len(cases), "answers do not depend on their pictures"
    programs = {"versions": VERSIONS, "steps": STEPS, "cases": program_cases(model, config.image_token_id)}
    (args.out / "programs.json").write_text(json.dumps(programs, separators=(",", ":")) + "\n")
    (args.out / "goldens.json").write_text(json.dumps({"versions": VERSIONS, "steps": STEPS, "cases": cases}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
