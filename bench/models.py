"""Random-weight models of true size for bench/models.ts, and the same work on torch.

    python bench/models.py make SIZE DIR [--layers N] [--gguf PACKAGES]
    python bench/models.py run SIZE DIR --prompt P --steps D --repeats R --threads T

`make` writes DIR/hf (config, safetensors), DIR/onnx (both programs, f32) and DIR/text.gguf (the text model, f32, the
same weights). PACKAGES is a folder that holds the `gguf` package when the Python in use does not have it.
"""
from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SIZES = ("internvl-1b", "granite-2b")
IMAGE_TOKENS = 256


def config_of(size: str, layers: int | None) -> Any:
    from transformers import InternVLConfig, LlavaNextConfig

    if size == "internvl-1b":
        return InternVLConfig(
            vision_config={"hidden_size": 1024, "num_hidden_layers": layers or 24, "num_attention_heads": 16, "intermediate_size": 4096, "image_size": [448, 448],
                           "patch_size": [14, 14], "attention_bias": True, "use_qk_norm": False, "norm_type": "layer_norm"},
            text_config={"model_type": "qwen2", "vocab_size": 151674, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": layers or 24,
                         "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
                         "tie_word_embeddings": False, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}},
            image_token_id=151667, image_seq_length=IMAGE_TOKENS, tie_word_embeddings=False)
    return LlavaNextConfig(
        vision_config={"model_type": "siglip_vision_model", "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2,
                       "image_size": 384, "patch_size": 14},
        text_config={"model_type": "granite", "vocab_size": 49156, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": layers or 40,
                     "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
                     "attention_multiplier": 0.015625, "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "logits_scaling": 8.0,
                     "rope_parameters": {"rope_type": "default", "rope_theta": 300000.0}},
        image_token_index=49155, image_grid_pinpoints=[[384, 384], [384, 768]], vision_feature_layer=-1, vision_feature_select_strategy="full",
        tie_word_embeddings=True, use_image_newline_parameter=True)


def write_checkpoint(config: Any, folder: Path) -> int:
    """Random weights, shard by shard: scaled by fan-in, so that the best logit stands clear of the second best."""
    from safetensors.torch import save_file
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    tied = set(model._tied_weights_keys or {}) if config.tie_word_embeddings else set()
    folder.mkdir(parents=True, exist_ok=True)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    generator = torch.Generator().manual_seed(7)
    shards: list[dict[str, torch.Tensor]] = [{}]
    index: dict[str, str] = {}
    total = size = 0

    def flush() -> None:
        nonlocal size
        name = f"model-{len(shards):05d}.safetensors"
        save_file(shards[-1], folder / name, metadata={"format": "pt"})
        index.update({k: name for k in shards[-1]})
        shards[-1] = {}
        shards.append({})
        size = 0

    for name, meta in model.state_dict().items():
        if name in tied:
            continue
        value = torch.empty(meta.shape, dtype=torch.float32)
        if "norm" in name and name.endswith("weight") or "lambda" in name:
            value.fill_(0.2 if "lambda" in name else 1.0)
        else:
            fan = meta.shape[1:].numel() if meta.dim() > 1 else 2500
            value.normal_(0, 0.02 if "embed_tokens" in name and config.tie_word_embeddings else fan ** -0.5, generator=generator)
        shards[-1][name] = value
        size += value.nbytes
        total += value.nbytes
        if size > 1_500_000_000:
            flush()
    if shards[-1]:
        flush()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": index}))
    return total


def read_checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    state: dict[str, torch.Tensor] = {}
    for shard in sorted(folder.glob("*.safetensors")):
        state.update(load_file(shard))
    return state


