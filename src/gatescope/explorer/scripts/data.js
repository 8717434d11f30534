// What the page holds, decoded: values of all units at all steps, and above them levels of ever longer runs of steps.

const FACTOR = 4; // runs of a level that make up one of the next
const SMALLEST = 512; // runs of a level above which there is no other

const logistic = (x) => 1 / (1 + Math.exp(-x));
const odds = (v) => Math.log(v / (1 - v));

// What each code stands for, as it was coded: of a gate its log-odds.  Code 0 is no number.
function codedValues({ low, high, codes }) {
  const half = (high / 2 - low / 2) / Math.max(1, codes - 1);
  return Float64Array.from({ length: codes + 1 }, (_, code) => (code ? low + 2 * half * (code - 1) : NaN));
}

async function unpack(text, codes) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = letters.charCodeAt(k);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  return codes < 256 ? new Uint8Array(buffer) : new Uint16Array(buffer);
}

// Several series over the same steps: a gate or a state of all units, the inputs, a gradient.
class Block {
  constructor({ coding, series }, { mean, min = mean, max = mean }, steps, every) {
    Object.assign(this, { coding, series, steps, every, codes: { min, mean, max }, coded: codedValues(coding) });
    const values = coding.scale === "odds" ? this.coded.map(logistic) : this.coded;
    const vast = Math.max(Math.abs(coding.low), Math.abs(coding.high)) > 3e38;
    this.numbers = vast ? Float64Array : Float32Array;
    const decoded = (codes) => {
      const array = new this.numbers(codes.length);
      for (let k = 0; k < array.length; k++) array[k] = values[codes[k]];
      return array;
    };
    const first = decoded(mean), size = Math.ceil(steps / every);
    this.levels = [{ every, size, mean: first, min: every > 1 ? decoded(min) : first, max: every > 1 ? decoded(max) : first }];
    while (this.levels.at(-1).size > SMALLEST) this.levels.push(this.above(this.levels.at(-1)));
  }

  static async read(raw, steps, every) {
    const names = Object.keys(raw.codes);
    const arrays = await Promise.all(names.map((name) => unpack(raw.codes[name], raw.coding.codes)));
    return new Block(raw, Object.fromEntries(names.map((name, k) => [name, arrays[k]])), steps, every);
  }

  // Return the level of runs FACTOR times as long; the last run may be shorter.
  above(below) {
    const every = below.every * FACTOR, size = Math.ceil(this.steps / every), window = { first: 0, every, columns: size };
    const level = { every, size };
    for (const how of ["min", "mean", "max"]) {
      level[how] = new this.numbers(this.series * size);
      for (let s = 0; s < this.series; s++) this.reduce(below, s, window, how, level[how].subarray(s * size, (s + 1) * size));
    }
    return level;
  }

  // Fill `out` with the mean, min or max of the steps of each column, of one series; NaN where there are no numbers.
  columns(series, window, how, out) {
    const fits = ({ every }) => window.every % every === 0 && (every * 2 <= window.every || every === window.every);
    this.reduce(this.levels.findLast(fits), series, window, how, out);
  }

  reduce({ every: run, size, ...level }, series, { first, every, columns }, how, out) {
    const source = level[how], base = series * size, per = every / run, end = base + size, last = this.steps - (size - 1) * run;
    const sign = how === "min" ? -1 : 1;
    for (let x = 0, from = base + first / run; x < columns; x++, from += per) {
      const to = from + per < end ? from + per : end;
      let sum = 0, most = -Infinity;
      for (let k = from; k < to; k++) {
        const value = source[k];
        sum += value;
        if (sign * value > most) most = sign * value;
      }
      if (from >= to || sum !== sum) out[x] = NaN;
      else if (how !== "mean") out[x] = sign * most;
      else if (to < end || last === run) out[x] = sum / (to - from);
      else out[x] = ((sum - source[to - 1]) * run + source[to - 1] * last) / ((to - from - 1) * run + last);
    }
  }

  // Return what is stored of a step, as it was coded: numbers `min`, `mean` and `max`, the same where each step is.
  at(series, step) {
    const { min, mean, max } = this.codes, at = series * this.levels[0].size + Math.floor(step / this.every);
    return { min: this.coded[min[at]], mean: this.coded[mean[at]], max: this.coded[max[at]] };
  }

  // Return the least and the greatest value of a series over all steps.
  extremes(series) {
    const { size, min, max } = this.levels.at(-1), part = (array) => Array.from(array.subarray(series * size, (series + 1) * size));
    const known = (array) => part(array).filter((value) => value === value);
    return [Math.min(...known(min)), Math.max(...known(max))];
  }
}

// A run with all its blocks decoded.
async function readView(raw) {
  const read = (each) => Block.read(each, raw.steps, raw.every);
  const [inputs, rows, gradients] = await Promise.all([
    read(raw.inputs), Promise.all(raw.rows.map(read)), Promise.all(raw.gradients.map(read)),
  ]);
  const joined = (each, k, blocks) => ({ ...each, block: blocks[k], codes: null });
  return {
    ...raw, inputs: { ...raw.inputs, block: inputs, codes: null },
    rows: raw.rows.map((row, k) => joined(row, k, rows)), gradients: raw.gradients.map((row, k) => joined(row, k, gradients)),
  };
}
