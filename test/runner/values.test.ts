import { markAsUntransferable } from 'node:worker_threads';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { byteSize, copyValue, ownBuffers, transferList, uncloneable } from '../../src/runner/values.js';

const test = suite('values');

test('a copy shares no memory, whatever the view', () => {
  const whole = new Float32Array([1, 2, 3, 4]);
  const value = {
    part: whole.subarray(1, 3),
    node: Buffer.from('hi'),
    list: [new BigInt64Array([1n])],
    view: new DataView(whole.buffer, 4, 8),
    bits: new Uint16Array([5]),
    plain: { text: 'x', none: null, missing: undefined },
  };
  const copy = copyValue(value);
  assert.equal(Array.from(copy.part), [2, 3]);
  assert.is(copy.part.buffer.byteLength, 8);
  assert.equal(Array.from(copy.node), [104, 105]);
  assert.is(copy.view.getFloat32(0, true), 2);
  assert.equal(copy.plain, value.plain);
  whole.fill(0);
  value.node.fill(0);
  assert.equal(Array.from(copy.part), [2, 3]);
  assert.equal(Array.from(copy.node), [104, 105]);
});

test('memory that a library keeps for itself is copied before it crosses', () => {
  const held = new Uint8Array([1, 2, 3]);
  markAsUntransferable(held.buffer);
  const own = ownBuffers({ png: held, free: new Uint8Array([4]) });
  const crossed = structuredClone(own, { transfer: transferList(own) });
  assert.equal([Array.from(crossed.png), Array.from(crossed.free)], [[1, 2, 3], [4]]);
  assert.equal(Array.from(held), [1, 2, 3]);
});

test('each buffer is listed once; empty and shared memory never', () => {
  const buffer = new ArrayBuffer(8);
  const value = [
    new Uint8Array(buffer, 0, 4),
    new Uint8Array(buffer, 4),
    new Uint8Array(0),
    new Uint8Array(new SharedArrayBuffer(4)),
  ];
  assert.equal(transferList(value), [buffer]);
});

test('ownBuffers touches only what cannot be transferred', () => {
  const whole = new Uint8Array(4);
  const part = new Uint8Array(new ArrayBuffer(8), 2, 2);
  const twice = new ArrayBuffer(4);
  const made = ownBuffers({ whole, part, a: new Uint8Array(twice), b: new Uint16Array(twice) });
  assert.is(made.whole, whole);
  assert.is(made.part.buffer.byteLength, 2);
  assert.is.not(made.a.buffer, twice);
  assert.is.not(made.a.buffer, made.b.buffer);
  const lists = transferList(made);
  assert.is(lists.length, 4);
  structuredClone(made, { transfer: lists });
  assert.is(whole.byteLength, 0);
  assert.is(twice.byteLength, 4);
});

test('what cannot cross threads is found with its path', () => {
  assert.is(uncloneable({ a: [1, { b: new Uint8Array(1) }] }, 'x'), null);
  assert.is(uncloneable({ a: [1, { b: () => 1 }] }, 'x'), 'x.a[1].b (function)');
  assert.is(uncloneable({ a: new (class Thing {})() }, 'x'), 'x.a (Thing)');
  assert.is(byteSize({ a: new Float32Array(3), b: [new Uint8Array(2)] }), 14);
});

test.run();
