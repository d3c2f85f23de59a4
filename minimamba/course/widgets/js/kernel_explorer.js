// Slide a flipped kernel over an input, and update a state beside it: one output, computed as a
// convolution and as a recurrence.

import { axes, label, legend, marks, ticks } from "./axes.js";
import { choices, setTraits, slider } from "./controls.js";
import { svg } from "./elements.js";
import { drag, explorer, handle } from "./explorer.js";
import { flow } from "./layout.js";
import { formatGeneral, withMinus } from "./numbers.js";

/** An input is sent as its samples, separated by spaces. */
export const unpack = ({ samples }) => samples.split(" ").map(Number);

/**
 * The system h = Ā h + x, y = Re h, with the output at one time step as a sum of products with the
 * flipped kernel, and the states of the recurrence. `before` is the state one step earlier, and
 * `decayed` is Ā times that.
 */
export function compute(x, t, decay, angle) {
  const radians = (angle * Math.PI) / 180;
  const kernel = x.map((_, lag) => decay ** lag * Math.cos(lag * radians));
  const products = x.slice(0, t + 1).map((input, s) => kernel[t - s] * input);
  const A_bar = [decay * Math.cos(radians), decay * Math.sin(radians)];
  let h = [0, 0];
  const state = x.map((input) => {
    const [re, im] = times(A_bar, h);
    return (h = [re + input, im]);
  });
  const before = t ? state[t - 1] : [0, 0];
  return { kernel, products, sum: products.reduce((sum, product) => sum + product, 0), state,
           before, decayed: times(A_bar, before) };
}

const times = ([a, b], [c, d]) => [a * c - b * d, a * d + b * c];

/** Three decimals. Two numbers that differ only by rounding look the same, and so do 0 and −0. */
const decimals = (value) => withMinus(Math.round(value * 1e9) / 1e9 || 0, 3);
const complex = ([re, im]) => {
  const size = decimals(Math.abs(im));
  return `${decimals(re)} ${im < 0 && Number(size) ? "−" : "+"} ${size}i`;
};

export function caption(x, t, decay, angle) {
  const { sum, state } = compute(x, t, decay, angle);
  const total = t ? `the ${t + 1} products sum to` : "the only product is";
  return `Step ${t}. Convolution: ${total} ${decimals(sum)}. Recurrence: the state is `
    + `${complex(state[t])}, and its real part is ${decimals(state[t][0])}.`;
}

const ROW = { gap: 112, height: 82 };
const HEIGHT = 3 * ROW.gap + ROW.height;
const subscript = (number) => String(number).replace(/./g, (c) => "₀₁₂₃₄₅₆₇₈₉"[c] ?? "₋");

/** One of the four panels, a bar per step. The current step is marked, and later bars are pale. */
function bars(canvas, box, values, t, { row, colour, limit, title, ...labels }) {
  const { X, Y, add, top, left, width, values: readable } = axes(canvas, {
    ...box, top: box.top + ROW.gap * row, height: ROW.height, xlim: [-0.6, values.length - 0.4],
    ylim: [-limit, limit], xticks: [], yticks: ticks([-limit, limit], 4), ...labels });
  canvas.append(label(left - 44, top - 8, title, { anchor: "start" }));
  add(svg("rect", { class: "area sky current", x: X(t - 0.5), width: X(1) - X(0), y: top,
                    height: ROW.height }),
    svg("path", { class: "axis", d: `M${left} ${Y(0)}h${width}` }));
  values.forEach((value, step) => add(svg("rect", {
    class: `area ${colour} bar`, x: X(step - 0.32), width: X(0.64) - X(0),
    y: Math.min(Y(0), Y(value)), height: Math.abs(Y(value) - Y(0)),
    "fill-opacity": step > t ? 0.3 : 1 })));
  readable([...values.keys()], values, (step) => `step ${step}: ${decimals(values[step])}`);
  return X(t);
}

function draw(canvas, [panels, plane], x, unit, t, decay, angle) {
  const found = compute(x, t, decay, angle);
  const { kernel, products, sum, state } = found;
  const limitOf = (values) => 1.1 * Math.max(...values.map(Math.abs));
  const inputLimit = limitOf(x);
  const stateLimit = limitOf(state.map((h) => Math.hypot(...h)));
  const untilNow = (values) => x.map((_, s) => (s > t ? 0 : values[s]));
  bars(canvas, panels, x, t, { row: 0, colour: "grey", limit: inputLimit, ylabel: "xₛ",
    title: `input x${unit}` });
  bars(canvas, panels, untilNow(kernel.slice(0, t + 1).reverse()), t, { row: 1, colour: "blue",
    limit: 1.1, ylabel: "Kₜ₋ₛ", title: `flipped kernel: K₀ is aligned with x${subscript(t)}` });
  bars(canvas, panels, untilNow(products), t, { row: 2, colour: "green", limit: inputLimit,
    ylabel: "Kₜ₋ₛ xₛ", title: `products of the two; their sum is ${decimals(sum)}` });
  const now = bars(canvas, panels, state.map(([re]) => re), t, { row: 3, colour: "red",
    limit: stateLimit, ylabel: "yₜ", title: `output y: y${subscript(t)} = ${decimals(sum)}`,
    xlabel: "step", xticks: ticks([0, x.length - 1], 8) });
  canvas.append(svg("rect", { class: "drag-area", x: panels.left, y: panels.top,
                              width: panels.width, height: HEIGHT }),
    handle(now, panels.top + 7, "↔"));
  drawRecurrence(canvas, plane, x[t], t, found, stateLimit);
  return caption(x, t, decay, angle);
}

