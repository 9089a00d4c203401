import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { linesOf, ROWS, withStores } from '../../report/store.js';
import { cli } from '../fakes/spawn.js';

test('a page in the folder of the results, unless --out says where; its name says the format', () =>
  withStores([{ lines: linesOf(ROWS) }], async ([store = '']) => {
    const page = await cli(['report', store]);
    assert.is(page.code, 0, page.err);
    assert.is(page.out, '');
    assert.match(page.err, '3 points measured, 0 failed, 1 refused, 1 with tokens unlike the reference');
    assert.match(readFileSync(join(store, 'report.html'), 'utf8'), /^<!doctype html>/);
    const file = join(store, 'deep', 'table.csv');
    assert.is((await cli(['report', store, '--out', file])).code, 0);
    assert.match(readFileSync(file, 'utf8'), /^index,id,store,/);
  }));

test('Markdown goes to standard output; with --json it is part of the one document', () =>
  withStores([{ lines: `${linesOf(ROWS)}{` }], async ([store = '']) => {
    const plain = await cli(['report', store, '--format', 'md']);
    assert.is(plain.code, 0, plain.err);
    assert.match(plain.err, 'not in the report: store0/results.jsonl:5');
    const { out } = await cli(['report', store, '--format', 'md', '--json']);
    const told = JSON.parse(out) as Record<string, unknown>;
    assert.equal([told['ok'], told['format'], told['out'], told['report']], [true, 'md', null, plain.out]);
    assert.equal(told['front'], [
      { id: 'p0', name: 'decode.batch_size=1 encode.batch_size=10' },
      { id: 'p1', name: 'decode.batch_size=2 encode.batch_size=10' },
    ]);
  }));

test('what is wrong with the command line or the store is said, and nothing is written', async () => {
  await withStores([{ lines: linesOf(ROWS) }], async ([store = '']) => {
    const format = await cli(['report', store, '--format', 'pdf']);
    assert.is(format.code, 2);
    assert.match(format.err, 'html, md, csv');
    const axis = await cli(['report', store, '--x', 'batch']);
    assert.is(axis.code, 2);
    assert.match(axis.err, 'decode.batch_size');
  });
  await withStores([{ lines: '' }], async ([store = '']) => {
    const empty = await cli(['report', store, '--json']);
    assert.is(empty.code, 3);
    assert.is((JSON.parse(empty.out) as { error: { code: string } }).error.code, 'INPUT_UNREADABLE');
  });
});

test.run();
