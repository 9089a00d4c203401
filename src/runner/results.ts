/**
 * What a node gave, before anything else sees it. A node may be anybody's JavaScript: a value that only looks right
 * would fail far from the node that made it, without its name.
 */
import { ERROR_CODES, type ErrorCode, type ErrorData, VlmError } from '../contracts/errors.js';
import type { ItemResult, NodeOutputs } from '../contracts/node.js';
import type { PortKind } from '../contracts/ports.js';
import { BYTES_PER_ELEMENT, elementCount } from '../contracts/tensor.js';
import type { NodeTask } from './protocol.js';
import { uncloneable } from './values.js';

type Expected = Pick<NodeTask, 'node' | 'kind' | 'items' | 'outputs'>;
type Fields = Readonly<Record<string, unknown>>;

/** Longest text of a value: it is written into records, as JSON and more than once. */
const MOST_CHARACTERS = 2 ** 27;

const text = (v: unknown): boolean => typeof v === 'string' && v.length <= MOST_CHARACTERS;
const number = (v: unknown): boolean => typeof v === 'number';
const ids = (v: unknown): boolean => v instanceof Int32Array;
const list = (v: unknown): boolean => Array.isArray(v);
const tensor = (v: unknown): boolean => v === null || isTensor(v);

/** The fields that others rely on, and how they are told. */
const FIELDS: Readonly<Record<PortKind, Readonly<Record<string, readonly [(v: unknown) => boolean, string]>>>> = {
  image: { bytes: [(v) => v instanceof Uint8Array, 'a Uint8Array'], name: [text, 'a text'] },
  text: { text: [text, 'a text'] },
  messages: { messages: [list, 'a list'], images: [list, 'a list'] },
  pixels: { tensor: [tensor, 'a tensor, or null'], images: [list, 'a list'] },
  tokens: {
    ids: [ids, 'an Int32Array'],
    text: [text, 'a text'],
    imageTokenId: [number, 'a number'],
    visionTokens: [number, 'a number'],
  },
  embeddings: { tensor: [tensor, 'a tensor, or null'] },
  completion: {
    text: [text, 'a text'],
    rawText: [text, 'a text'],
    ids: [ids, 'an Int32Array'],
    finish: [text, 'a text'],
    promptTokens: [number, 'a number'],
    prefillMs: [number, 'a number'],
    decodeMs: [number, 'a number'],
    firstTokenAt: [number, 'a number'],
    prefillChunks: [list, 'a list'],
  },
  answer: { text: [text, 'a text'], boxes: [list, 'a list'] },
  json: { value: [(v) => v !== undefined, 'a value'] },
};

/** One result an item, with the ports of the manifest and no others. Throws NODE_FAILED. */
export function checkResults(task: Expected, results: unknown): readonly ItemResult[] {
  if (!Array.isArray(results) || results.length !== task.items.length) {
    throw new VlmError('NODE_FAILED', {
      what: `"${task.kind}" gave the wrong number of results`,
      expected: `a list with one for each of ${task.items.length} items`,
      received: Array.isArray(results) ? String(results.length) : shown(results),
    });
  }
  return results.map((result: unknown) => checkResult(task, result));
}

function checkResult(task: Expected, result: unknown): ItemResult {
  const fields = fieldsOf(result);
  if (fields?.['ok'] === false) return { ok: false, error: failureOf(task.node, fields['error']) };
  const given = fields?.['ok'] === true ? fieldsOf(fields['outputs']) : undefined;
  if (given === undefined) {
    throw new VlmError('NODE_FAILED', {
      what: `"${task.kind}" gave a result that is none`,
      expected: '{ ok: true, outputs: { … } } or { ok: false, error }',
      received: shown(result),
    });
  }
  const outputs = Object.entries(task.outputs).map(([port, kind]) => {
    checkValue(task, port, kind as PortKind, given[port]);
    return [port, given[port]];
  });
  return { ok: true, outputs: Object.fromEntries(outputs) as NodeOutputs };
}

