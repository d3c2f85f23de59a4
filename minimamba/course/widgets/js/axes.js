// Plots in SVG: axes with ticks and labels, lines and text.

import { svg, uniqueId } from "./elements.js";
import { withMinus } from "./numbers.js";
import { addValues } from "./values.js";

/** Text centered at (x, y), or with another anchor and CSS class. */
export function label(x, y, text, { class: look = "", anchor = "middle" } = {}) {
  return svg("text", { x, y, class: look, "text-anchor": anchor }, text);
}

/** Text that reads upwards, centered at (x, y). */
export function verticalLabel(x, y, text) {
  return svg("text", { x: 0, y: 0, "text-anchor": "middle",
                       transform: `translate(${x} ${y}) rotate(-90)` }, text);
}

const LINE = 18;
const MARK = 28;
/** About as wide as a character is: text can't be measured before the drawing is on a page. */
const CHARACTER = 7.2;
const widthOf = (text) => MARK + CHARACTER * text.length + 14;

/** The entries of a legend line by line; `texts` are as many as fit into the width. */
function legendLines(width, entries) {
  const lines = [];
  let used = Infinity;
  for (const entry of entries) {
    used += widthOf(entry[1]);
    if (used > width) {
      lines.push([]);
      used = widthOf(entry[1]);
    }
    lines[lines.length - 1].push(entry);
  }
  return lines;
}

/** The height of a legend. */
export const legendHeight = (width, entries) => LINE * legendLines(width, entries).length;

/** A legend from (left, top) on: entries are a mark of `marks` with its class, and a text. */
export function legend(canvas, { left, top, width }, entries) {
  legendLines(width, entries).forEach((line, row) => {
    let x = left;
    for (const [mark, text] of line) {
      canvas.append(svg("g", { transform: `translate(${x} ${top + LINE * (row + 0.5)})` }, mark,
        label(MARK, 4, text, { anchor: "start" })));
      x += widthOf(text);
    }
  });
}

/** The marks of a legend, 22 units wide. */
export const marks = {
  line: (look, dash = "none") => svg("path", { class: `line ${look}`, d: "M0 0h22",
                                               "stroke-dasharray": dash }),
  square: (look) => svg("rect", { class: `area ${look}`, x: 5, y: -6, width: 12, height: 12 }),
  disc: (look) => svg("circle", { class: `area ${look}`, cx: 11, cy: 0, r: 5 }),
  ring: (look) => svg("circle", { class: `line ${look}`, cx: 11, cy: 0, r: 5 }),
};

/** Round numbers within two limits, about `count` of them. */
export function ticks([low, high], count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((nice) => nice * power >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step)
    .toPrecision(12)));
}

/** The powers of 10 within two limits. */
export function decades([low, high]) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const count = Math.floor(Math.log10(high) + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, i) => 10 ** (first + i));
}

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** A tick's number as text; on a logarithmic axis as a power of 10. */
export function tickText(value, log) {
  if (!log) return withMinus(value);
  const power = Math.round(Math.log10(value));
  const digits = [...String(Math.abs(power))].map((digit) => SUPERSCRIPTS[digit]).join("");
  return `10${power < 0 ? "⁻" : ""}${digits}`;
}

/** A function from values to positions on the canvas, linear or logarithmic. */
function scale([low, high], log, start, size) {
  const f = log ? Math.log10 : (value) => value;
  return (value) => start + (size * (f(value) - f(low))) / (f(high) - f(low));
}

/** Text centred at x, or as near to that as it stays within the canvas. */
function centred(canvas, x, y, text) {
  const half = Math.min(CHARACTER * text.length, canvas.viewBox.baseVal.width) / 2;
  return label(Math.max(half, Math.min(canvas.viewBox.baseVal.width - half, x)), y, text);
}

/**
 * Axes with ticks and labels on the canvas.
 *
 * The result has X and Y, from values to positions on the canvas; `add`, which draws shapes that
 * are clipped at the axes; `line`, which draws a line through points; and `values`, which lets
 * values be read off: `text(i)` is what the one at (xs[i], ys[i]) says.
 */
export function axes(canvas, { left, top, width, height, xlim, ylim, title = "", xlabel = "",
                               ylabel = "", xlog = false, ylog = false, xticks, yticks }) {
  const X = scale(xlim, xlog, left, width);
  const Y = scale(ylim, ylog, top + height, -height);
  const bottom = top + height;
  for (const value of xticks ?? (xlog ? decades(xlim) : ticks(xlim, width / 70))) {
    canvas.append(svg("path", { class: "grid", d: `M${X(value)} ${top}V${bottom}` }),
      label(X(value), bottom + 15, tickText(value, xlog), { class: "tick" }));
  }
  for (const value of yticks ?? (ylog ? decades(ylim) : ticks(ylim, height / 35))) {
    canvas.append(svg("path", { class: "grid", d: `M${left} ${Y(value)}H${left + width}` }),
      label(left - 6, Y(value) + 4, tickText(value, ylog), { class: "tick", anchor: "end" }));
  }
  canvas.append(svg("path", { class: "axis", d: `M${left} ${top}V${bottom}H${left + width}` }),
    centred(canvas, left + width / 2, top - 8, title),
    centred(canvas, left + width / 2, bottom + 32, xlabel));
  if (ylabel) canvas.append(verticalLabel(Math.max(14, left - 38), top + height / 2, ylabel));
  const clip = uniqueId("clip");
  const inside = svg("g", { "clip-path": `url(#${clip})` });
  canvas.append(svg("clipPath", { id: clip }, svg("rect", {
    x: left - 1, y: top - 1, width: width + 2, height: height + 2 })), inside);
  const add = (...shapes) => inside.append(...shapes);
  const line = (xs, ys, look) => add(svg("path", { class: `line ${look}`,
    d: path(Array.from(xs, X), Array.from(ys, Y)) }));
  const within = (y) => Math.max(top, Math.min(bottom, y));
  const values = (xs, ys, text) => addValues(canvas, { box: { left, top, width, height },
    count: xs.length, at: (i) => [X(xs[i]), within(Y(ys[i]))], text });
  return { X, Y, add, line, values, left, top, width, height, bottom };
}

/** An SVG path through points in order of x; of those within one unit of x, the outermost. */
function path(xs, ys) {
  const kept = [];
  for (let i = 0; i < xs.length;) {
    const column = Math.floor(xs[i]);
    let [low, high] = [i, i];
    const first = i;
    for (; i < xs.length && Math.floor(xs[i]) === column; i++) {
      if (ys[i] < ys[low]) low = i;
      if (ys[i] > ys[high]) high = i;
    }
    kept.push(...new Set([first, low, high, i - 1].sort((a, b) => a - b)));
  }
  return `M${kept.map((i) => `${xs[i].toFixed(1)} ${ys[i].toFixed(1)}`).join("L")}`;
}
