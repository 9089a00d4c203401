import { join } from 'node:path';
import sharp from 'sharp';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ChatMessage, ContentPart, ItemResult, NodeContext, NodeInputs } from '../../../src/contracts/node.js';
import type { AnswerValue, CompletionValue, ImageValue, MessagesValue } from '../../../src/contracts/ports.js';
import { openModel } from '../../../src/model/context.js';
import { run } from '../../../src/nodes/fuse/run.js';
import { packageRoot } from '../../../src/util/package-root.js';

const folder = join(packageRoot(), 'test', 'golden', 'text', 'internvl-chat-internvl2_5');

function context(options: Record<string, unknown> = {}): NodeContext {
  const unused = () => assert.unreachable('not for fuse');
  return {
    node: 'fuse',
    options: { overlay: 'none', exif_orientation: true, ...options },
    model: () => openModel({ path: folder }),
    program: async () => unused() as never,
    span: () => undefined,
    emitText: unused,
    progress: () => undefined,
    checkCancelled: () => undefined,
  };
}

function completion(text: string, rawText = text): CompletionValue {
  return {
    kind: 'completion',
    text,
    rawText,
    ids: new Int32Array(),
    finish: 'eos',
    promptTokens: 1,
    prefillMs: 0,
    decodeMs: 0,
    firstTokenAt: 0,
    prefillChunks: [1],
  };
}

async function picture(width: number, height: number, orientation = 1): Promise<ImageValue> {
  const image = sharp({ create: { width, height, channels: 3, background: 'white' } });
  return { kind: 'image', name: 'x.jpg', bytes: await image.withMetadata({ orientation }).jpeg().toBuffer() };
}

function answerOf(result: ItemResult | undefined): AnswerValue {
  assert.ok(result?.ok === true, result?.ok === false ? result.error.what : 'no result');
  return (result as ItemResult & { readonly ok: true }).outputs['answer'] as AnswerValue;
}

async function fuse(item: NodeInputs, options: Record<string, unknown> = {}): Promise<AnswerValue> {
  return answerOf((await run([item], context(options)))[0]);
}

const GROUNDED = '<ref>red circle</ref><box>[[100, 200, 500, 1000]]</box>';

test('boxes are pixels of the upright image', async () => {
  const answer = await fuse({ text: completion(GROUNDED), image: await picture(200, 100) });
  assert.equal(answer.boxes[0]!.box, [20, 20, 100, 100]);
  assert.is(answer.text, 'red circle');
  assert.is(answer.finish, 'eos');
  const turned = await picture(100, 200, 6);
  assert.equal((await fuse({ text: completion(GROUNDED), image: turned })).boxes[0]!.box, [20, 20, 100, 100]);
  const raw = await fuse({ text: completion(GROUNDED), image: turned }, { exif_orientation: false });
  assert.equal(raw.boxes[0]!.box, [10, 40, 50, 200]);
});

test('boxes refer to the image that the option names', async () => {
  const image = [await picture(200, 100), await picture(1000, 500)];
  const first = await fuse({ text: completion(GROUNDED), image });
  assert.equal([first.boxes[0]!.image, first.boxes[0]!.box], [0, [20, 20, 100, 100]]);
  const second = await fuse({ text: completion(GROUNDED), image }, { image: 2, overlay: 'png' });
  assert.equal([second.boxes[0]!.image, second.boxes[0]!.box], [1, [100, 100, 500, 500]]);
  const { width, height } = await sharp(second.overlay!.bytes).metadata();
  assert.equal([width, height], [1000, 500]);
  // The box is drawn into the second picture: it is not plain white any more.
  const { channels } = await sharp(second.overlay!.bytes).stats();
  assert.ok(channels.slice(0, 3).some((channel) => channel.min < 128));
  const [failed] = await run([{ text: completion(GROUNDED), image }], context({ image: 3 }));
  assert.is(failed?.ok === false ? failed.error.code : 'ok', 'OPTION_INVALID');
  const alone = await fuse({ text: { kind: 'text', text: GROUNDED } }, { image: 2 });
  assert.equal(alone.boxes, []);
});

