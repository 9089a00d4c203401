import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ErrorCode, VlmError } from '../../src/contracts/errors.js';
import { decodeImage, readImageSize } from '../../src/image/decode.js';
import { golden, type ImageGoldens, sha256, sourceBytes } from './goldens.js';

const test = suite('decode');
const { images } = golden<ImageGoldens>('images.json');

async function codeOf(work: () => unknown): Promise<ErrorCode | 'none'> {
  try {
    await work();
    return 'none';
  } catch (error) {
    if (error instanceof VlmError) return error.code;
    throw error;
  }
}

test('every format, colour type and orientation gives the RGB bytes of Pillow', async () => {
  assert.ok(Object.keys(images).length >= 70);
  for (const [name, expected] of Object.entries(images)) {
    const bytes = sourceBytes(name);
    const turned = await decodeImage(bytes, { name });
    assert.equal([turned.width, turned.height], expected.size, name);
    assert.is(sha256(turned.data), expected.rgb, name);
    const plain = await decodeImage(bytes, { name, exif: false });
    assert.equal([plain.width, plain.height], expected.sizeWithoutExif, `${name} without exif`);
    assert.is(sha256(plain.data), expected.rgbWithoutExif, `${name} without exif`);
  }
});

test('the size is known from the header', () => {
  for (const [name, expected] of Object.entries(images)) {
    const bytes = sourceBytes(name);
    const size = readImageSize(bytes);
    assert.equal([size.width, size.height], expected.size, name);
    const plain = readImageSize(bytes, { exif: false });
    assert.equal([plain.width, plain.height], expected.sizeWithoutExif, name);
  }
});

test('a picture with too many pixels is refused before it is decoded', async () => {
  const bytes = sourceBytes('large.jpg');
  assert.is(await codeOf(() => decodeImage(bytes, { maxPixels: 1400 * 1050 - 1 })), 'IMAGE_TOO_LARGE');
  assert.is(await codeOf(() => decodeImage(bytes, { maxPixels: 1400 * 1050 })), 'none');
  // Only the header of a 60000 x 60000 PNG: nothing there to decode, and still the size is what is complained about.
  const bomb = Buffer.from(sourceBytes('square.png'));
  bomb.writeUInt32BE(60_000, 16);
  bomb.writeUInt32BE(60_000, 20);
  assert.is(await codeOf(() => decodeImage(bomb)), 'IMAGE_TOO_LARGE');
  // A TIFF that gives its width twice: the first counts, as for the library that decodes.
  const twice = Buffer.from(sourceBytes('raw.tif'));
  const directory = twice.readUInt32LE(4) + 2;
  const last = directory + (twice.readUInt16LE(directory - 2) - 1) * 12;
  twice.copy(twice, last, directory, directory + 12);
  assert.is(await codeOf(() => decodeImage(twice, { maxPixels: 1000 })), 'none');
  twice.writeUInt16LE(60_000, directory + 8);
  assert.is(await codeOf(() => decodeImage(twice, { maxPixels: 1000 })), 'IMAGE_TOO_LARGE');
});

test('cut off and damaged files are named as such', async () => {
  // Files of several pictures: the first one is whole in the first half.
  const whole = ['animated.png', 'animated-default.png', 'several.mpo'];
  for (const name of Object.keys(images)) {
    const bytes = sourceBytes(name);
    if (bytes.length < 600) continue;
    const code = await codeOf(() => decodeImage(bytes.subarray(0, bytes.length >> 1), { name }));
    assert.is(code, whole.includes(name) ? 'none' : 'IMAGE_UNREADABLE', name);
  }
  for (const name of ['portrait.jpg', 'square.png', 'lossless.webp', 'plain.gif', 'rgb.tif']) {
    assert.is(await codeOf(() => decodeImage(sourceBytes(name).subarray(0, 24))), 'IMAGE_UNREADABLE', name);
  }
});

test('garbage in place of pixels is an error or pixels, never a foreign error', async () => {
  for (const name of ['portrait.jpg', 'square.png', 'lossy.webp', 'plain.gif', 'interlaced.gif', 'rgb.tif']) {
    for (let seed = 1; seed <= 12; seed++) {
      const bytes = Buffer.from(sourceBytes(name));
      for (let i = 0; i < 8; i++) bytes[(seed * 7919 + i * 104_729) % bytes.length] = (seed * 31 + i * 17) & 255;
      const code = await codeOf(() => decodeImage(bytes, { maxPixels: 1 << 24 }));
      assert.ok(
        ['none', 'IMAGE_UNREADABLE', 'IMAGE_UNSUPPORTED', 'IMAGE_TOO_LARGE'].includes(code),
        `${name}: ${code}`,
      );
    }
  }
});

test('what is no picture is named, with the formats that are', async () => {
  const cases: [string, RegExp][] = [
    ['<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', /SVG/],
    ['%PDF-1.7', /PDF/],
    ['\0\0\0\x18ftypheic\0\0\0\0', /HEIC/],
    ['\0\0\0\x18ftypavif\0\0\0\0', /AVIF/],
    ['just some text', /text/],
    ['<!doctype html><title>404</title>', /HTML/],
    ['\x01\x02\x03\0\0\x07', /unknown data/],
    ['', /0 bytes/],
  ];
  for (const [text, pattern] of cases) {
    try {
      await decodeImage(Buffer.from(text, 'latin1'), { name: 'x.bin' });
      assert.unreachable(text);
    } catch (error) {
      assert.instance(error, VlmError);
      const { code, details } = error as VlmError;
      assert.is(code, 'IMAGE_UNSUPPORTED');
      assert.match(details.received ?? '', pattern);
      assert.is(details.expected, 'JPEG, PNG, WebP, GIF, TIFF');
      assert.is(details.where, 'x.bin');
    }
  }
});

test('a TIFF whose colours would come out wrong is refused, and says which are read', async () => {
  // Tags of the golden with its one strip of samples: photometric, compression and planes are put where they are.
  const withTag = (name: string, tag: number, value: number): Buffer => {
    const bytes = Buffer.from(sourceBytes(name));
    const directory = bytes.readUInt32LE(4);
    for (let i = 0; i < bytes.readUInt16LE(directory); i++) {
      const entry = directory + 2 + i * 12;
      if (bytes.readUInt16LE(entry) === tag) bytes.writeUInt16LE(value, entry + 8);
    }
    return bytes;
  };
  const [photometric, planar] = [262, 284];
  assert.is(await codeOf(() => decodeImage(withTag('raw.tif', photometric, 6))), 'IMAGE_UNSUPPORTED');
  assert.is(await codeOf(() => decodeImage(withTag('raw.tif', photometric, 8))), 'IMAGE_UNSUPPORTED');
  assert.is(await codeOf(() => decodeImage(withTag('grey-alpha.tif', planar, 2))), 'IMAGE_UNSUPPORTED');
  assert.is(await codeOf(() => decodeImage(withTag('jpeg.tif', photometric, 6))), 'none');
});

test.run();
