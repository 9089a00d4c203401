/** Every device kind, as data. Drivers are loaded by drivers.ts only when a run opens one. */
import type { DeviceManifest } from '../contracts/device.js';
import { manifest as ai100 } from './ai100/manifest.js';
import { manifest as cpu } from './cpu/manifest.js';

export const DEVICE_MANIFESTS: readonly DeviceManifest[] = [cpu, ai100];
