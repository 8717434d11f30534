// The page at work: pointer, keys, touch and fields change the state, and the state is drawn.

const source = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const form = find("controls").elements, canvas = find("panels");
const read = new Map(); // views that are decoded, or being decoded, by their number
let state = settled(fromFragment(location.hash), source.views), view = null, plan = null, order = [], shownSteps = null;
let places = [], waiting = false, numbers = "", resting = 0, opening = null;

function look() {
  const style = getComputedStyle(document.documentElement), color = (name) => style.getPropertyValue(`--${name}`).trim();
  const dark = state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return { ink: color("ink"), quiet: color("quiet"), paper: color("paper"), alarm: color("alarm"), rule: color("rule"), theme: dark ? "dark" : "light" };
}

function draw() {
  waiting = false;
  if (!view) return;
  const width = Math.floor(find("stage").firstElementChild.clientWidth), colors = look();
  order = unitOrder(state, view);
  plan = layout(view, state, width);
  shownSteps = paint(new CanvasPen(canvas, plan.width, plan.height), plan, view, state, order, colors);
  const chosen = [state.view, state.unit, state.step, state.gate, colors.theme].join();
  if (chosen !== numbers) {
    showNumbers(view, state);
    places = paintScatter(find("scatter"), view, state, colors);
  }
  numbers = chosen;
  clearTimeout(resting);
  resting = setTimeout(rest, 150, colors);
  for (const name of Object.keys(START)) if (form[name]) form[name].value = state[name];
  Object.assign(find("step"), { max: view.steps - 1, value: state.step });
  find("step").setAttribute("aria-valuetext", `step ${state.step}`);
  const column = shownSteps.every === 1 ? "a column holds one step" : `a column holds ${format(shownSteps.every)} steps`;
  const part = `steps ${format(shownSteps.first)} to ${format(Math.min(shownSteps.last, view.steps) - 1)} of ${format(view.steps)}`;
  const exact = view.rows.find((row) => row.name === state.gate);
  find("detail").textContent = `${part}: ${column}; ${source.detail}; ${exact.name}: ${exact.coding.precision}.`;
  canvas.setAttribute("aria-label", `Gates, states and gradients of ${view.label}, ${part}`);
  document.documentElement.dataset.ready = view.label;
}

// What takes long, and waits until the panels stand still.
function rest(colors) {
  resting = 0;
  paintHistogram(find("histogram"), view, state, shownSteps, colors);
  try {
    history.replaceState(null, "", `#${fragment(state)}`);
  } catch { /* inside a notebook's frame a page has no address of its own */ }
}

function change(next) {
  const wanted = settled({ ...state, ...next }, source.views);
  if (document.documentElement.dataset.theme !== wanted.theme) document.documentElement.dataset.theme = wanted.theme;
  if (!view || wanted.view !== state.view) return open(wanted);
  state = wanted;
  if (!waiting) requestAnimationFrame(draw);
  waiting = true;
}

// Show another run once it is decoded: until then the state is that of the one that is shown.
async function open(wanted) {
  const number = wanted.view;
  [opening, find("wait").hidden] = [wanted, false];
  if (!read.has(number)) read.set(number, readView(source.views[number]));
  const opened = await read.get(number);
  if (opening !== wanted) return;
  [state, view] = [wanted, opened];
  form.gate.replaceChildren(...view.rows.map((row) => new Option(describe(row), row.name)));
  form.unit.max = view.units - 1;
  find("wait").hidden = true;
  draw();
}

const choose = (step, unit = state.unit) => change({ ...stepped(state, step), unit });
const stepAt = (x) => clamp(Math.floor(shownSteps.first + ((x - LEFT) / plan.panels[0].width) * (shownSteps.last - shownSteps.first)), 0, view.steps - 1);
const centre = () => (state.step >= state.first && state.step < state.last ? state.step : (state.first + state.last) / 2);

// Return the panel at a height, and the unit of the map that it is.
function pointed(x, y) {
  const panel = plan.panels.find((each) => y >= each.y - TITLE && y < each.y + each.height);
  const row = panel?.units ? clamp(Math.floor(((y - panel.y) / panel.height) * view.units), 0, view.units - 1) : null;
  return { panel, unit: row === null ? null : order[row], step: stepAt(x) };
}

const pointers = new Map();
let moved = false, onOverview = false;

canvas.addEventListener("pointerdown", (event) => {
  if (!view || event.button) return;
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
  if (pointers.size === 1) [moved, onOverview] = [false, pointed(event.offsetX, event.offsetY).panel?.kind === "overview"];
});

