import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Compilation, Diagnostic } from '../../src/contracts/recipe.js';
import { DEVICE_MANIFESTS } from '../../src/devices/manifests.js';
import { NODE_MANIFESTS } from '../../src/nodes/manifests.js';
import { type CompileTextOptions, compileText, type Registry } from '../../src/recipe/index.js';

export const REGISTRY: Registry = { nodes: NODE_MANIFESTS, devices: DEVICE_MANIFESTS };

export const BASE = `version: 1
name: test
model: { path: m }
inputs:
  image: { type: image }
  prompt: { type: text }
devices:
  main: { kind: cpu }
nodes:
  pre: { kind: preprocess, inputs: { image: $inputs.image, prompt: $inputs.prompt } }
  enc: { kind: encode, device: main, inputs: { pixels: $pre.pixels } }
  dec: { kind: decode, device: main, inputs: { tokens: $pre.tokens, vision: $enc.embeddings } }
  out: { kind: fuse, inputs: { text: $dec.text, image: $inputs.image } }
outputs: { answer: $out.answer }
`;

/** The valid recipe with some parts changed; a part that is not there is a mistake of the test. */
export function recipe(...changes: readonly (readonly [string, string])[]): string {
  return changes.reduce((text, [from, to]) => {
    assert.ok(text.includes(from), `the recipe has no ${JSON.stringify(from)}`);
    return text.replace(from, () => to);
  }, BASE);
}

/** Takes the marks § out of a text; each is the place where a diagnostic is expected. */
export function marked(text: string): { readonly text: string; readonly places: readonly string[] } {
  const places: string[] = [];
  let line = 1;
  let column = 1;
  let clean = '';
  for (const char of text) {
    if (char === '§') {
      places.push(`${line}:${column}`);
      continue;
    }
    clean += char;
    if (char === '\n') {
      line++;
      column = 1;
    } else column += char.length;
  }
  return { text: clean, places };
}

export type Options = Partial<CompileTextOptions>;

export const run = (text: string, options: Options = {}): Promise<Compilation> =>
  compileText(text, { registry: REGISTRY, file: 'test.yaml', ...options });

export const brief = (d: Diagnostic): string => `${d.code} ${d.location?.line}:${d.location?.column}`;

/** Exactly these diagnostics, in the order of the text, each at its mark. Returns them for more to assert. */
export async function expectAt(
  text: string,
  codes: readonly string[],
  options: Options = {},
): Promise<readonly Diagnostic[]> {
  const { text: clean, places } = marked(text);
  assert.is(places.length, codes.length, 'as many marks as codes');
  const { plan, diagnostics } = await run(clean, options);
  assert.equal(
    diagnostics.map(brief),
    codes.map((code, i) => `${code} ${places[i]}`),
    JSON.stringify(diagnostics, null, 1),
  );
  for (const d of diagnostics) {
    const lines = clean.split('\n');
    assert.is(d.excerpt, lines[(d.location?.line ?? 0) - 1]?.replace(/\r$/, ''), 'the excerpt is the line');
    assert.ok((d.location?.endColumn ?? 0) > (d.location?.column ?? 0), 'the range is not empty');
    assert.is(d.severity, d.code.startsWith('W_') ? 'warning' : 'error');
  }
  assert.is(
    plan === null,
    codes.some((c) => c.startsWith('E_')),
    'a plan when there is no error',
  );
  return diagnostics;
}

/** A folder with these files, removed afterwards. */
export async function withFiles<T>(
  files: Readonly<Record<string, string | Uint8Array>>,
  use: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'vlm-recipe-'));
  try {
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(join(folder, name)), { recursive: true });
      await writeFile(join(folder, name), content);
    }
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
