/** What the compiler is called with: flags, and the files beside them. Pure: paths come in last, and enter no key. */
import type { DeviceConfig, ProgramPort, ProgramRole } from '../../../contracts/device.js';
import { VlmError } from '../../../contracts/errors.js';
import { completeSymbols, type ProgramSpec } from './specializations.js';

/** An exported program, as far as compiling must know it. */
export interface ProgramGraph {
  readonly role: ProgramRole;
  readonly path: string;
  /** Names without prefix, and how the graph itself writes them. */
  readonly inputs: readonly GraphPort[];
  readonly outputs: readonly GraphPort[];
  readonly opsets: Readonly<Record<string, number>>;
  readonly weightBytes: number;
  /** The weights in half precision, as a card holds them; absent: half of `weightBytes`, all of them being float32. */
  readonly halfWeightBytes?: number;
  readonly stateBytesPerToken: number;
  /** Files of weights beside the graph, as it names them. */
  readonly externalData: readonly string[];
}

export interface GraphPort extends ProgramPort {
  readonly graphName: string;
}

/** Names of the files that the compiler reads; the MDP file says how many cards it is for. */
export const FILES = { specializations: 'specializations.json', customIo: 'custom_io.yaml' } as const;

export interface CompilerRequest {
  /** Flags without any path: `-aic-hw` … `-aic-num-cores=16`. */
  readonly flags: readonly string[];
  /** Flags before the model, in the order in which QEfficient gives them. */
  readonly files: readonly RequestFile[];
}

export interface RequestFile {
  readonly flag: string;
  readonly name: string;
  readonly text: string;
}

/** Flags that come from the recipe itself, or name files of ours. */
const DERIVED = [
  'm',
  'aic_hw',
  'aic_num_cores',
  'convert_to_fp16',
  'retained_state',
  'mxfp6_matmul',
  'network_specialization_config',
  'custom_io_list_file',
  'mdp_load_partition_config',
  'aic_binary_dir',
];

export function compilerRequest(graph: ProgramGraph, spec: ProgramSpec, device: DeviceConfig): CompilerRequest {
  const { hardware, rest } = extraFlags(device);
  const cores = coresOf(device);
  const cards = cardsOf(device);
  const language = graph.role === 'language';
  const customIo = customIoText(graph, device);
  return {
    flags: [
      '-aic-hw',
      `-aic-hw-version=${hardware}`,
      ...(language ? ['-retained-state'] : []),
      '-convert-to-fp16',
      // As QEfficient: the vision program keeps its precision.
      ...(language && device['mxfp6_matmul'] === true ? ['-mxfp6-matmul'] : []),
      `-aic-num-cores=${cores}`,
      ...rest,
    ],
    files: [
      ...(cards > 1
        ? [{ flag: '-mdp-load-partition-config', name: `mdp_ts_${cards}.json`, text: mdpText(cards, cores) }]
        : []),
      { flag: '-network-specialization-config', name: FILES.specializations, text: specializationsText(graph, spec) },
      ...(customIo === '' ? [] : [{ flag: '-custom-IO-list-file', name: FILES.customIo, text: customIo }]),
    ],
  };
}

/** The whole command line. */
export function commandLine(
  compiler: string,
  graph: string,
  request: CompilerRequest,
  filesFolder: string,
  out: string,
): readonly string[] {
  const [hw = '-aic-hw', version = '', ...flags] = request.flags;
  return [
    compiler,
    hw,
    version,
    `-m=${graph}`,
    ...flags,
    ...request.files.map((file) => `${file.flag}=${filesFolder}/${file.name}`),
    `-aic-binary-dir=${out}`,
  ];
}

export function coresOf(device: DeviceConfig): number {
  const cores = device['num_cores'];
  return typeof cores === 'number' ? cores : 16;
}

export function cardsOf(device: DeviceConfig): number {
  return Math.max(1, device.ids?.length ?? 1);
}

