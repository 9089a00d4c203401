/** What can be known to be wrong before an hour of compiling: every problem at once, each with its remedy. */
import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { DeviceConfig } from '../../../contracts/device.js';
import type { FamilyModel } from '../../../contracts/family.js';
import type { PlanNode } from '../../../contracts/recipe.js';
import { USUAL_GIB } from '../planner/cards.js';
import { cardsOf, coresOf, type ProgramGraph, RETAINED } from './command.js';
import { axesOf, axisValue, type ProgramSpec } from './specializations.js';

export interface Problem {
  readonly severity: 'error' | 'warning';
  readonly what: string;
  readonly hint: string;
}

/** Exports of the supported kind; others may compile, and are warned of. */
const OPSET = 17;
const DOMAINS = ['', 'ai.onnx', 'com.qualcomm.cloud', 'com.qti.aisw.onnx'];
const GIB = 2 ** 30;

const error = (what: string, hint: string): Problem => ({ severity: 'error', what, hint });
const warning = (what: string, hint: string): Problem => ({ severity: 'warning', what, hint });

export function checkProgram(
  graph: ProgramGraph,
  spec: ProgramSpec,
  device: DeviceConfig,
  family: FamilyModel,
): readonly Problem[] {
  return [
    ...checkPorts(graph, family),
    ...checkAxes(graph, spec),
    ...checkExports(graph, spec),
    ...checkChunks(graph, spec),
    ...(graph.role === 'language' ? checkLengths(spec, family) : []),
    ...checkOpset(graph),
    ...checkMemory(graph, spec, device),
  ];
}

function checkPorts(graph: ProgramGraph, family: FamilyModel): readonly Problem[] {
  const needed =
    graph.role === 'vision'
      ? { inputs: ['pixel_values'], outputs: ['vision_embeds'] }
      : {
          inputs: ['input_ids', 'position_ids', 'vision_embeds', 'image_idx'],
          outputs: ['logits', 'image_idx_output'],
        };
  const missing = [
    ...needed.inputs.filter((name) => !graph.inputs.some((p) => p.name === name)).map((n) => `input ${n}`),
    ...needed.outputs.filter((name) => !graph.outputs.some((p) => p.name === name)).map((n) => `output ${n}`),
  ];
  const problems = missing.map((name) =>
    error(`the ${graph.role} graph has no ${name}`, 'export the model again as two programs'),
  );
  const hidden = [...graph.inputs, ...graph.outputs].find((p) => p.name === 'vision_embeds')?.dims.at(-1);
  if (typeof hidden === 'number' && hidden !== family.hiddenSize) {
    problems.push(
      error(
        `vision_embeds has rows of ${hidden}, the model’s config.json says ${family.hiddenSize}`,
        'the program belongs to another model: check model.programs',
      ),
    );
  }
  return [...problems, ...(graph.role === 'language' ? checkState(graph, family) : [])];
}

function checkState(graph: ProgramGraph, family: FamilyModel): readonly Problem[] {
  const inputs = graph.inputs.map((p) => p.name).filter((name) => name.startsWith('past_'));
  const outputs = graph.outputs.filter((p) => RETAINED.test(p.name)).map((p) => p.name.replace(RETAINED, ''));
  const lost = inputs.filter((name) => !outputs.includes(name));
  const layers = inputs.filter((name) => name.startsWith('past_key.')).length;
  return [
    ...(lost.length === 0
      ? []
      : [error(`the cache ${lost[0]} has no ${lost[0]}_RetainedState`, 'export with the cache as retained state')]),
    ...(layers === family.textLayers
      ? []
      : [
          error(
            `the language graph keeps ${layers} layers, the model’s config.json says ${family.textLayers}`,
            'the program belongs to another model: check model.programs',
          ),
        ]),
  ];
}

function checkAxes(graph: ProgramGraph, spec: ProgramSpec): readonly Problem[] {
  const [set] = spec.specializations;
  if (set === undefined) return [error('no shapes are asked for', 'give the device’s `shapes` at least one entry')];
  return axesOf(graph.inputs)
    .filter((axis) => axisValue(axis, set.symbols) === undefined)
    .map((axis) =>
      error(
        `nothing says how long the axis "${axis}" of the ${graph.role} graph is`,
        `known: ${Object.keys(set.symbols).join(', ')}; comp_ctx_lengths and full_batch_size are given under \`shapes\``,
      ),
    );
}

/** Shapes that only graphs of certain exports know: the input that goes with each. */
const EXPORTS = [
  ['full_batch_size', 'batch_index', 'for continuous batching'],
  ['comp_ctx_lengths', 'comp_ctx_lengths', 'with compute-context-length'],
] as const;

function checkExports(graph: ProgramGraph, spec: ProgramSpec): readonly Problem[] {
  if (graph.role === 'vision') return [];
  const asked = (symbol: string) => spec.specializations.some((set) => set.symbols[symbol] !== undefined);
  return EXPORTS.filter(([symbol, input]) => asked(symbol) && !graph.inputs.some((p) => p.name === input)).map(
    ([symbol, input, how]) =>
      error(
        `${symbol} is asked for, and the language graph has no input ${input}`,
        `export it ${how}, or leave ${symbol} out of \`shapes\``,
      ),
  );
}

