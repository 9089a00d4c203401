// The text of a sweep's page: what was asked, what came of it, in tables short enough to read.

function number(value) {
  if (value === 0) return '0';
  const rounded = Math.abs(value) < 1000 ? Number(value.toPrecision(3)) : Math.round(value);
  return rounded.toFixed(Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(Math.abs(rounded))))));
}

const middle = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const half = (sorted.length - 1) / 2;
  return (sorted[Math.floor(half)] + sorted[Math.ceil(half)]) / 2;
};
const has = (point, kind) => point.marks.some((mark) => mark.kind === kind);
const wrong = (point) => has(point, 'differs') || has(point, 'below');
const value = (point, key) => point.figures[key]?.value;
/** `a|b` in a cell would be two. */
const cell = (text) => String(text).replaceAll('|', '\\|').replaceAll('\n', ' ');

function table(head, rows, right = []) {
  const rule = head.map((_, i) => (right.includes(i) ? '---:' : '---'));
  return [head, rule, ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n');
}

function interval({ value: at, ci }) {
  return ci === null ? number(at) : `${number(at)} (${number(ci[0])}–${number(ci[1])})`;
}

function pictureOf(place, shot, text) {
  return `<picture>
  <source media="(prefers-color-scheme: dark)" srcset="${place(shot, 'dark')}">
  <img alt="${text}" src="${place(shot, 'light')}">
</picture>`;
}

/** Points that are alike but for one axis, against its first value: what that axis does by itself. */
function effects(model) {
  const measured = model.points.filter(({ status }) => status === 'measured');
  const known = new Map(measured.map((point) => [JSON.stringify(sorted(point.values)), point]));
  const figures = ['ttftMs', 'decodeTokensPerSecond', 'imagesPerSecond', 'peakMemoryMiB'];
  return model.axes.flatMap(({ path, name, values: [first, ...others] }) =>
    others.flatMap((to) => {
      const pairs = measured
        .filter((point) => point.values[path] === to)
        .map((point) => [known.get(JSON.stringify(sorted({ ...point.values, [path]: first }))), point])
        .filter(([from]) => from !== undefined);
      if (pairs.length === 0) return [];
      const ratio = (key) => {
        const ratios = pairs.map(([from, point]) => value(point, key) / value(from, key)).filter(Number.isFinite);
        return ratios.length === 0 ? null : middle(ratios);
      };
      const scores = pairs.map(([from, point]) => value(point, 'score') - value(from, 'score')).filter(Number.isFinite);
      return [
        {
          name,
          from: first,
          to,
          pairs: pairs.length,
          ratios: figures.map(ratio),
          score: scores.length === 0 ? null : middle(scores),
        },
      ];
    }),
  );
}

const sorted = (values) => Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1));
const times = (ratio) => (ratio === null ? '' : `× ${ratio.toFixed(2)}`);
const signed = (score) =>
  score === null ? '' : `${score < -0.0005 ? '−' : score > 0.0005 ? '+' : '±'}${Math.abs(score).toFixed(3)}`;

function effectTable(model) {
  const rows = effects(model).map(({ name, from, to, pairs, ratios, score }) => [
    `\`${name}\``,
    `${from} → ${to}`,
    pairs,
    ...ratios.map(times),
    ...(model.score === null ? [] : [signed(score)]),
  ]);
  const head = ['parameter', 'change', 'pairs', 'time to first token', 'decode tok/s', 'images/s', 'peak memory'];
  return table([...head, ...(model.score === null ? [] : ['score'])], rows, [2, 3, 4, 5, 6, 7]);
}

function axisTable(model) {
  const rows = model.axes.flatMap(({ path, name, values }) =>
    values.map((one) => {
      const points = model.points.filter((point) => point.values[path] === one);
      const count = (test) => points.filter(test).length || '';
      const scores = points.flatMap((point) => value(point, 'score') ?? []);
      const [low, high] = [Math.min(...scores).toFixed(3), Math.max(...scores).toFixed(3)];
      return [
        `\`${name}\` = ${one}`,
        count(({ status }) => status === 'measured'),
        count(({ status }) => status === 'refused'),
        count(({ status }) => status === 'failed'),
        count((point) => has(point, 'wide')),
        count(wrong),
        ...(model.score === null ? [] : [scores.length === 0 ? '' : low === high ? low : `${low}–${high}`]),
      ];
    }),
  );
  const head = ['points with', 'measured', 'refused', 'failed', 'wide spread', 'wrong'];
  return table([...head, ...(model.score === null ? [] : ['score'])], rows, [1, 2, 3, 4, 5, 6]);
}

