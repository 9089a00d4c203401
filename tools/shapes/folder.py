"""Writes the Hugging Face folder of the model: configuration, processor, tokenizer, weights in f16."""
from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLVisionConfig, Qwen2Config

from .prompt import TEMPLATE, TOKENS_PER_TILE
from .tokenizer import SPECIALS, VISIBLE, build_tokenizer

TILE = 112
MEAN = [0.485, 0.456, 0.406]
STD = [0.229, 0.224, 0.225]
LAYERS = 6  # of the text model


def model_config(tokenizer: Tokenizer, layers: int = LAYERS) -> InternVLConfig:
    ids = {t: tokenizer.token_to_id(t) for t in SPECIALS}
    vision = InternVLVisionConfig(
        hidden_size=128, num_hidden_layers=4, num_attention_heads=4, intermediate_size=512, attention_bias=True,
        image_size=[TILE, TILE], patch_size=[14, 14], layer_scale_init_value=1.0, norm_type="layer_norm",
    )
    text = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=128, intermediate_size=384, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048, rms_norm_eps=1e-6,
        tie_word_embeddings=True, bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|im_end|>"],
        pad_token_id=ids["<|endoftext|>"], rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    return InternVLConfig(
        vision_config=vision.to_dict(), text_config=text.to_dict(), image_token_id=ids["<IMG_CONTEXT>"],
        image_seq_length=TOKENS_PER_TILE, downsample_ratio=0.5, tie_word_embeddings=True,
        architectures=["InternVLForConditionalGeneration"],
    )


def _write(path: Path, data: dict[str, object]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n")


def write_processor(folder: Path, tokenizer: Tokenizer) -> None:
    ids = {t: tokenizer.token_to_id(t) for t in SPECIALS}
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": "InternVLProcessor",
        "added_tokens_decoder": {
            str(ids[t]): {"content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                          "special": t not in VISIBLE} for t in SPECIALS
        },
        "bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None,
        "clean_up_tokenization_spaces": False, "model_max_length": 2048, "padding_side": "left",
        "model_input_names": ["input_ids", "attention_mask"],
        "extra_special_tokens": {
            "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    })
    image = {
        "crop_to_patches": True, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
        "image_mean": MEAN, "image_std": STD, "image_processor_type": "GotOcr2ImageProcessor",
        "min_patches": 1, "max_patches": 4, "resample": 3, "rescale_factor": 1 / 255,
        "size": {"height": TILE, "width": TILE},
    }
    _write(folder / "preprocessor_config.json", {**image, "processor_class": "InternVLProcessor"})
    video = {
        "video_processor_type": "InternVLVideoProcessor", "do_convert_rgb": True, "do_normalize": True,
        "do_rescale": True, "do_resize": True, "image_mean": MEAN, "image_std": STD, "resample": 3,
        "rescale_factor": 1 / 255, "size": {"height": TILE, "width": TILE},
    }
    _write(folder / "video_preprocessor_config.json", {**video, "processor_class": "InternVLProcessor"})
    _write(folder / "processor_config.json", {"image_seq_length": TOKENS_PER_TILE, "processor_class": "InternVLProcessor"})
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    _write(folder / "generation_config.json", {
        "do_sample": False, "bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"], "max_new_tokens": 128,
    })


def write_model(folder: Path, model: InternVLForConditionalGeneration) -> None:
    """config.json and the weights, rounded to f16; the tied output matrix is not stored twice."""
    config = model.config.to_dict()
    config["dtype"] = config["text_config"]["dtype"] = config["vision_config"]["dtype"] = "float16"
    _write(folder / "config.json", config)
    weights = {k: v.detach().to(torch.float16).contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def new_model(tokenizer: Tokenizer, seed: int = 0, layers: int = LAYERS) -> InternVLForConditionalGeneration:
    """Fresh weights: matrices at 0.7/sqrt(fan_in), positions from a 2-D sine table x 0.4."""
    torch.manual_seed(seed)
    model = InternVLForConditionalGeneration(model_config(tokenizer, layers)).float()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "position_embeddings" in name:
                weight.copy_(sine_positions(weight.shape[-1], TILE // 14) * 0.4)
            elif "cls_token" in name or "embed_tokens" in name:
                weight.normal_(0, 0.02 if "cls" in name else 0.05)
            elif weight.ndim >= 2:
                weight.normal_(0, 0.7 / weight[0].numel() ** 0.5)
            elif name.endswith("bias"):
                weight.zero_()
    return model


def load_grown(model: InternVLForConditionalGeneration, weights: dict[str, torch.Tensor]) -> None:
    """Loads weights of a model with as many or fewer text layers. Layers it did not have are put in evenly, from the
    middle on, and add nothing at first (their output matrices are zero): the model answers as before."""
    layer = re.compile(r"(.*language_model\.layers\.)(\d+)(\..*)")
    old = 1 + max(int(found[2]) for key in weights if (found := layer.match(key)))
    new = model.config.text_config.num_hidden_layers
    fresh = {round((i + 1) * new / (new - old + 1)) - 1 for i in range(new - old)} if new > old else set()
    source = dict(zip([i for i in range(new) if i not in fresh], range(old)))
    state = model.state_dict()
    for key, value in state.items():
        found = layer.match(key)
        if not found:
            state[key] = weights[key]
        elif (at := int(found[2])) in source:
            state[key] = weights[f"{found[1]}{source[at]}{found[3]}"]
        elif key.endswith(("o_proj.weight", "down_proj.weight")):
            state[key] = torch.zeros_like(value)
    model.load_state_dict(state)


def sine_positions(width: int, side: int) -> torch.Tensor:
    """[1, 1 + side*side, width]: half the channels tell the row, half the column; zeros for the class token."""
    quarter = width // 4
    freq = torch.exp(-torch.arange(quarter) / quarter * torch.log(torch.tensor(10.0 * side)))
    steps = torch.arange(side).float()[:, None] * freq[None] * torch.pi / 2
    line = torch.cat([steps.sin(), steps.cos()], dim=1)
    rows = line[:, None, :].expand(side, side, -1)
    cols = line[None, :, :].expand(side, side, -1)
    grid = torch.cat([rows, cols], dim=-1).reshape(1, side * side, width)
    return torch.cat([torch.zeros(1, 1, width), grid], dim=1)


def main() -> None:
    import sys

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    write_processor(folder, tokenizer)
    write_model(folder, new_model(tokenizer))


if __name__ == "__main__":
    main()
