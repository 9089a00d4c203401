#!/usr/bin/env node
// The command. A checkout that was never built says so instead of failing on a missing file.
const { existsSync } = require('node:fs');
const { join } = require('node:path');

const main = join(__dirname, '..', 'dist', 'cli', 'main.js');
if (existsSync(main)) {
  require(main);
} else {
  process.stderr.write('vlm-run is not built yet: run `npm ci` in its folder first\n');
  process.exitCode = 2;
}
