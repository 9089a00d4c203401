/** Goldens of tools/reference/images.py, and the pictures that both sides generate. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ResampleFilter } from '../../src/contracts/family.js';
import type { RgbImage } from '../../src/image/resample.js';
import { packageRoot } from '../../src/util/package-root.js';

const folder = join(packageRoot(), 'test', 'golden', 'images');

export interface TileGolden {
  size: number;
  min: number;
  max: number;
  tiles: number;
  opengvlab: { grid: [number, number]; sha256: string };
  pil: { grid: [number, number]; sha256: string };
}

/** `fromPil`: how many values are 1, 2 … levels away from the pil backend. */
export interface TorchvisionGolden {
  size: number;
  min: number;
  max: number;
  tiles: number;
  filter: ResampleFilter;
  uint8: string;
  float32: string;
  fromPil: Record<string, number>;
}

export interface ImageGolden {
  mode: string;
  size: [number, number];
  rgb: string;
  sizeWithoutExif: [number, number];
  rgbWithoutExif: string;
  resized: Record<string, string>;
  tiles: TileGolden[];
  torchvision: TorchvisionGolden[];
}

export interface ImageGoldens {
  mean: [number, number, number];
  std: [number, number, number];
  images: Record<string, ImageGolden>;
}

export function golden<T>(name: string): T {
  return JSON.parse(readFileSync(join(folder, name), 'utf8')) as T;
}

export function sourceBytes(name: string): Buffer {
  return readFileSync(join(folder, 'sources', name));
}

export function sha256(data: Uint8Array | Float32Array): string {
  return createHash('sha256')
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest('hex');
}

/** Numerical Recipes' generator: small, and the same in every language. */
export class Lcg {
  constructor(private state: number) {}

  next(): number {
    this.state = (Math.imul(this.state, 1664525) + 1013904223) >>> 0;
    return this.state;
  }

  between(low: number, high: number): number {
    return low + ((this.next() >>> 8) % (high - low + 1));
  }
}

export function lcgImage(width: number, height: number, seed: number): RgbImage {
  const lcg = new Lcg(seed);
  const data = Uint8Array.from({ length: width * height * 3 }, () => lcg.next() >>> 24);
  return { width, height, data };
}
