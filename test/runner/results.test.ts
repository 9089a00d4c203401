import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EXIT, VlmError } from '../../src/contracts/errors.js';
import { checkResults, nodeError } from '../../src/runner/results.js';

const test = suite('results of a node');

const task = (outputs: Record<string, string>) => ({ node: 'mine', kind: './mine.js', items: [{}], outputs });
const given = (value: unknown, kind = 'text') =>
  checkResults(task({ out: kind }), [{ ok: true, outputs: { out: value } }]);

function refused(work: () => unknown, ...parts: string[]): void {
  try {
    work();
  } catch (error) {
    assert.instance(error, VlmError);
    const { code, expected, received } = (error as VlmError).toData();
    assert.is(code, 'NODE_FAILED');
    for (const part of parts)
      assert.ok(`${expected} | ${received}`.includes(part), `${part}: ${expected} | ${received}`);
    return;
  }
  assert.unreachable('it was taken');
}

test('results that are none are refused, and told without their contents', () => {
  const of = (results: unknown) => () => checkResults(task({ out: 'text' }), results);
  refused(of(undefined), 'nothing');
  refused(of('secret'), 'a text of 6 characters');
  refused(of([]), '0');
  for (const result of [null, undefined, 'x', [], {}, { ok: 'yes' }, { ok: true }, { ok: true, outputs: [] }]) {
    refused(of([result]), '{ ok: true, outputs');
  }
});

test('each kind of value has its fields', () => {
  refused(() => given(null), 'kind "text" at output "out"', 'null');
  refused(() => given({ kind: 'image' }), 'kind "image"');
  refused(() => given({ kind: 'text', text: 42 }), '"text" at output "out"', 'number');
  refused(() => given({ kind: 'text' }), 'nothing');
  refused(() => given({ kind: 'text', text: 'x'.repeat(2 ** 27 + 1) }), `${2 ** 27 + 1} characters`);
  refused(() => given({ kind: 'image', bytes: 'abc', name: 'a' }, 'image'), 'a Uint8Array as "bytes"');
  refused(
    () => given({ kind: 'tokens', ids: [1, 2], text: '', imageTokenId: -1, visionTokens: 0 }, 'tokens'),
    'Int32Array',
  );
  refused(() => given({ kind: 'answer', text: 'x' }, 'answer'), '"boxes"');
  refused(() => given({ kind: 'json' }, 'json'), '"value"');
  const pixels =
    (dims: unknown, length: number, dtype = 'float32') =>
    () =>
      given({ kind: 'pixels', images: [], tensor: { dtype, dims, data: new Float32Array(length) } }, 'pixels');
  refused(pixels([1, 3, 2, 2], 11), 'a tensor, or null');
  refused(pixels([1, -3], 3), 'a tensor');
  refused(pixels('2', 2), 'a tensor');
  refused(pixels([2], 2, 'float99'), 'a tensor');
  assert.is(pixels([1, 3, 2, 2], 12)().length, 1);
  assert.is(given({ kind: 'json', value: null }, 'json').length, 1);
});

test('values that cannot cross threads or be recorded', () => {
  const loop: Record<string, unknown> = {};
  loop['self'] = loop;
  for (const [value, part] of [
    [loop, 'out.value.self (it holds itself)'],
    [{ n: 10n }, 'out.value.n (bigint)'],
    [[() => 1], 'out.value[0] (function)'],
    [new Map(), 'out.value (Map)'],
  ] as const) {
    refused(() => given({ kind: 'json', value }, 'json'), part);
  }
  const twice = { a: 1 };
  assert.is(given({ kind: 'json', value: [twice, twice] }, 'json').length, 1);
});

test('ports that the manifest does not name are left out', () => {
  const outputs = { out: { kind: 'text', text: 'x' }, more: { kind: 'text', text: () => 1 } };
  assert.equal(checkResults(task({ out: 'text' }), [{ ok: true, outputs }]), [
    { ok: true, outputs: { out: { kind: 'text', text: 'x' } } },
  ]);
});

test('whatever a node gives or throws as an error becomes one with a code and an exit code', () => {
  const own = new VlmError('IMAGE_UNREADABLE', { what: 'torn' });
  assert.is(nodeError(own, 'mine'), own);
  for (const [error, code, what, cause] of [
    [own.toData(), 'IMAGE_UNREADABLE', 'torn', undefined],
    [{ code: 'MY_CODE', what: 'bad thing', hint: 'do better' }, 'NODE_FAILED', 'bad thing', 'MY_CODE'],
    [new VlmError('MY_CODE' as never, { what: 'odd' }), 'NODE_FAILED', '"mine" failed', 'odd'],
    [new TypeError('inner'), 'NODE_FAILED', '"mine" failed', 'inner'],
    ['words', 'NODE_FAILED', '"mine" failed', 'words'],
    [undefined, 'NODE_FAILED', '"mine" failed', 'nothing'],
    [{ message: 'x' }, 'NODE_FAILED', '"mine" failed', 'an object with message'],
  ] as const) {
    const made = nodeError(error, 'mine');
    const data = made.toData();
    assert.equal([data.code, data.what, data.cause], [code, what, cause]);
    assert.is(made.exitCode, code === 'NODE_FAILED' ? EXIT.run : EXIT.input);
  }
  const [result] = checkResults(task({ out: 'text' }), [{ ok: false, error: 'it went wrong' }]);
  assert.ok(result?.ok === false);
  assert.equal(
    [result.error.code, result.error.where, result.error.cause],
    ['NODE_FAILED', 'node "mine"', 'it went wrong'],
  );
});

test('an error that throws when it is looked at is one as well, and fields of the wrong type are left out', () => {
  const thrown = (): never => {
    throw new Error('looked at');
  };
  const guarded = (key: string, error: object): object => Object.defineProperty(error, key, { get: thrown });
  for (const error of [
    guarded('what', {}),
    guarded('hint', { code: 'IMAGE_UNREADABLE', what: 'torn' }),
    guarded('message', new Error('hidden')),
    new Proxy({}, { getPrototypeOf: thrown }),
  ]) {
    const { code, what, cause } = nodeError(error, 'mine').at('node "mine"').toData();
    assert.equal([code, what], ['NODE_FAILED', '"mine" failed']);
    assert.match(String(cause), 'cannot be read');
  }
  const odd = { code: 'IMAGE_UNREADABLE', what: 'torn', hint: 42, where: {}, location: 'x', cause: Symbol('y') };
  assert.equal(nodeError(odd, 'mine').toData(), { code: 'IMAGE_UNREADABLE', what: 'torn' });
  const unnamed = Object.assign(new Error(''), { message: Symbol('z') });
  assert.equal(nodeError(unnamed, 'mine').toData().cause, 'Error');
});

test.run();
