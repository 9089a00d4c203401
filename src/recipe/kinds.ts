/** Phase 6: does every port get the kind of value it takes, and as many. */
import { kindFits, type PortKind } from '../contracts/ports.js';
import type { Reference } from '../contracts/recipe.js';
import { type Draft, type DraftInput, referenceText } from './draft.js';
import { portKinds } from './option-schema.js';
import type { Problems } from './problems.js';
import type { SourceNode } from './source.js';

/** Kind of the value behind a reference, or null when that is unknown (reported elsewhere). */
export function kindOf(ref: Reference, draft: Draft): PortKind | null {
  if (ref.from === 'input') return draft.inputs.get(ref.name)?.type ?? null;
  const outputs = draft.nodes.get(ref.node)?.manifest?.outputs;
  return outputs !== undefined && Object.hasOwn(outputs, ref.port) ? (outputs[ref.port]?.kind ?? null) : null;
}

export function checkKinds(draft: Draft, problems: Problems): void {
  for (const node of draft.nodes.values()) {
    const ports = node.manifest?.inputs ?? {};
    for (const input of node.inputs) {
      const port = Object.hasOwn(ports, input.name) ? ports[input.name] : undefined;
      if (port === undefined || input.ref === null) continue;
      const kind = kindOf(input.ref, draft);
      if (kind === null) continue;
      const path = ['nodes', node.name, 'inputs', input.name];
      const wanted = portKinds(port) as readonly PortKind[];
      if (!wanted.some((w) => kindFits(kind, w))) {
        problems.add(
          'E_PORT_KIND',
          `the port "${input.name}" of ${node.kind} node "${node.name}" takes ${wanted.join(' or ')}, ${referenceText(input.ref)} is ${kind}`,
          { at: input.at, path, hint: sourcesHint(wanted, draft, node.name) },
        );
      } else if (input.ref.from === 'input' && draft.inputs.get(input.ref.name)?.many && port.many !== true) {
        problems.add(
          'E_PORT_MANY',
          `the input "${input.ref.name}" has several values, the port "${input.name}" of ${node.kind} node "${node.name}" takes one`,
          { at: input.at, path, hint: `remove "many: true" from inputs.${input.ref.name}` },
        );
      }
    }
  }
  for (const input of draft.inputs.values()) checkDefault(input, problems);
}

function sourcesHint(wanted: readonly PortKind[], draft: Draft, except: string): string | undefined {
  const fits = (kind: PortKind): boolean => wanted.some((w) => kindFits(kind, w));
  const sources = [
    ...[...draft.inputs.values()].filter((i) => i.type !== null && fits(i.type)).map((i) => `$inputs.${i.name}`),
    ...[...draft.nodes.values()]
      .filter((n) => n.name !== except)
      .flatMap((n) =>
        Object.entries(n.manifest?.outputs ?? {})
          .filter(([, port]) => fits(port.kind))
          .map(([port]) => `$${n.name}.${port}`),
      ),
  ];
  if (sources.length === 0 || sources.length > 8) return undefined;
  return sources.length === 1 ? `did you mean "${sources[0]}"?` : `${wanted.join(' or ')} is in ${sources.join(', ')}`;
}

/** A default must be something the input's type can be. */
function checkDefault(input: DraftInput, problems: Problems): void {
  if (input.default === undefined || input.type === null) return;
  const { key, value } = input.default;
  const values = input.many && value.kind === 'list' ? value.items : [value];
  for (const [i, item] of values.entries()) {
    const wrong = defaultTrouble(input, item);
    if (wrong === null) continue;
    const at = item.kind === 'scalar' && item.span.end > item.span.start ? item.span : key;
    const path = ['inputs', input.name, 'default', ...(values.length > 1 ? [i] : [])];
    problems.add('E_INPUT', wrong.message, { at, path, hint: wrong.hint });
  }
}

function defaultTrouble(input: DraftInput, value: SourceNode): { message: string; hint?: string } | null {
  const what = `the default of the ${input.type} input "${input.name}"`;
  const isText = value.kind === 'scalar' && typeof value.value === 'string';
  if (input.type === 'messages') {
    if (isText || (value.kind === 'list' && value.items.length > 0 && value.items.every(isMessage))) return null;
    return {
      message: `${what} must be a list of messages or the path of a JSON file`,
      hint: 'for example [{ role: user, content: Hello }]',
    };
  }
  if (isText) return null;
  const wanted = input.type === 'image' ? 'the path or URL of a picture' : 'text';
  if (value.kind === 'list') {
    return { message: `${what} must be ${wanted}, not a list`, hint: 'add "many: true" for several values' };
  }
  if (value.kind === 'scalar' && value.value !== null) {
    return { message: `${what} must be ${wanted}`, hint: `put it in quotes: "${value.value}"` };
  }
  return { message: `${what} must be ${wanted}` };
}

function isMessage(node: SourceNode): boolean {
  if (node.kind !== 'map') return false;
  const role = node.entries.get('role')?.value;
  const content = node.entries.get('content')?.value;
  return role?.kind === 'scalar' && typeof role.value === 'string' && content !== undefined;
}
