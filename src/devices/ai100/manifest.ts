import type { DeviceManifest } from '../../contracts/device.js';

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
  },
};
