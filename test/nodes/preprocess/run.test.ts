import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../../src/contracts/errors.js';
import type { FamilyModel } from '../../../src/contracts/family.js';
import type { ChatMessage, ItemResult, ModelContext, NodeContext, NodeInputs } from '../../../src/contracts/node.js';
import type { ImageValue, PixelsValue, TokensValue } from '../../../src/contracts/ports.js';
import { openModel } from '../../../src/model/context.js';
import { run } from '../../../src/nodes/preprocess/run.js';
import { packageRoot } from '../../../src/util/package-root.js';
import { rejectionOf } from '../../text/helpers.js';

const golden = join(packageRoot(), 'test', 'golden', 'text');
const shapes = await openModel({ path: join(packageRoot(), 'models', 'shapes-internvl') });
const chat = await openModel({ path: join(golden, 'internvl-chat-internvl2_5') });

interface Seen {
  readonly context: NodeContext;
  readonly spans: string[];
}

function contextOf(
  model: ModelContext,
  options: Record<string, unknown> = {},
  check: () => void = () => undefined,
): Seen {
  const spans: string[] = [];
  const unused = () => assert.unreachable('not for a host node');
  return {
    spans,
    context: {
      node: 'preprocess',
      options: { exif_orientation: true, max_pixels: 100_000_000, ...options },
      model: async () => model,
      program: async () => unused() as never,
      span: (stage, start, end = performance.now()) => {
        assert.ok(end >= start);
        spans.push(stage);
      },
      emitText: unused,
      progress: () => undefined,
      checkCancelled: check,
    },
  };
}

async function one(item: NodeInputs, model = shapes, options: Record<string, unknown> = {}) {
  const [result] = await run([item], contextOf(model, options).context);
  return outputs(result);
}

function outputs(result: ItemResult | undefined): { readonly pixels: PixelsValue; readonly tokens: TokensValue } {
  assert.ok(result?.ok === true, result?.ok === false ? result.error.what : 'no result');
  const { pixels, tokens } = (result as ItemResult & { readonly ok: true }).outputs;
  return { pixels: pixels as PixelsValue, tokens: tokens as TokensValue };
}

const prompt = (text: string) => ({ kind: 'text', text }) as const;
const imageOf = (bytes: Uint8Array, name = 'x.png'): ImageValue => ({ kind: 'image', bytes, name });
async function plain(width: number, height: number, background: string): Promise<ImageValue> {
  return imageOf(
    await sharp({ create: { width, height, channels: 3, background } })
      .png()
      .toBuffer(),
    background,
  );
}

interface PixelCase {
  readonly size: readonly [number, number];
  readonly png: string;
  readonly hf: { readonly dims: number[]; readonly sha256: string };
  readonly chat: { readonly dims: number[]; readonly sha256: string };
}
const pixelCases: readonly PixelCase[] = JSON.parse(readFileSync(join(golden, 'pixels.json'), 'utf8')).cases;

function checkPixels(pixels: PixelsValue, expected: PixelCase['hf'], label: string): void {
  assert.equal(pixels.tensor?.dims, expected.dims, label);
  const { buffer, byteOffset, byteLength } = pixels.tensor!.data;
  assert.is(
    createHash('sha256')
      .update(new Uint8Array(buffer, byteOffset, byteLength))
      .digest('hex'),
    expected.sha256,
    label,
  );
}

/** The family as `GotOcr2ImageProcessorPil` would make it: Pillow's resizing, rescaling before normalising. */
function pillowBacked(family: FamilyModel): FamilyModel {
  return {
    ...family,
    normalization: { ...family.normalization, arithmetic: 'rescale-then-normalize' },
    layout: (width, height, options) => {
      const layout = family.layout(width, height, options);
      const views = layout.views.map((view) => ({
        ...view,
        resize: { ...view.resize, arithmetic: 'pillow' as const },
      }));
      return { ...layout, views };
    },
  };
}

test('pixels have every bit of the Pillow-backed processor of transformers', async () => {
  const model = { ...shapes, text: shapes.text, family: pillowBacked(shapes.family) };
  for (const { size, png, hf } of pixelCases) {
    const { pixels } = await one({ image: imageOf(Buffer.from(png, 'base64')), prompt: prompt('x') }, model);
    checkPixels(pixels, hf, size.join('x'));
  }
});

