/**
 * The JSON Schema of recipes, made from the manifests. Editors complete and explain recipes with it, and `validate`
 * checks with it, so both always know the same keys. Draft-07, which YAML language servers know best.
 */
import type { DeviceManifest } from '../contracts/device.js';
import type { NodeManifest } from '../contracts/node.js';
import { optionSchemas, portsSchema, REQUIRED, WITHOUT_IT } from './option-schema.js';
import type { Registry } from './registry.js';

export type JsonSchema = { readonly [key: string]: unknown };

/** Names of inputs, devices, nodes and outputs. */
const NAME = '^[A-Za-z][A-Za-z0-9_-]*$';
const NODE_NAME = '^(?!inputs$)[A-Za-z][A-Za-z0-9_-]*$';
/** `$inputs.image`, `$encode.embeddings`. */
export const REFERENCE = '^\\$[A-Za-z][A-Za-z0-9_-]*\\.[A-Za-z][A-Za-z0-9_-]*$';
/** More than anyone writes, few enough that every phase stays quick. */
export const MAX_NODES = 1000;
/** A recipe that extends another one takes what that one has. */
const REQUIRED_HERE = `${REQUIRED}, unless an extended recipe has it.`;
export const PLUGIN_KIND = '^\\.{0,2}/.+\\.[cm]?js$';

export function buildRecipeSchema(registry: Registry): JsonSchema {
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'vlm-run recipe',
    description: 'A graph of nodes that runs a vision-language model. Paths are relative to the file they stand in.',
    type: 'object',
    properties: topProperties(registry),
    additionalProperties: false,
    // A recipe that extends another one may leave out whatever the other one says, and remove parts with null.
    if: { required: ['extends'] },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: {},
    else: {
      required: ['version', 'name', 'model', 'nodes', 'outputs'],
      properties: {
        inputs: { additionalProperties: { type: 'object', required: ['type'] } },
        devices: { additionalProperties: { type: 'object', required: ['kind'] } },
        nodes: {
          minProperties: 1,
          maxProperties: MAX_NODES,
          additionalProperties: { type: 'object', required: ['kind'] },
        },
        outputs: { minProperties: 1, additionalProperties: { type: 'string' } },
        model: {
          properties: {
            path: { type: 'string' },
            hub: { type: 'string' },
            revision: { type: 'string' },
            programs: { type: 'object' },
          },
        },
      },
    },
    definitions: {
      model: modelSchema(),
      input: inputSchema(),
      device: deviceSchema(registry.devices),
      node: nodeSchema(registry.nodes),
      ...Object.fromEntries(registry.devices.map((m) => [`device-${m.kind}`, deviceOptions(m)])),
      ...Object.fromEntries(registry.nodes.map((m) => [`with-${m.kind}`, withSchema(m)])),
      ...Object.fromEntries(registry.nodes.map((m) => [`inputs-${m.kind}`, portsSchema(m)])),
    },
  };
}

