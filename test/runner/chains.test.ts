import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Plan } from '../../src/contracts/recipe.js';
import { chainsOf, textOutputs } from '../../src/runner/chains.js';
import { fakePlan, runFake, text } from './fakes/plans.js';

const test = suite('chains');

/** Two questions with prompts and answers of their own; the second one's nodes stand last. */
function two(outputs: Record<string, string>): Plan {
  return fakePlan(
    {
      look: { kind: 'pixels' },
      short: { kind: 'tokens', inputs: { text: '$.text' }, options: { n: 5 } },
      long: { kind: 'tokens', inputs: { text: '$.text' }, options: { n: 9 } },
      name: { kind: 'generate', inputs: { tokens: 'short.tokens', pixels: 'look.pixels' }, options: { steps: 2 } },
      count: { kind: 'generate', inputs: { tokens: 'long.tokens' }, options: { steps: 4 } },
    },
    outputs,
  );
}

test('a record is of one answer: text, ids, prompt, pictures and metrics of the first output', async () => {
  for (const [outputs, steps, prompt, tiles] of [
    [{ a: 'name.text', b: 'count.text' }, 2, 5, 1],
    [{ b: 'count.text', a: 'name.text' }, 4, 9, 0],
  ] as const) {
    const { result } = await runFake(two(outputs), [text('q'), text('r')]);
    assert.ok(result.ok);
    for (const item of result.items) {
      assert.is(item.text?.trim().split(' ').length, steps);
      assert.is(item.generatedIds?.length, steps);
      assert.is(item.promptIds?.length, prompt);
      assert.is(item.images.length, tiles);
      assert.equal([item.metrics?.generatedTokens, item.metrics?.tiles], [steps, tiles]);
    }
  }
});

test('every completion is kept with its own prompt, where there are several', async () => {
  const { result } = await runFake(two({ b: 'count.text' }), [text('q')]);
  const completions = result.items[0]?.completions ?? {};
  const sizes = Object.entries(completions).map(([name, c]) => [name, c.generatedIds.length, c.promptIds?.length]);
  assert.equal(sizes, [
    ['name.text', 2, 5],
    ['count.text', 4, 9],
  ]);
  assert.is(completions['name.text']?.text, '0 1 ');
  assert.is(completions['name.text']?.metrics.tiles, 1);
  const one = fakePlan({ say: { kind: 'generate', options: { steps: 1 } } }, { out: 'say.text' });
  assert.is((await runFake(one, [{}])).result.items[0]?.completions, undefined);
});

test('an answer that feeds the next prompt is not that answer’s prompt', () => {
  const plan = fakePlan(
    {
      look: { kind: 'pixels' },
      first: { kind: 'tokens', inputs: { text: '$.text' } },
      describe: { kind: 'generate', inputs: { tokens: 'first.tokens', pixels: 'look.pixels' } },
      loud: { kind: 'upper', inputs: { text: 'describe.text' } },
      second: { kind: 'tokens', inputs: { text: 'loud.text' } },
      judge: { kind: 'generate', inputs: { tokens: 'second.tokens' } },
    },
    { question: '$.text', verdict: 'judge.text', loud: 'loud.text' },
  );
  const { answer, main, all } = chainsOf(plan);
  assert.is(answer, 'verdict');
  assert.equal(main, { completion: 'judge.text', tokens: 'second.tokens' });
  assert.equal(all[0], { completion: 'describe.text', tokens: 'first.tokens', pixels: 'look.pixels' });
});

test('outputs that people read, and plans without any completion', () => {
  const plan = two({ a: 'name.text' });
  const outputs = { p: { ref: { from: 'node', node: 'look', port: 'pixels' }, kind: 'pixels' } } as const;
  assert.equal(textOutputs({ ...plan, outputs: { ...outputs, ...plan.outputs } }), ['a']);
  const bare = fakePlan({ look: { kind: 'pixels' } }, {});
  assert.equal(chainsOf({ ...bare, outputs }), { main: { pixels: 'look.pixels' }, all: [] });
});

test.run();
