// The chosen unit in numbers: its gates and states at the step, the equations with them, and where it stands among others.

const HALF = Math.log(2);

// Return a coded value as it was, with its digits; of a gate its value.
function readOut(row, coded) {
  if (!isGate(row)) return format(coded, row.coding.error);
  const value = logistic(coded);
  return format(value, Math.max(row.coding.error * value * (1 - value), 1e-9));
}

// Return what is stored of a row at a step, as text: a value, or of a run of steps its mean, least and greatest.
function valueText(row, series, step) {
  const { min, mean, max } = row.block.at(series, step);
  if (row.block.every === 1) return readOut(row, mean);
  return `${readOut(row, mean)} (${readOut(row, min)} to ${readOut(row, max)})`;
}

// Return how long a state remembers while its memory gate is as coded, in steps: 1 / (1 - the fraction it keeps).
const timeConstant = (keeps, coded) => 1 + Math.exp(keeps * coded);

// Return the equations of a view as lines of text, with the numbers of a unit and a step in place of names.
function equationLines(view, unit, step) {
  const number = (name) => {
    const after = name.endsWith("'"), row = view.rows.find((each) => each.name === name.replace("'", ""));
    if (!row || (row.kind === "gate" && after)) return null;
    if (row.kind === "gate" || after) return readOut(row, row.block.at(unit, step).mean);
    return step ? readOut(row, row.block.at(unit, step - 1).mean) : format(row.initial[unit], row.coding.error);
  };
  return view.equations.map(([left, right]) => {
    const value = number(left), hidden = /\b[WRb]_|\bW x/.test(right); // weights, which the page does not have
    const filled = hidden ? "" : right.replace(/[A-Za-z]\w*'?/g, (name) => {
      const text = number(name);
      return text === null ? name : text.startsWith("−") ? `(${text})` : text;
    }).replace(/\((\(−[^()]*\))\)/g, "$1");
    return [`${left} = ${right}`, ...(filled && filled !== right ? [filled] : []), ...(value === null ? [] : [value])].join(" = ");
  });
}

// Return the counts of values in `bins` even bins from low to high, of all units or of one, over the steps of a window.
function histogram(block, units, window, bins, [low, high], turn) {
  const counts = new Float64Array(bins), row = new Float64Array(window.columns);
  for (const unit of units) {
    block.columns(unit, window, "mean", row);
    for (const value of row) {
      const bin = Math.floor(((turn(value) - low) / (high - low)) * bins);
      if (bin === bin) counts[clamp(bin, 0, bins - 1)] += 1;
    }
  }
  return counts;
}

function showNumbers(view, state) {
  const { unit, step } = state, find = (id) => document.getElementById(id), stored = view.every === 1;
  find("reading").textContent = `Unit ${unit}, step ${format(step)}`;
  const percent = (part) => (part ? `${format(100 * part[unit], part[unit] === 1 ? 1 : 0.1)} %` : "–");
  const element = (kind, text, name = "") => Object.assign(document.createElement(kind), { textContent: text, className: name });
  find("values").tBodies[0].replaceChildren(...view.rows.map((row) => {
    const line = document.createElement("tr"), head = element("th", describe(row));
    head.scope = "row";
    head.title = row.coding.precision;
    const mean = format(row.mean[unit]);
    line.append(head, ...[valueText(row, unit, step), mean, percent(row.shut), percent(row.open)].map((text) => element("td", text, "number")));
    return line;
  }));
  const notes = [], memory = view.rows.find((row) => row.keeps);
  if (memory) {
    const now = timeConstant(memory.keeps, memory.block.at(unit, step).mean), mean = odds(memory.mean[unit]);
    notes.push(`Time constant by ${memory.name}: ${format(Number(now.toPrecision(3)))} steps at this step, `
      + `${format(Number(timeConstant(memory.keeps, mean).toPrecision(3)))} at its mean.`);
  }
  for (const each of view.gradients) {
    if (each.unit !== null && each.unit !== unit) continue;
    const whose = each.unit === null ? "the whole gradient" : `the gradient of unit ${unit}`, left = each.block.at(0, step).mean;
    notes.push(`Of ${whose} ${each.gone === null ? "more than half is left at the longest lag" : `half is gone after ${format(each.gone)} steps`}; `
      + (each.half === null ? `no half-life${each.why ? `: ${each.why}` : ""}.` : `asymptotic half-life ${format(Number(each.half.toPrecision(3)))} steps.`)
      + (left === left ? ` Here, ${format(each.source - step)} steps before, ln of its norm is ${format(left, each.coding.error)}.` : ""));
  }
  if (view.tokens.length) notes.push(`Token: ${shown(view.tokens[step])}`);
  find("notes").replaceChildren(...notes.map((text) => element("p", text)));
  const lines = stored ? equationLines(view, unit, step) : ["Single steps are not stored: there are no numbers to put in."];
  find("equations").replaceChildren(...lines.map((text) => element("p", text)));
}

