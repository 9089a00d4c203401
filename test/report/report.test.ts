import { createHash } from 'node:crypto';
import { parse } from 'csv-parse/sync';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { makeReport } from '../../src/compose/report.js';
import type { VlmError } from '../../src/contracts/errors.js';
import { paretoFront } from '../../src/report/figures.js';
import { csvCell, number } from '../../src/report/text.js';
import { ABOUT, HOSTILE, linesOf, measuredRow, ROWS, withStores } from './store.js';

const codeOf = (work: Promise<unknown>): Promise<VlmError> =>
  work.then(
    () => assert.unreachable('no error'),
    (error: unknown) => error,
  ) as Promise<VlmError>;

test('counts, marks, front: a wrong answer is marked and is not on it', () =>
  withStores([{ lines: linesOf(ROWS) }], async (stores) => {
    const { model } = await makeReport({ stores, format: 'md' });
    const { measured, failed, refused, missing, differs, wide, unchecked } = model.counts;
    assert.equal([measured, failed, refused, missing, differs, wide, unchecked], [3, 0, 1, 0, 1, 1, 0]);
    assert.equal(
      model.points.map(({ parity }) => parity),
      ['reference', 'same', 'differs', 'unknown'],
    );
    assert.equal(
      model.points.map(({ front }) => front),
      [true, true, false, false],
    );
    assert.match(model.points[2]?.marks[0]?.text ?? '', /inputs 1, token 2/);
    assert.match(model.points[3]?.marks[0]?.text ?? '', /^PLAN_DOES_NOT_FIT/);
    assert.equal(
      model.axes.map(({ name, values }) => [name, values]),
      [
        ['decode.batch_size', ['1', '2']],
        ['encode.batch_size', ['9', '10']],
      ],
    );
    assert.equal(Object.keys(model.points[0]?.figures ?? {}), [
      'ttftMs',
      'decodeTokensPerSecond',
      'latencyP50Ms',
      'latencyP95Ms',
    ]);
    assert.equal([model.from, model.to], ['2026-01-01T00:00:00.000Z', '2026-01-01T00:00:02.000Z']);
  }));

test('with a score, other tokens are allowed and a lower score is not', () => {
  const score = { dataset: 'q.jsonl', rows: 2, as: 'exact', margin: 0.1 };
  const scored = (value: number, more: object = {}) => ({ score: { value, rows: [1, value], failed: 0 }, ...more });
  const rows = [
    measuredRow(0, { a: 1 }, 10, 100, scored(0.9)),
    measuredRow(1, { a: 2 }, 5, 200, scored(0.85, { tokens: [[7]] })),
    measuredRow(2, { a: 3 }, 1, 900, scored(0.7)),
    measuredRow(3, { a: 4 }, 7, 150),
  ];
  return withStores(
    [{ about: { ...ABOUT, sweep: { ...ABOUT.sweep, score } }, lines: linesOf(rows) }],
    async (stores) => {
      const { model, text } = await makeReport({ stores, format: 'md' });
      assert.equal(
        model.points.map(({ parity, front }) => [parity, front]),
        [
          ['reference', false],
          ['other', true],
          ['below', false],
          ['unknown', false],
        ],
      );
      assert.equal([model.counts.below, model.counts.differs], [1, 0]);
      assert.match(text, /score below: 0\.700, the reference has 0\.900/);
      assert.is(model.points[1]?.figures['score']?.value, 0.85);
      assert.match((await makeReport({ stores, format: 'html' })).text, /q\.jsonl, 2 rows/);
    },
  );
});

test('without its reference no point counts as compared', () =>
  withStores([{ lines: linesOf(ROWS.slice(1)) }], async (stores) => {
    const { model } = await makeReport({ stores, format: 'md' });
    assert.is(model.counts.unchecked, 2);
    assert.is(model.counts.missing, 1);
  }));

test('the same store gives the same bytes, in every format', () =>
  withStores([{ lines: linesOf(ROWS) }], async (stores) => {
    for (const format of ['html', 'md', 'csv'] as const) {
      const [a, b] = [await makeReport({ stores, format }), await makeReport({ stores, format })];
      assert.is(a.text, b.text);
    }
  }));