def export(config: Any, state: dict[str, torch.Tensor], folder: Path) -> None:
    import onnx

    from tools.export.vlm_export import internvl, llava_next
    from tools.export.vlm_export.builder import for_cpu

    exporter = internvl if config.model_type == "internvl" else llava_next
    with for_cpu(folder):
        for name, model in exporter.export(config, state).items():
            onnx.save(model, folder / f"{name}.onnx")


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection from two halves to pairs, the order in which llama.cpp rotates this architecture."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(config: Any, state: dict[str, torch.Tensor], path: Path) -> None:
    import gguf

    text = config.text_config
    granite = text.model_type == "granite"
    out = gguf.GGUFWriter(path, "granite" if granite else "qwen2")
    out.add_context_length(text.max_position_embeddings)
    out.add_embedding_length(text.hidden_size)
    out.add_block_count(text.num_hidden_layers)
    out.add_feed_forward_length(text.intermediate_size)
    out.add_head_count(text.num_attention_heads)
    out.add_head_count_kv(text.num_key_value_heads)
    out.add_layer_norm_rms_eps(text.rms_norm_eps)
    out.add_rope_freq_base(text.rope_parameters["rope_theta"])
    out.add_vocab_size(text.vocab_size)
    if granite:
        out.add_rope_dimension_count(text.hidden_size // text.num_attention_heads)
        out.add_attention_scale(text.attention_multiplier)
        out.add_embedding_scale(text.embedding_multiplier)
        out.add_residual_scale(text.residual_multiplier)
        out.add_logit_scale(1.0)
    out.add_file_type(0)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list([f"t{i}" for i in range(text.vocab_size)])
    out.add_token_types([1] * text.vocab_size)
    out.add_token_merges(["t 0"])
    out.add_eos_token_id(text.vocab_size - 1)
    out.add_bos_token_id(text.vocab_size - 1)
    prefix = "model.language_model."

    def add(name: str, key: str, heads: int = 0) -> None:
        if key not in state:
            return
        value = state[key].numpy()
        out.add_tensor(name, interleaved(value, heads) if granite and heads else value)

    add("token_embd.weight", f"{prefix}embed_tokens.weight")
    add("output_norm.weight", f"{prefix}norm.weight")
    add("output.weight", "lm_head.weight")
    for layer in range(text.num_hidden_layers):
        p, q = f"{prefix}layers.{layer}.", f"blk.{layer}."
        add(f"{q}attn_norm.weight", f"{p}input_layernorm.weight")
        add(f"{q}ffn_norm.weight", f"{p}post_attention_layernorm.weight")
        for kind in ("weight", "bias"):
            add(f"{q}attn_q.{kind}", f"{p}self_attn.q_proj.{kind}", text.num_attention_heads)
            add(f"{q}attn_k.{kind}", f"{p}self_attn.k_proj.{kind}", text.num_key_value_heads)
            add(f"{q}attn_v.{kind}", f"{p}self_attn.v_proj.{kind}")
        add(f"{q}attn_output.weight", f"{p}self_attn.o_proj.weight")
        for part in ("gate", "up", "down"):
            add(f"{q}ffn_{part}.weight", f"{p}mlp.{part}_proj.weight")
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def make(args: argparse.Namespace) -> None:
    if args.gguf:
        sys.path.append(args.gguf)
    config = config_of(args.size, args.layers)
    total = write_checkpoint(config, args.folder / "hf")
    state = read_checkpoint(args.folder / "hf")
    text = sum(v.nbytes for k, v in state.items() if "language_model" in k or k.startswith("lm_head"))
    export(config, state, args.folder / "onnx")
    write_gguf(config, state, args.folder / "text.gguf")
    print(json.dumps({"weights": total, "text": text, "vocab": config.text_config.vocab_size, "imageToken": config.image_token_id,
                      "hidden": config.text_config.hidden_size}))


def memory() -> dict[str, int]:
    rows = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {k: int(rows[k].split()[0]) * 1024 for k in ("VmHWM", "RssAnon", "RssFile")}


def prompt_ids(count: int) -> list[int]:
    """The same formula is in models.ts."""
    return [(i * 7919 + 13) % 40000 for i in range(count)]


def greedy(model: Any, ids: list[int], steps: int, pixels: torch.Tensor | None = None) -> dict[str, Any]:
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config.get_text_config())
    began = time.perf_counter()
    extra = {} if pixels is None else {"pixel_values": pixels}
    out = model(input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True, logits_to_keep=1, **extra)
    tokens = [int(out.logits[0, -1].argmax())]
    prefilled = time.perf_counter()
    for _ in range(steps):
        out = model(input_ids=torch.tensor([[tokens[-1]]]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        tokens.append(int(out.logits[0, -1].argmax()))
    return {"prefillMs": (prefilled - began) * 1e3, "decodeMs": (time.perf_counter() - prefilled) * 1e3, "tokens": tokens}


@torch.inference_mode()
def run(args: argparse.Namespace) -> None:
    import transformers
    from transformers import AutoModelForImageTextToText

    torch.set_num_threads(args.threads)
    began = time.perf_counter()
    model = AutoModelForImageTextToText.from_pretrained(args.folder / "hf", dtype=torch.float32).eval()
    result: dict[str, Any] = {"loadMs": (time.perf_counter() - began) * 1e3, "loaded": memory()}
    result["runs"] = [greedy(model, prompt_ids(args.prompt), args.steps) for _ in range(args.repeats)]
    if args.size == "internvl-1b":
        pixels = torch.from_numpy(np.sin(np.arange(3 * 448 * 448, dtype=np.float64)).astype(np.float32).reshape(1, 3, 448, 448))
        ids = [1, 2, *[model.config.image_token_id] * IMAGE_TOKENS, *prompt_ids(32)]
        encode = []
        for _ in range(2):
            at = time.perf_counter()
            model.get_image_features(pixel_values=pixels)
            encode.append((time.perf_counter() - at) * 1e3)
        result["encodeMs"] = encode
        result["imageTokens"] = greedy(model, ids, 16, pixels)["tokens"]
    result["peak"] = memory()
    result["version"] = f"transformers {transformers.__version__}, torch {torch.__version__}"
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("make", "run"):
        command = commands.add_parser(name)
        command.add_argument("size", choices=SIZES)
        command.add_argument("folder", type=Path)
        command.add_argument("--layers", type=int)
        command.add_argument("--gguf")
        for option, default in (("prompt", 512), ("steps", 32), ("repeats", 2), ("threads", 2)):
            command.add_argument(f"--{option}", type=int, default=default)
    args = parser.parse_args()
    (make if args.command == "make" else run)(args)


if __name__ == "__main__":
    main()
