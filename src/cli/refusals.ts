/** Points that the planner refuses, with the reason: points of one reason together, or hundreds of lines would hide it. */
import type { Refused } from '../compose/sweep.js';
import { pointName } from '../sweep/points.js';
import { formatError } from './failure.js';
import { harmless, type Paint } from './io.js';

/** As data: what the error of a recipe says as text stands in its diagnostics. */
export function refusalData(refused: Refused): Refused {
  if (refused.diagnostics === undefined) return refused;
  const { received: _, ...error } = refused.error;
  return { ...refused, error };
}

/** Names before "and 12 more". */
const MOST = 6;

export function refusalText(refused: readonly Refused[], paint: Paint): string {
  const reasons = new Map<string, string[]>();
  for (const { point, error } of refused) {
    const reason = formatError(error, paint);
    const names = reasons.get(reason) ?? [];
    names.push(harmless(pointName(point.values)));
    reasons.set(reason, names);
  }
  return [...reasons]
    .map(([reason, names]) => {
      const [first = ''] = names;
      const head = names.length === 1 ? `refused: ${first}\n` : `refused, ${names.length} points for one reason:\n`;
      const listed = names.length === 1 ? [] : names.slice(0, MOST).map((name) => `  ${name}\n`);
      const more = names.length > MOST ? [`  and ${names.length - MOST} more\n`] : [];
      return [head, ...listed, ...more, `${reason.trimEnd().replaceAll(/^/gm, '  ')}\n`].join('');
    })
    .join('');
}
