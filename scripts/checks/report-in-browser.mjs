// The report page in a real Chromium: it draws, sorts, filters, lets nothing in and nothing out.
// Usage: node scripts/checks/report-in-browser.mjs [--pictures DIR] [--report FILE.html]
// Without --report the page of a small invented store is tested.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { Chromium, requireBrowser } from './chromium.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const { values: flags } = parseArgs({ options: { pictures: { type: 'string' }, report: { type: 'string' } } });
const HOSTILE = `<img src=x onerror="window.pwned=1"></script><script>window.pwned=2</script>\u2028=1+1`;

const browser = requireBrowser('report in browser');

const statistic = (median) => ({
  median,
  ci: [median * 0.97, median * 1.04],
  samples: [median * 0.97, median, median * 1.04],
});

/** 3 × 4 × 2 points: one failed, two refused, one with other tokens, one with a wide spread; hostile text throughout. */
function inventedStore(folder) {
  mkdirSync(folder, { recursive: true });
  const rows = [];
  for (const batch of [1, 2, 4]) {
    for (const prefill of [16, 32, 64, 128]) {
      for (const device of ['cpu', HOSTILE]) {
        const index = rows.length;
        const values = {
          'nodes.decode.with.batch_size': batch,
          'nodes.decode.with.prefill_seq_len': prefill,
          'device.main': device,
        };
        const base = { id: index.toString(16).padStart(16, '0'), index, values };
        if (index === 9 || index === 10 || index === 11) {
          const error = { code: 'WORKER_DIED', what: HOSTILE, hint: 'raise measure.timeout_s' };
          rows.push({ ...base, ok: false, status: index === 9 ? 'failed' : 'refused', error });
          continue;
        }
        const ttft = 20 * batch + 900 / prefill + index;
        const figures = {
          ttftMs: statistic(ttft),
          ttftQefficientMs: statistic(ttft / 2),
          decodeTokensPerSecond: statistic(150 * batch ** 0.7 - index),
          tokensPerSecondPerSequence: statistic(150 / batch ** 0.3),
          imagesPerSecond: statistic(4 * batch ** 0.5),
          latencyMs: statistic(ttft * 3),
          latencyPercentiles: { p50: ttft * 3, p95: ttft * 3.4, p99: ttft * 3.5 },
        };
        rows.push({
          ...base,
          ok: true,
          status: 'measured',
          startedAt: `2026-01-02T03:04:${String(index).padStart(2, '0')}.000Z`,
          figures,
          coldTtftMs: 1000 + index,
          peakMemoryBytes: 3e8 + index * 1e6,
          tokens: [[1, 2, index === 20 ? 9 : 3]],
          emulated: false,
          noisy: index === 5,
          spread: index === 5 ? 0.31 : 0.05,
          items: 12,
          stages: {
            main: { transfer: 30, idle: 500 },
            'main language': { load: 400, prefill: ttft, decode: 90, idle: 40 },
          },
        });
      }
    }
  }
  const about = {
    format: 1,
    recipe: HOSTILE,
    sha256: 'ab'.repeat(32),
    sources: ['x'],
    versions: { 'vlm-run': '0.0.0' },
    sweep: {
      name: `Batch and prefill ${HOSTILE}`,
      description: HOSTILE,
      measure: { repeats: 3 },
      reference: rows[0].id,
    },
    resolved: { version: 1, name: HOSTILE, nodes: {} },
    machine: { cpu: HOSTILE, cores: 2 },
  };
  writeFileSync(join(folder, 'sweep.json'), JSON.stringify(about));
  writeFileSync(
    join(folder, 'results.jsonl'),
    `${rows.map((row) => JSON.stringify(row)).join('\n')}\n{"torn": ${HOSTILE}`,
  );
}

let checks = 0;
const problems = [];
function check(what, actual, expected) {
  checks++;
  const [a, e] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== e) problems.push(`${what}: expected ${e}, received ${a}`);
}

