"""A program whose weights file is larger than 2 GiB, from the fixture with external data.

Token embeddings are looked up in the last rows of a table of 2.25 GiB, and the INT32_MAX constants lie behind it. Only
what lies behind the empty rows is kept: a test puts it at the end of a sparse file. The answers stay the same.

    python tools/reference/large_weights.py
"""
from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, external_data_helper, helper, numpy_helper

PROGRAMS = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "programs"
SOURCE, NAME = "language-external", "language-large"
EMPTY_BYTES = 9 << 28  # 2.25 GiB


def main() -> None:
    places = onnx.load(PROGRAMS / f"{SOURCE}.onnx", load_external_data=False)
    moved = {t.name for t in places.graph.initializer if t.data_location == TensorProto.EXTERNAL}
    model = onnx.load(PROGRAMS / f"{SOURCE}.onnx")
    graph = model.graph
    cast = next(n for n in graph.node if list(n.input) == ["embed"])
    lookup = next(n for n in graph.node if n.op_type == "Gather" and n.input[0] == cast.output[0])
    rows = numpy_helper.to_array(next(t for t in graph.initializer if t.name == "embed"))
    empty = EMPTY_BYTES // rows[0].nbytes
    table = helper.make_tensor("large_table", TensorProto.FLOAT16, rows.shape, rows.tobytes(), raw=True)
    tail = b""
    for tensor in [table, *(t for t in graph.initializer if t.name in moved)]:
        raw, first = tensor.raw_data, tensor is table
        external_data_helper.set_external_data(
            tensor, location=f"{NAME}.onnx.data", offset=0 if first else EMPTY_BYTES + len(tail),
            length=len(raw) + (EMPTY_BYTES if first else 0))
        tensor.ClearField("raw_data")
        tail += raw
    table.dims[0] = empty + len(rows)
    graph.initializer.extend([table, helper.make_tensor("empty_rows", TensorProto.INT64, [], [empty])])
    # Rows are looked up as they are and widened then: nothing folds or copies the whole table.
    nodes = []
    for node in graph.node:
        if list(node.output) != list(lookup.output):
            nodes.append(node)
            continue
        nodes += [
            helper.make_node("Add", [lookup.input[1], "empty_rows"], ["large_row"]),
            helper.make_node("Gather", ["large_table", "large_row"], ["large_found"], axis=0),
            helper.make_node("Cast", ["large_found"], list(lookup.output), to=TensorProto.FLOAT),
        ]
    model = helper.make_model(
        helper.make_graph(nodes, graph.name, graph.input, graph.output, graph.initializer),
        functions=model.functions, opset_imports=model.opset_import, ir_version=model.ir_version)
    (PROGRAMS / f"{NAME}.onnx").write_bytes(model.SerializeToString())
    (PROGRAMS / f"{NAME}.onnx.tail").write_bytes(tail)
    print(f"{NAME}.onnx, and {len(tail)} bytes to be put at {EMPTY_BYTES} of {NAME}.onnx.data")


if __name__ == "__main__":
    main()