/**
 * A chunked layer's cache starts over behind each attention chunk. A prefill call that runs across that place overwrites
 * keys that its own first positions still read.
 */
function checkChunks(graph: ProgramGraph, spec: ProgramSpec): readonly Problem[] {
  if (!graph.inputs.some((p) => p.dims.includes('chunk_ctx_len'))) return [];
  const wrong = spec.specializations.find(({ symbols: s }) => {
    const { seq_len: seq = 1, ctx_len: ctx = 0, chunk_ctx_len: chunk = ctx } = s;
    return chunk < ctx && chunk % seq !== 0;
  })?.symbols;
  if (wrong === undefined) return [];
  return [
    error(
      `prefill_seq_len ${wrong['seq_len']} does not divide the attention chunk of ${wrong['chunk_ctx_len']}: a call across its end would give wrong answers`,
      'choose a prefill_seq_len that divides it, such as 128, or a ctx_len no longer than the chunk',
    ),
  ];
}

function checkLengths(spec: ProgramSpec, family: FamilyModel): readonly Problem[] {
  const problems = new Map<string, Problem>();
  for (const { symbols } of spec.specializations) {
    const { seq_len: seq = 1, ctx_len: ctx = 0, vision_size: rows = 0 } = symbols;
    if (ctx > family.maxPositions) {
      problems.set(
        `ctx ${ctx}`,
        error(`ctx_len ${ctx} is longer than the ${family.maxPositions} positions of the model`, 'lower ctx_len'),
      );
    }
    if (seq > ctx) {
      problems.set(
        `seq ${seq}`,
        error(`prefill_seq_len ${seq} is longer than ctx_len ${ctx}`, 'lower prefill_seq_len or raise ctx_len'),
      );
    }
    if (rows >= ctx) {
      problems.set(
        'rows',
        warning(
          `a prompt with all tiles takes ${rows} vision rows, and ctx_len is ${ctx}`,
          'raise ctx_len, or lower max_tiles or the tiles under `shapes`',
        ),
      );
    }
  }
  const lengths = [...new Set(spec.specializations.map((s) => s.symbols.ctx_len))];
  const apart = spec.specializations.every((s) => s.symbols.comp_ctx_lengths === s.symbols.ctx_len);
  if (spec.role === 'language' && lengths.length > 1 && !apart) {
    problems.set(
      'several',
      warning(
        `a card cannot tell ctx_len ${lengths.join(' and ')} apart: the cache is in no call, and such a program is refused when it runs`,
        'compile for one ctx_len; comp_ctx_lengths makes calls read less of the cache, where the model was exported with it',
      ),
    );
  }
  return [...problems.values()];
}

/** Lists under `shapes` that leave out what the nodes themselves will ask for. */
export function checkCoverage(spec: ProgramSpec, nodes: readonly PlanNode[]): readonly Problem[] {
  const compiled = (symbol: string, prefill: boolean): readonly number[] =>
    spec.specializations.filter((s) => (s.symbols['seq_len'] ?? 1) > 1 === prefill).map((s) => s.symbols[symbol] ?? 1);
  const batches = compiled('batch_size', false);
  const contexts = compiled('ctx_len', false);
  const lengths = compiled('seq_len', true);
  return nodes.flatMap((node) => {
    const option = (name: string, otherwise: number) => Number(node.options[name] ?? otherwise);
    const [batch, ctx, seq] = [option('batch_size', 1), option('ctx_len', 1024), option('prefill_seq_len', 128)];
    const own = `node "${node.name}"`;
    const longer = lengths.filter((n) => n > seq);
    return [
      ...(contexts.includes(ctx)
        ? []
        : [error(`${own} runs with ctx_len ${ctx}, which is not compiled`, `add ${ctx} to shapes.ctx_len`)]),
      ...(batches.some((n) => n >= batch)
        ? []
        : [
            error(
              `${own} takes ${batch} prompts at once, compiled are ${batches.join(', ')}`,
              'extend shapes.batch_size',
            ),
          ]),
      ...(lengths.length === 0 || lengths.length > longer.length
        ? []
        : [
            error(
              `${own} prefills at most ${seq} tokens a call, compiled are ${lengths.join(', ')}`,
              'raise prefill_seq_len of the node, or add a shorter one to shapes.prefill_seq_len',
            ),
          ]),
      ...(longer.length > 0 && longer.length < lengths.length
        ? [
            warning(
              `prefill_seq_len ${[...new Set(longer)].join(', ')} is compiled and never used`,
              `${own} prefills at most ${seq} tokens a call: raise its prefill_seq_len`,
            ),
          ]
        : []),
    ];
  });
}

