// Remove passes over GPU memory and see what bounds the time of a scan.

import { axes, label, legend, legendHeight, marks } from "./axes.js";
import { choices, slider } from "./controls.js";
import { svg } from "./elements.js";
import { explorer } from "./explorer.js";
import { flow } from "./layout.js";
import { formatGeneral } from "./numbers.js";

/**
 * What each step and channel moves and computes, and lower bounds on the time of the whole scan, in
 * ms: `memory` for the bytes, `arithmetic` for the exponentials.
 */
export function estimate({ bandwidth, exponentials, steps }, bytesPerNumber, d_state, passes) {
  const bytes = bytesPerNumber * (4 + passes * d_state);
  const intensity = d_state / bytes;
  return { bytes, intensity, rate: Math.min(intensity * bandwidth, exponentials),
           memory: (1e3 * steps * bytes) / bandwidth,
           arithmetic: (1e3 * steps * d_state) / exponentials };
}

export function caption({ bytes, memory, arithmetic }, d_state) {
  return `Each step and channel moves ${bytes} bytes and computes ${d_state} `
    + `exponential${d_state > 1 ? "s" : ""}. Lower bounds on the time: ${formatGeneral(memory, 3)} `
    + `ms for memory traffic, ${formatGeneral(arithmetic, 3)} ms for exponentials. The scan is `
    + `${memory > arithmetic ? "memory" : "compute"}-bound.`;
}

const pointMarks = () => [[marks.disc("red"), "these settings"],
                          [marks.ring("blue"), "fused: no passes"]];

function draw(canvas, width, gpu, bytesPerNumber, d_state, passes) {
  const found = estimate(gpu, bytesPerNumber, d_state, passes);
  const { boxes: [roofline, times], height } = flow(width, [
    { left: 62, width: 208, height: 220, grow: 1.6, top: 34 + legendHeight(270, pointMarks()) },
    { left: 96, width: 150, right: 40, height: 90, top: 28 }]);
  canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
  drawRoofline(canvas, roofline, gpu, found, estimate(gpu, bytesPerNumber, d_state, 0));
  drawTimes(canvas, times, found);
  return caption(found, d_state);
}

function drawRoofline(canvas, box, gpu, found, fused) {
  const roof = axes(canvas, { ...box, xlog: true, ylog: true, xlim: [0.004, 40],
    ylim: [1e10, 1e13], xlabel: "exponentials per byte moved", ylabel: "exponentials per second" });
  const ridge = gpu.exponentials / gpu.bandwidth;
  const ends = [0.001, ridge, 100];
  roof.line(ends, ends.map((x) => Math.min(x * gpu.bandwidth, gpu.exponentials)), "grey");
  roof.add(svg("circle", { class: "line blue", cx: roof.X(fused.intensity), cy: roof.Y(fused.rate),
                           r: 8 }),
    svg("circle", { class: "area red point", cx: roof.X(found.intensity), cy: roof.Y(found.rate),
                    r: 5 }));
  const both = [found, fused];
  roof.values(both.map(({ intensity }) => intensity), both.map(({ rate }) => rate), (i) =>
    `${formatGeneral(both[i].intensity, 3)} per byte: ${formatGeneral(both[i].rate, 3)} per s`);
  canvas.append(label(4, 16, "roofline of an H200", { anchor: "start" }));
  legend(canvas, { left: 4, top: 22, width: 270 }, pointMarks());
}

function drawTimes(canvas, box, { memory, arithmetic }) {
  const time = axes(canvas, { ...box, xlog: true, yticks: [], xlim: [0.003, 100],
    ylim: [1.5, -0.5], title: "lower bound on the time", xlabel: "time, ms" });
  const bounds = [["memory", memory, "red"], ["exponentials", arithmetic, "green"]];
  bounds.forEach(([name, ms, colour], i) => {
    canvas.append(label(time.left - 8, time.Y(i) + 4, name, { class: "tick", anchor: "end" }),
      label(Math.min(time.X(ms) + 6, time.left + time.width), time.Y(i) + 4, formatGeneral(ms, 3),
        { anchor: "start" }));
    time.add(svg("rect", { class: `area ${colour} bar`, x: time.left, y: time.Y(i) - 16,
      height: 32, width: Math.max(0, time.X(ms) - time.left) }));
  });
  time.values(bounds.map(([, ms]) => ms), [0, 1], (i) =>
    `${bounds[i][0]}: ${formatGeneral(bounds[i][1], 3)} ms`);
}

export default {
  render({ model, el }) {
    const gpu = model.get("gpu");
    const bytesPerNumber = model.get("bytes_per_number");
    explorer({ model, el }, "roofline", {
      traits: ["passes", "d_state", "dtype"],
      task: {
        ask: "bring the point to the roof, where arithmetic is the limit.",
        done: "No pass is left: the states never leave the chip.",
        reached: () => {
          const { memory, arithmetic } = estimate(gpu, bytesPerNumber[model.get("dtype")],
            model.get("d_state"), model.get("passes"));
          return memory < arithmetic;
        },
        presets: { "PyTorch": { passes: 15, d_state: 16, dtype: "float32" },
                   "half fused": { passes: 1, d_state: 16, dtype: "float32" },
                   "larger state": { passes: 15, d_state: 128, dtype: "float32" } },
      },
      controls: [
        slider(model, "passes", { label: "passes over the states", min: 0, max: 16, step: 1 }),
        slider(model, "d_state", { label: "state dimension N", min: 1, max: 128, step: 1 }),
        choices(model, "dtype", { label: "dtype in GPU memory",
                                  options: Object.keys(bytesPerNumber) }),
      ],
      draw: (canvas, width) => draw(canvas, width, gpu, bytesPerNumber[model.get("dtype")],
        model.get("d_state"), model.get("passes")),
    });
  },
};
