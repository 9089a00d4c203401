// A recipe's digest is that of what it computes: not of how, where or under which name it is written.
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compileRecipe, requirePlan } from '../../src/compose/recipes.js';
import type { VlmError } from '../../src/contracts/errors.js';
import { type CanonicalRecipe, canonicalRecipe, differences, digestOf } from '../../src/share/canonical.js';
import { groupExamples, openExample, projectFolder, reopenExample } from '../../src/share/examples.js';
import { packageRoot } from '../../src/util/package-root.js';
import { sha256 } from './fixtures.js';

const root = packageRoot();
const RECIPE = join(root, 'pipelines', 'internvl.yaml');
const test = suite<{ dir: string }>('canonical recipes and examples');
test.before.each((context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'vlm-canonical-'));
  mkdirSync(join(context.dir, 'project', 'recipes'), { recursive: true });
  writeFileSync(join(context.dir, 'project', 'package.json'), '{}');
});
test.after.each(({ dir }) => rmSync(dir, { recursive: true, force: true }));

const planOf = async (file: string, set: readonly string[] = []) => requirePlan(await compileRecipe(file, { set }));
const canonical = async (file: string, set: readonly string[] = []): Promise<CanonicalRecipe> =>
  canonicalRecipe(await planOf(file, set), async (path) => sha256(path));

function write(dir: string, text: string, name = 'r.yaml'): string {
  const file = join(dir, 'project', 'recipes', name);
  writeFileSync(file, text);
  return file;
}

const own = (rest: string, head = 'name: other'): string => `version: 1
${head}
model: { path: ${join(root, 'models', 'shapes-internvl')} }
inputs:
  prompt: { type: text, default: Describe the image. }
  image: { default: ${join(root, 'examples', 'scene.png')}, type: image }
devices: { main: { kind: cpu, graph_optimization: all }, spare: { kind: cpu } }
nodes:
  fuse: { kind: fuse, inputs: { image: $inputs.image, text: $decode.text } }
  decode: { kind: decode, device: main, inputs: { tokens: $preprocess.tokens, vision: $encode.embeddings }${rest} }
  encode: { kind: encode, device: main, inputs: { pixels: $preprocess.pixels } }
  preprocess: { kind: preprocess, inputs: { image: $inputs.image, prompt: $inputs.prompt } }
outputs: { answer: $fuse.answer }
`;

test('order, names, comments, defaults written out, unused devices and places make no difference', async ({ dir }) => {
  const shipped = digestOf(await canonical(RECIPE));
  assert.is(digestOf(await canonical(write(dir, own('')))), shipped);
  const extended = write(dir, `# mine\nextends: ${RECIPE}\nname: mine\ndescription: Mine.\n`, 'e.yaml');
  assert.is(digestOf(await canonical(extended)), shipped);
});

test('an option, a device, an input or the bytes of a default do', async ({ dir }) => {
  const shipped = await canonical(RECIPE);
  const paths = async (set: string): Promise<readonly string[]> =>
    differences(shipped, await canonical(RECIPE, [set])).map((d) => d.path);
  assert.equal(await paths('nodes.decode.with.ctx_len=512'), ['nodes.decode.with.ctx_len']);
  assert.equal(await paths('devices.main.threads=1'), ['devices.main.threads']);
  assert.equal(await paths('inputs.prompt.default=Why?'), ['inputs.prompt.default']);
  assert.equal(await paths(`inputs.image.default=${join(root, 'examples', 'photo.png')}`), ['inputs.image.default']);
  const copy = join(dir, 'project', 'recipes', 'same.png');
  cpSync(join(root, 'examples', 'scene.png'), copy);
  assert.equal(await paths(`inputs.image.default=${copy}`), []);
});

test('no path of this machine is in it', async ({ dir }) => {
  for (const file of [RECIPE, write(dir, own(''))]) {
    const text = JSON.stringify(await canonical(file));
    assert.not.ok(text.includes(root) || text.includes(dir) || text.includes('shapes-internvl'), text);
  }
});

