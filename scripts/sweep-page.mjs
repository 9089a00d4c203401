// The results of a sweep as a page of docs/: text, tables and pictures of the report, taken in Chromium.
// Usage: node scripts/sweep-page.mjs RESULTS --page docs/sweep-shapes.md [--pictures docs/pictures] [--sweep FILE]
//          [--x AXIS] [--y AXIS] [--fix AXIS=VALUE ...]     heat maps: axes, and values of the others
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { Chromium, requireBrowser } from './checks/chromium.mjs';
import { pageText } from './sweep-page-text.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    page: { type: 'string' },
    pictures: { type: 'string' },
    sweep: { type: 'string', default: 'sweeps/shapes.yaml' },
    x: { type: 'string', default: 'batch_size' },
    y: { type: 'string', default: 'prefill_seq_len' },
    fix: { type: 'string', multiple: true, default: [] },
  },
});
const [results] = positionals;
if (results === undefined || flags.page === undefined) {
  console.error('sweep page: node scripts/sweep-page.mjs RESULTS --page FILE.md');
  process.exit(2);
}
const page = resolve(flags.page);
const pictures = resolve(flags.pictures ?? join(dirname(page), 'pictures'));
const name = basename(page, '.md');
const browser = requireBrowser('sweep page');
const WIDTH = 1000;

/** Report of the results, and what it was made of. */
function report(folder) {
  const file = join(folder, 'report.html');
  const cli = join(root, 'bin', 'vlm-run.js');
  const made = spawnSync(process.execPath, [cli, 'report', results, '--out', file, '--x', flags.x, '--y', flags.y], {
    encoding: 'utf8',
  });
  if (made.status !== 0 || made.stderr.includes('not in the report')) process.stderr.write(made.stderr);
  if (made.status !== 0) process.exit(made.status ?? 1);
  const [, json] = /<script type="application\/json" id="report">(.*?)<\/script>/s.exec(readFileSync(file, 'utf8'));
  return { file, model: JSON.parse(json) };
}

const set = (id, value) =>
  `(() => { const e = document.getElementById(${JSON.stringify(id)}); e.value = ${JSON.stringify(value)}; e.dispatchEvent(new Event('change')); e.dispatchEvent(new Event('input')); })()`;

/** What each picture shows: how the page is set for it, and the elements that are in it. */
function shotsOf(model) {
  const axis = (word) => model.axes.find(({ path, name: short }) => short === word || path === word);
  const fixed = flags.fix.map((text) => {
    const [word, value] = text.split('=');
    const found = axis(word);
    if (found === undefined || !found.values.includes(value)) {
      console.error(`sweep page: --fix ${text} names no axis and value of the sweep`);
      process.exit(2);
    }
    return set(`heat-fix-${found.path}`, value);
  });
  const heat = (metric) => ({ prepare: [...fixed, set('heat-metric', metric)], of: ['heat', 'heat-note'] });
  return {
    throughput: heat('decodeTokensPerSecond'),
    'first-token': heat('ttftMs'),
    front: { prepare: [], of: ['pareto'] },
    stages: { prepare: [set('table-kind', 'front')], of: ['stages', 'stage-note'] },
  };
}

async function picture(chromium, { prepare, of }) {
  for (const step of prepare) await chromium.ask(step);
  const box = await chromium.ask(`(() => {
    const boxes = ${JSON.stringify(of)}.map((id) => document.getElementById(id).getBoundingClientRect());
    const [top, bottom] = [Math.min(...boxes.map((b) => b.top)), Math.max(...boxes.map((b) => b.bottom))];
    return { top: top + scrollY, left: Math.min(...boxes.map((b) => b.left)), right: Math.max(...boxes.map((b) => b.right)), bottom: bottom + scrollY };
  })()`);
  const clip = {
    x: box.left - 12,
    y: box.top,
    width: box.right - box.left + 24,
    height: box.bottom - box.top + 8,
    scale: 1,
  };
  const { data } = await chromium.send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true, clip });
  return sharp(Buffer.from(data, 'base64')).png({ palette: true, colours: 128, effort: 10 }).toBuffer();
}

const folder = mkdtempSync(join(tmpdir(), 'vlm-sweep-page-'));
const chromium = new Chromium(browser, join(folder, 'profile'));
try {
  const { file, model } = report(folder);
  const shots = shotsOf(model);
  mkdirSync(pictures, { recursive: true });
  await chromium.open();
  await chromium.size(WIDTH, 900, false, 2);
  for (const scheme of ['light', 'dark']) {
    await chromium.scheme(scheme);
    for (const [shot, how] of Object.entries(shots)) {
      await chromium.goTo(pathToFileURL(file).href);
      writeFileSync(join(pictures, `${name}-${shot}-${scheme}.png`), await picture(chromium, how));
    }
  }
  const place = (shot, scheme) => relative(dirname(page), join(pictures, `${name}-${shot}-${scheme}.png`));
  const options = { place, file: relative(root, page), sweep: flags.sweep, x: flags.x, y: flags.y, fixed: flags.fix };
  writeFileSync(page, pageText(model, options));
  console.log(`sweep page: wrote ${relative(process.cwd(), page)} and ${Object.keys(shots).length * 2} pictures`);
} finally {
  await chromium.close();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
