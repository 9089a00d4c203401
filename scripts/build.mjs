// Makes dist/ after the compiler wrote its declarations there: the command, the library and the files that run in a
// thread or process of their own, with what they share in dist/chunks. Bundled because Node spends longer on opening a
// few hundred small files than on running what is in them (docs/benchmarks.md, cold start).
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');

/** Files of src/ that are opened by name from outside: by Node, by a user's import, by src/util/entries.ts. */
const ENTRIES = [
  'cli/main',
  'index',
  'runner/worker',
  'compose/dataset-child',
  'compose/sweep-child',
  'devices/ai100/selftest/child',
  'devices/ai100/emulator/executor-worker',
];

/** Loaded by nearly every command, in many small files: these go into the bundle, all other packages stay outside. */
const BUNDLED = ['commander', 'yaml'];

/** What each command line loads before its own part, and what `validate`, which people wait for, adds to it. */
const ALWAYS = ['cli/entry', 'cli/commands/validate', 'compose/recipes', 'recipe/index'];

const closures = new Map();

/** These files of src/ and all that they import; with `late` also what they import when they need it. */
function closure(names, graph, late = false) {
  const key = names.join();
  let found = closures.get(key);
  if (found === undefined) {
    found = new Set(names.map((name) => join(root, 'src', `${name}.ts`)));
    for (const id of found) {
      const module = graph.getModuleInfo(id);
      for (const next of module?.importedIds ?? []) found.add(next);
      if (late) for (const next of module?.dynamicallyImportedIds ?? []) found.add(next);
    }
    closures.set(key, found);
  }
  return found;
}

const isAlways = (id, graph) => closure(ALWAYS, graph).has(id);
const isOfWorkers = (id, graph) => closure(['runner/worker'], graph, true).has(id);

/** One file for what a command line always loads, less what the threads load too. */
const GROUPS = [
  { debugName: 'shared', name: (id, graph) => (isAlways(id, graph) && isOfWorkers(id, graph) ? 'shared' : null) },
  { debugName: 'command-line', name: (id, graph) => (isAlways(id, graph) ? 'command-line' : null) },
];

const isPackage = (id) => !/^(\.|\/|[A-Za-z]:\\|\0)/.test(id);

/** commander can start other programs as its commands; none of ours is one, and node:child_process takes its time. */
const startsNothing = {
  name: 'commander-starts-nothing',
  resolveId: (id, importer) =>
    id === 'node:child_process' && /[\\/]commander[\\/]/.test(importer ?? '') ? '\0nothing' : null,
  load: (id) => (id === '\0nothing' ? 'export default {};' : null),
};

const bundle = await rolldown({
  input: Object.fromEntries(ENTRIES.map((name) => [name, join(root, 'src', `${name}.ts`)])),
  platform: 'node',
  resolve: {
    extensionAlias: { '.js': ['.ts', '.js'] },
    // The same code as ES modules, of which the bundle takes what is used.
    alias: { yaml: join(root, 'node_modules/yaml/browser/index.js') },
  },
  plugins: [startsNothing],
  external: (id, importer) => isPackage(id) && !BUNDLED.includes(id) && startsNothing.resolveId(id, importer) === null,
  onLog: (level, log) => {
    // Meant for these: what imports them only when it needs them is a message about a mistake.
    if (log.code === 'INEFFECTIVE_DYNAMIC_IMPORT' && ALWAYS.some((name) => log.message.includes(`src/${name}.ts is`)))
      return;
    throw new Error(`${level}: ${log.message}`);
  },
});
const { output } = await bundle.generate({
  format: 'cjs',
  // What loads late and is no part of the bundle may be an ES module, or a node of the user's own.
  dynamicImportInCjs: true,
  // Names of functions and classes stay, for the stack traces of VLM_RUN_DEBUG=1.
  minify: { compress: true, mangle: { keepNames: true }, codegen: { removeWhitespace: true } },
  entryFileNames: '[name].js',
  // One folder deep, as src/util/entries.ts counts on.
  chunkFileNames: 'chunks/[name]-[hash].js',
  codeSplitting: { groups: GROUPS },
});
await bundle.close();

checkModules(output.filter((file) => file.type === 'chunk'));

const files = new Map(output.map((file) => [file.fileName, file.type === 'chunk' ? ascii(file.code) : file.source]));
// Node starts faster with CommonJS: what loads ES modules stays out (docs/benchmarks.md, cold start).
files.set('package.json', '{ "type": "commonjs" }\n');
files.set(
  'LICENSES.txt',
  BUNDLED.map((name) => {
    const { version } = JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8'));
    return `${name} ${version}\n\n${readFileSync(join(root, 'node_modules', name, 'LICENSE'), 'utf8')}`;
  }).join('\n\n'),
);

// What runs from dist/ meanwhile finds each file whole: only what changed is replaced, in one step.
for (const [name, text] of files) {
  const path = join(dist, name);
  const mode = name === 'cli/main.js' ? 0o755 : 0o644;
  if (isSame(path, text)) continue;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.${process.pid}.tmp`, text, { mode });
  renameSync(`${path}.${process.pid}.tmp`, path);
}
for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  const path = join(entry.parentPath, entry.name);
  const name = path.slice(dist.length + 1).replaceAll('\\', '/');
  if (entry.isFile() && name.endsWith('.js') && !files.has(name)) rmSync(path, { force: true });
}

/** A module in two chunks is two VlmErrors, of which instanceof knows one; a package that is not named has no licence. */
function checkModules(chunks) {
  const seen = new Set();
  for (const { moduleIds, fileName } of chunks) {
    for (const id of moduleIds) {
      if (seen.has(id)) throw new Error(`${id} is in ${fileName} and in another chunk`);
      seen.add(id);
      const name = /.*[\\/]node_modules[\\/]((?:@[^\\/]+[\\/])?[^\\/]+)/.exec(id)?.[1];
      if (name !== undefined && !BUNDLED.includes(name)) throw new Error(`${name} is in ${fileName}, not in BUNDLED`);
    }
  }
}

/** The same code in ASCII: Node reads and compiles a file with any other character in it more slowly. */
function ascii(code) {
  const unsafe = /String\.raw`[^`]*[\u0080-\uffff]|\\[\u0080-\uffff]|[\ud800-\udfff]/.exec(code);
  if (unsafe !== null) throw new Error(`not to be escaped: ${unsafe[0]}`);
  return code.replace(/[\u0080-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

function isSame(path, text) {
  try {
    return readFileSync(path, 'utf8') === text;
  } catch {
    return false;
  }
}
