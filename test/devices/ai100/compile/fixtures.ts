// Programs and recipes of every family, as plain data: enough to derive what the compiler is called with.
import type { DeviceConfig } from '../../../../src/contracts/device.js';
import type { ProgramSymbols } from '../../../../src/contracts/family.js';
import type { ModelContext } from '../../../../src/contracts/node.js';
import type { Plan } from '../../../../src/contracts/recipe.js';
import type { GraphPort, ProgramGraph } from '../../../../src/devices/ai100/compile/command.js';
import { manifest as decode } from '../../../../src/nodes/decode/manifest.js';
import { manifest as encode } from '../../../../src/nodes/encode/manifest.js';
import { manifest as preprocess } from '../../../../src/nodes/preprocess/manifest.js';

export function must<T>(value: T | undefined | null): T {
  if (value === undefined || value === null) throw new TypeError('a fixture is missing something');
  return value;
}

type Dims = readonly (number | string)[];
export const port = (name: string, dims: Dims, dtype: GraphPort['dtype'] = 'float32'): GraphPort => ({
  name,
  graphName: name,
  dtype,
  dims,
});

export interface Layout {
  readonly pixels: Dims;
  readonly embeds: Dims;
  readonly cache: Dims;
}

export const LAYOUTS: Readonly<Record<string, Layout>> = {
  internvl: {
    pixels: ['batched_num_patches', 3, 'img_size', 'img_size'],
    embeds: [1, 'vision_size', 8],
    cache: ['batch_size', 2, 'ctx_len', 4],
  },
  llava_next: {
    pixels: ['batch_size', 'num_patches', 3, 'img_size', 'img_size'],
    embeds: ['vision_batch_size', 'vision_size', 8],
    cache: ['batch_size', 2, 'ctx_len', 4],
  },
  llama4: {
    pixels: ['max_num_tiles', 3, 'img_size', 'img_size'],
    embeds: ['vision_size', 8],
    cache: ['batch_size', 2, 'chunk_ctx_len', 4],
  },
};

export function graphsOf(layout: Layout): { readonly vision: ProgramGraph; readonly language: ProgramGraph } {
  const rest = { opsets: { '': 17 }, weightBytes: 4000, stateBytesPerToken: 64, externalData: [] };
  const caches = [0, 1].flatMap((n) => [port(`past_key.${n}`, layout.cache), port(`past_value.${n}`, layout.cache)]);
  const ids: Dims = ['batch_size', 'seq_len'];
  return {
    vision: {
      role: 'vision',
      path: 'MODEL/vision.onnx',
      inputs: [port('pixel_values', layout.pixels)],
      outputs: [port('vision_embeds', layout.embeds)],
      ...rest,
    },
    language: {
      role: 'language',
      path: 'MODEL/language.onnx',
      inputs: [
        port('input_ids', ids, 'int64'),
        port('position_ids', ids, 'int64'),
        port('vision_embeds', layout.embeds),
        port('image_idx', [1, 1], 'int64'),
        ...caches,
      ],
      outputs: [
        port('logits', ['batch_size', 1, 16]),
        // Some exports list it first, some after the embeddings.
        port('image_idx_output', [1, 1], 'int64'),
        port('vision_embeds_RetainedState', layout.embeds),
        ...caches.map((c) => port(`${c.name}_RetainedState`, c.dims)),
      ],
      ...rest,
    },
  };
}

export function modelOf(programSymbols: ProgramSymbols | undefined, tiling?: ModelContext['family']['tiling']) {
  const family = {
    family: 'test',
    hiddenSize: 8,
    textLayers: 2,
    maxPositions: 65536,
    ...(programSymbols === undefined ? {} : { programSymbols }),
    ...(tiling === undefined ? {} : { tiling }),
  };
  return { family } as unknown as ModelContext;
}

export function planOf(device: Omit<DeviceConfig, 'kind'>, with_: Readonly<Record<string, unknown>> = {}): Plan {
  const node = (name: string, manifest: typeof decode, inputs: Plan['nodes'][number]['inputs'], on: string | null) => ({
    name,
    manifest,
    device: on,
    inputs,
    options: { batch_size: 1, ...with_ },
    given: [],
    after: [],
    optionLocations: {},
  });
  const from = (name: string, out: string) => ({ from: 'node', node: name, port: out }) as const;
  return {
    name: 'test',
    description: '',
    file: '/recipes/test.yaml',
    model: {},
    inputs: {},
    devices: { main: { kind: 'ai100', ...device } },
    nodes: [
      node('preprocess', preprocess, {}, null),
      node('encode', encode, { pixels: from('preprocess', 'pixels') }, 'main'),
      node('decode', decode, { tokens: from('preprocess', 'tokens'), vision: from('encode', 'embeddings') }, 'main'),
    ],
    outputs: {},
  } as unknown as Plan;
}