test('pixels of the OpenGVLab layout have every bit of its published code', async () => {
  for (const { size, png, chat: expected } of pixelCases) {
    const { pixels } = await one({ image: imageOf(Buffer.from(png, 'base64')), prompt: prompt('x') }, chat);
    checkPixels(pixels, expected, size.join('x'));
  }
});

test('the demonstration model’s own backend differs by rounding only', async () => {
  const { png } = pixelCases[1]!;
  const { pixels } = await one({ image: imageOf(Buffer.from(png, 'base64')), prompt: prompt('x') });
  const normalization = { ...shapes.family.normalization, arithmetic: 'rescale-then-normalize' } as const;
  const model = { ...shapes, text: shapes.text, family: { ...shapes.family, normalization } };
  const exact = await one({ image: imageOf(Buffer.from(png, 'base64')), prompt: prompt('x') }, model);
  const other = exact.pixels.tensor!.data;
  assert.ok(pixels.tensor!.data.every((value, i) => Math.abs(value - other[i]!) < 1e-6));
});

test('one image and a prompt: tokens, image facts and spans', async () => {
  const seen = contextOf(shapes);
  const [result] = await run([{ image: await plain(300, 200, 'red'), prompt: prompt('How many?') }], seen.context);
  const { pixels, tokens } = outputs(result);
  assert.equal(pixels.images, [{ name: 'red', width: 300, height: 200, grid: [2, 2], tiles: 5, visionTokens: 80 }]);
  assert.is(tokens.visionTokens, 80);
  assert.is(tokens.imageTokenId, shapes.text.tokenId('<IMG_CONTEXT>'));
  assert.is(tokens.ids.filter((id) => id === tokens.imageTokenId).length, 80);
  assert.match(tokens.text, /How many\?<\|im_end\|>\n<\|im_start\|>assistant\n$/);
  for (const stage of ['image decode', 'preprocess']) assert.ok(seen.spans.includes(stage), stage);
});

test('a prompt without image has no pixels', async () => {
  const { pixels, tokens } = await one({ prompt: prompt('Hello') });
  assert.is(pixels.tensor, null);
  assert.equal(pixels.images, []);
  assert.is(tokens.visionTokens, 0);
});

test('several images keep their order, in the tensor as in the prompt', async () => {
  const images = [await plain(112, 112, 'red'), await plain(112, 112, 'blue')];
  const forward = await one({ image: images, prompt: prompt('Compare') });
  assert.equal(
    forward.pixels.images.map((i) => i.name),
    ['red', 'blue'],
  );
  assert.equal(forward.pixels.tensor?.dims, [2, 3, 112, 112]);
  const messages: readonly ChatMessage[] = [
    {
      role: 'user',
      content: [
        { type: 'image', image: 1 },
        { type: 'image', image: 0 },
        { type: 'text', text: 'Compare' },
      ],
    },
  ];
  const backward = await one({ messages: { kind: 'messages', messages, images } });
  assert.equal(
    backward.pixels.images.map((i) => i.name),
    ['blue', 'red'],
  );
  const half = 3 * 112 * 112;
  const data = forward.pixels.tensor!.data;
  assert.equal(backward.pixels.tensor!.data.subarray(0, half), data.subarray(half));
  assert.equal(backward.pixels.tensor!.data.subarray(half), data.subarray(0, half));
  assert.equal(backward.tokens.ids, forward.tokens.ids);
});

test('an image shown twice is there twice', async () => {
  const messages: readonly ChatMessage[] = [
    {
      role: 'user',
      content: [
        { type: 'image', image: 0 },
        { type: 'text', text: 'a' },
      ],
    },
    { role: 'assistant', content: 'b' },
    {
      role: 'user',
      content: [
        { type: 'image', image: 0 },
        { type: 'text', text: 'c' },
      ],
    },
  ];
  const { pixels, tokens } = await one({
    messages: { kind: 'messages', messages, images: [await plain(50, 50, 'red')] },
  });
  assert.is(pixels.tensor?.dims[0], 2);
  assert.is(tokens.visionTokens, 32);
});

test('images beside a conversation of words go before its first question', async () => {
  const messages: readonly ChatMessage[] = [{ role: 'user', content: 'What is it?' }];
  const image = await plain(60, 60, 'red');
  const beside = await one({ messages: { kind: 'messages', messages, images: [] }, image });
  const direct = await one({ prompt: prompt('What is it?'), image });
  assert.equal(beside.tokens.ids, direct.tokens.ids);
  const carried = await one({ messages: { kind: 'messages', messages, images: [image] } });
  assert.equal(carried.tokens.ids, direct.tokens.ids);
});

