// The chosen unit in numbers: its gates and states, the equations with them, and where it stands among others.

// Return a coded value as it was, with its digits; of a gate its value.
function readOut(row, coded) {
  if (!isGate(row)) return format(coded, row.coding.error);
  const value = logistic(coded);
  return format(value, Math.max(row.coding.error * value * (1 - value), 1e-9));
}

// Return what is stored of a row at a step, as text: a value, or of a run of steps its mean, least and greatest.
function valueText(row, series, step) {
  const { min, mean, max } = at(row, series, step);
  return readOut(row, mean) + (row.every === 1 ? "" : ` (${readOut(row, min)} to ${readOut(row, max)})`);
}

// Return how long a state remembers while its memory gate is as coded, in steps: 1 / (1 - the fraction it keeps).
const timeConstant = (keeps, coded) => 1 + Math.exp(keeps * coded);

// Return the equations of a view with the numbers of a unit and a step put in: of c' those after the step, of c before.
function equationLines(view, unit, step) {
  const number = (name) => {
    const row = rowOf(view, name.replace("'", "")), after = name.endsWith("'");
    if (!row || (row.kind === "gate" && after)) return "";
    if (row.kind === "state" && !after && !step) return format(row.initial[unit], row.coding.error);
    return readOut(row, at(row, unit, row.kind === "gate" || after ? step : step - 1).mean);
  };
  const put = (right) => right.replace(/[A-Za-z]\w*'?/g, (name) => number(name).replace(/^−.*/, "($&)") || name)
    .replace(/\((\(−[^()]*\))\)/g, "$1");
  return view.equations.map(([left, right, weights]) =>
    [`${left} = ${right}`, weights ? "" : put(right), number(left)].filter(Boolean).join(" = "));
}

// Return what is to be said of a unit at a step, beside its values.
function noteLines(view, unit, step) {
  const memory = view.rows.find((row) => row.keeps), token = view.tokens[step], notes = [];
  if (memory) {
    const steps = (coded) => format(Number(timeConstant(memory.keeps, coded).toPrecision(3)));
    const [now, often] = [at(memory, unit, step).mean, odds(memory.mean[unit])].map(steps);
    notes.push(`Time constant by ${memory.name}: ${now} steps at this step, ${often} at its mean.`);
  }
  for (const row of view.gradients.filter((each) => each.unit === null || each.unit === unit)) {
    const before = format(row.source - step), left = format(at(row, 0, step).mean, row.coding.error);
    notes.push(`${row.words} Here, ${before} steps before, ln of its norm is ${left}.`);
  }
  return token === undefined ? notes : [...notes, `Token: ${token}`];
}

const element = (kind, textContent = "", more = {}) =>
  Object.assign(document.createElement(kind), { textContent, ...more });

function showNumbers(find, view, { unit, step }) {
  const percent = (part) => (part ? `${format(100 * part[unit], part[unit] === 1 ? 1 : 0.1)}\u00a0%` : "–");
  const reading = find(".reading"), place = `Unit ${unit}, step ${format(step)}`;
  if (reading.textContent !== place) reading.textContent = place; // it is read aloud
  find(".values tbody").replaceChildren(...view.rows.map((row) => {
    const line = element("tr"), head = element("th", row.title, { scope: "row", title: row.coding.precision });
    const cells = [valueText(row, unit, step), format(row.mean[unit]), percent(row.shut), percent(row.open)];
    line.append(head, ...cells.map((words) => element("td", words, { className: "number" })));
    return line;
  }));
  find(".notes").replaceChildren(...noteLines(view, unit, step).map((words) => element("p", words)));
  const lines = view.every === 1 ? equationLines(view, unit, step) : ["Single steps, which they need, are not stored."];
  find(".equations").replaceChildren(...lines.map((words) => element("p", words)));
}

const SQUARE = 230, EDGE = 30, SIZE = SQUARE - EDGE - 8; // of the scatter: its side, what labels take, what is left

const scatterPlace = (row, unit) => [EDGE + row.shut[unit] * SIZE, 8 + (1 - row.open[unit]) * SIZE];

// Draw each unit by how often its gate is shut and open: axes from 0 to 1, as all may lie in one corner.
function drawScatter(canvas, row, chosen, { ink, quiet, paper, alarm, rule }) {
  const pen = new Pen(canvas, SQUARE, SQUARE, paper), places = row.shut.map((_, unit) => scatterPlace(row, unit));
  const dots = (of, size) => of.map(([x, y]) => [x - size / 2, y - size / 2, size, size]);
  pen.boxes([[EDGE, 8, SIZE, SIZE]], rule, 0.35);
  pen.text("shut (below 0.1) →", SQUARE - 8, SQUARE - 8, quiet, AT_END);
  pen.text("↑ open (above 0.9)", EDGE, 8 + SIZE / 2, quiet, SMALL);
  pen.boxes(dots([places[chosen]], 13), alarm);
  pen.boxes(dots(places, 5), ink, 0.45);
}

// Return the counts of values in even bins from low to high, of some units, over the columns of a window.
function histogram(row, units, window, bins, [low, high], turn) {
  const counts = new Float64Array(bins);
  for (const value of units.flatMap((unit) => Array.from(columnsOf(row, unit, window, "mean"), turn))) {
    const bin = Math.floor(((value - low) / (high - low)) * bins);
    if (bin === bin) counts[clamp(bin, 0, bins - 1)] += 1;
  }
  return counts;
}

// Draw how often values are where: of all units as bars, of the chosen one as a line.
function drawHistogram(canvas, row, { unit, scale }, order, window, { ink, quiet, paper, alarm }) {
  const pen = new Pen(canvas, SQUARE, 110, paper), bins = 40, width = SIZE / bins;
  const asOdds = isGate(row) && scale === "odds", { low, high } = row.coding;
  const ends = isGate(row) && !asOdds ? [0, 1] : [low, high + (high === low)];
  const counted = (units) => histogram(row, units, window, bins, ends, asOdds ? odds : (value) => value);
  const tall = (counts) => Array.from(counts, (count) => (80 * count) / Math.max(1, ...counts));
  pen.boxes(tall(counted(order)).map((up, k) => [EDGE + k * width, 88 - up, width - 0.5, up]), quiet, 0.6);
  pen.line(tall(counted([unit])).map((up, k) => [EDGE + (k + 0.5) * width, 88 - up]), alarm, { width: 1.5 });
  const [first, last] = ends.map((end) => format(end, (ends[1] - ends[0]) / 50));
  pen.text(first, EDGE, 102, quiet, SMALL);
  pen.text(last, EDGE + SIZE, 102, quiet, AT_END);
  pen.text(`all, unit ${unit}`, EDGE + SIZE / 2, 102, ink, CENTERED);
}
