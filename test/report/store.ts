/** A small store of invented results in a temporary folder. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const HOSTILE = '</script><img src=x onerror=alert(1)>\u2028|`=1+1';

const statistic = (median: number): object => ({ median, ci: [median - 1, median + 1], samples: [median, median] });

export function measuredRow(index: number, values: object, ttft: number, rate: number, more: object = {}): object {
  return {
    id: `p${index}`,
    index,
    values,
    startedAt: `2026-01-01T00:00:0${index}.000Z`,
    ok: true,
    status: 'measured',
    figures: {
      ttftMs: statistic(ttft),
      decodeTokensPerSecond: statistic(rate),
      imagesPerSecond: null,
      latencyPercentiles: { p50: 1, p95: 2, p99: null },
    },
    tokens: [[1, 2]],
    noisy: false,
    stages: { main: { load: 10, idle: 5 }, 'main language': { decode: 7 } },
    ...more,
  };
}

export const ROWS: readonly object[] = [
  measuredRow(0, { 'nodes.decode.with.batch_size': 1, 'nodes.encode.with.batch_size': 10 }, 10, 100),
  measuredRow(1, { 'nodes.decode.with.batch_size': 2, 'nodes.encode.with.batch_size': 10 }, 20, 300, {
    noisy: true,
    spread: 0.4,
  }),
  measuredRow(2, { 'nodes.decode.with.batch_size': 1, 'nodes.encode.with.batch_size': 9 }, 5, 900, {
    tokens: [[1, 3]],
  }),
  {
    id: 'p3',
    index: 3,
    values: { 'nodes.decode.with.batch_size': 2, 'nodes.encode.with.batch_size': 9 },
    ok: false,
    status: 'refused',
    error: { code: 'PLAN_DOES_NOT_FIT', what: HOSTILE },
  },
];

export const ABOUT = {
  format: 1,
  recipe: 'r',
  sha256: 'ab',
  sources: ['s'],
  versions: { 'vlm-run': '0.0.1' },
  sweep: { name: HOSTILE, description: '', measure: { repeats: 2 }, reference: 'p0' },
  resolved: { version: 1, name: 'r' },
  machine: { cores: 2 },
};

export function withStores(
  stores: readonly { readonly about?: object; readonly lines: string }[],
  use: (folders: string[]) => Promise<void>,
): Promise<void> {
  const base = mkdtempSync(join(tmpdir(), 'vlm-report-test-'));
  const folders = stores.map(({ about, lines }, i) => {
    const folder = join(base, `store${i}`);
    mkdirSync(folder);
    writeFileSync(join(folder, 'sweep.json'), JSON.stringify(about ?? ABOUT));
    writeFileSync(join(folder, 'results.jsonl'), lines);
    return folder;
  });
  return use(folders).finally(() => rmSync(base, { recursive: true, force: true }));
}

export const linesOf = (rows: readonly object[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
