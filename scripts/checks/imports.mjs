// Import direction of src/: who may import whom, and which packages; and three rules about words. Fails on a forbidden
// import or word, on a file that no rule covers, and on a rule that matches no file (a check that looks at nothing
// proves nothing). Usage: node scripts/checks/imports.mjs [SRC]
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const src = process.argv[2] ?? join(root, 'src');

// First matching rule wins. `may`: prefixes a file may import from (its own `self` prefix is always allowed). `pure`:
// no package at all, not even Node.js's own modules.
const RULES = [
  { name: 'contracts', files: /^contracts\//, self: 'contracts/', may: [], pure: true },
  { name: 'util', files: /^util\//, self: 'util/', may: ['contracts/'] },
  { name: 'node manifests', files: /^nodes\/[^/]+\/manifest\.ts$/, self: '', may: ['contracts/'], pure: true },
  {
    name: 'node manifest list',
    files: /^nodes\/manifests\.ts$/,
    self: '',
    may: ['contracts/', /^nodes\/[^/]+\/manifest\.ts$/],
  },
  {
    name: 'node modules list',
    files: /^nodes\/modules\.ts$/,
    self: '',
    may: ['contracts/', /^nodes\/[^/]+\/run\.ts$/],
  },
  {
    name: 'nodes',
    files: /^nodes\/([^/]+)\//,
    self: 'nodes/$1/',
    may: ['contracts/', 'util/', 'families/', 'image/', 'text/', 'generation/', 'prompt/'],
  },
  { name: 'families list', files: /^families\/[^/]+\.ts$/, self: 'families/', may: ['contracts/'], pure: true },
  {
    name: 'families',
    files: /^families\/([^/]+)\//,
    self: 'families/$1/',
    may: ['contracts/', 'util/', 'families/shared/'],
    pure: true,
  },
  { name: 'recipe', files: /^recipe\//, self: 'recipe/', may: ['contracts/', 'util/'] },
  { name: 'image', files: /^image\//, self: 'image/', may: ['contracts/', 'util/'] },
  { name: 'text', files: /^text\//, self: 'text/', may: ['contracts/', 'util/'] },
  { name: 'prompt', files: /^prompt\//, self: 'prompt/', may: ['contracts/', 'util/'], pure: true },
  { name: 'generation', files: /^generation\//, self: 'generation/', may: ['contracts/', 'util/'], pure: true },
  { name: 'device list', files: /^devices\/[^/]+\.ts$/, self: 'devices/', may: ['contracts/', 'util/'] },
  {
    name: 'card emulator',
    files: /^devices\/ai100\/emulator\//,
    self: 'devices/ai100/',
    may: ['contracts/', 'util/', 'devices/cpu/'],
  },
  {
    name: 'devices',
    files: /^devices\/([^/]+)\//,
    self: 'devices/$1/',
    may: ['contracts/', 'util/', 'devices/shared/'],
  },
  { name: 'model', files: /^model\//, self: 'model/', may: ['contracts/', 'util/', 'families/', 'text/'] },
  {
    name: 'worker',
    files: /^runner\/worker\.ts$/,
    self: 'runner/',
    may: ['contracts/', 'util/', 'nodes/', 'families/', 'devices/', 'model/', 'text/'],
  },
  { name: 'runner', files: /^runner\//, self: 'runner/', may: ['contracts/', 'util/', 'prompt/'] },
  {
    name: 'library',
    files: /^index\.ts$/,
    self: '',
    may: [
      'contracts/',
      'recipe/',
      'runner/',
      'nodes/',
      'devices/',
      'model/',
      'util/',
      'families/',
      'image/',
      'prompt/',
      'compose/',
      'share/',
    ],
  },
  {
    name: 'share',
    files: /^share\//,
    self: 'share/',
    may: ['contracts/', 'util/', 'recipe/', 'runner/', 'model/', 'compose/', 'image/', /^devices\/ai100\/compile\//],
  },
  { name: 'dataset', files: /^dataset\//, self: 'dataset/', may: ['contracts/', 'util/', 'runner/'] },
  { name: 'sweep', files: /^sweep\//, self: 'sweep/', may: ['contracts/', 'util/', 'runner/', 'dataset/', 'recipe/'] },
  {
    name: 'report',
    files: /^report\//,
    self: 'report/',
    may: [
      'contracts/',
      'util/',
      /^sweep\/(?:measure|score|stats)\.ts$/,
      /^dataset\/store\.ts$/,
      /^recipe\/suggest\.ts$/,
    ],
  },
  { name: 'compose', files: /^compose\//, self: 'compose/', may: [''] },
  { name: 'cli', files: /^cli\//, self: 'cli/', may: [''] },
];
/** Every package, and the only places that may import it. */
const ONLY = [
  { pkg: 'csv-parse', files: /^dataset\// },
  { pkg: 'piscina', files: /^runner\/pool\.ts$/ },
  { pkg: 'onnxruntime-node', files: /^devices\/cpu\// },
  { pkg: 'sharp', files: /^image\// },
  { pkg: 'commander', files: /^cli\// },
  { pkg: '@huggingface/hub', files: /^model\// },
  { pkg: '@huggingface/tokenizers', files: /^text\// },
  { pkg: '@huggingface/jinja', files: /^text\// },
  { pkg: 'yaml', files: /^(?:recipe|report|runner|share|sweep)\// },
  { pkg: 'ajv', files: /^(?:(?:recipe|share|sweep)\/|util\/answer-schema\.ts)/ },
  { pkg: 'ajv-formats', files: /^util\/answer-schema\.ts/ },
];
const families = readdirSync(join(root, 'src', 'families'), { withFileTypes: true })
  .filter((e) => e.isDirectory() && e.name !== 'shared')
  .map((e) => e.name);
/** Words that only one place may say. `seen`: the place says them, so that the expression is known to match. */
const WORDS = [
  { what: 'an Error without a code', text: /new (?:Type|Range)?Error\(/, files: /^$/ },
  {
    what: 'prints or ends the process',
    text: /\bconsole\.\w+\(|process\.(?:stdout|stderr|exit\(|exitCode)/,
    // The worker sends to standard error what a node prints; the kit's child ends with its parent.
    files: /^cli\/|^runner\/worker\.ts$|\/selftest\/child\.ts$/,
    seen: true,
  },
  {
    what: 'compares the name of a family',
    text: new RegExp(`(?:[=!]==?|case|includes\\(|startsWith\\()\\s*['"\`](?:${families.join('|')})['"\`]`),
    files: /^families\//,
  },
];

function filesIn(dir) {
  return readdirSync(dir, { withFileTypes: true }).flatMap((e) =>
    e.isDirectory() ? filesIn(join(dir, e.name)) : e.name.endsWith('.ts') ? [join(dir, e.name)] : [],
  );
}

// Static imports, re-exports, dynamic imports, inline type imports, and what is required when it is used.
const IMPORT = /(?:from\s+|import\s*\(\s*|import\s+|createRequire\(import\.meta\.url\)\()['"]([^'"]+)['"]/g;

const problems = [];
const matched = new Map(RULES.map((r) => [r.name, 0]));
const said = new Map(WORDS.map((w) => [w.what, 0]));
let edges = 0;
for (const path of filesIn(src)) {
  const file = relative(src, path).replaceAll('\\', '/');
  const rule = RULES.find((r) => r.files.test(file));
  if (!rule) {
    problems.push(`${file}: no import rule covers this file (scripts/checks/imports.mjs)`);
    continue;
  }
  matched.set(rule.name, matched.get(rule.name) + 1);
  // Comment lines may name anything: examples of the library import it, and print.
  const code = readFileSync(path, 'utf8').replaceAll(/^\s*(?:\*|\/\/|\/\*).*$/gm, '');
  for (const word of WORDS.filter((w) => w.text.test(code))) {
    if (word.files.test(file)) said.set(word.what, said.get(word.what) + 1);
    else problems.push(`${file}: ${word.what}`);
  }
  const self = rule.self.replace('$1', rule.files.exec(file)?.[1] ?? '');
  for (const [, spec] of code.matchAll(IMPORT)) {
    edges++;
    if (!spec.startsWith('.')) {
      if (rule.pure) problems.push(`${file} (${rule.name}): imports ${spec}, and may import no package`);
      if (spec.startsWith('node:')) continue;
      const only = ONLY.find((o) => spec === o.pkg || spec.startsWith(`${o.pkg}/`));
      if (!only) problems.push(`${file}: imports ${spec}, a package that no rule knows`);
      else if (!only.files.test(file)) problems.push(`${file}: imports ${spec}, which only ${only.files} may`);
      else only.seen = true;
      continue;
    }
    const target = relative(src, resolve(dirname(path), spec))
      .replaceAll('\\', '/')
      .replace(/\.js$/, '.ts');
    const allowed =
      (self !== '' && target.startsWith(self)) ||
      rule.may.some((m) => (typeof m === 'string' ? target.startsWith(m) : m.test(target)));
    if (!allowed) problems.push(`${file} (${rule.name}): must not import ${target}`);
  }
}
for (const rule of RULES) if (matched.get(rule.name) === 0) problems.push(`rule "${rule.name}" matches no file`);
for (const only of ONLY) if (!only.seen) problems.push(`${only.pkg}: nothing imports it`);
for (const word of WORDS)
  if (word.seen && said.get(word.what) === 0)
    problems.push(`nothing ${word.what}: the check is not looking at the code`);
if (edges < 50) problems.push(`only ${edges} imports seen: the check is not looking at the code`);
for (const p of problems) console.error(p);
console.log(
  `imports: ${[...matched.values()].reduce((a, b) => a + b, 0)} files, ${edges} imports, ${problems.length} problems`,
);
process.exitCode = problems.length > 0 ? 1 : 0;
