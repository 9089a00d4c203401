/**
 * The report as one file that needs nothing else and may load nothing else: its policy forbids every request, and lets
 * only the scripts and the style run whose digests it names. Text of others is escaped here, or is data of the script.
 */
import { createHash } from 'node:crypto';
import { VlmError } from '../contracts/errors.js';
import {
  escapeHtml as esc,
  figureText,
  frontOf,
  headerFacts,
  MARK_TEXT,
  metricTitle,
  scriptJson,
  wrongText,
} from './text.js';
import type { ReportModel, ReportPoint } from './types.js';

export interface PageAssets {
  readonly style: string;
  /** Run in this order; the last one is the page's own. */
  readonly scripts: readonly string[];
}

export function htmlOf(model: ReportModel, assets: PageAssets): string {
  const style = inlined(assets.style, /<\/style/i);
  const scripts = assets.scripts.map((script) => inlined(script, /<\/script|<!--|<script/i));
  const policy = [
    "default-src 'none'",
    `script-src ${scripts.map(digest).join(' ')}`,
    `style-src ${digest(style)}`,
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${esc(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>${esc(model.title)} · vlm-run report</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>${esc(model.title)}</h1>
${model.description === '' ? '' : `<p>${esc(model.description)}</p>`}
${pairs(headerFacts(model))}
</header>
<main>
${problems(model)}
${plots(model)}
${pointTable(model)}
${about(model)}
</main>
<script type="application/json" id="report">${scriptJson({ ...model, letters: letters(model) })}</script>
${scripts.map((script) => `<script>${script}</script>`).join('\n')}
</body>
</html>
`;
}

/** As the parser of a browser reads it, or the digest would not be that of the text. */
function inlined(text: string, forbidden: RegExp): string {
  const plain = text.replaceAll(/\r\n?/g, '\n');
  if (!forbidden.test(plain) && !plain.includes('\0')) return plain;
  throw new VlmError('INTERNAL', {
    what: 'A part of the report page cannot stand inside it',
    received: `text that matches ${forbidden}`,
    hint: 'reinstall vlm-run',
  });
}

function digest(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

function letters(model: ReportModel): Readonly<Record<string, string>> {
  return Object.fromEntries(frontOf(model).map(({ letter, point }) => [point.id, letter]));
}

function pairs(facts: readonly (readonly [string, string])[]): string {
  return `<dl>${facts.map(([name, value]) => `<div><dt>${esc(name)}</dt><dd>${esc(value)}</dd></div>`).join('\n')}</dl>`;
}

function problems({ problems: all }: ReportModel): string {
  if (all.length === 0) return '';
  const rows = all.map(({ where, what }) => `<li><code>${esc(where)}</code> ${esc(what)}</li>`);
  return `<section id="problems" class="warning"><h2>Not in this report</h2><ul>${rows.join('\n')}</ul></section>`;
}

function plots(model: ReportModel): string {
  if (model.counts.measured === 0) return '<p class="warning">No point was measured: there is nothing to draw.</p>';
  const noscript = '<noscript><p class="warning">The plots need JavaScript; the tables do not.</p></noscript>';
  const heat =
    model.axes.length === 0
      ? ''
      : `<section><h2>Over two axes</h2>
<div class="controls" id="heat-controls"></div>
<figure id="heat"></figure>
<p class="note" id="heat-note"></p></section>`;
  return `${noscript}
${heat}
<section><h2>Latency and throughput</h2>
<figure id="pareto"></figure>
${frontTable(model)}</section>
<section><h2>Where the time goes</h2>
<div class="controls" id="stage-controls"></div>
<figure id="stages"></figure>
<p class="note" id="stage-note"></p></section>`;
}

function frontTable(model: ReportModel): string {
  const { latency, throughput } = model.pareto;
  const metrics = model.metrics.filter(({ key }) => key === latency || key === throughput);
  const rows = frontOf(model).map(
    ({ letter, point }) =>
      `<tr><th scope="row">${letter}</th><td>${esc(point.name)}</td>${metrics
        .map(({ key }) => `<td class="number">${esc(figureText(point.figures[key]))}</td>`)
        .join('')}<td>${marks(point)}</td></tr>`,
  );
  return `<p class="note">Points that no other one beats in both, by letter. Those ${wrongText(model)}
cannot be among them${model.counts.emulated > 0 ? ', nor can an emulated card beside another device' : ''}.</p>
<div class="scroll"><table id="front"><thead><tr><th></th><th>Point</th>${metrics
    .map((metric) => `<th>${esc(metricTitle(metric))}</th>`)
    .join('')}<th>Notes</th></tr></thead><tbody>${rows.join('\n')}</tbody></table></div>`;
}

function pointTable(model: ReportModel): string {
  const head = [
    column('#', 'number'),
    ...model.axes.map(({ name, path }) => column(name, 'axis', path)),
    column('Notes', 'text'),
    ...model.metrics.map((metric) => column(metricTitle(metric), 'number', metric.key)),
  ];
  const several = model.stores.length > 1;
  const rows = model.points.map((point) => {
    const cells = [
      `<td class="number" data-v="${point.index}">${point.index}</td>`,
      ...model.axes.map(({ path, values }) => {
        const value = point.values[path];
        const at = value === undefined ? '' : String(values.indexOf(value));
        return `<td class="axis" data-v="${at}">${esc(value ?? '')}</td>`;
      }),
      `<td class="notes">${marks(point)}${several ? ` <span>${esc(model.stores[point.store]?.name ?? '')}</span>` : ''}</td>`,
      ...model.metrics.map(({ key }) => {
        const figure = point.figures[key];
        return `<td class="number" data-v="${figure?.value ?? ''}">${esc(figureText(figure))}</td>`;
      }),
    ];
    return `<tr data-id="${esc(point.id)}" data-status="${point.status}" data-kinds="${point.marks
      .map(({ kind }) => kind)
      .join(' ')}">${cells.join('')}</tr>`;
  });
  return `<section><h2>Points</h2>
<p class="note">Medians with 95 % bootstrap intervals. A click on a heading sorts.</p>
<div class="controls" id="table-controls"></div>
<div class="scroll"><table id="points"><thead><tr>${head.join('')}</tr></thead>
<tbody>${rows.join('\n')}</tbody></table></div></section>`;
}

