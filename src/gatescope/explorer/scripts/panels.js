// The panels over time: an overview, inputs, a map of each gate and state, the chosen unit's lines, gradients, steps.

const LEFT = 46, RIGHT = 8, TITLE = 18, GAP = 6; // pixels around a panel
const INKS = ["ink", "#d55e00", "#0072b2", "#009e73"]; // of curves that have no color of their own
const SMALL = { size: 11 }, AT_END = { size: 11, anchor: "end" }, CENTERED = { size: 11, anchor: "middle" };

const isGate = (row) => row.coding.scale === "odds";

// Return the panels of a view from the top, each with its place, and how wide and high they are together.
function layout(view, state, width) {
  const { unit } = state, gate = gateOf(view, state.gate);
  const tall = Math.round(Math.max(56, Math.min(6 * view.units, 90), Math.min(1.4 * view.units, 280))); // of a map
  const curve = (row, series, k, name) => ({ row, series, name, color: row.color ?? INKS[k], dash: row.dash ?? [] });
  const ownLines = (bounded) => view.rows.filter((row) => isGate(row) === bounded)
    .map((row) => curve(row, unit, 0, row.name));
  const inputs = Array.from({ length: view.inputs.series }, (_, k) => curve(view.inputs, k, k, `${k}`));
  const gradients = view.gradients.filter((row) => row.unit === null || row.unit === unit)
    .map((row, k) => curve(row, 0, k, row.unit === null ? "" : `unit ${unit}`));
  const many = inputs.length > INKS.length;
  const panels = [
    { draw: drawMap, title: `whole run, ${gate.title}`, height: 22, row: gate, whole: true },
    { draw: many ? drawMap : drawLines, title: "inputs", height: many ? tall : 46, row: view.inputs, curves: inputs },
    ...view.rows.map((row) => ({ draw: drawMap, title: row.caption, height: tall, row, units: true })),
    { draw: drawLines, title: `unit ${unit}`, height: 84, curves: ownLines(true), bounded: true },
    { draw: drawLines, title: `unit ${unit}`, height: 84, curves: ownLines(false) },
    { draw: drawLines, title: gradients[0]?.row.name, height: 64, curves: gradients },
    { draw: drawAxis, title: "", height: 30 },
  ].filter(({ curves }) => curves?.length !== 0);
  let bottom = view.marks.length ? 16 : 0;
  for (const panel of panels) {
    panel.y = bottom + (panel.title ? TITLE : 0);
    bottom = panel.y + panel.height + (panel.title ? GAP : 0);
  }
  return { panels, width, height: bottom, inner: width - LEFT - RIGHT };
}

// Return what is of the same name as a row in all views that are shown: these have one range.
const twins = (row, views) => views.flatMap(rowsOf).filter(({ name, unit }) => name === row.name && unit === row.unit);

// Return what the colors of a row go from and to, and which; `shown` has the values in the columns.
function coloring(row, shown, turn, { state, views, colors }) {
  const codings = twins(row, views).map(({ coding }) => coding), bounded = isGate(row) && state.scale === "value";
  let low = bounded ? 0 : Math.min(...codings.map((coding) => coding.low));
  let high = bounded ? 1 : Math.max(...codings.map((coding) => coding.high));
  const signed = !isGate(row) && low < 0 && high > 0;
  if (state.contrast === "middle") {
    const { values, stride, count } = shown, seen = values.filter((value, k) => value === value && k % stride < count);
    const known = (turn ? seen.map(turn) : seen).sort(), end = known.length - 1;
    if (end >= 0) [low, high] = [known[Math.floor(0.02 * end)], known[Math.ceil(0.98 * end)]];
  }
  if (signed) [low, high] = [-Math.max(-low, high), Math.max(-low, high)];
  if (!(high > low)) [low, high] = [low - 0.5, low + 0.5];
  return { low, high, table: TABLES[signed ? colors.theme : "one"] };
}

// Draw a row of pixels a unit, in the order that is asked for, and above it the bar of colors.
function drawMap({ row, y, height, whole, units }, frame) {
  const { pen, state, order, inner, colors: { alarm, quiet } } = frame, window = whole ? frame.all : frame.window;
  const rows = row.series === order.length ? order : Array.from({ length: row.series }, (_, k) => k);
  const turn = isGate(row) && state.scale === "odds" ? odds : null;
  const shown = { ...columnsOfAll(row, window, state.how, whole ? "overview" : "shown"), rows };
  const color = coloring(row, shown, turn, frame), { low, high, table } = color;
  pen.image(shown, { ...color, turn }, LEFT, y, inner, height);
  if (whole) return;
  const [least, most] = [low, high].map((end) => format(end, (high - low) / 100)), end = LEFT + inner;
  const bar = end - 7 * most.length - 64;
  pen.text(most, end, y - 5, quiet, AT_END);
  pen.image(BARS, { low: 0, high: UNKNOWN, table }, bar, y - 14, 60, 9);
  pen.text(turn && inner > 450 ? `log-odds ${least}` : least, bar - 4, y - 5, quiet, AT_END);
  if (!units) return;
  const ends = state.order === "index" ? ["0", `${order.length - 1}`] : ["most", "least"];
  const middle = y + ((order.indexOf(state.unit) + 0.5) / order.length) * height;
  pen.text("▸", LEFT - 1, middle + 5, alarm, { anchor: "end", size: 16 });
  pen.text(ends[0], LEFT - 12, y + 10, quiet, AT_END);
  pen.text(ends[1], LEFT - 12, y + height, quiet, AT_END);
}

