/** A report as Markdown: the same facts and tables as the page, without its plots. */
import { LEDGER_STAGES } from '../contracts/node.js';
import { heatCells } from './heat.js';
import { escapeMarkdown, figureText, frontOf, headerFacts, MARK_TEXT, metricTitle, number, wrongText } from './text.js';
import type { ReportModel, ReportPoint } from './types.js';

export function markdownOf(model: ReportModel): string {
  const parts = [
    `# ${escapeMarkdown(model.title)}`,
    escapeMarkdown(model.description),
    table(['', ''], headerFacts(model)),
    ...problems(model),
    ...front(model),
    ...heat(model),
    '## Points',
    'Medians with 95 % bootstrap intervals.',
    pointTable(model),
    ...stageTable(model),
    '## Machine',
    machineTable(model),
    '## Recipe',
    fenced(model.recipe.yaml),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(escapeMarkdown).join(' | ')} |`;
  return [line(header), `|${' --- |'.repeat(header.length)}`, ...rows.map(line)].join('\n');
}

function problems({ problems: all }: ReportModel): string[] {
  if (all.length === 0) return [];
  return [
    '## Not in this report',
    table(
      ['Where', 'What'],
      all.map(({ where, what }) => [where, what]),
    ),
  ];
}

function front(model: ReportModel): string[] {
  const front = frontOf(model);
  if (front.length === 0) return [];
  const { latency, throughput } = model.pareto;
  const metrics = model.metrics.filter(({ key }) => key === latency || key === throughput);
  const rows = front.map(({ letter, point }) => [
    letter,
    point.name,
    ...metrics.map(({ key }) => figureText(point.figures[key])),
  ]);
  return [
    '## Latency and throughput',
    `Points that no other one beats in both; those ${wrongText(model)} are left out.`,
    table(['', 'Point', ...metrics.map(metricTitle)], rows),
  ];
}

function heat(model: ReportModel): string[] {
  const { x, y, metric } = model.view;
  const across = model.axes.find(({ path }) => path === x);
  const down = model.axes.find(({ path }) => path === y);
  const shown = model.metrics.find(({ key }) => key === metric);
  if (across === undefined || shown === undefined) return [];
  const cells = heatCells(model);
  const others = model.axes.length - (down === undefined ? 1 : 2);
  const rows = (down?.values ?? [null]).map((value) => [
    value ?? '',
    ...across.values.map((at) => {
      const cell = cells.find((one) => one.x === at && one.y === value);
      if (cell === undefined) return '';
      return cell.value === null ? cell.status : `${number(cell.value)}${cell.differs > 0 ? ' ≠' : ''}`;
    }),
  ]);
  return [
    `## ${escapeMarkdown(metricTitle(shown))}`,
    [
      `Across: ${escapeMarkdown(across.name)}.`,
      ...(down === undefined ? [] : [`Down: ${escapeMarkdown(down.name)}.`]),
      ...(others > 0 ? ['A cell is the median of its points over the other axes.'] : []),
      ...(cells.some(({ differs }) => differs > 0) ? [`≠: the cell has a point ${wrongText(model)}.`] : []),
    ].join(' '),
    table([down === undefined ? '' : `${down.name} \\ ${across.name}`, ...across.values], rows),
  ];
}

function pointTable(model: ReportModel): string {
  const header = ['#', ...model.axes.map(({ name }) => name), ...model.metrics.map(metricTitle), 'Notes'];
  const rows = model.points.map((point) => [
    String(point.index),
    ...model.axes.map(({ path }) => point.values[path] ?? ''),
    ...model.metrics.map(({ key }) => figureText(point.figures[key])),
    notes(point),
  ]);
  return table(header, rows);
}

function notes({ marks }: ReportPoint): string {
  return marks.map(({ kind, text }) => (text === '' ? MARK_TEXT[kind] : `${MARK_TEXT[kind]}: ${text}`)).join('; ');
}

function stageTable(model: ReportModel): string[] {
  const measured = model.points.filter(({ stages }) => Object.keys(stages).length > 0);
  const total = (point: ReportPoint, stage: string): number =>
    Object.values(point.stages).reduce((sum, times) => sum + (times[stage] ?? 0), 0);
  const stages = LEDGER_STAGES.filter((stage) => stage !== 'idle' && measured.some((point) => total(point, stage) > 0));
  if (stages.length === 0) return [];
  return [
    '## Where the time goes',
    'Milliseconds of the whole process of a point, all lanes together, loading and warm-up included, idle time left out.',
    table(
      ['Point', ...stages],
      measured.map((point) => [point.name, ...stages.map((stage) => number(total(point, stage)))]),
    ),
  ];
}

function machineTable(model: ReportModel): string {
  const rows = model.stores.flatMap((store) => [
    ['results', `${store.name}, ${store.points} points, sha256 ${store.sha256}`],
    ...Object.entries(store.machine),
    ...Object.entries(store.versions),
  ]);
  const score = Object.entries(model.score ?? {}).map(([key, value]) => [`score: ${key}`, value] as const);
  return table(['', ''], [...rows, ...Object.entries(model.measure), ...score]);
}

/** A fence longer than any in the text. */
function fenced(text: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = '`'.repeat(longest + 1);
  return `${fence}yaml\n${text.trimEnd()}\n${fence}`;
}
