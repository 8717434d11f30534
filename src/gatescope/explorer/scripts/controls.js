// The page at work: pointer, keys, touch and fields change the state, and the state is drawn.

const source = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const form = find("controls").elements, stage = find("stage");
const TABLES = Object.fromEntries(Object.entries(source.colors).map(([name, table]) => [name, Uint32Array.from(table)]));
const look = () => {
  const style = getComputedStyle(document.documentElement), names = ["ink", "quiet", "paper", "alarm", "rule"];
  const colors = names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]);
  return { ...Object.fromEntries(colors), theme: style.colorScheme };
};
const decoded = []; // views, as promises, by their number
let state = settled(fromFragment(location.hash), source.views);
let sides = [], waiting = false, resting = 0, opening = null; // a side is a view with its part of the page

function draw() {
  waiting = false;
  const colors = look(), order = unitOrder(state, sides[0].view);
  for (const side of sides) {
    const { view, canvas } = side; // the other run may have fewer units and steps
    side.state = { ...state, unit: Math.min(state.unit, view.units - 1), step: Math.min(state.step, view.steps - 1) };
    side.order = view.units === order.length ? order : unitOrder(side.state, view);
    side.plan = layout(view, side.state, side.find(".panels").clientWidth);
    const pen = new Pen(canvas, side.plan.width, side.plan.height, colors.paper);
    side.window = paint(pen, side, sides, colors);
    const place = `${side.state.unit} ${side.state.step}`; // which a pan leaves as they are
    if (side.place !== place) showNumbers(side.find, view, side.state);
    side.place = place;
    const { every, first, last } = side.window, { name, coding } = gateOf(view, state.gate);
    const part = `steps ${format(first)} to ${format(Math.min(last, view.steps) - 1)} of ${format(view.steps)}`;
    const holds = `a column holds ${every === 1 ? "one step" : `${format(every)} steps`}`;
    side.find(".detail").textContent = `${part}: ${holds}; ${source.detail}; ${name}: ${coding.precision}.`;
    canvas.setAttribute("aria-label", `Gates, states and gradients of ${view.label}, ${part}`);
  }
  for (const name of Object.keys(START)) if (form[name]) form[name].value = state[name];
  find("step").setAttribute("aria-valuetext", `step ${state.step}`);
  clearTimeout(resting);
  resting = setTimeout(rest, 150, colors);
}

// Draw what takes long, or would be read aloud too often, once the panels stand still.
function rest(colors) {
  resting = 0;
  for (const { view, find: inside, state: own, order, window } of sides) {
    const row = gateOf(view, own.gate), scatter = inside(".scatter");
    scatter.parentElement.hidden = !row.shut;
    const means = window.every === 1 ? "" : `, means of ${format(window.every)} steps`;
    inside(".scatter-title").textContent = `Saturation of ${row.name}`;
    inside(".histogram-title").textContent = `Histogram of ${row.name}${means}`;
    if (row.shut) drawScatter(scatter, row, own.unit, colors);
    drawHistogram(inside(".histogram"), row, own, order, window, colors);
  }
  try {
    history.replaceState(null, "", `#${fragment(state)}`);
  } catch { /* inside a notebook's frame a page has no address of its own */ }
}

function change(next) {
  const wanted = settled({ ...state, ...next }, source.views);
  document.documentElement.dataset.theme = wanted.theme;
  if (!sides.length || wanted.view !== state.view || wanted.beside !== state.beside) return open(wanted);
  state = wanted;
  if (!waiting) requestAnimationFrame(draw);
  waiting = true;
}

// Show other runs once they are decoded: until then the state is that of those that are shown.
async function open(wanted) {
  opening = wanted;
  find("wait").hidden = false;
  const numbers = [wanted.view, wanted.beside].filter((number) => number !== "");
  const views = await Promise.all(numbers.map((number) => (decoded[number] ??= decodeView(source.views[number]))));
  if (opening !== wanted) return;
  state = wanted;
  find("wait").hidden = true;
  sides = views.map((view) => {
    const root = find("side").content.firstElementChild.cloneNode(true);
    const side = { view, root, canvas: root.querySelector("canvas"), find: (selector) => root.querySelector(selector) };
    side.find(".label").textContent = view.label;
    listen(side);
    return side;
  });
  stage.replaceChildren(...sides.map((side) => side.root));
  form.gate.replaceChildren(...views[0].rows.map((row) => new Option(row.title, row.name)));
  form.unit.max = views[0].units - 1;
  form.step.max = views[0].steps - 1;
  draw();
  document.documentElement.dataset.ready = views.map((view) => view.label).join(" | ");
}

