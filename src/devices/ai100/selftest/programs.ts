/** The programs that checks run: compiled for the card, or written for the emulated one. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DeviceConfig } from '../../../contracts/device.js';
import { makeFolders } from '../../../util/folders.js';
import { commandLine, compilerRequest, type GraphPort, type ProgramGraph } from '../compile/command.js';
import { emulatedProgram } from '../compile/emulator-target.js';
import { type Compiler, runCompiler } from '../compile/run-compiler.js';
import { type ProgramSpec, shapeSetsOf } from '../compile/specializations.js';
import { ECHO, LANGUAGE, type Model } from './models.js';
import { onnxBytes, type Value } from './onnx.js';
import type { PortFacts, ProgramFacts, ProgramName } from './types.js';

export const MODELS: Readonly<Record<ProgramName, Model>> = { echo: ECHO, halves: ECHO, language: LANGUAGE };

export interface Making {
  readonly folder: string;
  readonly device: number;
  readonly cores: number;
  /** Null for the emulated card. */
  readonly compiler: Compiler | null;
  readonly signal?: AbortSignal;
}

/** Throws what the compiler throws. */
export async function makeProgram(name: ProgramName, making: Making): Promise<ProgramFacts> {
  const model = MODELS[name];
  const folder = join(making.folder, name);
  const onnx = join(folder, 'model.onnx');
  await makeFolders(folder);
  await writeFile(onnx, onnxBytes(model.graph));
  const graph = programGraph(model, onnx);
  const { role, specializations } = model;
  const spec: ProgramSpec = { role, node: 'selftest', device: 'selftest', specializations };
  const cores = name === 'halves' ? Math.max(1, Math.floor(making.cores / 2)) : making.cores;
  const device: DeviceConfig = { kind: 'ai100', ids: [making.device], num_cores: cores };
  const table = emulatedProgram(graph, spec, device, 1 << 20);
  const qpc = join(folder, 'qpc');
  if (making.compiler === null) await emulate(qpc, table, model === LANGUAGE);
  else await compile(making.compiler.path, graph, spec, device, folder, qpc, making.signal);
  return {
    file: join(qpc, 'programqpc.bin'),
    ports: table.bindings.map(({ name, direction, type }): PortFacts => ({ name, direction, type })),
    sets: shapeSetsOf(spec, [...graph.inputs, ...graph.outputs]).map((set) => set.shapes),
    own: true,
  };
}

function programGraph({ role, graph }: Model, path: string): ProgramGraph {
  const port = ({ name, type, dims }: Value): GraphPort => ({
    name,
    graphName: name,
    dtype: type === 'float' ? 'float32' : 'int64',
    dims,
  });
  return {
    role,
    path,
    inputs: graph.inputs.map(port),
    outputs: graph.outputs.map(port),
    opsets: { '': 17 },
    weightBytes: 0,
    stateBytesPerToken: 0,
    externalData: [],
  };
}

/** The echo programs need no ONNX Runtime: the emulated card has that computation built in. */
async function emulate(qpc: string, table: ReturnType<typeof emulatedProgram>, computed: boolean): Promise<void> {
  const { writeEmulatedQpc } = await import('../emulator/qpc.js');
  const { onnx, ...rest } = table;
  await writeEmulatedQpc(qpc, computed ? { ...rest, onnx } : { ...rest, compute: 'echo' });
}

async function compile(
  compiler: string,
  graph: ProgramGraph,
  spec: ProgramSpec,
  device: DeviceConfig,
  folder: string,
  qpc: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const request = compilerRequest(graph, spec, device);
  for (const file of request.files) await writeFile(join(folder, file.name), file.text);
  const command = commandLine(compiler, graph.path, request, folder, qpc);
  await runCompiler({ command, log: join(folder, 'compile.log'), ...(signal === undefined ? {} : { signal }) });
}
