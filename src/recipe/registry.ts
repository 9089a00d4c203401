/** What recipes may name. Given by the caller: recipe code knows manifests, never implementations. */
import type { DeviceManifest } from '../contracts/device.js';
import type { NodeManifest } from '../contracts/node.js';

export interface Registry {
  readonly nodes: readonly NodeManifest[];
  readonly devices: readonly DeviceManifest[];
}

export const nodeManifest = (registry: Registry, kind: string): NodeManifest | undefined =>
  registry.nodes.find((m) => m.kind === kind);

export const deviceManifest = (registry: Registry, kind: string): DeviceManifest | undefined =>
  registry.devices.find((m) => m.kind === kind);