// Let pointer, wheel and fingers move what a side shows.
function listen(side) {
  const { canvas, view } = side, pointers = new Map();
  const span = () => state.last - state.first, part = (x) => x / side.plan.inner;
  const stepAt = (x) => Math.floor(side.window.first + part(x - LEFT) * (side.window.last - side.window.first));
  const pointed = ({ offsetX, offsetY }) => {
    const panel = side.plan.panels.find(({ y, height }) => offsetY >= y - TITLE && offsetY < y + height);
    const row = panel?.units && clamp(Math.floor(((offsetY - panel.y) / panel.height) * view.units), 0, view.units - 1);
    return { panel, unit: side.order[row], step: clamp(stepAt(offsetX), 0, view.steps - 1) };
  };
  let moved = false, onOverview = false;
  canvas.onpointerdown = (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event.offsetX);
    if (pointers.size === 1) [moved, onOverview] = [false, pointed(event).panel?.whole];
  };
  canvas.onpointermove = (event) => {
    const { offsetX, pointerId } = event, last = pointers.get(pointerId), across = offsetX - last;
    if (last === undefined) {
      const { panel, unit, step } = pointed(event);
      if (!panel?.units) return;
      const words = `step ${format(step)}, unit ${unit}, ${panel.row.name} = ${valueText(panel.row, unit, step)}`;
      side.find(".pointed").textContent = `Under the pointer: ${words}`;
      return;
    }
    moved ||= Math.abs(across) > 3;
    if (!moved) return;
    pointers.set(pointerId, offsetX);
    const other = [...pointers].find(([id]) => id !== pointerId)?.[1], apart = (x) => Math.max(20, Math.abs(x - other));
    if (other !== undefined) change(zoomed(state, apart(last) / apart(offsetX), stepAt((offsetX + other) / 2)));
    else change(panned(state, part(across) * (onOverview ? view.steps : -span())));
  };
  canvas.onpointercancel = (event) => pointers.delete(event.pointerId);
  canvas.onpointerup = (event) => {
    if (!pointers.delete(event.pointerId) || moved) return;
    const { panel, unit, step } = pointed(event);
    if (panel?.whole) choose(Math.floor(part(event.offsetX - LEFT) * view.steps));
    else if (panel) change({ step, ...(panel.units ? { unit, gate: panel.row.name } : {}) });
  };
  canvas.onwheel = (event) => {
    event.preventDefault();
    const along = event.shiftKey ? event.deltaY : event.deltaX;
    if (event.shiftKey || Math.abs(along) > Math.abs(event.deltaY)) change(panned(state, part(along) * span()));
    else change(zoomed(state, event.deltaY < 0 ? 0.75 : 1 / 0.75, stepAt(event.offsetX)));
  };
  side.find(".scatter").onclick = ({ offsetX, offsetY }) => {
    const row = gateOf(view, state.gate), places = row.shut.map((_, unit) => scatterPlace(row, unit));
    const far = places.map(([x, y]) => Math.hypot(x - offsetX, y - offsetY));
    change({ unit: far.indexOf(Math.min(...far)) });
  };
}

const choose = (step) => change(stepped(state, clamp(step, 0, source.views[state.view].steps - 1)));
const isSeen = (step) => step >= state.first && step < state.last;
const middle = () => (isSeen(state.step) ? state.step : (state.first + state.last) / 2);
const scale = (factor) => change(zoomed(state, factor, middle()));
const chooseNear = (rows) => {
  const [{ order }] = sides;
  change({ unit: order[clamp(order.indexOf(state.unit) + rows, 0, order.length - 1)] });
};
const KEYS = {
  ArrowLeft: (far) => choose(state.step - far), ArrowRight: (far) => choose(state.step + far),
  ArrowUp: () => chooseNear(-1), ArrowDown: () => chooseNear(1),
  "+": () => scale(0.5), "=": () => scale(0.5), "-": () => scale(2), 0: () => change({ first: 0, last: Infinity }),
  "/": () => form.unit.select(),
};
document.onkeydown = (event) => {
  const onSlider = event.target.id === "step" && /^Arrow(Up|Down)$/.test(event.key);
  if (event.target.matches("input, select, summary") && !onSlider) return;
  if (event.ctrlKey || event.metaKey || event.altKey || !sides.length || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key](event.shiftKey ? Math.max(1, Math.round((state.last - state.first) / 10)) : 1);
};

function save(blob, suffix) {
  const href = URL.createObjectURL(blob), link = document.createElement("a");
  Object.assign(link, { href, download: `gatescope-steps-${Math.floor(state.first)}.${suffix}` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
}

// Save what is shown, sides beside each other.
function savePicture(suffix) {
  const canvas = document.createElement("canvas"), parts = [], colors = look(), { width } = sides[0].plan;
  const height = Math.max(...sides.map(({ plan }) => plan.height));
  const pen = new Pen(canvas, sides.length * width, height, colors.paper, parts);
  for (const side of sides) {
    parts.push(`<g transform="translate(${width * sides.indexOf(side)} 0)">`);
    paint(pen, side, sides, colors);
    parts.push("</g>");
    pen.context.translate(width, 0);
  }
  if (suffix === "png") return canvas.toBlob((blob) => save(blob, suffix));
  const viewBox = `0 0 ${sides.length * width} ${height}`;
  const whole = svg("svg", { xmlns: "http://www.w3.org/2000/svg", viewBox, "font-family": FONT }, parts.join(""));
  save(new Blob([whole], { type: "image/svg+xml" }), suffix);
}

form.view.replaceChildren(...source.views.map(({ label }, number) => new Option(label, number)));
form.beside.append(...source.views.map(({ label }, number) => new Option(label, number)));
for (const name of ["view", "beside"]) form[name].parentElement.hidden = source.views.length === 1;
find("controls").onchange = ({ target }) => change({ [target.name]: target.value });
find("controls").onsubmit = (event) => event.preventDefault();
form.step.oninput = () => choose(Number(form.step.value));
find("closer").onclick = () => scale(0.5);
find("farther").onclick = () => scale(2);
find("whole").onclick = KEYS[0];
find("png").onclick = () => savePicture("png");
find("svg").onclick = () => savePicture("svg");
onhashchange = () => change({ ...START, ...fromFragment(location.hash) });
new ResizeObserver(() => change({})).observe(stage);
matchMedia("(prefers-color-scheme: dark)").onchange = () => change({});
change({});
