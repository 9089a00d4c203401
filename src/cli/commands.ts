/** Every command, one file each. A command loads when it is named, and what it needs beyond its options when it runs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { packageRoot } from '../util/package-root.js';
import type { Io } from './io.js';

type MakeCommand = (io: Io, json: boolean) => Promise<Command>;

/** In the order of `vlm-run --help`. The first one takes any first word that is no command: the recipe to run. */
const COMMAND_FILES = new Map<string, MakeCommand>([
  ['run', async (io) => (await import('./commands/run.js')).runCommand(io)],
  ['validate', async (io) => (await import('./commands/validate.js')).validateCommand(io)],
  ['plan', async (io) => (await import('./commands/plan.js')).planCommand(io)],
  ['graph', async (io) => (await import('./commands/graph.js')).graphCommand(io)],
  ['schema', async (io) => (await import('./commands/schema.js')).schemaCommand(io)],
  ['compile', async (io) => (await import('./commands/compile.js')).compileCommand(io)],
  ['cache', async (io) => (await import('./commands/cache.js')).cacheCommand(io)],
  ['sweep', async (io) => (await import('./commands/sweep.js')).sweepCommand(io)],
  ['compare', async (io) => (await import('./commands/compare.js')).compareCommand(io)],
  ['report', async (io) => (await import('./commands/report.js')).reportCommand(io)],
  ['lock', async (io) => (await import('./commands/lock.js')).lockCommand(io)],
  ['verify', async (io) => (await import('./commands/verify.js')).verifyCommand(io)],
  ['pack', async (io) => (await import('./commands/pack.js')).packCommand(io)],
  ['devices', async (io) => (await import('./commands/devices.js')).devicesCommand(io)],
  ['selftest', async (io) => (await import('./commands/selftest.js')).selftestCommand(io)],
  ['init', async (io) => (await import('./commands/init.js')).initCommand(io)],
  [
    'models',
    async (io, json) => {
      const { modelsCommand, modelsDeps } = await import('./commands/models.js');
      return modelsCommand(modelsDeps(io, json));
    },
  ],
]);

/** What can be typed as the first word, for messages. */
export const COMMANDS: readonly string[] = [...COMMAND_FILES.keys(), 'help'];

/** The one command that a command line can mean, or all of them where help shows them. */
function wanted(argv: readonly string[]): readonly string[] {
  const [first] = argv;
  if (first !== undefined && COMMAND_FILES.has(first)) return [first];
  const showsAll = first === undefined || first === 'help' || argv.some((arg) => arg === '--help' || arg === '-h');
  return showsAll ? [...COMMAND_FILES.keys()] : ['run'];
}

function version(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string };
  return version;
}

export async function addCommands(program: Command, argv: readonly string[], io: Io, json: boolean): Promise<Command> {
  for (const name of wanted(argv)) {
    const command = await COMMAND_FILES.get(name)?.(io, json);
    if (command === undefined) continue;
    // Otherwise commander itself would print what is wrong here, and end the process with a code of its own.
    for (const each of [command, ...command.commands]) each.copyInheritedSettings(program);
    program.addCommand(command, { isDefault: name === 'run' });
  }
  return program.version(version(), '--version').addHelpText(
    'after',
    `
Examples:
  $ vlm-run pipelines/internvl.yaml
  $ vlm-run pipelines/internvl.yaml --input image=cat.jpg --input prompt="How many cats are there?"

Exit codes: 0 done, 2 recipe or command line wrong, 3 model or input file missing or unusable, 4 device trouble,
5 the run failed or compare found B worse, 130 interrupted.`,
  );
}
