import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ERROR_CODES } from '../../src/contracts/errors.js';
import { DIAGNOSTIC_CODES } from '../../src/contracts/recipe.js';
import { packageRoot } from '../../src/util/package-root.js';

const text = readFileSync(join(packageRoot(), 'docs', 'errors.md'), 'utf8');
const rows = [...text.matchAll(/^\| `([A-Z_]+)` \|(?: (\d+) \|)?/gm)].map((m) => ({ code: m[1] ?? '', exit: m[2] }));

test('docs/errors.md lists every error code with its exit code, and no other', () => {
  const documented = rows.filter((r) => r.exit !== undefined);
  assert.equal(
    Object.fromEntries(documented.map((r) => [r.code, Number(r.exit)])),
    Object.fromEntries(Object.entries(ERROR_CODES)),
  );
});

test('docs/errors.md lists every diagnostic code, and no other', () => {
  const documented = rows.filter((r) => r.exit === undefined).map((r) => r.code);
  assert.equal([...documented].sort(), [...DIAGNOSTIC_CODES].sort());
});

test('something raises every code', () => {
  const src = join(packageRoot(), 'src');
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && !file.startsWith('contracts'),
  );
  assert.ok(files.length > 200, `only ${files.length} files`);
  const code = files.map((file) => readFileSync(join(src, file), 'utf8')).join('\n');
  const codes = [...Object.keys(ERROR_CODES), ...DIAGNOSTIC_CODES];
  assert.equal(
    codes.filter((name) => !code.includes(`'${name}'`)),
    [],
  );
});

test.run();