test('of several images the first is meant, of a conversation the last that was shown; the run is told', async () => {
  const images = [await picture(200, 100), await picture(1000, 500), await picture(400, 200)];
  const told: string[] = [];
  const ask = async (image: NonNullable<NodeInputs['image']>, options: Record<string, unknown> = {}) => {
    const listening = { ...context({ overlay: 'png', ...options }), notice: (text: string) => told.push(text) };
    const answer = answerOf((await run([{ text: completion(GROUNDED), image }], listening))[0]);
    const { width = 0 } = await sharp(answer.overlay?.bytes).metadata();
    return [answer.boxes[0]?.image, answer.boxes[0]?.box[2], width];
  };
  const turn = (...content: ContentPart[]) => ({ role: 'user', content });
  const words = { type: 'text', text: 'And here?' } as const;
  const talk = (...messages: ChatMessage[]): MessagesValue => ({ kind: 'messages', messages, images });
  assert.equal(await ask(images), [0, 100, 200]);
  assert.match(told[0] ?? '', 'image 1 of 3');
  const counted = talk(turn({ type: 'image' }), turn({ type: 'image' }, { type: 'image' }, words), {
    role: 'assistant',
    content: 'There.',
  });
  assert.equal(await ask(counted), [1, 500, 1000]);
  assert.match(told[1] ?? '', 'image 2 of 3');
  const numbered = talk(
    turn({ type: 'image', image: 1 }, { type: 'image', image: 0 }),
    turn({ type: 'image', image: 2 }),
  );
  assert.equal(await ask(numbered), [2, 200, 400]);
  // Who names the image knows, and a single one is no question.
  assert.equal(await ask(numbered, { image: 1 }), [0, 100, 200]);
  assert.equal(await ask(images.slice(1, 2)), [0, 500, 1000]);
  assert.is(told.length, 3);
});

test('a picture that was asked for and cannot be drawn is told', async () => {
  for (const [overlay, count] of [
    ['png', 1],
    ['svg', 1],
    ['auto', 0],
    ['none', 0],
  ] as const) {
    const told: string[] = [];
    await run([{ text: completion(GROUNDED) }], { ...context({ overlay }), notice: (text) => told.push(text) });
    assert.is(told.length, count, overlay);
  }
});

test('tags that are special tokens are read from the raw text; the end token is not shown', async () => {
  const text = completion('red circle[[100, 200, 500, 1000]]', `${GROUNDED}<|im_end|>`);
  const answer = await fuse({ text, image: await picture(200, 100) });
  assert.is(answer.text, 'red circle');
  assert.is(answer.boxes.length, 1);
});

test('text without boxes, and text without image, stay as they are', async () => {
  const plain = await fuse({ text: completion(' three '), image: await picture(9, 9) });
  assert.equal([plain.text, plain.boxes], [' three ', []]);
  const alone = await fuse({ text: { kind: 'text', text: GROUNDED } });
  assert.equal([alone.text, alone.boxes, alone.finish], [GROUNDED, [], undefined]);
});

test('an overlay is a PNG or SVG when asked for, by itself when there are boxes', async () => {
  const item = { text: completion(GROUNDED), image: await picture(200, 100) };
  assert.is((await fuse(item)).overlay, undefined);
  const png = await fuse(item, { overlay: 'png' });
  const meta = await sharp(png.overlay!.bytes).metadata();
  assert.equal([meta.format, meta.width, meta.height], ['png', 200, 100]);
  const svg = await fuse(item, { overlay: 'svg' });
  assert.match(Buffer.from(svg.overlay!.bytes).toString(), /^<svg[\s\S]*red circle/);
  assert.is((await fuse(item, { overlay: 'auto' })).overlay?.format, 'png');
  assert.is((await fuse({ ...item, text: completion('none') }, { overlay: 'auto' })).overlay, undefined);
});

test('structured output is read from the text', async () => {
  const schema = { type: 'object', required: ['count'] };
  assert.equal((await fuse({ text: completion('```json\n{"count": 2}\n```') }, { schema })).json, {
    valid: true,
    value: { count: 2 },
  });
  assert.is((await fuse({ text: completion('two') }, { schema })).json?.valid, false);
  assert.is((await fuse({ text: completion('{}') })).json, undefined);
});

test('an item without text or with a broken image fails alone', async () => {
  const broken: ImageValue = { kind: 'image', name: 'b', bytes: Buffer.from('no picture') };
  const items: NodeInputs[] = [{}, { text: completion(GROUNDED), image: broken }, { text: completion('ok') }];
  const results = await run(items, context());
  assert.equal(
    results.map((r) => (r.ok ? 'ok' : r.error.code)),
    ['INPUT_MISSING', 'IMAGE_UNSUPPORTED', 'ok'],
  );
});

test.run();