const column = (i) => `[...document.querySelectorAll('#points tbody tr')].map((row) => row.cells[${i}].dataset.v)`;
const set = (id, value) =>
  `(() => { const e = document.getElementById(${JSON.stringify(id)}); e.value = ${JSON.stringify(value)}; e.dispatchEvent(new Event('change')); e.dispatchEvent(new Event('input')); })()`;
const count = (selector) => `document.querySelectorAll(${JSON.stringify(selector)}).length`;
const cells = '[...document.querySelectorAll("#heat g[aria-label=cell] rect")].length';

async function checkPlots(page) {
  check('points drawn', await page.ask(count('#pareto g[aria-label=dot] path')), 21);
  const front = await page.ask(
    'JSON.parse(document.getElementById("report").textContent).points.filter((p) => p.front).length',
  );
  const letters = '[...document.querySelectorAll("#pareto g[aria-label=text] text")].map((e) => e.textContent)';
  const said = (await page.ask(letters)).flatMap((text) => {
    const [first, last] = text.split('–').map((letter) => letter.charCodeAt(0));
    return last === undefined
      ? text.split(' ')
      : Array.from({ length: last - first + 1 }, (_, i) => String.fromCharCode(first + i));
  });
  check('letters of the front', said.join(''), 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'.slice(0, front));
  check('rows of the front', await page.ask(count('#front tbody tr')), front);
  check('a front', front > 1, true);
  check('cells of the heat map', await page.ask(cells), 12);
  check('stages drawn: the work alone', await page.ask(count('#stages g[aria-label=bar] rect')), 21 * 3);
  await page.ask(set('stage-lane', '\0sum'));
  check('stages drawn: loading too', await page.ask(count('#stages g[aria-label=bar] rect')), 21 * 4);
  await page.ask(set('stage-lane', 'main'));
  check('stages of one lane, idle with them', await page.ask(count('#stages g[aria-label=bar] rect')), 21 * 2);
  await page.ask(set('stage-lane', '\0work'));
}

async function checkHeat(page) {
  const texts = '[...document.querySelectorAll("#heat g[aria-label=text] text")].map((e) => e.textContent).join()';
  const before = await page.ask(texts);
  await page.ask(set('heat-y', 'device.main'));
  check('cells over another axis', await page.ask(cells), 6);
  check(
    'the third axis may be chosen now',
    await page.ask(count('[id="heat-fix-nodes.decode.with.prefill_seq_len"]')),
    1,
  );
  await page.ask(set('heat-x', 'device.main'));
  check(
    'axes that would be the same change places',
    await page.ask('document.getElementById("heat-y").value'),
    'nodes.decode.with.batch_size',
  );
  await page.ask(set('heat-x', 'nodes.decode.with.batch_size'));
  await page.ask(set('heat-y', 'nodes.decode.with.prefill_seq_len'));
  check('the first heat map again', await page.ask(texts), before);
  await page.ask(set('heat-metric', 'decodeTokensPerSecond'));
  check('another figure, other cells', (await page.ask(texts)) === before, false);
  await page.ask(set('heat-fix-device.main', 'cpu'));
  check('a cell whose only point was refused says so', (await page.ask(texts)).split(',').includes('refused'), true);
}

async function checkTable(page) {
  const before = await page.ask(column(5));
  const click = 'document.querySelectorAll("#points thead button")[5].click()';
  await page.ask(click);
  const rising = (await page.ask(column(5))).filter((v) => v !== '').map(Number);
  check('sorting changes the order', JSON.stringify(await page.ask(column(5))) === JSON.stringify(before), false);
  check(
    'rising',
    rising,
    [...rising].sort((a, b) => a - b),
  );
  check('rows without a figure last', (await page.ask(column(5))).slice(-3), ['', '', '']);
  await page.ask(click);
  const falling = (await page.ask(column(5))).filter((v) => v !== '').map(Number);
  check('falling', falling, [...rising].reverse());
  check(
    'said to readers of screens',
    await page.ask('document.querySelectorAll("#points thead th")[5].getAttribute("aria-sort")'),
    'descending',
  );
  check(
    'the stages follow the table',
    await page.ask(
      'document.querySelector("#stages g[aria-label^=\\"y-axis tick label\\"] text").textContent.split(" ")[0] === (JSON.parse(document.getElementById("report").textContent).letters[document.querySelector("#points tbody tr").dataset.id] ?? "#" + document.querySelector("#points tbody tr").cells[0].dataset.v)',
    ),
    true,
  );
  const shown = count('#points tbody tr:not([hidden])');
  for (const [kind, rows] of [
    ['failed', 1],
    ['refused', 2],
    ['differs', 1],
    ['wide', 1],
    ['measured', 21],
    ['all', 24],
  ]) {
    await page.ask(set('table-kind', kind));
    check(`rows that are ${kind}`, await page.ask(shown), rows);
  }
  await page.ask(set('table-filter', 'batch_size=4 PREFILL_seq_len=16'));
  check('rows that a filter leaves', await page.ask(shown), 2);
  await page.ask(set('table-filter', ''));
  await page.ask('document.querySelectorAll("#points thead button")[0].click()');
}

/** Before anything is provoked. */
async function checkQuiet(page, told, requests, url) {
  check('console and log', told, []);
  check(
    'requests beside the page itself',
    requests.filter((one) => one !== url && !one.startsWith('data:')),
    [],
  );
  check('nothing of the data ran', await page.ask('window.pwned ?? null'), null);
  check(
    'no element of the data',
    await page.ask('document.querySelectorAll("img, iframe, object, link:not([rel=icon])").length'),
    0,
  );
  check('scripts: three and the data', await page.ask(count('script')), 4);
  check(
    'hostile text is text',
    await page.ask('document.querySelector("h1").textContent.includes("<img src=x onerror=")'),
    true,
  );
  check('inline styles of the library', await page.ask(count('body style')), 0);
}

async function checkPolicy(page) {
  let hits = 0;
  const server = createServer((_, response) => {
    hits++;
    response.end();
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const place = `http://127.0.0.1:${server.address().port}/`;
  const violated = await page.ask(`(async () => {
    const seen = [];
    document.addEventListener('securitypolicyviolation', (event) => seen.push(event.effectiveDirective));
    const script = document.createElement('script');
    script.textContent = 'window.pwned = 3';
    document.body.append(script);
    const style = document.createElement('style');
    style.textContent = 'body { display: none }';
    document.body.append(style);
    document.body.insertAdjacentHTML('beforeend', '<img src=${place}x.png onerror="window.pwned=4">');
    const refused = await fetch('${place}').then(() => false, () => true);
    let evaluated = true;
    try { evaluated = new Function('return true')(); } catch { evaluated = false; }
    await new Promise((done) => setTimeout(done, 100));
    return { seen: [...new Set(seen)].sort(), refused, evaluated, pwned: window.pwned ?? null, display: getComputedStyle(document.body).display };
  })()`);
  for (const directive of ['connect-src', 'img-src', 'script-src-elem', 'style-src-elem'])
    check(`the policy stops ${directive}`, violated.seen.includes(directive), true);
  check('no fetch', violated.refused, true);
  check('no script of others', violated.pwned, null);
  check('no evaluation of text', violated.evaluated, false);
  check('no style of others', violated.display, 'block');
  check('nothing reached a server', hits, 0);
  server.closeAllConnections();
  server.close();
}

async function pictures(page, url, folder) {
  mkdirSync(folder, { recursive: true });
  const shots = [
    ['report', 1200, 900, false, 'light'],
    ['report-dark', 1200, 900, false, 'dark'],
    ['report-phone', 390, 844, true, 'light'],
  ];
  for (const [name, width, height, mobile, scheme] of shots) {
    await page.size(width, height, mobile);
    await page.scheme(scheme);
    await page.goTo(url);
    const tall = Math.min(6000, await page.ask('Math.ceil(document.documentElement.scrollHeight)'));
    const clip = { x: 0, y: 0, width, height: tall, scale: mobile ? 0.5 : 1 };
    const { data } = await page.send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true, clip });
    writeFileSync(join(folder, `${name}.png`), Buffer.from(data, 'base64'));
  }
}

const folder = mkdtempSync(join(tmpdir(), 'vlm-report-'));
const page = new Chromium(browser, join(folder, 'profile'));
const watchdog = setTimeout(() => {
  console.error(`report in browser: Chromium did not finish in two minutes\n${page.said}`);
  page.child.kill('SIGKILL');
  process.exit(1);
}, 120_000);
try {
  const file = flags.report === undefined ? join(folder, 'report.html') : resolve(flags.report);
  if (flags.report === undefined) {
    inventedStore(join(folder, 'store'));
    const made = spawnSync(
      process.execPath,
      [
        join(root, 'bin', 'vlm-run.js'),
        'report',
        join(folder, 'store'),
        '--out',
        file,
        '--x',
        'batch_size',
        '--y',
        'prefill_seq_len',
      ],
      { encoding: 'utf8' },
    );
    check('the command', [made.status, made.stderr.includes('torn')], [0, true]);
    if (made.status !== 0) throw new Error(made.stderr);
    check(
      'no line ends of old parsers in the page',
      /[\u2028\u2029]/.test(readFileSync(file, 'utf8').split('id="report">')[1]),
      false,
    );
  }
  const url = pathToFileURL(file).href;
  const told = [];
  const requests = [];
  page.listeners.push(({ method, params }) => {
    if (method === 'Network.requestWillBeSent') requests.push(params.request.url);
    if (method === 'Runtime.exceptionThrown')
      told.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === 'Runtime.consoleAPICalled')
      told.push(`console.${params.type}: ${params.args.map((a) => a.value ?? a.description).join(' ')}`);
    if (method === 'Log.entryAdded') told.push(`${params.entry.level}: ${params.entry.text}`);
  });
  await page.open();
  await page.size(1200, 900);
  await page.goTo(url);
  check('the page was loaded', requests.includes(url), true);
  if (flags.report === undefined) {
    await checkPlots(page);
    await checkHeat(page);
    await checkTable(page);
    await checkQuiet(page, told, requests, url);
    await page.size(390, 844, true);
    await page.ask('new Promise((done) => setTimeout(done, 200))');
    const wide = `[...document.querySelectorAll('body *')].filter((e) => e.closest('.scroll, pre, figure') === null && e.getBoundingClientRect().right > 391).map((e) => e.id || e.tagName)`;
    check('nothing is wider than a phone', await page.ask(wide), []);
    check('no sideways scrolling on a phone', await page.ask('document.documentElement.scrollWidth'), 390);
    check(
      'plots fit a phone',
      await page.ask(
        '[...document.querySelectorAll("figure svg.plot")].every((svg) => svg.getBoundingClientRect().width <= 390)',
      ),
      true,
    );
    await page.scheme('dark');
    check('dark', await page.ask('getComputedStyle(document.body).backgroundColor'), 'rgb(24, 24, 23)');
    await page.scheme('light');
    check('light', await page.ask('getComputedStyle(document.body).backgroundColor'), 'rgb(255, 255, 255)');
    const { data } = await page.send('Page.printToPDF', { printBackground: true });
    check('printed', Buffer.from(data, 'base64').subarray(0, 5).toString(), '%PDF-');
    check('still nothing in the log', told, []);
    await checkPolicy(page);
  } else {
    check('console and log', told, []);
    check(
      'requests beside the page itself',
      requests.filter((one) => one !== url && !one.startsWith('data:')),
      [],
    );
    check(
      'plots',
      await page.ask('[...document.querySelectorAll("figure")].every((f) => f.querySelector("svg.plot") !== null)'),
      true,
    );
  }
  if (flags.pictures !== undefined) await pictures(page, url, resolve(flags.pictures));
} catch (error) {
  problems.push(error.message);
} finally {
  clearTimeout(watchdog);
  await page.close();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
for (const problem of problems) console.error(problem);
console.log(`report in browser: ${checks} checks, ${problems.length} problems`);
process.exitCode = problems.length > 0 ? 1 : 0;
