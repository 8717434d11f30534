// What is shown of the runs: which steps, which unit, how; and the fragment of the address that says so.

const START = {
  view: 0, beside: "", first: 0, last: Infinity, step: null, unit: 0, gate: "", order: "index", scale: "value",
  how: "mean", contrast: "full", theme: "",
};
const CHOICES = {
  order: ["index", "mean", "time", "saturation", "now"], scale: ["value", "odds"], how: ["mean", "min", "max"],
  contrast: ["full", "middle"], theme: ["", "light", "dark"],
};
const FEWEST = 8; // steps that are shown

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const rowOf = (view, name) => view.rows.find((row) => row.name === name);
const gateOf = (view, name) => rowOf(view, name) ?? rowOf(view, view.chosen);

// Return a state that the runs have: what is not there, or is no number, is as at the start.
function settled(state, views) {
  const next = { ...START, ...state };
  const number = (value, otherwise = 0) => (Number.isFinite(Number(value)) ? Number(value) : otherwise);
  const whole = (value, most) => clamp(Math.round(number(value)), 0, most);
  next.view = whole(next.view, views.length - 1);
  if (next.beside !== "") next.beside = whole(next.beside, views.length - 1);
  if (next.beside === next.view) next.beside = "";
  const { steps, units } = views[next.view], first = number(next.first);
  const span = clamp(number(next.last, steps) - first, Math.min(FEWEST, steps), steps);
  next.first = clamp(first, 0, steps - span);
  next.last = next.first + span;
  next.step = next.step === null ? steps >> 1 : whole(next.step, steps - 1);
  next.unit = whole(next.unit, units - 1);
  next.gate = gateOf(views[next.view], next.gate).name;
  for (const [name, allowed] of Object.entries(CHOICES)) if (!allowed.includes(next[name])) next[name] = START[name];
  return next;
}

function fragment(state) {
  const said = Object.entries(state).filter(([name, value]) => name in START && value !== START[name]);
  const rounded = (value) => (Number.isFinite(value) ? Math.round(value) : value);
  return String(new URLSearchParams(said.map(([name, value]) => [name, rounded(value)])));
}

const fromFragment = (text) => Object.fromEntries(new URLSearchParams(text.replace(/^#/, "")));

// Return the steps in columns of `every` steps each, whole runs of what is stored, from `first` to before `last`.
function windowOf({ first, last }, width, run) {
  const every = Math.max(1, Math.ceil((last - first) / width / run)) * run;
  const begin = Math.floor(first / every) * every, columns = Math.ceil((last - begin) / every);
  return { first: begin, every, columns, last: begin + columns * every };
}

// Return the state with `factor` times as many steps shown, and the step `at` where it was.
function zoomed(state, factor, at) {
  return { ...state, first: at - (at - state.first) * factor, last: at + (state.last - at) * factor };
}

const panned = (state, steps) => ({ ...state, first: state.first + steps, last: state.last + steps });

// Return the state at a step, and the part that is shown moved there if it lies outside.
function stepped(state, step) {
  const outside = step < state.first || step >= state.last;
  return { ...panned(state, outside ? step - (state.first + state.last) / 2 : 0), step };
}

// Return the numbers of the units in the order that a state asks for, as rows from the top.
function unitOrder(state, view) {
  const gate = gateOf(view, state.gate), memory = view.rows.find((row) => row.keeps) ?? gate;
  const key = {
    index: (unit) => -unit,
    mean: (unit) => gate.mean[unit],
    time: (unit) => (memory.keeps < 0 ? -1 : 1) * memory.mean[unit], // as long as more is kept
    saturation: (unit) => (gate.shut ? gate.shut[unit] + gate.open[unit] : gate.mean[unit]),
    now: (unit) => at(gate, unit, state.step).mean,
  }[state.order];
  const units = Array.from({ length: view.units }, (_, unit) => unit);
  const keys = units.map((unit) => (Number.isFinite(key(unit)) ? key(unit) : -Infinity));
  return units.sort((a, b) => keys[b] - keys[a] || a - b); // the greatest on top
}

// Return the round numbers of steps from low to high that lie so far apart that there are `most` of them, or fewer.
function ticks(low, high, most) {
  const rough = Math.max(1, (high - low) / most), power = 10 ** Math.floor(Math.log10(rough));
  const size = power * [1, 2, 5, 10].find((times) => times * power >= rough), first = Math.ceil(low / size);
  return Array.from({ length: Math.floor(high / size) - first + 1 }, (_, k) => (first + k) * size);
}

// Return a number with the digits that its error leaves, or four.
function format(value, error = 0) {
  if (!Number.isFinite(value)) return value === Infinity ? "∞" : value === -Infinity ? "−∞" : "–";
  const digits = error > 0 ? clamp(Math.ceil(-Math.log10(error)), 0, 9) : 4;
  const extreme = Math.abs(value) >= 1e6 || (value !== 0 && Math.abs(value) < 1e-4 && !error);
  const style = { maximumFractionDigits: digits, minimumFractionDigits: error > 0 ? digits : 0 };
  return (extreme ? value.toExponential(2) : value.toLocaleString("en", style)).replace("-", "−");
}