function topProperties(registry: Registry): JsonSchema {
  return {
    version: {
      type: 'integer',
      const: 1,
      description: `Version of the recipe language. ${REQUIRED_HERE}`,
      examples: [1],
    },
    name: {
      type: 'string',
      minLength: 1,
      description: `A short name: it labels runs and their records. ${REQUIRED_HERE}`,
      examples: ['internvl'],
    },
    description: {
      type: 'string',
      description: `What the recipe does, in a sentence. ${WITHOUT_IT} none.`,
      examples: ['InternVL answers a question about an image.'],
    },
    extends: {
      type: 'string',
      minLength: 1,
      description: `Another recipe that this one changes. Maps are merged key by key, anything else is replaced; \`key: null\` removes a key; a node or device of another \`kind\` is replaced whole. ${WITHOUT_IT} the recipe stands alone.`,
      examples: ['internvl.yaml'],
    },
    model: { $ref: '#/definitions/model' },
    inputs: {
      type: 'object',
      description: 'What a run is given: `--input name=value`, or the default. Nodes read them as `$inputs.<name>`.',
      default: {},
      examples: [{ image: { type: 'image', default: '../examples/scene.png' }, prompt: { type: 'text' } }],
      propertyNames: { pattern: NAME },
      additionalProperties: { $ref: '#/definitions/input' },
    },
    devices: {
      type: 'object',
      description: 'Where programs run. Nodes name a device; `--device name=kind` changes one.',
      default: {},
      examples: [{ main: { kind: registry.devices[0]?.kind ?? 'cpu' } }],
      propertyNames: { pattern: NAME },
      additionalProperties: { $ref: '#/definitions/device' },
    },
    nodes: {
      type: 'object',
      description: `The steps. A node starts when everything it refers to is there; the order in the file means nothing. ${REQUIRED_HERE}`,
      examples: [{ encode: { kind: 'encode', device: 'main', inputs: { pixels: '$preprocess.pixels' } } }],
      propertyNames: { pattern: NODE_NAME },
      additionalProperties: { $ref: '#/definitions/node' },
    },
    outputs: {
      type: 'object',
      description: `What the run gives back: a name for each node output that is wanted. One text is printed alone, several each under its name. ${REQUIRED_HERE}`,
      examples: [{ answer: '$fuse.answer' }],
      propertyNames: { pattern: NAME },
      additionalProperties: {
        type: ['string', 'null'],
        pattern: REFERENCE,
        description: 'A reference to a node output: `$node.port`.',
        examples: ['$fuse.answer'],
      },
    },
  };
}

function modelSchema(): JsonSchema {
  const program = (role: string): JsonSchema => ({
    type: 'string',
    minLength: 1,
    description: `File of the ${role} program: ONNX, or a compiled program of a card. ${WITHOUT_IT} the one in the model folder.`,
    examples: [`exports/${role}.onnx`],
  });
  return {
    type: 'object',
    description: `The model: a folder, or a repository of the Hugging Face hub. One of \`path\` and \`hub\`. ${REQUIRED_HERE}`,
    examples: [{ path: '../models/shapes-internvl' }, { hub: 'OpenGVLab/InternVL2_5-1B' }],
    additionalProperties: false,
    properties: {
      path: {
        type: ['string', 'null'],
        minLength: 1,
        description: `Folder with config.json, tokenizer.json and the rest, relative to this file. ${REQUIRED}, unless \`hub\` is given.`,
        examples: ['../models/shapes-internvl'],
      },
      hub: {
        type: ['string', 'null'],
        pattern: '^[A-Za-z0-9][\\w.-]*(/[\\w.-]+)?$',
        description: `Repository on the Hugging Face hub, looked up in the local cache. Only \`models pull\` downloads. ${REQUIRED}, unless \`path\` is given.`,
        examples: ['OpenGVLab/InternVL2_5-1B'],
      },
      revision: {
        type: ['string', 'null'],
        minLength: 1,
        default: 'main',
        description: 'Branch, tag or commit of `hub`. A commit always means the same files.',
        examples: ['main', '4a1b2c3'],
      },
      programs: {
        type: ['object', 'null'],
        description: `Explicit program files: they win over those in the model folder. ${WITHOUT_IT} those.`,
        examples: [{ vision: 'exports/vision.onnx', language: 'exports/language.onnx' }],
        additionalProperties: false,
        properties: { vision: program('vision'), language: program('language') },
      },
    },
  };
}

