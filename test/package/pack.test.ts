import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ENTRIES } from '../../src/util/entries.js';
import { packageRoot } from '../../src/util/package-root.js';

const exec = promisify(execFile);
const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';

test('packed, installed in an empty folder, the command and the library run there', async () => {
  const root = packageRoot();
  const dir = await mkdtemp(join(tmpdir(), 'vlm-pack-'));
  try {
    // What `prepare` does before packing, without rebuilding native parts under other tests' feet.
    await exec(npm, ['run', '--silent', 'build'], { cwd: root });
    const { stdout } = await exec(npm, ['pack', '--ignore-scripts', '--json', '--pack-destination', dir], {
      cwd: root,
    });
    const packed: unknown = JSON.parse(stdout);
    const entry = (Array.isArray(packed) ? packed[0] : Object.values(packed as object)[0]) as {
      filename: string;
      files: { path: string }[];
    };
    const paths = entry.files.map((f) => f.path);
    for (const needed of [
      'bin/vlm-run.js',
      'assets/report.js',
      'assets/report.css',
      'dist/cli/main.js',
      'dist/index.d.ts',
      'dist/LICENSES.txt',
      ...ENTRIES.map((name) => `dist/${name}.js`),
      'schemas/recipe.schema.json',
      'pipelines/internvl.yaml',
      'models/shapes-internvl/language.onnx',
      'examples/scene.png',
      'LICENSE',
      'README.md',
    ])
      assert.ok(paths.includes(needed), `${needed} is not in the package`);
    assert.not.ok(
      paths.some((p) => /^(test|tools|src|bench|\.build)\//.test(p)),
      'development files are in the package',
    );

    assert.not.ok(
      paths.some((p) => p.endsWith('.tsbuildinfo')),
      "the compiler's notes are in the package",
    );

    const home = join(dir, 'empty');
    await mkdir(home);
    await writeFile(join(home, 'package.json'), '{"name":"empty","private":true,"type":"module"}');
    // The runtime's own install script only fetches GPU libraries; it is not needed.
    const env = { ...process.env, npm_config_onnxruntime_node_install: 'skip', ONNXRUNTIME_NODE_INSTALL: 'skip' };
    await exec(npm, ['install', '--no-audit', '--no-fund', '--prefer-offline', join(dir, entry.filename)], {
      cwd: home,
      env,
    });

    const installed = join(home, 'node_modules', 'vlm-run');
    const scenes = JSON.parse(await readFile(join(installed, 'examples', 'scenes.json'), 'utf8')) as Record<
      string,
      { questions: { question: string; answer: string }[] }
    >;
    const truth = scenes['scene.png']?.questions.find((q) => q.question === 'Describe the image.')?.answer;
    assert.type(truth, 'string');
    const recipe = join(installed, 'pipelines', 'internvl.yaml');
    // What `npx vlm-run` starts.
    const ran = await exec(join(home, 'node_modules', '.bin', 'vlm-run'), [recipe], { cwd: home });
    assert.is(ran.stdout.trim(), truth);

    // What runs in processes of its own: datasets and sweeps.
    const command = (...args: string[]): Promise<{ stdout: string }> =>
      exec(join(home, 'node_modules', '.bin', 'vlm-run'), args, { cwd: home });
    const picture = join(installed, 'examples', 'scene.png');
    await command(recipe, '--dataset', picture, '--input', 'prompt=Describe the image.', '--out', 'rows');
    const rows = (await readFile(join(home, 'rows', 'results.jsonl'), 'utf8')).trim().split('\n');
    assert.equal(
      rows.map((row) => (JSON.parse(row) as { text: string }).text),
      [truth],
    );
    await writeFile(
      join(home, 'sweep.yaml'),
      `version: 1
name: two
recipe: ${JSON.stringify(recipe)}
inputs: [{ image: ${JSON.stringify(picture)}, prompt: Describe the image. }]
grid: { nodes.decode.with.batch_size: [1, 2] }
measure: { warmup: 0, repeats: 1 }
`,
    );
    await command('sweep', 'sweep.yaml', '--out', 'swept');
    const points = (await readFile(join(home, 'swept', 'results.jsonl'), 'utf8')).trim().split('\n');
    assert.equal(
      points.map((point) => (JSON.parse(point) as { status: string }).status),
      ['measured', 'measured'],
    );

    await writeFile(
      join(home, 'use.js'),
      `import { compile, run } from 'vlm-run';
const { plan } = await compile(${JSON.stringify(recipe)});
const result = await run(plan, { inputs: { prompt: 'Describe the image.' } });
console.log(result.items[0].text);
`,
    );
    // The types that come along are whole: strict TypeScript takes a program written against them.
    await writeFile(
      join(home, 'typed.ts'),
      `import { compile, plan, type RunEvent, run, VlmError } from 'vlm-run';
const { diagnostics } = await compile('a.yaml');
const shapes = await plan('a.yaml', { set: ['nodes.decode.with.ctx_len=2048'] });
const result = await run('a.yaml', { inputs: { prompt: 'Hello' }, onEvent: (event: RunEvent) => void event.type });
export const seen: readonly [number, number, string | undefined] = [diagnostics.length, shapes.promptTokens, result.items[0]?.text];
// @ts-expect-error an option that is not there
await run('a.yaml', { inptus: {} });
export const code: string = new VlmError('INTERNAL', { what: 'x' }).code;
`,
    );
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const strict = ['--noEmit', '--strict', '--target', 'es2023', '--module', 'nodenext', '--types', 'node'];
    // Every program for Node.js has its types; here they are those of the checkout.
    const roots = ['--typeRoots', join(root, 'node_modules', '@types')];
    await exec(process.execPath, [tsc, ...strict, ...roots, 'typed.ts'], { cwd: home }).catch(
      (error: { stdout?: string }) => assert.unreachable(error.stdout ?? String(error)),
    );
    const used = await exec(process.execPath, ['use.js'], { cwd: home });
    assert.is(used.stdout.trim(), truth);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});

test.run();
