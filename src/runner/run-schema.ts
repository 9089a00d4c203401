/** JSON Schema of run.json, the source of schemas/run.schema.json. Tests validate real records against it. */
import { ERROR_CODES } from '../contracts/errors.js';
import { LEDGER_STAGES } from '../contracts/node.js';
import { count, list, map, record, type Schema, text } from '../util/schema-parts.js';

const ms = (description: string): Schema => ({ type: 'number', minimum: 0, description });

const place = record(
  'A place in a file; lines and columns count from 1.',
  {
    file: text('The file.'),
    line: count('Line.'),
    column: count('Column.'),
    endColumn: count('Column after the place.'),
  },
  ['endColumn'],
);

const error = record(
  'What went wrong.',
  {
    code: { enum: Object.keys(ERROR_CODES), description: 'Stable code, see docs/errors.md.' },
    what: text('What happened.'),
    expected: text('What was expected.'),
    received: text('What was received instead.'),
    where: text('Node, file, port or tensor.'),
    hint: text('What to do.'),
    location: place,
    cause: text('The error behind it.'),
  },
  ['expected', 'received', 'where', 'hint', 'location', 'cause'],
);

const image = record('What preprocessing did to an image.', {
  name: text('File name or address.'),
  width: count('Pixels, after EXIF orientation.'),
  height: count('Pixels, after EXIF orientation.'),
  grid: list(count('Tiles.'), 'Columns and rows of tiles.'),
  tiles: count('All tiles, a thumbnail included.'),
  visionTokens: count('Rows of vision embeddings.'),
});

const metrics = record('Tokens and speed.', {
  promptTokens: count('Tokens of the prompt, image tokens included.'),
  visionTokens: count('Image tokens of the prompt.'),
  tiles: count('Tiles of all images.'),
  generatedTokens: count('Tokens generated, the ending one included.'),
  finish: { enum: ['eos', 'stop', 'length', 'context', 'cancelled'], description: 'Why the answer ended.' },
  ttftQefficientMs: ms('Prefill calls alone, as QEfficient counts the time to the first token.'),
  ttftMs: { type: 'number', description: 'From the start of the run to the first token.' },
  decodeTokensPerSecond: ms('Tokens after the first over the time of the decode steps.'),
  totalTokensPerSecond: ms('All generated tokens over prefill and decode.'),
});

const stage = { enum: [...LEDGER_STAGES], description: 'Stage.' };
const ledger = record(
  'Where the time went.',
  {
    wallMs: ms('Wall time of the run.'),
    lanes: list(
      record(
        'A thread.',
        {
          lane: text('Name: main, host N, or DEVICE PROGRAM.'),
          wallMs: ms('The same for every lane; the stages add up to it.'),
          emulated: {
            const: true,
            description: 'A program of this lane ran on an emulated device: its times say nothing of a real one.',
          },
          stages: {
            type: 'object',
            propertyNames: { enum: [...LEDGER_STAGES] },
            additionalProperties: ms('Milliseconds.'),
            description: 'Time of each stage.',
          },
          spans: list(
            record(
              'An interval of the lane; intervals do not overlap.',
              {
                stage,
                node: text('Node.'),
                startMs: ms('Since the start of the run.'),
                endMs: ms('Since the start of the run.'),
              },
              ['node'],
            ),
            'Intervals in order of time.',
          ),
        },
        ['emulated'],
      ),
      'One entry a thread.',
    ),
    swaps: count('How often a program gave its card up for another one; absent when never.'),
  },
  ['swaps'],
);

const completion = record(
  'A completion and the prompt it answers.',
  {
    text: text('What was generated.'),
    images: list(image, 'Images of its prompt.'),
    prompt: text('The rendered prompt with image tokens expanded.'),
    promptIds: list(count('Token id.'), 'Token ids of the prompt.'),
    generatedIds: list(count('Token id.'), 'Token ids that were generated.'),
    metrics,
  },
  ['prompt', 'promptIds'],
);

const item = record(
  'One item of the run. Text, prompt, ids, images and metrics are those of its answer: the first output that shows text.',
  {
    index: count('Its number, from 0.'),
    ok: { type: 'boolean', description: 'Whether it got an answer.' },
    error,
    outputs: map({ type: 'object' }, 'The recipe’s outputs; tensors and pictures are described, not spelled out.'),
    images: list(image, 'Images of the prompt.'),
    prompt: text('The rendered prompt with image tokens expanded.'),
    promptIds: list(count('Token id.'), 'Token ids of the prompt.'),
    generatedIds: list(count('Token id.'), 'Token ids of the answer.'),
    text: text('The answer.'),
    metrics,
    completions: map(completion, 'Every completion by its reference (node.port), in recipes that have several.'),
  },
  ['error', 'outputs', 'prompt', 'promptIds', 'generatedIds', 'text', 'metrics', 'completions'],
);

const diagnostic = record(
  'A warning about the recipe.',
  {
    severity: { enum: ['error', 'warning'], description: 'How bad it is.' },
    code: text('Stable code.'),
    message: text('What is the matter.'),
    hint: text('What to do.'),
    path: text('Place in the recipe.'),
    location: place,
    excerpt: text('The source line.'),
  },
  ['hint', 'location', 'excerpt'],
);

export const RUN_SCHEMA: Schema = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  title: 'vlm-run run record',
  ...record(
    'What stays of a run: run.json of the folder given with --out.',
    {
      format: { const: 1, description: 'Version of this format.' },
      status: {
        enum: ['running', 'done', 'failed', 'cancelled'],
        description: 'How far it came. A record that says running was left by a process that was killed.',
      },
      recipe: record('The recipe.', {
        name: text('Its name.'),
        file: text('Its file.'),
        resolved: { type: 'object', description: 'With extends, --set and --device applied.' },
        options: map({ type: 'object' }, 'Options of each node, defaults filled in.'),
        devices: map({ type: 'object' }, 'Devices, defaults filled in.'),
      }),
      versions: map({ type: 'string' }, 'Versions of what made the record.'),
      startedAt: { type: 'string', format: 'date-time', description: 'Start of the run.' },
      endedAt: { type: 'string', format: 'date-time', description: 'End of the run.' },
      model: {
        description:
          'The model’s files; null while they are being read, and for good when the run was stopped before they were.',
        anyOf: [
          { type: 'null' },
          record('The model.', {
            name: text('Its name.'),
            sha256: map({ type: 'string', pattern: '^[0-9a-f]{64}$' }, 'Digest of each file.'),
          }),
        ],
      },
      inputs: list(
        record('An input.', {
          item: count('Item it belongs to.'),
          input: text('Its name in the recipe.'),
          name: text('File name or address.'),
          bytes: count('Size.'),
          sha256: { type: 'string', pattern: '^[0-9a-f]{64}$', description: 'Digest.' },
        }),
        'What the run was given.',
      ),
      lock: record('The lock beside the recipe.', {
        file: text('Its name.'),
        departs: list(text('A difference.'), 'Where the run departs from it; empty when nothing was found.'),
      }),
      warnings: list(diagnostic, 'Warnings about the recipe.'),
      items: list(item, 'Items that are done.'),
      partial: map({ type: 'string' }, 'Text that was streamed by items that did not finish, by item number.'),
      ledger,
      error,
    },
    ['endedAt', 'lock', 'partial', 'ledger', 'error'],
  ),
  $comment: 'Generated from src/runner/run-schema.ts',
};
