import type { NodeManifest } from '../../contracts/node.js';

/** text + image -> answer: boxes in pixels, structured JSON, an overlay picture. */
export const manifest: NodeManifest = {
  kind: 'fuse',
  description: 'Joins the text with the image: grounded boxes in pixels, structured output, an overlay picture.',
  stage: 'fuse',
  inputs: {
    text: { kind: 'text', description: 'The generated text.' },
    image: {
      kind: ['image', 'messages'],
      required: false,
      many: true,
      description: 'The image or images that boxes refer to, or the conversation that shows them.',
      withoutIt: 'boxes stay in the text as the model wrote them',
    },
  },
  outputs: { answer: { kind: 'answer', description: 'Text, boxes in pixels, and what else was asked for.' } },
  options: {
    overlay: {
      type: 'string',
      enum: ['auto', 'none', 'png', 'svg'],
      default: 'auto',
      description: 'Picture with the boxes drawn in. `auto`: PNG when there are boxes and the run keeps its results.',
      examples: ['png'],
    },
    image: {
      type: 'integer',
      minimum: 1,
      description:
        'Which image boxes refer to and are drawn into, counted from 1: the text itself does not say, so ask about one image at a time. A run says so when there are several.',
      withoutIt: 'the first image; of a conversation, the first of the last message that shows one',
      examples: [2],
    },
    schema: {
      type: ['object', 'boolean'],
      holdsSchema: true,
      description:
        'JSON Schema of the answer: JSON in the text is parsed and validated; a failure is reported as data.',
      withoutIt: 'the answer is text',
      examples: [{ type: 'object', required: ['count'], properties: { count: { type: 'integer' } } }],
    },
    exif_orientation: {
      type: 'boolean',
      default: true,
      description: 'Boxes refer to the image turned upright as its EXIF orientation says.',
      examples: [true],
    },
  },
};
