import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DEVICE_MANIFESTS } from '../../src/devices/manifests.js';
import { NODE_MANIFESTS } from '../../src/nodes/manifests.js';
import { packageRoot } from '../../src/util/package-root.js';

function folders(...parts: string[]): string[] {
  const dir = join(packageRoot(), 'src', ...parts);
  return readdirSync(dir, { withFileTypes: true })
    .filter((e) => e.isDirectory() && existsSync(join(dir, e.name, 'manifest.ts')))
    .map((e) => e.name)
    .sort();
}

test('every node folder is registered under its own name, and has a run module', () => {
  const names = folders('nodes');
  assert.ok(names.length >= 4);
  assert.equal(NODE_MANIFESTS.map((m) => m.kind).sort(), names);
  for (const n of names) assert.ok(existsSync(join(packageRoot(), 'src', 'nodes', n, 'run.ts')), n);
});

test('every device folder is registered under its own name', () => {
  const names = folders('devices');
  assert.ok(names.length >= 2);
  assert.equal(DEVICE_MANIFESTS.map((m) => m.kind).sort(), names);
});

test('every port and option is described, and every option has an example', () => {
  for (const m of NODE_MANIFESTS) {
    for (const [name, port] of [...Object.entries(m.inputs), ...Object.entries(m.outputs)])
      assert.ok(port.description.length > 10, `${m.kind}.${name}`);
    for (const [name, option] of Object.entries(m.options)) {
      assert.ok(option.description.length > 10, `${m.kind}.with.${name}`);
      assert.ok((option.examples?.length ?? 0) > 0, `${m.kind}.with.${name} has no example`);
    }
  }
  for (const m of DEVICE_MANIFESTS)
    for (const [name, option] of Object.entries(m.options))
      assert.ok(option.description.length > 10 && (option.examples?.length ?? 0) > 0, `${m.kind}.${name}`);
});

test('manifests are plain data: they survive JSON unchanged', () => {
  for (const m of [...NODE_MANIFESTS, ...DEVICE_MANIFESTS]) assert.equal(JSON.parse(JSON.stringify(m)), m);
});

test.run();
