// Plans made by hand for fake node kinds.

import type { DeviceConfig } from '../../../src/contracts/device.js';
import type { NodeManifest } from '../../../src/contracts/node.js';
import type { PortKind } from '../../../src/contracts/ports.js';
import type { Plan, PlanNode, Reference } from '../../../src/contracts/recipe.js';
import type { RunEvent, RunResultRecord } from '../../../src/contracts/record.js';
import type { ExecuteRequest } from '../../../src/runner/executor.js';
import { execute } from '../../../src/runner/executor.js';
import type { RunItem } from '../../../src/runner/item.js';
import type { TaskRunner } from '../../../src/runner/lanes.js';
import { LedgerBook } from '../../../src/runner/ledger.js';
import { type PoolOptions, WorkerPools } from '../../../src/runner/pool.js';

export const FAKE_WORKER = new URL('./worker.js', import.meta.url);

const OUTPUTS: Record<string, Record<string, PortKind>> = {
  pixels: { pixels: 'pixels' },
  shared: { json: 'json' },
  tokens: { tokens: 'tokens' },
  generate: { text: 'completion' },
};
const PROGRAMS: Record<string, 'vision' | 'language'> = { device: 'vision', generate: 'language' };

export interface FakeNode {
  readonly kind: string;
  readonly inputs?: Record<string, string>;
  readonly options?: Record<string, unknown>;
  readonly program?: 'vision' | 'language';
  readonly device?: string;
  readonly plugin?: string;
}

const ref = (text: string): Reference => {
  const [head = '', port = ''] = text.split('.');
  return head === '$' ? { from: 'input', name: port } : { from: 'node', node: head, port };
};

/** `nodes` in topological order; inputs as `$.name` or `node.port`. */
export function fakePlan(
  nodes: Record<string, FakeNode>,
  outputs: Record<string, string>,
  devices: Record<string, DeviceConfig> = { main: { kind: 'fake' } },
): Plan {
  const list = Object.entries(nodes).map(([name, node], i): PlanNode => {
    const program = node.program ?? PROGRAMS[node.kind];
    const ports = OUTPUTS[node.kind] ?? { text: 'text' as const };
    const manifest: NodeManifest = {
      kind: node.kind,
      description: '',
      stage: program === 'language' ? 'decode' : program === 'vision' ? 'encode' : 'preprocess',
      inputs: {},
      outputs: Object.fromEntries(Object.entries(ports).map(([port, kind]) => [port, { kind, description: '' }])),
      options: {},
      ...(program === undefined ? {} : { program }),
    };
    const inputs = Object.fromEntries(Object.entries(node.inputs ?? {}).map(([port, text]) => [port, ref(text)]));
    return {
      name,
      manifest,
      ...(node.plugin === undefined ? {} : { plugin: node.plugin }),
      device: program === undefined ? null : (node.device ?? 'main'),
      inputs,
      options: node.options ?? {},
      given: Object.keys(node.options ?? {}),
      after: Object.values(inputs).flatMap((r) => (r.from === 'node' ? [r.node] : [])),
      location: { file: 'fake.yaml', line: 10 + i, column: 3 },
      optionLocations: Object.fromEntries(
        Object.keys(node.options ?? {}).map((o) => [o, { file: 'fake.yaml', line: 100 + i, column: 5 }]),
      ),
    };
  });
  return {
    name: 'fake',
    description: '',
    file: '/fake.yaml',
    recipe: { version: 1, name: 'fake', model: {}, inputs: {}, devices: {}, nodes: {}, outputs: {} },
    model: {},
    inputs: {},
    devices,
    nodes: list,
    outputs: Object.fromEntries(Object.entries(outputs).map(([name, r]) => [name, { ref: ref(r), kind: 'text' }])),
  };
}

export const text = (value: string): RunItem => ({ text: { kind: 'text', text: value } });

export interface FakeRun {
  readonly result: RunResultRecord;
  readonly events: readonly RunEvent[];
}

/** Runs a plan on real pools with the fake worker. */
export async function runFake(
  plan: Plan,
  items: readonly RunItem[],
  options: Partial<ExecuteRequest> & {
    readonly pool?: PoolOptions;
    /** Wraps the pools as the executor sees them. */
    readonly spy?: (pools: WorkerPools) => TaskRunner;
    /** Looks at the pools between the end of the run and their closing. */
    readonly after?: (pools: WorkerPools) => Promise<void>;
  } = {},
): Promise<FakeRun> {
  const { pool, spy, after, ...request } = options;
  const pools = new WorkerPools({ workerFile: FAKE_WORKER, hostThreads: 2, ...pool });
  const events: RunEvent[] = [];
  try {
    const result = await execute({
      plan,
      items,
      runner: spy?.(pools) ?? pools,
      ledger: new LedgerBook(),
      cancel: new Int32Array(new SharedArrayBuffer(4)),
      ...request,
      onEvent: (event) => {
        events.push(event);
        request.onEvent?.(event);
      },
    });
    await after?.(pools);
    return { result, events };
  } finally {
    await pools.close();
  }
}
