/** A user's own node module: `manifest` and `run`, loaded from a file. Its code runs as soon as it is imported. */
import { existsSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { VlmError } from '../contracts/errors.js';
import type { NodeManifest, NodeModule } from '../contracts/node.js';

type Exports = Readonly<Record<string, unknown>>;

async function importPlugin(path: string): Promise<Exports> {
  try {
    const module = (await import(pathToFileURL(path).href)) as Exports;
    // A CommonJS module arrives as the default export.
    const inner = module['default'];
    return module['run'] === undefined && typeof inner === 'object' && inner !== null ? (inner as Exports) : module;
  } catch (cause) {
    throw new VlmError('PLUGIN_INVALID', {
      what: 'A node module cannot be loaded',
      expected: 'an ECMAScript module that exports `manifest` and `run`',
      received: reasonOf(cause, path),
      where: path,
      cause,
    });
  }
}

/** What a person needs to mend the module: that it is not there, its slip of syntax, or what it threw. */
function reasonOf(cause: unknown, path: string): string {
  if (!existsSync(path)) return 'no such file';
  if (!(cause instanceof Error)) return String(cause);
  return `${cause.name}: ${cause.message.split('\n')[0] ?? ''}`;
}

function isRun(value: unknown): value is NodeModule['run'] {
  return typeof value === 'function';
}

export async function loadPluginModule(path: string): Promise<NodeModule> {
  const { run } = await importPlugin(path);
  if (!isRun(run)) throw noRun(path, run);
  return { run };
}

/** The manifest alone, for checking a recipe. Its shape is checked by the recipe compiler. */
export async function loadPluginManifest(path: string): Promise<NodeManifest> {
  const { manifest, run } = await importPlugin(path);
  if (!isRun(run)) throw noRun(path, run);
  return manifest as NodeManifest;
}

function noRun(path: string, received: unknown): VlmError {
  return new VlmError('PLUGIN_INVALID', {
    what: 'A node module exports no function `run`',
    expected: 'export async function run(items, context)',
    received: typeof received,
    where: path,
  });
}
