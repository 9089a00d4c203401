/** Goldens of tools/reference/llava_next_goldens.py. */
import type { ChatMessage } from '../../../src/contracts/node.js';
import { goldenFolder } from '../golden-folder.js';

export interface Goldens {
  readonly images: Readonly<
    Record<
      string,
      {
        /** [height, width] */
        readonly imageSize: readonly [number, number];
        readonly dims: readonly number[];
        readonly torchvision: string;
        readonly pil: string;
        readonly packed: string;
      }
    >
  >;
  readonly grids: {
    readonly sizes: readonly (readonly [number, number])[];
    readonly sha256: string;
    readonly packed: readonly {
      readonly size: readonly [number, number];
      readonly tiles: number;
      readonly rows: number;
      readonly sha256: string;
    }[];
  };
  readonly prompts: readonly {
    readonly name: string;
    readonly messages: readonly ChatMessage[];
    readonly sizes: readonly (readonly [number, number])[];
    readonly rendered: string;
    readonly ids: readonly (number | readonly [number, number])[];
  }[];
}

export const { model: MODEL, goldens, pictureBytes, modelFiles } = goldenFolder<Goldens>('llava-next', 'granite');
