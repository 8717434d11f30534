// What the page holds, decoded: codes of every series at every step, and the numbers that codes stand for.

const logistic = (x) => 1 / (1 + Math.exp(-x));
const odds = (value) => Math.log(value / (1 - value));

async function unpack(text, codes) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = letters.charCodeAt(k);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  return codes < 256 ? Uint16Array.from(new Uint8Array(buffer)) : new Uint16Array(buffer); // one kind: loops are fast
}

// Give a row (a gate or state of all units, the inputs, a gradient) its codes, and what each stands for:
// `coded`, of a gate its log-odds, and `values`.  Code 0 is no number.
async function decode(row, { steps, every }) {
  const { low, high, codes, scale } = row.coding;
  const half = (high / 2 - low / 2) / Math.max(1, codes - 1); // by halves: a span may be too large for a float
  row.coded = Float64Array.from({ length: codes + 1 }, (_, code) => (code ? low + 2 * half * (code - 1) : NaN));
  row.values = scale === "odds" ? row.coded.map(logistic) : row.coded;
  const mean = await unpack(row.codes.mean, codes), { min, max } = row.codes;
  row.codes = { mean, min: min ? await unpack(min, codes) : mean, max: max ? await unpack(max, codes) : mean };
  Object.assign(row, { every, runs: Math.ceil(steps / every), size: steps / every });
}

const rowsOf = (view) => [view.inputs, ...view.rows, ...view.gradients];

async function decodeView(view) {
  await Promise.all(rowsOf(view).map((row) => decode(row, view)));
  return view;
}

// Fill `out` with the mean, min or max of all steps of each column of a window; NaN where one of them is no number.
function columns(row, series, window, how, out) {
  const { values, every, runs, size } = row, codes = row.codes[how];
  const per = window.every / every, end = (series + 1) * runs;
  let from = series * runs + window.first / every;
  for (let x = 0; x < window.columns; x++, from += per) {
    const to = Math.min(from + per, end);
    if (from >= to) out[x] = NaN;
    else if (how !== "mean") out[x] = values[most(codes, how === "min" ? -1 : 1, from, to)];
    else out[x] = mean(codes, values, from, to, to === end ? runs - size : 0);
  }
  return out;
}

const columnsOf = (row, series, window, how) => columns(row, series, window, how, new Float64Array(window.columns));

// Return the columns of all series of a row, `stride` numbers from one series to the next.  `place` names a window that
// moves: of what it showed before, only the columns that are new are computed.
function columnsOfAll(row, window, how, place) {
  const { first, every, columns: count } = window, old = row[place];
  const fits = old?.how === how && old.every === every && count <= old.stride, stride = fits ? old.stride : count + 8;
  const values = fits ? old.values : new Float64Array(row.series * stride), far = fits ? (first - old.first) / every : 0;
  // Of the columns those from `from` to before `to` were there, `far` columns further on.
  const from = Math.max(0, -far), to = fits ? Math.max(from, Math.min(count, old.count - far)) : from;
  if (far && to > from) values.copyWithin(from, from + far);
  for (let k = 0; k < row.series; k++) {
    for (const [a, b] of to > from ? [[0, from], [to, count]] : [[0, count]]) {
      const part = { first: first + a * every, every, columns: b - a }, begin = k * stride;
      if (b > a) columns(row, k, part, how, values.subarray(begin + a, begin + b));
    }
  }
  return (row[place] = { how, every, first, count, stride, values });
}

// Return the least and the greatest number of a series over the columns of the whole run, found once.
function endsOf(row, series, all, turn) {
  const key = `${series} ${all.every} ${turn === odds}`;
  row.ends ??= new Map();
  if (!row.ends.has(key)) {
    const known = ["min", "max"].flatMap((how) => Array.from(columnsOf(row, series, all, how), turn));
    const finite = known.filter(Number.isFinite);
    row.ends.set(key, [Math.min(...finite), Math.max(...finite)]);
  }
  return row.ends.get(key);
}

// Return the mean of what codes stand for; of the last run, which may be shorter, a part is missing.
function mean(codes, values, from, to, missing) {
  let total = -missing * values[codes[to - 1]];
  for (let k = from; k < to; k++) total += values[codes[k]];
  return total / (to - from - missing);
}

// Return the code that is greatest, or of sign -1 least, which is that of the value; 0 if any is.
function most(codes, sign, from, to) {
  let best = codes[from];
  for (let k = from; k < to && best; k++) if (sign * (codes[k] - best) > 0 || codes[k] === 0) best = codes[k];
  return best;
}

// Return what is stored of a step, as it was coded: `min`, `mean` and `max`, which are one where each step is.
function at({ codes, coded, every, runs }, series, step) {
  const place = series * runs + Math.floor(step / every);
  return { min: coded[codes.min[place]], mean: coded[codes.mean[place]], max: coded[codes.max[place]] };
}
