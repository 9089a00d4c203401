/** Every command, one file each. What a command needs beyond its options loads when it runs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { packageRoot } from '../util/package-root.js';
import { cacheCommand } from './commands/cache.js';
import { compareCommand } from './commands/compare.js';
import { compileCommand } from './commands/compile.js';
import { devicesCommand } from './commands/devices.js';
import { graphCommand } from './commands/graph.js';
import { initCommand } from './commands/init.js';
import { lockCommand } from './commands/lock.js';
import { registerModels } from './commands/models.js';
import { packCommand } from './commands/pack.js';
import { planCommand } from './commands/plan.js';
import { reportCommand } from './commands/report.js';
import { runCommand } from './commands/run.js';
import { schemaCommand } from './commands/schema.js';
import { selftestCommand } from './commands/selftest.js';
import { sweepCommand } from './commands/sweep.js';
import { validateCommand } from './commands/validate.js';
import { verifyCommand } from './commands/verify.js';
import type { Io } from './io.js';

function version(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string };
  return version;
}

export function addCommands(program: Command, io: Io, json: boolean): Command {
  const commands = [
    runCommand(io),
    validateCommand(io),
    planCommand(io),
    graphCommand(io),
    schemaCommand(io),
    compileCommand(io),
    cacheCommand(io),
    sweepCommand(io),
    compareCommand(io),
    reportCommand(io),
    lockCommand(io),
    verifyCommand(io),
    packCommand(io),
    devicesCommand(io),
    selftestCommand(io),
    initCommand(io),
  ];
  for (const [i, command] of commands.entries()) {
    command.copyInheritedSettings(program);
    // Any first word that is no command is the recipe to run.
    program.addCommand(command, { isDefault: i === 0 });
  }
  registerModels(program, { out: (text) => io.out(text), err: (text) => io.err(text), json });
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
