"""Compiler commands and files as QEfficient's own code makes them, for the families' golden test.

Usage: compile_goldens.py QEFFICIENT_GIT_DIR > test/golden/compile.json (a clone, or its .git)

Nothing of QEfficient is installed or kept: the methods that derive specializations, custom I/O, the partition file and
the command line are read from its repository and run on stand-ins; the compiler itself is replaced by a recorder.
"""

import __future__

import ast
import json
import pathlib
import subprocess
import sys
import tempfile
import types

import torch

REPO = sys.argv[1]


def source(path):
    return subprocess.run(["git", "-C", REPO, "show", f"HEAD:{path}"], capture_output=True, text=True, check=True).stdout


def define(path, names, space):
    """Runs the named functions and methods (Class.method) of a file in `space`."""
    tree = ast.parse(source(path))
    for name in names:
        owner, _, method = name.rpartition(".")
        body = tree.body if owner == "" else next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == owner).body
        node = next(n for n in body if isinstance(n, ast.FunctionDef) and n.name == method)
        node.decorator_list = []
        code = compile(ast.Module([node], []), path, "exec", flags=__future__.annotations.compiler_flag)
        exec(code, space)
    return space


class Quiet:
    def __getattr__(self, _):
        return lambda *a, **k: None


constants = types.ModuleType("constants")
constants.__file__ = "constants.py"
exec(compile(source("QEfficient/utils/constants.py"), "constants.py", "exec"), constants.__dict__)
utils = define("QEfficient/utils/_utils.py", ["_infer_specialization_name", "to_named_specializations"], {})
mdp = define("QEfficient/compile/mdp_generator.py", ["generate_mdp_partition_config"], {})

AUTO = "QEfficient/transformers/models/modeling_auto.py"


class Recorder:
    def __init__(self):
        self.commands = []

    def run(self, command, **_):
        self.commands.append(command)


def run_compile(model, calls):
    out = {}
    recorder = Recorder()

    def create_json(path, data):
        pathlib.Path(path).write_text(json.dumps(data))

    base = {
        "Path": pathlib.Path,
        "constants": constants,
        "QEFFBaseModel": types.SimpleNamespace(_layerwise_active=False),
        "MdpStrategy": lambda v: types.SimpleNamespace(value=v),
        "generate_mdp_partition_config": mdp["generate_mdp_partition_config"],
        "to_named_specializations": utils["to_named_specializations"],
        "hash_dict_params": lambda _: "hash",
        "create_json": create_json,
        "logger": Quiet(),
        "torch": torch,
        "shutil": None,
        "onnx": types.SimpleNamespace(load=lambda *a, **k: (_ for _ in ()).throw(OSError())),
        "subprocess": types.SimpleNamespace(run=recorder.run, CalledProcessError=subprocess.CalledProcessError),
    }
    base["MdpStrategy"].ONNX = "onnx"
    define("QEfficient/base/modeling_qeff.py", ["QEFFBaseModel._compile"], base)
    space = {
        "constants": constants,
        "torch": torch,
        "logger": Quiet(),
        "CUSTOM_IO_DTYPE_MAP": {torch.float32: "float16", torch.float16: "float16"},
        "validate_kv_cache_prefix": lambda p: p,
        "apply_kv_cache_prefix": lambda names, _: names,
        "_filter_custom_io_for_onnx": lambda io, _: io,
    }
    define(AUTO, ["_compile_io_name", "_state_input_name", "_add_retained_state_custom_io"], space)
    space["is_retained_state_name"] = lambda n: n.endswith("_RetainedState")
    define(AUTO, ["_QEffAutoModelForImageTextToTextDualQPC.compile"], space)
    with tempfile.TemporaryDirectory() as work:
        half = {}
        for name in ("vision", "language"):
            onnx = pathlib.Path(work, name, f"{name}.onnx")
            onnx.parent.mkdir()
            onnx.touch()
            fake = types.SimpleNamespace(onnx_path=str(onnx))
            fake._compile = types.MethodType(base["_compile"], fake)
            half[name] = fake
        dual = types.SimpleNamespace(
            model=model, vision_model=half["vision"], lang_model=half["language"], continuous_batching=False,
            ccl_enabled=False, comp_ctx_lengths_prefill=None, comp_ctx_lengths_decode=None, transform=lambda **k: None,
        )
        for name, arguments in calls.items():
            recorder.commands.clear()
            paths = dict(vision_onnx_path=half["vision"].onnx_path, lang_onnx_path=half["language"].onnx_path)
            space["compile"](dual, **paths, **arguments)
            programs = {}
            for role, command in zip(("vision", "language"), recorder.commands):
                folder = pathlib.Path(work, role)
                files = {}
                for flag in command:
                    place = pathlib.Path(flag.partition("=")[2])
                    if place.is_file() and place.suffix != ".onnx":
                        text = place.read_text()
                        files[place.name] = json.loads(text) if place.suffix == ".json" else text
                shown = [f.replace(str(folder / "qpc-hash"), "OUT").replace(str(folder), "MODEL") for f in command]
                programs[role] = {"command": shown, "files": files}
            out[name] = {"arguments": arguments, "programs": programs}
    return out


