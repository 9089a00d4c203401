/** The command line: parses, dispatches, and turns whatever goes wrong into a message and an exit code. */
import { Command, CommanderError } from 'commander';
import { EXIT, VlmError } from '../contracts/errors.js';
import { addCommands, COMMANDS } from './commands.js';
import { reportError } from './failure.js';
import { type Io, processIo } from './io.js';
import { refuseMistypedCommand, Told } from './recipe-options.js';

/** Columns of help that goes to a file or a pipe. */
const NO_TERMINAL = 80;

async function buildProgram(argv: readonly string[], io: Io, json: boolean, width: number): Promise<Command> {
  const program = new Command('vlm-run')
    .description('Run vision-language models from a YAML recipe.')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.out(text),
      writeErr: () => undefined,
      getOutHelpWidth: () => width,
    })
    .showSuggestionAfterError(true)
    .enablePositionalOptions();
  return addCommands(program, argv, io, json);
}

async function main(argv: readonly string[], io: Io, width: number): Promise<number> {
  const json = argv.includes('--json');
  let program: Command | undefined;
  try {
    program = await buildProgram(argv, io, json, width);
    if (argv.length === 0) {
      io.err(program.helpInformation());
      return 2;
    }
    await program.parseAsync([...argv], { from: 'user' });
    return typeof process.exitCode === 'number' ? process.exitCode : 0;
  } catch (error) {
    if (error instanceof Told) return error.exitCode;
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0;
      return reportError(await usageError(error, argv, program).catch((better: unknown) => better), io, json);
    }
    return reportError(error, io, json);
  }
}

/** Commander's words: `error: unknown option '--inptu'\n(Did you mean --input?)`. */
async function usageError(error: CommanderError, argv: readonly string[], program?: Command): Promise<VlmError> {
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  let hint = rest
    .join(' ')
    .trim()
    .replace(/^\((.*)\)$/, '$1');
  const [word = ''] = argv;
  if (error.code === 'commander.excessArguments' && !COMMANDS.includes(word)) {
    // `vlm-run vaildate x.yaml`: the first word was taken for a recipe.
    await refuseMistypedCommand(word);
  }
  const below = program?.commands.find((command) => command.name() === word)?.commands ?? [];
  if (error.code === 'commander.excessArguments' && below.length > 0) {
    // `vlm-run models pul x`: the second word was taken for an argument.
    const { nearest } = await import('../recipe/index.js');
    const near = nearest(
      argv[1] ?? '',
      below.map((command) => command.name()),
    );
    if (near !== undefined) hint = `did you mean "${word} ${near}"?`;
  }
  return new VlmError('USAGE', {
    what: first.charAt(0).toUpperCase() + first.slice(1),
    hint: hint === '' ? `see vlm-run ${helpOf(argv, program)}--help` : hint.replace(/^Did/, 'did'),
  });
}

/** The command that was meant, for whose help one asks: `models pull `, or nothing. */
function helpOf(argv: readonly string[], program?: Command): string {
  const [word = '', second = ''] = argv;
  const command = program?.commands.find((each) => each.name() === word);
  if (command === undefined) return '';
  const below = command.commands.some((each) => each.name() === second);
  return below ? `${word} ${second} ` : `${word} `;
}

/** Runs the command of this process. */
export async function start(): Promise<void> {
  const io = processIo();
  const { columns } = process.stdout;
  // Checking a recipe runs the top of its node modules in this thread: what they print is no part of an answer.
  globalThis.console = new console.Console(process.stderr);
  Object.defineProperty(process, 'stdout', { get: () => process.stderr });
  const exitCode = await main(process.argv.slice(2), io, io.outIsTerminal ? columns || NO_TERMINAL : NO_TERMINAL);
  process.exitCode = io.outError === null ? exitCode : EXIT.run;
}
