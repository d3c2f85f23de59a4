// Set the state dimension and the time, and see how much of the past a HiPPO state still holds.

import { axes, legend, legendHeight, marks } from "./axes.js";
import { choices, setTraits, slider } from "./controls.js";
import { svg } from "./elements.js";
import { drag, explorer, handle } from "./explorer.js";
import { flow, isNarrow } from "./layout.js";
import { withMinus } from "./numbers.js";

const MEASURES = { legs: "LegS, whole past", legt: "LegT, last 2 s", fout: "FouT, last 2 s" };
const WINDOW = 2;
const MAX_N = 65;
const range = (n) => Array.from({ length: n }, (_, i) => i);

/** A recording is sent as its samples, separated by spaces. */
export const unpack = ({ samples }) => samples.split(" ").map(Number);

/** P₀ to Pₙ at z, the Legendre polynomials; n is at least 1. */
function legendre(n, z) {
  const P = new Float64Array(n + 1);
  [P[0], P[1]] = [1, z];
  for (let k = 1; k < n; k++) P[k + 1] = ((2 * k + 1) * z * P[k] - k * P[k - 1]) / (k + 1);
  return P;
}

function dot(one, other) {
  let sum = 0;
  for (let i = 0; i < one.length; i++) sum += one[i] * other[i];
  return sum;
}

/** The basis functions at one age, as a fraction of the window, from 0 (now) to 1. */
function basis(measure, N, age) {
  if (measure !== "fout") {
    return legendre(N - 1, 1 - 2 * age).map((P, n) => Math.sqrt(2 * n + 1) * P);
  }
  return range(N).map((n) => {
    const angle = 2 * Math.PI * Math.ceil(n / 2) * age;
    return n ? Math.SQRT2 * (n % 2 ? Math.cos(angle) : Math.sin(angle)) : 1;
  });
}

/** A and B of LegT or FouT, for a window of length 1. */
function matrices(measure, N) {
  const root = (n) => Math.sqrt(2 * n + 1);
  if (measure === "legt") {
    return { B: range(N).map(root), A: range(N).map((n) => range(N).map((k) =>
      -root(n) * root(k) * (k > n && (k - n) % 2 ? -1 : 1))) };
  }
  const now = basis("fout", N, 0);
  const A = now.map((one) => now.map((other) => -2 * one * other));
  for (let n = 1; n < N; n += 2) {
    A[n][n + 1] -= Math.PI * (n + 1);
    A[n + 1][n] += Math.PI * (n + 1);
  }
  return { A, B: now.map((value) => 2 * value) };
}

function product(X, Y) {
  return X.map((row) => {
    const sums = new Float64Array(Y.length);
    row.forEach((x, k) => {
      if (x !== 0) for (let j = 0; j < sums.length; j++) sums[j] += x * Y[k][j];
    });
    return sums;
  });
}

/** exp(M): the series for M / 2ˢ, squared s times. */
function exponential(M) {
  const norm = Math.max(...M.map((row) => row.reduce((sum, x) => sum + Math.abs(x), 0)));
  const squarings = Math.max(0, Math.ceil(Math.log2(norm)) + 1);
  const small = M.map((row) => Float64Array.from(row, (x) => x / 2 ** squarings));
  let result = M.map((_, i) => Float64Array.from(M, (_, j) => Number(i === j)));
  for (let n = 16; n > 0; n--) {                            // 1 + M/1 (1 + M/2 (1 + M/3 (…)))
    result = product(small, result).map((row, i) =>
      row.map((x, j) => x / n + Number(i === j)));
  }
  for (let s = 0; s < squarings; s++) result = product(result, result);
  return result;
}

/** LegS is exact: the state is the projection of the samples, each held until the next one. */
function projection(N, x, k) {
  const c = new Float64Array(N);
  let before = legendre(N, -1);
  for (let i = 0; i < k; i++) {
    const after = legendre(N, (2 * (i + 2)) / (k + 1) - 1);
    c[0] += x[i] * (after[1] - before[1]);
    for (let n = 1; n < N; n++) {                           // ∫ (2n + 1) Pₙ = Pₙ₊₁ − Pₙ₋₁
      c[n] += x[i] * (after[n + 1] - before[n + 1] - after[n - 1] + before[n - 1]);
    }
    before = after;
  }
  return c.map((sum, n) => sum / (2 * Math.sqrt(2 * n + 1)));
}

/** The states of LegT or FouT at every sample: the system is run with each sample held. */
function run(measure, N, x, step) {
  const { A, B } = matrices(measure, N);
  const scaled = A.map((row, n) => [...row, B[n]].map((value) => (value * step) / WINDOW));
  const exact = exponential([...scaled, Array(N + 1).fill(0)]);
  let c = Float64Array.from(range(N), (n) => (n ? 0 : x[0]));
  return [c, ...x.slice(0, -1).map((input) => {
    const before = c;
    c = before.map((_, n) => dot(before, exact[n]) + exact[n][N] * input);
    return c;
  })];
}

/** What the explorer shows; `cache` keeps the states of each measure and dimension. */
export function compute(x, step, measure, N, time, cache = new Map()) {
  const k = Math.ceil((time - 1e-9) / step - 1e-6) - 1;
  const now = (k + 1) * step;
  const window = measure === "legs" ? now : WINDOW;
  const span = Math.min(window, now);
  const key = `${measure} ${N}`;
  if (measure !== "legs" && !cache.has(key)) cache.set(key, run(measure, N, x, step));
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