function inputSchema(): JsonSchema {
  return {
    type: ['object', 'null'],
    description: 'An input of the recipe.',
    additionalProperties: false,
    properties: {
      type: {
        type: 'string',
        enum: ['image', 'text', 'messages'],
        description: `\`image\`: a picture. \`text\`: a string. \`messages\`: a whole conversation with roles. ${REQUIRED_HERE}`,
        examples: ['image', 'text'],
      },
      description: {
        type: 'string',
        description: `What to give: shown when the input is missing. ${WITHOUT_IT} its name and type alone.`,
        examples: ['The picture to describe.'],
      },
      default: {
        description: `Used when a run gives no value: text, a picture file or URL, or a list of messages. ${WITHOUT_IT} a run must give one, unless \`required\` is \`false\`.`,
        examples: ['../examples/scene.png', 'Describe the image.'],
      },
      many: {
        type: 'boolean',
        default: false,
        description: 'Takes several values: repeat `--input name=value`.',
        examples: [true],
      },
      required: {
        type: 'boolean',
        default: true,
        description: 'Without a default a run must give a value; `false` allows leaving it out.',
        examples: [false],
      },
    },
  };
}

function deviceSchema(devices: readonly DeviceManifest[]): JsonSchema {
  return {
    type: ['object', 'null'],
    description: 'A device: its kind, and options of that kind.',
    properties: {
      kind: {
        type: 'string',
        description: `What the device is. ${REQUIRED_HERE}`,
        examples: devices.map((m) => m.kind),
        anyOf: devices.map((m) => ({ const: m.kind, description: m.description })),
      },
    },
    allOf: devices.map((m) => whenKind(m.kind, { $ref: `#/definitions/device-${m.kind}` })),
  };
}

function deviceOptions(manifest: DeviceManifest): JsonSchema {
  return {
    description: manifest.description,
    additionalProperties: false,
    properties: {
      kind: { type: 'string', description: `${manifest.description} ${REQUIRED}.`, examples: [manifest.kind] },
      ...optionSchemas(manifest.options),
    },
  };
}

function nodeSchema(nodes: readonly NodeManifest[]): JsonSchema {
  return {
    type: ['object', 'null'],
    description: 'A step of the pipeline.',
    additionalProperties: false,
    properties: {
      kind: {
        type: 'string',
        description: `What the node does; or the path of a plugin module (needs \`--allow-plugins\`). ${REQUIRED_HERE}`,
        examples: [...nodes.map((m) => m.kind), './my-node.js'],
        anyOf: [
          ...nodes.map((m) => ({ const: m.kind, description: m.description })),
          { pattern: PLUGIN_KIND, description: 'A plugin module, relative to this file.' },
        ],
      },
      description: {
        type: 'string',
        description: `A note for readers; shown in the graph. ${WITHOUT_IT} none.`,
        examples: ['Cuts the picture into tiles.'],
      },
      device: {
        type: 'string',
        description: `The device that runs this node’s program: a name under \`devices\`. ${REQUIRED} where the kind runs a program; other kinds have none.`,
        examples: ['main'],
      },
      inputs: {
        type: 'object',
        description: 'Where each input port gets its value: `$inputs.<name>` or `$<node>.<port>`.',
        default: {},
        examples: [{ pixels: '$preprocess.pixels' }],
        additionalProperties: { type: 'string', pattern: REFERENCE },
      },
      with: {
        type: 'object',
        description: 'Options of the node’s kind.',
        default: {},
        examples: [{ batch_size: 1 }],
      },
    },
    allOf: nodes.map((m) =>
      whenKind(m.kind, {
        properties: {
          with: { $ref: `#/definitions/with-${m.kind}` },
          inputs: { $ref: `#/definitions/inputs-${m.kind}` },
        },
      }),
    ),
  };
}

function whenKind(kind: string, then: JsonSchema): JsonSchema {
  return {
    if: { type: 'object', required: ['kind'], properties: { kind: { const: kind } } },
    then,
  };
}

/** Schema of `with:` of one node kind; also checks a plugin's options. */
export function withSchema(manifest: NodeManifest): JsonSchema {
  return {
    description: `Options of ${manifest.kind}: ${manifest.description}`,
    additionalProperties: false,
    properties: optionSchemas(manifest.options),
  };
}