test('options: fewer tiles, a system message of one’s own, none', async () => {
  const item = { image: await plain(300, 200, 'red'), prompt: prompt('x') };
  assert.is((await one(item, shapes, { max_tiles: 1 })).pixels.tensor?.dims[0], 1);
  assert.is((await one(item, shapes, { use_thumbnail: false })).pixels.tensor?.dims[0], 4);
  const own = await one(item, shapes, { system: 'Be brief.' });
  assert.match(own.tokens.text, /^<\|im_start\|>system\nBe brief\.<\|im_end\|>\n<\|im_start\|>user\n/);
  const none = await one(item, shapes, { system: '' });
  assert.match(none.tokens.text, /^<\|im_start\|>system\n<\|im_end\|>\n<\|im_start\|>user\n/);
  const hf = await openModel({ path: join(golden, 'internvl-hf') });
  assert.match((await one(item, hf, { system: '' })).tokens.text, /^<\|im_start\|>user\n/);
  assert.match(
    (await one(item, chat, { system: 'Be brief.' })).tokens.text,
    /^<\|im_start\|>system\nBe brief\.<\|im_end\|>\n/,
  );
});

test('EXIF orientation turns the image unless the recipe says not to', async () => {
  const source = sharp({ create: { width: 400, height: 100, channels: 3, background: 'red' } });
  const image = imageOf(await source.withMetadata({ orientation: 6 }).jpeg().toBuffer(), 'turned.jpg');
  const sizeOf = async (exif: boolean) => {
    const { pixels } = await one({ image, prompt: prompt('x') }, shapes, { exif_orientation: exif });
    return [pixels.images[0]!.width, pixels.images[0]!.height];
  };
  assert.equal(await sizeOf(true), [100, 400]);
  assert.equal(await sizeOf(false), [400, 100]);
});

test('an item whose input is unusable fails alone, with its code', async () => {
  const good = { image: await plain(50, 50, 'red'), prompt: prompt('x') };
  const part = (content: ChatMessage['content']) => ({
    messages: { kind: 'messages' as const, messages: [{ role: 'user', content }], images: [good.image] },
  });
  const items: readonly (readonly [NodeInputs, string])[] = [
    [{ ...good, image: imageOf(Buffer.from('no picture')) }, 'IMAGE_UNSUPPORTED'],
    [{ ...good, image: imageOf(good.image.bytes.subarray(0, 60)) }, 'IMAGE_UNREADABLE'],
    [{ ...good, image: await plain(400, 400, 'red') }, 'IMAGE_TOO_LARGE'],
    [{ image: good.image }, 'INPUT_MISSING'],
    [{ ...good, prompt: prompt('what is <IMG_CONTEXT>?') }, 'IMAGE_TOKENS_MISMATCH'],
    [part([{ type: 'image', image: 3 }]), 'IMAGE_TOKENS_MISMATCH'],
    [part([{ type: 'image' }, { type: 'image' }]), 'IMAGE_TOKENS_MISMATCH'],
  ];
  const all = [...items.map(([item]) => item), good];
  const results = await run(all, contextOf(shapes, { max_pixels: 100_000 }).context);
  assert.is(results.length, all.length);
  for (const [i, [, code]] of items.entries()) {
    const result = results[i]!;
    assert.not.ok(result.ok);
    assert.is(result.ok ? '' : result.error.code, code);
  }
  assert.ok(results.at(-1)!.ok);
});

test('a broken model and a cancelled run end the node', async () => {
  const item = { image: await plain(50, 50, 'red'), prompt: prompt('x') };
  const broken = new VlmError('TOKENIZER_INVALID', { what: 'broken' });
  const seen = contextOf(shapes);
  const failing: NodeContext = { ...seen.context, model: () => Promise.reject(broken) };
  assert.is((await rejectionOf(() => run([item], failing))).code, 'TOKENIZER_INVALID');
  const cancelled = contextOf(shapes, {}, () => {
    throw new VlmError('CANCELLED', { what: 'cancelled' });
  });
  assert.is((await rejectionOf(() => run([item], cancelled.context))).code, 'CANCELLED');
});

test.run();
