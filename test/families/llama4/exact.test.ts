import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { family } from '../../../src/families/llama4/family.js';
import { decodeImage } from '../../../src/image/decode.js';
import { loadKernels } from '../../../src/image/native.js';
import { imageTiles } from '../../../src/image/tiles.js';
import { openModel } from '../../../src/model/context.js';
import { preparePrompt } from '../../../src/prompt/prepare.js';
import { compileTemplate } from '../../../src/text/template.js';
import { sha256 } from '../../image/goldens.js';
import { goldens, MODEL, modelFiles, pictureBytes } from './goldens.js';

const { kernels } = loadKernels();
const cases = Object.entries(goldens.images);

for (const [kind, preprocessor] of [
  ['usual', {}],
  ['maxCanvas', { resize_to_max_canvas: true }],
  ['four', { max_patches: 4 }],
] as const) {
  test(`pixels of ${cases.length} pictures equal the processor bit for bit: ${kind}`, async () => {
    assert.ok(cases.length >= 12);
    const model = family.configure(modelFiles({ preprocessor }));
    for (const [name, source] of cases) {
      const golden = source[kind];
      const picture = await decodeImage(pictureBytes(name), { name });
      assert.equal([picture.width, picture.height], source.size, name);
      const layout = model.layout(picture.width, picture.height, {});
      assert.equal(layout.grid, golden.grid, name);
      assert.equal([layout.tiles, 3, layout.tileSize.height, layout.tileSize.width], golden.dims, name);
      const tiles = imageTiles(picture, layout, model.normalization, kernels);
      const step = Math.floor(tiles.length / 8);
      assert.equal(
        golden.samples.map((_, i) => tiles[i * step]),
        golden.samples,
        name,
      );
      assert.is(sha256(tiles), golden.sha256, name);
    }
  });
}

test('canvas and size inside it equal the reference for every size', () => {
  const [{ sizes }, ...settings] = goldens.grids;
  assert.ok(sizes.length > 600);
  for (const { options, first, sha256: digest } of settings) {
    const model = family.configure(modelFiles({ preprocessor: options }));
    const lines = sizes.map(([width, height]) => {
      const { grid, views } = model.layout(width, height, {});
      return `${grid.join('x')}:${views[0]?.resize.width}x${views[0]?.resize.height}`;
    });
    assert.equal(
      lines.filter((_, i) => i % 50 === 0),
      first,
      JSON.stringify(options),
    );
    assert.is(sha256(Buffer.from(lines.join(';'))), digest, JSON.stringify(options));
  }
});

test(`prompts of ${goldens.prompts.length} conversations equal the reference, token for token`, async () => {
  const model = await openModel({ path: MODEL });
  assert.ok(goldens.prompts.length >= 14);
  for (const { name, messages, sizes, rendered, ids } of goldens.prompts) {
    const { prompt, layouts } = preparePrompt(model, {
      messages,
      sizes: sizes.map(([width, height]) => ({ width, height })),
    });
    const expected = ids.flatMap((run) => (typeof run === 'number' ? [run] : Array<number>(run[1]).fill(run[0])));
    const whole = prompt.text.replace(/<\|image_start\|>.*?<\|image_end\|>/g, '<|image|>');
    assert.is(whole, rendered, name);
    assert.is(
      prompt.visionTokens,
      layouts.reduce((n, { tiles }) => n + 144 * tiles, 0),
    );
    assert.ok(prompt.ids.join() === expected.join(), `${name}: token ids differ`);
  }
});

test('a template that asks for the date gets it as the reference writes it', () => {
  const { template, messages, rendered } = goldens.dated;
  const render = compileTemplate(template, { bos_token: '<|begin_of_text|>' }, 'chat_template.jinja');
  const text = render(messages, { addGenerationPrompt: true });
  const [before, after] = rendered.split('{date}');
  assert.match(text, /\d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) 20\d\d/);
  assert.is(text.replace(/\d\d [A-Z][a-z]{2} \d{4}/, '{date}'), `${before}{date}${after}`);
});

test.run();
