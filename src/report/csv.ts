/** A report as CSV (RFC 4180): a header and one line a point, with every figure and every stage of its ledger. */
import { csvCell } from './text.js';
import type { ReportModel } from './types.js';

export function csvOf(model: ReportModel): string {
  const axes = [...model.axes.map(({ path }) => path), ...Object.keys(model.constants)];
  const stages = new Map<string, readonly [string, string]>();
  for (const { stages: lanes } of model.points) {
    for (const [lane, times] of Object.entries(lanes)) {
      for (const stage of Object.keys(times)) stages.set(`stage ${lane}: ${stage} ms`, [lane, stage]);
    }
  }
  const header = [
    ...['index', 'id', 'store', 'status', 'parity', 'marks', 'reason', 'front'],
    ...axes,
    ...model.metrics.flatMap(({ key }) => [key, `${key} low`, `${key} high`]),
    ...stages.keys(),
  ];
  const rows = model.points.map((point) => [
    point.index,
    point.id,
    model.stores[point.store]?.name ?? '',
    point.status,
    point.status === 'measured' ? point.parity : '',
    point.marks.map(({ kind }) => kind).join(' '),
    point.marks.map(({ text }) => text).join('; '),
    point.front ? 'yes' : '',
    ...axes.map((path) => point.values[path] ?? ''),
    ...model.metrics.flatMap(({ key }) => {
      const figure = point.figures[key];
      return [figure?.value ?? null, figure?.ci?.[0] ?? null, figure?.ci?.[1] ?? null];
    }),
    ...[...stages.values()].map(([lane, stage]) => point.stages[lane]?.[stage] ?? null),
  ]);
  return [header, ...rows].map((row) => `${row.map(csvCell).join(',')}\r\n`).join('');
}
