// The page's scripts that need no page: what is decoded, reduced, shown, ordered and written.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import vm from "node:vm";

const FOLDER = new URL("../../src/gatescope/explorer/scripts/", import.meta.url);
const NAMES = ["decode", "columnsOf", "columnsOfAll", "endsOf", "unpack", "settled", "fragment", "fromFragment", "windowOf", "zoomed", "panned", "stepped",
  "unitOrder", "coloring", "ticks", "format", "Pen", "equationLines", "timeConstant", "histogram", "TABLES"];
const files = ["data", "view", "draw", "panels", "numbers"].map((name) => readFileSync(new URL(`${name}.js`, FOLDER), "utf8"));
const page = vm.runInNewContext(`${files.join("\n")};({ ${NAMES.join(", ")} })`,
  { atob, Blob, DecompressionStream, Response, URLSearchParams, Uint8Array, Uint16Array, devicePixelRatio: 1, TABLES: { one: 1, light: 2 } });
const plain = (value) => JSON.parse(JSON.stringify(value)); // of another realm

const LINEAR = { scale: "linear", low: -1, high: 1, codes: 201, error: 0.005 };
const ODDS = { scale: "odds", low: -12, high: 12, codes: 241, error: 0.05 };

const packed = (codes) => gzipSync(Buffer.from(codes)).toString("base64");
const codesOf = (values, coding) => values.flat().map((value) => (Number.isNaN(value) ? 0 : Math.round((value - coding.low) * 100) + 1));

async function rowOf(values, coding = LINEAR) {
  const row = { coding, name: "c", series: values.length, codes: { mean: packed(codesOf(values, coding)) } };
  await page.decode(row, { steps: values[0].length, every: 1 });
  return row;
}

test("bytes come back as they were packed", async () => {
  assert.deepEqual(Array.from(await page.unpack(packed([1, 2, 255]), 255)), [1, 2, 255]);
  assert.deepEqual(Array.from(await page.unpack(packed([1, 2]), 65535)), [513]);
});

test("a gate is coded on its log-odds, and 0.9999 is not 0.99", async () => {
  const { coded: values } = await rowOf([[0]], ODDS);
  assert.ok(Number.isNaN(values[0]));
  assert.ok(Math.abs(values[1] + 12) < 1e-12 && Math.abs(values[241] - 12) < 1e-12);
  assert.ok(Math.abs(page.timeConstant(1, Math.log(0.9999 / 0.0001)) - 10_000) < 1e-6);
  assert.ok(Math.abs(page.timeConstant(-1, Math.log(0.1 / 0.9)) - 10) < 1e-9);
});

test("a column is the mean, the least and the greatest of all its steps, at every zoom", async () => {
  const steps = 5003;
  const series = Array.from({ length: 3 }, (_, s) => Array.from({ length: steps }, (_, t) => Math.round(100 * Math.sin(t * (s + 1) * 0.37)) / 100));
  const made = await rowOf(series);
  for (const [first, last, width] of [[0, steps, 97], [1200, 4800, 300], [4000, steps, 11], [10, 60, 400]]) {
    const window = page.windowOf({ first, last }, width, 1);
    assert.ok(window.columns <= width + 1 && window.first <= first && window.last >= last);
    for (const how of ["mean", "min", "max"]) {
      const out = page.columnsOf(made, 2, window, how);
      for (let x = 0; x < window.columns; x++) {
        const part = series[2].slice(window.first + x * window.every, window.first + (x + 1) * window.every);
        const right = how === "mean" ? part.reduce((a, b) => a + b, 0) / part.length : Math[how](...part);
        assert.ok(Math.abs(out[x] - right) < 1e-6, `${how} of column ${x}: ${out[x]} is not ${right}`);
      }
    }
  }
});

test("a window that moves has the columns that it would have alone", async () => {
  const steps = 2003, wave = (s, t) => Math.round(100 * Math.sin(t * (s + 1) * 0.37)) / 100;
  const made = await rowOf(Array.from({ length: 3 }, (_, s) => Array.from({ length: steps }, (_, t) => (t % 977 ? wave(s, t) : NaN))));
  const moves = [[0, 500], [40, 540], [31, 531], [900, 1400], [1503, 2003], [1400, 1900], [1400, 1905], [0, 2003], [700, 760], [707, 767], [0, 500]];
  for (const how of ["mean", "min", "max"]) {
    for (const [first, last] of moves) {
      const window = page.windowOf({ first, last }, 70, 1), { values, stride } = page.columnsOfAll(made, window, how, "shown");
      for (let k = 0; k < 3; k++) {
        const seen = values.subarray(k * stride, k * stride + window.columns);
        assert.deepEqual(Array.from(seen), Array.from(page.columnsOf(made, k, window, how)), `${how} of ${first} to ${last}`);
      }
    }
  }
  const all = page.windowOf({ first: 0, last: steps }, 70, 1), [low, high] = page.endsOf(made, 1, all, (value) => value);
  assert.ok(Math.abs(low + 1) < 1e-6 && Math.abs(high - 1) < 1e-6);
});

