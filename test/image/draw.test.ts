import sharp from 'sharp';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';
import type { GroundedBox } from '../../src/contracts/ports.js';
import { decodeImage } from '../../src/image/decode.js';
import { drawOverlay, escapeXml } from '../../src/image/draw.js';
import { sourceBytes } from './goldens.js';

const test = suite('draw');

function box(label: string, corners: readonly [number, number, number, number], image = 0): GroundedBox {
  return { label, box: corners, normalized: [0, 0, 0, 0], image };
}

async function changed(png: Uint8Array, name: string): Promise<(x: number, y: number) => boolean> {
  const before = await decodeImage(sourceBytes(name));
  const { data, info } = await sharp(png).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  assert.equal([info.width, info.height], [before.width, before.height]);
  return (x, y) => {
    const at = (y * before.width + x) * 3;
    return [0, 1, 2].some((c) => data[at + c] !== before.data[at + c]);
  };
}

test('a box is drawn along its edges, not inside', async () => {
  const png = await drawOverlay(sourceBytes('landscape.jpg'), [box('', [100, 50, 200, 150])], { format: 'png' });
  const differs = await changed(png, 'landscape.jpg');
  for (const [x, y] of [
    [150, 50],
    [150, 150],
    [100, 100],
    [200, 100],
  ] as const) {
    assert.ok(differs(x, y), `edge at ${x},${y}`);
  }
  assert.not(differs(150, 100));
  assert.not(differs(20, 20));
});

test('labels are drawn with and without fonts and stay inside the picture', async () => {
  const boxes = [box('a label far too long for this little picture, whichever way it is written', [300, 2, 332, 20])];
  for (const font of ['auto', 'strokes'] as const) {
    const png = await drawOverlay(sourceBytes('landscape.jpg'), boxes, { format: 'png', font });
    const differs = await changed(png, 'landscape.jpg');
    let marked = 0;
    for (let x = 0; x < 290; x++) for (let y = 2; y < 18; y++) if (differs(x, y)) marked++;
    assert.ok(marked > 1000, `${font}: a label beside the box (${marked} pixels)`);
  }
});

test('boxes of other images, outside the picture or of no size do no harm', async () => {
  const source = sourceBytes('square.png');
  const other = await drawOverlay(source, [box('x', [1, 1, 60, 60], 1)], { format: 'png' });
  const untouched = await changed(other, 'square.png');
  assert.not(untouched(1, 30));
  const odd = [box('a', [-500, -500, 9000, 9000]), box('b', [70, 70, 80, 80]), box('c', [5, 5, 5, 5])];
  await changed(await drawOverlay(source, [...odd, box('d', [Number.NaN, 0, 9, 9])], { format: 'png' }), 'square.png');
});

test('the picture is turned as its EXIF says', async () => {
  const png = await drawOverlay(sourceBytes('exif-6.jpg'), [], { format: 'png' });
  const { width, height } = await sharp(png).metadata();
  assert.equal([width, height], [28, 45]);
});

test('SVG carries the picture and escaped labels', async () => {
  const boxes = [box('<b>&"red"</b>', [10, 10, 60, 40])];
  const svg = Buffer.from(await drawOverlay(sourceBytes('landscape.jpg'), boxes, { format: 'svg' })).toString();
  assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" width="333" height="187"/);
  assert.match(svg, /href="data:image\/jpeg;base64,/);
  assert.match(svg, /&lt;b&gt;&amp;&quot;red&quot;&lt;\/b&gt;/);
  assert.not.match(svg, /<b>/);
  const drawn = await sharp(Buffer.from(svg)).metadata();
  assert.equal([drawn.width, drawn.height], [333, 187]);
  const turned = Buffer.from(await drawOverlay(sourceBytes('exif-6.jpg'), [], { format: 'svg' })).toString();
  assert.match(turned, /width="28" height="45".*data:image\/png/s);
  const tiff = Buffer.from(await drawOverlay(sourceBytes('cmyk.tif'), [], { format: 'svg' })).toString();
  assert.match(tiff, /data:image\/png/);
});

test('characters that XML forbids are dropped', () => {
  assert.is(escapeXml('a\u0000b\u0008\ufffe<'), 'ab&lt;');
});

test('what cannot be decoded is refused', async () => {
  for (const format of ['png', 'svg'] as const) {
    try {
      await drawOverlay(Buffer.from('text'), [], { format });
      assert.unreachable();
    } catch (error) {
      assert.instance(error, VlmError);
      assert.is((error as VlmError).code, 'IMAGE_UNSUPPORTED');
    }
  }
});

test.run();
