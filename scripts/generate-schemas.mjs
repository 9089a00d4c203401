// Writes what is made from the node and device manifests: the JSON Schema of recipes, its compiled validator and the
// recipe reference. With --check it writes nothing and fails when a file differs from what would be written.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import standaloneModule from 'ajv/dist/standalone/index.js';
import { minifySync } from 'rolldown/utils';

const root = fileURLToPath(new URL('..', import.meta.url));
const check = process.argv.includes('--check');

/** JSON with short lists on one line, as the formatter of this project writes it. */
function json(value, indent = '', keyWidth = 0) {
  const flat = JSON.stringify(value);
  const inner = `${indent}  `;
  if (Array.isArray(value) && value.length > 0) {
    const flatValue = (v) => typeof v !== 'object' || v === null || (Array.isArray(v) && v.every(flatValue));
    const scalars = value.every(flatValue);
    const line = `[${value.map((v) => (Array.isArray(v) ? json(v) : JSON.stringify(v))).join(', ')}]`;
    if (scalars && indent.length + keyWidth + line.length < 120) return line;
    return `[\n${value.map((v) => inner + json(v, inner)).join(',\n')}\n${indent}]`;
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0) {
    const entries = Object.entries(value).map(
      ([k, v]) => `${inner}${JSON.stringify(k)}: ${json(v, inner, JSON.stringify(k).length + 2)}`,
    );
    return `{\n${entries.join(',\n')}\n${indent}}`;
  }
  return flat;
}

/** Maps from names to schemas; keywords stand in all other maps of a schema. */
const NAMED = ['properties', 'patternProperties', 'definitions', 'dependencies'];
const NOT_CHECKED = ['title', 'description', 'default', 'examples'];

/** The schema without what only people and editors read. */
function bare(value, areNames = false) {
  if (Array.isArray(value)) return value.map((v) => bare(v));
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([key]) => areNames || !NOT_CHECKED.includes(key));
  return Object.fromEntries(kept.map(([key, v]) => [key, bare(v, !areNames && NAMED.includes(key))]));
}

/** Ajv's code for the schema, in one file that loads nothing: the length of a string in code points is its only need. */
function validator(schema, ajvOptions) {
  const ajv = new Ajv({ ...ajvOptions, code: { source: true } });
  ajv.addSchema(bare(schema), 'recipe');
  const code = (standaloneModule.default ?? standaloneModule)(ajv, { validate: 'recipe' })
    .replaceAll('require("ajv/dist/runtime/ucs2length").default', '(text) => [...text].length')
    .replace('"use strict";', '"use strict";\n');
  if (code.includes('require(')) throw new Error('ajv writes its code in another way now');
  const { code: short, errors } = minifySync('recipe.validate.cjs', code, { module: false });
  if (errors.length > 0) throw new Error(errors.map((e) => e.message).join('\n'));
  // In ASCII, which Node reads fastest.
  return `// Generated from the manifests by scripts/generate-schemas.mjs. Do not edit.
// biome-ignore-all lint: generated
// biome-ignore-all format: generated
// biome-ignore-all assist: generated
${ascii(short)}
exports.madeFrom = ${ascii(JSON.stringify(JSON.stringify(schema)))};
`;
}

const ascii = (text) => text.replace(/[\u0080-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'tsconfig.json')]);
const load = (path) => import(new URL(`../.build/src/${path}`, import.meta.url).href);
const [
  { NODE_MANIFESTS },
  { DEVICE_MANIFESTS },
  { buildRecipeSchema },
  { AJV_OPTIONS },
  { recipeReference },
  { RUN_SCHEMA },
  { LOCK_SCHEMA },
  { SWEEP_SCHEMA },
] = await Promise.all(
  [
    'nodes/manifests.js',
    'devices/manifests.js',
    'recipe/schema.js',
    'recipe/checker.js',
    'recipe/reference.js',
    'runner/run-schema.js',
    'share/lock-schema.js',
    'sweep/schema.js',
  ].map(load),
);
const registry = { nodes: NODE_MANIFESTS, devices: DEVICE_MANIFESTS };
const schema = buildRecipeSchema(registry);
const files = {
  'schemas/recipe.schema.json': `${json(schema)}\n`,
  'schemas/recipe.validate.cjs': validator(schema, AJV_OPTIONS),
  'schemas/run.schema.json': `${json(RUN_SCHEMA)}\n`,
  'schemas/lock.schema.json': `${json(LOCK_SCHEMA)}\n`,
  'schemas/sweep.schema.json': `${json(SWEEP_SCHEMA)}\n`,
  'docs/recipe-reference.md': recipeReference(registry),
};

let drifted = 0;
for (const [name, text] of Object.entries(files)) {
  const path = join(root, name);
  let before = null;
  try {
    before = readFileSync(path, 'utf8');
  } catch {
    // not written yet
  }
  if (before === text) continue;
  drifted++;
  if (check) console.error(`${name} ${before === null ? 'is missing' : 'differs from the manifests'}`);
  else {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    console.log(`wrote ${name}`);
  }
}
const kinds = `${registry.nodes.length} node kinds, ${registry.devices.length} device kinds`;
console.log(`schemas: ${Object.keys(files).length} files from ${kinds}, ${drifted} ${check ? 'drifted' : 'written'}`);
if (registry.nodes.length === 0 || registry.devices.length === 0) {
  console.error('no manifests were found: nothing was checked');
  process.exitCode = 1;
}
if (check && drifted > 0) {
  console.error('run: node scripts/generate-schemas.mjs');
  process.exitCode = 1;
}
