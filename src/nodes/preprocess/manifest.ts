import type { NodeManifest } from '../../contracts/node.js';

/** image + prompt -> normalised tiles and prompt token ids, exactly as the model's reference processor makes them. */
export const manifest: NodeManifest = {
  kind: 'preprocess',
  description: 'Decodes images, cuts them into tiles, renders the chat template and tokenizes the prompt.',
  stage: 'preprocess',
  inputs: {
    image: {
      kind: 'image',
      required: false,
      many: true,
      description: 'The image or images of the prompt.',
      withoutIt: 'the prompt is text alone, or has the images of its conversation',
    },
    prompt: { kind: 'text', required: false, description: 'What to ask.' },
    messages: { kind: 'messages', required: false, description: 'A whole conversation.' },
  },
  oneOf: [['prompt', 'messages']],
  outputs: {
    pixels: { kind: 'pixels', description: 'Normalised tiles of all images, float32 [tiles, 3, S, S].' },
    tokens: { kind: 'tokens', description: 'Prompt token ids with image tokens expanded, int32 [prompt_len].' },
  },
  options: {
    min_tiles: {
      type: 'integer',
      minimum: 1,
      maximum: 64,
      description: 'Fewest tiles an image is cut into.',
      withoutIt: 'as the model’s own configuration says',
      examples: [1],
    },
    max_tiles: {
      type: 'integer',
      minimum: 1,
      maximum: 64,
      description: 'Most tiles an image is cut into (the thumbnail not counted).',
      withoutIt: 'as the model’s own configuration says',
      examples: [4, 12],
    },
    use_thumbnail: {
      type: 'boolean',
      description: 'Add the whole image as one more tile when there are several.',
      withoutIt: 'as the model’s own configuration says',
      examples: [true],
    },
    system: {
      type: 'string',
      description: 'System message to use instead of the model’s own default; an empty string means none.',
      withoutIt: 'the conversation’s own, or the model’s default',
      examples: ['Answer in one short sentence.'],
    },
    exif_orientation: {
      type: 'boolean',
      default: true,
      description: 'Turn images upright as their EXIF orientation says before anything else.',
      examples: [true],
    },
    max_pixels: {
      type: 'integer',
      minimum: 1,
      default: 100_000_000,
      description: 'Images with more pixels than this are refused before they are decoded.',
      examples: [100_000_000],
    },
  },
};
