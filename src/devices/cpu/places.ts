/**
 * Where the weights of external tensors truly are. In a model cache a graph and its weights are links to files of other
 * names in another folder; ONNX Runtime refuses weights that lead out of the folder it is given with a graph.
 */
import { realpathSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import type { OnnxTensor } from './onnx-graph.js';

export interface WeightPlaces {
  /** All weights lie in it or below it. */
  readonly folder: string;
  /** Tensors whose elements are elsewhere than the graph says, and where that is from `folder`. */
  readonly moved: ReadonlyMap<OnnxTensor, string>;
}

/** `tensors` are those of the graph at `path` with elements in files of their own, which exist. */
export function weightPlaces(path: string, tensors: readonly OnnxTensor[]): WeightPlaces {
  const own = dirname(path);
  const files = new Map<string, string>();
  for (const { external } of tensors) {
    if (external !== null) files.set(external.location, realpathSync(join(own, external.location)));
  }
  const home = realpathSync(own);
  if ([...files].every(([location, file]) => file === join(home, location))) return { folder: own, moved: new Map() };
  const folder = commonFolder([...files.values()].map((file) => dirname(file)));
  const moved = new Map<OnnxTensor, string>();
  for (const tensor of tensors) {
    const file = files.get(tensor.external?.location ?? '');
    if (file !== undefined) moved.set(tensor, relative(folder, file));
  }
  return { folder, moved };
}

function commonFolder(folders: readonly string[]): string {
  const [first = sep, ...others] = folders;
  const holds = (folder: string): boolean =>
    others.every((other) => other === folder || other.startsWith(folder.endsWith(sep) ? folder : folder + sep));
  let folder = first;
  while (!holds(folder) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
}
