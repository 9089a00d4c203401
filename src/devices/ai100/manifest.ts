import type { DeviceManifest } from '../../contracts/device.js';
import type { OptionSchema } from '../../contracts/node.js';

/** One value or several. */
function counts(description: string, withoutIt: string, examples: readonly unknown[]): OptionSchema {
  const count = { type: 'integer', minimum: 1 };
  return { anyOf: [count, { type: 'array', items: count, minItems: 1 }], description, withoutIt, examples };
}

/** What the nodes of a recipe ask for is always among the shapes. */
const OF_NODES = 'what the nodes ask for';

export const manifest: DeviceManifest = {
  kind: 'ai100',
  description: 'Qualcomm Cloud AI 100 cards.',
  options: {
    ids: {
      type: 'array',
      items: { type: 'integer', minimum: 0 },
      minItems: 1,
      default: [0],
      description: 'Ids of the cards; several cards run one program together.',
      examples: [[0], [0, 1, 2, 3]],
    },
    num_cores: {
      type: 'integer',
      minimum: 1,
      maximum: 16,
      default: 16,
      description: 'Cores of each card that a program takes.',
      examples: [16, 8],
    },
    mxfp6_matmul: {
      type: 'boolean',
      default: false,
      description: 'Compress the weights of matrix products to MXFP6.',
      examples: [true],
    },
    mxint8_kv_cache: {
      type: 'boolean',
      default: false,
      description: 'Keep the cache in MXINT8.',
      examples: [true],
    },
    io_precision: {
      type: 'string',
      enum: ['float16', 'float32'],
      default: 'float16',
      description:
        'Precision of pixels, vision embeddings and cache as they cross to the card; float32 keeps the graph’s own.',
      examples: ['float16'],
    },
    shapes: {
      type: 'object',
      description:
        'What the programs are compiled for, where that is more than the nodes’ own options: a number or several for each.',
      withoutIt: OF_NODES,
      properties: {
        tiles: counts(
          'Tiles of an image, thumbnail included: one vision specialization each.',
          'the most that the model and the nodes cut',
          [13, [5, 13]],
        ),
        batch_size: counts('Prompts decoded together.', OF_NODES, [[1, 4]]),
        prefill_seq_len: counts('Prompt tokens per prefill call.', OF_NODES, [[32, 128]]),
        ctx_len: counts('Slots of the cache; the node’s own ctx_len among them.', OF_NODES, [[1024, 4096]]),
        full_batch_size: {
          type: 'integer',
          minimum: 1,
          description: 'Rows of the cache of a program exported for continuous batching.',
          withoutIt: 'the program has no continuous batching',
          examples: [4],
        },
        comp_ctx_lengths_prefill: counts('How much of the cache a prefill call reads.', 'all of it', [[1024, 2048]]),
        comp_ctx_lengths_decode: counts('How much of the cache a decode step reads.', 'all of it', [[2048, 4096]]),
      },
      additionalProperties: false,
      examples: [{ tiles: [1, 5], prefill_seq_len: [32, 128] }],
    },
    compiler_flags: {
      type: 'object',
      description: 'Further flags of the compiler: a_b: v becomes -a-b=v, true the flag alone.',
      withoutIt: 'none',
      additionalProperties: { type: ['string', 'number', 'boolean'] },
      examples: [{ aic_enable_depth_first: true, mos: 1 }],
    },
    programs: {
      type: 'object',
      description:
        'Programs that are compiled already, such as QEfficient’s: QPC folders, from the recipe’s folder. They are run as they are.',
      withoutIt: 'programs are compiled from the model’s exports',
      properties: {
        vision: {
          type: 'string',
          minLength: 1,
          description: 'The vision program.',
          withoutIt: 'it is compiled',
          examples: ['qpc-vision/qpc'],
        },
        language: {
          type: 'string',
          minLength: 1,
          description: 'The language program.',
          withoutIt: 'it is compiled',
          examples: ['qpc-language/qpc'],
        },
      },
      additionalProperties: false,
      examples: [{ vision: 'qpc-vision/qpc', language: 'qpc-language/qpc' }],
    },
    memory_gib: {
      type: 'number',
      exclusiveMinimum: 0,
      description: 'Memory of each card: a program that does not fit is refused before it is compiled.',
      withoutIt: 'no program is refused for its size',
      examples: [16, 32],
    },
    timeout_ms: {
      type: 'integer',
      minimum: 1,
      maximum: 4294967,
      default: 60000,
      description: 'How long one call may take before the card counts as hung, in milliseconds.',
      examples: [60000, 300000],
    },
    queue_depth: {
      type: 'integer',
      minimum: 1,
      maximum: 64,
      default: 1,
      description: 'Calls of a program that are prepared at a time; each has buffers and a state of its own.',
      examples: [1, 2],
    },
    emulated: {
      type: 'boolean',
      default: false,
      description: 'Run on an emulated card: no hardware and no SDK, and never the speed of a card.',
      examples: [true],
    },
  },
};