test("of stored runs the last, shorter one counts for its steps", async () => {
  const codes = Object.fromEntries([["min", [1, 51]], ["mean", [101, 151]], ["max", [201, 201]]].map(([how, part]) => [how, packed(part)]));
  const row = { coding: LINEAR, series: 1, codes };
  await page.decode(row, { steps: 5, every: 4 }); // four steps of mean 0 and one of 0.5
  const window = page.windowOf({ first: 0, last: 5 }, 0.7, 4), column = (how) => page.columnsOf(row, 0, window, how)[0];
  assert.equal(window.columns, 1);
  assert.ok(Math.abs(column("mean") - 0.1) < 1e-12);
  assert.deepEqual([column("min"), column("max")], [-1, 1]);
});

test("what is no number makes its column none", async () => {
  const values = Array.from({ length: 4000 }, () => 0.5);
  values[250] = NaN;
  const made = await rowOf([values]), window = page.windowOf({ first: 0, last: 4000 }, 40, 1);
  for (const how of ["mean", "min", "max"]) {
    assert.deepEqual(Array.from(page.columnsOf(made, 0, window, how).subarray(1, 4)), [0.5, NaN, 0.5]);
  }
  const beyond = page.columnsOf(made, 0, { first: 3900, every: 100, columns: 2 }, "mean"); // of a longer run beside it
  assert.deepEqual(Array.from(beyond), [0.5, NaN]);
});

// A row of values by their place, a unit's `runs` places after the one before.
const stored = (values, every, runs) => ({ coded: values, codes: { min: values.keys(), mean: values.map((_, k) => k), max: values.keys() }, every, runs });
const view = {
  label: "a", steps: 1000, units: 3, every: 1, chosen: "f", inputs: { name: "inputs", series: 1, coding: LINEAR }, gradients: [],
  rows: [
    { name: "f", kind: "gate", keeps: 1, coding: ODDS, mean: [0.5, 0.9, 0.1], shut: [0, 0, 0.5], open: [0, 0.4, 0], ...stored([0, 1, 2], 1000, 1) },
    { name: "c", kind: "state", keeps: 0, coding: LINEAR, mean: [0, 0, 0], initial: [0.25, 0, 0], ...stored([0.75, ...Array(9).fill(-0.5)], 1, 0) },
  ],
  equations: [["f", "sigmoid(W_f x + R_f h + b_f)", true], ["c'", "f * c + (1 - f) * c'", false]],
};

test("a state is what the run has, whatever an address says", () => {
  const state = page.settled({ unit: "99", step: "abc", first: "-5", last: "1e9", gate: "<b>", scale: "no" }, [view]);
  assert.deepEqual([state.unit, state.step, state.first, state.last, state.gate, state.scale], [2, 0, 0, 1000, "f", "value"]);
  assert.equal(state.beside, "");
  const both = (beside) => page.settled({ view: 1, beside }, [view, view]).beside;
  assert.deepEqual([both("0"), both("1"), both("9"), both("x")], [0, "", "", 0]);
  const near = page.settled({ first: "990", last: "991" }, [view]);
  assert.deepEqual([near.first, near.last], [990, 998]);
  const again = page.settled(page.fromFragment(page.fragment(page.settled({ unit: 1, first: 10, last: 60, scale: "odds" }, [view]))), [view]);
  assert.deepEqual([again.unit, again.first, again.last, again.scale], [1, 10, 60, "odds"]);
});

test("zoom keeps the step that it is at, and a step outside is brought inside", () => {
  const state = { first: 100, last: 300 };
  const near = page.zoomed(state, 0.5, 150);
  assert.deepEqual([near.first, near.last], [125, 225]);
  assert.deepEqual(plain(page.panned(state, 50)), { first: 150, last: 350 });
  assert.deepEqual(plain(page.stepped(state, 900)), { first: 800, last: 1000, step: 900 });
  assert.deepEqual(plain(page.stepped(state, 299)), { first: 100, last: 300, step: 299 });
  const early = page.settled(page.stepped(state, 3), [view]);
  assert.deepEqual([early.first, early.last, early.step], [0, 200, 3]);
});