function checkValue(task: Expected, port: string, kind: PortKind, value: unknown): void {
  const fields = fieldsOf(value);
  if (fields?.['kind'] !== kind) {
    throw wrongValue(
      task,
      `a value of kind "${kind}" at output "${port}"`,
      fields?.['kind'] === undefined ? shown(value) : `kind "${String(fields['kind'])}"`,
    );
  }
  for (const [field, [isRight, name]] of Object.entries(FIELDS[kind])) {
    if (!isRight(fields[field]))
      throw wrongValue(task, `${name} as "${field}" at output "${port}"`, shown(fields[field]));
  }
  const stuck = uncloneable(value, port);
  if (stuck !== null) {
    throw new VlmError('NODE_FAILED', {
      what: `"${task.kind}" gave a value that cannot cross threads`,
      expected: 'plain objects, arrays, texts, numbers and typed arrays',
      received: stuck,
    });
  }
}

function wrongValue(task: Expected, expected: string, received: string): VlmError {
  return new VlmError('NODE_FAILED', { what: `"${task.kind}" gave a wrong value`, expected, received });
}

/** The error of one item as a node gave or threw it: data of ours, somebody's Error, a text, or anything. */
export function nodeError(error: unknown, node: string): VlmError {
  try {
    if (error instanceof VlmError && isCode(error.code)) return error;
    // As data: what is read here is not read again where nothing would catch what its getters throw.
    return VlmError.fromData(errorDataOf(error, node));
  } catch {
    return new VlmError('NODE_FAILED', { what: `"${node}" failed`, cause: 'it threw something that cannot be read' });
  }
}

function errorDataOf(error: unknown, node: string): ErrorData {
  const fields = fieldsOf(error);
  if (!(error instanceof Error) && typeof fields?.['what'] === 'string') {
    const { what, code } = fields;
    if (!isCode(code)) return { ...textsOf(fields), code: 'NODE_FAILED', what, cause: causeOf(code) };
    return { ...textsOf(fields), ...locationOf(fields), code, what };
  }
  // The trace of an Error is shown where it is asked for.
  const hint = error instanceof Error ? { hint: 'VLM_RUN_DEBUG=1 shows the place in the code of the node' } : {};
  return { code: 'NODE_FAILED', what: `"${node}" failed`, cause: causeOf(error), ...hint };
}

function causeOf(error: unknown): string {
  if (typeof error === 'string') return error;
  if (!(error instanceof Error)) return shown(error);
  const told: unknown = process.env['VLM_RUN_DEBUG'] === '1' ? error.stack : error.message;
  return typeof told === 'string' ? told : shown(error);
}

function failureOf(node: string, error: unknown): ErrorData {
  return nodeError(error, node).at(`node "${node}"`).toData();
}

function textsOf(fields: Fields): Partial<ErrorData> {
  const texts = ['expected', 'received', 'where', 'hint', 'cause'].flatMap((key) =>
    typeof fields[key] === 'string' ? [[key, fields[key]]] : [],
  );
  return Object.fromEntries(texts) as Partial<ErrorData>;
}

function locationOf(fields: Fields): Pick<ErrorData, 'location'> {
  const { file, line, column } = fieldsOf(fields['location']) ?? {};
  return typeof file === 'string' && typeof line === 'number' && typeof column === 'number'
    ? { location: { file, line, column } }
    : {};
}

function isCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(ERROR_CODES, code);
}

function fieldsOf(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

function isTensor(value: unknown): boolean {
  const { dtype, dims, data } = fieldsOf(value) ?? {};
  if (typeof dtype !== 'string' || !Object.hasOwn(BYTES_PER_ELEMENT, dtype) || !Array.isArray(dims)) return false;
  if (!dims.every((d) => Number.isInteger(d) && d >= 0) || !ArrayBuffer.isView(data)) return false;
  return 'length' in data && data.length === elementCount(dims as number[]);
}

/** Never contents: a type, and of a text or a list how long it is. */
function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (typeof value === 'string') return `a text of ${value.length} characters`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value !== 'object') return typeof value;
  const keys = Object.keys(value);
  const name = Object.getPrototypeOf(value)?.constructor?.name;
  if (typeof name === 'string' && name !== 'Object') return name;
  return keys.length === 0 ? 'an empty object' : `an object with ${keys.slice(0, 8).join(', ')}`;
}