def fake_model(path, owner, config, language=None):
    space = define(path, [f"{owner}.get_specializations", f"{owner}.get_output_names"], {"constants": constants, "logger": Quiet()})
    model = types.SimpleNamespace(config=config)
    for name in ("get_specializations", "get_output_names"):
        setattr(model, name, types.MethodType(space[name], model))
    model.language_model = types.SimpleNamespace(config=types.SimpleNamespace(num_hidden_layers=2))
    model.model = types.SimpleNamespace(language_model=model.language_model)
    return model


N = types.SimpleNamespace
models = "QEfficient/transformers/models"
internvl = fake_model(
    f"{models}/internvl/modeling_internvl.py", "QEffInternVLModel",
    N(torch_dtype=torch.float32, downsample_ratio=0.5, vision_config=N(image_size=448, patch_size=14)),
)
llama4 = fake_model(
    f"{models}/llama4/modeling_llama4.py", "QEffLlama4ForConditionalGeneration",
    N(torch_dtype=torch.float32, text_config=N(attention_chunk_size=8192),
      vision_config=N(image_size=336, patch_size=14, pixel_shuffle_ratio=0.5)),
)
granite = fake_model(
    f"{models}/llava_next/modeling_llava_next.py", "QEffLlavaNextForConditionalGeneration",
    N(torch_dtype=torch.float32, vision_config=N(image_size=384)),
)

head = subprocess.run(["git", "-C", REPO, "log", "-1", "--format=%H %cs"], capture_output=True, text=True, check=True)
json.dump(
    {
        "source": f"quic/efficient-transformers {head.stdout.strip()}",
        "internvl": run_compile(internvl, {
            "defaults of the example": dict(prefill_seq_len=128, ctx_len=4096, num_patches=13, num_cores=16),
            "batch, four cards, compressed": dict(
                batch_size=2, prefill_seq_len=128, ctx_len=8192, num_patches=13, num_cores=14, num_devices=4,
                mxfp6_matmul=True, mxint8_kv_cache=True, mos=1, aic_enable_depth_first=True),
        }),
        "llava_next": run_compile(granite, {
            "granite vision": dict(prefill_seq_len=5500, ctx_len=6000, num_cores=16, num_devices=4),
        }),
        "llama4": run_compile(llama4, {
            "scout": dict(prefill_seq_len=128, ctx_len=16384, max_num_tiles=17, num_cores=16, num_devices=8,
                          mxfp6_matmul=True, mxint8_kv_cache=True),
        }),
    },
    sys.stdout, indent=1, sort_keys=True,
)
print()