function column(title: string, kind: string, hint = ''): string {
  return `<th scope="col" class="${kind}"${hint === '' ? '' : ` title="${esc(hint)}"`}>${esc(title)}</th>`;
}

function marks({ marks: all }: ReportPoint): string {
  return all
    .map(({ kind, text }) => {
      const reason = kind === 'reference' || kind === 'other' || text === '' ? '' : ` <span>${esc(text)}</span>`;
      return `<b class="mark ${kind}">${MARK_TEXT[kind]}</b>${reason}`;
    })
    .join(' ');
}

function about(model: ReportModel): string {
  const stores = model.stores.map(
    (store) => `<h3>${esc(store.name)}</h3>
${pairs([
  ['Points', String(store.points)],
  ['sha256', store.sha256],
  ...Object.entries(store.machine),
  ...Object.entries(store.versions).filter(([name]) => !(name in store.machine)),
])}`,
  );
  const constants = Object.entries(model.constants);
  return `<section id="about"><h2>Machine</h2>
${stores.join('\n')}
<h3>How it was measured</h3>
${pairs(Object.entries(model.measure))}
${model.score === null ? '' : `<h3>How it was judged</h3>${pairs(Object.entries(model.score))}`}
${constants.length === 0 ? '' : `<h3>The same at every point</h3>${pairs(constants)}`}
<h2>Recipe</h2>
<pre><code>${esc(model.recipe.yaml)}</code></pre></section>`;
}
