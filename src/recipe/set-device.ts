/** Phase 3: `--device name=kind:ids`, as a change of the tree. */

import type { DeviceManifest } from '../contracts/device.js';
import { mergeMaps } from './merge.js';
import type { Problems } from './problems.js';
import { deviceManifest, type Registry } from './registry.js';
import { mapAt, type SourceEntry, type SourceFile, type SourceMap, type SourceNode, type Span } from './source.js';
import { didYouMean, nearest } from './suggest.js';

const DEVICE = /^(?:([^=]*)=)?([^:=]*)(?::(.*))?$/;

interface Asked {
  readonly kind: string;
  readonly kindAt: Span;
  /** The devices that become of this kind. */
  readonly targets: readonly string[];
  readonly ids: string | undefined;
  readonly manifest: DeviceManifest;
}

/** Applies one `--device`: `main=ai100:0,1`, or `ai100:0` for every device of the recipe. */
export function applyDevice(tree: SourceMap, file: SourceFile, registry: Registry, problems: Problems): SourceMap {
  const asked = readDevice(tree, file, registry, problems);
  if (asked === null) return tree;
  const { kind, kindAt, targets, manifest } = asked;
  const whole: Span = { file, start: 0, end: file.text.length };
  const entries = new Map<string, SourceEntry>([
    ['kind', { key: kindAt, value: { kind: 'scalar', span: kindAt, value: kind } }],
  ]);
  if (asked.ids !== undefined) {
    const idsAt: Span = { file, start: file.text.indexOf(':') + 1, end: file.text.length };
    const ids = parseIds(asked.ids);
    if (ids === null || !Object.hasOwn(manifest.options, 'ids')) {
      const message = ids === null ? `"${asked.ids}" is not a list of ids` : `${kind} devices have no ids`;
      problems.add('E_SET', message, { at: idsAt, hint: ids === null ? 'write 0 or 0,1 or 0-3' : `write ${kind}` });
      return tree;
    }
    const items = ids.map((id): SourceNode => ({ kind: 'scalar', span: idsAt, value: id }));
    entries.set('ids', { key: idsAt, value: { kind: 'list', span: idsAt, items } });
  }
  const device: SourceMap = { kind: 'map', span: whole, entries };
  const devices = new Map(targets.map((t): [string, SourceEntry] => [t, { key: kindAt, value: device }]));
  const over = new Map<string, SourceEntry>([
    ['devices', { key: whole, value: { kind: 'map', span: whole, entries: devices } }],
  ]);
  return { ...mergeMaps(tree, { kind: 'map', span: whole, entries: over }, problems), span: tree.span };
}

/** What is meant; null and a problem when it is nothing that the recipe and the registry have. */
function readDevice(tree: SourceMap, file: SourceFile, registry: Registry, problems: Problems): Asked | null {
  const match = DEVICE.exec(file.text.trim());
  const kind = match?.[2]?.trim() ?? '';
  if (match === null || kind === '') {
    problems.add('E_SET', `"${file.text}" is not name=kind or name=kind:ids`, {
      at: { file, start: 0, end: file.text.length },
      hint: 'for example main=ai100:0,1',
    });
    return null;
  }
  const known = [...(mapAt(tree, 'devices')?.entries.keys() ?? [])];
  const name = match[1]?.trim();
  if (name !== undefined && !known.includes(name)) {
    problems.add('E_UNKNOWN_DEVICE', `the recipe has no device "${name}"`, {
      at: part(file, name),
      path: `devices.${name}`,
      hint: didYouMean(name, known, 'devices'),
    });
    return null;
  }
  const manifest = deviceManifest(registry, kind);
  const kindAt = part(file, kind, file.text.indexOf('=') + 1);
  if (manifest !== undefined) {
    return { kind, kindAt, targets: name === undefined ? known : [name], ids: match[3], manifest };
  }
  const kinds = registry.devices.map((m) => m.kind);
  const device = name === undefined ? deviceMeant(kind, known, kinds) : undefined;
  if (device === kind) {
    problems.add('E_SET', `"${kind}" is a device of the recipe, not what it shall be`, {
      at: kindAt,
      path: `devices.${kind}`,
      hint: assignments(device, kinds),
    });
    return null;
  }
  problems.add('E_UNKNOWN_DEVICE_KIND', `unknown device kind "${kind}"`, {
    at: kindAt,
    path: name === undefined ? 'devices' : `devices.${name}`,
    hint: device === undefined ? didYouMean(kind, kinds, 'kinds') : assignments(device, kinds),
  });
  return null;
}

/** The device that stands where a kind was to stand. */
function deviceMeant(word: string, known: readonly string[], kinds: readonly string[]): string | undefined {
  if (known.includes(word)) return word;
  return nearest(word, kinds) === undefined ? nearest(word, known) : undefined;
}

function assignments(device: string, kinds: readonly string[]): string {
  return `write ${kinds.map((kind) => `${device}=${kind}`).join(' or ')}`;
}

function part(file: SourceFile, text: string, from = 0): Span {
  const start = Math.max(0, file.text.indexOf(text, from));
  return { file, start, end: start + text.length };
}

/** `0,1` or `0-3` or a mixture; null when it is neither. */
function parseIds(text: string): readonly number[] | null {
  const ids: number[] = [];
  for (const piece of text.split(',')) {
    const match = /^\s*(\d{1,6})(?:-(\d{1,6}))?\s*$/.exec(piece);
    if (match === null) return null;
    const from = Number(match[1]);
    const to = Number(match[2] ?? match[1]);
    if (to < from || to - from > 1000) return null;
    for (let id = from; id <= to; id++) ids.push(id);
  }
  return new Set(ids).size === ids.length ? ids : null;
}
