// Drag Δλ over the complex plane and see by which discretization rule the state decays.

import { axes } from "./axes.js";
import { setTraits, slider } from "./controls.js";
import { svg } from "./elements.js";
import { drag, explorer, handle } from "./explorer.js";
import { flow } from "./layout.js";
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

/** Where a rule's state decays, as a path on its plane. */
function stableRegion(rule, { X, Y }) {
  const radius = X(1) - X(0);
  const circle = (x) => `M${X(x) - radius} ${Y(0)}a${radius} ${radius} 0 1 0 ${2 * radius} 0`
    + `a${radius} ${radius} 0 1 0 ${-2 * radius} 0`;
  const box = (x1, x2) => `M${X(x1)} ${Y(-9)}V${Y(9)}H${X(x2)}V${Y(-9)}z`;
  return { Euler: circle(-1), "backward Euler": box(-9, 9) + circle(1) }[rule] ?? box(-9, 0);
}

const POWERS = { gap: 78, height: 100 };

function draw(canvas, boxes, real, imaginary) {
  poles(real, imaginary).forEach((pole, i) => {
    const [rule, { colour }] = Object.entries(RULES)[i];
    drawPlane(canvas, boxes[i], rule, colour, real, imaginary);
    drawPowers(canvas, boxes[i], pole, colour);
  });
  return caption(real, imaginary);
}

/** The planes, each with its powers below. */
function layout(width) {
  const columns = width >= 4 * 150 ? 4 : 2;
  const side = width / columns - 61;
  return flow(width, Array(4).fill({ left: 50, width: side, right: 11, height: side,
    bottom: POWERS.gap + POWERS.height + 44 }));
}

function drawPlane(canvas, box, rule, colour, real, imaginary) {
  const plane = axes(canvas, { ...box, ...PLANE, title: rule, xlabel: "Re Δλ",
    xticks: [-4, -2, 0, 2], yticks: [-2, 0, 2], ylabel: "Im Δλ" });
  const region = stableRegion(rule, plane);
  plane.add(
    svg("path", { class: `area ${colour}`, "fill-opacity": 0.3, "fill-rule": "evenodd",
                  d: region }),
    svg("path", { class: `line ${colour}`, d: region }),
    svg("path", { class: "axis", d: `M${plane.X(0)} 0V${plane.bottom}` }),
    svg("rect", { class: "drag-area", x: box.left, y: box.top, width: box.width,
                  height: box.height }));
  canvas.append(handle(plane.X(real), plane.Y(imaginary), "✥"));
}

function drawPowers(canvas, box, pole, colour) {
  const growth = magnitude(pole);
  const steps = axes(canvas, { ...box, top: box.top + box.height + POWERS.gap,
    height: POWERS.height, xlim: [0, STEPS], ylim: [-1.5, 1.5], xlabel: "step n", ylabel: "Re Āⁿ",
    title: `|Ā| = ${formatGeneral(growth, 3)}: ${behaviour(growth)}`, xticks: [0, 10, 20],
    yticks: [-1, 0, 1] });
  // A diverging line leaves the panel; far beyond it, a browser can't draw it.
  const values = powers(pole);
  const drawn = values.map((value) => Math.max(-99, Math.min(99, value)));
  steps.line(drawn.keys(), drawn, `${colour} powers`);
  drawn.forEach((value, n) => steps.add(svg("circle", {
    class: `area ${colour}`, cx: steps.X(n), cy: steps.Y(value), r: 2.6 })));
  steps.values([...drawn.keys()], drawn, (n) =>
    `step ${n}: ${withMinus(Number(formatGeneral(values[n], 3)))}`);
}

/** A press on one of the planes takes hold of the point, which is the same on all of them. */
function grab(model, boxes, x, y) {
  const box = boxes.find(({ left, top, width, height }) =>
    x >= left && x <= left + width && y >= top && y <= top + height);
  if (!box) return null;
  const clamp = (value, [low, high]) => Math.round(20 * Math.max(low, Math.min(high, value))) / 20;
  return (px, py) => setTraits(model, {
    real: clamp(-4 + (6 * (px - box.left)) / box.width, PLANE.xlim),
    imaginary: clamp(3 - (6 * (py - box.top)) / box.height, PLANE.ylim) });
}

export default {
  render({ model, el }) {
    const format = (value) => withMinus(value, 2);
    let boxes;
    const canvas = explorer({ model, el }, "stability", {
      traits: ["real", "imaginary"],
      task: {
        ask: "find a point whose exact mode grows, and which backward Euler makes decay.",
        done: "An unstable mode, and backward Euler hides it.",
        reached: () => {
          const [re, im] = [model.get("real"), model.get("imaginary")];
          return re > 0 && magnitude(poles(re, im)[1]) < 1;
        },
        presets: { "oscillating": { real: -0.1, imaginary: 1.5 },
                   "undamped": { real: 0, imaginary: 1 }, "stiff": { real: -4, imaginary: 0 } },
      },
      controls: [
        slider(model, "real", { label: "Re Δλ", min: -4, max: 2, step: 0.05, format }),
        slider(model, "imaginary", { label: "Im Δλ", min: -3, max: 3, step: 0.05, format }),
      ],
      draw: (svgElement, width) => {
        const found = layout(width);
        boxes = found.boxes;
        svgElement.setAttribute("viewBox", `0 0 ${width} ${found.height}`);
        return draw(svgElement, boxes, model.get("real"), model.get("imaginary"));
      },
    });
    drag(canvas, (x, y) => grab(model, boxes, x, y));
  },
};
