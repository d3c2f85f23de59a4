// Drag the step size Δ and watch a state decay, hold or reset.

import { axes, label } from "./axes.js";
import { choices, slider } from "./controls.js";
import { svg } from "./elements.js";
import { explorer } from "./explorer.js";
import { formatGeneral } from "./numbers.js";

const LAGS = 60;
const LAG_RANGES = { "1 (now)": 1, "2–10": 10, "11–100": 100, "101–1000": 1000, older: Infinity };

/** A recording is sent as whole numbers: 0 is its lowest sample and 9999 its highest. */
export function unpack({ low, high, samples }) {
  return Float64Array.from(samples.split(" "), (n) => low + ((high - low) * n) / 9999);
}

/**
 * A scalar SSM, h = Ā h + B̄ x, by zero-order hold with B = |A|, which starts in equilibrium with
 * the first sample. `fractions` says which part of the kernel's weight lies in each of LAG_RANGES.
 */
export function simulate(x, delta, decayRate) {
  const z = delta * decayRate;
  const [A_bar, B_bar] = [Math.exp(-z), -Math.expm1(-z)];
  let h = x[0];
  const state = x.map((input) => (h = A_bar * h + B_bar * input));
  const response = Array.from({ length: LAGS }, (_, lag) => A_bar ** lag);
  // The sum of the kernel's first n weights, B̄ Āᵏ, as a fraction of the sum over the recording.
  const length = Math.max(LAGS, x.length);
  const cumulative = Object.values(LAG_RANGES).map((n) => Math.expm1(-z * Math.min(n, length))
    / Math.expm1(-z * length));
  const fractions = cumulative.map((sum, i) => sum - (i ? cumulative[i - 1] : 0));
  return { A_bar, B_bar, state, response, fractions, halfLife: Math.LN2 / z };
}

export function caption({ A_bar, B_bar, halfLife }) {
  return `The pole Ā is ${A_bar.toFixed(4)}. The impulse response halves every `
    + `${formatGeneral(halfLife, 3)} steps, and the current input has a weight of `
    + `${(100 * B_bar).toFixed(0)}% in the state.`;
}

function draw(canvas, x, { step, unit, low, high }, delta, decayRate) {
  const found = simulate(x, delta, decayRate);
  drawPole(canvas, found.A_bar);
  drawResponse(canvas, found.response);
  drawFractions(canvas, found.fractions);

  const pad = 0.05 * (high - low);
  const t = x.map((_, i) => i * step);
  const signal = axes(canvas, { left: 62, top: 262, width: 818, height: 150, xlabel: "time, s",
    xlim: [0, t[t.length - 1]], ylim: [low - pad, high + pad], ylabel: unit });
  signal.line(t, x, "grey input");
  signal.line(t, found.state, "red state");
  const title = `Δ = ${formatGeneral(delta, 3)}, |A| = ${formatGeneral(decayRate, 3)}: the impulse `
    + `response halves every ${formatGeneral(found.halfLife, 3)} steps`;
  canvas.append(label(62, 250, title, { anchor: "start" }),
    svg("path", { class: "line grey", d: "M700 246h24" }),
    label(730, 250, "input", { anchor: "start" }),
    svg("path", { class: "line red", d: "M790 246h24" }),
    label(820, 250, "state", { anchor: "start" }));
  return caption(found);
}

/** Ā in the complex plane, with the unit circle. */
function drawPole(canvas, A_bar) {
  const plane = axes(canvas, { left: 52, top: 28, width: 150, height: 150, xlim: [-1.2, 1.2],
    ylim: [-1.2, 1.2], xticks: [-1, 0, 1], yticks: [-1, 0, 1], title: "discrete pole Ā",
    xlabel: "Re Ā", ylabel: "Im Ā" });
  const [x, y] = [plane.X(A_bar), plane.Y(0)];
  plane.add(
    svg("circle", { class: "line grey", cx: plane.X(0), cy: y, r: plane.X(1) - plane.X(0) }),
    svg("path", { class: "line red pole", "stroke-width": 4,
                  d: `M${x - 6} ${y - 6}l12 12m0 -12l-12 12` }),
    label(plane.X(0), plane.Y(0.42), A_bar.toFixed(4)));
}

function drawResponse(canvas, response) {
  const impulse = axes(canvas, { left: 272, top: 28, width: 230, height: 150, xlim: [0, LAGS],
    ylim: [0, 1.05], title: "impulse response", xlabel: "lag, steps",
    ylabel: "relative to lag 0", yticks: [0, 0.5, 1] });
  impulse.line(response.flatMap((_, lag) => [lag, lag + 1]),
    response.flatMap((value) => [value, value]), "blue response");
}

function drawFractions(canvas, fractions) {
  const names = Object.keys(LAG_RANGES);
  const past = axes(canvas, { left: 590, top: 28, width: 290, height: 150, xlim: [0, 1],
    ylim: [names.length - 0.5, -0.5], yticks: [], xlabel: "fraction of the total weight",
    title: "weight of past inputs, by age in steps" });
  names.forEach((name, i) => {
    canvas.append(label(582, past.Y(i) + 4, name, { class: "tick", anchor: "end" }));
    past.add(svg("rect", { class: "area green", x: past.left, y: past.Y(i - 0.36), height: 21,
                           width: Math.max(0, past.X(fractions[i]) - past.left) }));
  });
}

export default {
  render({ model, el }) {
    const recordings = model.get("recordings");
    const signals = Object.fromEntries(Object.entries(recordings).map(([name, recording]) =>
      [name, unpack(recording)]));
    explorer({ model, el }, "delta", {
      traits: ["delta", "decay_rate", "input"], width: 900, height: 450,
      controls: [
        slider(model, "delta", { label: "step size Δ", min: -4, max: 1, step: 0.05, log: true,
                                 format: (value) => formatGeneral(value, 4) }),
        slider(model, "decay_rate", { label: "decay rate |A|", min: -1, max: 1, step: 0.05,
                                      log: true, format: (value) => formatGeneral(value, 3) }),
        choices(model, "input", { label: "input x", options: Object.keys(recordings) }),
      ],
      draw: (canvas) => {
        const name = model.get("input");
        return draw(canvas, signals[name], recordings[name], model.get("delta"),
          model.get("decay_rate"));
      },
    });
  },
};
