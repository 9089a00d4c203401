import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { reportModel } from '../../src/model/report.js';
import { packageRoot } from '../../src/util/package-root.js';

const golden = join(packageRoot(), 'test', 'golden');
const root = mkdtempSync(join(tmpdir(), 'vlm-report-'));
process.once('exit', () => rmSync(root, { recursive: true, force: true }));

/** A whole model folder without one file. */
function without(file: string): string {
  const folder = join(root, `without-${file}`);
  cpSync(join(golden, 'llama4-tiny'), folder, { recursive: true });
  rmSync(join(folder, file));
  return folder;
}

test('each file that a run needs is named when it alone is missing', async () => {
  assert.equal((await reportModel({ path: join(golden, 'llama4-tiny') })).missing, []);
  for (const file of [
    'tokenizer.json',
    'tokenizer_config.json',
    'chat_template.jinja',
    'vision.onnx',
    'language.onnx',
  ]) {
    const { missing, problem } = await reportModel({ path: without(file) });
    assert.equal(
      missing.map((m) => m.file),
      [file],
    );
    assert.is(problem, undefined, file);
  }
  const unprepared = await reportModel({ path: without('preprocessor_config.json') });
  assert.match(unprepared.problem?.hint ?? '', 'preprocessor_config.json');
});

test('a family that writes its prompts itself misses no template', async () => {
  const { missing } = await reportModel({ path: join(golden, 'text', 'internvl-chat-internvl2_5') });
  assert.not.ok(missing.some((m) => m.file === 'chat_template.jinja'));
});

test.run();