canvas.addEventListener("pointermove", (event) => {
  if (!view) return;
  const last = pointers.get(event.pointerId), width = plan.panels[0].width, span = state.last - state.first;
  if (!last) return showPointed(event);
  const across = event.offsetX - last[0];
  moved ||= Math.abs(across) > 3;
  if (!moved) return;
  pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
  if (pointers.size === 2) {
    const other = [...pointers].find(([id]) => id !== event.pointerId)[1][0], apart = (x) => Math.max(20, Math.abs(x - other));
    change(zoomed(state, apart(last[0]) / apart(event.offsetX), stepAt((event.offsetX + other) / 2)));
  } else {
    change(panned(state, onOverview ? (across / width) * view.steps : (-across / width) * span));
  }
});

for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, (event) => {
    if (!pointers.delete(event.pointerId) || moved || name === "pointercancel") return;
    const { panel, unit, step } = pointed(event.offsetX, event.offsetY);
    if (!panel) return;
    if (panel.kind === "overview") return choose(Math.floor(((event.offsetX - LEFT) / panel.width) * view.steps));
    change({ step, ...(unit === null ? {} : { unit, gate: panel.row.name }) });
  });
}

canvas.addEventListener("wheel", (event) => {
  if (!view) return;
  event.preventDefault();
  const along = event.shiftKey ? event.deltaY : event.deltaX, span = state.last - state.first;
  if (Math.abs(along) > Math.abs(event.deltaY) || event.shiftKey) change(panned(state, (along / plan.panels[0].width) * span));
  else change(zoomed(state, event.deltaY < 0 ? 0.75 : 1 / 0.75, stepAt(event.offsetX)));
}, { passive: false });

function showPointed(event) {
  const { panel, unit, step } = pointed(event.offsetX, event.offsetY);
  if (!panel?.units) return;
  const value = valueText(panel.row, unit, step);
  find("pointed").textContent = `Under the pointer: step ${format(step)}, unit ${unit}, ${panel.row.name} = ${value}`;
}

find("scatter").addEventListener("click", (event) => {
  const far = ([x, y]) => (x - event.offsetX) ** 2 + (y - event.offsetY) ** 2;
  const nearest = places.reduce((best, place, unit) => (far(place) < far(places[best]) ? unit : best), 0);
  if (places.length) change({ unit: nearest });
});

find("controls").addEventListener("change", (event) => change({ [event.target.name]: event.target.value, ...(event.target.name === "view" ? { last: state.last } : {}) }));
find("controls").addEventListener("submit", (event) => event.preventDefault());
find("step").addEventListener("input", (event) => view && choose(Number(event.target.value)));
find("closer").addEventListener("click", () => change(zoomed(state, 0.5, centre())));
find("farther").addEventListener("click", () => change(zoomed(state, 2, centre())));
find("whole").addEventListener("click", () => change({ first: 0, last: source.views[state.view].steps }));

const neighbor = (rows) => order[clamp(order.indexOf(state.unit) + rows, 0, order.length - 1)];
const KEYS = {
  ArrowLeft: (far) => choose(Math.max(0, state.step - far)), ArrowRight: (far) => choose(state.step + far),
  ArrowUp: () => change({ unit: neighbor(-1) }), ArrowDown: () => change({ unit: neighbor(1) }),
  "+": () => find("closer").click(), "=": () => find("closer").click(), "-": () => find("farther").click(), 0: () => find("whole").click(),
  "/": () => form.unit.select(),
};
document.addEventListener("keydown", (event) => {
  if (!view || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  if (event.target.matches("input, select, summary") && !(event.target.id === "step" && /^Arrow(Up|Down)$/.test(event.key))) return;
  event.preventDefault();
  KEYS[event.key](event.shiftKey ? Math.max(1, Math.round((state.last - state.first) / 10)) : 1);
});

function save(blob, suffix) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `gatescope-steps-${shownSteps.first}.${suffix}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
find("png").addEventListener("click", () => view && canvas.toBlob((blob) => save(blob, "png")));
find("svg").addEventListener("click", () => {
  if (!view) return;
  const pen = new SvgPen(plan.width, plan.height);
  paint(pen, plan, view, state, order, look());
  save(new Blob([pen.toString()], { type: "image/svg+xml" }), "svg");
});

form.view.replaceChildren(...source.views.map((each, k) => new Option(each.label, k)));
form.view.parentElement.hidden = source.views.length === 1;
addEventListener("hashchange", () => change({ ...START, ...fromFragment(location.hash) }));
new ResizeObserver(() => change({})).observe(find("stage"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => change({}));
change({});
