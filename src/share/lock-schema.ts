/** JSON Schema of lock files, the source of schemas/lock.schema.json. Locks are checked against it when they are read. */
import { count, list, map, record, type Schema, text } from '../util/schema-parts.js';

const number = (description: string): Schema => ({ type: 'number', description });
const flag = (description: string): Schema => ({ const: true, description });
const sha256 = (description: string): Schema => ({ type: 'string', pattern: '^[0-9a-f]{64}$', description });
const orNull = (schema: Schema, description: string): Schema => ({ anyOf: [{ type: 'null' }, schema], description });

/** From the recipe's folder, or an address: never a path of one machine. */
const place: Schema = {
  type: 'string',
  not: { pattern: '^(?:/|~|[A-Za-z]:[\\\\/]|file:)' },
  description: 'Where it is found, from the recipe’s folder, or its address; absent for a default of the recipe.',
};

const value = record(
  'A picture.',
  { name: text('File name.'), bytes: count('Size.'), sha256: sha256('Digest.'), place },
  ['place'],
);
const isDefault = flag('The recipe’s own default.');
const input: Schema = {
  description: 'A value of an input.',
  anyOf: [
    record(
      'Text.',
      {
        type: { const: 'text' },
        text: {
          anyOf: [text('The text itself.'), list(text('A text.'), 'Several, for an input that takes many.')],
          description: 'The text itself.',
        },
        default: isDefault,
      },
      ['default'],
    ),
    record('Pictures.', { type: { const: 'image' }, images: list(value, 'One or several.'), default: isDefault }, [
      'default',
    ]),
    record(
      'A conversation.',
      {
        type: { const: 'messages' },
        sha256: sha256('Digest of its messages.'),
        images: list(value, 'Its pictures.'),
        place,
        default: isDefault,
      },
      ['place', 'default'],
    ),
  ],
};

const pixels = record('Pixels of one port.', {
  dims: list(count('Size.'), 'Shape: tiles first.'),
  sha256: sha256('Digest of the float32 values.'),
  tiles: list({ type: 'string', pattern: '^[0-9a-f]{16}$' }, 'First digits of the digest of each tile.'),
});
const embeddings = record('Vision embeddings of one port.', {
  dims: list(count('Size.'), 'Shape: rows, then hidden size.'),
  dtype: text('Type of the numbers as the device gave them.'),
  sha256: sha256('Digest of the numbers.'),
  norm: number('Length of all numbers together.'),
  sketch: text('Count sketches of blocks of rows, float32 as base64: they estimate how far other embeddings are off.'),
});
const prompt = record('A prompt.', {
  prompt: {
    type: 'array',
    items: {
      anyOf: [count('Token id.'), { type: 'array', items: count('Id, and how often.'), minItems: 2, maxItems: 2 }],
    },
    description: 'Token ids; [id, times] is a run of one id.',
  },
});
const completion = record('Generated tokens.', {
  ids: list(count('Token id.'), 'Expected token ids, the ending one included.'),
  margins: list(number('Logits.'), 'Best logit minus second best of each step.'),
  greedy: { type: 'boolean', description: 'Whether every token is the best one, so that margins tell near-ties.' },
  finish: text('Why the answer ended.'),
});
const answer = record(
  'An output of the recipe.',
  { sha256: sha256('Digest of what it says.'), text: text('Its text.') },
  ['text'],
);

const example = record('An example: its inputs and what every layer gave.', {
  inputs: map(input, 'By input name.'),
  pixels: map(orNull(pixels, 'Null without a picture.'), 'By node and port.'),
  embeddings: map(orNull(embeddings, 'Null without a picture.'), 'By node and port.'),
  prompts: map(prompt, 'By node and port.'),
  completions: map(completion, 'By node and port.'),
  answers: map(answer, 'By output of the recipe.'),
});

const file = record('A file of the model.', {
  name: text('Its name, from the model’s folder.'),
  use: text('What it is for.'),
  bytes: count('Size.'),
  sha256: sha256('Digest.'),
});

const program = record(
  'A program that a device runs.',
  {
    role: { enum: ['vision', 'language'], description: 'Which half of the model.' },
    device: text('Name of the device in the recipe.'),
    kind: { enum: ['onnx', 'compiled'], description: 'As exported, or compiled for cards.' },
    sha256: sha256('Digest of the ONNX file or of programqpc.bin.'),
    compiled: record('How it was compiled.', {
      target: text('card or emulator.'),
      compiler: text('The compiler’s version: that of its SDK.'),
      flags: list(text('Flag.'), 'Compiler flags.'),
      specializations: list(
        record('A set of shapes.', { name: text('Name.'), symbols: map(number('Size.'), 'By axis.') }),
        'Shapes.',
      ),
    }),
  },
  ['compiled'],
);

const tolerance = (name: string, description: string): Schema =>
  record(description, { [name]: { type: 'number', minimum: 0, description: 'The limit.' }, why: text('Its reason.') });

export const LOCK_SCHEMA: Schema = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  title: 'vlm-run lock',
  ...record('What a recipe depends on and what its examples gave: RECIPE.lock.json, written by vlm-run lock.', {
    format: { const: 1, description: 'Version of this format.' },
    recipe: record('The recipe.', {
      name: text('Its name.'),
      sha256: sha256('Digest of the canonical form.'),
      resolved: { type: 'object', description: 'Canonical form: complete, sorted, contents in place of paths.' },
    }),
    model: record(
      'The model.',
      {
        name: text('Its name.'),
        hub: record('Where it is published.', {
          id: text('Id on the Hugging Face hub.'),
          revision: text('Branch, tag or commit.'),
          commit: orNull(text('Commit.'), 'Commit of the files.'),
        }),
        files: list(file, 'Files that a run reads.'),
        tokenizer: orNull(sha256('Digest.'), 'tokenizer.json.'),
        template: orNull(sha256('Digest.'), 'Text of the chat template.'),
      },
      ['hub'],
    ),
    programs: list(program, 'What each device runs.'),
    preprocessing: count('Version of everything between a picture and its pixels.'),
    versions: map({ type: 'string' }, 'Versions of tool and runtime.'),
    tolerances: record('What still counts as the same.', {
      embeddings: tolerance('relative', 'Length of the difference over length of the embeddings.'),
      margin: tolerance('logits', 'Below this margin, another token on another processor is a near-tie.'),
    }),
    examples: { ...list(example, 'What was run.'), minItems: 1 },
  }),
  $comment: 'Generated from src/share/lock-schema.ts',
};