// A table of one row that has room for two columns more, whose numbers are not shown.
const tableOf = (shown) => ({ values: Float64Array.from([...shown, 99, 99]), stride: shown.length + 2, count: shown.length });

test("what is of one name has one range in the runs that are shown together", () => {
  const other = { ...view, rows: [{ ...view.rows[1], coding: { ...LINEAR, low: -3 } }] }, colors = { theme: "light" };
  const range = (row, shown, more) => page.coloring(row, tableOf(shown), null, { state: { scale: "value", ...more }, views: [view, other], colors });
  assert.deepEqual(plain(range(view.rows[1], [])), { low: -3, high: 3, table: 2 });
  assert.deepEqual(plain(range(view.rows[0], [])), { low: 0, high: 1, table: 1 });
  assert.deepEqual(plain(range(view.rows[0], [], { scale: "odds" })), { low: -12, high: 12, table: 1 });
  const shown = Array.from({ length: 101 }, (_, k) => (100 - k) / 100);
  assert.deepEqual(plain(range(view.rows[0], [NaN, ...shown], { contrast: "middle" })), { low: 0.02, high: 0.98, table: 1 });
});

test("units are ordered by what is asked for, the greatest on top", () => {
  const order = (name) => plain(page.unitOrder({ order: name, gate: "f", step: 0 }, view));
  assert.deepEqual(order("index"), [0, 1, 2]);
  assert.deepEqual(order("mean"), [1, 0, 2]);
  assert.deepEqual(order("time"), [1, 0, 2]);
  assert.deepEqual(order("saturation"), [2, 1, 0]);
  assert.deepEqual(order("now"), [2, 1, 0]);
});

test("equations have the numbers of the unit and the step, of states those before it", () => {
  assert.deepEqual(plain(page.equationLines(view, 1, 5)), [
    "f = sigmoid(W_f x + R_f h + b_f) = 0.731", "c' = f * c + (1 - f) * c' = 0.731 * (−0.500) + (1 - 0.731) * (−0.500) = −0.500",
  ]);
  assert.match(page.equationLines(view, 0, 0)[1], /\* 0\.250 \+ .* = 0\.750$/);
});

test("numbers, ticks and counts", async () => {
  assert.equal(page.format(1234567, 0), "1.23e+6");
  assert.equal(page.format(-0.123456, 0.001), "−0.123");
  assert.equal(page.format(12345), "12,345");
  assert.equal(page.format(null), "–");
  assert.deepEqual(plain(page.ticks(0, 1000, 5)), [0, 200, 400, 600, 800, 1000]);
  assert.deepEqual(plain(page.ticks(3, 8, Infinity)), [3, 4, 5, 6, 7, 8]); // no step between steps
  const row = await rowOf([[-1, -0.9, 0.9, 1]]), window = page.windowOf({ first: 0, last: 4 }, 10, 1);
  assert.deepEqual(Array.from(page.histogram(row, [0], window, 2, [-1, 1], (value) => value)), [2, 2]);
});

test("an SVG holds texts as texts", () => {
  const nothing = () => {};
  const context = new Proxy({}, { get: () => nothing, set: () => true }), parts = [];
  const pen = new page.Pen({ style: {}, getContext: () => context }, 10, 20, "#fff", parts);
  pen.text('<b>&"\u0001', 1, 2, "#000");
  pen.line([[0, 0], [1, 1], [2, NaN], [3, 4]], "#000");
  pen.boxes([[0, 1, 2, 3]], "#000");
  pen.band([1, NaN, 2, 3], [5, NaN, 6, 7], 0, 10, "#000", 0.5); // broken where there is no number
  const [, words, line, boxes, band] = parts;
  assert.ok(words.includes("&lt;b&gt;&amp;&quot;\ufffd"));
  assert.ok(line.includes('d="M0.00 0.00L1.00 1.00M3.00 4.00"'));
  assert.ok(boxes.includes('d="M0 1h2v3h-2z"'));
  const corners = ["M0.00 1.00L10.00 1.00L10.00 5.00L0.00 5.00", "M20.00 2.00L30.00 2.00L30.00 3.00L40.00 3.00L40.00 7.00L30.00 7.00L30.00 6.00L20.00 6.00"];
  assert.ok(band.includes(`d="${corners.join("")}"`));
});
