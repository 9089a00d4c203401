/** Goldens of tools/reference/llama4_goldens.py. */
import type { ChatMessage } from '../../../src/contracts/node.js';
import { goldenFolder } from '../golden-folder.js';

type Size = readonly [number, number];

interface Pixels {
  readonly dims: readonly number[];
  /** [columns, rows] */
  readonly grid: Size;
  readonly sha256: string;
  readonly samples: readonly number[];
}

export interface Goldens {
  readonly images: Readonly<
    Record<string, { readonly size: Size; readonly usual: Pixels; readonly maxCanvas: Pixels; readonly four: Pixels }>
  >;
  readonly grids: readonly [
    { readonly sizes: readonly Size[] },
    ...{
      readonly options: { readonly max_patches: number; readonly resize_to_max_canvas?: boolean };
      readonly first: readonly string[];
      readonly sha256: string;
    }[],
  ];
  readonly prompts: readonly {
    readonly name: string;
    readonly messages: readonly ChatMessage[];
    readonly sizes: readonly Size[];
    readonly rendered: string;
    readonly ids: readonly (number | readonly [number, number])[];
  }[];
  readonly dated: { readonly template: string; readonly messages: readonly ChatMessage[]; readonly rendered: string };
}

export const { model: MODEL, goldens, pictureBytes, modelFiles } = goldenFolder<Goldens>('llama4', 'scout');
