// The report page: draws the plots, sorts and filters the table. Text of the data only ever becomes text nodes.
/* global Plot, d3 */
(() => {
  const report = JSON.parse(document.getElementById('report').textContent);
  const measured = report.points.filter((point) => point.status === 'measured');
  const byId = new Map(report.points.map((point) => [point.id, point]));
  const axisOf = new Map(report.axes.map((axis) => [axis.path, axis]));
  const metricOf = new Map(report.metrics.map((metric) => [metric.key, metric]));
  const title = (metric) => (metric.unit === '' ? metric.label : `${metric.label}, ${metric.unit}`);
  const find = (id) => document.getElementById(id);
  const has = (point, kind) => point.marks.some((mark) => mark.kind === kind);
  // Its answers are not those it should give: by its tokens, or by its score where the sweep names a dataset.
  const wrong = (point) => has(point, 'differs') || has(point, 'below');
  let printing = false;

  function number(value) {
    if (value === 0) return '0';
    const rounded = Math.abs(value) < 1000 ? Number(value.toPrecision(3)) : Math.round(value);
    return rounded.toFixed(Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(Math.abs(rounded))))));
  }

  function element(name, text, attributes = {}) {
    const made = document.createElement(name);
    if (text !== null) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function select(parent, id, label, options, value, changed) {
    const made = element('select', null, { id });
    for (const [key, text] of options) made.append(element('option', text, { value: key }));
    made.value = value;
    made.addEventListener('change', () => changed(made.value));
    const around = element('label', label);
    around.append(made);
    parent.append(around);
    return made;
  }

  const widthOf = (figure) => (printing ? 660 : Math.max(280, Math.floor(figure.clientWidth)));

  // The library puts a style element into its picture; the page's policy lets none in, and report.css has the rules.
  function draw(figure, options) {
    const svg = Plot.plot({ className: 'plot', document, ...options });
    for (const style of svg.querySelectorAll('style')) style.remove();
    figure.replaceChildren(svg);
  }

  // Room for the longest label of a band axis, in pixels; long ones are cut in the middle.
  const short = (text, most) => {
    const letters = [...text];
    if (letters.length <= most) return text;
    const half = Math.floor((most - 1) / 2);
    return `${letters.slice(0, half).join('')}…${letters.slice(letters.length - half).join('')}`;
  };
  const room = (texts, most) => 14 + 6.2 * Math.min(most, d3.max(texts, (text) => [...text].length) ?? 0);

  // ---- the heat map
  const heat = { x: report.view.x, y: report.view.y, metric: report.view.metric, fixed: new Map() };
  const ALL = '\u0000all';

  function heatCells() {
    const kept = report.points.filter((point) => [...heat.fixed].every(([path, value]) => point.values[path] === value));
    const groups = d3.group(
      kept.filter((point) => heat.x in point.values && (heat.y === null || heat.y in point.values)),
      (point) => JSON.stringify([point.values[heat.x], heat.y === null ? '' : point.values[heat.y]]),
    );
    return [...groups].map(([key, points]) => {
      const [x, y] = JSON.parse(key);
      const values = points.flatMap((point) => point.figures[heat.metric]?.value ?? []);
      const statuses = new Set(points.map((point) => point.status));
      return {
        x,
        y,
        points,
        value: values.length === 0 ? null : d3.median(values),
        wrong: points.filter(wrong).length,
        wide: points.filter((point) => has(point, 'wide')).length,
        status: statuses.has('measured') ? 'measured' : statuses.has('failed') ? 'failed' : 'refused',
      };
    });
  }

  function heatControls() {
    const parent = find('heat-controls');
    if (parent === null) return;
    parent.replaceChildren();
    const axes = report.axes.map((axis) => [axis.path, axis.name]);
    const again = () => {
      for (const path of [heat.x, heat.y]) heat.fixed.delete(path);
      heatControls();
      drawHeat();
    };
    select(parent, 'heat-x', 'Across', axes, heat.x, (path) => {
      if (path === heat.y) heat.y = heat.x;
      heat.x = path;
      again();
    });
    if (heat.y !== null) {
      select(parent, 'heat-y', 'Down', axes, heat.y, (path) => {
        if (path === heat.x) heat.x = heat.y;
        heat.y = path;
        again();
      });
    }
    const metrics = report.metrics.map((metric) => [metric.key, title(metric)]);
    select(parent, 'heat-metric', 'Figure', metrics, heat.metric, (key) => {
      heat.metric = key;
      drawHeat();
    });
    for (const { path, name, values } of report.axes) {
      if (path === heat.x || path === heat.y) continue;
      const options = [[ALL, 'all (median)'], ...values.map((value) => [value, value])];
      select(parent, `heat-fix-${path}`, name, options, heat.fixed.get(path) ?? ALL, (value) => {
        if (value === ALL) heat.fixed.delete(path);
        else heat.fixed.set(path, value);
        drawHeat();
      });
    }
  }

  function drawHeat() {
    const figure = find('heat');
    if (figure === null) return;
    const across = axisOf.get(heat.x);
    const down = axisOf.get(heat.y);
    const metric = metricOf.get(heat.metric);
    const cells = heatCells();
    const shown = cells.filter((cell) => cell.value !== null);
    const [low, high] = d3.extent(shown, (cell) => cell.value);
    // Better is darker, whichever way that is.
    const shade = (value) => {
      const at = high > low ? (value - low) / (high - low) : 0.5;
      return d3.interpolateYlGnBu(0.08 + 0.8 * (metric.better === 'high' ? at : 1 - at));
    };
    const ink = (cell) => (d3.lab(shade(cell.value)).l > 55 ? '#111' : '#fff');
    const text = (cell) =>
      cell.value === null ? cell.status : `${number(cell.value)}${cell.wrong > 0 ? ' ≠' : ''}${cell.wide > 0 ? ' ~' : ''}`;
    const channels = { x: 'x', y: 'y' };
    draw(figure, {
      width: widthOf(figure),
      height: 70 + 34 * (down?.values.length ?? 1),
      marginLeft: down === undefined ? 20 : room(down.values, 22),
      marginBottom: 40,
      marginTop: 24,
      padding: 0.04,
      x: { domain: across.values, label: across.name, tickFormat: (value) => short(value, 12) },
      y: { domain: down?.values ?? [''], label: down?.name ?? null, labelAnchor: 'top', labelArrow: 'none', tickFormat: (value) => short(value, 22) },
      marks: [
        Plot.cell(shown, { ...channels, fill: (cell) => shade(cell.value), className: 'measured' }),
        Plot.cell(
          cells.filter((cell) => cell.value === null),
          { ...channels, fill: 'none', stroke: 'currentColor', strokeOpacity: 0.4, strokeDasharray: '3 3', inset: 1 },
        ),
        Plot.text(shown, { ...channels, text, fill: ink, fontSize: 11 }),
        Plot.text(
          cells.filter((cell) => cell.value === null),
          { ...channels, text, fontSize: 11, fillOpacity: 0.8 },
        ),
      ],
    });
    find('heat').firstChild?.setAttribute('aria-label', `${title(metric)} by ${across.name}${down ? ` and ${down.name}` : ''}`);
    const most = d3.max(cells, (cell) => cell.points.length) ?? 0;
    find('heat-note').textContent = [
      `${title(metric)}; ${metric.better === 'low' ? 'low' : 'high'} is better and darker.`,
      most > 1 ? `A cell is the median of up to ${most} points.` : '',
      cells.some((cell) => cell.wrong > 0)
        ? report.score === null
          ? '≠: tokens of a point in it differ from the reference.'
          : '≠: the score of a point in it is below the reference.'
        : '',
      cells.some((cell) => cell.wide > 0) ? '~: a point in it has a wide spread.' : '',
      cells.some((cell) => cell.value === null) ? 'Dashed: no point of it was measured.' : '',
    ].join(' ');
  }

  // ---- latency and throughput
  const KINDS = [
    { key: 'plain', text: 'measured', fill: '#4e79a7', symbol: 'circle' },
    { key: 'wide', text: 'wide spread', fill: '#d28a1c', symbol: 'diamond' },
    { key: 'emulated', text: 'emulated card', fill: '#8a8a85', symbol: 'square' },
    { key: 'differs', text: 'tokens differ from the reference', fill: '#d0354b', symbol: 'times' },
    { key: 'below', text: 'score below the reference', fill: '#d0354b', symbol: 'times' },
  ];
  const kindOf = (point) => ['differs', 'below', 'emulated', 'wide'].find((kind) => has(point, kind)) ?? 'plain';

  function legend(entries) {
    const list = element('ul', null, { class: 'legend' });
    for (const { fill, text, symbol } of entries) {
      const svg = d3.create('svg').attr('width', 12).attr('height', 12).attr('viewBox', '-6 -6 12 12');
      const type = { circle: d3.symbolCircle, diamond: d3.symbolDiamond, square: d3.symbolSquare, times: d3.symbolTimes }[symbol];
      const mark = svg.append('path').attr('d', d3.symbol(type, 50)());
      mark.attr(symbol === 'times' ? 'stroke' : 'fill', fill).attr('stroke-width', 2);
      const entry = element('li', null);
      entry.append(svg.node(), text);
      list.append(entry);
    }
    return list;
  }

  const MOST_INTERVALS = 60;

  // Letters of points too near each other to be read apart stand together, over the last of them.
  function lettersOf(front, x, y, place) {
    const near = (a, b) => Math.abs(place.x(x(a)) - place.x(x(b))) < 18 && Math.abs(place.y(y(a)) - place.y(y(b))) < 24;
    const groups = [];
    for (const point of front) {
      const last = groups.at(-1);
      if (last !== undefined && near(last.at(-1), point)) last.push(point);
      else groups.push([point]);
    }
    return groups.map((points) => {
      const letters = points.map((point) => report.letters[point.id]);
      const text = letters.length < 3 ? letters.join(' ') : `${letters[0]}–${letters.at(-1)}`;
      return { x: x(points.at(-1)), y: y(points.at(-1)), text };
    });
  }

  function drawPareto() {
    const figure = find('pareto');
    if (figure === null) return;
    const { latency, throughput } = report.pareto;
    const points = measured.filter((point) => latency in point.figures && throughput in point.figures);
    const x = (point) => point.figures[latency].value;
    const y = (point) => point.figures[throughput].value;
    const kinds = new Map(KINDS.map((kind) => [kind.key, kind]));
    const front = d3.sort(
      points.filter((point) => point.front),
      (a, b) => d3.ascending(x(a), x(b)) || d3.ascending(a.index, b.index),
    );
    const told = (point) =>
      [
        `${point.name} (#${point.index})`,
        `${number(x(point))} ms, ${number(y(point))} tok/s`,
        ...point.marks.map((mark) => mark.text),
      ].join('\n');
    const line = { stroke: 'currentColor', strokeOpacity: 0.25 };
    // Of many points the intervals would hide the points.
    const few = points.length <= MOST_INTERVALS;
    const spans = few ? points : front;
    const [width, height] = [widthOf(figure), Math.min(460, Math.max(300, widthOf(figure) * 0.6))];
    const ends = spans.flatMap((point) => point.figures[latency].ci ?? []).filter((end) => end > 0);
    const [least, most] = d3.extent([...points.map(x), ...ends]);
    const domain = [least / (most / least) ** 0.04, most * (most / least) ** 0.04];
    const place = {
      x: d3.scaleLog(least < most ? domain : [least * 0.9, least * 1.1], [0, width]),
      y: d3.scaleLinear([0, d3.max(points, y) ?? 1], [height, 0]),
    };
    draw(figure, {
      width,
      height,
      marginLeft: 50,
      marginBottom: 40,
      marginTop: 26,
      grid: true,
      x: { labelOffset: 36, label: `${title(metricOf.get(latency))} →`, type: 'log', domain: place.x.domain(), tickFormat: (value) => String(Number(value.toPrecision(3))), ticks: 6 },
      y: { label: `↑ ${title(metricOf.get(throughput))}`, nice: true, zero: true },
      marks: [
        Plot.ruleY(
          spans.filter((point) => point.figures[latency].ci !== null),
          { x1: (p) => Math.max(p.figures[latency].ci[0], 1e-9), x2: (p) => p.figures[latency].ci[1], y, ...line },
        ),
        Plot.ruleX(
          spans.filter((point) => point.figures[throughput].ci !== null),
          { y1: (p) => p.figures[throughput].ci[0], y2: (p) => p.figures[throughput].ci[1], x, ...line },
        ),
        Plot.line(front, { x, y, curve: 'step-after', stroke: '#0b8f68', strokeWidth: 2 }),
        Plot.dot(points, {
          x,
          y,
          r: (point) => (point.front ? 5 : 3.5),
          symbol: (point) => kinds.get(kindOf(point)).symbol,
          fill: (point) => (wrong(point) ? 'none' : kinds.get(kindOf(point)).fill),
          stroke: (point) => kinds.get(kindOf(point)).fill,
          title: told,
        }),
        Plot.text(lettersOf(front, x, y, place), { x: 'x', y: 'y', text: 'text', dy: -12, fontWeight: 'bold', fontSize: 12 }),
        Plot.tip(points, Plot.pointer({ x, y, title: told })),
      ],
      symbol: { type: 'identity' },
      color: { type: 'identity' },
      r: { type: 'identity' },
    });
    const used = KINDS.filter(({ key }) => points.some((point) => kindOf(point) === key));
    figure.append(legend(used));
    const note = few ? 'Lines through a point are the 95 % intervals of its medians.' : 'Lines through a point of the front are the 95 % intervals of its medians.';
    figure.append(element('figcaption', note, { class: 'note' }));
  }

  // ---- the ledger of each point
  const SUM = '\u0000sum';
  const STAGES = ['start', 'plan', 'load', 'activate', 'image decode', 'preprocess', 'encode', 'prefill', 'decode', 'fuse', 'transfer', 'record', 'idle'];
  const COLORS = ['#9c9c96', '#c9c3b5', '#bab0ac', '#d7b5a6', '#76b7b2', '#59a14f', '#edc948', '#f28e2b', '#4e79a7', '#b07aa1', '#ff9da7', '#9c755f', '#e4e4e0'];
  const MOST = 40;
  // The same at every point, and long: beside them nothing else would be seen.
  const ONCE = ['start', 'plan', 'load', 'activate', 'idle'];
  const WORK = '\u0000work';
  const perItem = measured.length > 0 && measured.every((point) => point.items !== null);
  const stacks = { lane: WORK };

  function drawStages() {
    const figure = find('stages');
    if (figure === null) return;
    const shown = visible().filter((point) => Object.keys(point.stages).length > 0);
    const points = shown.slice(0, MOST);
    const times = [];
    for (const point of points) {
      const sums = new Map();
      const all = stacks.lane === SUM || stacks.lane === WORK;
      const left = stacks.lane === WORK ? ONCE : all ? ['idle'] : [];
      const share = stacks.lane === WORK && perItem ? point.items : 1;
      for (const [lane, stages] of Object.entries(point.stages)) {
        if (!all && lane !== stacks.lane) continue;
        for (const [stage, ms] of Object.entries(stages)) {
          if (!left.includes(stage)) sums.set(stage, (sums.get(stage) ?? 0) + ms / share);
        }
      }
      for (const [stage, ms] of sums) times.push({ id: point.id, stage, ms });
    }
    const used = [...STAGES, ...new Set(times.map(({ stage }) => stage))].filter(
      (stage, i, all) => all.indexOf(stage) === i && times.some((time) => time.stage === stage),
    );
    const color = (stage) => COLORS[STAGES.indexOf(stage)] ?? '#888';
    const width = widthOf(figure);
    const most = width < 500 ? 18 : 60;
    // What the points shown have in common tells none from another.
    const differing = report.axes.filter(({ path }) => new Set(points.map((point) => point.values[path])).size > 1);
    const name = (id) => {
      const point = byId.get(id);
      const told = differing.flatMap((axis) => (axis.path in point.values ? [`${axis.name}=${point.values[axis.path]}`] : []));
      const mark = report.letters[id] ?? `#${point.index}`;
      return short([mark, ...(told.length === 0 ? [point.name] : told)].join(' '), most);
    };
    draw(figure, {
      width,
      height: 70 + 20 * points.length,
      marginLeft: room(points.map((point) => name(point.id)), most),
      marginTop: 40,
      marginRight: 20,
      x: { label: stacks.lane === WORK && perItem ? 'milliseconds a question →' : 'milliseconds →', axis: 'top', grid: true, labelOffset: 36, ticks: Math.max(3, Math.round(width / 130)) },
      y: { domain: points.map((point) => point.id), label: null, tickFormat: name, tickSize: 0 },
      marks: [
        Plot.barX(times, {
          x: 'ms',
          y: 'id',
          fill: (time) => color(time.stage),
          order: (a, b) => used.indexOf(a.stage) - used.indexOf(b.stage),
          title: (time) => `${byId.get(time.id).name}\n${time.stage}: ${number(time.ms)} ms`,
        }),
      ],
    });
    figure.append(legend(used.map((stage) => ({ text: stage, fill: color(stage), symbol: 'square' }))));
    find('stage-note').textContent = [
      stacks.lane === WORK
        ? `The work of a point${perItem ? ' for one set of inputs' : ''}: starting, loading and waiting are left out.`
        : 'The whole process of a point: loading, warm-up and every measured batch.',
      stacks.lane === SUM || stacks.lane === WORK ? 'Lanes run side by side: their sum can be longer than the clock.' : '',
      shown.length > MOST ? `The first ${MOST} of ${shown.length} points, as the table below sorts and filters them.` : '',
    ].join(' ');
  }

  function stageControls() {
    const parent = find('stage-controls');
    if (parent === null) return;
    const lanes = [...new Set(measured.flatMap((point) => Object.keys(point.stages)))].sort();
    const options = [
      [WORK, 'all: the work alone'],
      [SUM, 'all, loading too'],
      ...lanes.map((lane) => [lane, lane]),
    ];
    select(parent, 'stage-lane', 'Lane', options, WORK, (lane) => {
      stacks.lane = lane;
      drawStages();
    });
  }

  // ---- the table
  const table = find('points');
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const filter = { text: '', kind: 'all' };

  function visible() {
    return [...body.rows].filter((row) => !row.hidden).map((row) => byId.get(row.dataset.id));
  }

  function sortBy(column, direction) {
    const value = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
    const numeric = table.tHead.rows[0].cells[column].className !== 'text';
    const sorted = [...rows].sort((a, b) => {
      const [p, q] = [value(a), value(b)];
      // What has no value comes last, whichever way is up.
      if (p === '' || q === '') return (p === '') - (q === '');
      return direction * (numeric ? Number(p) - Number(q) : p < q ? -1 : p > q ? 1 : 0);
    });
    body.append(...sorted);
    for (const [i, heading] of [...table.tHead.rows[0].cells].entries()) {
      if (i === column) heading.setAttribute('aria-sort', direction > 0 ? 'ascending' : 'descending');
      else heading.removeAttribute('aria-sort');
    }
    drawStages();
  }

  function applyFilter() {
    const words = filter.text.toLowerCase().split(/\s+/).filter((word) => word !== '');
    for (const row of rows) {
      const point = byId.get(row.dataset.id);
      const text = `${point.name} ${row.textContent}`.toLowerCase();
      const kinds = row.dataset.kinds.split(' ');
      const fits = filter.kind === 'all' || (filter.kind === 'front' ? point.front : point.status === filter.kind || kinds.includes(filter.kind));
      row.hidden = !fits || !words.every((word) => text.includes(word));
    }
    find('table-count').textContent = `${visible().length} of ${rows.length} points`;
    drawStages();
  }

  function tableControls() {
    for (const [i, heading] of [...table.tHead.rows[0].cells].entries()) {
      const button = element('button', heading.textContent, { type: 'button' });
      button.addEventListener('click', () => sortBy(i, heading.getAttribute('aria-sort') === 'ascending' ? -1 : 1));
      heading.replaceChildren(button);
    }
    const parent = find('table-controls');
    const input = element('input', null, { id: 'table-filter', type: 'search', placeholder: 'batch_size=4 …' });
    input.addEventListener('input', () => {
      filter.text = input.value;
      applyFilter();
    });
    const around = element('label', 'Only points with');
    around.append(input);
    parent.append(around);
    const options = [
      ['all', 'all'],
      ['measured', 'measured'],
      ['front', 'on the front'],
      ...(report.score === null ? [['differs', 'tokens differ']] : [['below', 'score below'], ['other', 'other tokens']]),
      ['wide', 'wide spread'],
      ['failed', 'failed'],
      ['refused', 'refused'],
    ];
    select(parent, 'table-kind', 'Kind', options, 'all', (kind) => {
      filter.kind = kind;
      applyFilter();
    });
    parent.append(element('span', `${rows.length} of ${rows.length} points`, { id: 'table-count', class: 'note', role: 'status' }));
  }

  function drawAll() {
    drawHeat();
    drawPareto();
    drawStages();
  }

  tableControls();
  heatControls();
  stageControls();
  drawAll();
  let width = document.documentElement.clientWidth;
  let waiting = 0;
  addEventListener('resize', () => {
    // A phone's address bar changes the height alone.
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(drawAll);
  });
  addEventListener('beforeprint', () => {
    printing = true;
    drawAll();
  });
  addEventListener('afterprint', () => {
    printing = false;
    drawAll();
  });
})();
