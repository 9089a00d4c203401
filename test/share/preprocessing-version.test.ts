// Locks hold the version of preprocessing. These digests say when pixels changed, not whether they are right (that is
// for the goldens): a change here goes together with a raised PREPROCESSING_VERSION.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ModelContext, NodeOutputs } from '../../src/contracts/node.js';
import type { PixelsValue } from '../../src/contracts/ports.js';
import { PREPROCESSING_VERSION } from '../../src/image/preprocessing-version.js';
import { openModel } from '../../src/model/context.js';
import { run } from '../../src/nodes/preprocess/run.js';
import { packageRoot } from '../../src/util/package-root.js';

const VERSIONS: Readonly<Record<number, Readonly<Record<string, string>>>> = {
  1: {
    'test/golden/text/internvl-hf': '3900a78b9df74ea77451182adc0890a9',
    'test/golden/text/internvl-chat-internvl2_5': 'a64ed505feb63a1655cdb4ac6c10bc6e',
  },
  // Other pixels in rare TIFF and GIF files only: none of those below.
  2: {
    'test/golden/text/internvl-hf': '3900a78b9df74ea77451182adc0890a9',
    'test/golden/text/internvl-chat-internvl2_5': 'a64ed505feb63a1655cdb4ac6c10bc6e',
  },
};

const SOURCES = [
  'exif-6.jpg',
  'cmyk.jpg',
  'grey-16bit.png',
  'palette-trns.png',
  'icc-p3.png',
  'lossy-alpha.webp',
  'part.gif',
  'rgba.tif',
  'thin-wide.png',
  'panorama.jpg',
  'large.jpg',
  'px1.png',
];
const root = packageRoot();

async function pixelsOf(model: ModelContext): Promise<string> {
  const hash = createHash('sha256');
  for (const name of SOURCES) {
    const bytes = new Uint8Array(readFileSync(join(root, 'test', 'golden', 'images', 'sources', name)));
    const item = { image: { kind: 'image', bytes, name } as const, prompt: { kind: 'text', text: 'x' } as const };
    const [result] = await run([item], {
      node: 'preprocess',
      options: { exif_orientation: true, max_pixels: 100_000_000, max_tiles: 6 },
      model: async () => model,
      program: async () => assert.unreachable() as never,
      span: () => undefined,
      emitText: () => undefined,
      progress: () => undefined,
      checkCancelled: () => undefined,
    });
    assert.ok(result?.ok === true, name);
    const { tensor } = (result as { readonly outputs: NodeOutputs }).outputs['pixels'] as PixelsValue;
    assert.ok(tensor !== null);
    hash
      .update(tensor.dims.join('x'))
      .update(new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength));
  }
  return hash.digest('hex').slice(0, 32);
}

test('pixels are those of this version of preprocessing', async () => {
  const known = VERSIONS[PREPROCESSING_VERSION];
  assert.ok(known !== undefined, `note the digests of version ${PREPROCESSING_VERSION} here`);
  for (const [folder, digest] of Object.entries(known ?? {})) {
    const here = await pixelsOf(await openModel({ path: join(root, folder) }));
    assert.is(here, digest, `${folder}: pixels changed, so raise PREPROCESSING_VERSION and note their digests here`);
  }
});

test.run();
