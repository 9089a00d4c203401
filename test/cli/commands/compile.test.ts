// `vlm-run compile` and `vlm-run cache` with a stand-in for the compiler, which keeps what it is called with.
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../../src/util/package-root.js';
import { cli, type Ended } from '../fakes/spawn.js';

const RECIPE = join(packageRoot(), 'pipelines', 'internvl.ai100.yaml');
const FAKE = `#!/bin/sh
n=$(ls "$FAKE_RECORD" | wc -l)
printf '%s\\n' "$@" > "$FAKE_RECORD/call-$n"
for a in "$@"; do case "$a" in
  -aic-binary-dir=*) out="\${a#*=}" ;;
  -m=*) [ -f "\${a#*=}" ] || { echo "no model" >&2; exit 9; } ;;
  -network-specialization-config=*|-custom-IO-list-file=*) [ -s "\${a#*=}" ] || { echo "no file" >&2; exit 9; } ;;
esac; done
[ -e "$out" ] && { echo "the output folder exists" >&2; exit 9; }
echo "reading the graph"
case "$FAKE_MODE" in
  fail) echo "Error: required memory exceeds the DDR of the device" >&2; exit 1 ;;
  empty) mkdir "$out"; exit 0 ;;
  hang) mkdir "$out"; echo half > "$out/programqpc.bin"; sleep 300 & echo $! > "$FAKE_RECORD/../sleep.pid"; echo "half way"; wait ;;
esac
mkdir "$out" && printf 'a program' > "$out/programqpc.bin" && echo "done" >&2
`;

/** Ended, even when nobody has asked for its exit code yet. */
function gone(pid: number): boolean {
  try {
    return /\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return true;
  }
}

class Bench {
  readonly folder = mkdtempSync(join(tmpdir(), 'vlm-compile-'));
  readonly cache = join(this.folder, 'cache');
  readonly record = join(this.folder, 'record');
  readonly compiler = join(this.folder, 'sdk', 'exec', 'qaic-compile');

  constructor() {
    for (const name of ['record', 'sdk/exec', 'sdk/versions']) mkdirSync(join(this.folder, name), { recursive: true });
    writeFileSync(this.compiler, FAKE);
    chmodSync(this.compiler, 0o755);
    this.sdk('1.22', '4');
  }

  sdk(base: string, build: string): void {
    const xml = `<versions><ci_build><base_version>${base}</base_version><build_id>${build}</build_id></ci_build></versions>`;
    writeFileSync(join(this.folder, 'sdk', 'versions', 'apps.xml'), xml);
  }

  env(mode = 'ok', cache = this.cache): Record<string, string> {
    return { VLM_RUN_CACHE: cache, QAIC_COMPILE: this.compiler, FAKE_RECORD: this.record, FAKE_MODE: mode };
  }

  compile(args: readonly string[] = [], mode = 'ok', cache = this.cache): Promise<Ended> {
    return cli(['compile', RECIPE, ...args], { env: this.env(mode, cache) });
  }

  get calls(): readonly (readonly string[])[] {
    const read = (name: string) => readFileSync(join(this.record, name), 'utf8').trim().split('\n');
    return readdirSync(this.record).sort().map(read);
  }

  /** Finished programs and anything else that lies beside them. */
  get programs(): readonly string[] {
    return existsSync(join(this.cache, 'programs')) ? readdirSync(join(this.cache, 'programs')) : [];
  }
}

const test = suite<{ bench: Bench }>('vlm-run compile');
test.before.each((context) => {
  context.bench = new Bench();
});
test.after.each(({ bench }) => rmSync(bench.folder, { recursive: true, force: true }));

test('calls the compiler once a program, streams its words, and finds both in the cache afterwards', async ({
  bench,
}) => {
  const first = await bench.compile();
  assert.is(first.code, 0, first.err);
  assert.match(first.err, /reading the graph/);
  assert.match(first.err, /language \(2 of 2\) is compiled, 0:00:0/);
  const paths = first.out.trim().split('\n');
  assert.ok(paths.length === 2 && paths.every((path) => existsSync(join(path, 'programqpc.bin'))));
  const [vision = [], language = []] = bench.calls;
  assert.equal(vision.slice(0, 2), ['-aic-hw', '-aic-hw-version=ai100']);
  assert.ok(vision.some((a) => /^-m=.*\/vision\.onnx$/.test(a)) && !vision.includes('-retained-state'));
  assert.ok(language.some((a) => /^-m=.*\/language\.onnx$/.test(a)) && language.includes('-retained-state'));
  const again = await bench.compile();
  assert.is(again.code, 0);
  assert.is(again.out, first.out);
  assert.match(again.err, /is in the cache/);
  assert.is(bench.calls.length, 2);
});

