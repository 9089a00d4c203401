/** The JSON Schema of sweep files: editors complete them with it, and they are checked with it. */
const VALUES = {
  anyOf: [
    { type: 'array', minItems: 1, description: 'The values as they are.', examples: [[1, 2, 4]] },
    {
      type: 'object',
      description: 'Numbers from one end to the other, `step` apart, both ends included where they are met.',
      required: ['from', 'to'],
      properties: {
        from: { type: 'number', description: 'The first number. Required.', examples: [1] },
        to: { type: 'number', description: 'The last number. Required.', examples: [4] },
        step: { type: 'number', exclusiveMinimum: 0, default: 1, description: 'From one to the next.', examples: [1] },
      },
      additionalProperties: false,
      examples: [{ from: 1, to: 4 }],
    },
    {
      type: 'object',
      description: 'Whole numbers spaced evenly on a logarithmic scale, both ends included.',
      required: ['log'],
      properties: {
        log: {
          type: 'object',
          description: 'The ends and how many numbers. Required.',
          required: ['from', 'to', 'points'],
          properties: {
            from: { type: 'integer', minimum: 1, description: 'The smallest. Required.', examples: [32] },
            to: { type: 'integer', minimum: 1, description: 'The largest. Required.', examples: [512] },
            points: { type: 'integer', minimum: 2, maximum: 1000, description: 'How many. Required.', examples: [5] },
          },
          additionalProperties: false,
          examples: [{ from: 32, to: 512, points: 5 }],
        },
      },
      additionalProperties: false,
      examples: [{ log: { from: 32, to: 512, points: 5 } }],
    },
  ],
} as const;

const POINT = {
  type: 'object',
  minProperties: 1,
  description: 'Parameters of the recipe, as `--set` names them, or `device.NAME` with a value as `--device` takes it.',
  examples: [{ 'nodes.decode.with.batch_size': 4, 'device.main': 'cpu' }],
} as const;

const SCORE = {
  type: 'object',
  description:
    'Judge a point by its answers to a dataset, asked once after the measuring. Without it: points are judged by their tokens.',
  required: ['dataset'],
  properties: {
    dataset: {
      type: 'string',
      minLength: 1,
      description: 'A JSONL or CSV file: the inputs of the recipe, and what is expected. Required.',
      examples: ['questions.jsonl'],
    },
    expect: {
      type: 'string',
      minLength: 1,
      default: 'expect',
      description:
        'The key of what is expected: a text, a box [x1, y1, x2, y2] in pixels, { label, box }, or a list of boxes.',
      examples: ['answer'],
    },
    as: {
      type: 'string',
      enum: ['exact', 'contains'],
      default: 'exact',
      description:
        'When a text is right: it is what is expected (blanks apart), or has it somewhere (upper and lower case alike). A box scores its overlap (IoU).',
      examples: ['contains'],
    },
    margin: {
      type: 'number',
      minimum: 0,
      maximum: 1,
      default: 0,
      description:
        'A point is marked when its score, from 0 to 1, is lower than that of the reference by more than this.',
      examples: [0.02],
    },
  },
  additionalProperties: false,
  examples: [{ dataset: 'questions.jsonl', margin: 0.02 }],
} as const;

