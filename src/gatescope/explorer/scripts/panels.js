// The panels over time: an overview, inputs, a map of each gate and state, the chosen unit's lines, gradients, the axis.

const LEFT = 46, RIGHT = 8, TITLE = 18, GAP = 6; // pixels around a panel
const HEIGHTS = { overview: 22, inputs: 46, lines: 84, gradient: 64, axis: 30 };

const describe = ({ name, role }) => (role ? `${name}, ${role}` : name);
const isGate = (row) => row.coding.scale === "odds";

// Return the panels of a view, from the top, with the part of the drawing that each has.
function layout(view, state, width) {
  const chosen = view.rows.find((row) => row.name === state.gate);
  const tall = clamp(Math.round(view.units * 1.4), 56, 280);
  const panels = [{ kind: "overview", row: chosen, height: HEIGHTS.overview, title: `whole run, ${describe(chosen)}` }];
  const several = view.inputs.series > 4;
  panels.push({ kind: several ? "heat" : "lines", row: view.inputs, height: several ? tall : HEIGHTS.inputs, title: "inputs",
    curves: Array.from({ length: several ? 0 : view.inputs.series }, (_, k) => curve(view.inputs, k, CURVES[k], several ? "" : `${k}`)) });
  for (const row of view.rows) {
    const kept = row.keeps ? (row.keeps > 0 ? ", keeps the memory" : ", 1 − it keeps the memory") : "";
    panels.push({ kind: "heat", row, units: true, height: tall, title: `${describe(row)}${kept}` });
  }
  const gates = view.rows.filter(isGate), others = view.rows.filter((row) => !isGate(row)), unit = `unit ${state.unit}`;
  for (const [rows, bounded] of [[gates, true], [others, false]]) {
    const curves = rows.map((row) => curve(row, state.unit, row.color, row.name, row.dash));
    if (rows.length) panels.push({ kind: "lines", curves, bounded, height: HEIGHTS.lines, title: unit });
  }
  const wanted = view.gradients.filter((each) => each.unit === null || each.unit === state.unit);
  const curves = wanted.map((each, k) => curve(each, 0, CURVES[k], each.unit === null ? "" : unit));
  if (wanted.length) panels.push({ kind: "lines", curves, height: HEIGHTS.gradient, title: wanted[0].name });
  panels.push({ kind: "axis", height: HEIGHTS.axis });
  let y = view.marks.length ? 16 : 0;
  for (const panel of panels) {
    y += panel.kind === "axis" ? 0 : TITLE;
    Object.assign(panel, { x: LEFT, y, width: width - LEFT - RIGHT });
    y += panel.height + (panel.kind === "axis" ? 0 : GAP);
  }
  return { panels, width, height: y };
}

const CURVES = ["ink", "#d55e00", "#0072b2", "#009e73"];
const curve = (row, series, color, name, dash = []) => ({ block: row.block, series, color, name, dash });

// Return what gives the values of a row their colors.
function coloring(row, state, view, window, theme) {
  const asOdds = isGate(row) && state.scale === "odds", signed = !isGate(row) && row.coding.low < 0 && row.coding.high > 0;
  let [low, high] = asOdds || !isGate(row) ? [row.coding.low, row.coding.high] : [0, 1];
  if (state.contrast === "middle") {
    const sample = new Float64Array(row.series * window.columns);
    for (let s = 0; s < row.series; s++) {
      row.block.columns(s, window, state.how, sample.subarray(s * window.columns, (s + 1) * window.columns));
    }
    [low, high] = middle(asOdds ? sample.map(odds) : sample, 0.02);
  }
  if (signed) [low, high] = [-Math.max(-low, high), Math.max(-low, high)];
  if (!(high > low)) [low, high] = [low - 0.5, low + 0.5];
  return { low, high, asOdds, table: TABLES[signed ? theme : "one"] };
}
const TABLES = { one: colorTable(ONE_WAY), light: colorTable(TWO_WAYS.light), dark: colorTable(TWO_WAYS.dark) };