function frontTable(model) {
  const front = model.points
    .filter((point) => point.front)
    .sort((a, b) => value(a, 'ttftMs') - value(b, 'ttftMs') || a.index - b.index);
  const keys = ['ttftMs', 'decodeTokensPerSecond', 'imagesPerSecond', 'latencyMs'];
  const rows = front.map((point) => [
    model.letters[point.id],
    ...model.axes.map(({ path }) => point.values[path] ?? ''),
    ...keys.map((key) => (point.figures[key] === undefined ? '' : interval(point.figures[key]))),
    ...(model.score === null ? [] : [value(point, 'score')?.toFixed(3) ?? '']),
  ]);
  const head = [
    '',
    ...model.axes.map(({ name }) => `\`${name}\``),
    'first token, ms',
    'decode, tok/s',
    'images/s',
    'batch, ms',
  ];
  const right = Array.from({ length: head.length }, (_, i) => i + 1);
  return table([...head, ...(model.score === null ? [] : ['score'])], rows, right);
}

function refusals(model) {
  const reasons = new Map();
  for (const point of model.points.filter(({ status }) => status !== 'measured')) {
    const text = point.marks.map((mark) => mark.text).join('; ');
    reasons.set(text, [...(reasons.get(text) ?? []), point]);
  }
  return [...reasons].map(([text, points]) => {
    const common = model.axes.flatMap(({ path, name }) => {
      const values = new Set(points.map((point) => point.values[path]));
      return values.size === 1 ? [`\`${name}\` ${[...values][0]}`] : [];
    });
    const { status } = points[0];
    return `- ${points.length} ${status}${common.length === 0 ? '' : ` (all with ${common.join(', ')})`}: ${text.replaceAll('<', '&lt;')}`;
  });
}

/** The shortest set of values that says which points are wrong, or nothing where no short one does. */
function whoIsWrong(model) {
  const measured = model.points.filter(({ status }) => status === 'measured');
  const bad = measured.filter(wrong);
  const rules = [];
  let left = bad;
  const facts = model.axes.flatMap(({ path, name, values }) => values.map((one) => [{ path, name, one }]));
  const pairs = facts.flatMap(([a], i) => facts.slice(i + 1).flatMap(([b]) => (a.path === b.path ? [] : [[a, b]])));
  for (const rule of [...facts, ...pairs]) {
    const fits = (point) => rule.every(({ path, one }) => point.values[path] === one);
    const of = measured.filter(fits);
    if (of.length === 0 || !of.every(wrong) || !left.some(fits)) continue;
    const scores = of.flatMap((point) => value(point, 'score') ?? []);
    const said = rule.map(({ name, one }) => `\`${name}\` ${one}`).join(' and ');
    rules.push(
      `${said} (${of.length} points${scores.length === 0 ? '' : `, score ${Math.min(...scores).toFixed(3)} to ${Math.max(...scores).toFixed(3)}`})`,
    );
    left = left.filter((point) => !fits(point));
  }
  return { bad, rules, left };
}

function judged(model) {
  const { bad, rules, left } = whoIsWrong(model);
  const other = model.points.filter((point) => has(point, 'other')).length;
  if (model.score === null)
    return bad.length === 0
      ? 'Every point gave the tokens of the reference point.'
      : `${bad.length} points gave other tokens than the reference point.`;
  const { dataset, rows, margin } = model.score;
  const reference = model.points.find((point) => point.parity === 'reference');
  const its = reference === undefined ? '' : `; the reference point scores ${value(reference, 'score').toFixed(3)}`;
  const fast = [...bad].sort((a, b) => value(a, 'latencyMs') - value(b, 'latencyMs'))[0];
  const best = model.points
    .filter((point) => point.status === 'measured' && !wrong(point))
    .sort((a, b) => value(a, 'latencyMs') - value(b, 'latencyMs'))[0];
  return [
    `Each point answered the ${rows} questions of \`${dataset}\`, whose true answers are known${its}. ${bad.length} points are more than ${margin} below it and are marked as wrong.`,
    other > 0
      ? `${other} points gave other tokens and as good a score: by their tokens they would have been thrown away.`
      : '',
    rules.length > 0
      ? `Wrong are the points with ${rules.join('; ')}${left.length > 0 ? `; and ${left.length} more` : ''}.`
      : '',
    fast !== undefined && best !== undefined && value(fast, 'latencyMs') < value(best, 'latencyMs')
      ? `Judged by its clock alone a wrong one would have won: ${number(value(fast, 'latencyMs'))} ms a batch (${fast.name}), where the fastest right one takes ${number(value(best, 'latencyMs'))} ms (${best.name}).`
      : '',
  ]
    .filter((line) => line !== '')
    .join('\n');
}

