/** Deep override: what `extends` means, and how `--device` changes a device. */
import type { Problems } from './problems.js';
import type { DocumentPath, SourceEntry, SourceMap, SourceNode, Span } from './source.js';
import { didYouMean } from './suggest.js';

/**
 * Maps are merged key by key, everything else is replaced. `key: null` removes the base's key. A node or device whose
 * `kind` changes is replaced whole: the options of one kind mean nothing to another.
 */
export function mergeMaps(base: SourceMap, over: SourceMap, problems: Problems, path: DocumentPath = []): SourceMap {
  const entries = new Map<string, SourceEntry>(base.entries);
  const removed = new Map<string, Span>(base.removed);
  for (const [name, entry] of over.entries) {
    const at = [...path, name];
    const under = base.entries.get(name);
    if (isNull(entry.value)) {
      if (under === undefined) {
        problems.add('E_UNKNOWN_KEY', `"${name}: null" removes a key that the extended recipe does not have`, {
          at: entry.key,
          path: at,
          hint: didYouMean(name, base.entries.keys(), 'keys'),
        });
      }
      entries.delete(name);
      removed.set(name, entry.key);
    } else if (
      under?.value.kind === 'map' &&
      entry.value.kind === 'map' &&
      !changesKind(under.value, entry.value, at)
    ) {
      // What such a map lacks, it lacks where it was begun: an override need not be whole.
      entries.set(name, { key: under.key, value: mergeMaps(under.value, entry.value, problems, at) });
    } else entries.set(name, { key: entry.key, value: withoutNulls(entry.value) });
  }
  for (const name of entries.keys()) removed.delete(name);
  return { kind: 'map', span: over.span, entries, ...(removed.size === 0 ? {} : { removed }) };
}

const isNull = (node: SourceNode): boolean => node.kind === 'scalar' && node.value === null;

/** New parts of an override may be aliases of maps with removals in them: the removals have nothing to remove. */
function withoutNulls(node: SourceNode): SourceNode {
  if (node.kind !== 'map') return node;
  const kept = [...node.entries].filter(([, entry]) => !isNull(entry.value));
  return {
    ...node,
    entries: new Map(kept.map(([name, { key, value }]) => [name, { key, value: withoutNulls(value) }])),
  };
}

function changesKind(under: SourceMap, over: SourceMap, path: DocumentPath): boolean {
  if (path.length !== 2 || (path[0] !== 'devices' && path[0] !== 'nodes')) return false;
  const before = under.entries.get('kind')?.value;
  const after = over.entries.get('kind')?.value;
  return after?.kind === 'scalar' && before?.kind === 'scalar' && before.value !== after.value;
}
