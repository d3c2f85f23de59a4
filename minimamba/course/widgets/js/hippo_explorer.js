// Set the state dimension and the time, and see how much of the past a HiPPO state still holds.

import { axes, legend, legendHeight, marks } from "./axes.js";
import { choices, setTraits, slider } from "./controls.js";
import { svg } from "./elements.js";
import { drag, explorer, handle } from "./explorer.js";
import { basis, dot, projection, run } from "./hippo.js";
import { flow, isNarrow } from "./layout.js";
import { withMinus } from "./numbers.js";

const MEASURES = { legs: "LegS, whole past", legt: "LegT, last 2 s", fout: "FouT, last 2 s" };
const WINDOW = 2;
const MAX_N = 65;
const range = (n) => Array.from({ length: n }, (_, i) => i);

/** A recording is sent as its samples, separated by spaces. */
export const unpack = ({ samples }) => samples.split(" ").map(Number);

/** What the explorer shows; `cache` keeps the states of each measure and dimension. */
export function compute(x, step, measure, N, time, cache = new Map()) {
  const k = Math.ceil((time - 1e-9) / step - 1e-6) - 1;
  const now = (k + 1) * step;
  const window = measure === "legs" ? now : WINDOW;
  const span = Math.min(window, now);
  const key = `${measure} ${N}`;
  if (measure !== "legs" && !cache.has(key)) cache.set(key, run(measure, N, x, step / WINDOW));
  const c = measure === "legs" ? projection(N, x, k) : cache.get(key)[k];
  // A sample is held until the next one; the comparison is in the middle of each interval.
  const inside = range(k).filter((i) => now - (i + 1.5) * step < span - 1e-9);
  const times = inside.map((i) => (i + 1.5) * step);
  const reconstruction = times.map((t) => dot(basis(measure, N, (now - t) / window), c));
  const signal = inside.map((i) => x[i]);
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const average = mean(signal);
  const error = Math.sqrt(mean(signal.map((value, i) => (reconstruction[i] - value) ** 2))
    / mean(signal.map((value) => (value - average) ** 2)));
  return { now, start: now - span, c: [...c], times, signal, reconstruction, error };
}

export function caption({ now, start, times, error }, N) {
  return `An EEG and its reconstruction from a HiPPO state. N = ${N}, the last `
    + `${(now - start).toFixed(2)} s (${times.length} samples): normalized RMSE `
    + `${(100 * error).toFixed(0)}%.`;
}

const entries = () => [[marks.line("grey"), "signal"], [marks.line("red"), "reconstruction"],
  [marks.line("ink", "2 2"), "now"], [marks.line("green", "6 3"), "start of the window"]];

function draw(canvas, [past, state], { unit, x, step }, found) {
  const [low, high] = [Math.min(...x), Math.max(...x)];
  const pad = 0.1 * (high - low);
  const signal = axes(canvas, { ...past, xlabel: "time, s", ylabel: unit,
    xlim: [0, x.length * step], ylim: [low - pad, high + pad] });
  const upright = (t, look, dash) => svg("path", { class: `line ${look}`,
    "stroke-dasharray": dash, d: `M${signal.X(t)} ${signal.top}V${signal.bottom}` });
  signal.line(x.map((_, i) => (i + 1) * step), x, "grey input");
  signal.line(found.times, found.reconstruction, "red reconstruction");
  signal.add(upright(found.start, "green start", "6 3"), upright(found.now, "ink now", "2 2"));
  signal.values(found.times, found.reconstruction, (i) => `${found.times[i].toFixed(2)} s: signal `
    + `${withMinus(found.signal[i], 2)}, reconstruction ${withMinus(found.reconstruction[i], 2)}`);
  legend(canvas, { left: 4, top: 2, width: past.width + 70 }, entries());
  canvas.append(svg("rect", { class: "drag-area", x: past.left, y: past.top, width: past.width,
                              height: past.height }),
    handle(signal.X(found.now), signal.top + 7, "↔"));

  const { c } = found;
  const coefficients = axes(canvas, { ...state, xlabel: "coefficient n", ylabel: "cₙ",
    xlim: [-1, MAX_N], ylim: [-1.1, 1.1] });
  coefficients.add(svg("path", { class: "axis", d: `M${state.left} ${coefficients.Y(0)}`
    + `h${state.width}` }), ...c.map((value, n) => svg("circle", { class: "area blue coefficient",
    cx: coefficients.X(n), cy: coefficients.Y(value), r: 3 })));
  coefficients.values(range(c.length), c, (n) => `coefficient ${n}: ${withMinus(c[n], 3)}`);
}

export default {
  render({ model, el }) {
    const { unit, step, ...recording } = model.get("recording");
    const x = unpack(recording);
    const cache = new Map();
    let found;
    let past;
    const moveTo = (px) => setTraits(model, { time: Math.max(0.5, Math.min(10, Math.round(
      (20 * x.length * step * (px - past.left)) / past.width) / 20)) });
    const canvas = explorer({ model, el }, "hippo", {
      traits: ["d_state", "time", "measure"],
      task: {
        ask: "at 6 s or later, get an error below 40 % from at most 35 coefficients.",
        done: "Two seconds fit into them. LegS spends as many on the whole past.",
        reached: () => found.error < 0.4 && model.get("d_state") <= 35 && model.get("time") >= 6,
        presets: { "ten seconds": { d_state: 65, time: 10, measure: "legs" },
                   "two seconds": { d_state: 17, time: 6, measure: "legt" },
                   "waves": { d_state: 17, time: 6, measure: "fout" } },
      },
      controls: [
        slider(model, "d_state", { label: "state dimension N", min: 3, max: MAX_N, step: 2 }),
        slider(model, "time", { label: "current time, s", min: 0.5, max: 10, step: 0.05,
                                format: (value) => value.toFixed(2) }),
        choices(model, "measure", { label: "measure", options: Object.keys(MEASURES),
                                    format: (measure) => MEASURES[measure] }),
      ],
      draw: (svgElement, width) => {
        const N = model.get("d_state");
        found = compute(x, step, model.get("measure"), N, model.get("time"), cache);
        const { boxes, height } = flow(width, [
          { width: width - 70, height: isNarrow(width) ? 170 : 210,
            top: 12 + legendHeight(width, entries()) },
          { width: width - 70, height: 110, top: 12 }]);
        [past] = boxes;
        svgElement.setAttribute("viewBox", `0 0 ${width} ${height}`);
        draw(svgElement, boxes, { unit, x, step }, found);
        return caption(found, N);
      },
    });
    drag(canvas, (px, py) => (px >= past.left && px <= past.left + past.width && py >= past.top
      && py <= past.top + past.height ? moveTo : null));
  },
};
