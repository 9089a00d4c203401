/** A node context over the tiny fixture programs: what a worker would give a device node. */
import type { ProgramSession } from '../../src/contracts/device.js';
import { VlmError } from '../../src/contracts/errors.js';
import type { FamilyModel } from '../../src/contracts/family.js';
import type { ModelContext, NodeContext, TextModel } from '../../src/contracts/node.js';
import type { ImageInfo } from '../../src/contracts/ports.js';
import { golden } from '../devices/conformance.js';

export interface Seen {
  readonly spans: { stage: string; start: number; end: number }[];
  readonly text: [number, string][];
  readonly progress: [number, number, string][];
}

/** Each token is a letter; 45 is a special token. */
const text: Pick<TextModel, 'stream'> = {
  stream: ({ skipSpecialTokens = true } = {}) => ({
    push: (id) => (id === 45 ? (skipSpecialTokens ? '' : '<s>') : String.fromCharCode(65 + id)),
    flush: () => '',
  }),
};

const family: Pick<FamilyModel, 'visionInputs' | 'visionRows' | 'eosTokenIds'> = {
  eosTokenIds: [47],
  visionInputs: (pixels) => ({ pixel_values: pixels }),
  visionRows: (embeds, images) => {
    const rows = images.reduce((n, i) => n + i.visionTokens, 0);
    if (embeds.data.length < rows * golden.hidden)
      throw new VlmError('IMAGE_TOKENS_MISMATCH', { what: 'Too few rows' });
    const data = embeds.data.slice(0, rows * golden.hidden) as Float32Array;
    return { dtype: 'float32', dims: [rows, golden.hidden], data };
  },
};

export function deviceContext(
  session: ProgramSession,
  options: Readonly<Record<string, unknown>>,
  checkCancelled: () => void = () => undefined,
): { context: NodeContext; seen: Seen } {
  const seen: Seen = { spans: [], text: [], progress: [] };
  const model = { family, text, describe: async () => session.describe() } as unknown as ModelContext;
  const context: NodeContext = {
    node: 'n',
    options,
    model: async () => model,
    program: async () => session,
    span: (stage, start, end = performance.now()) => seen.spans.push({ stage, start, end }),
    emitText: (item, piece) => seen.text.push([item, piece]),
    progress: (done, total, unit) => seen.progress.push([done, total, unit]),
    checkCancelled,
  };
  return { context, seen };
}

export function imageInfo(tiles: number): ImageInfo {
  return { name: 'image', width: 8, height: 8, grid: [tiles, 1], tiles, visionTokens: tiles * 4 };
}