/** `compiler_flags: { a_b: v }` -> `-a-b=v`; true is the flag alone, false leaves it out. */
function extraFlags(device: DeviceConfig): { readonly hardware: string; readonly rest: readonly string[] } {
  const given = device['compiler_flags'];
  const entries = typeof given === 'object' && given !== null ? Object.entries(given) : [];
  let hardware = 'ai100';
  const rest: string[] = [];
  for (const [key, value] of entries as readonly (readonly [string, unknown])[]) {
    const name = key.replaceAll('-', '_');
    if (DERIVED.includes(name.toLowerCase()) || !/^[A-Za-z]\w*$/.test(name)) throw derived(key);
    if (name === 'aic_hw_version') hardware = String(value);
    else if (value === true) rest.push(`-${name.replaceAll('_', '-')}`);
    else if (value !== false) rest.push(`-${name.replaceAll('_', '-')}=${String(value)}`);
  }
  return { hardware, rest };
}

function derived(key: string): VlmError {
  return new VlmError('OPTION_INVALID', {
    what: 'A compiler flag cannot be given by hand',
    expected: 'a flag that vlm-run does not make from the recipe',
    received: key,
    where: 'compiler_flags',
    hint: 'cores, compression, shapes and cards are options of the device: num_cores, mxfp6_matmul, shapes, ids',
  });
}

/** Values are strings, as the compiler wants them. */
export function specializationsText(graph: ProgramGraph, spec: ProgramSpec): string {
  const ports = [...graph.inputs, ...graph.outputs];
  const specializations = spec.specializations.map((set) => {
    const { name, symbols } = completeSymbols(set, ports);
    return { name, symbols: Object.fromEntries(Object.entries(symbols).map(([k, v]) => [k, String(v)])) };
  });
  return `${JSON.stringify({ specializations }, null, 2)}\n`;
}

/** Tensor slicing: one partition over all cards. Cards are numbered from 0, whatever ids they have when it runs. */
export function mdpText(cards: number, cores: number): string {
  const devices = Array.from({ length: cards }, (_, i) => i);
  const partition = { name: 'Partition0', devices: devices.map((deviceId) => ({ deviceId, numCores: cores })) };
  return `${JSON.stringify({ connections: [{ devices, type: 'p2p' }], partitions: [partition] }, null, 2)}\n`;
}

export const RETAINED = /_(?:Internal)?RetainedState$/;

/** Tensors whose precision differs from the graph's, in the order QEfficient writes them. Empty: none does. */
export function customIo(graph: ProgramGraph, device: DeviceConfig): readonly (readonly [string, string])[] {
  const half = device['io_precision'] !== 'float32';
  const cache = device['mxint8_kv_cache'] === true ? 'mxint8' : half ? 'float16' : null;
  const tensors = half ? 'float16' : null;
  const list: (readonly [string, string])[] = [];
  const add = (port: GraphPort | undefined, precision: string | null): void => {
    if (port !== undefined && precision !== null) list.push([port.graphName, precision]);
  };
  const input = (name: string) => graph.inputs.find((p) => p.name === name);
  if (graph.role === 'vision') {
    add(input('pixel_values'), tensors);
    add(
      graph.outputs.find((p) => p.name === 'vision_embeds'),
      tensors,
    );
    return list;
  }
  const retained = graph.outputs.filter((p) => RETAINED.test(p.name)).sort(byLayer);
  for (const output of retained) {
    const name = output.name.replace(RETAINED, '');
    const precision = name.startsWith('past_') ? cache : tensors;
    add(input(name), precision);
    add(output, precision);
  }
  return list;
}

export function customIoText(graph: ProgramGraph, device: DeviceConfig): string {
  return customIo(graph, device)
    .map(([name, precision]) => ` - IOName: ${name}\n   Precision: ${precision}\n\n`)
    .join('');
}

/** vision_embeds, then key and value of each layer. */
function byLayer(a: GraphPort, b: GraphPort): number {
  return rank(a.name) - rank(b.name);
}

function rank(name: string): number {
  const match = /^past_(key|value)\.(\d+)/.exec(name);
  return match === null ? -1 : Number(match[2]) * 2 + (match[1] === 'value' ? 1 : 0);
}
