// The compiled command must be executable for `npx vlm-run` in a checkout.
import { chmodSync, existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const cli = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
if (existsSync(cli)) chmodSync(cli, 0o755);
