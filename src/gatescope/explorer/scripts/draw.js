// A pen that draws on a canvas and, where it is given a list of parts, writes the same down as SVG.

const UNKNOWN = 256; // place in a table of colors of what is no number
const FONT = "Helvetica Neue, Arial, Liberation Sans, sans-serif";
const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const CONTROL = /[\x00-\x08\x0b\x0c\x0e-\x1f]/g; // which XML does not allow
const escaped = (words) => words.replace(CONTROL, "\ufffd").replace(/[&<>"]/g, (sign) => ENTITIES[sign]);

// Return an element of SVG.
function svg(name, attributes, inside = "") {
  const said = Object.entries(attributes).map(([key, value]) => ` ${key}="${escaped(String(value))}"`);
  return `<${name}${said.join("")}>${inside}</${name}>`;
}

const BARS = { values: Float64Array.from({ length: UNKNOWN }, (_, k) => k), stride: 0, count: UNKNOWN, rows: [0] };

class Pen {
  constructor(canvas, width, height, paper, parts = null) {
    const ratio = devicePixelRatio, size = { width: Math.round(width * ratio), height: Math.round(height * ratio) };
    if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size); // which takes memory
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    Object.assign(this, { context: canvas.getContext("2d"), parts });
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.boxes([[0, 0, width, height]], paper);
  }

  // Fill boxes [x, y, width, height]; many at once are far quicker than each by itself.
  boxes(boxes, fill, opacity = 1) {
    Object.assign(this.context, { fillStyle: fill, globalAlpha: opacity });
    for (const [x, y, width, height] of boxes) this.context.fillRect(x, y, width, height);
    const outline = ([x, y, width, height]) => `M${x} ${y}h${width}v${height}h${-width}z`;
    this.parts?.push(svg("path", { d: boxes.map(outline).join(""), fill, opacity }));
  }

  // Fill columns, each `size` wide from x on, between two edges where these are numbers: one outline is far quicker
  // than a box a column.
  band(tops, bottoms, x, size, fill, opacity) {
    const { context, parts } = this, count = tops.length;
    Object.assign(context, { fillStyle: fill, globalAlpha: opacity });
    context.beginPath();
    let d = "";
    const to = (k, y, move = "L") => {
      context[move === "M" ? "moveTo" : "lineTo"](x + k * size, y);
      if (parts) d += `${move}${(x + k * size).toFixed(2)} ${y.toFixed(2)}`;
    };
    for (let first = 0, last; first < count; first = last + 1) {
      for (last = first; last < count && tops[last] === tops[last];) last++;
      for (let k = first; k < last; k++) to(k, tops[k], k > first ? "L" : "M"), to(k + 1, tops[k]);
      for (let k = last - 1; k >= first; k--) to(k + 1, bottoms[k]), to(k, bottoms[k]);
    }
    context.fill();
    parts?.push(svg("path", { d, fill, opacity }));
  }

  // Draw a line through points [x, y], which is broken where y is no number.
  line(points, stroke, { width = 1, dash = [], opacity = 1 } = {}) {
    const { context, parts } = this;
    Object.assign(context, { strokeStyle: stroke, lineWidth: width, lineJoin: "round", globalAlpha: opacity });
    context.setLineDash(dash);
    context.beginPath();
    let d = "", starts = true;
    for (const [x, y] of points) {
      if (y === y && starts) context.moveTo(x, y);
      else if (y === y) context.lineTo(x, y);
      if (y === y && parts) d += `${starts ? "M" : "L"}${x.toFixed(2)} ${y.toFixed(2)}`;
      starts = y !== y;
    }
    context.stroke();
    const look = { "stroke-width": width, "stroke-dasharray": dash.join(" "), "stroke-linejoin": "round", opacity };
    parts?.push(svg("path", { d, fill: "none", stroke, ...look }));
  }

  text(words, x, y, fill, { anchor = "start", size = 12, weight = 400 } = {}) {
    const textAlign = anchor === "middle" ? "center" : anchor;
    Object.assign(this.context, { fillStyle: fill, globalAlpha: 1, font: `${weight} ${size}px ${FONT}`, textAlign });
    this.context.fillText(words, x, y);
    const look = { "text-anchor": anchor, "font-size": size, "font-weight": weight };
    this.parts?.push(svg("text", { x, y, fill, ...look }, escaped(words)));
  }

  // Draw rows of a table, `count` values of each, into a box: each in its color of 256 from low to high.
  image({ values, stride, count, rows }, { low, high, table, turn }, x, y, width, height) {
    const image = new ImageData(count, rows.length), pixels = new Uint32Array(image.data.buffer);
    const scale = UNKNOWN / (high - low), canvas = document.createElement("canvas");
    for (let row = 0, k = 0; row < rows.length; row++) {
      for (let from = rows[row] * stride, end = from + count; from < end; from++, k++) {
        const place = ((turn ? turn(values[from]) : values[from]) - low) * scale;
        pixels[k] = table[place < 0 ? 0 : place >= UNKNOWN ? UNKNOWN - 1 : place === place ? place | 0 : UNKNOWN];
      }
    }
    Object.assign(canvas, { width: image.width, height: image.height });
    canvas.getContext("2d").putImageData(image, 0, 0);
    Object.assign(this.context, { imageSmoothingEnabled: image.height > height, globalAlpha: 1 });
    this.context.drawImage(canvas, x, y, width, height);
    if (!this.parts) return;
    const look = { preserveAspectRatio: "none", style: "image-rendering:pixelated", href: canvas.toDataURL() };
    this.parts.push(svg("image", { x, y, width, height, ...look }));
  }
}