const SQUARE = 230, EDGE = 30; // of the scatter, and what its labels take

// Draw each unit by how often its gate is shut and open, and return where; fixed axes, as all may lie in one corner.
function paintScatter(canvas, view, state, { ink, quiet, paper, alarm, rule }) {
  const row = view.rows.find((each) => each.name === state.gate), pen = new CanvasPen(canvas, SQUARE, SQUARE), size = SQUARE - EDGE - 8;
  pen.rect(0, 0, SQUARE, SQUARE, paper);
  document.getElementById("scatter-title").textContent = row.shut ? `Saturation of ${row.name}` : `${row.name} is no gate from 0 to 1`;
  canvas.setAttribute("aria-label", row.shut ? `Each unit by the fractions of steps at which ${describe(row)} is shut and open; unit ${state.unit}: `
    + `${format(row.shut[state.unit], 0.001)} and ${format(row.open[state.unit], 0.001)}` : "No saturation");
  canvas.hidden = !row.shut;
  if (!row.shut) return [];
  const place = (unit) => [EDGE + row.shut[unit] * size, 8 + (1 - row.open[unit]) * size];
  pen.path([[EDGE, 8, EDGE, 8 + size, EDGE + size, 8 + size, EDGE, 8]], rule);
  for (const [text, x, y, align] of [["0", EDGE, SQUARE - 8, "left"], ["1", EDGE + size, SQUARE - 8, "right"], ["1", EDGE - 4, 16, "right"], ["0", EDGE - 4, 8 + size, "right"]]) pen.text(text, x, y, quiet, { align, size: 11 });
  pen.text("shut (below 0.1)", EDGE + size / 2, SQUARE - 8, ink, { align: "center", size: 11 });
  pen.text("open (above 0.9)", SQUARE - 8, 20, ink, { align: "right", size: 11 });
  const places = view.rows[0].mean.map((_, unit) => place(unit));
  places.forEach(([x, y]) => pen.rect(x - 2.5, y - 2.5, 5, 5, ink, 0.45));
  const [x, y] = places[state.unit];
  pen.path([[x - 6, y - 6, x + 6, y - 6, x + 6, y + 6, x - 6, y + 6, x - 6, y - 6]], alarm, { width: 2 });
  return places;
}

function paintHistogram(canvas, view, state, window, { ink, quiet, paper, alarm }) {
  const row = view.rows.find((each) => each.name === state.gate), pen = new CanvasPen(canvas, SQUARE, 110), bins = 40;
  const asOdds = isGate(row) && state.scale === "odds", turn = asOdds ? odds : (value) => value;
  const ends = isGate(row) && !asOdds ? [0, 1] : [row.coding.low, row.coding.high + (row.coding.high === row.coding.low)];
  const all = histogram(row.block, Array.from({ length: view.units }, (_, unit) => unit), window, bins, ends, turn);
  const own = histogram(row.block, [state.unit], window, bins, ends, turn), size = (SQUARE - EDGE - 8) / bins;
  const columns = window.every === 1 ? "each step" : `means of ${format(window.every)} steps`;
  document.getElementById("histogram-title").textContent = `Histogram of ${row.name}, ${columns}`;
  canvas.setAttribute("aria-label", `Histogram of ${describe(row)} over the steps shown, of all units as bars and of unit ${state.unit} as a line`);
  pen.rect(0, 0, SQUARE, 110, paper);
  const up = (count, most) => 88 - (80 * count) / Math.max(1, most), most = Math.max(...all), ownMost = Math.max(...own);
  all.forEach((count, k) => pen.rect(EDGE + k * size, up(count, most), size - 0.5, 88 - up(count, most), quiet, 0.6));
  pen.path([Array.from(own).flatMap((count, k) => [EDGE + k * size, up(count, ownMost), EDGE + (k + 1) * size, up(count, ownMost)])], alarm, { width: 1.5 });
  pen.text(format(ends[0], (ends[1] - ends[0]) / 50), EDGE, 102, quiet, { size: 11 });
  pen.text(format(ends[1], (ends[1] - ends[0]) / 50), SQUARE - 8, 102, quiet, { align: "right", size: 11 });
  pen.text(`all, unit ${state.unit}`, EDGE + 20 * size, 102, ink, { align: "center", size: 11 });
}