export const SWEEP_SCHEMA = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  title: 'vlm-run sweep',
  description: 'Many measured runs of one recipe. Paths are relative to this file.',
  type: 'object',
  required: ['version', 'name', 'recipe'],
  anyOf: [{ required: ['grid'] }, { required: ['zip'] }, { required: ['list'] }],
  properties: {
    version: { type: 'integer', const: 1, description: 'Version of the sweep language. Required.', examples: [1] },
    name: { type: 'string', minLength: 1, description: 'A short name. Required.', examples: ['batch and prefill'] },
    description: {
      type: 'string',
      description: 'What is to be found out. Without it: none.',
      examples: ['How far does batching help?'],
    },
    recipe: {
      type: 'string',
      minLength: 1,
      description: 'The recipe. Required.',
      examples: ['../pipelines/internvl.yaml'],
    },
    inputs: {
      type: 'array',
      minItems: 1,
      description:
        'What is asked, one set of inputs after the other, over and over. Without it: the defaults of the recipe.',
      items: { type: 'object', description: 'Inputs by name.', examples: [{ prompt: 'How many shapes are there?' }] },
      examples: [[{ image: '../examples/scene.png', prompt: 'Describe the image.' }]],
    },
    grid: {
      type: 'object',
      minProperties: 1,
      description:
        'Axes: every value of one with every value of the others. Required, unless `zip` or `list` is given.',
      additionalProperties: VALUES,
      examples: [{ 'nodes.decode.with.batch_size': [1, 2, 4] }],
    },
    zip: {
      type: 'object',
      minProperties: 1,
      description:
        'Axes that move together: the first values, the second values, … All have the same number of values. Required, unless `grid` or `list` is given.',
      additionalProperties: VALUES,
      examples: [{ 'nodes.encode.with.batch_size': [1, 4], 'nodes.decode.with.batch_size': [1, 4] }],
    },
    list: {
      type: 'array',
      minItems: 1,
      description:
        'Points written out. Together with `grid` or `zip` every one of them is combined with every point of those. Required, unless `grid` or `zip` is given.',
      items: POINT,
      examples: [[{ 'device.main': 'cpu' }, { 'device.main': 'ai100:0' }]],
    },
    exclude: {
      type: 'array',
      description: 'Points that are left out: those that have all the values of one of these.',
      default: [],
      items: POINT,
      examples: [[{ 'nodes.decode.with.batch_size': 4, 'nodes.decode.with.ctx_len': 4096 }]],
    },
    measure: {
      type: 'object',
      description: 'How a point is measured.',
      default: {},
      properties: {
        warmup: {
          type: 'integer',
          minimum: 0,
          default: 1,
          description: 'Repeats before the first measured one.',
          examples: [2],
        },
        repeats: {
          type: 'integer',
          minimum: 1,
          default: 5,
          description: 'Measured repeats: each is the fewest batches that hold all inputs equally often.',
          examples: [10],
        },
        threads: {
          type: 'integer',
          minimum: 1,
          default: 1,
          description: 'Threads of every cpu device that names none.',
          examples: [2],
        },
        in_flight: {
          type: 'integer',
          minimum: 1,
          default: 1,
          description: 'Batches under way at once: 1 measures latency, 2 and more the throughput of a pipeline.',
          examples: [3],
        },
        timeout_s: {
          type: 'number',
          exclusiveMinimum: 0,
          default: 600,
          description: 'Longest time of a point in seconds; then it is recorded as failed.',
          examples: [120],
        },
        max_spread: {
          type: 'number',
          exclusiveMinimum: 0,
          default: 0.1,
          description:
            'Points whose 95 % confidence interval of the latency is wider than this share of its median are marked.',
          examples: [0.05],
        },
        order: {
          type: 'string',
          enum: ['random', 'file'],
          default: 'random',
          description: 'Order of the points: random keeps a drift of the machine from looking like an effect.',
          examples: ['file'],
        },
        seed: {
          type: 'integer',
          minimum: 0,
          default: 1,
          description: 'Of the order and of the bootstrap.',
          examples: [7],
        },
      },
      additionalProperties: false,
      examples: [{ warmup: 2, repeats: 10 }],
    },
    parity: {
      type: 'object',
      minProperties: 1,
      description:
        'Every point is compared with a reference point, by its tokens or by a score: a fast but wrong one is marked. Without it: by tokens, with the first point that the planner takes.',
      properties: {
        reference: {
          ...POINT,
          description:
            'The reference point, by some of its values. Without it: the first point that the planner takes.',
        },
        score: SCORE,
      },
      additionalProperties: false,
      examples: [{ reference: { 'nodes.decode.with.batch_size': 1 } }],
    },
  },
  additionalProperties: false,
} as const;
