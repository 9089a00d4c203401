// A worker like src/runner/worker.ts with fake kinds, models and devices. Device options name a log file in which
// every call of the fake driver is noted.
import { appendFileSync } from 'node:fs';
import type { DeviceDriver, ProgramDescription, ProgramSession } from '../../../src/contracts/device.js';
import { VlmError } from '../../../src/contracts/errors.js';
import type { ItemResult, ModelContext, NodeContext, NodeInputs, NodeModule } from '../../../src/contracts/node.js';
import type { PortValue, TextValue } from '../../../src/contracts/ports.js';
import { loadPluginModule } from '../../../src/runner/plugin.js';
import { createWorkerHandler } from '../../../src/runner/worker-runtime.js';

/** Blocks the thread, as native code does. */
export function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

const textOf = (inputs: NodeInputs, port = 'text'): string => (inputs[port] as TextValue | undefined)?.text ?? '';
const text = (value: string): PortValue => ({ kind: 'text', text: value });
const ok = (outputs: Record<string, PortValue>): ItemResult => ({ ok: true, outputs });
const each =
  (
    make: (inputs: NodeInputs, context: NodeContext, index: number) => Promise<ItemResult> | ItemResult,
  ): NodeModule['run'] =>
  async (items, context) => {
    const results: ItemResult[] = [];
    for (const [i, item] of items.entries()) results.push(await make(item, context, i));
    return results;
  };

const pool = new ArrayBuffer(64);
const MODULES: Record<string, NodeModule['run']> = {
  upper: each((inputs) => ok({ text: text(textOf(inputs).toUpperCase()) })),
  join: each((inputs) => ok({ text: text(`${textOf(inputs, 'a')}+${textOf(inputs, 'b')}`) })),
  sleep: each(async (inputs, { options }) => {
    await new Promise((resolve) => setTimeout(resolve, Number(options['ms'])));
    return ok({ text: text(textOf(inputs)) });
  }),
  /** Bytes of each image it got; spoils them, to show that nobody else shares the memory. */
  measure: each((inputs) => {
    const list = ([] as PortValue[]).concat((inputs['image'] ?? []) as PortValue[]);
    const sizes = list.map((v) => (v.kind === 'image' ? `${v.bytes.length}:${v.bytes[0]}` : '?'));
    for (const v of list) if (v.kind === 'image') v.bytes.fill(255);
    return ok({ text: text(sizes.join(',')) });
  }),
  pixels: each(() => {
    const data = new Float32Array(12).fill(1);
    return ok({
      pixels: {
        kind: 'pixels',
        tensor: { dtype: 'float32', dims: [1, 3, 2, 2], data },
        images: [{ name: 'a', width: 2, height: 2, grid: [1, 1], tiles: 1, visionTokens: 4 }],
      },
    });
  }),
  sum: each((inputs) => {
    const value = inputs['pixels'] as Extract<PortValue, { kind: 'pixels' }>;
    const data = value.tensor?.data ?? new Float32Array();
    const total = data.reduce((a, b) => a + b, 0);
    data.fill(-1);
    return ok({ text: text(String(total)) });
  }),
  /** Two views of one buffer, and a view of a part: neither may be transferred as it is. */
  shared: each(() =>
    ok({
      json: { kind: 'json', value: { a: new Uint8Array(pool, 0, 4).fill(7), b: new Uint8Array(pool, 4, 4).fill(8) } },
    }),
  ),
  tokens: each((inputs, { options }) => {
    const n = Number(options['n']);
    const ids = Int32Array.from({ length: n }, (_, i) => i);
    return ok({ tokens: { kind: 'tokens', ids, text: textOf(inputs), imageTokenId: -1, visionTokens: 0 } });
  }),
  throw: each(() => {
    throw new TypeError('the inner reason');
  }),
  refuse: each(() => {
    throw new VlmError('OPTION_INVALID', { what: 'no', hint: 'yes' });
  }),
  modelless: each(() => {
    throw new VlmError('MODEL_MISSING', { what: 'no model', hint: 'fetch it' });
  }),
  /** Fails items that say so. */
  picky: each((inputs) =>
    textOf(inputs) === 'bad'
      ? { ok: false, error: new VlmError('IMAGE_UNREADABLE', { what: 'bad item' }).toData() }
      : ok({ text: text(textOf(inputs)) }),
  ),
  few: async () => [],
  wrong: each(() => ok({ other: text('x') })),
  stuck: each(() => ok({ text: { kind: 'text', text: 'x', extra: () => 1 } as never })),
  exit: each(() => process.exit(7)),
  loose: each(async () => {
    setTimeout(() => {
      throw new Error('thrown outside of the task');
    }, 5);
    await new Promise(() => undefined);
    return ok({});
  }),
  memory: each(() => {
    const keep: unknown[] = [];
    for (;;) keep.push(new Array(100_000).fill(Math.random()));
  }),
  device: each(async (inputs, context) => {
    const session = await context.program();
    await session.run(null, {}, []);
    const model = await context.model();
    return ok({ text: text(`${model.family.family}:${textOf(inputs)}`) });
  }),
  /** One blocking call a step, with the cancelled flag looked at between. */
  generate: each(async (inputs, context, index) => {
    const session = await context.program();
    const steps = Number(context.options['steps']);
    const start = performance.now();
    let made = '';
    for (let i = 0; i < steps; i++) {
      context.checkCancelled();
      await session.run(null, {}, []);
      made += `${i} `;
      context.emitText(index, `${i} `);
      context.progress(i + 1, steps, 'tokens');
    }
    context.span('decode', start);
    return ok({
      text: {
        kind: 'completion',
        text: made,
        rawText: made,
        ids: Int32Array.from({ length: steps }, (_, i) => i),
        finish: 'length',
        promptTokens: textOf(inputs).length,
        prefillMs: 1,
        decodeMs: performance.now() - start,
        firstTokenAt: performance.timeOrigin + start,
        prefillChunks: [1],
      },
    });
  }),
};

