/** How the native parts are built where this vlm-run lies: a checkout, a dependency of a project, or somewhere else. */
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { packageRoot } from './package-root.js';

/**
 * A command for a message, in backquotes. npm's scripts belong to the package whose folder one stands in: in a project
 * that installed vlm-run `npm run build:native` is not known.
 */
export function buildNativeCommand(root = packageRoot(), from = process.cwd()): string {
  const project = projectOf(from);
  if (project === root) return '`npm run build:native`';
  if (project !== null && isSame(join(project, 'node_modules', 'vlm-run'), root)) {
    return '`npm explore vlm-run -- npm run build:native`';
  }
  // A global installation, npx's own folder, a checkout somewhere else.
  const place = /^[\w./@+-]+$/.test(root) ? root : `'${root.replaceAll("'", "'\\''")}'`;
  return `\`npm --prefix ${place} run build:native\``;
}

/** The folder that npm takes for the project of `from`. */
function projectOf(from: string): string | null {
  for (let dir = from; ; dir = dirname(dir)) {
    if (existsSync(join(dir, 'package.json')) || existsSync(join(dir, 'node_modules'))) return dir;
    if (dirname(dir) === dir) return null;
  }
}

function isSame(link: string, root: string): boolean {
  try {
    return realpathSync(link) === realpathSync(root);
  } catch {
    return false;
  }
}
