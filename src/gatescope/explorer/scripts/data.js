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
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  return codes < 256 ? new Uint8Array(buffer) : new Uint16Array(buffer);
}

// Several series over the same steps: a gate or a state of all units, the inputs, a gradient.
class Block {
  constructor({ coding, series }, { mean, min = mean, max = mean }, steps, every) {
    Object.assign(this, { coding, series, steps, every, coded: codedValues(coding) });
    this.values = coding.scale === "odds" ? this.coded.map(logistic) : this.coded;
    const vast = Math.max(Math.abs(coding.low), Math.abs(coding.high)) > 3e38;
    this.numbers = vast ? Float64Array : Float32Array;
    this.levels = [{ every, size: Math.ceil(steps / every), min, mean, max, values: this.values }];
    while (this.levels.at(-1).size > SMALLEST) this.levels.push(this.above(this.levels.at(-1)));
  }

  static async read(raw, steps, every) {
    const names = Object.keys(raw.codes);
    const arrays = await Promise.all(names.map((name) => unpack(raw.codes[name], raw.coding.codes)));
    return new Block(raw, Object.fromEntries(names.map((name, k) => [name, arrays[k]])), steps, every);
  }

  // Return the level of runs FACTOR times as long; the last run may be shorter.
  above({ every: below, size: inner, min, mean, max, values }) {
    const every = below * FACTOR, size = Math.ceil(this.steps / every), make = () => new this.numbers(this.series * size);
    const level = { every, size, min: make(), mean: make(), max: make(), values: null };
    for (let s = 0; s < this.series; s++) {
      for (let i = 0; i < size; i++) {
        const end = Math.min(inner, (i + 1) * FACTOR);
        let low = Infinity, high = -Infinity, sum = 0, count = 0;
        for (let j = i * FACTOR; j < end; j++) {
          const at = s * inner + j, weight = Math.min(below, this.steps - j * below);
          const least = values ? values[min[at]] : min[at], most = values ? values[max[at]] : max[at];
          if (least < low) low = least;
          if (most > high) high = most;
          sum += weight * (values ? values[mean[at]] : mean[at]);
          count += weight;
        }
        const at = s * size + i, known = sum === sum;
        level.min[at] = known ? low : NaN;
        level.mean[at] = sum / count;
        level.max[at] = known ? high : NaN;
      }
    }
    return level;
  }

  // Fill `out` with the mean, min or max of the steps of each column, of one series; NaN where there are no numbers.
  columns(series, { first, every, columns }, how, out) {
    const level = this.levels.findLast((each) => every % each.every === 0 && (each.every * 2 <= every || each.every === every));
    const { size, values, every: run } = level, source = level[how], base = series * size, per = every / run;
    for (let x = 0, begin = first / run; x < columns; x++, begin += per) {
      const end = Math.min(size, begin + per);
      let low = Infinity, high = -Infinity, sum = 0, count = 0;
      for (let i = begin; i < end; i++) {
        const value = values ? values[source[base + i]] : source[base + i], weight = Math.min(run, this.steps - i * run);
        if (value < low) low = value;
        if (value > high) high = value;
        sum += weight * value;
        count += weight;
      }
      out[x] = sum !== sum || !count ? NaN : how === "mean" ? sum / count : how === "min" ? low : high;
    }
  }

  // Return what is stored of a step, as it was coded: numbers `min`, `mean` and `max`, the same where each step is.
  at(series, step) {
    const { size, min, mean, max } = this.levels[0], at = series * size + Math.floor(step / this.every);
    return { min: this.coded[min[at]], mean: this.coded[mean[at]], max: this.coded[max[at]] };
  }

  // Return the least and the greatest value of a series over all steps.
  extremes(series) {
    const { size, min, max, values } = this.levels.at(-1);
    let low = Infinity, high = -Infinity;
    for (let i = series * size; i < (series + 1) * size; i++) {
      const least = values ? values[min[i]] : min[i], most = values ? values[max[i]] : max[i];
      if (least < low) low = least;
      if (most > high) high = most;
    }
    return [low, high];
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
