// Colors, and two pens that draw the same: one on a canvas, one that writes an SVG.

// Cividis for what goes one way, blue to vermilion for what has a sign: both stay apart for color-blind readers.
const ONE_WAY = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];
const TWO_WAYS = { light: ["#004a77", "#0072b2", "#7fb8dc", "#f7f7f7", "#f0a878", "#d55e00", "#8a3c00"],
  dark: ["#9fd4f5", "#3f9fd8", "#0f5a8a", "#161616", "#8a4410", "#e07a2a", "#ffc79a"] };
const UNKNOWN = 256; // place in a table of colors of what is no number

const channels = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));

// Return 256 colors from the first stop to the last, and one for what is no number, as pixels of an image.
function colorTable(stops) {
  const parts = stops.map(channels), table = new Uint32Array(UNKNOWN + 1);
  for (let k = 0; k < UNKNOWN; k++) {
    const at = (k / (UNKNOWN - 1)) * (parts.length - 1), below = Math.min(Math.floor(at), parts.length - 2);
    const mixed = parts[below].map((value, c) => Math.round(value + (at - below) * (parts[below + 1][c] - value)));
    table[k] = ((255 << 24) | (mixed[2] << 16) | (mixed[1] << 8) | mixed[0]) >>> 0;
  }
  table[UNKNOWN] = 0xff808080;
  return table;
}

// Return an image of a block: a row a unit, in the given order, a column of pixels a column of the window.
function heatImage(block, order, window, how, { low, high, asOdds, table }) {
  const image = new ImageData(window.columns, order.length), pixels = new Uint32Array(image.data.buffer);
  const row = new Float64Array(window.columns), scale = UNKNOWN / (high - low || 1);
  order.forEach((unit, y) => {
    block.columns(unit, window, how, row);
    for (let x = 0, at = y * window.columns; x < window.columns; x++, at++) {
      const value = row[x], place = ((asOdds ? Math.log(value / (1 - value)) : value) - low) * scale;
      pixels[at] = table[place < 0 ? 0 : place >= UNKNOWN ? UNKNOWN - 1 : place === place ? place | 0 : UNKNOWN];
    }
  });
  return pictured(image);
}

// Return a canvas that shows an image until the next one is asked for.
function pictured(image) {
  pictured.canvas ??= document.createElement("canvas");
  resize(pictured.canvas, image.width, image.height);
  pictured.canvas.getContext("2d").putImageData(image, 0, 0);
  return pictured.canvas;
}

// Give a canvas a size, if it has another: that takes time, and clears it.
function resize(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}

class CanvasPen {
  constructor(canvas, width, height) {
    const ratio = devicePixelRatio || 1;
    resize(canvas, Math.round(width * ratio), Math.round(height * ratio));
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    this.context = canvas.getContext("2d");
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  rect(x, y, width, height, color, opacity = 1) {
    Object.assign(this.context, { fillStyle: color, globalAlpha: opacity });
    this.context.fillRect(x, y, width, height);
    this.context.globalAlpha = 1;
  }

  // Draw lines through runs of points, [x, y, x, y, ...] each, or fill what they go round.
  path(runs, color, { width = 1, dash = [], fill = false, opacity = 1 } = {}) {
    const pen = this.context;
    Object.assign(pen, { strokeStyle: color, fillStyle: color, lineWidth: width, lineJoin: "round", globalAlpha: opacity });
    pen.setLineDash(dash);
    pen.beginPath();
    for (const run of runs) for (let k = 0; k < run.length; k += 2) k ? pen.lineTo(run[k], run[k + 1]) : pen.moveTo(run[k], run[k + 1]);
    fill ? pen.fill() : pen.stroke();
    pen.globalAlpha = 1;
  }

  // Fill columns of one width, [x, top, bottom] each: as a path they would take far longer.
  bars(columns, width, color, opacity) {
    Object.assign(this.context, { fillStyle: color, globalAlpha: opacity });
    for (const [x, top, bottom] of columns) this.context.fillRect(x, top, width, bottom - top);
    this.context.globalAlpha = 1;
  }

  text(text, x, y, color, { align = "left", size = 12, bold = false } = {}) {
    Object.assign(this.context, { fillStyle: color, font: `${bold ? "600 " : ""}${size}px ${FONT}`, textAlign: align });
    this.context.fillText(text, x, y);
  }

  image(canvas, x, y, width, height) {
    this.context.imageSmoothingEnabled = canvas.height > height;
    this.context.drawImage(canvas, x, y, width, height);
  }
}

const FONT = '"Helvetica Neue", Arial, "Liberation Sans", sans-serif';
const NAMED = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const inXml = (text) => String(text).replace(/[\x00-\x08\x0b\x0c\x0e-\x1f]/g, "\ufffd").replace(/[&<>"]/g, (sign) => NAMED[sign]);

class SvgPen {
  constructor(width, height) {
    Object.assign(this, { width, height, parts: [] });
  }

  rect(x, y, width, height, color, opacity = 1) {
    this.parts.push(`<rect x="${x}" y="${y}" width="${width}" height="${height}" fill="${color}" opacity="${opacity}"/>`);
  }

  path(runs, color, { width = 1, dash = [], fill = false, opacity = 1 } = {}) {
    const lines = runs.map((run) => `M${Array.from(run, (value) => value.toFixed(2)).join(" ")}`).join("");
    const look = fill ? `fill="${color}"` : `fill="none" stroke="${color}" stroke-width="${width}" stroke-dasharray="${dash.join(" ")}"`;
    this.parts.push(`<path d="${lines}" ${look} opacity="${opacity}"/>`);
  }

  bars(columns, width, color, opacity) {
    const bars = columns.map(([x, top, bottom]) => [x + width / 2, top, x + width / 2, bottom]);
    this.path(bars, color, { width, opacity });
  }

  text(text, x, y, color, { align = "left", size = 12, bold = false } = {}) {
    const anchor = { left: "start", center: "middle", right: "end" }[align];
    const look = `fill="${color}" font-size="${size}" text-anchor="${anchor}" font-weight="${bold ? 600 : 400}"`;
    this.parts.push(`<text x="${x}" y="${y}" ${look}>${inXml(text)}</text>`);
  }

  image(canvas, x, y, width, height) {
    const box = `x="${x}" y="${y}" width="${width}" height="${height}" preserveAspectRatio="none"`;
    this.parts.push(`<image ${box} style="image-rendering:pixelated" href="${canvas.toDataURL()}"/>`);
  }

  toString() {
    const head = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${this.width} ${this.height}" font-family="${inXml(FONT)}">`;
    return `${head}${this.parts.join("\n")}</svg>`;
  }
}