const description: ProgramDescription = {
  role: 'language',
  inputs: [],
  outputs: [],
  allowedShapes: null,
  calls: 'exact',
  weightBytes: 0,
  stateBytesPerToken: 0,
  emulated: true,
};

const driver: DeviceDriver = {
  kind: 'fake',
  inspect: async () => description,
  list: async () => [],
  open: async ({ role }, config) => {
    const note = (what: string): void => {
      if (typeof config['log'] === 'string') appendFileSync(config['log'], `${role} ${what}\n`);
    };
    note('open');
    if (config['broken'] === true) throw new VlmError('DEVICE_UNAVAILABLE', { what: 'no such card' });
    block(Number(config['openMs'] ?? 0));
    let busy = false;
    const session: ProgramSession = {
      describe: () => description,
      activate: async () => note('activate'),
      deactivate: async () => note('deactivate'),
      createState: () => ({ batch: 1, ctxLen: 1, row: () => session.createState(1, 1), release: () => undefined }),
      run: async () => {
        if (busy) throw new VlmError('INTERNAL', { what: 'calls overlap' });
        busy = true;
        block(Number(config['callMs'] ?? 0));
        await new Promise((resolve) => setImmediate(resolve));
        busy = false;
        note('run');
        return { outputs: {} };
      },
      close: async () => note('close'),
    };
    return session;
  },
};

export default createWorkerHandler({
  loadNode: async (kind) => {
    const run = MODULES[kind];
    if (run === undefined) throw new VlmError('INTERNAL', { what: `no module ${kind}` });
    return { run };
  },
  loadPlugin: loadPluginModule,
  loadDriver: async () => driver,
  openModel: async () =>
    ({ family: { family: 'fake' }, text: {}, describe: async () => null }) as unknown as ModelContext,
  programPath: async (_, role) => `/${role}.onnx`,
});
