/** Every conversation template against the published conversation.py itself (tools/reference/internvl_conversation.py). */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ChatMessage } from '../../../src/contracts/node.js';
import { CONVERSATIONS } from '../../../src/families/internvl/conversation.js';
import { openModel } from '../../../src/model/context.js';
import { preparePrompt } from '../../../src/prompt/prepare.js';
import { packageRoot } from '../../../src/util/package-root.js';

interface Case {
  readonly name: string;
  readonly messages: readonly ChatMessage[];
  readonly sizes: readonly (readonly [number, number])[];
  readonly rendered: string;
  readonly ids: readonly (number | readonly [number, number])[];
}
interface Template {
  readonly template: string;
  readonly tokenizer: string;
  readonly end: string;
  readonly cases: readonly Case[];
}

const test = suite('conversation templates');
const texts = join(packageRoot(), 'test', 'golden', 'text');
const { templates }: { templates: readonly Template[] } = JSON.parse(
  readFileSync(join(texts, 'internvl-conversation.json'), 'utf8'),
);
const dir = mkdtempSync(join(tmpdir(), 'vlm-conversation-'));
test.after(() => rmSync(dir, { recursive: true, force: true }));
/** The id that the end token has here: which of the tokenizer's files says so is what is tried. */
const END_ID = 92542;

/** The configuration of a model that names this template, with the tokenizer that the goldens were made with. */
function folderOf({ template, tokenizer, end }: Template): string {
  const folder = join(dir, template);
  cpSync(join(texts, 'internvl-chat-phi3-chat'), folder, { recursive: true });
  cpSync(join(texts, tokenizer, 'tokenizer.json'), join(folder, 'tokenizer.json'));
  const edit = (name: string, change: Record<string, unknown>): void => {
    const file = join(folder, name);
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...change }));
  };
  edit('config.json', { template });
  edit('tokenizer_config.json', {
    ...(tokenizer === 'llama2' ? {} : { bos_token: null }),
    added_tokens_decoder: { [END_ID]: { content: end, special: true } },
  });
  return folder;
}

test('every template that is known has goldens', () => {
  assert.equal(templates.map((t) => t.template).sort(), Object.keys(CONVERSATIONS).sort());
});

for (const golden of templates) {
  test(`${golden.template}: ${golden.cases.length} conversations as the published module writes them`, async () => {
    const model = await openModel({ path: folderOf(golden) });
    assert.equal(model.family.eosTokenIds, [END_ID]);
    assert.ok(golden.cases.length >= 14);
    for (const { name, messages, sizes, rendered, ids } of golden.cases) {
      const { prompt } = preparePrompt(model, {
        messages,
        sizes: sizes.map(([width, height]) => ({ width, height })),
      });
      assert.is(prompt.text.replace(/<img>(<IMG_CONTEXT>)+<\/img>/g, '<image>'), rendered, name);
      const expected = ids.flatMap((run) => (typeof run === 'number' ? [run] : Array<number>(run[1]).fill(run[0])));
      assert.ok(prompt.ids.join() === expected.join(), `${name}: token ids differ`);
    }
  });
}

test.run();
