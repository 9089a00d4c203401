#!/usr/bin/env node
// The command. A checkout that was never built says so instead of failing on a missing file.
import { existsSync } from 'node:fs';

const main = new URL('../dist/cli/main.js', import.meta.url);
if (existsSync(main)) {
  await import(main.href);
} else {
  process.stderr.write('vlm-run is not built yet: run `npm ci` in its folder first\n');
  process.exitCode = 2;
}
