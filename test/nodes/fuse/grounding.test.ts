import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseGrounding } from '../../../src/nodes/fuse/grounding.js';

const size = { width: 200, height: 100 };
const parse = (text: string) => parseGrounding(text, size);

test('a label and its box become pixels and readable text', () => {
  const { text, boxes } = parse('<ref>red circle</ref><box>[[100, 200, 500, 1000]]</box>');
  assert.is(text, 'red circle');
  assert.equal(boxes, [{ label: 'red circle', normalized: [100, 200, 500, 1000], box: [20, 20, 100, 100], image: 0 }]);
});

test('several boxes of one label, several labels, boxes one behind the other', () => {
  const { text, boxes } = parse(
    'I see <ref>a star</ref><box>[[0, 0, 10, 10], [20,20,30,30]]</box> and <ref>b</ref> <box>[[1,2,3,4]]</box><box>[[5,6,7,8]]</box>.',
  );
  assert.is(text, 'I see a star and b.');
  assert.equal(
    boxes.map((b) => b.label),
    ['a star', 'a star', 'b', 'b'],
  );
  assert.equal(
    boxes.map((b) => b.normalized[0]),
    [0, 20, 1, 5],
  );
});

test('a box without label', () => {
  const { text, boxes } = parse('Here: <box>[[1, 2, 3, 4]]</box>');
  assert.is(text, 'Here:');
  assert.is(boxes[0]!.label, '');
});

test('numbers outside 0 to 1000 are clamped, decimals and line breaks read', () => {
  const { boxes } = parse('<ref>x</ref><box>[\n [-20, 0.5, 1200, 1000]\n]</box>');
  assert.equal(boxes[0]!.normalized, [0, 0.5, 1000, 1000]);
  assert.equal(boxes[0]!.box, [0, 0.05, 200, 100]);
});

test('a label may hold a < of its own, but no tag', () => {
  const box = '<box>[[0, 0, 1000, 1000]]</box>';
  for (const label of ['a < b', '<b>bold</b>', '1<2<3', '<', 'x <ref']) {
    const { text, boxes } = parse(`<ref>${label}</ref>${box}`);
    assert.is(text, label);
    assert.is(boxes[0]?.label, label);
  }
  assert.is(parse(`<ref>a<ref>b</ref>${box}`).boxes[0]?.label, 'b');
});

test('what is malformed stays as the model wrote it', () => {
  const malformed = [
    '<ref>x</ref><box>[[1, 2, 3]]</box>',
    '<ref>x</ref><box>[[1, 2, 3, 4, 5]]</box>',
    '<ref>x</ref><box>[[500, 0, 100, 10]]</box>',
    '<ref>x</ref><box>[1, 2, 3, 4]</box>',
    '<ref>x</ref><box>[[1, 2, 3, 4]]',
    '<ref>x</ref>',
    '<box>[[a, b, c, d]]</box>',
    '<box></box>',
    '',
  ];
  for (const text of malformed) assert.equal(parse(text), { text, boxes: [] }, text);
  const mixed = parse('<ref>a</ref><box>[[9, 9, 1, 1]]</box> <ref>b</ref><box>[[1, 1, 9, 9]]</box>');
  assert.is(mixed.text, '<ref>a</ref><box>[[9, 9, 1, 1]]</box> b');
  assert.is(mixed.boxes.length, 1);
});

test('long hostile texts are read in linear time', () => {
  // As long as that: reading them in quadratic time would outlast the time-out of a test file many times over.
  const texts = [
    '<ref>'.repeat(1_000_000),
    `<box>[[${'1, '.repeat(1_000_000)}`,
    `<ref>x</ref>${' '.repeat(3_000_000)}<box>[`,
    `<ref>${'x'.repeat(3_000_000)}`,
    `<ref>${'< '.repeat(1_000_000)}`,
  ];
  for (const text of texts) {
    const read = parse(text);
    assert.ok(read.text === text);
    assert.equal(read.boxes, []);
  }
});

test.run();