// Return the least and the greatest value of curves over the whole run.
function extremes(curves, turn, { views, all }) {
  const ends = curves.flatMap((curve) => twins(curve.row, views).map((row) => endsOf(row, curve.series, all, turn)));
  const low = Math.min(...ends.map(([least]) => least)), high = Math.max(...ends.map(([, most]) => most));
  return high > low ? [low, high] : high === low ? [low - 0.5, low + 0.5] : [-1, 1];
}

// Draw curves, and of columns of several steps a band from the least to the greatest.
function drawLines({ curves, bounded, y, height, title }, frame) {
  const { pen, state, window, inner, colors: { ink, quiet, rule } } = frame, asOdds = bounded && state.scale === "odds";
  const turn = asOdds ? odds : (value) => value;
  const [low, high] = bounded && !asOdds ? [0, 1] : extremes(curves, turn, frame);
  const up = (value) => clamp(y + (height * (high - turn(value))) / (high - low), y, y + height);
  const levels = [low, high, Math.max(low, Math.min(0, high))]; // and zero, if it is inside
  pen.boxes(levels.map((level) => [LEFT, y + (height * (high - level)) / (high - low), inner, 1]), rule);
  pen.text(format(high, (high - low) / 50), LEFT - 4, y + 9, quiet, AT_END);
  pen.text(format(low, (high - low) / 50), LEFT - 4, y + height, quiet, AT_END);
  // A line of one pixel is drawn many times faster than a wider one, and of many columns shows as much.
  const size = inner / window.columns, width = window.columns > 300 ? 1 : 1.75;
  let right = LEFT + 16 + 7 * title.length;
  for (const { row, series, color, name, dash } of curves) {
    const tone = color === "ink" ? ink : color, values = (how) => columnsOf(row, series, window, how).map(up);
    if (window.every > 1) pen.band(values("max"), values("min"), LEFT, size, tone, 0.25);
    const points = Array.from(values(state.how), (level, k) => [LEFT + (k + 0.5) * size, level]);
    pen.line(points, tone, { width, dash: window.every > 1 ? [] : dash });
    if (!name) continue;
    pen.line([[right, y - 9], [right + 22, y - 9]], tone, { width: 2, dash });
    pen.text(name, right + 26, y - 5, ink);
    right += 44 + 7 * name.length;
  }
}

// Draw the numbers of steps, or what was read at each where letters fit.
function drawAxis({ y }, { pen, view, window, across, inner, colors: { ink, quiet } }) {
  const room = inner / (window.last - window.first), reads = view.tokens.length && room >= 9;
  pen.boxes([[LEFT, y, inner, 1]], ink);
  for (const step of ticks(window.first, window.last - 1, reads ? Infinity : inner / 90)) {
    const x = across(step + 0.5);
    if (reads) pen.text(view.tokens[step]?.slice(0, Math.max(1, room / 6.5)) ?? "", x, y + 13, ink, CENTERED);
    else pen.boxes([[x, y, 1, 5]], ink);
    if (!reads) pen.text(format(step), clamp(x, LEFT + 8, LEFT + inner - 16), y + 16, quiet, CENTERED);
  }
  pen.text(reads ? `token, from step ${format(window.first)}` : "step", LEFT + inner, y + 28, quiet, AT_END);
}

// Draw a vertical line through panels, on a wider one of paper: it is seen on every color.
function drawThrough(pen, panels, x, color, paper, look) {
  const points = panels.flatMap(({ y, height }) => [[x, y], [x, y + height], [x, NaN]]);
  pen.line(points, paper, { width: 3.5, opacity: 0.6 });
  pen.line(points, color, look);
}

// Draw all panels of a view; return the window of steps that they show.
function paint(pen, { view, plan, order, state }, sides, colors) {
  const { panels, inner } = plan, [top, ...others] = panels, { ink, paper, alarm } = colors, end = LEFT + inner;
  const [window, all] = [state, { first: 0, last: view.steps }].map((part) => windowOf(part, inner, view.every));
  const across = (step, { first, last } = window) => LEFT + ((step - first) / (last - first)) * inner;
  const frame = { pen, view, state, views: sides.map((side) => side.view), order, colors, inner, window, all, across };
  for (const panel of panels) {
    pen.text(panel.title, LEFT, panel.y - 5, ink, { weight: 600 });
    panel.draw(panel, frame);
  }
  let free = -Infinity; // labels that would lie on others are left out
  for (const [step, label] of view.marks.filter(([step]) => step >= window.first && step < window.last)) {
    const x = across(step + 0.5), wide = 6.5 * label.length, begin = x + wide > end ? x - wide : x;
    drawThrough(pen, [{ y: 13, height: 5 }, ...others], x, ink, paper, { dash: [3, 3] });
    if (begin < free) continue;
    pen.text(label, begin, 11, ink, SMALL);
    free = begin + wide + 8;
  }
  const edges = [window.first, window.last].map((step) => clamp(across(step, all), LEFT, end));
  pen.boxes(edges.map((x) => [x - 2, top.y - 2, 4, top.height + 4]), alarm);
  drawThrough(pen, [top], across(state.step + 0.5, all), alarm, paper, { width: 1.5 });
  const now = across(state.step + 0.5);
  if (now >= LEFT && now <= end) drawThrough(pen, others, now, alarm, paper, { width: 1.5 });
  return window;
}
