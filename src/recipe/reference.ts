/** docs/recipe-reference.md, written from the manifests: the keys of a recipe, node kinds, device kinds, diagnostics. */
import type { NodeManifest, OptionSchema } from '../contracts/node.js';
import { meaningOf, portKinds, portNeed } from './option-schema.js';
import type { Registry } from './registry.js';
import { buildRecipeSchema, type JsonSchema } from './schema.js';

const isObject = (value: unknown): value is JsonSchema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const cell = (text: string): string => text.replace(/\|/g, '\\|').replace(/\s+/g, ' ');
const code = (value: unknown): string => `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line), ''];
}

function typeWords(schema: JsonSchema): string {
  if (Array.isArray(schema['enum'])) return schema['enum'].map(code).join(', ');
  if ('const' in schema) return code(schema['const']);
  const type = schema['type'];
  const types = (Array.isArray(type) ? type.map(String) : typeof type === 'string' ? [type] : []).filter(
    (t) => t !== 'null',
  );
  if (types.length === 0) return schema['$ref'] === undefined ? 'any' : 'object';
  const items = isObject(schema['items']) ? schema['items']['type'] : undefined;
  return types.map((t) => (t === 'array' && typeof items === 'string' ? `list of ${items}` : t)).join(' or ');
}

function limits(schema: JsonSchema): string {
  const { minimum, maximum, exclusiveMinimum } = schema;
  if (minimum !== undefined && maximum !== undefined) return ` (${minimum}–${maximum})`;
  if (exclusiveMinimum !== undefined) return ` (> ${exclusiveMinimum}${maximum === undefined ? '' : `, ≤ ${maximum}`})`;
  if (minimum !== undefined) return ` (≥ ${minimum})`;
  return maximum === undefined ? '' : ` (≤ ${maximum})`;
}

function deprecatedWord(schema: JsonSchema): string {
  const newer = schema['replacedBy'];
  if (typeof newer === 'string') return ` (deprecated: use \`${newer}\`)`;
  return schema['deprecated'] === true ? ' (deprecated)' : '';
}

function optionRow([name, schema]: readonly [string, JsonSchema]): string[] {
  const examples = Array.isArray(schema['examples']) ? schema['examples'] : [];
  return [
    `\`${name}\`${deprecatedWord(schema)}`,
    `${typeWords(schema)}${limits(schema)}`,
    schema['default'] === undefined ? '' : code(schema['default']),
    meaningOf(schema),
    examples.map(code).join(', '),
  ];
}

const optionTable = (options: Readonly<Record<string, OptionSchema>> | JsonSchema): string[] =>
  table(
    ['key', 'type', 'default', 'meaning', 'examples'],
    Object.entries(options).flatMap(([name, schema]) => (isObject(schema) ? [optionRow([name, schema])] : [])),
  );

function nodeSection(m: NodeManifest): string[] {
  const program =
    m.program === undefined
      ? 'It runs on the host.'
      : `It runs the model’s ${m.program} program and needs a \`device\`.`;
  const groups = (m.oneOf ?? []).map((g) => `Exactly one of ${g.map((p) => `\`${p}\``).join(', ')} is connected.`);
  return [
    `### ${m.kind}`,
    '',
    `${m.description} ${[program, ...groups].join(' ')}`,
    '',
    ...table(
      ['port', 'direction', 'kind', 'meaning'],
      [
        ...Object.entries(m.inputs).map(([name, p]) => [
          `\`${name}\``,
          `in${p.required === false ? ', optional' : ''}${p.many ? ', takes several' : ''}`,
          portKinds(p).join(' or '),
          `${p.description} ${portNeed(name, p, m)}`,
        ]),
        ...Object.entries(m.outputs).map(([name, p]) => [`\`${name}\``, 'out', p.kind, p.description]),
      ],
    ),
    ...optionTable(m.options),
  ];
}

const properties = (schema: unknown): JsonSchema =>
  isObject(schema) && isObject(schema['properties']) ? schema['properties'] : {};

export function recipeReference(registry: Registry): string {
  const schema = buildRecipeSchema(registry);
  const definitions = isObject(schema['definitions']) ? schema['definitions'] : {};
  const top = Object.entries(properties(schema)).map(([name, s]): [string, JsonSchema] => [
    name,
    isObject(s) && name === 'model' && isObject(definitions['model']) ? definitions['model'] : isObject(s) ? s : {},
  ]);
  return `${[
    '# Recipe reference',
    '',
    '<!-- Generated from the manifests by scripts/generate-schemas.mjs. Do not edit. -->',
    '',
    'A recipe is one YAML file. Relative paths in it start from its own folder. Editors complete and explain it with',
    '`schemas/recipe.schema.json`: put `# yaml-language-server: $schema=…/recipe.schema.json` on its first line.',
    '',
    '## Top of the file',
    '',
    ...optionTable(Object.fromEntries(top)),
    '## model',
    '',
    ...optionTable(properties(definitions['model'])),
    '## inputs',
    '',
    'Each entry is an input of the recipe; `--input name=value` gives it a value.',
    '',
    ...optionTable(properties(definitions['input'])),
    '## nodes',
    '',
    'Each entry is a step. References are `$inputs.<name>` and `$<node>.<port>`.',
    '',
    ...optionTable(properties(definitions['node'])),
    '## Node kinds',
    '',
    ...registry.nodes.flatMap(nodeSection),
    '## Device kinds',
    '',
    ...registry.devices.flatMap((m) => [`### ${m.kind}`, '', m.description, '', ...optionTable(m.options)]),
    ...CHANGES,
  ].join('\n')}`;
}

const CHANGES = [
  '## Changing a recipe without editing it',
  '',
  '`--set path=value` changes one value; it may be given several times. Numbers, `true`, `false` and `null` are typed as',
  'in YAML, `[…]` and `{…}` are lists and maps, quotes force text, and anything else is text as it stands. `null`',
  'removes a key, and is refused where no such key can be. A place in a list is `[0]`. Relative paths in a value start',
  'from the working directory.',
  '',
  '`--device name=kind` or `--device name=kind:0,1` puts a device on another kind of hardware; without `name=` it changes',
  'every device. Options of the former kind are dropped.',
  '',
  '`extends: other.yaml` starts from another recipe: maps are merged key by key, lists and single values are replaced,',
  '`key: null` removes a key, and a node or device whose `kind` changes is replaced whole. Relative paths of the other',
  'recipe stay relative to it.',
  '',
  'Anchors, aliases and merge keys (`<<: *name`) work as in YAML 1.1; tags do not. A file holds one document of at most',
  '1 MiB, 64 levels and 20,000 values.',
  '',
];
