import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { mermaid } from '../../../src/cli/commands/graph.js';
import type { Plan } from '../../../src/contracts/recipe.js';
import { compileText } from '../../../src/recipe/index.js';
import { REGISTRY } from '../../recipe/helpers.js';

const test = suite('graph');

/** A line of Mermaid as it may stand: nothing in a label that could end it. */
const BOX = /^ {2}(\w+)(?:\[\/"([^"]*)"\/\]|\["([^"]*)"\])$/;
const ARROW = /^ {2}(\w+) -->(?:\|(?:\w+|"[^"|]*")\|)? (\w+)$/;

interface Drawn {
  readonly boxes: ReadonlyMap<string, string>;
  readonly arrows: readonly (readonly [string, string])[];
}

function read(text: string): Drawn {
  const [first, ...lines] = text.trimEnd().split('\n');
  assert.is(first, 'graph LR');
  const boxes = new Map<string, string>();
  const arrows: (readonly [string, string])[] = [];
  for (const line of lines) {
    const box = BOX.exec(line);
    if (box !== null) {
      const [, id = '', slanted, square] = box;
      assert.not.ok(boxes.has(id), `${id} twice`);
      boxes.set(id, slanted ?? square ?? '');
      continue;
    }
    assert.match(line, ARROW);
    const [, from, to] = ARROW.exec(line) ?? [];
    arrows.push([from ?? '', to ?? '']);
  }
  for (const id of arrows.flat()) assert.ok(boxes.has(id), `${id} has no box`);
  return { boxes, arrows };
}

async function planOf(names: readonly string[], description = '""'): Promise<Plan> {
  const text = [
    'version: 1\nname: odd\nmodel: { path: m }',
    'inputs:\n  image: { type: image }',
    ...names.map((name) => `  ${name}: { type: text }`),
    'devices: { end: { kind: cpu } }\nnodes:',
    ...names.flatMap((name) => [
      `  ${name}: { kind: preprocess, description: ${description}, inputs: { image: $inputs.image, prompt: $inputs.${name} } }`,
      `  e${name}: { kind: encode, device: end, inputs: { pixels: $${name}.pixels } }`,
      `  d${name}: { kind: decode, device: end, inputs: { tokens: $${name}.tokens, vision: $e${name}.embeddings } }`,
    ]),
    'outputs:',
    ...names.map((name) => `  ${name}: $d${name}.text`),
  ].join('\n');
  const { plan, diagnostics } = await compileText(text, { registry: REGISTRY, file: 'odd.yaml' });
  assert.ok(plan, diagnostics.map((d) => d.message).join('; '));
  return plan as Plan;
}

test('names that are words of Mermaid, and names that differ in "-" and "_" alone, are boxes of their own', async () => {
  const names = ['end', 'click', 'subgraph', 'a-b', 'a_b', 'a--b', 'a_b_2', 'x-', 'constructor'];
  const { boxes, arrows } = read(mermaid(await planOf(names)));
  assert.is(boxes.size, 1 + 5 * names.length);
  assert.is(arrows.length, 6 * names.length);
  for (const name of names) assert.is([...boxes.values()].filter((text) => text === name).length, 3, name);
});

for (const [description, shown] of [
  ['"x\\"] --> end"', 'x ] -- end'],
  ['"<b>bold</b> | `code`"', 'b bold /b code'],
  ['"&lt;b&gt; #35; AT&T"', 'lt;b gt; 35; AT&T'],
  ['"two\\nlines\\ttab\\u0085next\\u2028end"', 'two lines tab next end'],
  ['"\\e[31mred\\u202e"', '\ufffd[31mred\ufffd'],
  ['emoji 😀 end', 'emoji 😀 end'],
  [`"${'😀'.repeat(300)}"`, `${'😀'.repeat(159)}…`],
  ['"   "', null],
] as const) {
  test(`a description is words in a box: ${description.slice(0, 40)}`, async () => {
    const { boxes } = read(mermaid(await planOf(['a'], description)));
    assert.is(boxes.get('n_a'), shown === null ? 'a' : `a<br/>${shown}`);
  });
}

test('ports with odd names, as nodes of one’s own may have, stay words on an arrow', async () => {
  const plan = await planOf(['a']);
  const odd = ['a(b', '', '"]|x', 'é'].map((port, i) => [`o${i}`, port] as const);
  const [output] = Object.values(plan.outputs);
  if (output === undefined) return assert.unreachable();
  const outputs = odd.map(([name, port]) => [name, { ...output, ref: { from: 'node' as const, node: 'da', port } }]);
  const text = mermaid({ ...plan, outputs: Object.fromEntries(outputs) as Plan['outputs'] });
  read(text);
  assert.match(text, 'n_da -->|"a(b"| out_o0');
  assert.match(text, 'n_da --> out_o1');
  assert.match(text, 'n_da -->|"] x"| out_o2');
});

test.run();
