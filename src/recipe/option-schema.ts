/** Options and ports of the manifests as JSON Schema: what editors show of them says what counts where they are left out. */
import type { InputPort, NodeManifest, OptionSchema } from '../contracts/node.js';
import type { JsonSchema } from './schema.js';

/** For keys without a default: what counts where they are left out. Generated with every such description. */
export const WITHOUT_IT = 'Without it:';
export const REQUIRED = 'Required';

const isObject = (value: unknown): value is JsonSchema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A description, and what counts where the key is left out. */
export function meaningOf({ description, withoutIt }: JsonSchema): string {
  const text = String(description ?? '');
  return typeof withoutIt === 'string' ? `${text} ${WITHOUT_IT} ${withoutIt}.` : text;
}

/** As JSON Schema says it: an option whose place another one took is deprecated, and its description names that one. */
export function optionSchemas(options: Readonly<Record<string, OptionSchema>> | JsonSchema): JsonSchema {
  return Object.fromEntries(
    Object.entries(options).map(([name, option]) => [name, isObject(option) ? optionSchema(option) : option]),
  );
}

function optionSchema(option: JsonSchema): JsonSchema {
  const { replacedBy, withoutIt: _, holdsSchema: __, properties, ...schema } = option;
  const inner = isObject(properties) ? { properties: optionSchemas(properties) } : {};
  const meaning = meaningOf(option);
  if (replacedBy === undefined) return { ...schema, ...inner, description: meaning };
  return { ...schema, ...inner, deprecated: true, description: `Deprecated: use ${replacedBy}. ${meaning}` };
}

export function portsSchema(manifest: NodeManifest): JsonSchema {
  return {
    description: `Input ports of ${manifest.kind}.`,
    additionalProperties: false,
    properties: Object.fromEntries(
      Object.entries(manifest.inputs).map(([name, port]) => [
        name,
        { type: 'string', description: portText(name, port, manifest), examples: [exampleReference(port)] },
      ]),
    ),
  };
}

export function portKinds(port: InputPort): readonly string[] {
  return typeof port.kind === 'string' ? [port.kind] : port.kind;
}

/** When a port must be connected, or what happens when it is not. */
export function portNeed(name: string, port: InputPort, { oneOf = [] }: NodeManifest): string {
  if (port.required !== false) return `${REQUIRED}.`;
  const others = oneOf.filter((group) => group.includes(name)).flatMap((group) => group.filter((one) => one !== name));
  if (others.length > 0) return `${REQUIRED}, unless ${others.map((one) => `\`${one}\``).join(' or ')} is connected.`;
  return `${WITHOUT_IT} ${port.withoutIt ?? 'the node goes without'}.`;
}

function portText(name: string, port: InputPort, manifest: NodeManifest): string {
  const kinds = portKinds(port).join(' or ');
  const many = port.many ? '; several values allowed' : '';
  return `${port.description} ${portNeed(name, port, manifest)} (${kinds}${many})`;
}

function exampleReference(port: InputPort): string {
  const kind = portKinds(port)[0] ?? 'text';
  return ['image', 'text', 'messages'].includes(kind) ? `$inputs.${kind}` : `$node.${kind}`;
}