function checkOpset({ role, opsets }: ProgramGraph): readonly Problem[] {
  const version = opsets[''] ?? opsets['ai.onnx'];
  const strange = Object.keys(opsets).filter((domain) => !DOMAINS.includes(domain));
  return [
    ...(version === OPSET
      ? []
      : [warning(`the ${role} graph has opset ${version ?? 'none'}`, `exports for cards have opset ${OPSET}`)]),
    ...strange.map((domain) =>
      warning(`the ${role} graph uses operators of "${domain}"`, 'the compiler may not know them'),
    ),
  ];
}

export interface MemoryEstimate {
  readonly weightBytes: number;
  readonly cacheBytes: number;
  /** Of one card, when the program is spread over all of them. */
  readonly perCard: number;
  readonly cardBytes: number;
  readonly cardKnown: boolean;
}

/** Weights and cache as the card holds them: half precision, MXFP6 at 6.25 bits a weight, MXINT8 at 8.25 bits a value. */
export function estimateMemory(graph: ProgramGraph, spec: ProgramSpec, device: DeviceConfig): MemoryEstimate {
  const language = graph.role === 'language';
  const half = graph.halfWeightBytes ?? graph.weightBytes / 2;
  const weightBytes = Math.ceil(language && device['mxfp6_matmul'] === true ? (half * 6.25) / 16 : half);
  const slots = Math.max(
    0,
    ...spec.specializations.map(
      ({ symbols: s }) => (s['full_batch_size'] ?? s['batch_size'] ?? 1) * (s['ctx_len'] ?? 0),
    ),
  );
  const state = graph.inputs.find((p) => p.name.startsWith('past_'));
  const perSlot = graph.stateBytesPerToken / (state?.dtype === 'float16' ? 1 : 2);
  const cacheBytes = Math.ceil(slots * perSlot * (device['mxint8_kv_cache'] === true ? 8.25 / 16 : 1));
  const { cardBytes, cardBytesKnown } = cardMemory(device);
  const perCard = Math.ceil((weightBytes + cacheBytes) / cardsOf(device));
  return { weightBytes, cacheBytes, perCard, cardBytes, cardKnown: cardBytesKnown };
}

/** What one card of a device holds: `memory_gib`, else what is usual. */
export function cardMemory(device: DeviceConfig): { readonly cardBytes: number; readonly cardBytesKnown: boolean } {
  const given = device['memory_gib'];
  const known = typeof given === 'number';
  return { cardBytes: (known ? given : USUAL_GIB) * GIB, cardBytesKnown: known };
}

function checkMemory(graph: ProgramGraph, spec: ProgramSpec, device: DeviceConfig): readonly Problem[] {
  const m = estimateMemory(graph, spec, device);
  if (m.perCard <= m.cardBytes) return [];
  const gib = (n: number) => (n / GIB).toFixed(1);
  const what = `the ${graph.role} program takes about ${gib(m.perCard)} GiB of each card, which has ${gib(m.cardBytes)}${m.cardKnown ? '' : ' (assumed)'}`;
  const hint =
    'use more ids, mxfp6_matmul, mxint8_kv_cache, a smaller ctx_len or batch_size; memory_gib says what a card has';
  return [m.cardKnown ? error(what, hint) : warning(what, hint)];
}

/** Both programs of a device on one card at once. */
export function checkCores(device: DeviceConfig, programs: number): readonly Problem[] {
  const cores = coresOf(device);
  if (programs < 2 || cores * programs <= 16) return [];
  return [
    warning(
      `${programs} programs of ${cores} cores share a card of 16`,
      'they are swapped for each request; num_cores 8, or a device for each program, avoids that',
    ),
  ];
}

/** Line of the SDK that commands and files are made for: older ones took other forms of them. */
const SDK_LINE = [1, 22] as const;

/** `version` as findCompiler gives it: `apps 1.22.4`, or a digest where the SDK does not say. */
export function checkCompiler(version: string): readonly Problem[] {
  const line = SDK_LINE.join('.');
  const told = /^apps (\d+)\.(\d+)/.exec(version);
  if (told === null) {
    return [
      warning(
        `the SDK does not say its version (${version})`,
        `commands are made for ${line} and later; versions/apps.xml beside exec/ would say it`,
      ),
    ];
  }
  const [major, minor] = [Number(told[1]), Number(told[2])];
  if (major > SDK_LINE[0] || (major === SDK_LINE[0] && minor >= SDK_LINE[1])) return [];
  return [
    warning(
      `the SDK is ${version.slice('apps '.length)}, commands and files are made for ${line} and later`,
      'it may take another form of specializations.json, or not know a flag: update the SDK',
    ),
  ];
}

/** The cache can be written and has room for `bytes`. */
export function checkFolder(cache: string, bytes: number): readonly Problem[] {
  let folder = cache;
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  try {
    accessSync(folder, constants.W_OK);
  } catch {
    return [error(`the cache ${cache} cannot be written`, 'set VLM_RUN_CACHE to a folder that may be written to')];
  }
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  return free >= bytes
    ? []
    : [
        error(
          `the disk of ${cache} has ${(free / GIB).toFixed(1)} GiB free, compiling needs about ${(bytes / GIB).toFixed(1)}`,
          'make room with `vlm-run cache rm`, or set VLM_RUN_CACHE to a larger disk',
        ),
      ];
}