// Draw all panels; `look` has the colors of ink, quiet ink, paper, and the theme's name.
function paint(pen, plan, view, state, order, look) {
  const { ink, quiet, paper, alarm, theme } = look, width = plan.panels[0].width;
  const window = windowOf(state, width, view.every), all = windowOf({ first: 0, last: view.steps }, width, view.every);
  const across = (step, within = window) => LEFT + ((step - within.first) / (within.last - within.first)) * width;
  pen.rect(0, 0, plan.width, plan.height, paper);
  for (const panel of plan.panels) {
    const { kind, row, x, y, height, title } = panel;
    if (title) pen.text(title, x, y - 5, ink, { bold: true });
    if (kind === "axis") {
      drawAxis(pen, panel, view, window, across, look);
    } else if (kind === "lines") {
      drawLines(pen, panel, state, window, look);
    } else {
      const shown = kind === "overview" ? all : window, units = kind === "overview" || panel.units;
      const colors = coloring(row, state, view, window, theme);
      const rows = units ? order : Array.from({ length: row.series }, (_, k) => k);
      pen.image(heatImage(row.block, rows, shown, state.how, colors), x, y, width, height);
      if (kind === "heat") drawBar(pen, panel, colors, row, look);
      if (panel.units) {
        const at = y + ((order.indexOf(state.unit) + 0.5) / order.length) * height;
        pen.path([[x - 9, at - 5, x - 1, at, x - 9, at + 5]], alarm, { fill: true });
        pen.text(state.order === "index" ? "0" : "most", x - 12, y + 10, quiet, { align: "right", size: 11 });
        pen.text(state.order === "index" ? `${view.units - 1}` : "least", x - 12, y + height, quiet, { align: "right", size: 11 });
      }
    }
  }
  const [top, ...others] = plan.panels;
  for (const step of [window.first, window.last]) {
    const at = clamp(across(step, all), LEFT, LEFT + width);
    pen.rect(at - 2, top.y - 2, 4, top.height + 4, alarm);
  }
  const through = (at, panels) => panels.map((panel) => [at, panel.y, at, panel.y + (panel.kind === "axis" ? 6 : panel.height)]);
  drawMarks(pen, view, window, across, (at) => through(at, others), look);
  const at = across(state.step + 0.5);
  if (at >= LEFT && at <= LEFT + width) {
    pen.path(through(at, others), paper, { width: 3.5, opacity: 0.6 });
    pen.path(through(at, others), alarm, { width: 1.5 });
  }
  pen.path(through(across(state.step + 0.5, all), [top]), alarm, { width: 1.5 });
  return window;
}

function drawBar(pen, { x, y, width }, { low, high, asOdds, table }, row, { quiet }) {
  const image = new ImageData(UNKNOWN, 1), size = 60;
  new Uint32Array(image.data.buffer).set(table.subarray(0, UNKNOWN));
  const error = (high - low) / 100, end = x + width, most = format(high, error);
  const right = end - 7 * most.length - 4;
  pen.text(most, end, y - 5, quiet, { align: "right", size: 11 });
  pen.image(pictured(image), right - size, y - 14, size, 9);
  pen.text(`${asOdds && width > 500 ? "log-odds " : ""}${format(low, error)}`, right - size - 4, y - 5, quiet, { align: "right", size: 11 });
}

