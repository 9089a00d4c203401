/**
 * Which inputs of a language program are retained state, which outputs renew them, and whether a cache may be renewed
 * in the buffer that it is read from.
 */
import { VlmError } from '../../contracts/errors.js';
import type { OnnxModel, OnnxNode, OnnxValue } from './onnx-graph.js';
import { bareName } from './ports.js';

const SUFFIXES = ['_RetainedState', '_InternalRetainedState'] as const;

/** Inputs past_key, past_value of ONNX Runtime's fused attention -> outputs; it takes one buffer for both by design. */
const FUSED: Readonly<Record<number, number>> = { 3: 1, 4: 2 };

/** One cache tensor: `input` is read, `output` is its renewed value. Names as the graph has them. */
export interface RetainedPair {
  readonly bare: string;
  readonly input: OnnxValue;
  readonly output: OnnxValue;
  /** The same buffer may serve as input and as output. */
  readonly inPlace: boolean;
}

/** past_* inputs with their outputs, in graph order. Throws PROGRAM_INVALID when one is never handed back. */
export function retainedPairs(model: OnnxModel): readonly RetainedPair[] {
  const outputs = new Map(model.graph.outputs.map((o) => [bareName(o.name), o]));
  const pairs: RetainedPair[] = [];
  for (const input of model.graph.inputs) {
    const bare = bareName(input.name);
    if (!bare.startsWith('past_')) continue;
    const output = SUFFIXES.map((s) => outputs.get(bare + s)).find((o) => o !== undefined);
    if (output === undefined) {
      throw new VlmError('PROGRAM_INVALID', {
        what: 'A language program reads a cache that it does not hand back',
        expected: `an output ${bare}_RetainedState`,
        received: `outputs ${[...outputs.keys()].join(', ')}`,
        where: `${model.path}: ${input.name}`,
        hint: 'export the language half with its retained state',
      });
    }
    pairs.push({ bare, input, output, inPlace: renewsInPlace(model, input.name, output.name) });
  }
  return pairs;
}

/**
 * True when the only reader of the cache's contents is one scatter, whose result is the renewed cache: ScatterND and
 * ScatterElements copy their data first and then write rows, which over one buffer is just the writing of the rows.
 * Any other reader could run after the scatter and would then see the new cache instead of the old one.
 */
function renewsInPlace(model: OnnxModel, input: string, output: string): boolean {
  return scatterResult(model, model.graph.nodes, input, 0) === output;
}

/** The value that a scatter makes of `value`, when nothing else reads its contents; null otherwise. */
function scatterResult(model: OnnxModel, nodes: readonly OnnxNode[], value: string, depth: number): string | null {
  let result: string | null = null;
  for (const node of nodes) {
    if (node.graphs.some((g) => mentions(g.nodes, value))) return null;
    const at = node.inputs.indexOf(value);
    if (at < 0 || ((node.op === 'Shape' || node.op === 'Size') && node.domain === '')) continue;
    if (result !== null || node.inputs.lastIndexOf(value) !== at) return null;
    result = resultOf(model, node, at, depth);
    if (result === null) return null;
  }
  return result;
}

function resultOf(model: OnnxModel, node: OnnxNode, at: number, depth: number): string | null {
  const fn = model.functions.get(`${node.domain}:${node.op}`);
  if (fn === undefined) {
    if (node.domain === 'com.microsoft' && node.op === 'GroupQueryAttention')
      return node.outputs[FUSED[at] ?? -1] ?? null;
    const scatters = node.domain === '' && (node.op === 'ScatterND' || node.op === 'ScatterElements');
    return scatters && at === 0 ? (node.outputs[0] ?? null) : null;
  }
  const inner = fn.inputs[at];
  if (inner === undefined || depth > 8) return null;
  const made = scatterResult(model, fn.nodes, inner, depth + 1);
  const index = made === null ? -1 : fn.outputs.indexOf(made);
  return index < 0 ? null : (node.outputs[index] ?? null);
}

function mentions(nodes: readonly OnnxNode[], value: string): boolean {
  return nodes.some((n) => n.inputs.includes(value) || n.graphs.some((g) => mentions(g.nodes, value)));
}