/** The state in the complex plane: the previous one, Ā times that, and with the input added. */
function drawRecurrence(canvas, box, input, t, { state, before, decayed }, limit) {
  const round = ticks([-limit, limit], 4);
  const plane = axes(canvas, { ...box, xlim: [-limit, limit], ylim: [-limit, limit],
    xticks: round, yticks: round, title: "recurrence: the state h", xlabel: "Re h",
    ylabel: "Im h" });
  const point = ([re, im]) => [plane.X(re), plane.Y(im)];
  const dot = ([cx, cy], r, look) => svg("circle", { class: look, cx, cy, r });
  const [from, through, to] = [before, decayed, state[t]].map(point);
  plane.add(
    svg("path", { class: "axis",
                  d: `M0 ${plane.Y(0)}h9999M${plane.X(0)} 0V${plane.bottom}` }),
    ...state.slice(0, t).map((h) => dot(point(h), 2, "area grey")),
    svg("path", { class: "line red", d: `M${to}V${plane.Y(0)}`, "stroke-dasharray": "3 3" }),
    svg("path", { class: "line blue", d: `M${from}L${through}` }),
    svg("path", { class: "line purple", d: `M${through}L${to}`, "stroke-dasharray": "7 2" }),
    dot(from, 4, "line ink"), dot(to, 4.5, "area ink state"));
  const past = state.slice(0, t + 1);
  plane.values(past.map(([re]) => re), past.map(([, im]) => im), (step) =>
    `step ${step}: ${complex(past[step])}`);
  const [h, x, y] = ["h", "x", "y"].map((name) => name + subscript(t));
  [[marks.ring("ink"), `h${subscript(t - 1)} = ${complex(before)}`],
   [marks.line("blue"), `times Ā: ${complex(decayed)}`],
   [marks.line("purple", "7 2"), `plus ${x} = ${decimals(input)}`],
   [marks.disc("ink"), `${h} = ${complex(state[t])}`],
   [marks.line("red", "3 3"), `${y} = Re ${h} = ${decimals(state[t][0])}`],
  ].forEach((entry, i) => legend(canvas, { left: box.left - 44, width: 0,
    top: plane.bottom + 44 + 26 * i }, [entry]));
}

export default {
  render({ model, el }) {
    const inputs = model.get("inputs");
    const signals = Object.fromEntries(Object.entries(inputs).map(([name, input]) =>
      [name, unpack(input)]));
    const last = Object.values(signals)[0].length - 1;
    let panels;
    const moveTo = (x) => setTraits(model, { step: Math.max(0, Math.min(last,
      Math.round(((x - panels.left) * (last + 1.2)) / panels.width - 0.6))) });
    const canvas = explorer({ model, el }, "kernel", {
      traits: ["step", "decay", "angle", "input"],
      task: {
        ask: "make the impulse come out as 1, −1, 1, −1 … to the end.",
        done: "A turn by 180° per step that never decays: the kernel alternates.",
        reached: () => model.get("input") === "impulse" && model.get("decay") === 1
          && model.get("angle") === 180,
        presets: { "a wave": { step: 25, decay: 0.9, angle: 30, input: "EEG" },
                   "out of step": { step: 25, decay: 0.9, angle: 60, input: "EEG" },
                   "impulse": { step: 14, decay: 0.8, angle: 0, input: "impulse" } },
      },
      controls: [
        slider(model, "step", { label: "time step t", min: 0, max: last, step: 1 }),
        slider(model, "decay", { label: "decay per step |Ā|", min: 0, max: 1, step: 0.05,
                                 format: (value) => value.toFixed(2) }),
        slider(model, "angle", { label: "angle of Ā", min: 0, max: 180, step: 5,
                                 format: (value) => `${formatGeneral(value, 3)}°` }),
        choices(model, "input", { label: "input x", options: Object.keys(inputs) }),
      ],
      draw: (svgElement, width) => {
        const name = model.get("input");
        const layout = flow(width, [{ width: 210, height: HEIGHT },
          { width: 200, height: 200, grow: 0, bottom: 186 }]);
        [panels] = layout.boxes;
        svgElement.setAttribute("viewBox", `0 0 ${width} ${layout.height}`);
        return draw(svgElement, layout.boxes, signals[name], inputs[name].unit, model.get("step"),
          model.get("decay"), model.get("angle"));
      },
    });
    drag(canvas, (x, y) => (x >= panels.left && x <= panels.left + panels.width
      && y >= panels.top && y <= panels.top + HEIGHT ? moveTo : null));
  },
};
