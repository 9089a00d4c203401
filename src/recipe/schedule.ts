/** Phase 7: an order in which every node comes after what it needs; among free ones the order of the file. */
import type { Draft, DraftReference } from './draft.js';
import type { Problems } from './problems.js';
import { MAX_NODES } from './schema.js';

/** Node names in order, or null when nodes wait for each other. */
export function schedule(draft: Draft, problems: Problems): readonly string[] | null {
  const names = [...draft.nodes.keys()];
  // The schema has refused such a recipe.
  if (names.length > MAX_NODES) return null;
  const needs = new Map(names.map((name) => [name, dependencies(draft, name)]));
  const order: string[] = [];
  const done = new Set<string>();
  for (let progress = true; progress; ) {
    progress = false;
    for (const name of names) {
      if (done.has(name) || ![...(needs.get(name) ?? [])].every((n) => done.has(n))) continue;
      done.add(name);
      order.push(name);
      progress = true;
      break;
    }
  }
  if (order.length === names.length) return order;
  reportCircles(
    draft,
    names.filter((n) => !done.has(n)),
    needs,
    problems,
  );
  return null;
}

/** Nodes whose outputs a node reads. */
export function dependencies(draft: Draft, name: string): ReadonlySet<string> {
  const found = new Set<string>();
  for (const { ref } of draft.nodes.get(name)?.inputs ?? []) {
    if (ref?.from === 'node' && draft.nodes.has(ref.node)) found.add(ref.node);
  }
  return found;
}

/** Reports each circle once, beginning with its first node in the file. */
function reportCircles(
  draft: Draft,
  stuck: readonly string[],
  needs: ReadonlyMap<string, ReadonlySet<string>>,
  problems: Problems,
): void {
  const reported = new Set<string>();
  for (const start of stuck) {
    if (reported.has(start)) continue;
    const circle = shortestCircle(start, needs);
    if (circle === null) continue;
    for (const name of circle) reported.add(name);
    const [first = start, second = start] = circle;
    const closing = closingReference(draft, first, second);
    const path = [...circle, first].join(' → ');
    const message =
      circle.length === 1 ? `node "${first}" waits for itself` : `nodes wait for each other in a circle: ${path}`;
    problems.add('E_CYCLE', message, {
      at: closing?.at ?? draft.nodes.get(first)?.key,
      path: ['nodes', first, 'inputs', closing?.name ?? ''],
      hint: '"a → b" means that a reads an output of b; break one of these references',
    });
  }
}

const closingReference = (draft: Draft, from: string, to: string): DraftReference | undefined =>
  draft.nodes.get(from)?.inputs.find((i) => i.ref?.from === 'node' && i.ref.node === to);

/** Breadth first from `start` back to `start`. */
function shortestCircle(start: string, needs: ReadonlyMap<string, ReadonlySet<string>>): readonly string[] | null {
  const cameFrom = new Map<string, string>();
  const queue = [start];
  for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
    for (const next of needs.get(name) ?? []) {
      if (next === start) {
        const circle = [name];
        for (let at = cameFrom.get(name); at !== undefined; at = cameFrom.get(at)) circle.unshift(at);
        return circle;
      }
      if (cameFrom.has(next)) continue;
      cameFrom.set(next, name);
      queue.push(next);
    }
  }
  return null;
}
