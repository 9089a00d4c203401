/**
 * Recipe text -> plan, in phases: parse, extend, set, validate, link, check kinds, schedule. Each phase reports what it
 * finds and leaves the rest to the next, so one look shows every problem.
 */
import { dirname, resolve } from 'node:path';
import type { NodeManifest } from '../contracts/node.js';
import type { Compilation } from '../contracts/recipe.js';
import { type AbsentKey, checkAbsent } from './absent.js';
import { checkAnswerSchemas } from './answer-schemas.js';
import { type SchemaCheck, schemaCheck } from './checker.js';
import { readDraft } from './draft.js';
import type { SchemaContext } from './explain.js';
import { loadChain } from './extends.js';
import { checkKinds } from './kinds.js';
import { link } from './link.js';
import { portsSchema } from './option-schema.js';
import { makePlan } from './plan.js';
import { loadPlugins, type PluginOptions } from './plugins.js';
import { Problems } from './problems.js';
import { type ReadText, readText } from './read.js';
import type { Registry } from './registry.js';
import { schedule } from './schedule.js';
import { buildRecipeSchema, type JsonSchema, withSchema } from './schema.js';
import { applySet, argumentFile } from './set.js';
import { applyDevice } from './set-device.js';
import { mapAt, type SourceFile, type SourceMap, sourceFile } from './source.js';
import { checkUnused } from './unused.js';
import { validateTree } from './validate.js';

export interface CompileOptions extends PluginOptions {
  /** Node and device kinds that recipes may name. */
  readonly registry: Registry;
  /** `path=value` changes, in order. */
  readonly set?: readonly string[] | undefined;
  /** `name=kind[:ids]` changes, before `set`. */
  readonly devices?: readonly string[] | undefined;
  /** Folder that relative paths in `set` start from. Default: the working directory. */
  readonly cwd?: string | undefined;
}

export interface CompileTextOptions extends CompileOptions {
  /** Name of the text, as diagnostics show it; relative paths start from its folder. */
  readonly file: string;
  /** Reads what `extends` names. Without it the text stands alone. */
  readonly read?: ReadText | undefined;
}

/** Compiles a recipe file. Problems of the recipe are diagnostics, never exceptions. */
export async function compile(file: string, options: CompileOptions): Promise<Compilation> {
  const result = await readText(file);
  if (result.ok) return compileText(result.text, { ...options, file, read: readText });
  const problems = new Problems();
  // Where the readable part ends is where the trouble begins.
  const source = sourceFile(file, dirname(resolve(file)), result.text ?? '');
  const end = source.text.length;
  problems.add(result.code, result.message, { at: { file: source, start: end, end }, hint: result.hint });
  return { plan: null, diagnostics: problems.all() };
}

const standsAlone: ReadText = async () => ({ ok: false, code: 'E_READ', message: 'files are not read here' });

/** Compiles a recipe given as text. */
export async function compileText(text: string, options: CompileTextOptions): Promise<Compilation> {
  const cwd = options.cwd ?? process.cwd();
  const absolute = resolve(cwd, options.file);
  const problems = new Problems();
  const files: SourceFile[] = [];
  const source = sourceFile(options.file, dirname(absolute), text.replace(/^\uFEFF/, ''));
  const tree = await loadChain(source, options.read ?? standsAlone, problems, files, [
    { absolute, shown: options.file },
  ]);
  const plan = tree === null ? null : await compileTree(tree, absolute, cwd, options, problems, files);
  const sources = files.map((f) => ({ path: f.path, text: f.text }));
  return { plan, diagnostics: problems.all(), sources };
}

async function compileTree(
  base: SourceMap,
  file: string,
  cwd: string,
  options: CompileOptions,
  problems: Problems,
  files: SourceFile[],
): Promise<Compilation['plan']> {
  const { registry } = options;
  let tree = base;
  for (const [i, text] of (options.devices ?? []).entries()) {
    const file = argumentFile('--device', i, text, cwd);
    files.push(file);
    tree = applyDevice(tree, file, registry, problems);
  }
  const absent: AbsentKey[] = [];
  for (const [i, text] of (options.set ?? []).entries()) {
    const file = argumentFile('--set', i, text, cwd);
    files.push(file);
    tree = applySet(tree, file, registry, problems, absent);
  }
  const { schema, check } = await schemaOf(registry);
  validateTree(tree, check, { schema, registry }, problems);
  checkAbsent(absent, tree, check, { schema, registry }, problems);
  const plugins = await loadPlugins(tree, options, problems);
  const draft = readDraft(tree, registry, plugins);
  await validatePluginOptions(tree, absent, plugins, draft.nodes, registry, problems);
  link(draft, registry, problems);
  checkKinds(draft, problems);
  await checkAnswerSchemas(draft, problems);
  const order = schedule(draft, problems);
  checkUnused(draft, problems);
  return problems.hasErrors || order === null ? null : makePlan(draft, order, file, registry);
}

interface CheckedSchema {
  readonly schema: JsonSchema;
  readonly check: SchemaCheck;
}
const schemas = new WeakMap<Registry, Promise<CheckedSchema>>();

/** Made once for a registry: a sweep compiles many recipes. */
function schemaOf(registry: Registry): Promise<CheckedSchema> {
  const known = schemas.get(registry);
  if (known !== undefined) return known;
  const schema = buildRecipeSchema(registry);
  const made = schemaCheck(schema).then((check) => ({ schema, check }));
  schemas.set(registry, made);
  return made;
}

/** Built-in kinds are in the schema; the options of plugins are checked one by one. */
async function validatePluginOptions(
  tree: SourceMap,
  absent: readonly AbsentKey[],
  plugins: ReadonlyMap<string, NodeManifest>,
  nodes: ReturnType<typeof readDraft>['nodes'],
  registry: Registry,
  problems: Problems,
): Promise<void> {
  for (const node of nodes.values()) {
    const manifest = node.plugin === null ? undefined : plugins.get(node.plugin);
    const written = mapAt(mapAt(tree, 'nodes') ?? undefined, node.name) ?? undefined;
    const given = mapAt(written, 'with');
    const inputs = mapAt(written, 'inputs');
    if (manifest !== undefined && inputs !== null && absent.length > 0) {
      const ports = portsSchema(manifest);
      const check = await schemaCheck(ports, { generated: false });
      checkAbsent(absent, inputs, check, { schema: ports, registry }, problems, ['nodes', node.name, 'inputs']);
    }
    if (manifest === undefined || given === null) continue;
    const schema = withSchema(manifest);
    const context: SchemaContext = { schema, registry };
    const path = ['nodes', node.name, 'with'];
    try {
      const check = await schemaCheck(schema, { generated: false });
      validateTree(given, check, context, problems, path);
      checkAbsent(absent, given, check, context, problems, path);
    } catch {
      problems.add('E_PLUGIN', `the options in the manifest of ${node.kind} are not valid JSON Schema`, {
        at: node.kindAt,
        path: ['nodes', node.name, 'kind'],
      });
    }
  }
}