test('a conversation counts by its messages and the bytes of its pictures', async ({ dir }) => {
  cpSync(join(root, 'examples', 'scene.png'), join(dir, 'project', 'recipes', 'a.png'));
  cpSync(join(root, 'examples', 'scene.png'), join(dir, 'project', 'recipes', 'b.png'));
  const talk = (image: string, text: string): string =>
    `[{ role: user, content: [{ type: image, image: ${image} }, { type: text, text: ${text} }] }]`;
  const recipe = (messages: string): string => `version: 1
name: talk
model: { path: ${join(root, 'models', 'shapes-internvl')} }
inputs: { messages: { type: messages, default: ${messages} } }
devices: { main: { kind: cpu } }
nodes:
  preprocess: { kind: preprocess, inputs: { messages: $inputs.messages } }
  encode: { kind: encode, device: main, inputs: { pixels: $preprocess.pixels } }
  decode: { kind: decode, device: main, inputs: { tokens: $preprocess.tokens, vision: $encode.embeddings } }
outputs: { text: $decode.text }
`;
  const digest = async (messages: string) => digestOf(await canonical(write(dir, recipe(messages))));
  const first = await digest(talk('a.png', 'What?'));
  assert.is(await digest(talk('b.png', 'What?')), first);
  assert.is.not(await digest(talk('b.png', 'Why?')), first);
  writeFileSync(join(dir, 'project', 'recipes', 't.yaml'), talk('a.png', 'What?'));
  assert.is(await digest('t.yaml'), first);
});

test('examples are grouped by the names that come again', async () => {
  const plan = await planOf(RECIPE);
  assert.equal(groupExamples(plan, ['image=a.png', 'prompt=x=y', 'image=b.png', 'prompt=z', 'prompt=w']), [
    { image: ['a.png'], prompt: ['x=y'] },
    { image: ['b.png'], prompt: ['z'] },
    { prompt: ['w'] },
  ]);
  const many = { ...plan, inputs: { ...plan.inputs, image: { ...plan.inputs['image']!, many: true } } };
  assert.equal(groupExamples(many, ['image=a', 'image=b', 'prompt=x', 'image=c']), [
    { image: ['a', 'b'], prompt: ['x'] },
    { image: ['c'] },
  ]);
  for (const [text, code] of [
    ['image', 'USAGE'],
    ['=x', 'USAGE'],
    ['picture=x', 'INPUT_UNKNOWN'],
  ] as const) {
    assert.throws(
      () => groupExamples(plan, [text]),
      (error: VlmError) => error.code === code,
    );
  }
});

test('several texts of one input stay several, whatever they hold', async ({ dir }) => {
  const plan = await planOf(write(dir, own('')));
  const many = { ...plan, inputs: { ...plan.inputs, prompt: { ...plan.inputs['prompt']!, many: true } } };
  const { inputs, loaded } = await openExample(many, { prompt: ['a\nb', 'c'] }, join(dir, 'project'));
  assert.equal(inputs['prompt'], { type: 'text', text: ['a\nb', 'c'] });
  const none = { pixels: {}, embeddings: {}, prompts: {}, completions: {}, answers: {} };
  const again = await reopenExample(many, { inputs, ...none });
  assert.equal(again.inputs, inputs);
  assert.equal(again.loaded.values['prompt'], loaded.values['prompt']);
});

test('an example is named from the recipe’s folder, and must lie in its project', async ({ dir }) => {
  const plan = await planOf(write(dir, own('')));
  const project = join(dir, 'project');
  assert.is(projectFolder(plan.file), project);
  mkdirSync(join(project, 'pictures'));
  cpSync(join(root, 'examples', 'scene.png'), join(project, 'pictures', 'a.png'));
  cpSync(join(root, 'examples', 'scene.png'), join(dir, 'out.png'));
  const { inputs } = await openExample(plan, { image: ['pictures/a.png'] }, project);
  assert.equal(inputs['image'], {
    type: 'image',
    images: [
      {
        name: 'a.png',
        bytes: 88766,
        sha256: inputs['image']?.type === 'image' ? inputs['image'].images[0]!.sha256 : '',
        place: '../pictures/a.png',
      },
    ],
  });
  assert.equal(inputs['prompt'], { type: 'text', text: 'Describe the image.', default: true });
  for (const secret of ['https://a.example/x.png?key=1', 'https://me:pw@a.example/x.png', 'http://a.example/x#y']) {
    const error = await openExample(plan, { image: [secret] }, project).catch((e: unknown) => e);
    assert.is((error as VlmError).code, 'OPTION_INVALID', secret);
    assert.not.match((error as VlmError).message, /key=1|me:pw/);
  }
  for (const outside of [join(dir, 'out.png'), '../out.png', 'data:image/png;base64,AA==', '-']) {
    const error = await openExample(plan, { image: [outside] }, project).catch((e: unknown) => e);
    assert.is((error as VlmError).code, 'OPTION_INVALID', outside);
  }
});

test.run();
