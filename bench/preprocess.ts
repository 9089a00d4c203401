/**
 * Preprocessing of five photo sizes against transformers' image processor (both backends) and sharp's own resize, in one
 * session, taking turns. Prints a Markdown table.
 *
 *     npx tsc -p tsconfig.json && node .build/bench/preprocess.js [--python /path/to/python] [--rounds 7]
 *
 * Without --python (an environment with transformers, torch, torchvision and pillow) only this side runs.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { arch, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import type { ImageLayout, Normalization } from '../src/contracts/family.js';
import { internvlLayout } from '../src/families/internvl/geometry.js';
import { decodeImage } from '../src/image/decode.js';
import { loadKernels } from '../src/image/native.js';
import { normalizationTable, tileElements, writeTiles } from '../src/image/tiles.js';
import { packageRoot } from '../src/util/package-root.js';

const SIZES: readonly (readonly [string, number, number])[] = [
  ['VGA', 640, 480],
  ['2 MP', 1920, 1080],
  ['5 MP portrait', 1944, 2592],
  ['12 MP', 4032, 3024],
  ['24 MP', 6000, 4000],
];
const imageNet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;

interface Timing {
  readonly decode: number;
  readonly process: number;
  readonly sha256?: string;
}

/** A photo-like JPEG: soft light, soft shapes and grain, the same on every machine. */
async function photo(width: number, height: number): Promise<Buffer> {
  const data = Buffer.alloc(width * height * 3);
  let state = width;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 3) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const grain = (state >>> 28) - 8;
      const wave = 40 * Math.sin((x * 37) / width) * Math.cos((y * 23) / height);
      data[at] = Math.max(0, Math.min(255, 60 + (130 * x) / width + wave + grain));
      data[at + 1] = Math.max(0, Math.min(255, 90 + (90 * y) / height - wave + grain));
      data[at + 2] = Math.max(0, Math.min(255, 160 - (80 * x) / width + wave / 2 + grain));
    }
  }
  return sharp(data, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 88 })
    .toBuffer();
}

function layoutOf(width: number, height: number, arithmetic: 'pillow' | 'torchvision'): ImageLayout {
  return internvlLayout(width, height, {
    ...{ tileSize: 448, minTiles: 1, maxTiles: 12, useThumbnail: true, imageTokens: 256 },
    ...{ filter: 'bicubic', variant: 'hf', arithmetic },
  });
}

const { kernels, label } = loadKernels();

async function ours(bytes: Buffer, arithmetic: 'pillow' | 'torchvision'): Promise<Timing> {
  const rounding = arithmetic === 'pillow' ? 'rescale-then-normalize' : 'fused';
  const normalization: Normalization = { rescale: 1 / 255, ...imageNet, arithmetic: rounding };
  const start = performance.now();
  const image = await decodeImage(bytes);
  const decoded = performance.now();
  const layout = layoutOf(image.width, image.height, arithmetic);
  const output = new Float32Array(tileElements(layout));
  writeTiles(image, layout, normalizationTable(normalization), kernels, output);
  const end = performance.now();
  const sha256 = createHash('sha256').update(new Uint8Array(output.buffer)).digest('hex');
  return { decode: decoded - start, process: end - decoded, sha256 };
}

/** What sharp alone would do: decode and its own bicubic, to the same sizes. Other pixels, and none normalised. */
async function sharpAlone(bytes: Buffer): Promise<Timing> {
  const start = performance.now();
  const { data, info } = await sharp(bytes).raw().toBuffer({ resolveWithObject: true });
  const { width, height } = info;
  const decoded = performance.now();
  for (const { resize } of layoutOf(width, height, 'pillow').views) {
    await sharp(data, { raw: { width, height, channels: 3 } })
      .resize(resize.width, resize.height, { fit: 'fill', kernel: 'cubic' })
      .raw()
      .toBuffer();
  }
  return { decode: decoded - start, process: performance.now() - decoded };
}

class Reference {
  private constructor(
    private readonly child: ChildProcessWithoutNullStreams,
    private readonly lines: AsyncIterator<string>,
    private readonly reader: Interface,
    readonly versions: Record<string, string | number>,
  ) {}

