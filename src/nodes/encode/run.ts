/** encode: pixels [tiles, 3, S, S] -> vision embeddings [rows, hidden], through the model's vision program. */
import type { ProgramSession } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import type { FamilyModel } from '../../contracts/family.js';
import type { EmbeddingCache, ItemResult, NodeContext, NodeInputs } from '../../contracts/node.js';
import type { EmbeddingsValue, ImageInfo, PixelsValue } from '../../contracts/ports.js';
import type { Tensor } from '../../contracts/tensor.js';
import { itemsPerCall, tilesPerCall } from './grouping.js';

interface Work {
  readonly index: number;
  readonly pixels: Tensor<'float32'>;
  readonly images: readonly ImageInfo[];
  readonly key?: string;
}

export async function run(items: readonly NodeInputs[], context: NodeContext): Promise<readonly ItemResult[]> {
  const results: ItemResult[] = items.map(() => embeddings(null));
  let work: Work[] = [];
  for (const [index, item] of items.entries()) {
    const { tensor, images, key } = pixelsOf(item);
    // A text-only prompt runs no vision program.
    if (tensor !== null && images.length > 0) {
      work.push({ index, pixels: tensor, images, ...(key === undefined ? {} : { key }) });
    }
  }
  if (context.embeddings !== undefined) work = await takeKnown(work, results, context.embeddings);
  if (work.length === 0) return results;
  const [{ family }, session] = await Promise.all([context.model(), context.program()]);
  const room = tilesPerCall(session.describe());
  const tiles = work.map((w) => w.pixels.dims[0] ?? 0);
  let at = 0;
  let done = 0;
  // As many calls at once as the session takes: while one image is encoded the next one is brought to the device.
  const lines = Array.from({ length: session.callsInFlight ?? 1 }, async () => {
    while (at < work.length) {
      const group = work.slice(at, at + itemsPerCall(tiles, at, batchSize(context), room));
      at += group.length;
      for (const [index, result] of await encodeGroup(group, family, session, context)) {
        results[index] = await keep(result, group.find((w) => w.index === index)?.key, context.embeddings);
      }
      done += group.length;
      if (items.length > 1) context.progress(done, work.length, 'items');
    }
  });
  // Nothing may be under way when this ends, also where one of them failed.
  const failed = (await Promise.allSettled(lines)).find((line) => line.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  return results;
}

/** Answers what the cache knows; the rest is work. */
async function takeKnown(work: readonly Work[], results: ItemResult[], cache: EmbeddingCache): Promise<Work[]> {
  const left: Work[] = [];
  for (const one of work) {
    const rows = one.key === undefined ? undefined : await cache.get(one.key);
    if (rows === undefined) left.push(one);
    else results[one.index] = embeddings(rows, 'hit');
  }
  return left;
}

async function keep(
  result: ItemResult,
  key: string | undefined,
  cache: EmbeddingCache | undefined,
): Promise<ItemResult> {
  if (cache === undefined || key === undefined || !result.ok) return result;
  const { tensor } = result.outputs['embeddings'] as EmbeddingsValue;
  if (tensor !== null) await cache.put(key, tensor);
  return embeddings(tensor, 'miss');
}

function pixelsOf(item: NodeInputs): PixelsValue {
  const value = item.pixels;
  if (value !== undefined && !Array.isArray(value) && (value as PixelsValue).kind === 'pixels') {
    return value as PixelsValue;
  }
  throw new VlmError('INTERNAL', { what: 'encode was run without pixels', expected: 'a value of kind pixels' });
}

function batchSize(context: NodeContext): number {
  const given = context.options.batch_size;
  return typeof given === 'number' && given >= 1 ? Math.floor(given) : 1;
}

/** One call for the group; when it is the items' own fault, each alone, so that one bad item does not sink the rest. */
async function encodeGroup(
  group: readonly Work[],
  family: FamilyModel,
  session: ProgramSession,
  context: NodeContext,
): Promise<readonly (readonly [number, ItemResult])[]> {
  context.checkCancelled();
  const started = performance.now();
  try {
    const rows = await encodeOnce(group, family, session);
    return split(rows, group);
  } catch (error) {
    if (!(error instanceof VlmError) || !isItemError(error)) throw error;
    if (group.length === 1) return group.map((w) => [w.index, { ok: false, error: error.toData() }] as const);
  } finally {
    context.span('encode', started);
  }
  const out: (readonly [number, ItemResult])[] = [];
  for (const one of group) out.push(...(await encodeGroup([one], family, session, context)));
  return out;
}

function isItemError(error: VlmError): boolean {
  return ['TENSOR_INVALID', 'SHAPE_NOT_ALLOWED', 'IMAGE_TOKENS_MISMATCH'].includes(error.code);
}

/** [rows of all items, hidden] */
async function encodeOnce(group: readonly Work[], family: FamilyModel, session: ProgramSession): Promise<Tensor> {
  const inputs = family.visionInputs(joinTiles(group), session.describe());
  const { outputs } = await session.run(null, inputs, ['vision_embeds']);
  const embeds = outputs.vision_embeds;
  if (embeds === undefined) throw new VlmError('DEVICE_FAILED', { what: 'The vision program gave no vision_embeds' });
  return family.visionRows(
    embeds,
    group.flatMap((w) => w.images),
  );
}

function joinTiles(group: readonly Work[]): Tensor<'float32'> {
  const [first] = group;
  if (first === undefined) throw new VlmError('INTERNAL', { what: 'An empty group was encoded' });
  if (group.length === 1) return first.pixels;
  const rest = first.pixels.dims.slice(1);
  const odd = group.find((w) => w.pixels.dims.slice(1).join() !== rest.join());
  if (odd !== undefined) {
    throw new VlmError('TENSOR_INVALID', {
      what: 'Items of one batch have tiles of different sizes',
      expected: `[tiles, ${rest.join(', ')}]`,
      received: `[${odd.pixels.dims.join(', ')}]`,
    });
  }
  const data = new Float32Array(group.reduce((n, w) => n + w.pixels.data.length, 0));
  let at = 0;
  for (const { pixels } of group) {
    data.set(pixels.data, at);
    at += pixels.data.length;
  }
  const tiles = group.reduce((n, w) => n + (w.pixels.dims[0] ?? 0), 0);
  return { dtype: 'float32', dims: [tiles, ...rest], data };
}

/** Each item gets memory of its own: results move to other threads one by one. */
function split(rows: Tensor, group: readonly Work[]): readonly (readonly [number, ItemResult])[] {
  const hidden = rows.dims[1] ?? 0;
  let from = 0;
  return group.map(({ index, images }) => {
    const count = images.reduce((n, image) => n + image.visionTokens, 0);
    const part = group.length === 1 ? rows.data : rows.data.slice(from * hidden, (from + count) * hidden);
    from += count;
    return [index, embeddings({ dtype: rows.dtype, dims: [count, hidden], data: part } as Tensor)] as const;
  });
}

function embeddings(tensor: Tensor | null, cache?: 'hit' | 'miss'): ItemResult {
  const value = { kind: 'embeddings', tensor, ...(cache === undefined ? {} : { cache }) };
  return { ok: true, outputs: { embeddings: value as EmbeddingsValue } };
}
