// Asks the demonstration model several questions about one picture. Run it with: node docs/examples/library/ask.mjs
import { fileURLToPath } from 'node:url';
import { plan, run } from 'vlm-run';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const recipe = at('../../../pipelines/internvl.yaml');
const image = at('../../../examples/scene.png');
const questions = ['How many shapes are there?', 'Where is the red circle?'];

// Tiles, tokens and memory, before anything is opened.
const shapes = await plan(recipe, { inputs: { image, prompt: questions[0] } });
console.log(`${shapes.tiles} tiles, ${shapes.promptTokens} prompt tokens`);

// One item a question, decoded together; an item that fails does not stop the others.
const { items } = await run(recipe, {
  set: ['nodes.decode.with.batch_size=2'],
  items: questions.map((prompt) => ({ image, prompt })),
});
for (const [i, item] of items.entries()) {
  console.log(`${questions[i]} ${item.ok ? item.text : `failed: ${item.error.what}`}`);
  for (const { label, box } of item.outputs?.answer.boxes ?? []) console.log(`  ${label} at ${box.join(', ')}`);
}
