// The page's scripts that need no page: what is decoded, reduced, shown, ordered and written.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import vm from "node:vm";

const FOLDER = new URL("../../src/gatescope/explorer/scripts/", import.meta.url);
const NAMES = ["Block", "unpack", "codedValues", "settled", "fragment", "fromFragment", "windowOf", "zoomed", "panned", "stepped",
  "unitOrder", "middle", "ticks", "format", "colorTable", "SvgPen", "known", "equationLines", "timeConstant", "histogram", "inXml"];
const files = ["data", "view", "draw", "panels", "numbers"].map((name) => readFileSync(new URL(`${name}.js`, FOLDER), "utf8"));
const page = vm.runInNewContext(`${files.join("\n")};({ ${NAMES.join(", ")} })`,
  { atob, Blob, DecompressionStream, Response, URLSearchParams, Uint8Array, Uint16Array });
const plain = (value) => JSON.parse(JSON.stringify(value)); // of another realm

const LINEAR = { scale: "linear", low: -1, high: 1, codes: 201, error: 0.005 };
const ODDS = { scale: "odds", low: -12, high: 12, codes: 241, error: 0.05 };

function block(values, coding = LINEAR) {
  const codes = values.flat().map((value) => (Number.isNaN(value) ? 0 : Math.round((value - coding.low) * 100) + 1));
  return new page.Block({ coding, series: values.length }, { mean: Uint8Array.from(codes) }, values[0].length, 1);
}

test("bytes come back as they were packed", async () => {
  assert.deepEqual(Array.from(await page.unpack(gzipSync(Buffer.from([1, 2, 255])).toString("base64"), 255)), [1, 2, 255]);
  assert.deepEqual(Array.from(await page.unpack(gzipSync(Buffer.from([1, 2])).toString("base64"), 65535)), [513]);
});

test("a gate is coded on its log-odds, and 0.9999 is not 0.99", () => {
  const values = page.codedValues(ODDS);
  assert.ok(Number.isNaN(values[0]));
  assert.ok(Math.abs(values[1] + 12) < 1e-12 && Math.abs(values[241] - 12) < 1e-12);
  assert.ok(Math.abs(page.timeConstant(1, Math.log(0.9999 / 0.0001)) - 10_000) < 1e-6);
  assert.ok(Math.abs(page.timeConstant(-1, Math.log(0.1 / 0.9)) - 10) < 1e-9);
});

test("a column is the mean, the least and the greatest of all its steps, at every zoom", () => {
  const steps = 5003;
  const series = Array.from({ length: 3 }, (_, s) => Array.from({ length: steps }, (_, t) => Math.round(100 * Math.sin(t * (s + 1) * 0.37)) / 100));
  const made = block(series);
  for (const [first, last, width] of [[0, steps, 97], [1200, 4800, 300], [4000, steps, 11], [10, 60, 400]]) {
    const window = page.windowOf({ first, last }, width, 1), out = new Float64Array(window.columns);
    assert.ok(window.columns <= width + 1 && window.first <= first && window.last >= last);
    for (const how of ["mean", "min", "max"]) {
      made.columns(2, window, how, out);
      for (let x = 0; x < window.columns; x++) {
        const part = series[2].slice(window.first + x * window.every, window.first + (x + 1) * window.every);
        const right = how === "mean" ? part.reduce((a, b) => a + b, 0) / part.length : Math[how](...part);
        assert.ok(Math.abs(out[x] - right) < 1e-6, `${how} of column ${x}: ${out[x]} is not ${right}`);
      }
    }
  }
  const [low, high] = made.extremes(1);
  assert.ok(Math.abs(low + 1) < 1e-6 && Math.abs(high - 1) < 1e-6);
});

test("what is no number makes its column none", () => {
  const values = Array.from({ length: 4000 }, () => 0.5);
  values[200] = NaN;
  const made = block([values]), window = page.windowOf({ first: 0, last: 4000 }, 40, 1), out = new Float64Array(window.columns);
  for (const how of ["mean", "min", "max"]) {
    made.columns(0, window, how, out);
    assert.deepEqual([out[0], out[1], out[2]], [0.5, NaN, 0.5]);
  }
  assert.deepEqual(plain(page.known(out)), [[0, 1], [2, window.columns]]);
});

const view = {
  steps: 1000, units: 3, every: 1, chosen: "f",
  rows: [
    { name: "f", kind: "gate", keeps: 1, coding: ODDS, mean: [0.5, 0.9, 0.1], shut: [0, 0, 0.5], open: [0, 0.4, 0], block: { at: (u) => ({ mean: [0, 1, 2][u] }) } },
    { name: "c", kind: "state", keeps: 0, coding: LINEAR, mean: [0, 0, 0], initial: [0.25, 0, 0], block: { at: (u, t) => ({ mean: t ? -0.5 : 0.75 }) } },
  ],
  equations: [["f", "sigmoid(W_f x + R_f h + b_f)"], ["c'", "f * c + (1 - f) * c'"]],
};

test("a state is what the run has, whatever an address says", () => {
  const state = page.settled({ unit: "99", step: "abc", first: "-5", last: "1e9", gate: "<b>", scale: "no" }, [view]);
  assert.deepEqual([state.unit, state.step, state.first, state.last, state.gate, state.scale], [2, 0, 0, 1000, "f", "value"]);
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

test("numbers, ticks and ranges", () => {
  assert.equal(page.format(1234567, 0), "1.23e+6");
  assert.equal(page.format(-0.123456, 0.001), "−0.123");
  assert.equal(page.format(12345), "12,345");
  assert.equal(page.format(null), "–");
  assert.deepEqual(plain(page.ticks(0, 1000, 5)), [0, 200, 400, 600, 800, 1000]);
  assert.deepEqual(plain(page.middle(Float64Array.from({ length: 101 }, (_, k) => 100 - k), 0.02)), [2, 98]);
  assert.deepEqual(plain(Array.from(page.histogram(block([[-1, -0.9, 0.9, 1]]), [0], page.windowOf({ first: 0, last: 4 }, 10, 1), 2, [-1, 1], (v) => v))), [2, 2]);
});

test("an SVG holds texts as texts", () => {
  const pen = new page.SvgPen(10, 20);
  pen.text('<b>&"\u0001', 1, 2, "#000");
  pen.path([[0, 0, 1, 1]], "#000");
  assert.ok(String(pen).includes("&lt;b&gt;&amp;&quot;\ufffd"));
  assert.ok(String(pen).includes('d="M0.00 0.00 1.00 1.00"'));
});