function machine(model) {
  const [store] = model.stores;
  const rows = [
    ...Object.entries(store.machine),
    ...Object.entries(store.versions).filter(([key]) => !(key in store.machine)),
  ];
  return table(
    ['', ''],
    [...rows, ...Object.entries(model.measure), ['recipe', `${model.recipe.name}, sha256 ${model.recipe.sha256}`]],
  );
}

const NOISY =
  '**Most of these points are noisy**: the machine did not hold still, and repeats of one point differ by more than the sweep allows. A row alone is no benchmark, and rows whose intervals overlap are not told apart, the order on the front included. Ratios of many pairs, as under “One parameter at a time”, even the noise out, unless it grew with the parameter itself; token ids, scores and memory do not depend on it.';

export function pageText(model, { place, file, sweep, x, y, fixed }) {
  const { counts } = model;
  const at = fixed.length === 0 ? 'medians over the other axes' : `${fixed.map((one) => `\`${one}\``).join(', ')}`;
  const load = model.points.flatMap((point) => value(point, 'loadBefore') ?? []);
  const parts = [
    `<!-- Written by scripts/sweep-page.mjs from the results of ${sweep}: run it again instead of editing. -->`,
    `# A sweep of ${counts.points} points: ${model.title}`,
    model.description,
    `\`${sweep}\` was measured from ${model.from.slice(0, 16).replace('T', ' ')} to ${model.to.slice(11, 16)} UTC: ${counts.measured} points measured, ${counts.failed} failed, ${counts.refused} refused by the planner before anything ran. ` +
      `Each measured point ran in a fresh process, in random order (seed ${model.measure.seed}), with ${model.measure.warmup} warm-up and ${model.measure.repeats} measured repeats; figures are medians with 95 % bootstrap intervals. ` +
      `${counts.wide} points have a spread wider than ${Number(model.measure.max_spread) * 100} % and are marked. The load of the machine before a point was ${number(middle(load))} in the middle, ${number(Math.max(...load))} at most.`,
    ...(counts.wide * 2 > counts.measured ? [NOISY] : []),
    '```\n' +
      `vlm-run sweep ${sweep} --out results/\nvlm-run report results/ --x ${x} --y ${y}\nnode scripts/sweep-page.mjs results/ --page ${file}${fixed.map((one) => ` --fix ${one}`).join('')}\n` +
      '```',
    '## Latency against throughput',
    pictureOf(
      place,
      'front',
      'Time to first token against decode tokens a second of every point, with the front that no point beats in both',
    ),
    `Points that no other one beats in both, from the quickest first token to the most tokens a second; wrong ones (crosses) cannot be among them.`,
    frontTable(model),
    '## Over two axes',
    `At ${at}; better is darker.`,
    pictureOf(place, 'throughput', `Decode tokens a second over ${x} and ${y}`),
    pictureOf(place, 'first-token', `Time to first token over ${x} and ${y}`),
    '## One parameter at a time',
    'Points that are alike but for one parameter, compared in pairs with its first value: the median of their ratios (of the score: of their differences).',
    effectTable(model),
    '## Fast but wrong',
    judged(model),
    '## Where the time goes',
    pictureOf(place, 'stages', 'Milliseconds a question by stage, for the points of the front'),
    '## All points, counted',
    axisTable(model),
    refusals(model).length === 0 ? '' : refusals(model).join('\n'),
    '## Machine and measuring',
    machine(model),
    'What the figures mean: [sweeps](sweeps.md).',
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}
