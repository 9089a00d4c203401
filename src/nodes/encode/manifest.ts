import type { NodeManifest } from '../../contracts/node.js';

/** pixels [tiles, 3, S, S] -> vision embeddings [rows, hidden], by the model's vision program. */
export const manifest: NodeManifest = {
  kind: 'encode',
  description: 'Runs the vision program: tiles become rows of vision embeddings.',
  stage: 'encode',
  program: 'vision',
  inputs: { pixels: { kind: 'pixels', description: 'Normalised tiles of the images of a prompt.' } },
  outputs: { embeddings: { kind: 'embeddings', description: 'Vision embeddings [rows, hidden] in prompt order.' } },
  options: {
    batch_size: {
      type: 'integer',
      minimum: 1,
      maximum: 1024,
      default: 1,
      description: 'How many items of a batch the vision program takes in one call.',
      examples: [1, 4],
    },
  },
};
