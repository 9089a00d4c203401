import { cpuDriver } from '../../../src/devices/cpu/index.js';
import { conformance, fixture } from '../conformance.js';

const FLAVOURS = [
  'rank3',
  'rank2',
  'limits',
  'external',
  'optional',
  'reader',
  'half',
  'by-row',
  'by-row-cb',
  'function',
];

for (const flavour of FLAVOURS) {
  const half = flavour === 'half';
  conformance({
    name: `cpu, ${flavour}`,
    driver: cpuDriver,
    config: { kind: 'cpu', threads: 1 },
    language: fixture(`language-${flavour}.onnx`),
    vision: fixture(half || flavour === 'rank2' ? 'vision-rank2-half.onnx' : 'vision-rank3.onnx'),
    precision: half ? 'half' : 'float32',
    chunks: [8, 1, 5, 96],
    batches: true,
  });
}
