"""A small ONNX graph builder: named values, f16-stored weights, local functions."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .errors import Refused

OPSET = 17
IR_VERSION = 8
Dims = Sequence[int | str]


@dataclass(frozen=True)
class Target:
    """What a graph is built for."""

    folder: Path | None = None  # weights are written into it while the graph is built; None keeps them in the graph
    exact: bool = False  # calls without padded positions; ONNX Runtime's fused operators
    half: bool = True  # weights stored f16
    card: bool = False  # the compiler's operators, and indices out of range for padded positions and unused slots
    wrote: Callable[[int], None] = lambda count: None  # told the bytes of each weight


TARGET: ContextVar[Target] = ContextVar("target", default=Target())


@contextmanager
def _as(target: Target) -> Iterator[None]:
    if target.folder is not None:
        target.folder.mkdir(parents=True, exist_ok=True)
    token = TARGET.set(target)
    try:
        yield
    finally:
        TARGET.reset(token)


def for_cpu(folder: Path) -> AbstractContextManager[None]:
    """Graphs built inside are for ONNX Runtime on the processor. Their f32 weights are written to `folder` while they are
    built, so a model needs no second copy in memory and may be larger than a protobuf message; save the graphs there too."""
    return _as(Target(folder, exact=True, half=False))


def building(folder: Path | None, card: bool, wrote: Callable[[int], None]) -> AbstractContextManager[None]:
    """Graphs for the processor or for the card's compiler, with weights beside them (`folder`) or inside."""
    return _as(Target(folder, exact=not card, half=card, card=card, wrote=wrote))


class WeightFile:
    """External data of one graph. Page-aligned, so that a session maps each weight and can let it go by itself."""

    ALIGN = 4096
    INLINE_BYTES = 1 << 16

    def __init__(self, path: Path) -> None:
        self.path = path
        path.unlink(missing_ok=True)
        self.end = 0

    def add(self, name: str, array: np.ndarray) -> onnx.TensorProto:
        if array.nbytes < self.INLINE_BYTES:
            return numpy_helper.from_array(array, name)
        self.end += -self.end % self.ALIGN
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.seek(self.end)
            array.tofile(file)
        tensor = TensorProto(name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), data_location=TensorProto.EXTERNAL)
        for key, value in (("location", self.path.name), ("offset", self.end), ("length", array.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        self.end += array.nbytes
        return tensor


class Builder:
    """Collects nodes, initializers, inputs and outputs of one graph; every method returns value names."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.functions: dict[str, onnx.FunctionProto] = {}
        self.target = TARGET.get()
        self._file = None if self.target.folder is None else WeightFile(self.target.folder / f"{name}.onnx.data")
        self.lengths: tuple[str, str] | None = None  # what fused attention asks of a chunk, once made
        self.slots: tuple[str, str] | None = None  # what a card's reads of the cache share, once made
        self._count = 0
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], str] = {}

    def fuses(self, head_dim: int) -> bool:
        """Whether attention is ONNX Runtime's fused operator, which takes heads of 16, 32, 48 … alone."""
        return self.target.exact and head_dim % 16 == 0

    def fresh(self, hint: str) -> str:
        self._count += 1
        return f"{hint}_{self._count}"

    def input(self, name: str, dtype: int, dims: Dims) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, list(dims)))
        return name

    def output(self, value: str, name: str, dtype: int, dims: Dims) -> None:
        """Declares `value` as the graph output `name`, through an Identity where the names differ."""
        if value != name:
            self.nodes.append(helper.make_node("Identity", [value], [name], name=f"out/{name}"))
        self.outputs.append(helper.make_tensor_value_info(name, dtype, list(dims)))

    def op(self, kind: str, *args: str, hint: str | None = None, out: str | None = None, domain: str = "", **attributes: object) -> str:
        result = out or self.fresh(hint or kind.lower())
        node = helper.make_node(kind, list(args), [result], name=f"{kind}/{result}", domain=domain or None, **attributes)
        self.nodes.append(node)
        return result

    def call(self, function: onnx.FunctionProto, *args: str, out: str | None = None, **attributes: object) -> str:
        self.functions[function.name] = function
        return self.op(function.name, *args, out=out, domain=function.domain, **attributes)

    def const(self, value: object, dtype: type = np.int64) -> str:
        """A small constant, stored once per distinct value."""
        array = np.asarray(value, dtype=dtype)
        key = (array.dtype.str, array.tobytes(), array.shape)
        if key not in self._constants:
            name = self.fresh("const")
            self.initializers.append(numpy_helper.from_array(array, name))
            self._constants[key] = name
        return self._constants[key]

    def scalar(self, value: float) -> str:
        return self.const(value, np.float32)

    def weight(self, name: str, array: np.ndarray, half: bool = True) -> str:
        """A weight: stored as f16 and cast to f32 (folded when a session is created), or kept f32."""
        half = half and self.target.half
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(array, np.float16 if half else np.float32)
        if half and not np.isfinite(stored).all():
            raise Refused(f"{name} has numbers that f16 does not hold", hint="a card computes in f16; --target cpu keeps f32")
        self.initializers.append(numpy_helper.from_array(stored, name) if self._file is None else self._file.add(name, stored))
        self.target.wrote(stored.nbytes)
        return self.op("Cast", name, hint=f"{name}.f32", to=TensorProto.FLOAT) if half else name

    def linear(self, x: str, name: str, weight: np.ndarray, bias: np.ndarray | None = None) -> str:
        """x @ weight.T + bias with weight [out, in] as torch keeps it."""
        result = self.op("MatMul", x, self.weight(f"{name}.weight", weight.T))
        return result if bias is None else self.op("Add", result, self.weight(f"{name}.bias", bias))

    def reshape(self, x: str, dims: Sequence[int]) -> str:
        return self.op("Reshape", x, self.const(list(dims)))

    def dim(self, x: str, axis: int) -> str:
        """One dimension of x as a 1-element vector."""
        return self.op("Shape", x, start=axis, end=axis + 1)

    def model(self, producer: str = "vlm_export") -> onnx.ModelProto:
        opsets = [helper.make_opsetid("", OPSET)]
        if any(n.domain == "com.microsoft" for n in self.nodes):
            opsets.append(helper.make_opsetid("com.microsoft", 1))
        opsets += [helper.make_opsetid(d, 1) for d in sorted({f.domain for f in self.functions.values()})]
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.initializers)
        model = helper.make_model(
            graph, opset_imports=opsets, functions=list(self.functions.values()), producer_name=producer, ir_version=IR_VERSION)
        if not self.target.exact and self._file is None:
            onnx.checker.check_model(model, full_check=False)
        return model


class Weights(Mapping[str, np.ndarray]):
    """The f32 weights under a prefix, by the rest of their names. Each is read and converted when asked for."""

    def __init__(self, state: Mapping[str, Any], prefix: str) -> None:
        self.state, self.prefix = state, prefix

    def __getitem__(self, name: str) -> np.ndarray:
        return self.state[self.prefix + name].float().numpy()

    def __contains__(self, name: object) -> bool:
        return f"{self.prefix}{name}" in self.state

    def __iter__(self) -> Iterator[str]:
        return (name[len(self.prefix):] for name in self.state if name.startswith(self.prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def weights_of(state: Mapping[str, Any], prefix: str) -> Weights:
    return Weights(state, prefix)
