// What is shown of a run: which steps, which unit, how; and the fragment of the address that says so.

const START = {
  view: 0, first: 0, last: Infinity, step: null, unit: 0, gate: "", order: "index", scale: "value", how: "mean",
  contrast: "full", theme: "",
};
const CHOICES = {
  order: ["index", "mean", "time", "saturation", "now"], scale: ["value", "odds"], how: ["mean", "min", "max"],
  contrast: ["full", "middle"], theme: ["", "light", "dark"],
};
const FEWEST = 8; // steps that are shown

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Return a state that a run has: what is not there, or is no number, is as at the start.
function settled(state, views) {
  const next = { ...START, ...state }, whole = (value) => (Number.isFinite(Number(value)) ? Math.round(Number(value)) : 0);
  next.view = clamp(whole(next.view), 0, views.length - 1);
  const { steps, units, rows, chosen } = views[next.view], fewest = Math.min(FEWEST, steps);
  const last = Number.isFinite(Number(next.last)) ? Number(next.last) : steps;
  const span = clamp(last - (Number(next.first) || 0), fewest, steps);
  next.first = clamp(Number(next.first) || 0, 0, steps - span);
  next.last = next.first + span;
  next.step = clamp(next.step === null ? steps >> 1 : whole(next.step), 0, steps - 1);
  next.unit = clamp(whole(next.unit), 0, units - 1);
  if (!rows.some((row) => row.name === next.gate)) next.gate = chosen;
  for (const [name, allowed] of Object.entries(CHOICES)) if (!allowed.includes(next[name])) next[name] = START[name];
  return next;
}

function fragment(state) {
  const said = Object.entries(state).filter(([name, value]) => value !== START[name] && name in START);
  return new URLSearchParams(said.map(([name, value]) => [name, Number.isFinite(value) ? Math.round(value) : value])).toString();
}

const fromFragment = (text) => Object.fromEntries(new URLSearchParams(text.replace(/^#/, "")));

// Return the steps in columns of `every` steps each, which are whole runs of a level, from step `first` to before `last`.
function windowOf({ first, last }, width, stored) {
  const least = (last - first) / width;
  let run = stored;
  while (run * FACTOR * 2 <= least) run *= FACTOR;
  const every = Math.max(run, Math.ceil(least / run) * run), begin = Math.floor(first / every) * every;
  const columns = Math.ceil((last - begin) / every);
  return { first: begin, every, columns, last: begin + columns * every };
}

// Return the state with `factor` times as many steps shown, and the step `at` where it was.
function zoomed(state, factor, at) {
  const left = (at - state.first) * factor, span = (state.last - state.first) * factor;
  return { ...state, first: at - left, last: at - left + span };
}

function panned(state, steps) {
  return { ...state, first: Math.max(0, state.first + steps), last: Math.max(0, state.first + steps) + state.last - state.first };
}

// Return the state at a step, and the part that is shown moved there if it lies outside.
function stepped(state, step) {
  const span = state.last - state.first, inside = step >= state.first && step < state.last;
  return inside ? { ...state, step } : { ...state, step, first: Math.max(0, step - span / 2), last: Math.max(0, step - span / 2) + span };
}

// Return the numbers of the units in the order that a state asks for, as rows from the top.
function unitOrder(state, { units, rows }) {
  const gate = rows.find((row) => row.name === state.gate), memory = rows.find((row) => row.keeps) ?? gate;
  const keys = {
    index: (unit) => unit,
    mean: (unit) => gate.mean[unit],
    time: (unit) => (memory.keeps < 0 ? -1 : 1) * memory.mean[unit], // as long as more is kept
    saturation: (unit) => (gate.shut ? gate.shut[unit] + gate.open[unit] : gate.mean[unit]),
    now: (unit) => gate.block.at(unit, state.step).mean,
  };
  const key = Array.from({ length: units }, (_, unit) => keys[state.order](unit) ?? -Infinity);
  const sign = state.order === "index" ? 1 : -1; // the greatest on top
  return key.map((_, unit) => unit).sort((a, b) => sign * (key[a] - key[b]) || a - b);
}

// Return values between which all but the given part at either end lie; of nothing [0, 1].
function middle(values, part) {
  const known = values.filter((value) => value === value).sort();
  if (!known.length) return [0, 1];
  return [known[Math.floor(part * (known.length - 1))], known[Math.ceil((1 - part) * (known.length - 1))]];
}

// Return up to `most` round numbers from low to high.
function ticks(low, high, most) {
  if (!(high > low)) return [low];
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const size = power * [1, 2, 5, 10].find((times) => times * power >= rough * (1 - 1e-9));
  const count = Math.floor((high - Math.ceil(low / size - 1e-9) * size) / size + 1e-9);
  return Array.from({ length: count + 1 }, (_, k) => (Math.ceil(low / size - 1e-9) + k) * size);
}

// Return a number with the digits that its error leaves.
function format(value, error = 0) {
  if (value === null || value !== value) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const digits = error > 0 ? clamp(Math.ceil(-Math.log10(error)), 0, 9) : Number.isInteger(value) ? 0 : 4;
  const large = Math.abs(value) >= 1e6 || (value !== 0 && Math.abs(value) < 1e-4 && !error);
  const text = large ? value.toExponential(2) : value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: error > 0 ? digits : 0 });
  return text.replace("-", "−");
}
