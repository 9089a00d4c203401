// Recipes made of node modules of their own: the command line end to end, without a model.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const manifest = (kind: string, output: string, options = '{}'): string => `export const manifest = {
  kind: '${kind}', description: 'For tests.', stage: 'preprocess',
  inputs: { text: { kind: 'text', required: false, description: 'Text.' } },
  outputs: { ${output} },
  options: ${options},
};
`;
const TEXT = `text: { kind: 'text', description: 'Text.' }`;
const COMPLETION = `text: { kind: 'completion', description: 'Text.' }`;
const STEPS = `{ steps: { type: 'integer', default: 3, description: 'Steps.', examples: [3] }, ms: { type: 'integer', default: 20, description: 'Blocks this long a step.', examples: [3] } }`;

const MODULES: Record<string, string> = {
  /** Streams one word a step; each step blocks its thread as native code does. */
  'slow.mjs': `${manifest('slow', COMPLETION, STEPS)}
const cell = new Int32Array(new SharedArrayBuffer(4));
export async function run(items, context) {
  const { steps, ms } = context.options;
  return items.map((inputs, index) => {
    let text = '';
    for (let i = 0; i < steps; i++) {
      context.checkCancelled();
      Atomics.wait(cell, 0, 0, ms);
      const piece = (i === 0 ? '' : ' ') + (inputs.text?.text ?? 'word') + i;
      text += piece;
      context.emitText(index, piece);
      context.progress(i + 1, steps, 'tokens');
    }
    const completion = { kind: 'completion', text, rawText: text, ids: new Int32Array(steps), finish: 'length',
      promptTokens: 1, prefillMs: 1, decodeMs: 1, firstTokenAt: performance.timeOrigin + performance.now(), prefillChunks: [1] };
    return { ok: true, outputs: { text: completion } };
  });
}
`,
  'throw.mjs': `${manifest('throw', TEXT)}
export async function run() { throw new RangeError('the inner reason'); }
`,
  /** Ends the whole process when its text says so. */
  'crash.mjs': `${manifest('crash', TEXT)}
export async function run(items) {
  return items.map(({ text }) => {
    if (text.text === 'crash') {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 700);
      process.kill(process.pid, 'SIGKILL');
    }
    return { ok: true, outputs: { text: { kind: 'text', text: text.text } } };
  });
}
`,
  /** Prints where the answer goes: as it is checked, and as it runs. */
  'noisy.mjs': `${manifest('noisy', TEXT)}
console.log('loaded');
process.stdout.write('begun\\n');
export async function run(items) {
  console.log('logged');
  process.stdout.write('written\\n');
  return items.map(() => ({ ok: true, outputs: { text: { kind: 'text', text: 'quiet' } } }));
}
`,
  'nothing.mjs': manifest('nothing', TEXT),
};

export const SLOW = 'slow.yaml';

export function writeRecipes(dir: string): void {
  mkdirSync(dir, { recursive: true });
  for (const [name, code] of Object.entries(MODULES)) writeFileSync(join(dir, name), code);
  for (const kind of ['slow', 'throw', 'crash', 'noisy', 'nothing']) {
    writeFileSync(
      join(dir, `${kind}.yaml`),
      `version: 1
name: ${kind}
model: { path: ./no-model }
inputs:
  word: { type: text, default: word }
nodes:
  it: { kind: ./${kind}.mjs, inputs: { text: $inputs.word } }
outputs: { answer: $it.text }
`,
    );
  }
}
