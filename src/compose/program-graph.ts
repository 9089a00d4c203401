/** An exported ONNX program as the compiler driver sees it: ports, operator sets and files, never its weights. */
import { resolve } from 'node:path';
import type { ProgramRole } from '../contracts/device.js';
import type { ProgramGraph } from '../devices/ai100/compile/command.js';
import { readOnnx } from '../devices/cpu/onnx-graph.js';
import { readProgram } from '../devices/cpu/program.js';

/** What the bytes of a tensor become in half precision, by its ONNX element type: float32 and float64 shrink. */
const SHRINK: Readonly<Record<number, number>> = { 1: 2, 11: 4 };

/** Throws MODEL_MISSING and PROGRAM_INVALID. */
export function readGraph(role: ProgramRole, given: string): ProgramGraph {
  const path = resolve(given);
  const { description, inputs, outputs } = readProgram({ role, path });
  const { graph, functions, opsets } = readOnnx(path);
  const nodes = [graph.nodes, ...[...functions.values()].map((f) => f.nodes)].flat();
  const tensors = [
    ...graph.initializers,
    ...nodes.flatMap((n) => [...n.tensors, ...n.graphs.flatMap((g) => g.initializers)]),
  ];
  const external = tensors.flatMap((t) => t.external?.location ?? []);
  return {
    role,
    path,
    inputs,
    outputs,
    opsets,
    weightBytes: description.weightBytes,
    halfWeightBytes: tensors.reduce((n, t) => n + t.bytes / (SHRINK[t.elementType] ?? 1), 0),
    stateBytesPerToken: description.stateBytesPerToken,
    externalData: [...new Set(external)].sort(),
  };
}
