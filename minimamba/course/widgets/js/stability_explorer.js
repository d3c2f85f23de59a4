// Drag Δλ over the complex plane and see by which discretization rule the state decays.

import { axes } from "./axes.js";
import { setTraits, slider } from "./controls.js";
import { svg } from "./elements.js";
import { drag, explorer } from "./explorer.js";
import { formatGeneral, withMinus } from "./numbers.js";

const STEPS = 24;
const PLANE = { xlim: [-4, 2], ylim: [-3, 3] };
const RULES = {
  Euler: { colour: "blue", pole: ([re, im]) => [1 + re, im] },
  "backward Euler": { colour: "red", pole: ([re, im]) => divide([1, 0], [1 - re, -im]) },
  bilinear: { colour: "green",
              pole: ([re, im]) => divide([1 + re / 2, im / 2], [1 - re / 2, -im / 2]) },
  "zero-order hold": { colour: "purple",
                       pole: ([re, im]) => [Math.exp(re) * Math.cos(im),
                                            Math.exp(re) * Math.sin(im)] },
};

const times = ([a, b], [c, d]) => [a * c - b * d, a * d + b * c];
const magnitude = ([re, im]) => Math.hypot(re, im);

function divide(numerator, [c, d]) {
  const [re, im] = times(numerator, [c, -d]);
  return [re / (c * c + d * d), im / (c * c + d * d)];
}

/** Ā by each rule, in the order of RULES. The small number avoids the poles at 1 and 2. */
export function poles(real, imaginary) {
  return Object.values(RULES).map(({ pole }) => pole([real, imaginary + 1e-9]));
}

/** The real part of Āⁿ, for n = 0, 1, 2 … */
export function powers(pole) {
  const found = [[1, 0]];
  while (found.length <= STEPS) found.push(times(found[found.length - 1], pole));
  return found.map(([re]) => re);
}

/** What a mode does that is multiplied by `growth` in each step. */
function behaviour(growth) {
  if (Math.abs(growth - 1) <= 1e-6) return "stays constant";
  return growth < 1 ? "decays" : "grows";
}

export function caption(real, imaginary) {
  const sizes = poles(real, imaginary).map(magnitude);
  const rules = Object.keys(RULES).map((rule, i) =>
    `${rule} ${formatGeneral(sizes[i], 3)} (${behaviour(sizes[i])})`);
  return `Δλ = ${withMinus(real, 2)} ${imaginary < 0 ? "−" : "+"} `
    + `${Math.abs(imaginary).toFixed(2)}i: the exact mode ${behaviour(Math.exp(real))}. `
    + `|Ā| by rule: ${rules.join(", ")}.`;
}

const left = (i) => 50 + 218 * i;
const SQUARE = { top: 28, width: 186, height: 186 };

/** Where a rule's state decays, as a path on its plane. */
function stableRegion(rule, { X, Y }) {
  const radius = X(1) - X(0);
  const circle = (x) => `M${X(x) - radius} ${Y(0)}a${radius} ${radius} 0 1 0 ${2 * radius} 0`
    + `a${radius} ${radius} 0 1 0 ${-2 * radius} 0`;
  const box = (x1, x2) => `M${X(x1)} ${Y(-9)}V${Y(9)}H${X(x2)}V${Y(-9)}z`;
  return { Euler: circle(-1), "backward Euler": box(-9, 9) + circle(1) }[rule] ?? box(-9, 0);
}

function draw(canvas, real, imaginary) {
  poles(real, imaginary).forEach((pole, i) => {
    const [rule, { colour }] = Object.entries(RULES)[i];
    drawPlane(canvas, i, rule, colour, real, imaginary);
    drawPowers(canvas, i, pole, colour);
  });
  return caption(real, imaginary);
}

function drawPlane(canvas, i, rule, colour, real, imaginary) {
  const plane = axes(canvas, { ...SQUARE, ...PLANE, left: left(i), title: rule, xlabel: "Re Δλ",
    xticks: [-4, -2, 0, 2], ylabel: i ? "" : "Im Δλ" });
  const region = stableRegion(rule, plane);
  plane.add(
    svg("path", { class: `area ${colour}`, "fill-opacity": 0.3, "fill-rule": "evenodd",
                  d: region }),
    svg("path", { class: `line ${colour}`, d: region }),
    svg("path", { class: "axis", d: `M${plane.X(0)} 0V500` }),
    svg("circle", { class: "area ink point", cx: plane.X(real), cy: plane.Y(imaginary), r: 6 }),
    svg("rect", { class: "drag-area", x: left(i), y: SQUARE.top, width: SQUARE.width,
                  height: SQUARE.height }));
}

function drawPowers(canvas, i, pole, colour) {
  const growth = magnitude(pole);
  const steps = axes(canvas, { left: left(i), top: 292, width: 186, height: 110,
    xlim: [0, STEPS], ylim: [-1.5, 1.5], xlabel: "step n", ylabel: i ? "" : "Re Āⁿ",
    title: `|Ā| = ${formatGeneral(growth, 3)}: ${behaviour(growth)}`, xticks: [0, 10, 20],
    yticks: [-1, 0, 1] });
  // A diverging line leaves the panel; far beyond it, a browser can't draw it.
  const drawn = powers(pole).map((value) => Math.max(-99, Math.min(99, value)));
  steps.line(drawn.keys(), drawn, `${colour} powers`);
  drawn.forEach((value, n) => steps.add(svg("circle", {
    class: `area ${colour}`, cx: steps.X(n), cy: steps.Y(value), r: 2.6 })));
}

/** A press on one of the planes takes hold of the point, which is the same on all of them. */
function grab(model, x, y) {
  const i = [0, 1, 2, 3].find((k) => x >= left(k) && x <= left(k) + SQUARE.width);
  if (i === undefined || y < SQUARE.top || y > SQUARE.top + SQUARE.height) return null;
  const clamp = (value, [low, high]) => Math.round(20 * Math.max(low, Math.min(high, value))) / 20;
  return (px, py) => setTraits(model, {
    real: clamp(-4 + (6 * (px - left(i))) / SQUARE.width, PLANE.xlim),
    imaginary: clamp(3 - (6 * (py - SQUARE.top)) / SQUARE.height, PLANE.ylim) });
}

export default {
  render({ model, el }) {
    const format = (value) => withMinus(value, 2);
    const canvas = explorer({ model, el }, "stability", {
      traits: ["real", "imaginary"], width: 900, height: 446,
      controls: [
        slider(model, "real", { label: "Re Δλ", min: -4, max: 2, step: 0.05, format }),
        slider(model, "imaginary", { label: "Im Δλ", min: -3, max: 3, step: 0.05, format }),
      ],
      draw: (svgElement) => draw(svgElement, model.get("real"), model.get("imaginary")),
    });
    drag(canvas, (x, y) => grab(model, x, y));
  },
};
