import type { DeviceManifest } from '../../contracts/device.js';

export const manifest: DeviceManifest = {
  kind: 'cpu',
  description: 'ONNX Runtime on the processor: the embedded default, needs no hardware.',
  options: {
    threads: {
      type: 'integer',
      minimum: 1,
      maximum: 1024,
      description: 'Threads that one operator may use.',
      withoutIt: 'the number of cores',
      examples: [2],
    },
    graph_optimization: {
      type: 'string',
      enum: ['disabled', 'basic', 'extended', 'all'],
      default: 'all',
      description: 'How far ONNX Runtime rewrites the graph when it loads it.',
      examples: ['all'],
    },
  },
};
