// A project of its own with the demonstration model: what lock, verify and pack are tried on.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Lock } from '../../../src/share/format.js';
import { packageRoot } from '../../../src/util/package-root.js';
import { cli, type Ended, type SpawnOptions } from './spawn.js';

const root = packageRoot();

export class Project {
  readonly home = mkdtempSync(join(tmpdir(), 'vlm-share-'));
  readonly dir = join(this.home, 'project');
  readonly cache = join(this.home, 'cache');
  readonly recipe = join(this.dir, 'pipelines', 'internvl.yaml');
  readonly lockFile = join(this.dir, 'pipelines', 'internvl.lock.json');
  readonly model = join(this.dir, 'models', 'shapes-internvl');

  constructor() {
    for (const folder of ['pipelines', 'examples']) mkdirSync(join(this.dir, folder), { recursive: true });
    cpSync(join(root, 'pipelines', 'internvl.yaml'), this.recipe);
    for (const name of ['scene.png', 'photo.png', 'square.png']) {
      cpSync(join(root, 'examples', name), join(this.dir, 'examples', name));
    }
    cpSync(join(root, 'models', 'shapes-internvl'), this.model, {
      recursive: true,
      filter: (path) => !path.endsWith('.safetensors'),
    });
  }

  remove(): void {
    rmSync(this.home, { recursive: true, force: true });
  }

  cli(args: readonly string[], options: SpawnOptions = {}): Promise<Ended> {
    return cli(args, { cwd: this.dir, ...options, env: { VLM_RUN_CACHE: this.cache, ...options.env } });
  }

  readLock(): Lock {
    return JSON.parse(readFileSync(this.lockFile, 'utf8')) as Lock;
  }

  /** Writes a changed copy of the lock; returns its path. */
  altered(change: (lock: Lock) => unknown): string {
    const path = join(this.home, 'altered.lock.json');
    writeFileSync(path, JSON.stringify(change(this.readLock())));
    return path;
  }

  write(name: string, text: string): string {
    const path = join(this.dir, name);
    writeFileSync(path, text);
    return path;
  }
}
