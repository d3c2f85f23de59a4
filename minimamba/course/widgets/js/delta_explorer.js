// Drag the step size Δ and watch a state decay, hold or reset.

import { axes, label, legend, marks } from "./axes.js";
import { choices, readout, slider } from "./controls.js";
import { svg } from "./elements.js";
import { explorer } from "./explorer.js";
import { flow, isNarrow } from "./layout.js";
import { formatCount, formatGeneral, withMinus } from "./numbers.js";

const LAGS = 60;
// In this order; a saved notebook sorts the names of the recordings.
const INPUTS = ["neuron", "EEG", "step"];
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
    + `${formatCount(halfLife)} steps, and the current input has a weight of `
    + `${(100 * B_bar).toFixed(0)}% in the state.`;
}

function draw(canvas, width, x, recording, delta, decayRate) {
  const found = simulate(x, delta, decayRate);
  const narrow = isNarrow(width);
  const side = narrow ? 84 : 150;
  const { boxes: [pole, response, fractions, signal], height } = flow(width, [
    { left: 48, width: side, right: 4, height: side, grow: 0 },
    { left: narrow ? 48 : 70, width: 80, height: side },
    { left: 84, width: 160, height: narrow ? 100 : side },
    { width: width - 70, top: 52, height: 150 }]);
  canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
  drawPole(canvas, pole, found.A_bar);
  drawResponse(canvas, response, found.response);
  drawFractions(canvas, fractions, found.fractions);
  drawSignal(canvas, signal, x, recording, found.state);
  return caption(found);
}

/** The input and the state. */
function drawSignal(canvas, box, x, { step, unit, low, high }, state) {
  const pad = 0.05 * (high - low);
  const t = x.map((_, i) => i * step);
  const signal = axes(canvas, { ...box, xlabel: "time, s", xlim: [0, t[t.length - 1]],
    ylim: [low - pad, high + pad], ylabel: unit });
  signal.line(t, x, "grey input");
  signal.line(t, state, "red state");
  legend(canvas, { ...box, top: box.top - 24 }, [[marks.line("grey"), "input"],
                                                 [marks.line("red"), "state"]]);
  const shown = t.filter((_, i) => i % Math.ceil(t.length / 200) === 0);
  const at = (i) => Math.round(shown[i] / step);
  signal.values(shown, Array.from(shown, (_, i) => state[at(i)]), (i) =>
    `at ${formatGeneral(shown[i], 3)} s: input ${withMinus(x[at(i)], 2)}, `
    + `state ${withMinus(state[at(i)], 2)}`);
}

/** Ā in the complex plane, with the unit circle. */
function drawPole(canvas, box, A_bar) {
  const plane = axes(canvas, { ...box, xlim: [-1.2, 1.2], ylim: [-1.2, 1.2], xticks: [-1, 0, 1],
    yticks: [-1, 0, 1], title: "discrete pole Ā", xlabel: "Re Ā", ylabel: "Im Ā" });
  const [x, y] = [plane.X(A_bar), plane.Y(0)];
  plane.add(
    svg("circle", { class: "line grey", cx: plane.X(0), cy: y, r: plane.X(1) - plane.X(0) }),
    svg("path", { class: "line red pole", "stroke-width": 4,
                  d: `M${x - 6} ${y - 6}l12 12m0 -12l-12 12` }),
    label(plane.X(0), plane.Y(0.42), A_bar.toFixed(4)));
}

function drawResponse(canvas, box, response) {
  const impulse = axes(canvas, { ...box, xlim: [0, LAGS], ylim: [0, 1.05],
    title: "impulse response", xlabel: "lag, steps", ylabel: "part of lag 0",
    yticks: [0, 0.5, 1] });
  impulse.line(response.flatMap((_, lag) => [lag, lag + 1]),
    response.flatMap((value) => [value, value]), "blue response");
  impulse.values(response.map((_, lag) => lag + 0.5), response, (lag) =>
    `lag ${lag}: ${formatGeneral(response[lag], 3)}`);
}

function drawFractions(canvas, box, fractions) {
  const names = Object.keys(LAG_RANGES);
  const past = axes(canvas, { ...box, xlim: [0, 1], ylim: [names.length - 0.5, -0.5],
    yticks: [], xticks: [0, 0.5, 1], xlabel: "fraction of the total weight",
    title: "weight of inputs, by age in steps" });
  names.forEach((name, i) => {
    canvas.append(label(past.left - 8, past.Y(i) + 4, name, { class: "tick", anchor: "end" }));
    past.add(svg("rect", { class: "area green", x: past.left, y: past.Y(i - 0.36),
      height: past.Y(0.36) - past.Y(-0.36),
      width: Math.max(0, past.X(fractions[i]) - past.left) }));
  });
  past.values(fractions, names.map((_, i) => i), (i) =>
    `${names[i]}: ${(100 * fractions[i]).toFixed(1)} %`);
}

export default {
  render({ model, el }) {
    const recordings = model.get("recordings");
    const signals = Object.fromEntries(Object.entries(recordings).map(([name, recording]) =>
      [name, unpack(recording)]));
    const halfLife = () => Math.LN2 / (model.get("delta") * model.get("decay_rate"));
    explorer({ model, el }, "delta", {
      traits: ["delta", "decay_rate", "input"],
      task: {
        ask: "give the state a half-life of 10 steps, to within half a step.",
        done: "Only the product Δ|A| counts: now halve Δ and double |A|.",
        reached: () => Math.abs(halfLife() - 10) < 0.5,
        presets: { "hold": { delta: 0.0001, decay_rate: 0.1 },
                   "average": { delta: 0.01, decay_rate: 1 },
                   "follow": { delta: 3, decay_rate: 1 } },
      },
      controls: [
        slider(model, "delta", { label: "step size Δ", min: -4, max: 1, step: 0.05, log: true,
                                 format: (value) => formatGeneral(value, 4) }),
        slider(model, "decay_rate", { label: "decay rate |A|", min: -1, max: 1, step: 0.05,
                                      log: true, format: (value) => formatGeneral(value, 3) }),
        readout(model, ["delta", "decay_rate"], { label: "half-life",
          text: () => `${formatCount(halfLife())} steps` }),
        choices(model, "input", { label: "input x", options: INPUTS }),
      ],
      draw: (canvas, width) => {
        const name = model.get("input");
        return draw(canvas, width, signals[name], recordings[name], model.get("delta"),
          model.get("decay_rate"));
      },
    });
  },
};