// Draw curves, and of columns of several steps a band from the least to the greatest.
function drawLines(pen, { curves, bounded, x, y, width, height, title }, state, window, { ink, quiet, rule }) {
  const asOdds = bounded && state.scale === "odds", turn = asOdds ? odds : (value) => value;
  const edges = curves.map(({ block, series }) => block.extremes(series).map(turn));
  let low = Math.min(...edges.map(([least]) => least)), high = Math.max(...edges.map(([, most]) => most));
  if (bounded && !asOdds) [low, high] = [0, 1];
  if (!(high > low)) [low, high] = [low - 0.5, low + 0.5];
  if (!Number.isFinite(high - low)) [low, high] = [-1, 1];
  const up = (value) => y + height - ((turn(value) - low) / (high - low)) * height;
  pen.rect(x, y, width, 1, rule);
  pen.rect(x, y + height, width, 1, rule);
  if (low < 0 && high > 0) pen.rect(x, y + height - (-low / (high - low)) * height, width, 1, rule);
  pen.text(format(high, (high - low) / 50), x - 4, y + 9, quiet, { align: "right", size: 11 });
  pen.text(format(low, (high - low) / 50), x - 4, y + height, quiet, { align: "right", size: 11 });
  const rows = { min: new Float64Array(window.columns), mean: new Float64Array(window.columns), max: new Float64Array(window.columns) };
  // A line of one pixel is drawn many times faster than a wider one, and of many columns shows as much.
  const thick = window.columns > 300 ? 1 : 1.75;
  let right = x + 8 + 7 * title.length;
  for (const { block, series, color, name, dash } of curves) {
    for (const how of ["min", "mean", "max"]) block.columns(series, window, how, rows[how]);
    const tone = color === "ink" || color === "#000000" ? ink : color, runs = known(rows.mean);
    const size = width / window.columns, place = (value) => clamp(up(value), y, y + height), line = (values, from, to) => {
      const points = [];
      for (let k = from; k < to; k++) points.push(x + (k + 0.5) * size, place(values[k]));
      return points;
    };
    if (window.every > 1) {
      const columns = Array.from(rows.max, (most, k) => [x + k * size, place(most), place(rows.min[k])]);
      pen.bars(columns.filter(([, top]) => top === top), size, tone, 0.25);
    }
    pen.path(runs.map(([from, to]) => line(rows[state.how], from, to)), tone, { width: thick, dash: window.every > 1 ? [] : dash });
    if (!name) continue;
    pen.path([[right + 8, y - 9, right + 30, y - 9]], tone, { width: 2, dash });
    pen.text(name, right + 34, y - 5, ink);
    right += 44 + 7 * name.length;
  }
}

// Return the stretches, [from, to), in which there are numbers.
function known(values) {
  const runs = [];
  let from = -1;
  for (let k = 0; k <= values.length; k++) {
    const inside = k < values.length && values[k] === values[k];
    if (inside && from < 0) from = k;
    if (!inside && from >= 0) [from] = [-1, runs.push([from, k])];
  }
  return runs;
}

function drawAxis(pen, { x, y, width }, view, window, across, { ink, quiet }) {
  const size = width / (window.last - window.first);
  pen.rect(x, y, width, 1, ink);
  if (view.tokens.length && size >= 9) {
    for (let step = window.first; step < Math.min(window.last, view.steps); step++) {
      const token = shown(view.tokens[step]), room = Math.floor(size / 6.5);
      pen.text(token.length > room ? `${token.slice(0, Math.max(1, room - 1))}` : token, across(step + 0.5), y + 13, ink, { align: "center" });
    }
  } else {
    for (const step of ticks(window.first, window.last, width / 90).filter(Number.isInteger)) {
      pen.rect(across(step + 0.5), y, 1, 5, ink);
      pen.text(step.toLocaleString("en"), clamp(across(step + 0.5), x + 8, x + width - 16), y + 16, quiet, { align: "center", size: 11 });
    }
  }
  pen.text(view.tokens.length && size >= 9 ? `token, from step ${format(window.first)}` : "step", x + width, y + 28, quiet, { align: "right", size: 11 });
}

const shown = (token) => token.replace(/ /g, "\u2423").replace(/\n/g, "\u21b2").replace(/\t/g, "\u2192") || "\u2205";

function drawMarks(pen, view, window, across, through, { ink, paper }) {
  let free = -Infinity; // labels that would lie on another are left out
  for (const [step, label] of view.marks) {
    if (step < window.first || step >= window.last) continue;
    const at = across(step + 0.5), text = label.replace(/\s+/g, " ").slice(0, 40), wide = 6.5 * text.length;
    const left = at + wide > across(window.last);
    pen.path(through(at), paper, { width: 3, opacity: 0.6 });
    pen.path([[at, 13, at, 18], ...through(at)], ink, { dash: [3, 3] });
    const begin = left ? at - wide : at;
    if (begin < free) continue;
    pen.text(text, at, 11, ink, { align: left ? "right" : "left", size: 11 });
    free = begin + wide + 8;
  }
}