test('other flags, shapes, cards or SDK make another program; max_new_tokens does not', async ({ bench }) => {
  await bench.compile();
  await bench.compile(['--set', 'nodes.decode.with.max_new_tokens=7']);
  assert.is(bench.calls.length, 2);
  await bench.compile(['--set', 'nodes.decode.with.ctx_len=512']);
  assert.is(bench.calls.length, 3, 'the vision program is shared');
  await bench.compile(['--set', 'devices.main.ids=[0,1]']);
  assert.is(bench.calls.length, 5);
  assert.ok(bench.calls[3]?.some((a) => /^-mdp-load-partition-config=.*mdp_ts_2\.json$/.test(a)));
  bench.sdk('1.23', '1');
  await bench.compile();
  assert.is(bench.calls.length, 7);
});

test('an SDK that is older than what commands are made for, or does not say its version, is warned of', async ({
  bench,
}) => {
  assert.not.match((await bench.compile()).err, /SDK/);
  bench.sdk('1.19', '8');
  const old = await bench.compile();
  assert.is(old.code, 0, old.err);
  assert.match(old.err, /warning: the SDK is 1\.19\.8, commands and files are made for 1\.22/);
  rmSync(join(bench.folder, 'sdk', 'versions'), { recursive: true });
  assert.match((await bench.compile()).err, /warning: the SDK does not say its version \(sha256 /);
});

test('a failure keeps its log, names the likely cause and leaves nothing else', async ({ bench }) => {
  const { code, err, out } = await bench.compile([], 'fail');
  assert.is(code, 3);
  assert.is(out, '');
  assert.match(err, /error\[PROGRAM_INVALID\]: The compiler failed/);
  assert.match(err, /likely cause: the program does not fit the card/);
  const logs = readdirSync(join(bench.cache, 'logs'));
  assert.is(logs.length, 1);
  assert.ok(err.includes(logs[0] ?? '?'));
  assert.match(readFileSync(join(bench.cache, 'logs', logs[0] ?? ''), 'utf8'), /exceeds the DDR/);
  assert.equal(bench.programs, []);
});

test('a compiler that ends well without a program is a failure', async ({ bench }) => {
  const { code, err } = await bench.compile([], 'empty');
  assert.is(code, 3);
  assert.match(err, /left no program/);
  assert.equal(bench.programs, []);
});

test('Ctrl-C stops the compiler and what it started, and leaves no draft', async ({ bench }) => {
  const ended = await cli(['compile', RECIPE], {
    env: bench.env('hang'),
    during: async (child, seen) => {
      await seen('err', 'half way');
      child.kill('SIGINT');
    },
  });
  assert.is(ended.code, 130, ended.err);
  assert.equal(bench.programs, []);
  assert.ok(gone(Number(readFileSync(join(bench.folder, 'sleep.pid'), 'utf8'))));
});

test('an interrupted draft is never taken for a program, and rm clears it away', async ({ bench }) => {
  const ended = await cli(['compile', RECIPE], {
    env: bench.env('hang'),
    during: async (child, seen) => {
      await seen('err', 'half way');
      child.kill('SIGKILL');
    },
  });
  assert.is(ended.signal, 'SIGKILL');
  process.kill(Number(readFileSync(join(bench.folder, 'sleep.pid'), 'utf8')));
  assert.is(bench.programs.length, 1);
  assert.ok(existsSync(join(bench.cache, 'programs', bench.programs[0] ?? '', 'qpc', 'programqpc.bin')));
  const ls = await cli(['cache', 'ls', '--json'], { env: bench.env() });
  assert.equal((JSON.parse(ls.out) as { programs: unknown[] }).programs, []);
  const rm = await cli(['cache', 'rm'], { env: bench.env() });
  assert.match(rm.out, /1 leftovers/);
  assert.equal(bench.programs, []);
});

test('a cache moves: no absolute path in it, and it is found from another folder', async ({ bench }) => {
  await bench.compile();
  for (const name of readdirSync(join(bench.cache, 'programs'), { recursive: true })) {
    const path = join(bench.cache, 'programs', String(name));
    if (!/\.(json|yaml|log)$/.test(path)) continue;
    const text = readFileSync(path, 'utf8');
    assert.not.ok(text.includes(bench.cache) || text.includes(packageRoot()), path);
  }
  const moved = join(bench.folder, 'elsewhere');
  cpSync(bench.cache, moved, { recursive: true });
  rmSync(bench.cache, { recursive: true });
  const { err } = await bench.compile([], 'fail', moved);
  assert.match(err, /is in the cache/);
  assert.is(bench.calls.length, 2);
});

test('cache ls, du, verify and rm', async ({ bench }) => {
  await bench.compile();
  const env = bench.env();
  const ls = await cli(['cache', 'ls'], { env });
  assert.match(ls.out, /vision .* apps 1\.22\.4/);
  assert.match(ls.out, /Prefill: batch_size 1, seq_len 128, ctx_len 1024/);
  assert.match((await cli(['cache', 'du'], { env })).out, /in 2 programs/);
  assert.is((await cli(['cache', 'verify'], { env })).code, 0);
  const [key = ''] = bench.programs;
  writeFileSync(join(bench.cache, 'programs', key, 'qpc', 'programqpc.bin'), 'b program');
  const verify = await cli(['cache', 'verify'], { env });
  assert.is(verify.code, 3);
  assert.match(verify.out, /programqpc\.bin has other content/);
  assert.is((await cli(['cache', 'rm', 'zzzz'], { env })).code, 2);
  assert.is((await cli(['cache', 'rm', key.slice(0, 12)], { env })).code, 0);
  assert.is(bench.programs.length, 1);
  assert.is((await cli(['cache', 'rm', '--all', '--json'], { env })).code, 0);
  assert.equal(bench.programs, []);
});

test('--dry-run needs no compiler and writes nothing', async ({ bench }) => {
  const env = { ...bench.env(), QAIC_COMPILE: join(bench.folder, 'none') };
  const { code, out } = await cli(['compile', RECIPE, '--dry-run', '--json'], { env });
  assert.is(code, 0);
  const { programs } = JSON.parse(out) as { programs: { role: string; command: string[] }[] };
  assert.equal(
    programs.map((p) => [p.role, p.command[0]]),
    [
      ['vision', '/opt/qti-aic/exec/qaic-compile'],
      ['language', '/opt/qti-aic/exec/qaic-compile'],
    ],
  );
  assert.equal(bench.programs, []);
  const real = await cli(['compile', RECIPE], { env });
  assert.is(real.code, 4);
  assert.match(real.err, /DEVICE_UNAVAILABLE.*compiler/);
});

test('what cannot work is refused before the compiler starts', async ({ bench }) => {
  const { code, err } = await bench.compile(['--set', 'nodes.decode.with.ctx_len=4096']);
  assert.is(code, 2);
  assert.match(err, /4096 is longer than the 2048 positions/);
  const dry = ['compile', RECIPE, '--dry-run', '--set', 'nodes.decode.with.ctx_len=4096'];
  const [shown, data] = await Promise.all([cli(dry), cli([...dry, '--json'])]);
  assert.equal([shown.code, data.code], [2, 2], shown.err);
  assert.match(shown.out, '# language program on main');
  const { ok, error, programs } = JSON.parse(data.out) as { ok: boolean; error: { code: string }; programs: unknown[] };
  assert.equal([ok, error.code, programs.length], [false, 'OPTION_INVALID', 2]);
  const shapes = '{ ctx_len: [512, 2048], batch_size: 2, prefill_seq_len: [256, 512] }';
  const lists = await bench.compile(['--set', `devices.main.shapes=${shapes}`]);
  assert.is(lists.code, 2);
  assert.match(lists.err, /ctx_len 1024, which is not compiled/);
  assert.match(lists.err, /prefills at most 128 tokens a call, compiled are 256/);
  assert.not.match(lists.err, /prompts at once/);
  assert.equal(bench.calls, []);
  const cpu = await bench.compile(['--device', 'main=cpu']);
  assert.is(cpu.code, 2);
  assert.match(cpu.err, /nothing to compile/);
});

test('a run without its program names the command, which then makes it', async ({ bench }) => {
  const set = ['--set', 'nodes.decode.with.ctx_len=512'];
  const { code, err } = await cli([RECIPE, ...set], { env: bench.env() });
  assert.is(code, 3);
  const hint = /compile it: vlm-run (.*)/.exec(err)?.[1] ?? '';
  assert.match(hint, /^compile .*internvl\.ai100\.yaml --set nodes\.decode\.with\.ctx_len=512$/);
  assert.is((await cli(hint.split(' '), { env: bench.env() })).code, 0);
  const after = await cli([RECIPE, ...set], { env: bench.env() });
  assert.not.match(after.err, /is not compiled/);
});

test.run();
