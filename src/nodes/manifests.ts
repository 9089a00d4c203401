/** Every built-in node kind, as data. Adding one: a folder with manifest.ts and run.ts, a line here and in modules.ts. */
import type { NodeManifest } from '../contracts/node.js';
import { manifest as decode } from './decode/manifest.js';
import { manifest as encode } from './encode/manifest.js';
import { manifest as fuse } from './fuse/manifest.js';
import { manifest as preprocess } from './preprocess/manifest.js';

export const NODE_MANIFESTS: readonly NodeManifest[] = [preprocess, encode, decode, fuse];
