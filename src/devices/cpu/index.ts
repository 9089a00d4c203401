/** The `cpu` device: both halves of a model on ONNX Runtime. It takes any shape, so calls are exact and never padded. */
import { realpathSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { basename, dirname } from 'node:path';
import { env, InferenceSession } from 'onnxruntime-node';
import type {
  DeviceConfig,
  DeviceDriver,
  DeviceInfo,
  ProgramDescription,
  ProgramSource,
} from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import { forbidOrtTelemetry } from '../../util/ort-telemetry.js';
import { mendedGraph } from './mend.js';
import { ByteSource } from './onnx-wire.js';
import { type WeightPlaces, weightPlaces } from './places.js';
import { type CpuProgram, readProgram } from './program.js';
import { CpuSession, type CpuSettings } from './session.js';

forbidOrtTelemetry();

/** ONNX Runtime writes what it also throws to standard error, in colours: only the error that is thrown is ours to show. */
const LOG_FATAL = 4;
const LOG_WARNING = 2;

const LEVELS = ['disabled', 'basic', 'extended', 'all'] as const;
type Level = (typeof LEVELS)[number];

export class CpuDriver implements DeviceDriver {
  readonly kind = 'cpu';

  async open(source: ProgramSource, config: DeviceConfig): Promise<CpuSession> {
    const threads = threadsOf(config);
    const graphOptimization = levelOf(config);
    const program = readProgram(source);
    const settings: CpuSettings = {
      threads,
      graphOptimization,
      mendedConstants: program.limits.tensors.length + program.limits.ints.length,
      inPlaceCaches: program.pairs.filter((p) => p.inPlace).length,
      caches: program.pairs.length,
    };
    return new CpuSession(await load(program, settings), program, settings);
  }

  async inspect(source: ProgramSource, _config: DeviceConfig): Promise<ProgramDescription> {
    return readProgram(source).description;
  }

  async list(): Promise<readonly DeviceInfo[]> {
    const cores = availableParallelism();
    const model = cpus()[0]?.model.trim() ?? process.arch;
    const memory = Math.round(totalmem() / 2 ** 20);
    const runtime = env.versions.node ?? env.versions.common;
    return [
      {
        kind: 'cpu',
        id: 'cpu',
        status: 'ready',
        summary: `ONNX Runtime ${runtime}, ${cores} cores`,
        details: { runtime, cores, threads: cores, model, memoryMiB: memory },
        emulated: false,
      },
    ];
  }
}

export const cpuDriver: DeviceDriver = new CpuDriver();

/**
 * A file that can be run as it is is opened by its path. Otherwise ONNX Runtime gets the mended graph and reads the weights
 * from where they lie: in their own files, or in the program's.
 */
async function load(program: CpuProgram, settings: CpuSettings): Promise<InferenceSession> {
  const options: InferenceSession.SessionOptions = {
    executionProviders: ['cpu'],
    executionMode: 'sequential',
    intraOpNumThreads: settings.threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: settings.graphOptimization,
    logSeverityLevel: process.env['VLM_RUN_DEBUG'] === '1' ? LOG_WARNING : LOG_FATAL,
  };
  try {
    // A link, as in a model cache, leads out of its folder, which ONNX Runtime does not follow for weights.
    const places = weightPlaces(program.path, program.external);
    if (settings.mendedConstants === 0 && places.moved.size === 0) {
      return await InferenceSession.create(program.path, options);
    }
    return await loadMended(program, places, options);
  } catch (cause) {
    throw VlmError.wrap(cause, 'PROGRAM_INVALID', {
      what: 'ONNX Runtime cannot load a program',
      where: program.path,
      hint: 'the cause names the operator or the file; export the model again for this version of ONNX Runtime',
    });
  }
}

async function loadMended(
  program: CpuProgram,
  places: WeightPlaces,
  options: InferenceSession.SessionOptions,
): Promise<InferenceSession> {
  const path = realpathSync(program.path);
  const folder = program.external.length === 0 ? dirname(path) : places.folder;
  const source = ByteSource.open(path);
  try {
    const graph = mendedGraph(source, program.limits, program.weights, basename(path), places.moved);
    return await InferenceSession.create(graph, {
      ...options,
      extra: { session: { model_external_initializers_file_folder_path: folder } },
    });
  } finally {
    source.close();
  }
}

function threadsOf(config: DeviceConfig): number {
  const given = config.threads ?? availableParallelism();
  if (typeof given === 'number' && Number.isInteger(given) && given >= 1 && given <= 1024) return given;
  throw new VlmError('OPTION_INVALID', {
    what: 'An option of the cpu device is out of range',
    expected: 'threads: a whole number from 1 to 1024',
    received: String(given),
  });
}

function levelOf(config: DeviceConfig): Level {
  const given = config.graph_optimization ?? 'all';
  const level = LEVELS.find((l) => l === given);
  if (level !== undefined) return level;
  throw new VlmError('OPTION_INVALID', {
    what: 'An option of the cpu device is unknown',
    expected: `graph_optimization: one of ${LEVELS.join(', ')}`,
    received: String(given),
  });
}