  static async start(python: string): Promise<Reference> {
    const child = spawn(python, [join(packageRoot(), 'bench', 'preprocess_reference.py')]);
    child.stderr.resume();
    const reader = createInterface({ input: child.stdout });
    const lines = reader[Symbol.asyncIterator]();
    const first = await lines.next();
    if (first.done === true) throw new Error(`${python} cannot run bench/preprocess_reference.py`);
    return new Reference(child, lines, reader, JSON.parse(first.value) as Record<string, string | number>);
  }

  async run(file: string, backend: 'pil' | 'torchvision'): Promise<Timing> {
    this.child.stdin.write(`${JSON.stringify({ file, backend })}\n`);
    const { value } = await this.lines.next();
    return JSON.parse(String(value)) as Timing;
  }

  stop(): void {
    this.reader.close();
    this.child.stdin.end();
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

interface Medians {
  readonly decode: number;
  readonly process: number;
  readonly total: number;
}

function summary(runs: readonly Timing[]): Medians {
  return {
    decode: median(runs.map((t) => t.decode)),
    process: median(runs.map((t) => t.process)),
    total: median(runs.map((t) => t.decode + t.process)),
  };
}

type Runner = () => Promise<Timing>;

/** Every contestant once a round, so that all of them see the same machine. The first round only warms up. */
async function compete(runners: Readonly<Record<string, Runner>>, rounds: number): Promise<Record<string, Timing[]>> {
  const timings: Record<string, Timing[]> = {};
  for (let round = 0; round <= rounds; round++) {
    for (const [name, run] of Object.entries(runners)) {
      const timing = await run();
      if (round > 0) timings[name] = [...(timings[name] ?? []), timing];
    }
  }
  return timings;
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { python: { type: 'string' }, rounds: { type: 'string', default: '7' } } });
  const reference = values.python === undefined ? null : await Reference.start(values.python);
  const folder = mkdtempSync(join(tmpdir(), 'vlm-bench-'));
  console.log(
    `vlm-run kernels: ${label}; sharp ${sharp.versions.sharp}; Node ${process.version}; ${arch()}, ${cpus().length} cores`,
  );
  if (reference !== null) console.log(`reference: ${JSON.stringify(reference.versions)}`);
  console.log(
    '\nMedian milliseconds, decoding + the rest. Ratios: the other side over vlm-run, whole / without decoding.\n',
  );
  const heads = [
    'photo',
    'tiles',
    'vlm-run',
    'pil backend',
    '×',
    'torchvision backend',
    '×',
    'sharp resize only',
    '×',
    'same bytes',
  ];
  console.log(`| ${heads.join(' | ')} |\n|${heads.map(() => '---').join('|')}|`);
  try {
    for (const [name, width, height] of SIZES) {
      const bytes = await photo(width, height);
      const file = join(folder, `${width}x${height}.jpg`);
      writeFileSync(file, bytes);
      const timings = await compete(
        {
          ours: () => ours(bytes, 'pillow'),
          oursTorchvision: () => ours(bytes, 'torchvision'),
          sharp: () => sharpAlone(bytes),
          ...(reference === null
            ? {}
            : {
                pil: () => reference.run(file, 'pil'),
                torchvision: () => reference.run(file, 'torchvision'),
              }),
        },
        Number(values.rounds),
      );
      console.log(row(`${name} ${width}×${height}`, layoutOf(width, height, 'pillow').tiles, timings));
    }
  } finally {
    reference?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

function row(name: string, tiles: number, timings: Record<string, Timing[]>): string {
  const mine = summary(timings['ours'] ?? []);
  const show = (m: Medians) => `${m.decode.toFixed(0)} + ${m.process.toFixed(0)}`;
  const against = (key: string): string[] => {
    const runs = timings[key];
    if (runs === undefined) return ['–', '–'];
    const other = summary(runs);
    return [show(other), `${(other.total / mine.total).toFixed(1)} / ${(other.process / mine.process).toFixed(1)}`];
  };
  const same = (a: string, b: string) => timings[a]?.[0]?.sha256 === timings[b]?.[0]?.sha256;
  const bytes =
    timings['pil'] === undefined
      ? '–'
      : `pil ${same('ours', 'pil') ? 'yes' : 'NO'}, torchvision ${same('oursTorchvision', 'torchvision') ? 'yes' : 'NO'}`;
  const cells = [name, tiles, show(mine), ...against('pil'), ...against('torchvision'), ...against('sharp'), bytes];
  return `| ${cells.join(' | ')} |`;
}

await main();
