import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Diagnostic } from '../../src/contracts/recipe.js';
import { formatDiagnostics } from '../../src/recipe/index.js';
import { recipe, run } from './helpers.js';

const one = (excerpt: string, column: number, endColumn: number, more: Partial<Diagnostic> = {}): Diagnostic => ({
  severity: 'error',
  code: 'E_VALUE',
  message: 'wrong',
  path: 'x',
  location: { file: 'a.yaml', line: 7, column, endColumn },
  excerpt,
  ...more,
});

test('what, where, the line with a caret, the hint, a count', async () => {
  const { diagnostics } = await run(
    recipe(['kind: cpu', 'kind: cpuu'], ['inputs:\n', 'inputs:\n  spare: { type: text }\n']),
  );
  assert.is(
    formatDiagnostics(diagnostics, { color: false }),
    `warning[W_UNUSED_INPUT]: nothing uses the input "spare"
 --> test.yaml:5:3
  |
5 |   spare: { type: text }
  |   ^^^^^
  = help: refer to it as $inputs.spare, or remove it

error[E_UNKNOWN_DEVICE_KIND]: unknown device kind "cpuu"
 --> test.yaml:9:17
  |
9 |   main: { kind: cpuu }
  |                 ^^^^
  = help: did you mean "cpu"?

1 error, 1 warning
`,
  );
});

test('no diagnostics, no text', () => {
  assert.is(formatDiagnostics([], { color: true }), '');
});

test('colours only when asked', () => {
  const d = [one('a: b', 4, 5)];
  assert.match(formatDiagnostics(d, { color: true }), '\u001b[1;31m');
  assert.not.match(formatDiagnostics(d, { color: false }), '\u001b');
});

test('the caret stands under wide characters, tabs and emoji', () => {
  const caretOf = (text: string): number =>
    formatDiagnostics([one(text, text.indexOf('X') + 1, text.indexOf('X') + 2)], { color: false })
      .split('\n')[4]
      ?.indexOf('^') ?? -1;
  const plain = caretOf('abX');
  assert.is(caretOf('\tbX'), plain, 'a tab is shown as one blank');
  assert.is(caretOf('猫X'), plain, 'two columns');
  assert.is(caretOf('\u{1F600}X'), plain, 'two columns, two units');
  assert.is(caretOf('ae\u0301X'), plain, 'a combining mark takes none');
});

test('nothing in a recipe steers the terminal', () => {
  const text = formatDiagnostics(
    [one('name: \u001b[2J\u202evil', 7, 9, { message: 'bad \u001b]0;x\u0007', hint: '\u009b1m' })],
    {
      color: false,
    },
  );
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  assert.not.match(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
});

test('long lines are cut around the caret', () => {
  const excerpt = `${'a'.repeat(500)}HERE${'b'.repeat(500)}`;
  const lines = formatDiagnostics([one(excerpt, 501, 505)], { color: false, width: 60 }).split('\n');
  const [shown = '', caret = ''] = [lines[3], lines[4]];
  assert.ok(shown.length < 75);
  const at = caret.indexOf('^');
  assert.is(shown.slice(at, at + 4), 'HERE');
  assert.match(caret, /^ {2}\| +\^{4}$/);
});

test('places without an excerpt, and none at all', () => {
  const text = formatDiagnostics([{ severity: 'error', code: 'E_READ', message: 'no such file', path: '' }], {
    color: false,
  });
  assert.is(text, 'error[E_READ]: no such file\n\n1 error\n');
});

test.run();
