/** Cells of the heat map over two axes. */
import { median } from '../sweep/stats.js';
import type { PointStatus, ReportModel } from './types.js';

export interface HeatCell {
  readonly x: string;
  readonly y: string | null;
  /** Median over the points of the cell; null where none of them was measured. */
  readonly value: number | null;
  readonly points: number;
  readonly differs: number;
  /** The best that befell a point of the cell. */
  readonly status: PointStatus;
}

export function heatCells({ points, view: { x, y, metric } }: ReportModel): readonly HeatCell[] {
  if (x === null) return [];
  const groups = new Map<string, { x: string; y: string | null; points: (typeof points)[number][] }>();
  for (const point of points) {
    const [across, down] = [point.values[x], y === null ? null : point.values[y]];
    if (across === undefined || down === undefined) continue;
    const key = JSON.stringify([across, down]);
    const group = groups.get(key) ?? { x: across, y: down, points: [] };
    group.points.push(point);
    groups.set(key, group);
  }
  return [...groups.values()].map((group) => {
    const values = group.points.flatMap(({ figures }) => figures[metric]?.value ?? []);
    const statuses = group.points.map(({ status }) => status);
    return {
      x: group.x,
      y: group.y,
      value: values.length === 0 ? null : median(values),
      points: group.points.length,
      differs: group.points.filter(({ parity }) => parity === 'differs' || parity === 'below').length,
      status: statuses.includes('measured') ? 'measured' : statuses.includes('failed') ? 'failed' : 'refused',
    };
  });
}