test('the page names the digests of exactly the scripts and the style it has, and text of others is no markup', () =>
  withStores([{ lines: linesOf(ROWS) }], async (stores) => {
    const { text } = await makeReport({ stores, format: 'html' });
    const policy = /Content-Security-Policy" content="([^"]*)"/.exec(text)?.[1]?.replaceAll('&#39;', "'") ?? '';
    const digest = (body: string): string => `'sha256-${createHash('sha256').update(body).digest('base64')}'`;
    const scripts = [...text.matchAll(/<script>([\s\S]*?)<\/script>/g)].map(([, body = '']) => digest(body));
    const style = digest(/<style>([\s\S]*?)<\/style>/.exec(text)?.[1] ?? '');
    assert.is(scripts.length, 3);
    assert.match(policy, "default-src 'none'");
    assert.ok(policy.includes(`script-src ${scripts.join(' ')};`));
    assert.ok(policy.includes(`style-src ${style};`));
    assert.not.ok(text.includes('<img'));
    const data = /id="report">([\s\S]*?)<\/script>/.exec(text)?.[1] ?? '';
    assert.not.match(data, /[<>\u2028]/);
    assert.is((JSON.parse(data) as { title: string }).title, HOSTILE);
  }));

test('CSV is read back by another parser: one line a point, formulas disarmed, numbers untouched', () =>
  withStores([{ lines: linesOf(ROWS) }], async (stores) => {
    const { text } = await makeReport({ stores, format: 'csv' });
    const rows = parse(text, { columns: true, record_delimiter: '\r\n' }) as Record<string, string>[];
    assert.is(rows.length, 4);
    assert.is(rows[1]?.['ttftMs'], '20');
    assert.is(rows[1]?.['ttftMs low'], '19');
    assert.is(rows[2]?.['parity'], 'differs');
    assert.is(rows[3]?.['reason'], `PLAN_DOES_NOT_FIT: ${HOSTILE}`);
    assert.is(rows[0]?.['stage main language: decode ms'], '7');
    assert.equal(['=1+1', '+a', '-2', '-2+3', '@x', 'a"b,c', '\t=1'].map(csvCell), [
      "'=1+1",
      "'+a",
      '-2',
      "'-2+3",
      "'@x",
      '"a""b,c"',
      "'\t=1",
    ]);
  }));

test('Markdown keeps its tables whole, whatever stands in a cell', () =>
  withStores([{ lines: linesOf(ROWS) }], async (stores) => {
    const { text } = await makeReport({ stores, format: 'md', view: { metric: 'decodeTokensPerSecond' } });
    assert.not.ok(text.includes('<img'));
    assert.not.ok(text.includes('\u2028'));
    assert.match(text, '| A | decode.batch\\_size=1 encode.batch\\_size=10 | 10.0 (9.00–11.0) | 100 (99.0–101) |');
    assert.match(text, '| 9 | 900 ≠ | refused |');
    for (const block of text.split('\n\n').filter((part) => part.startsWith('| '))) {
      const widths = block.split('\n').map((line) => line.replaceAll('\\|', '').split('|').length);
      assert.is(new Set(widths).size, 1, block);
    }
  }));

test('a damaged line and a torn end are told, and the rest is shown', () =>
  withStores([{ lines: `${linesOf(ROWS.slice(0, 2))}{"id": 3}\nnonsense\n{"id":"p9","ind` }], async (stores) => {
    const { model } = await makeReport({ stores, format: 'html' });
    assert.is(model.points.length, 2);
    assert.equal(
      model.problems.map(({ where }) => where.split(':').at(-1)),
      ['3', '4', '5'],
    );
    assert.match(model.problems[2]?.what ?? '', /torn/);
  }));

test('shards are one report; a point that is there twice is told, and what was measured stands', () =>
  withStores(
    [
      { lines: linesOf([{ ...ROWS[0], ok: false, status: 'failed', error: null }, ROWS[2] ?? {}]) },
      { about: { ...ABOUT, sha256: 'cd' }, lines: linesOf([ROWS[0] ?? {}, ROWS[1] ?? {}]) },
    ],
    async (stores) => {
      const { model } = await makeReport({ stores, format: 'csv' });
      assert.equal(
        model.points.map(({ status, store }) => [status, store]),
        [
          ['measured', 1],
          ['measured', 1],
          ['measured', 0],
        ],
      );
      assert.match(model.problems[0]?.what ?? '', /p0 is there twice/);
    },
  ));

test('stores of different sweeps, empty ones, missing ones', async () => {
  const other = { ...ABOUT, resolved: { version: 1, name: 'other' } };
  await withStores([{ lines: linesOf(ROWS) }, { about: other, lines: linesOf(ROWS) }], async (stores) => {
    assert.is((await codeOf(makeReport({ stores, format: 'md' }))).code, 'USAGE');
  });
  await withStores([{ lines: '' }], async (stores) => {
    assert.is((await codeOf(makeReport({ stores, format: 'md' }))).code, 'INPUT_UNREADABLE');
  });
  await withStores([{ about: [], lines: '' }], async (stores) => {
    assert.is((await codeOf(makeReport({ stores, format: 'md' }))).code, 'INPUT_UNREADABLE');
  });
  const missing = await codeOf(makeReport({ stores: ['/nowhere/at/all'], format: 'md' }));
  assert.is(missing.code, 'INPUT_UNREADABLE');
});

test('axes and figures are named by path or short name, and a slip is met with the nearest', () =>
  withStores([{ lines: linesOf(ROWS) }], async (stores) => {
    const at = (view: object): ReturnType<typeof makeReport> => makeReport({ stores, format: 'md', view });
    const { model } = await at({ x: 'encode.batch_size' });
    assert.equal([model.view.x, model.view.y], ['nodes.encode.with.batch_size', 'nodes.decode.with.batch_size']);
    const axis = await codeOf(at({ y: 'encode.batch_sice' }));
    assert.is(axis.code, 'USAGE');
    assert.match(axis.details.hint ?? '', 'did you mean "encode.batch_size"?');
    const metric = await codeOf(at({ metric: 'ttftms' }));
    assert.match(metric.details.hint ?? '', 'did you mean "ttftMs"?');
    const same = await codeOf(at({ x: 'encode.batch_size', y: 'nodes.encode.with.batch_size' }));
    assert.is(same.code, 'USAGE');
  }));

test('the front: what nothing beats, equal points side by side', () => {
  const of = (...points: [number, number][]): number[] =>
    paretoFront(points.map(([latency, throughput]) => ({ latency, throughput })));
  assert.equal(of([1, 1], [2, 2], [3, 1]), [0, 1]);
  assert.equal(of([2, 5], [2, 6], [1, 5]), [2, 1]);
  assert.equal(of([1, 1], [1, 1], [2, 1]), [0, 1]);
  assert.equal(of(), []);
});

test('numbers have three figures', () => {
  assert.equal([0, 0.01234, 9.9957, 99.96, 999.9, 1234.5, -5].map(number), [
    '0',
    '0.0123',
    '10.0',
    '100',
    '1000',
    '1235',
    '-5.00',
  ]);
});

test.run();
