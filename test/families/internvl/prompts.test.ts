import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ChatMessage } from '../../../src/contracts/node.js';
import { openModel } from '../../../src/model/context.js';
import { conversation } from '../../../src/prompt/plan.js';
import { preparePrompt } from '../../../src/prompt/prepare.js';
import { packageRoot } from '../../../src/util/package-root.js';

interface Case {
  readonly name: string;
  readonly messages: readonly ChatMessage[];
  readonly sizes: readonly (readonly [number, number])[];
  readonly rendered: string;
  readonly tiles: number;
  readonly ids: readonly (number | readonly [number, number])[];
}

const golden = join(packageRoot(), 'test', 'golden', 'text');
const FOLDERS = {
  shapes: join(packageRoot(), 'models', 'shapes-internvl'),
  'internvl-hf': join(golden, 'internvl-hf'),
  'internvl-chat-internvl2_5': join(golden, 'internvl-chat-internvl2_5'),
  'internvl-chat-Hermes-2': join(golden, 'internvl-chat-Hermes-2'),
  'internvl-chat-phi3-chat': join(golden, 'internvl-chat-phi3-chat'),
};

for (const [name, path] of Object.entries(FOLDERS)) {
  const cases: readonly Case[] = JSON.parse(readFileSync(join(golden, `prompts-${name}.json`), 'utf8')).cases;

  const place = name.startsWith('internvl-chat') ? '<image>' : '<IMG_CONTEXT>';

  test(`${name}: prompts of ${cases.length} conversations equal the reference, token for token`, async () => {
    const model = await openModel({ path });
    assert.ok(cases.length >= 14);
    for (const { name: label, messages, sizes, rendered, tiles, ids } of cases) {
      const { prompt, layouts } = preparePrompt(model, {
        messages,
        sizes: sizes.map(([width, height]) => ({ width, height })),
      });
      const expected = ids.flatMap((run) => (typeof run === 'number' ? [run] : Array(run[1]).fill(run[0])));
      assert.is(
        layouts.reduce((n, l) => n + l.tiles, 0),
        tiles,
        label,
      );
      const folded = prompt.text.replace(/<img>(<IMG_CONTEXT>)+<\/img>/g, place);
      assert.is(folded, rendered, label);
      assert.ok(prompt.ids.join() === expected.join(), `${label}: token ids differ`);
      assert.is(
        prompt.visionTokens,
        layouts.reduce((n, l) => n + l.visionTokens, 0),
        label,
      );
    }
  });

  test(`${name}: a plain prompt is the conversation of its images and then its words`, async () => {
    const model = await openModel({ path });
    const sizes = [
      { width: 300, height: 200 },
      { width: 100, height: 400 },
    ];
    const plain = preparePrompt(model, { prompt: 'Compare them.', sizes });
    const spelled = preparePrompt(model, { messages: conversation('Compare them.', 2), sizes });
    assert.equal(plain.prompt.ids, spelled.prompt.ids);
    const twoImages = cases.find((c) => c.name === 'two images')!;
    assert.is(
      plain.prompt.ids.length,
      twoImages.ids.reduce<number>((n, r) => n + (typeof r === 'number' ? 1 : r[1]), 0),
    );
  });
}

test.run();
