/** A card runtime compiled for a test run, and programs for it. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeIoDesc, type IoBinding } from '../../../src/devices/ai100/io-desc.js';
import { packageRoot } from '../../../src/util/package-root.js';

export const compiler = process.env.CXX ?? 'c++';

/** Why there is nothing to test the binding with, or null. */
export function lacking(): string | null {
  if (process.platform !== 'linux') return 'the card runtime is for Linux';
  return spawnSync(compiler, ['--version']).status === 0 ? null : `no C++ compiler (${compiler})`;
}

export function folder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'vlm-ai100-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Builds the fake runtime; `without`: a function to leave out. */
export function buildRuntime(into: string, without?: string): string {
  const source = join(packageRoot(), 'test/fixtures/ai100/fake_runtime.cc');
  const output = join(into, `fake-${without ?? 'whole'}.so`);
  const left = without === undefined ? [] : [`-D${without}=${without}_left_out`];
  execFileSync(compiler, ['-std=c++17', '-O1', '-shared', '-fPIC', ...left, source, '-o', output]);
  return output;
}

const binding = (index: number, name: string, out: boolean, type: number, dims: readonly number[]): IoBinding => ({
  name,
  index,
  direction: out ? 'out' : 'in',
  type,
  dims,
  size: dims.reduce((n, d) => n * d, type === 7 ? 8 : type === 1 ? 2 : 4),
  partial: false,
  quantScale: 0,
  quantOffset: 0,
});

function write(
  file: string,
  bindings: readonly IoBinding[],
  sets: readonly (readonly (readonly number[])[])[],
): string {
  const bytes = encodeIoDesc({
    programName: 'fake',
    sets: [{ name: 'default', bindings }],
    selected: 'default',
    bindings,
    allowedShapes: sets.map((dims) => dims.map((d, j) => ({ type: bindings[j]?.type ?? 0, dims: d }))),
  });
  writeFileSync(file, bytes);
  return file;
}

/** pixel_values [T, 4] f16 -> vision_embeds [T, 4] f16, T 2 or 3. */
export function visionProgram(file: string): string {
  const bindings = [binding(0, 'pixel_values', false, 1, [3, 4]), binding(1, 'x/vision_embeds', true, 1, [3, 4])];
  return write(file, bindings, [
    [
      [2, 4],
      [2, 4],
    ],
    [
      [3, 4],
      [3, 4],
    ],
  ]);
}

/** A language program whose logits are the words of its ids. */
export function languageProgram(file: string, caches = 2): string {
  const cache = [1, 1, 32, 8];
  const bindings: IoBinding[] = [
    binding(0, 'input_ids', false, 7, [1, 8]),
    binding(1, 'position_ids', false, 7, [1, 8]),
  ];
  for (let i = 0; i < caches; i++) {
    bindings.push(binding(bindings.length, `past_key.${i}`, false, 1, cache));
    bindings.push(binding(bindings.length, `past_key.${i}_InternalRetainedState`, true, 1, cache));
  }
  bindings.push(binding(bindings.length, 'logits', true, 0, [1, 1, 6]));
  const shapes = (seq: number): number[][] => [
    [1, seq],
    [1, seq],
    ...Array.from({ length: 2 * caches }, () => cache),
    [1, 1, 6],
  ];
  return write(file, bindings, [shapes(8), shapes(1)]);
}
